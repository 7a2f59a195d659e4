//! Silent streams on a connection with many others.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use marketprism_socket::{SilenceHint, SocketCounter, SocketCounters, SocketEvent};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{connection, plan, stream};
use crate::venue::{Server, next, quick, start_with, stop};

const STREAMS: u32 = 100;
const EXPECTED: Duration = Duration::from_millis(200);

struct StreamReport {
    silences: Vec<(u32, SilenceHint)>,
    asked_again: usize,
    connects: usize,
    counters: SocketCounters,
}

/// Runs one connection with 100 streams. The venue sends a frame of each stream every 20 ms while `alive(stream, elapsed)`.
async fn run(time: Duration, alive: impl Fn(u32, Duration) -> bool + Send + Sync + 'static) -> StreamReport {
    let start = Instant::now();
    let alive = Arc::new(alive);
    let (asked, mut asks) = mpsc::channel(4096);
    let server = Server::websocket(move |mut socket, _| {
        let (alive, asked) = (Arc::clone(&alive), asked.clone());
        async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            loop {
                tokio::select! {
                    _ = ticks.tick() => {
                        for number in (0..STREAMS).filter(|number| alive(*number, start.elapsed())) {
                            if socket.feed(Message::text(number.to_string())).await.is_err() {
                                return;
                            }
                        }
                        if socket.flush().await.is_err() {
                            return;
                        }
                    }
                    message = socket.next() => match message {
                        Some(Ok(Message::Text(text))) => asked.try_send(text.to_string()).unwrap(),
                        Some(Ok(_)) => {}
                        _ => return,
                    },
                }
            }
        }
    })
    .await;
    let mut first = connection(server.ws());
    let expected_ms = u32::try_from(EXPECTED.as_millis()).unwrap();
    first.streams = (0..STREAMS).map(|number| stream(expected_ms, &[&format!("again {number}")])).collect();
    let (sockets, mut inputs) = start_with(&plan(vec![first]), quick(), 1024);
    let mut silences = Vec::new();
    while start.elapsed() < time {
        match next(&mut inputs).await {
            SocketEvent::Frame(frame) => {
                let number = std::str::from_utf8(&frame.data).unwrap().parse::<u32>().unwrap();
                sockets.saw(0, number, frame.received_at_ns);
            }
            SocketEvent::Silent { stream, hint, .. } => silences.push((stream.into(), hint)),
            SocketEvent::Closed { reason, overlap, .. } => {
                assert_eq!((reason.label(), overlap), ("silent", true))
            }
            _ => {}
        }
    }
    let counters = sockets.counters();
    stop(sockets, &mut inputs).await;
    let mut asked_again = 0;
    while asks.try_recv().is_ok() {
        asked_again += 1;
    }
    StreamReport { silences, asked_again, connects: server.accepted(), counters }
}

#[tokio::test]
async fn a_dead_stream_among_many_makes_no_storm() {
    let report =
        run(Duration::from_secs(3), |number, at| number != 7 || at < Duration::from_millis(300)).await;
    assert_eq!(report.silences, [(7, SilenceHint::WentQuiet)]);
    assert_eq!(report.asked_again, 1);
    assert_eq!(report.connects, 3);
    assert!(report.counters[SocketCounter::SilenceReconnectsHeld] >= 1);
}

#[tokio::test]
async fn streams_that_die_one_after_the_other_make_no_storm() {
    let report = run(Duration::from_secs(3), |number, at| {
        number >= 40 || at < Duration::from_millis(300 + 60 * u64::from(number))
    })
    .await;
    assert!(report.silences.len() >= 25, "{:?}", report.silences);
    assert_eq!(report.asked_again, report.silences.len());
    assert!((2..=4).contains(&report.connects), "{} connects", report.connects);
}

#[tokio::test]
async fn flapping_streams_are_not_asked_for_each_time() {
    let report = run(Duration::from_secs(4), |number, at| number >= 10 || at.as_millis() % 300 < 50).await;
    let again = usize::try_from(report.counters[SocketCounter::SilenceResubscribes]).unwrap();
    assert!(report.silences.len() >= 60, "{} silences", report.silences.len());
    assert!(report.counters[SocketCounter::SilenceResubscribesHeld] >= 20);
    assert!(again <= 10 * 4 && report.asked_again <= again, "asked for {again} times");
    assert!(report.connects <= 4, "{} connects", report.connects);
}
