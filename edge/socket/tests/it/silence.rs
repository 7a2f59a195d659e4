//! Streams that freeze while their connection is open, alone and among many others.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use marketprism_adapter_host::contract::DataType;
use marketprism_socket::{CloseReason, SilenceHint, SocketCounter, SocketCounters, SocketEvent};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{connection, plan, stream};
use crate::venue::{DEADLINE, Server, next, noticed, quick, start, start_with, stop, until};

#[tokio::test]
async fn a_frozen_stream_is_asked_for_again_then_reconnected() {
    let (asked, mut asks) = mpsc::channel(16);
    let server = Server::websocket(move |mut socket, number| {
        let asked = asked.clone();
        async move {
            if number == 1 {
                socket.send(Message::text("b")).await.unwrap();
            }
            loop {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(10)) => {
                        if socket.send(Message::text("a")).await.is_err() {
                            return;
                        }
                    }
                    message = socket.next() => match message {
                        Some(Ok(Message::Text(text))) => {
                            asked.send((number, text.to_string())).await.unwrap();
                        }
                        Some(Ok(_)) => {}
                        _ => return,
                    },
                }
            }
        }
    })
    .await;
    let mut first = connection(server.ws());
    first.streams = vec![stream(3_000, &["again a"]), stream(3_000, &["off b", "on b"])];
    let (sockets, mut inputs) = start(&plan(vec![first]));
    let mut silences = Vec::new();
    let reason = until(&mut inputs, |input| match input {
        SocketEvent::Frame(frame) => {
            let stream = u32::from(frame.data.as_ref() == b"b");
            sockets.stream_received(0, frame.generation, stream, frame.received_at_ns);
            None
        }
        SocketEvent::Silent { stream, silence_ms, hint, .. } => {
            silences.push((stream.position(), hint));
            assert!((3_000..30_000).contains(&silence_ms), "{silence_ms} ms");
            assert!(sockets.status()[0].streams[1].silent);
            None
        }
        SocketEvent::Closed { generation: 1, reason, overlap, .. } => {
            assert!(overlap);
            Some(reason)
        }
        _ => None,
    })
    .await;
    assert_eq!(silences, [(1, SilenceHint::WentQuiet)]);
    assert_eq!(reason, CloseReason::Silent(1.into()));
    assert_eq!(noticed(&mut asks).await, (1, "off b".to_owned()));
    assert_eq!(noticed(&mut asks).await, (1, "on b".to_owned()));
    assert!(asks.try_recv().is_err());
    assert_eq!(sockets.counters()[SocketCounter::Silences], 1);
    assert!(sockets.counters()[SocketCounter::SilenceReconnects] >= 1);
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn a_confirmed_stream_that_never_came_has_its_own_hint() {
    let server = Server::websocket(|mut socket, number| async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(10)) => {
                    let text = if number == 1 { "data" } else { "pong" };
                    if socket.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
                message = socket.next() => match message {
                    Some(Ok(Message::Text(_))) => socket.send(Message::text("confirmed")).await.unwrap(),
                    Some(Ok(_)) => {}
                    _ => return,
                },
            }
        }
    })
    .await;
    let mut alive = connection(server.ws());
    alive.streams = vec![stream(2_000, &[])];
    alive.on_open = vec!["subscribe".to_owned()];
    let mut options = quick();
    options.stagger = Duration::from_millis(100);
    let mut mute = alive.clone();
    mute.name = "mute".to_owned();
    mute.streams[0].data_type = DataType::Liquidation;
    mute.streams[0].instrument = None;
    let (sockets, mut inputs) = start_with(&plan(vec![alive, mute]), options, 8);
    let (mut silences, mut reconnects) = (Vec::new(), 0);
    while reconnects < 2 {
        match next(&mut inputs).await {
            SocketEvent::Frame(frame) if frame.data.as_ref() == b"data" => {
                sockets.stream_received(frame.source, frame.generation, 0, frame.received_at_ns);
            }
            SocketEvent::Silent {
                source,
                stream,
                data_type,
                instrument,
                connection,
                url,
                silence_ms,
                hint,
                ..
            } => {
                assert_eq!(
                    (source.position(), stream.position(), data_type, instrument),
                    (1, 0, DataType::Liquidation, None)
                );
                assert_eq!((connection.as_str(), url, hint), ("mute", server.ws(), SilenceHint::NeverSeen));
                silences.push(silence_ms);
            }
            SocketEvent::Closed { source, reason, .. } => {
                assert_eq!((source.position(), reason), (1, CloseReason::Silent(0.into())));
                reconnects += 1;
            }
            _ => {}
        }
    }
    assert_eq!(silences.len(), 1, "{silences:?}");
    let status = sockets.status();
    assert!(status[0].streams[0].last_frame_age.unwrap() < Duration::from_secs(2));
    assert_eq!((status[1].streams[0].last_frame_at_ns, status[1].streams[0].silent), (None, true));
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn subscribing_slowly_is_no_silence() {
    let server = Server::websocket(|mut socket, _| async move {
        let mut left = 12;
        loop {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(10)), if left == 0 => {
                    if socket.send(Message::text("data")).await.is_err() {
                        return;
                    }
                }
                message = socket.next() => match message {
                    Some(Ok(Message::Text(_))) => left -= 1,
                    Some(Ok(_)) => {}
                    _ => return,
                },
            }
        }
    })
    .await;
    let mut first = connection(server.ws());
    first.on_open = (0..12).map(|number| number.to_string()).collect();
    // Three pauses, together twice as long as the expected silence.
    (first.messages_max, first.messages_window_ms) = (4, 1_800);
    first.streams = vec![stream(3_000, &["again"])];
    let (sockets, mut inputs) = start(&plan(vec![first]));
    for _ in 0..100 {
        match next(&mut inputs).await {
            SocketEvent::Frame(frame) => {
                sockets.stream_received(0, frame.generation, 0, frame.received_at_ns)
            }
            SocketEvent::Opened { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    stop(sockets, &mut inputs).await;
}

const STREAMS: u32 = 100;
/// Ten ticks: a stall of the test's thread for less than that is no silence of any stream.
const EXPECTED: Duration = Duration::from_millis(1_500);
const TICK: Duration = Duration::from_millis(150);

struct StreamReport {
    silences: Vec<(u32, SilenceHint)>,
    asked_again: usize,
    connects: usize,
    counters: SocketCounters,
}

/// Runs one connection with 100 streams for a number of expected silences, and until so many silences were reported. The venue sends a
/// frame of each stream at every tick while `alive(stream, elapsed)`.
async fn run(
    expected_silences: u32,
    least: usize,
    alive: impl Fn(u32, Duration) -> bool + Send + Sync + 'static,
) -> StreamReport {
    let time = EXPECTED * expected_silences;
    let start = Instant::now();
    let alive = Arc::new(alive);
    let (asked, mut asks) = mpsc::channel(4096);
    let server = Server::websocket(move |mut socket, _| {
        let (alive, asked) = (Arc::clone(&alive), asked.clone());
        async move {
            let mut ticks = tokio::time::interval(TICK);
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
    while start.elapsed() < time || (silences.len() < least && start.elapsed() < DEADLINE) {
        match next(&mut inputs).await {
            SocketEvent::Frame(frame) => {
                let number = std::str::from_utf8(&frame.data).unwrap().parse::<u32>().unwrap();
                sockets.stream_received(0, frame.generation, number, frame.received_at_ns);
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

/// Each on a connection of its own, at the same time: they wait for half a minute.
#[tokio::test]
async fn silent_streams_among_a_hundred_make_no_storm() {
    tokio::join!(
        a_dead_stream_among_many_makes_no_storm(),
        streams_that_die_one_after_the_other_make_no_storm(),
        flapping_streams_are_not_asked_for_each_time(),
    );
}

async fn a_dead_stream_among_many_makes_no_storm() {
    let report = run(15, 1, |number, at| number != 7 || at < EXPECTED * 3 / 2).await;
    assert_eq!(report.silences, [(7, SilenceHint::WentQuiet)], "of one dead stream");
    assert_eq!(report.asked_again, 1, "requests for one dead stream");
    assert_eq!(report.connects, 3, "connects for one dead stream");
    let held = report.counters[SocketCounter::SilenceReconnectsHeld];
    assert!(held >= 1, "no reconnect for one dead stream is held");
}

async fn streams_that_die_one_after_the_other_make_no_storm() {
    let report =
        run(15, 25, |number, at| number >= 40 || at < EXPECTED * 3 / 2 + EXPECTED / 4 * number).await;
    assert!(report.silences.len() >= 25, "of streams that die one after the other: {:?}", report.silences);
    assert_eq!(report.asked_again, report.silences.len(), "requests for streams that died in turn");
    let connects = report.connects;
    assert!((2..=4).contains(&connects), "{connects} connects for streams that die one after the other");
}

async fn flapping_streams_are_not_asked_for_each_time() {
    let period = EXPECTED.as_millis() * 3 / 2;
    let report = run(20, 60, move |number, at| number >= 10 || at.as_millis() % period < period / 6).await;
    let again = usize::try_from(report.counters[SocketCounter::SilenceResubscribes]).unwrap();
    assert!(report.silences.len() >= 60, "{} silences of flapping streams", report.silences.len());
    let held = report.counters[SocketCounter::SilenceResubscribesHeld];
    assert!(held >= 20, "{held} requests for flapping streams are held");
    assert!(again <= 10 * 4 && report.asked_again <= again, "flapping streams asked for {again} times");
    assert!(report.connects <= 4, "{} connects for flapping streams", report.connects);
}
