//! Pairs the arrivals of an event on both ways. Only events that came on both count, so that the quantiles are of the same events.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use marketprism_schema::EventId;
use serde::Serialize;

use super::DeliveryPath;
use super::histogram::LatencyHistogram;
use crate::limits::{AB_PENDING, AB_PENDING_AGE};
use crate::time::{Time, nanos};

#[derive(Debug, Clone, Copy)]
pub struct EventArrival {
    pub way: DeliveryPath,
    pub event_id: EventId,
    pub at_ns: i64,
    /// Since the receipt at the edge, by two clocks.
    pub latency_ns: i64,
}

/// Quantiles in microseconds; absent without an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WayLatency {
    pub p50_us: Option<u64>,
    pub p90_us: Option<u64>,
    pub p95_us: Option<u64>,
    pub p99_us: Option<u64>,
}

impl From<&LatencyHistogram> for WayLatency {
    fn from(histogram: &LatencyHistogram) -> Self {
        let [p50_us, p90_us, p95_us, p99_us] = [50, 90, 95, 99].map(|percent| histogram.quantile(percent));
        Self { p50_us, p90_us, p95_us, p99_us }
    }
}

/// An hour, or the part of it in which was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LatencyPeriod {
    pub from: Time,
    pub to: Time,
    /// Events that came on both ways.
    pub pairs: u64,
    /// Receipt at the edge to arrival here.
    pub core: WayLatency,
    pub jetstream: WayLatency,
    /// EventArrival over JetStream behind that over the mirror: free of the difference of clocks. 0 where JetStream was first.
    pub jetstream_behind: WayLatency,
    /// Of them, JetStream was first.
    pub jetstream_first: u64,
    /// Events that came on one way only within a minute: not mirrored, or lost by core NATS.
    pub core_only: u64,
    pub jetstream_only: u64,
    /// Events that were given up earlier, as too many waited for their arrival on the other way.
    pub unpaired: u64,
    /// Pairs with an arrival before the receipt, as clocks that differ show it: they count as 0.
    pub before_receipt: u64,
    /// Messages that are no events.
    pub unreadable: u64,
}

#[derive(Debug, Default)]
struct Pending {
    core: Option<EventArrival>,
    jetstream: Option<EventArrival>,
}

#[derive(Debug, Default)]
struct Counts {
    core: LatencyHistogram,
    jetstream: LatencyHistogram,
    behind: LatencyHistogram,
    pairs: u64,
    jetstream_first: u64,
    core_only: u64,
    jetstream_only: u64,
    unpaired: u64,
    before_receipt: u64,
    unreadable: u64,
}

pub struct Comparison {
    every_ns: i64,
    from_ns: i64,
    pending: HashMap<EventId, Pending>,
    /// By the first arrival.
    order: VecDeque<(i64, EventId)>,
    counts: Counts,
}

fn micros(ns: i64) -> u64 {
    u64::try_from(ns / 1_000).unwrap_or_default()
}

impl Comparison {
    pub fn new(from_ns: i64, every: Duration) -> Self {
        let every_ns = nanos(every).max(1);
        Self { every_ns, from_ns, pending: HashMap::new(), order: VecDeque::new(), counts: Counts::default() }
    }

    /// Of two copies on one way the first counts.
    pub fn add(&mut self, arrival: &Option<EventArrival>) {
        let Some(arrival) = arrival else {
            self.counts.unreadable += 1;
            return;
        };
        let is_new = !self.pending.contains_key(&arrival.event_id);
        let pending = self.pending.entry(arrival.event_id).or_default();
        let of_way = match arrival.way {
            DeliveryPath::Core => &mut pending.core,
            DeliveryPath::JetStream => &mut pending.jetstream,
        };
        if of_way.is_none() {
            *of_way = Some(*arrival);
            if let (Some(core), Some(jetstream)) = (pending.core, pending.jetstream) {
                self.counts.add(&core, &jetstream);
            }
        }
        if is_new {
            self.order.push_back((arrival.at_ns, arrival.event_id));
        }
        self.forget(arrival.at_ns);
    }

    /// An event that has no second arrival after a minute, or that there is no room for.
    fn forget(&mut self, now_ns: i64) {
        let oldest_ns = now_ns.saturating_sub(nanos(AB_PENDING_AGE));
        while let Some((at_ns, _)) = self.order.front().copied() {
            let is_old = at_ns < oldest_ns;
            if !is_old && self.order.len() <= AB_PENDING {
                return;
            }
            let Some(pending) = self.order.pop_front().and_then(|(_, id)| self.pending.remove(&id)) else {
                continue;
            };
            match (pending.core, pending.jetstream) {
                (Some(_), Some(_)) => {}
                _ if !is_old => self.counts.unpaired += 1,
                (_, None) => self.counts.core_only += 1,
                (None, _) => self.counts.jetstream_only += 1,
            }
        }
    }

    /// The period that is over, if one is.
    pub fn ended(&mut self, now_ns: i64) -> Option<LatencyPeriod> {
        let end_ns = (self.from_ns.div_euclid(self.every_ns) + 1).saturating_mul(self.every_ns);
        if now_ns < end_ns {
            return None;
        }
        self.forget(now_ns);
        Some(self.period(end_ns))
    }

    /// The rest of the last period. What came in its last minute may come on the other way yet, and is left out.
    pub fn close(mut self, now_ns: i64) -> LatencyPeriod {
        self.forget(now_ns);
        self.period(now_ns)
    }

    fn period(&mut self, to_ns: i64) -> LatencyPeriod {
        let counts = std::mem::take(&mut self.counts);
        let from_ns = std::mem::replace(&mut self.from_ns, to_ns);
        LatencyPeriod {
            from: Time(from_ns.div_euclid(1_000_000)),
            to: Time(to_ns.div_euclid(1_000_000)),
            pairs: counts.pairs,
            core: WayLatency::from(&counts.core),
            jetstream: WayLatency::from(&counts.jetstream),
            jetstream_behind: WayLatency::from(&counts.behind),
            jetstream_first: counts.jetstream_first,
            core_only: counts.core_only,
            jetstream_only: counts.jetstream_only,
            unpaired: counts.unpaired,
            before_receipt: counts.before_receipt,
            unreadable: counts.unreadable,
        }
    }
}

impl Counts {
    fn add(&mut self, core: &EventArrival, jetstream: &EventArrival) {
        self.pairs += 1;
        self.core.add(micros(core.latency_ns));
        self.jetstream.add(micros(jetstream.latency_ns));
        self.behind.add(micros(jetstream.at_ns.saturating_sub(core.at_ns)));
        self.jetstream_first += u64::from(jetstream.at_ns < core.at_ns);
        self.before_receipt += u64::from(core.latency_ns < 0 || jetstream.latency_ns < 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const HOUR_NS: i64 = 3_600_000_000_000;

    fn arrival(way: DeliveryPath, id: u128, at_us: i64, latency_us: i64) -> Option<EventArrival> {
        let (at_ns, latency_ns) = (at_us * 1_000, latency_us * 1_000);
        Some(EventArrival { way, event_id: EventId(id), at_ns, latency_ns })
    }

    #[test]
    fn only_events_of_both_ways_count_and_each_once() {
        let mut comparison = Comparison::new(0, HOUR);
        comparison.add(&arrival(DeliveryPath::Core, 1, 100, 10));
        comparison.add(&arrival(DeliveryPath::JetStream, 1, 130, 40));
        // The copy of another edge, and again.
        comparison.add(&arrival(DeliveryPath::Core, 1, 140, 50));
        comparison.add(&arrival(DeliveryPath::JetStream, 2, 200, -5));
        comparison.add(&arrival(DeliveryPath::Core, 2, 207, 2));
        comparison.add(&arrival(DeliveryPath::Core, 3, 210, 1));
        comparison.add(&arrival(DeliveryPath::JetStream, 4, 220, 1));
        comparison.add(&None);
        let minute_later = 220_000 + nanos(AB_PENDING_AGE) + 1;
        let period = comparison.close(minute_later);
        assert_eq!((period.pairs, period.core_only, period.jetstream_only), (2, 1, 1));
        assert_eq!((period.jetstream_first, period.before_receipt, period.unreadable), (1, 1, 1));
        assert_eq!((period.core.p50_us, period.core.p99_us), (Some(2), Some(10)));
        assert_eq!((period.jetstream.p50_us, period.jetstream.p99_us), (Some(0), Some(40)));
        assert_eq!(period.jetstream_behind.p99_us, Some(30));
    }

    #[test]
    fn periods_end_with_the_hour_and_what_waits_is_bounded() {
        let mut comparison = Comparison::new(HOUR_NS / 2, HOUR);
        assert_eq!(comparison.ended(HOUR_NS - 1), None);
        let first = comparison.ended(HOUR_NS).unwrap();
        assert_eq!((first.from, first.to), (Time(1_800_000), Time(3_600_000)));
        assert_eq!(comparison.ended(HOUR_NS + 1), None);
        for id in 0..AB_PENDING + 10 {
            comparison.add(&arrival(DeliveryPath::Core, id as u128, HOUR_NS / 1_000, 1));
        }
        assert_eq!(comparison.pending.len(), AB_PENDING);
        let second = comparison.ended(2 * HOUR_NS).unwrap();
        assert_eq!((second.from, second.core_only), (Time(3_600_000), AB_PENDING as u64));
        assert_eq!(second.unpaired, 10, "they had no minute");
    }
}
