//! Offset of this machine's clock from the venue's, measured over the venue's time endpoint (Cristian's method): of a few round trips the
//! fastest counts. The offset is reported, and corrects nothing.

use std::time::Duration;

use marketprism_adapter_host::contract::{TimeUnit, VenueClock};
use marketprism_service::clock::now_ns;
use marketprism_service::jitter;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use url::Url;

use crate::clock_options::{ClockFailure, ClockOffset, ClockOptions};
use crate::error::RequestFailure;
use crate::limits::{
    CLOCK_ANSWER_BYTES, CLOCK_FIRST_WITHIN, CLOCK_ROUND_TRIPS, CLOCK_UNSTEADY, SPARE_WAIT_MAX,
};
use crate::request_runner::RequestRunner;

/// Measures until the feed stops, when its budgets have room to spare.
pub(crate) async fn run_venue_clock(requester: RequestRunner, clock: VenueClock, options: ClockOptions) {
    let (stop, mut steps) = (requester.feed.stop.clone(), options.steps.clone());
    let mut wait = jitter(options.every.min(CLOCK_FIRST_WITHIN));
    loop {
        let measuring = async {
            sleep(wait).await;
            measure(&requester, &clock).await
        };
        wait = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = stepped(&mut steps) => Duration::ZERO,
            measured = measuring => {
                options.observer.measured(measured);
                options.every - options.every / 10 + jitter(options.every / 5)
            }
        };
    }
}

async fn stepped(steps: &mut watch::Receiver<u64>) {
    if steps.changed().await.is_err() {
        // Nobody looks at the clock any more.
        std::future::pending().await
    }
}

async fn measure(requester: &RequestRunner, clock: &VenueClock) -> Result<ClockOffset, ClockFailure> {
    let mut best: Option<ClockOffset> = None;
    for _ in 0..CLOCK_ROUND_TRIPS {
        match round_trip(requester, clock).await {
            Ok(trip) => {
                let offset = trip.offset();
                best = Some(best.filter(|best| best.error_ns <= offset.error_ns).unwrap_or(offset));
            }
            Err(failure) => return best.ok_or(failure),
        }
    }
    best.ok_or(ClockFailure::Unsteady)
}

async fn round_trip(requester: &RequestRunner, clock: &VenueClock) -> Result<RoundTrip, ClockFailure> {
    let budgets = &requester.feed.budgets;
    budgets.spare(&clock.request.charges, SPARE_WAIT_MAX).await.map_err(RequestFailure::Budget)?;
    let mut sent = (Instant::now(), now_ns());
    let mut stamp = |_: &mut Url| sent = (Instant::now(), now_ns());
    let (body, _turn) =
        requester.client.fetch_in_turn(budgets, &clock.request, &requester.at_once, &mut stamp).await?;
    let (received_at, received_ns) = (Instant::now(), now_ns());
    let took_ns = i64::try_from((received_at - sent.0).as_nanos()).unwrap_or(i64::MAX);
    let drift_ns = received_ns.saturating_sub(sent.1).saturating_sub(took_ns).saturating_abs();
    let unreadable = || ClockFailure::Unreadable { pointer: clock.pointer.clone(), bytes: body.len() };
    let venue_ns = venue_time_ns(&body, clock).ok_or_else(unreadable)?;
    if u128::from(drift_ns.unsigned_abs()) > CLOCK_UNSTEADY.as_nanos() {
        return Err(ClockFailure::Unsteady);
    }
    let (received_at, resolution_ns) = (received_at.into_std(), unit_ns(clock.unit));
    Ok(RoundTrip { received_at, received_ns, took_ns, drift_ns, venue_ns, resolution_ns })
}

#[derive(Debug, Clone, Copy)]
struct RoundTrip {
    received_at: std::time::Instant,
    received_ns: i64,
    took_ns: i64,
    /// Difference between the wall clock and the monotonic one over the trip.
    drift_ns: i64,
    /// Cut to the venue's resolution.
    venue_ns: i64,
    resolution_ns: i64,
}

impl RoundTrip {
    /// The venue read its clock at some moment of the trip: in its middle, give or take a half.
    const fn offset(&self) -> ClockOffset {
        let half_ns = self.took_ns / 2;
        let middle_ns = self.received_ns.saturating_sub(half_ns);
        ClockOffset {
            offset_ns: middle_ns.saturating_sub(self.venue_ns),
            error_ns: half_ns
                .saturating_add(1)
                .saturating_add(self.resolution_ns)
                .saturating_add(self.drift_ns),
            measured_at_ns: self.received_ns,
            at: self.received_at,
        }
    }
}

const fn unit_ns(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Seconds => 1_000_000_000,
        TimeUnit::Milliseconds => 1_000_000,
        TimeUnit::Microseconds => 1_000,
        TimeUnit::Nanoseconds => 1,
    }
}

fn venue_time_ns(body: &[u8], clock: &VenueClock) -> Option<i64> {
    if body.len() > CLOCK_ANSWER_BYTES {
        return None;
    }
    let answer: Value = serde_json::from_slice(body).ok()?;
    let number = match answer.pointer(&clock.pointer)? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.filter(|number| *number > 0)?.checked_mul(unit_ns(clock.unit))
}

#[cfg(test)]
mod tests {
    use marketprism_adapter_host::contract::{Method, Request};

    use super::*;

    #[test]
    fn the_offset_is_within_its_error_whatever_the_ways_take_and_the_venue_rounds_to() {
        const SENT_NS: i64 = 1_763_800_000_123_456_789;
        let ways = [0, 1, 70_000, 3_000_000, 2_999_999_999];
        for resolution_ns in [1, 1_000, 1_000_000, 1_000_000_000] {
            for (there_ns, back_ns) in ways.into_iter().flat_map(|there| ways.map(|back| (there, back))) {
                for ahead_ns in [0, 1, -1, 499_999_999, -500_000_000, 3_600_000_000_000] {
                    let exact_ns = SENT_NS + there_ns - ahead_ns;
                    let trip = RoundTrip {
                        received_at: std::time::Instant::now(),
                        received_ns: SENT_NS + there_ns + back_ns,
                        took_ns: there_ns + back_ns,
                        drift_ns: 0,
                        venue_ns: exact_ns - exact_ns.rem_euclid(resolution_ns),
                        resolution_ns,
                    };
                    let ClockOffset { offset_ns, error_ns, .. } = trip.offset();
                    assert!((offset_ns - ahead_ns).abs() <= error_ns, "{trip:?}: {offset_ns} of {ahead_ns}");
                    assert!(error_ns <= (there_ns + back_ns) / 2 + resolution_ns + 1, "{trip:?}: {error_ns}");
                }
            }
        }
    }

    #[test]
    fn a_time_is_a_whole_number_or_a_text_that_is_one() {
        let read = |body: &str, pointer: &str, unit| {
            let request = Request {
                method: Method::Get,
                url: String::new(),
                headers: Vec::new(),
                body: None,
                charges: Vec::new(),
                timeout_ms: 0,
            };
            venue_time_ns(body.as_bytes(), &VenueClock { request, pointer: pointer.to_owned(), unit })
        };
        assert_eq!(read(r#"{"a":7}"#, "/a", TimeUnit::Milliseconds), Some(7_000_000));
        assert_eq!(read(r#"{"a":[{"b":"7"}]}"#, "/a/0/b", TimeUnit::Nanoseconds), Some(7));
        assert_eq!(read("9", "", TimeUnit::Seconds), Some(9_000_000_000));
        for bad in [r#"{"a":7.5}"#, r#"{"a":"now"}"#, r#"{"a":null}"#, r#"{"a":0}"#, r#"{"b":7}"#, "{", ""] {
            assert_eq!(read(bad, "/a", TimeUnit::Seconds), None, "{bad}");
        }
        assert_eq!(read(&format!(r#"{{"a":{}}}"#, i64::MAX), "/a", TimeUnit::Seconds), None);
        let long = format!(r#"{{"a":7,"b":"{}"}}"#, "x".repeat(CLOCK_ANSWER_BYTES));
        assert_eq!(read(&long, "/a", TimeUnit::Seconds), None);
    }
}
