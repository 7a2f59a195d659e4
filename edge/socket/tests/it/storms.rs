//! Silent streams on a connection that serves many others.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use marketprism_socket::{Budgets, Counted, FeedSockets, Input, SilenceHint, SocketCounters};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{connection, plan, stream};
use crate::venue::{Server, next, quick, stop};

const STREAMS: u32 = 100;
const EXPECTED: Duration = Duration::from_millis(200);

/// What a feed told while the venue's streams behaved as `alive` says, by stream and time since the start.
struct Told {
    silences: Vec<(u32, SilenceHint)>,
    asked_again: usize,
    connects: usize,
    counters: SocketCounters,
}

/// Runs one connection with 100 streams for a time. The venue sends a frame of each living stream every 20
/// ms, on every connection.
async fn run(time: Duration, alive: impl Fn(u32, Duration) -> bool + Send + Sync + 'static) -> Told {
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
    let (sender, mut inputs) = mpsc::channel(1024);
    let sockets = FeedSockets::start(&plan(vec![first]), quick(), Budgets::new(), sender).unwrap();
    let mut silences = Vec::new();
    while start.elapsed() < time {
        match next(&mut inputs).await {
            Input::Frame(frame) => {
                let number = std::str::from_utf8(&frame.data).unwrap().parse().unwrap();
                sockets.saw(0, number, frame.received_at_ns);
            }
            Input::Silent { stream, hint, .. } => silences.push((stream, hint)),
            Input::Closed { reason, overlap, .. } => assert_eq!((reason.label(), overlap), ("silent", true)),
            _ => {}
        }
    }
    let counters = sockets.counters();
    stop(sockets, &mut inputs).await;
    let mut asked_again = 0;
    while asks.try_recv().is_ok() {
        asked_again += 1;
    }
    Told { silences, asked_again, connects: server.accepted(), counters }
}

/// Goal: one stream that is dead at the venue is told once, asked for again once, and costs the 99 others on
/// its connection no more than two reconnects, each overlapping. Method: stream 7 dies after 300 ms, for
/// ever; three seconds are 15 times its expected silence.
#[tokio::test]
async fn a_dead_stream_among_many_makes_no_storm() {
    let told = run(Duration::from_secs(3), |number, at| number != 7 || at < Duration::from_millis(300)).await;
    assert_eq!(told.silences, [(7, SilenceHint::WentQuiet)]);
    assert_eq!(told.asked_again, 1);
    assert_eq!(told.connects, 3);
    assert!(told.counters.get(Counted::SilenceReconnectsHeld) >= 1);
}

/// Goal: streams that die one after the other are each told and asked for, but reconnects stay few. Method:
/// one more stream dies every 60 ms.
#[tokio::test]
async fn streams_that_die_one_after_the_other_make_no_storm() {
    let told = run(Duration::from_secs(3), |number, at| {
        number >= 40 || at < Duration::from_millis(300 + 60 * u64::from(number))
    })
    .await;
    assert!(told.silences.len() >= 25, "{:?}", told.silences);
    assert_eq!(told.asked_again, told.silences.len());
    assert!((2..=4).contains(&told.connects), "{} connects", told.connects);
}

/// Goal: streams that fall silent again and again are not asked for each time. Method: ten streams that
/// deliver for 50 ms of every 300.
#[tokio::test]
async fn flapping_streams_are_not_asked_for_each_time() {
    let told = run(Duration::from_secs(4), |number, at| number >= 10 || at.as_millis() % 300 < 50).await;
    let again = usize::try_from(told.counters.get(Counted::SilenceResubscribes)).unwrap();
    assert!(told.silences.len() >= 60, "{} silences", told.silences.len());
    assert!(told.counters.get(Counted::SilenceResubscribesHeld) >= 20);
    assert!(again <= 10 * 4 && told.asked_again <= again, "asked for {again} times");
    assert!(told.connects <= 4, "{} connects", told.connects);
}
