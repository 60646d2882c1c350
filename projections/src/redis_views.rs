//! All generations of a read model in Redis: which one answers, making and dropping them, and looking at them from outside.

use std::{collections::HashMap, marker::PhantomData, time::Duration};

use events::LogId;
use redis::pipe;

use crate::{
    Config,
    checkpoint_text::{Digest, Head, ShardAt},
    failure::{ProjectionError, Whose},
    model::ReadModel,
    names::{Generation, Names, SHARDS},
    redis_generation::{RedisGeneration, read_checkpoints},
    redis_store::{Redis, WRITE_TIMEOUT},
    store::{Standing, Store, hash_document},
};

/// How many numbers back a forgotten generation is looked for.
const LOOK_BACK: Generation = 32;

/// Documents or members read in one round trip while everything is compared.
const SCAN_COUNT: usize = 1_000;

/// What HSCAN answers: where to go on (0: nowhere), and names with documents.
type Scanned = (u64, Vec<(String, Vec<u8>)>);

pub(crate) struct RedisViews<M: ReadModel> {
    redis: Redis,
    names: Names,
    model: PhantomData<M>,
}

impl<M: ReadModel> RedisViews<M> {
    /// Needs no server yet.
    pub(crate) fn new(config: &Config) -> Result<Self, ProjectionError> {
        let redis = Redis::open(&config.redis_url, WRITE_TIMEOUT).map_err(Whose(M::NAME).redis())?;
        Ok(Self { redis, names: Names::new(&config.namespace, M::NAME), model: PhantomData })
    }

    async fn number(&self, key: String) -> Result<Option<Generation>, ProjectionError> {
        let (number,): (Option<Generation>,) = self.run(pipe().get(key)).await?;
        Ok(number)
    }

    async fn run<T: redis::FromRedisValue>(&self, pipeline: &redis::Pipeline) -> Result<T, ProjectionError> {
        self.redis.run(pipeline).await.map_err(Whose(M::NAME).redis())
    }

    /// Not atomic: at worst a construction that begins this moment is forgotten, and begun again by who builds next.
    async fn forget_building(&self, generation: Generation) -> Result<(), ProjectionError> {
        if self.number(self.names.building()).await? == Some(generation) {
            self.run::<()>(pipe().del(self.names.building()).ignore()).await?;
        }
        Ok(())
    }

    async fn scan_documents(&self, key: &str, into: &mut HashMap<String, u128>) -> Result<(), ProjectionError> {
        let mut cursor = 0_u64;
        loop {
            let mut scan = pipe();
            scan.cmd("HSCAN").arg(key).arg(cursor).arg("COUNT").arg(SCAN_COUNT);
            let ((next, found),): (Scanned,) = self.run(&scan).await?;
            for (name, json) in found {
                let hash = hash_document(&name, &json);
                into.insert(name, hash);
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    async fn scan_members(&self, key: &str, into: &mut HashMap<String, u128>) -> Result<(), ProjectionError> {
        let mut from = 0;
        loop {
            let mut read = pipe();
            read.zrange(key, from as isize, (from + SCAN_COUNT - 1) as isize);
            let (found,): (Vec<String>,) = self.run(&read).await?;
            from += found.len();
            let last = found.len() < SCAN_COUNT;
            for member in found {
                let hash = hash_document(&member, &[]);
                into.insert(member, hash);
            }
            if last {
                return Ok(());
            }
        }
    }
}

impl<M: ReadModel> Store for RedisViews<M> {
    const NAME: &'static str = M::NAME;
    const VERSION: u32 = M::VERSION;
    const AT_ONCE: bool = true;
    type Open = RedisGeneration<M>;

    async fn preflight(&self) -> Result<(), ProjectionError> {
        // INFO and not CONFIG, which managed servers refuse.
        let (info,): (String,) = self.run(pipe().cmd("INFO").arg("memory")).await?;
        let policy = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).map(str::trim);
        match policy {
            Some("noeviction") => Ok(()),
            Some(policy) => Err(ProjectionError::Evicts { policy: policy.into() }),
            None => Err(ProjectionError::Evicts { policy: "not told by the server".into() }),
        }
    }

    async fn active(&self) -> Result<Option<Generation>, ProjectionError> {
        self.number(self.names.active()).await
    }

    async fn previous(&self) -> Result<Option<Generation>, ProjectionError> {
        self.number(self.names.previous()).await
    }

    async fn building(&self) -> Result<Option<Generation>, ProjectionError> {
        self.number(self.names.building()).await
    }

    async fn start_building(&self, logs: &[LogId]) -> Result<Generation, ProjectionError> {
        let (generation,): (Generation,) = self.run(pipe().incr(self.names.generations(), 1)).await?;
        let mut write = pipe();
        for shard in 0..SHARDS {
            write.set(self.names.shard(generation, shard).at, ShardAt::default().to_string()).ignore();
        }
        let head = Head::start(logs, M::VERSION);
        write.set(self.names.head(generation), head.to_string()).ignore();
        write.set_nx(self.names.building(), generation);
        let (ours,): (bool,) = self.run(&write).await?;
        if ours {
            return Ok(generation);
        }
        self.drop_generation(generation).await?;
        self.building()
            .await?
            .ok_or_else(|| Whose(M::NAME).lost(generation, "another construction began and ended meanwhile"))
    }

    async fn open(
        &self,
        generation: Generation,
        logs: &[LogId],
        cached: usize,
    ) -> Result<RedisGeneration<M>, ProjectionError> {
        RedisGeneration::open(self.redis.clone(), self.names.clone(), generation, logs, cached).await
    }

    async fn switch_to(&self, generation: Generation) -> Result<(), ProjectionError> {
        let before = self.active().await?.filter(|&before| before != generation);
        let mut write = pipe();
        write.atomic();
        if let Some(before) = before {
            write.set(self.names.previous(), before).ignore();
        }
        write.set(self.names.active(), generation).ignore();
        self.run::<()>(&write).await?;
        self.forget_building(generation).await
    }

    async fn abandon(&self, generation: Generation) -> Result<(), ProjectionError> {
        self.forget_building(generation).await?;
        self.drop_generation(generation).await
    }

    async fn drop_generation(&self, generation: Generation) -> Result<(), ProjectionError> {
        let mut drop = pipe();
        drop.unlink(self.names.head(generation)).ignore();
        for shard in 0..SHARDS {
            let keys = self.names.shard(generation, shard);
            drop.unlink(&[keys.at, keys.documents, keys.members]).ignore();
        }
        self.run::<()>(&drop).await
    }

    async fn generations(&self) -> Result<Vec<Generation>, ProjectionError> {
        let last = self.number(self.names.generations()).await?.unwrap_or(0);
        let numbers = (last.saturating_sub(LOOK_BACK) + 1..=last).collect::<Vec<_>>();
        if numbers.is_empty() {
            return Ok(numbers);
        }
        let mut read = pipe();
        for &number in &numbers {
            read.exists(self.names.head(number));
        }
        let there: Vec<bool> = self.run(&read).await?;
        Ok(numbers.into_iter().zip(there).filter(|(_, there)| *there).map(|(number, _)| number).collect())
    }

    async fn take_wish(&self) -> Result<bool, ProjectionError> {
        Ok(false)
    }

    async fn hold(&self, at_most: Duration) -> Result<(), ProjectionError> {
        let millis = u64::try_from(at_most.as_millis()).unwrap_or(u64::MAX);
        let mut write = pipe();
        write.cmd("SET").arg(self.names.hold()).arg("rebuild").arg("PX").arg(millis).ignore();
        self.run::<()>(&write).await
    }

    async fn release(&self) -> Result<(), ProjectionError> {
        self.run::<()>(pipe().del(self.names.hold()).ignore()).await
    }

    async fn peek(&self, generation: Generation) -> Result<Standing, ProjectionError> {
        let (head, shards) = read_checkpoints::<M>(&self.redis, &self.names, generation).await?;
        let whole = shards.iter().all(|shard| shard.is_within(&head));
        let digest = shards.iter().fold(Digest::default(), |sum, shard| sum.merge(shard.digest));
        Ok(Standing { head, digest, whole })
    }

    async fn contents(&self, generation: Generation) -> Result<HashMap<String, u128>, ProjectionError> {
        let mut contents = HashMap::new();
        for shard in 0..SHARDS {
            let keys = self.names.shard(generation, shard);
            self.scan_documents(&keys.documents, &mut contents).await?;
            self.scan_members(&keys.members, &mut contents).await?;
        }
        Ok(contents)
    }
}
