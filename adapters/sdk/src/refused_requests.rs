//! Subscriptions that a venue refused for now ("too many requests"), repeated on their own connection. A new connection would ask for everything else
//! again too, and so be refused for the same reason.

use crate::output::{Frame, Output};
use std::collections::BTreeMap;

/// Pause before the first repetition, and between two repetitions of one connection. Each repetition of a request doubles its pause.
const PAUSE_NS: i64 = 1_000_000_000;
const PAUSE_MAX_NS: i64 = 64 * PAUSE_NS;

/// Requests that wait for their repetition. An adapter has no timer: the frames of the connection are its clock, heartbeats among them.
#[derive(Debug, Default)]
pub struct RefusedRequests {
    /// By connection and the adapter's number of the request; no more than the plan has requests.
    waiting: BTreeMap<(u32, u64), WaitingRequest>,
    /// Time of the last repetition of a connection.
    repeated_ns: BTreeMap<u32, i64>,
}

#[derive(Debug)]
struct WaitingRequest {
    text: String,
    pause_ns: i64,
    due_ns: i64,
}

impl RefusedRequests {
    /// The frame refuses this request of its connection for now.
    pub fn refused(&mut self, frame: Frame<'_>, request: u64, text: impl Into<String>) {
        let first = WaitingRequest { text: String::new(), pause_ns: PAUSE_NS, due_ns: 0 };
        let waiting = self.waiting.entry((frame.source, request)).or_insert(first);
        waiting.text = text.into();
        waiting.due_ns = frame.received_at_ns.saturating_add(waiting.pause_ns);
    }

    /// The request was accepted, or refused for good.
    pub fn answered(&mut self, source: u32, request: u64) {
        self.waiting.remove(&(source, request));
    }

    /// Repeats a request of the frame's connection whose pause is over. To be called with every frame.
    #[inline(always)]
    pub fn repeat(&mut self, output: &mut Output, frame: Frame<'_>) {
        if !self.waiting.is_empty() {
            self.repeat_due(output, frame);
        }
    }

    #[cold]
    fn repeat_due(&mut self, output: &mut Output, Frame { source, received_at_ns: now_ns, .. }: Frame<'_>) {
        let repeated_ns = self.repeated_ns.get(&source);
        if repeated_ns.is_some_and(|then| (0..PAUSE_NS).contains(&now_ns.saturating_sub(*then))) {
            return;
        }
        // A time further ahead than the longest pause is of a clock that was set back meanwhile.
        let is_due = |due_ns: i64| due_ns <= now_ns || due_ns > now_ns.saturating_add(PAUSE_MAX_NS);
        let mut of_connection = self.waiting.range_mut((source, 0)..=(source, u64::MAX));
        let Some((_, waiting)) = of_connection.find(|(_, waiting)| is_due(waiting.due_ns)) else { return };
        waiting.pause_ns = (waiting.pause_ns * 2).min(PAUSE_MAX_NS);
        // Until it is answered: the text may be lost with its connection.
        waiting.due_ns = now_ns.saturating_add(waiting.pause_ns);
        output.reply(waiting.text.clone());
        self.repeated_ns.insert(source, now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::each_frame;
    use crate::types::{Frames, Remark};

    /// Texts repeated at a frame of this source, at so many milliseconds.
    fn at(requests: &mut RefusedRequests, source: u32, millis: i64) -> Vec<String> {
        let frames = Frames {
            data: Vec::new(),
            ends: vec![0],
            sources: vec![source],
            received_at_ns: vec![millis * 1_000_000],
        };
        let normalized = each_frame(&frames, |output, frame| {
            requests.repeat(output, frame);
            Ok(())
        });
        let texts = normalized.notes.into_iter().filter_map(|note| match note.remark {
            Remark::Reply(text) => Some(text),
            _ => None,
        });
        texts.collect()
    }

    fn refuse(requests: &mut RefusedRequests, source: u32, request: u64, millis: i64) {
        let frame = Frame { bytes: &[], source, received_at_ns: millis * 1_000_000 };
        requests.refused(frame, request, format!("{source}/{request}"));
    }

    #[test]
    fn a_refused_request_is_repeated_on_its_connection_after_pauses_that_grow() {
        let mut requests = RefusedRequests::default();
        refuse(&mut requests, 1, 7, 0);
        assert!(at(&mut requests, 1, 999).is_empty(), "before its pause");
        assert!(at(&mut requests, 0, 5_000).is_empty(), "another connection");
        let mut times = Vec::new();
        for millis in (0..400_000).step_by(500) {
            if !at(&mut requests, 1, millis).is_empty() {
                times.push(millis / 1000);
                refuse(&mut requests, 1, 7, millis);
            }
        }
        assert_eq!(times, [1, 3, 7, 15, 31, 63, 127, 191, 255, 319, 383].map(|second: i64| second));
        requests.answered(1, 7);
        assert!(at(&mut requests, 1, 1_000_000).is_empty(), "answered");
    }

    #[test]
    fn many_refused_requests_are_repeated_one_a_second_until_they_are_answered() {
        let mut requests = RefusedRequests::default();
        (0..3).for_each(|request| refuse(&mut requests, 0, request, 0));
        let mut came = Vec::new();
        for millis in (1_000..4_000).step_by(250) {
            for text in at(&mut requests, 0, millis) {
                requests.answered(0, came.len() as u64);
                came.push((millis, text));
            }
        }
        let expected = [(1_000, "0/0"), (2_000, "0/1"), (3_000, "0/2")];
        assert_eq!(came, expected.map(|(millis, text)| (millis, text.to_owned())));
        refuse(&mut requests, 0, 9, 10_000);
        assert_eq!(at(&mut requests, 0, 11_000), ["0/9"]);
        assert_eq!(at(&mut requests, 0, 13_000), ["0/9"], "no answer came");
    }

    #[test]
    fn a_clock_that_is_set_back_silences_no_request() {
        let mut requests = RefusedRequests::default();
        refuse(&mut requests, 0, 1, 3_600_000);
        assert_eq!(at(&mut requests, 0, 0), ["0/1"]);
        refuse(&mut requests, 0, 1, 10);
        assert!(at(&mut requests, 0, 1_000).is_empty());
        assert_eq!(at(&mut requests, 0, 2_010), ["0/1"]);
    }
}
