//! Runs one service's rules against its ledger: judge, write, sync, then answer. What was begun is finished though the
//! caller hangs up, as a real provider would.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use chrono::{DateTime, Utc};
use events::Clock;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    effects::{self, Answer, AnswerBody, Answered, Book, Line, Reply, Request},
    journal::{self, Journal, OpenError, Unavailable},
    names::Names,
    news::Webhook,
    webhooks::{Chain, Courier},
};

/// How long a reply is held back for a webhook that shall come first.
const WEBHOOK_FIRST_MAX: Duration = Duration::from_secs(5);
const LINES_AT_ONCE: usize = 1000;

pub(super) struct Service<B: Book> {
    book: Mutex<B>,
    journal: Journal,
    parts: Parts,
}

/// What all services share.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) courier: Courier,
    pub(super) names: Arc<Names>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) hang: Duration,
    pub(super) shutdown: CancellationToken,
    pub(super) tracker: TaskTracker,
}

/// How a request ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Answered(Answer),
    /// The caller was kept waiting for nothing; `applied` or not is for the status endpoint to say.
    Hung,
    Failed,
    KeyReused,
    Unavailable,
}

impl From<Unavailable> for Outcome {
    fn from(Unavailable: Unavailable) -> Self {
        Self::Unavailable
    }
}

impl<B: Book> Service<B> {
    /// Reads the ledger at `path` and goes on where it ends: unsent webhooks leave, open follow-ups happen.
    pub(super) async fn start(mut book: B, path: &Path, parts: Parts) -> Result<Arc<Self>, OpenError> {
        let file_path = path.to_owned();
        let replay = tokio::task::spawn_blocking(move || {
            let mut unsent = Unsent::default();
            let file = journal::open(&file_path, |line: Line<B::Request>| {
                effects::fold(&mut book, &line);
                unsent.read(line);
            })?;
            Ok::<_, OpenError>((file, book, unsent))
        });
        let (file, book, unsent) = replay
            .await
            .map_err(|lost| OpenError::Io { path: path.to_owned(), source: std::io::Error::other(lost) })??;
        let journal = Journal::start(file, path.to_owned(), parts.shutdown.clone(), &parts.tracker);
        let follow_ups = book.open_follow_ups();
        let service = Arc::new(Self { book: Mutex::new(book), journal, parts });
        for (delay, request) in follow_ups {
            service.ask_later(delay, request);
        }
        service.send_unsent(unsent);
        Ok(service)
    }

    /// Asks for an effect. It runs to its end even if this future is dropped.
    pub(super) async fn ask(self: &Arc<Self>, request: B::Request) -> Outcome {
        let run = self.parts.tracker.spawn(Arc::clone(self).run(request));
        run.await.unwrap_or(Outcome::Unavailable)
    }

    /// The first answer under a key and its kind, once it is durable.
    pub(super) async fn effect(&self, effect_key: &str) -> Result<Option<(&'static str, AnswerBody)>, Unavailable> {
        let found = self.read(|book| {
            let entry = book.effects().get(effect_key)?;
            Some((entry.request.kind(), entry.answer.as_ref()?.body.clone()))
        });
        self.journal.barrier().await?;
        Ok(found)
    }

    /// How many effects are applied and durable: as far as `ledger_lines` may go.
    pub(super) async fn applied_count(&self) -> Result<usize, Unavailable> {
        let count = self.read(|book| book.effects().applied_count());
        self.journal.barrier().await?;
        Ok(count)
    }

    /// Some applied effects from the `from`th on, one JSON line each, and where to go on; none at `end`.
    pub(super) fn ledger_lines(&self, from: usize, end: usize) -> Option<(Vec<u8>, usize)> {
        let until = end.min(from + LINES_AT_ONCE);
        if from >= until {
            return None;
        }
        let mut lines = Vec::new();
        self.read(|book| {
            let entries = book.effects().applied_from(from).take(until - from);
            for line in entries.filter_map(|entry| book.ledger_line(entry)) {
                serde_json::to_writer(&mut lines, &line)
                    .expect("a ledger line has text keys and no failing serializer");
                lines.push(b'\n');
            }
        });
        Some((lines, until))
    }

    pub(super) fn read<T>(&self, view: impl FnOnce(&B) -> T) -> T {
        view(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, B> {
        self.book.lock().expect("the rules do not panic")
    }

    async fn run(self: Arc<Self>, request: B::Request) -> Outcome {
        let slow = self.read(|book| book.conduct(&request).slow);
        self.wait(slow).await;
        match self.judge(request).await {
            Ok(outcome) => outcome,
            Err(unavailable) => unavailable.into(),
        }
    }

    async fn judge(self: &Arc<Self>, request: B::Request) -> Result<Outcome, Unavailable> {
        let courier_place = self.parts.courier.place().ok_or(Unavailable)?;
        let place = self.journal.place().await?;
        let (mut chain, mut follow_up, mut durable) = (Vec::new(), None, None);
        let reply = {
            // Decided, folded and queued under one lock: the file has the order in which the state moved.
            let mut book = self.lock();
            let (line, reply) = effects::ask(&*book, request, self.parts.clock.now(), &self.parts.names);
            if let Some(line) = line {
                effects::fold(&mut *book, &line);
                durable = Some(place.append(&line));
                if let Line::Answered { request, answer, webhooks, .. } = line {
                    follow_up = book.follow_up(&request, &answer);
                    chain = webhooks;
                }
            }
            reply
        };
        if let Some(durable) = durable {
            durable.wait().await?;
        }
        if let Some((delay, request)) = follow_up {
            self.ask_later(delay, request);
        }
        let (first, first_ended) = oneshot::channel();
        if !chain.is_empty() {
            drop(courier_place.send(self.chain(chain, Some(first))));
        }
        Ok(self.reply(reply, first_ended).await)
    }

    async fn reply(&self, reply: Reply, first_ended: oneshot::Receiver<()>) -> Outcome {
        match reply {
            Reply::Answered(Answered { answer, then_hang, webhook_first }) => {
                if webhook_first {
                    // Late or dead, it has had its chance.
                    let _ = timeout(WEBHOOK_FIRST_MAX, first_ended).await;
                }
                if then_hang {
                    self.wait(self.parts.hang).await;
                    return Outcome::Hung;
                }
                Outcome::Answered(answer)
            }
            Reply::Hang => {
                self.wait(self.parts.hang).await;
                Outcome::Hung
            }
            Reply::Fail => Outcome::Failed,
            Reply::KeyReused => Outcome::KeyReused,
        }
    }

    /// Sleeps, but not past the end of the simulator.
    async fn wait(&self, delay: Duration) {
        if !delay.is_zero() {
            tokio::select! {
                () = sleep(delay) => (),
                () = self.parts.shutdown.cancelled() => (),
            }
        }
    }

    fn ask_later(self: &Arc<Self>, delay: Duration, request: B::Request) {
        let service = Arc::clone(self);
        self.parts.tracker.spawn(async move {
            service.wait(delay).await;
            if !service.parts.shutdown.is_cancelled() {
                let _ = service.ask(request).await;
            }
        });
    }

    fn chain(&self, webhooks: Vec<Webhook>, first: Option<oneshot::Sender<()>>) -> Chain {
        Chain { path: B::WEBHOOK_PATH, webhooks, journal: self.journal.clone(), first }
    }

    fn send_unsent(self: &Arc<Self>, unsent: Unsent) {
        let service = Arc::clone(self);
        let chains = unsent.chains(self.parts.clock.now());
        if chains.is_empty() {
            return;
        }
        tracing::info!(effects = chains.len(), path = B::WEBHOOK_PATH, "webhooks of an earlier run are sent again");
        self.parts.tracker.spawn(async move {
            for webhooks in chains {
                let chain = service.chain(webhooks, None);
                tokio::select! {
                    () = service.parts.shutdown.cancelled() => return,
                    () = service.parts.courier.send(chain) => (),
                }
            }
        });
    }
}

/// The webhooks whose end is not in the ledger, by the line that announced them.
#[derive(Default)]
struct Unsent {
    lines: BTreeMap<usize, (DateTime<Utc>, Vec<Webhook>)>,
    line_of: HashMap<String, usize>,
    next: usize,
}

impl Unsent {
    fn read<R>(&mut self, line: Line<R>) {
        match line {
            Line::Asked { .. } => (),
            Line::Answered { at, webhooks, .. } => {
                if webhooks.is_empty() {
                    return;
                }
                self.line_of.extend(webhooks.iter().map(|webhook| (webhook.event_id.clone(), self.next)));
                self.lines.insert(self.next, (at, webhooks));
                self.next += 1;
            }
            Line::WebhookEnded { event_id, .. } => {
                let Some(number) = self.line_of.remove(&event_id) else { return };
                let Some((_, webhooks)) = self.lines.get_mut(&number) else { return };
                webhooks.retain(|webhook| webhook.event_id != event_id);
                if webhooks.is_empty() {
                    self.lines.remove(&number);
                }
            }
        }
    }

    /// What was due before `now` leaves at once.
    fn chains(self, now: DateTime<Utc>) -> Vec<Vec<Webhook>> {
        let mut chains: Vec<_> = self.lines.into_values().collect();
        for (at, webhooks) in &mut chains {
            let since_ms = u64::try_from((now - *at).num_milliseconds()).unwrap_or(0);
            if let Some(first) = webhooks.first_mut() {
                first.delay_ms = first.delay_ms.saturating_sub(since_ms);
            }
        }
        chains.into_iter().map(|(_, webhooks)| webhooks).collect()
    }
}
