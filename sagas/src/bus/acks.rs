//! Which deliveries of a channel are answered, when they are finished out of order.

use std::collections::BTreeMap;

/// Acknowledges in bulk up to the first unfinished delivery; one that has waited behind it for a whole flush is acknowledged alone,
/// so that a slow delivery does not use up the prefetch.
#[derive(Debug)]
pub(crate) struct Acks {
    /// The lowest delivery that is not finished. Tags count from 1.
    lowest: u64,
    finished: BTreeMap<u64, Finished>,
    unflushed: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finished {
    Fresh,
    Waited,
    Answered,
}

/// One acknowledgement for the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    pub tag: u64,
    pub multiple: bool,
}

impl Default for Acks {
    fn default() -> Self {
        Self { lowest: 1, finished: BTreeMap::new(), unflushed: 0 }
    }
}

impl Acks {
    pub(crate) fn finish(&mut self, tag: u64) {
        self.finished.insert(tag, Finished::Fresh);
        self.unflushed += 1;
    }

    /// The delivery was answered in another way: rejected.
    pub(crate) fn skip(&mut self, tag: u64) {
        self.finished.insert(tag, Finished::Answered);
    }

    /// Finished since the last flush, or still waiting behind an unfinished one.
    pub(crate) fn unflushed(&self) -> usize {
        self.unflushed
    }

    pub(crate) fn flush(&mut self) -> Vec<Ack> {
        let mut acks = Vec::new();
        // The broker refuses a bulk acknowledgement that ends on a delivery it has an answer for.
        let mut last = None;
        while let Some(finished) = self.finished.remove(&self.lowest) {
            if finished != Finished::Answered {
                last = Some(self.lowest);
            }
            self.lowest += 1;
        }
        acks.extend(last.map(|tag| Ack { tag, multiple: true }));
        self.unflushed = 0;
        for (&tag, finished) in &mut self.finished {
            *finished = match finished {
                Finished::Fresh => Finished::Waited,
                Finished::Waited => {
                    acks.push(Ack { tag, multiple: false });
                    Finished::Answered
                }
                Finished::Answered => Finished::Answered,
            };
            self.unflushed += usize::from(*finished == Finished::Waited);
        }
        acks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(tags: &[u64]) -> Acks {
        let mut acks = Acks::default();
        for &tag in tags {
            acks.finish(tag);
        }
        acks
    }

    #[test]
    fn what_is_finished_in_order_is_acknowledged_at_once() {
        assert_eq!(finished(&[2, 1, 3]).flush(), [Ack { tag: 3, multiple: true }]);
    }

    #[test]
    fn a_slow_delivery_keeps_the_others_waiting_for_one_flush_only() {
        let mut acks = finished(&[2, 3]);
        assert_eq!(acks.flush(), []);
        assert_eq!(acks.flush(), [Ack { tag: 2, multiple: false }, Ack { tag: 3, multiple: false }]);
        assert_eq!(acks.flush(), []);
        acks.finish(1);
        assert_eq!(acks.flush(), [Ack { tag: 1, multiple: true }]);
    }

    #[test]
    fn a_rejected_delivery_is_never_acknowledged() {
        let mut acks = finished(&[1]);
        acks.skip(2);
        assert_eq!(acks.flush(), [Ack { tag: 1, multiple: true }]);
        acks.finish(3);
        assert_eq!(acks.flush(), [Ack { tag: 3, multiple: true }]);
    }
}
