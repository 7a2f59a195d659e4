//! Consumers that deliver nothing although messages wait for them. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::Info as ConsumerInfo;

use crate::broker::is_to_deliver;
use crate::limits;

/// Consumers with messages pending, by name.
#[derive(Debug, Default)]
pub struct DeliveryWatch(BTreeMap<String, WaitingConsumer>);

#[derive(Debug)]
struct WaitingConsumer {
    deliveries: u64,
    /// It has been able to deliver since then, or since the last subscription that was due.
    since: Instant,
    /// Time until another subscription is due. Twice as long after each: the broker may count messages that it does not hold.
    patience: Duration,
}

impl DeliveryWatch {
    /// Reason for another subscription, if a consumer has delivered nothing for too long.
    pub fn check<'a>(
        &mut self,
        consumers: impl IntoIterator<Item = &'a ConsumerInfo>,
        now: Instant,
    ) -> Option<String> {
        let mut before = std::mem::take(&mut self.0);
        let mut reason = None;
        for consumer in consumers.into_iter().filter(|consumer| consumer.num_pending > 0) {
            let ConsumerInfo { name, delivered, num_pending, num_waiting, .. } = consumer;
            let deliveries = delivered.consumer_sequence;
            let known = before.remove(name).filter(|known| known.deliveries == deliveries);
            let mut waiting =
                known.unwrap_or(WaitingConsumer { deliveries, since: now, patience: limits::STALLED_AFTER });
            let waited = now.saturating_duration_since(waiting.since);
            if !is_to_deliver(consumer) {
                waiting.since = now;
            } else if waited >= waiting.patience {
                reason = Some(format!(
                    "consumer {name} has delivered nothing for {} s, with {num_pending} message(s) pending and {num_waiting} pull(s) waiting",
                    waited.as_secs()
                ));
                waiting.since = now;
                waiting.patience = (waiting.patience * 2).min(limits::STALLED_PATIENCE_MAX);
            }
            self.0.insert(name.clone(), waiting);
        }
        reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer(deliveries: u64, pending: u64, waiting: u64, ack_pending: u64) -> ConsumerInfo {
        let at = serde_json::json!({"consumer_seq": deliveries, "stream_seq": deliveries});
        let info = serde_json::json!({
            "stream_name": "MARKET_DATA", "name": "central-liquidations", "created": "2026-11-30T00:00:00Z",
            "config": {"deliver_policy": "all", "ack_policy": "explicit", "replay_policy": "instant", "max_ack_pending": 10},
            "delivered": at, "ack_floor": at, "num_ack_pending": ack_pending, "num_redelivered": 0,
            "num_waiting": waiting, "num_pending": pending,
        });
        serde_json::from_value(info).unwrap()
    }

    #[test]
    fn a_consumer_that_delivers_nothing_for_a_minute_is_subscribed_to_again() {
        let start = Instant::now();
        let checks = |states: &[(u64, u64, u64, u64)]| {
            let mut watch = DeliveryWatch::default();
            let mut reasons = Vec::new();
            for (number, &(deliveries, pending, waiting, ack_pending)) in (0..).zip(states) {
                let now = start + limits::STALLED_AFTER / 2 * number;
                reasons.push(watch.check([&consumer(deliveries, pending, waiting, ack_pending)], now));
            }
            reasons
        };
        let stalled = checks(&[(5, 300, 1, 0), (5, 300, 1, 0), (5, 301, 1, 0)]);
        assert_eq!((&stalled[0], &stalled[1]), (&None, &None));
        let reason = stalled[2].as_ref().unwrap();
        assert!(
            reason.contains("central-liquidations") && reason.contains("301 message(s) pending"),
            "{reason}"
        );
        let healthy = [
            [(5, 300, 1, 0), (6, 300, 1, 0), (7, 300, 1, 0)],
            [(5, 0, 1, 0), (5, 0, 1, 0), (5, 1, 1, 0)],
            [(5, 300, 0, 0), (5, 300, 0, 0), (5, 300, 0, 0)],
            [(5, 300, 1, 10), (5, 300, 1, 10), (5, 300, 1, 10)],
            [(5, 300, 1, 0), (5, 0, 1, 0), (5, 300, 1, 0)],
        ];
        for states in healthy {
            assert!(checks(&states).iter().all(Option::is_none), "{states:?}");
        }
        let again = checks(&[(5, 300, 1, 0); 9]);
        let due: Vec<usize> = (0..9).filter(|&number| again[number].is_some()).collect();
        assert_eq!(due, [2, 6], "less often if another subscription does not help");
    }

    #[test]
    fn the_wait_for_another_subscription_grows_up_to_its_bound() {
        let (start, step) = (Instant::now(), limits::STALLED_AFTER / 2);
        let mut watch = DeliveryWatch::default();
        let mut last = Duration::ZERO;
        let mut longest = Duration::ZERO;
        for at in (0..).map(|number| step * number).take_while(|at| *at <= limits::STALLED_PATIENCE_MAX * 6) {
            if watch.check([&consumer(5, 300, 1, 0)], start + at).is_some() {
                longest = longest.max(at - last);
                last = at;
            }
        }
        assert_eq!(longest, limits::STALLED_PATIENCE_MAX);
    }

    #[test]
    fn a_paused_consumer_is_not_stalled() {
        let start = Instant::now();
        let mut watch = DeliveryWatch::default();
        for at in [Duration::ZERO, limits::STALLED_AFTER, limits::STALLED_AFTER * 2] {
            let paused = ConsumerInfo { paused: true, ..consumer(5, 300, 1, 0) };
            assert_eq!(watch.check([&paused], start + at), None);
        }
        let resumed = start + limits::STALLED_AFTER * 5 / 2;
        assert_eq!(watch.check([&consumer(5, 300, 1, 0)], resumed), None, "its time counts since the pause");
        assert!(watch.check([&consumer(5, 300, 1, 0)], resumed + limits::STALLED_AFTER / 2).is_some());
    }
}
