//! Times of planned renewals.
//! Connections opened together reach their maximum age together. Each books the latest time that is far
//! enough from the others, because a renewal costs the venue's limits for connecting and subscribing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use marketprism_adapter_host::SourceIndex;
use marketprism_service::jitter;
use tokio::time::Instant;

use crate::limits::RENEWAL_SPACING;

#[derive(Debug)]
pub(crate) struct Renewals {
    booked: Mutex<BTreeMap<SourceIndex, Instant>>,
    connections: u32,
}

impl Renewals {
    pub(crate) fn new(connections: usize) -> Self {
        let connections = u32::try_from(connections).unwrap_or(u32::MAX).max(1);
        Self { booked: Mutex::new(BTreeMap::new()), connections }
    }

    /// Replaces the booking of `source` by a time between half of the way to `latest` and `latest`.
    pub(crate) fn book(&self, source: SourceIndex, opened: Instant, latest: Instant) -> Instant {
        let room = latest.saturating_duration_since(opened) / 2;
        let step = (room / self.connections).min(RENEWAL_SPACING);
        let mut booked = self.booked.lock().unwrap_or_else(PoisonError::into_inner);
        booked.remove(&source);
        let distance = |at: Instant| {
            let apart = booked.values().map(|other| if *other > at { *other - at } else { at - *other });
            apart.min().map_or(step, |nearest| nearest.min(step))
        };
        // Half steps: with n - 1 bookings on n steps one is always half a step away from all.
        let times = (0..=self.connections.saturating_mul(2)).map(|half| latest - step / 2 * half);
        let mut best = (latest, Duration::ZERO);
        for at in times {
            let distance = distance(at);
            if distance > best.1 {
                best = (at, distance);
            }
            if distance >= step / 4 * 3 {
                break;
            }
        }
        let at = best.0 - jitter(step / 8);
        booked.insert(source, at);
        at
    }

    pub(crate) fn cancel(&self, source: SourceIndex) {
        self.booked.lock().unwrap_or_else(PoisonError::into_inner).remove(&source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn connections_opened_together_are_renewed_apart() {
        let start = Instant::now();
        let renewals = Renewals::new(40);
        let lead = Duration::from_secs(90);
        let mut due = BTreeMap::new();
        let open = |due: &mut BTreeMap<SourceIndex, (Instant, Instant)>, source, now: Instant| {
            let at = renewals.book(source, now, now + HOUR * 24 - lead);
            assert!(at <= now + HOUR * 24 - lead && at >= now + HOUR * 11, "{:?}", at - now);
            due.insert(source, (at, now));
        };
        for round in 0..2 {
            let outage = start + HOUR * 72 * round;
            (0..40).for_each(|source: u32| open(&mut due, source.into(), outage));
            let mut last: Option<Instant> = None;
            while let Some((source, (at, _))) = due
                .clone()
                .into_iter()
                .min_by_key(|(_, (at, _))| *at)
                .filter(|(_, (at, _))| *at < outage + HOUR * 72)
            {
                if let Some(last) = last {
                    assert!(at - last > Duration::from_secs(120), "{:?} after the one before", at - last);
                }
                last = Some(at);
                open(&mut due, source, at);
            }
        }
    }

    #[test]
    fn a_single_connection_is_renewed_late() {
        let now = Instant::now();
        let at = Renewals::new(1).book(0.into(), now, now + HOUR);
        assert!(at > now + HOUR - RENEWAL_SPACING / 4, "{:?}", at - now);
    }
}
