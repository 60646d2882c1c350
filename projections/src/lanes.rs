//! How the pages of several logs come to one projection: each log's pass is joined, left and joined again by itself, so that a log that
//! cannot be read keeps nobody from following another.

use std::time::Duration;

use events::LogError;
use futures_util::{
    FutureExt,
    future::{BoxFuture, select_all},
};
use tokio::sync::mpsc;

use crate::{failure::pause, pass::Pass, store::EventPage};

pub(crate) struct Lanes(Vec<Lane>);

struct Lane {
    pass: Pass,
    state: State,
    /// Failures in a row.
    failures: u32,
}

enum State {
    Joining(BoxFuture<'static, Joined>),
    Open(mpsc::Receiver<EventPage>),
    /// Until it is joined again.
    Left,
}

type Joined = Option<Result<mpsc::Receiver<EventPage>, LogError>>;

/// What comes next, and in which lane.
#[derive(Debug)]
pub(crate) enum Came {
    /// From here on each page of the log comes; what was there before is for the reader to catch up with.
    Joined,
    Page(EventPage),
    /// It cannot be read, and is left.
    Failed(LogError),
    /// Nobody reads that log for the projections any more.
    Unread,
}

impl Lanes {
    pub(crate) fn new(passes: impl IntoIterator<Item = Pass>) -> Self {
        let lane = |pass: Pass| Lane { state: join(pass.clone(), Duration::ZERO), pass, failures: 0 };
        Self(passes.into_iter().map(lane).collect())
    }

    /// Loses nothing when it is dropped before it is done.
    pub(crate) async fn next(&mut self) -> (usize, Came) {
        let next = self.0.iter_mut().map(|lane| lane.next().boxed());
        let (came, lane, _) = select_all(next).await;
        (lane, came)
    }

    /// Leaves a log that could not be read; it is joined again after a pause.
    pub(crate) fn join_later(&mut self, lane: usize) {
        let lane = &mut self.0[lane];
        lane.failures += 1;
        lane.state = join(lane.pass.clone(), pause(lane.failures));
    }

    /// A log has been caught up with.
    pub(crate) fn mark_well(&mut self, lane: usize) {
        self.0[lane].failures = 0;
    }

    /// Of each log, whether it could be read when that was last tried.
    pub(crate) fn well(&self) -> Vec<bool> {
        self.0.iter().map(|lane| lane.failures == 0).collect()
    }

    pub(crate) fn all_well(&self) -> bool {
        self.0.iter().all(|lane| lane.failures == 0)
    }
}

impl Lane {
    async fn next(&mut self) -> Came {
        loop {
            match &mut self.state {
                State::Open(pages) => match pages.recv().await {
                    Some(page) => return Came::Page(page),
                    // It was too slow, or the log could not be read.
                    None => self.state = join(self.pass.clone(), Duration::ZERO),
                },
                State::Joining(joining) => match joining.await {
                    Some(Ok(pages)) => {
                        self.state = State::Open(pages);
                        return Came::Joined;
                    }
                    Some(Err(error)) => {
                        self.state = State::Left;
                        return Came::Failed(error);
                    }
                    None => {
                        self.state = State::Left;
                        return Came::Unread;
                    }
                },
                State::Left => std::future::pending().await,
            }
        }
    }
}

fn join(pass: Pass, after: Duration) -> State {
    let joining = async move {
        tokio::time::sleep(after).await;
        pass.join().await
    };
    State::Joining(joining.boxed())
}
