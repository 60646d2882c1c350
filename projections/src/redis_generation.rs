//! One generation of a read model in Redis, open for writing.
//!
//! A page is written shard by shard, and then the generation's head is moved. A crash in between leaves some shards ahead of the
//! head; the next projector starts at the head and skips, for each shard, what that shard already has.

use std::{collections::HashMap, marker::PhantomData};

use events::LogId;
use redis::pipe;

use crate::{
    cache::Cache,
    checkpoint_text::{Digest, Head, ShardAt},
    failure::{ProjectionError, Whose},
    model::{Place, ReadModel},
    names::{Generation, Names, SHARDS, scoped, shard_of},
    redis_scripts::{Scripts, WRITTEN},
    redis_store::Redis,
    store::{EventPage, OfLog, OpenGeneration, Signals, Slot, gather, hash_document},
};

/// Documents read back in one round trip.
const LOAD_BATCH: usize = 2_000;

pub(crate) struct RedisGeneration<M: ReadModel> {
    redis: Redis,
    scripts: Scripts,
    names: Names,
    generation: Generation,
    /// What Redis holds.
    head: Head,
    shards: Vec<ShardAt>,
    folded: Head,
    dirty: HashMap<OfLog<M::Key>, Slot<M::Document>>,
    clean: Cache<OfLog<M::Key>, Slot<M::Document>>,
    model: PhantomData<M>,
}

/// What one shard gets in one script.
#[derive(Default)]
struct ShardWrite {
    documents: Vec<(String, Vec<u8>)>,
    removed: Vec<String>,
    members: Vec<String>,
}

impl ShardWrite {
    fn is_empty(&self) -> bool {
        self.documents.is_empty() && self.removed.is_empty() && self.members.is_empty()
    }
}

impl<M: ReadModel> RedisGeneration<M> {
    pub(crate) async fn open(
        redis: Redis,
        names: Names,
        generation: Generation,
        logs: &[LogId],
        cached: usize,
    ) -> Result<Self, ProjectionError> {
        let whose = Whose(M::NAME);
        let scripts = Scripts::load(&redis).await.map_err(whose.redis())?;
        let (head, shards) = read_checkpoints::<M>(&redis, &names, generation).await?;
        if head.code_version != M::VERSION {
            let (built_by, ours) = (head.code_version, M::VERSION);
            return Err(ProjectionError::Outdated { projection: M::NAME, generation, built_by, ours });
        }
        if let Some(log_id) = head.unfollowed(logs) {
            return Err(whose.unfollowed(generation, log_id));
        }
        let (mut folded, clean) = (head.clone(), Cache::new(cached));
        let more = folded.include(logs);
        let mut open = Self {
            redis,
            scripts,
            names,
            generation,
            head,
            shards,
            folded,
            dirty: HashMap::new(),
            clean,
            model: PhantomData,
        };
        if more {
            // Before any shard: a shard's positions are in the order of the head's logs.
            open.move_head().await?;
        }
        Ok(open)
    }

    async fn load(&mut self, missing: &[OfLog<M::Key>]) -> Result<(), ProjectionError> {
        for keys in missing.chunks(LOAD_BATCH) {
            let mut read = pipe();
            let mut asked = Vec::with_capacity(keys.len());
            for key in keys {
                let log_id = self.log_id(key.0);
                match M::place(&key.1) {
                    Place::Document(name) => {
                        let name = scoped(log_id, &name).into_owned();
                        let shard = shard_of(&name);
                        read.hget(self.names.shard(self.generation, shard).documents, &name);
                        asked.push((key, name, shard));
                    }
                    // A member has no content to be read back; that it is there already, the event's own shard tells.
                    Place::Member { list, .. } => {
                        let shard = shard_of(&scoped(log_id, list));
                        let slot = Slot { document: None, stored: None, shard };
                        self.dirty.insert(key.clone(), slot);
                    }
                }
            }
            if asked.is_empty() {
                continue;
            }
            let found: Vec<Option<Vec<u8>>> = self.redis.run(&read).await.map_err(Whose(M::NAME).redis())?;
            for ((key, name, shard), json) in asked.into_iter().zip(found) {
                let document =
                    json.as_deref().map(serde_json::from_slice).transpose().map_err(|error| {
                        Whose(M::NAME).lost(self.generation, format!("{name} cannot be read: {error}"))
                    })?;
                let stored = json.map(|json| hash_document(&name, &json));
                self.dirty.insert(key.clone(), Slot { document, stored, shard });
            }
        }
        Ok(())
    }

    /// Sorts what is pending by shard and brings the digests up to date. A shard in which nothing changed is not written.
    fn shard_writes(&mut self) -> Result<Vec<(usize, ShardAt, ShardWrite)>, ProjectionError> {
        let mut writes = (0..SHARDS).map(|_| None::<ShardWrite>).collect::<Vec<_>>();
        let mut after = self.shards.iter().map(|shard| shard.digest).collect::<Vec<_>>();
        for ((log, key), slot) in &mut self.dirty {
            let log_id = &self.folded.logs[*log].checkpoint.log_id;
            let write = writes[slot.shard].get_or_insert_default();
            let digest = &mut after[slot.shard];
            let new = match (M::place(key), &slot.document) {
                (Place::Document(name), Some(document)) => {
                    let name = scoped(log_id, &name).into_owned();
                    let json = serde_json::to_vec(document)
                        .expect("a document is plain data with string keys, which JSON can always express");
                    let hash = hash_document(&name, &json);
                    // Written as it is: nothing to do.
                    if slot.stored == Some(hash) {
                        continue;
                    }
                    write.documents.push((name, json));
                    Some(hash)
                }
                (Place::Document(name), None) => {
                    if slot.stored.is_some() {
                        write.removed.push(scoped(log_id, &name).into_owned());
                    }
                    None
                }
                (Place::Member { list, member }, Some(_)) => {
                    let member = format!("{} {member}", scoped(log_id, list));
                    let hash = hash_document(&member, &[]);
                    if slot.stored.is_none() {
                        write.members.push(member);
                    }
                    Some(hash)
                }
                (Place::Member { .. }, None) => None,
            };
            if let Some(old) = slot.stored {
                digest.remove(old);
            }
            if let Some(new) = new {
                digest.add(new);
            }
            slot.stored = new;
        }
        let writes = writes.into_iter().enumerate().filter_map(|(shard, write)| {
            // After a crash a shard may be ahead of what is folded so far: what it holds it holds.
            let next = self.shards[shard].moved_to(&self.folded, after[shard]);
            write.filter(|write| !write.is_empty()).map(|write| (shard, next, write))
        });
        Ok(writes.collect())
    }

    /// The first half of a write. A crash after it is made good by the next projector.
    pub(crate) async fn write_shards(&mut self) -> Result<(), ProjectionError> {
        let writes = self.shard_writes()?;
        if writes.is_empty() {
            return Ok(());
        }
        let mut send = pipe();
        for (shard, next, write) in &writes {
            let keys = self.names.shard(self.generation, *shard);
            let mut call = self.scripts.write_shard();
            call.arg(3).arg(keys.at).arg(keys.documents).arg(keys.members);
            call.arg(self.shards[*shard].to_string()).arg(next.to_string()).arg(write.documents.len());
            for (name, json) in &write.documents {
                call.arg(name).arg(json);
            }
            call.arg(write.removed.len()).arg(&write.removed).arg(&write.members);
            send.add_command(call);
        }
        let answers: Vec<String> = self.redis.run(&send).await.map_err(Whose(M::NAME).redis())?;
        for ((shard, next, _), answer) in writes.into_iter().zip(answers) {
            self.expect_written(self.shards[shard].to_string(), answer)?;
            self.shards[shard] = next;
        }
        Ok(())
    }

    fn log_id(&self, log: usize) -> &LogId {
        &self.folded.logs[log].checkpoint.log_id
    }

    fn expect_written(&self, expected: String, answer: String) -> Result<(), ProjectionError> {
        match answer.as_str() {
            WRITTEN => Ok(()),
            "" => Err(Whose(M::NAME).lost(self.generation, "its checkpoint is gone from Redis")),
            _ => Err(Whose(M::NAME).fenced(expected, answer)),
        }
    }

    async fn move_head(&mut self) -> Result<Signals, ProjectionError> {
        let next = self.folded.clone();
        let mut call = self.scripts.move_head();
        call.arg(1).arg(self.names.head(self.generation)).arg(self.head.to_string()).arg(next.to_string());
        let mut send = pipe();
        send.add_command(call).get(self.names.active()).exists(self.names.hold());
        let (answer, active, held): (String, Option<Generation>, bool) =
            self.redis.run(&send).await.map_err(Whose(M::NAME).redis())?;
        self.expect_written(self.head.to_string(), answer)?;
        self.head = next;
        Ok(Signals { active, held })
    }
}

impl<M: ReadModel> OpenGeneration for RedisGeneration<M> {
    fn generation(&self) -> Generation {
        self.generation
    }

    fn folded(&self) -> &Head {
        &self.folded
    }

    fn written(&self) -> &Head {
        &self.head
    }

    fn digest(&self) -> Digest {
        self.shards.iter().fold(Digest::default(), |sum, shard| sum.merge(shard.digest))
    }

    async fn fold(&mut self, page: &EventPage) -> Result<(), ProjectionError> {
        let log = self.folded.index(&page.log_id);
        let at = self.folded.logs[log].checkpoint.position;
        let behind = page.events.partition_point(|event| event.position <= at);
        let new = &page.events[behind..];
        let touched = new.iter().flat_map(|event| M::keys(event)).map(|key| (log, key));
        let missing = gather(touched, &mut self.dirty, &mut self.clean);
        self.load(&missing).await?;
        for event in new {
            for key in M::keys(event) {
                let key = (log, key);
                let slot = self.dirty.get_mut(&key).expect("every key of the page was gathered or loaded");
                if event.position > self.shards[slot.shard].position(log) {
                    slot.document = M::apply(&key.1, slot.document.take(), event);
                }
            }
        }
        self.folded.advance(log, new);
        Ok(())
    }

    fn reached(&mut self, log_id: &LogId) {
        let log = self.folded.index(log_id);
        self.folded.logs[log].reached = true;
    }

    async fn write(&mut self) -> Result<Signals, ProjectionError> {
        self.write_shards().await?;
        events::crash::point("projections::between_shards_and_head");
        let signals = self.move_head().await?;
        for (key, slot) in self.dirty.drain() {
            // A member is never touched again.
            if matches!(M::place(&key.1), Place::Document(_)) {
                self.clean.put(key, slot);
            }
        }
        Ok(signals)
    }

    async fn check(&mut self) -> Result<Signals, ProjectionError> {
        let mut read = pipe();
        read.get(self.names.head(self.generation)).get(self.names.active()).exists(self.names.hold());
        let (head, active, held): (Option<String>, Option<Generation>, bool) =
            self.redis.run(&read).await.map_err(Whose(M::NAME).redis())?;
        let head = head.ok_or_else(|| Whose(M::NAME).lost(self.generation, "its checkpoint is gone from Redis"))?;
        if head != self.head.to_string() {
            return Err(Whose(M::NAME).fenced(self.head.to_string(), head));
        }
        Ok(Signals { active, held })
    }

    async fn close(self) -> Result<(), ProjectionError> {
        Ok(())
    }
}

/// The head and the 64 shards of a generation, as Redis has them.
pub(crate) async fn read_checkpoints<M: ReadModel>(
    redis: &Redis,
    names: &Names,
    generation: Generation,
) -> Result<(Head, Vec<ShardAt>), ProjectionError> {
    let whose = Whose(M::NAME);
    let mut read = pipe();
    read.get(names.head(generation));
    for shard in 0..SHARDS {
        read.get(names.shard(generation, shard).at);
    }
    let found: Vec<Option<String>> = redis.run(&read).await.map_err(whose.redis())?;
    let mut found = found.into_iter();
    let head = found.next().flatten().ok_or_else(|| whose.lost(generation, "its checkpoint is not in Redis"))?;
    let head = head.parse().map_err(whose.unreadable(generation))?;
    let shard = |text: Option<String>| {
        let text = text.ok_or_else(|| whose.lost(generation, "a shard's checkpoint is not in Redis"))?;
        text.parse().map_err(whose.unreadable(generation))
    };
    Ok((head, found.map(shard).collect::<Result<_, _>>()?))
}
