//! Measurements of the venue's clock over real requests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use marketprism_adapter_host::contract::{TimeUnit, VenueClock};
use marketprism_service::clock::now_ns;
use marketprism_socket::{ClockFailure, ClockObserver, ClockOffset, ClockOptions};
use tokio::sync::watch;

use crate::plans::{plan, request};
use crate::venue::{Server, answer, eventually, quick, start_with, stop};

#[derive(Debug, Default)]
struct Measured(Mutex<Vec<Result<ClockOffset, String>>>);

impl ClockObserver for Measured {
    fn measured(&self, result: Result<ClockOffset, ClockFailure>) {
        self.0.lock().unwrap().push(result.map_err(|failure| failure.to_string()));
    }
}

const SKEW_NS: i64 = -7_000_000_000;

/// Most of a slow round trip is before the venue reads its clock; one of four is fast. The first measurement gets no time.
/// Without a step the next one would be hours away.
#[tokio::test]
async fn the_offset_is_that_of_the_venue_within_its_error_and_a_step_of_the_clock_measures_at_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let venue = Server::rest(move |_, _| {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        if number == 0 {
            return (Duration::ZERO, answer("200 OK", "", r#"{"time":"soon"}"#));
        }
        let late = if number % 4 == 2 { Duration::ZERO } else { Duration::from_millis(60) };
        std::thread::sleep(late);
        let venue_us = (now_ns() - SKEW_NS) / 1_000;
        (Duration::ZERO, answer("200 OK", "", &format!(r#"{{"time":{venue_us}}}"#)))
    })
    .await;
    let measured = Arc::new(Measured::default());
    let mut plan = plan(Vec::new());
    let pointer = "/time".to_owned();
    let request = request(venue.http("/time"));
    plan.clock = Some(VenueClock { request, pointer, unit: TimeUnit::Microseconds });
    let observer = Arc::clone(&measured) as Arc<dyn ClockObserver>;
    let mut options = quick();
    let (step, steps) = watch::channel(0);
    // Before the start: a later one would end a measurement that has begun by itself.
    step.send_replace(1);
    options.clock = Some(ClockOptions { every: Duration::from_secs(36_000), steps, observer });
    let (sockets, mut inputs) = start_with(&plan, options, 10);
    let offsets = || measured.0.lock().unwrap().iter().filter_map(|one| one.clone().ok()).collect::<Vec<_>>();
    for number in 1..=3 {
        if number > 1 {
            step.send_replace(number);
        }
        let done = || measured.0.lock().unwrap().len() as u64 == number;
        eventually("a measurement after a step", done).await;
    }
    assert_eq!(offsets().len(), 2);
    for ClockOffset { offset_ns, error_ns, .. } in offsets() {
        assert!((offset_ns - SKEW_NS).abs() <= error_ns, "{offset_ns} \u{b1} {error_ns}");
    }
    let first = measured.0.lock().unwrap()[0].clone();
    let failure =
        "no time at `/time` of the answer (15 bytes), allowed: a whole number, or a text that is one";
    assert_eq!(first, Err(failure.to_owned()));
    stop(sockets, &mut inputs).await;
}
