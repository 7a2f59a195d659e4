//! Delivered messages of one consumer until they are stored, in the order of the stream.
//!
//! An acknowledgement covers everything before it. So it is sent for the last message before which none is open, and only while each delivery has
//! followed the one before: a lost one would be acknowledged with its successors. After a lost one the consumer begins again behind its
//! acknowledged messages (`subscription::resume`).

use std::collections::VecDeque;

use async_nats::Subject;

use super::message::Delivery;

#[derive(Debug)]
struct OpenDelivery {
    stream_seq: u64,
    /// Tells two messages of one sequence apart: a broker that lost the end of its log gives sequences again.
    published_ns: i64,
    /// Of the last delivery; none since the consumer began again.
    reply: Option<Subject>,
    is_stored: bool,
}

/// A delivery of the consumer that did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("delivery {expected} of the consumer was lost, {found} came")]
pub struct LostDelivery {
    pub expected: u64,
    pub found: u64,
}

#[derive(Debug, Default)]
pub struct AckWindow {
    open: VecDeque<OpenDelivery>,
    next_delivery: u64,
    /// Newest message at the last call of [`Self::aged`].
    seen: u64,
    /// Deliveries since there was no batch of its events.
    since_batch: usize,
}

impl AckWindow {
    /// Another subscription: its first delivery has this number, and every message that is not acknowledged may come again.
    pub fn restart(&mut self, next_delivery: u64) {
        self.next_delivery = next_delivery;
        // Numbers of deliveries of an earlier consumer would acknowledge others.
        self.open.iter_mut().for_each(|delivery| delivery.reply = None);
    }

    /// True if the message is not in memory.
    pub fn deliver(
        &mut self,
        number: u64,
        delivery: Delivery,
        reply: Option<Subject>,
    ) -> Result<bool, LostDelivery> {
        if number != self.next_delivery {
            return Err(LostDelivery { expected: self.next_delivery, found: number });
        }
        self.next_delivery += 1;
        self.since_batch += 1;
        let Delivery { stream_seq, published_ns, .. } = delivery;
        let at = self.place_of(stream_seq);
        match self.open.get_mut(at).filter(|open| open.stream_seq == stream_seq) {
            Some(open) if open.published_ns == published_ns => {
                open.reply = reply;
                Ok(false)
            }
            Some(open) => {
                *open = OpenDelivery { stream_seq, published_ns, reply, is_stored: false };
                Ok(true)
            }
            None => {
                self.open.insert(at, OpenDelivery { stream_seq, published_ns, reply, is_stored: false });
                Ok(true)
            }
        }
    }

    fn place_of(&self, stream_seq: u64) -> usize {
        // Most messages of a busy stream belong to one consumer, and most are looked for when they come.
        let first = self.lowest().unwrap_or(stream_seq);
        let guessed = usize::try_from(stream_seq.saturating_sub(first)).unwrap_or(usize::MAX);
        if self.open.get(guessed).is_some_and(|open| open.stream_seq == stream_seq) {
            return guessed;
        }
        if self.open.back().is_none_or(|last| last.stream_seq < stream_seq) {
            return self.open.len();
        }
        self.open.partition_point(|open| open.stream_seq < stream_seq)
    }

    /// Every event of the message has its row.
    pub fn finish(&mut self, stream_seq: u64, published_ns: i64) {
        let at = self.place_of(stream_seq);
        let is_this =
            |open: &&mut OpenDelivery| (open.stream_seq, open.published_ns) == (stream_seq, published_ns);
        if let Some(open) = self.open.get_mut(at).filter(is_this) {
            open.is_stored = true;
        }
    }

    /// The acknowledgement of all messages before the first open one, if it is due.
    pub fn take_ack(&mut self) -> Option<Subject> {
        let mut last = None;
        while self.open.front().is_some_and(|open| open.is_stored)
            && let Some(OpenDelivery { reply, .. }) = self.open.pop_front()
        {
            last = reply.or(last);
        }
        last
    }

    /// Deliveries that are not acknowledged.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Deliveries since the last call of [`Self::begin_batch`], those of other partitions included.
    pub const fn since_batch(&self) -> usize {
        self.since_batch
    }

    /// There is no batch of its events: the next one spans only what is delivered from now on.
    pub const fn begin_batch(&mut self) {
        self.since_batch = 0;
    }

    /// Lowest message that is not stored.
    pub fn lowest(&self) -> Option<u64> {
        self.open.front().map(|open| open.stream_seq)
    }

    /// Messages that were open at the call before too: the broker would soon deliver them again.
    pub fn aged(&mut self) -> Vec<Subject> {
        let seen = self.seen;
        self.seen = self.open.back().map_or(0, |open| open.stream_seq);
        let aged = self.open.iter().take_while(|open| open.stream_seq <= seen);
        aged.filter_map(|open| open.reply.clone()).collect()
    }

    /// The stream was recreated: sequences start at 1 again.
    pub fn forget(&mut self) {
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> AckWindow {
        let mut window = AckWindow::default();
        window.restart(1);
        window
    }

    fn reply(name: &str) -> Option<Subject> {
        Some(name.into())
    }

    fn message(stream_seq: u64) -> Delivery {
        Delivery { stream_seq, is_redelivered: false, published_ns: 7 }
    }

    #[test]
    fn an_acknowledgement_never_passes_an_open_message() {
        let mut window = window();
        for (number, sequence) in [(1, 3), (2, 4), (3, 9)] {
            let new = window.deliver(number, message(sequence), reply(&format!("r{sequence}")));
            assert_eq!(new, Ok(true));
        }
        window.finish(4, 7);
        assert_eq!((window.take_ack(), window.lowest()), (None, Some(3)));
        window.finish(3, 7);
        assert_eq!((window.take_ack(), window.lowest()), (reply("r4"), Some(9)));
        assert_eq!(window.take_ack(), None, "sent once");
        window.finish(9, 7);
        assert_eq!((window.take_ack(), window.lowest()), (reply("r9"), None));
    }

    /// A message of another partition is finished at once, and counts at the broker while an earlier one is open.
    #[test]
    fn deliveries_are_counted_until_another_batch_may_begin_and_while_an_earlier_one_is_open() {
        let mut window = window();
        for (number, sequence) in [(1, 3), (2, 4), (3, 9)] {
            assert_eq!(window.deliver(number, message(sequence), None), Ok(true));
        }
        window.finish(4, 7);
        window.take_ack();
        assert_eq!((window.len(), window.since_batch()), (3, 3));
        window.begin_batch();
        window.finish(3, 7);
        window.take_ack();
        assert_eq!((window.len(), window.since_batch()), (1, 0));
    }

    #[test]
    fn a_lost_delivery_is_noticed_before_anything_behind_it_is_taken() {
        let mut window = window();
        assert_eq!(window.deliver(1, message(3), None), Ok(true));
        assert_eq!(window.deliver(3, message(5), None), Err(LostDelivery { expected: 2, found: 3 }));
        let restored = window.deliver(1, message(4), None);
        assert_eq!(restored, Err(LostDelivery { expected: 2, found: 1 }), "a broker of yesterday");
        window.finish(5, 7);
        assert_eq!(window.lowest(), Some(3));
    }

    #[test]
    fn messages_in_memory_are_not_taken_twice_and_are_acknowledged_by_their_last_delivery() {
        let mut window = window();
        for (number, sequence) in [(1, 3), (2, 4), (3, 5)] {
            assert_eq!(window.deliver(number, message(sequence), reply("old")), Ok(true));
        }
        window.finish(3, 7);
        assert_eq!(window.take_ack(), reply("old"));
        // The acknowledgement of 3 was lost with the connection.
        window.restart(1);
        window.finish(4, 7);
        assert_eq!(window.take_ack(), None, "not by the number of an earlier consumer");
        assert_eq!(window.deliver(1, message(3), reply("3")), Ok(true), "hot is asked for it");
        assert_eq!(window.deliver(2, message(4), reply("4")), Ok(true));
        assert_eq!(window.deliver(3, message(5), reply("5")), Ok(false), "still in memory");
        window.finish(5, 7);
        assert_eq!(window.take_ack(), None);
        window.finish(3, 7);
        window.finish(4, 7);
        assert_eq!(window.take_ack(), reply("5"));
    }

    /// After a power cut the broker gives sequences again that it had not synced.
    #[test]
    fn another_message_of_the_same_sequence_is_not_the_one_in_memory() {
        let mut window = window();
        assert_eq!(window.deliver(1, message(3), reply("lost")), Ok(true));
        window.restart(1);
        let other = Delivery { published_ns: 8, ..message(3) };
        assert_eq!(window.deliver(1, other, reply("new")), Ok(true));
        window.finish(3, 7);
        assert_eq!((window.take_ack(), window.lowest()), (None, Some(3)));
        window.finish(3, 8);
        assert_eq!(window.take_ack(), reply("new"));
    }

    /// Places are guessed where sequences follow each other, and sought where others lie between.
    #[test]
    fn every_message_is_found_whatever_lies_between() {
        let sequences = [3, 4, 5, 9, 10, 40, 41, 42, 43, 90];
        let mut window = window();
        for (number, sequence) in (1..).zip(sequences) {
            assert_eq!(window.deliver(number, message(sequence), None), Ok(true));
        }
        for (number, sequence) in (11..).zip(sequences) {
            assert_eq!(window.deliver(number, message(sequence), None), Ok(false), "{sequence}");
        }
        for absent in [0, 2, 6, 8, 11, 39, 44, 91] {
            window.finish(absent, 7);
        }
        assert!(window.open.iter().all(|open| !open.is_stored));
        assert_eq!(window.deliver(21, message(7), None), Ok(true), "between others");
        assert!(window.open.iter().is_sorted_by(|one, next| one.stream_seq < next.stream_seq));
        for (left, sequence) in (0..sequences.len()).rev().zip(sequences) {
            window.finish(sequence, 7);
            let open = window.open.iter().filter(|open| !open.is_stored).count();
            assert_eq!(open, left + 1, "{sequence}");
        }
    }

    #[test]
    fn only_messages_that_stay_open_are_kept_alive() {
        let mut window = window();
        assert_eq!(window.deliver(1, message(1), reply("1")), Ok(true));
        assert_eq!(window.aged(), []);
        assert_eq!(window.deliver(2, message(2), reply("2")), Ok(true));
        assert_eq!(window.aged(), ["1".into()]);
        assert_eq!(window.aged(), ["1".into(), "2".into()]);
        window.finish(1, 7);
        window.take_ack();
        assert_eq!(window.aged(), ["2".into()]);
    }
}
