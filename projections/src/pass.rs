//! The one pass over a log that serves all projections: a page is read once and given to everybody who follows.
//!
//! Whoever does not take a page in time leaves the pass, so that a slow index never holds up the views; it catches up by itself and
//! joins again.

use std::{sync::Arc, time::Duration};

use events::{Log, LogError, Tail, Wake};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    failure::chain,
    handle::Handle,
    store::{EventPage, LogPage},
};

/// Pages that wait for one projection.
const QUEUE: usize = 8;

/// How long the others wait for one whose queue is full.
const PATIENCE: Duration = Duration::from_millis(100);

/// After the log could not be read.
const PAUSE: Duration = Duration::from_millis(500);

/// Projections that wait to be let in.
const DOOR: usize = 32;

/// A projection's way into the pass. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Pass(mpsc::Sender<Join>);

#[derive(Debug)]
struct Join {
    pages: mpsc::Sender<EventPage>,
    joined: oneshot::Sender<Result<(), LogError>>,
}

impl Pass {
    pub(crate) fn new() -> (Self, PassEnd) {
        let (send, receive) = mpsc::channel(DOOR);
        (Self(send), PassEnd(receive))
    }

    /// From the answer on, every page that is read is given to the receiver, until it is too slow or the log cannot be read: then the
    /// receiver ends. Who joins looks at the head of the log afterwards for what came before. None: there is no pass any more.
    pub(crate) async fn join(&self) -> Option<Result<mpsc::Receiver<EventPage>, LogError>> {
        let (pages, receiver) = mpsc::channel(QUEUE);
        let (joined, answer) = oneshot::channel();
        self.0.send(Join { pages, joined }).await.ok()?;
        Some(answer.await.ok()?.map(|()| receiver))
    }
}

/// What the pass itself holds.
#[derive(Debug)]
pub(crate) struct PassEnd(mpsc::Receiver<Join>);

#[cfg(test)]
impl PassEnd {
    /// Plays the pass for whoever joins next.
    pub(crate) async fn let_in(&mut self) -> mpsc::Sender<EventPage> {
        let Join { pages, joined } = self.0.recv().await.expect("somebody joins");
        joined.send(Ok(())).expect("somebody waits");
        pages
    }
}

pub(crate) async fn run(
    mut door: PassEnd,
    log: Log,
    wake: Wake,
    page_size: u32,
    handle: Handle,
    shutdown: CancellationToken,
) {
    loop {
        let first = tokio::select! {
            () = shutdown.cancelled() => return,
            join = door.0.recv() => match join {
                Some(join) => join,
                None => return,
            },
        };
        let tail = match shutdown.run_until_cancelled(open(&log, &wake, page_size)).await {
            None => return,
            Some(Ok(tail)) => tail,
            Some(Err(error)) => {
                let _ = first.joined.send(Err(error)); // whoever wanted to join tries again after a pause of its own
                continue;
            }
        };
        if let Err(error) = pass(&mut door, first, tail, &handle, &shutdown).await {
            tracing::warn!(error = %chain(&error), "the pass over the log ended and begins again");
            tokio::time::sleep(PAUSE).await;
        }
        if shutdown.is_cancelled() {
            return;
        }
    }
}

async fn open(log: &Log, wake: &Wake, page_size: u32) -> Result<Tail, LogError> {
    log.check_name().await?;
    Tail::open(log.clone(), log.head_checkpoint().await?, wake, page_size).await
}

/// From the first member to the last one that leaves.
async fn pass(
    door: &mut PassEnd,
    first: Join,
    mut tail: Tail,
    handle: &Handle,
    shutdown: &CancellationToken,
) -> Result<(), LogError> {
    handle.saw_log(&tail.checkpoint().log_position());
    let mut members = vec![first.pages];
    let _ = first.joined.send(Ok(()));
    while !members.is_empty() {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            Some(join) = door.0.recv() => {
                members.push(join.pages);
                let _ = join.joined.send(Ok(()));
            }
            page = tail.next_page() => {
                let log_id = tail.checkpoint().log_id.clone();
                let page = Arc::new(LogPage { log_id, events: page? });
                handle.saw_log(&tail.checkpoint().log_position());
                deliver(&mut members, &page).await;
            }
        }
    }
    Ok(())
}

async fn deliver(members: &mut Vec<mpsc::Sender<EventPage>>, page: &EventPage) {
    let mut staying = Vec::with_capacity(members.len());
    for member in members.drain(..) {
        if let Ok(Ok(())) = tokio::time::timeout(PATIENCE, member.send(EventPage::clone(page))).await {
            staying.push(member);
        }
    }
    *members = staying;
}
