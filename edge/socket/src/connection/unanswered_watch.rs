//! Finds subscriptions that the venue may never have taken: of a stream whose silence is normal nothing has come since its connection was
//! subscribed. Such a stream is subscribed again, one at a time and more and more rarely. No connection is replaced for it: it may just be quiet.

use std::time::Duration;

use marketprism_adapter_host::StreamIndex;
use marketprism_adapter_host::contract::DataStream;
use tokio::time::Instant;

use crate::limits::{UNANSWERED_RETRY_TIMES, UNANSWERED_SPACING_PART};

#[derive(Debug)]
pub(crate) struct UnansweredWatch {
    allowed: Duration,
    /// Everything was subscribed on the serving generation.
    since: Instant,
    /// Earliest time of the next resubscription.
    next_at: Instant,
    streams: Vec<UnansweredStream>,
}

#[derive(Debug)]
struct UnansweredStream {
    stream: StreamIndex,
    /// Its last resubscription on the serving generation.
    asked: Option<Instant>,
    /// Doubled with each resubscription, until something comes.
    patience: Duration,
}

impl UnansweredWatch {
    /// Watches the streams that have no expected silence and can be subscribed again alone.
    pub(crate) fn new(streams: &[DataStream], allowed: Duration, now: Instant) -> Self {
        let watched = StreamIndex::enumerate(streams)
            .filter(|(_, stream)| stream.expected_silence_ms == 0 && !stream.resubscribe.is_empty());
        let streams = watched.map(|(stream, _)| UnansweredStream { stream, asked: None, patience: allowed });
        Self { allowed, since: now, next_at: now, streams: streams.collect() }
    }

    /// A new generation serves.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.since = now;
        self.streams.iter_mut().for_each(|stream| stream.asked = None);
    }

    /// The stream to subscribe again now, and the time of the next look. `look` gives the start of the expectation of a stream, and true if
    /// the serving generation has brought an event of it; `None`: nothing can come of it.
    pub(crate) fn check(
        &mut self,
        now: Instant,
        look: impl Fn(StreamIndex) -> Option<(Instant, bool)>,
    ) -> (Option<StreamIndex>, Option<Instant>) {
        let is_watching = !self.streams.is_empty();
        let mut earliest: Option<(Instant, &mut UnansweredStream)> = None;
        for one in &mut self.streams {
            let Some((expected, is_answered)) = look(one.stream) else { continue };
            if is_answered {
                one.patience = self.allowed;
                continue;
            }
            let due = one.asked.unwrap_or(self.since).max(expected) + one.patience;
            if earliest.as_ref().is_none_or(|(other, _)| due < *other) {
                earliest = Some((due, one));
            }
        }
        // A stream of which nothing can come may be expected again.
        let Some((due, one)) = earliest else {
            return (None, is_watching.then_some(now + self.allowed));
        };
        let at = due.max(self.next_at);
        if now < at {
            return (None, Some(at.min(now + self.allowed)));
        }
        one.asked = Some(now);
        one.patience = one.patience.saturating_mul(2).min(self.allowed * UNANSWERED_RETRY_TIMES);
        let stream = one.stream;
        self.next_at = now + self.allowed / UNANSWERED_SPACING_PART;
        (Some(stream), Some(self.next_at))
    }
}

#[cfg(test)]
mod tests {
    use marketprism_adapter_host::contract::DataType;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_stream_without_an_event_since_its_subscription_is_subscribed_again_more_and_more_rarely() {
        let stream = |expected_silence_ms, again: &str| DataStream {
            data_type: DataType::Trade,
            instrument: Some(0),
            expected_silence_ms,
            resubscribe: vec![again.to_owned()],
        };
        let streams = [stream(0, "a"), stream(0, "b"), stream(1_000, "watched"), stream(0, "c")];
        let start = Instant::now();
        let at = |minutes: u32| start + MINUTE * minutes;
        let mut watch = UnansweredWatch::new(&streams, MINUTE * 60, start);
        watch.begin(at(0));
        // The first delivers, the third has an expected silence, and of the others nothing came.
        let look = |stream: StreamIndex| Some((start, stream.position() == 0));
        assert_eq!(watch.check(at(5), look), (None, Some(at(60))));
        assert_eq!(watch.check(at(60), look), (Some(1.into()), Some(at(62))));
        assert_eq!(watch.check(at(61), look), (None, Some(at(62))));
        assert_eq!(watch.check(at(62), look), (Some(3.into()), Some(at(64))));
        assert_eq!(watch.check(at(64), look), (None, Some(at(124))), "looks again in time");
        assert_eq!(watch.check(at(179), look), (None, Some(at(180))));
        assert_eq!(watch.check(at(180), look), (Some(1.into()), Some(at(182))));
        watch.begin(at(181));
        assert_eq!(watch.check(at(300), |_| None), (None, Some(at(360))), "nothing can come of any");
        let back = |stream: StreamIndex| (stream.position() == 3).then_some((at(300), false));
        assert_eq!(watch.check(at(301), back), (None, Some(at(361))));
        assert_eq!(watch.check(at(420), back), (Some(3.into()), Some(at(422))));
    }
}
