//! How the pages of several logs come to one projection: each log's pass is joined, left and joined again by itself, so that a log that
//! cannot be read keeps nobody from following another.

use std::time::Duration;

use events::{LogError, Position};
use futures_util::{
    FutureExt,
    future::{BoxFuture, select_all},
};
use tokio::sync::mpsc;

use crate::{failure::pause, pass::Pass, store::EventPage};

pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    /// The one that is asked first: behind that which came last, so that a busy log keeps no other waiting.
    first: usize,
}

struct Lane {
    pass: Pass,
    state: State,
    /// Failures in a row.
    failures: u32,
}

enum State {
    Joining(BoxFuture<'static, Joined>),
    Open(Pages),
    /// Pages come, and what was before them is still to be caught up with, up to here.
    Behind(Pages, Position),
    /// For good.
    Left,
}

type Pages = mpsc::Receiver<EventPage>;
type Joined = Option<Result<Pages, LogError>>;

/// What comes next.
#[derive(Debug)]
pub(crate) enum Came {
    /// From here on each page of the log comes; what was there before is for the reader to catch up with.
    Joined,
    /// There is something left to catch up with, up to here.
    Behind(Position),
    Page(EventPage),
    /// It cannot be read.
    Failed(LogError),
    /// Nobody reads that log for the projections any more.
    Unread,
}

impl Lanes {
    pub(crate) fn new(passes: impl IntoIterator<Item = Pass>) -> Self {
        let lane = |pass: Pass| Lane { state: join(pass.clone(), Duration::ZERO), pass, failures: 0 };
        Self { lanes: passes.into_iter().map(lane).collect(), first: 0 }
    }

    /// What comes next, and in which lane. Loses nothing when it is dropped before it is done.
    pub(crate) async fn next(&mut self) -> (usize, Came) {
        let (count, first) = (self.lanes.len(), self.first);
        let (front, back) = self.lanes.split_at_mut(first);
        let next = back.iter_mut().chain(front).map(|lane| lane.next().boxed());
        let (came, number, _) = select_all(next).await;
        let lane = (first + number) % count;
        self.first = (lane + 1) % count;
        (lane, came)
    }

    /// What came before the pages is to be caught up with, up to here; where nothing is, none.
    pub(crate) fn catch_up(&mut self, lane: usize, to: Option<Position>) {
        let lane = &mut self.lanes[lane];
        lane.state = match (std::mem::replace(&mut lane.state, State::Left), to) {
            (State::Open(pages) | State::Behind(pages, _), Some(to)) => State::Behind(pages, to),
            (State::Behind(pages, _), None) => State::Open(pages),
            (state, _) => state,
        };
    }

    /// The log can be read.
    pub(crate) fn mark_well(&mut self, lane: usize) {
        self.lanes[lane].failures = 0;
    }

    /// Leaves a log that could not be read; it is joined again after a pause.
    pub(crate) fn join_later(&mut self, lane: usize) {
        let lane = &mut self.lanes[lane];
        lane.failures += 1;
        lane.state = join(lane.pass.clone(), pause(lane.failures));
    }

    /// Leaves a log that a person must look at.
    pub(crate) fn leave(&mut self, lane: usize) {
        let lane = &mut self.lanes[lane];
        (lane.state, lane.failures) = (State::Left, lane.failures + 1);
    }

    /// Whether there is no log any more that may be followed.
    pub(crate) fn all_left(&self) -> bool {
        self.lanes.iter().all(|lane| matches!(lane.state, State::Left))
    }

    /// Of each log, whether nothing has failed since it could last be read.
    pub(crate) fn well(&self) -> Vec<bool> {
        self.lanes.iter().map(|lane| lane.failures == 0).collect()
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
                State::Behind(_, to) => return Came::Behind(*to),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{pass::PassEnd, store::LogPage};

    fn page() -> EventPage {
        Arc::new(LogPage { log_id: events::LogId::default(), events: Vec::new() })
    }

    /// Lets a lane in, and gives what feeds it.
    async fn let_in(lanes: &mut Lanes, door: &mut PassEnd) -> mpsc::Sender<EventPage> {
        let (feed, (_, came)) = tokio::join!(door.let_in(), lanes.next());
        assert!(matches!(came, Came::Joined), "{came:?}");
        feed
    }

    #[tokio::test]
    async fn a_busy_log_keeps_no_other_waiting() {
        let (passes, mut doors): (Vec<_>, Vec<_>) = [(); 3].map(|()| Pass::new()).into_iter().unzip();
        let mut lanes = Lanes::new(passes);
        let mut feeds = Vec::new();
        for door in &mut doors {
            feeds.push(let_in(&mut lanes, door).await);
        }
        for feed in &feeds {
            for _ in 0..4 {
                feed.send(page()).await.expect("there is room");
            }
        }
        let mut taken = [0; 3];
        for _ in 0..6 {
            let (lane, came) = lanes.next().await;
            assert!(matches!(came, Came::Page(_)), "{came:?}");
            taken[lane] += 1;
        }
        assert_eq!(taken, [2, 2, 2]);
    }

    #[tokio::test]
    async fn what_is_behind_takes_turns_with_the_pages_of_others() {
        let (passes, mut doors): (Vec<_>, Vec<_>) = [(); 2].map(|()| Pass::new()).into_iter().unzip();
        let mut lanes = Lanes::new(passes);
        let _first = let_in(&mut lanes, &mut doors[0]).await;
        let second = let_in(&mut lanes, &mut doors[1]).await;
        lanes.catch_up(0, Some(Position(7)));
        second.send(page()).await.expect("there is room");
        let (came, then) = (lanes.next().await, lanes.next().await);
        assert!(matches!(came, (0, Came::Behind(Position(7)))), "{came:?}");
        assert!(matches!(then, (1, Came::Page(_))), "{then:?}");
        lanes.catch_up(0, None);
        second.send(page()).await.expect("there is room");
        assert_eq!(lanes.next().await.0, 1, "nothing is left to catch up with");
    }

    #[tokio::test]
    async fn a_lane_whose_pages_end_joins_again_and_one_that_is_left_does_not() {
        let (pass, mut door) = Pass::new();
        let mut lanes = Lanes::new([pass]);
        drop(let_in(&mut lanes, &mut door).await);
        let _feed = let_in(&mut lanes, &mut door).await;
        lanes.join_later(0);
        assert_eq!((lanes.well(), lanes.all_left()), (vec![false], false));
        let _feed = let_in(&mut lanes, &mut door).await;
        lanes.mark_well(0);
        assert_eq!(lanes.well(), [true]);
        lanes.leave(0);
        assert_eq!((lanes.well(), lanes.all_left()), (vec![false], true));
    }
}
