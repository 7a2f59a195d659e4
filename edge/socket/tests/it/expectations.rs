//! Streams of which nothing can come, and connections on which nothing comes at all.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use marketprism_adapter_host::contract::{Heartbeat, TextHeartbeat};
use marketprism_socket::{CloseReason, SocketCounter, SocketEvent};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{connection, plan, stream};
use crate::venue::{Server, next, quick, send_every, start, start_with, stop, until};

const EXPECTED: Duration = Duration::from_millis(500);

/// An expired contract is one of many on its connection, whose books a replacement would touch.
#[tokio::test]
async fn a_stream_of_which_nothing_can_come_costs_no_reconnect_and_is_watched_again_when_it_returns() {
    let server = Server::websocket(|mut socket, _| async move {
        send_every(&mut socket, Duration::from_millis(10), "a").await;
    })
    .await;
    let mut first = connection(server.ws());
    let expected_ms = u32::try_from(EXPECTED.as_millis()).unwrap();
    first.streams = vec![stream(0, &[]), stream(expected_ms, &["again"])];
    first.streams[1].instrument = Some(1);
    let (sockets, mut inputs) = start(&plan(vec![first]));
    let silent = |input: SocketEvent| match input {
        SocketEvent::Frame(frame) => {
            sockets.stream_received(0, frame.generation, 0, frame.received_at_ns);
            None
        }
        SocketEvent::Silent { stream, .. } => Some(stream.position()),
        SocketEvent::Closed { reason, .. } => panic!("{reason}"),
        _ => None,
    };
    assert_eq!(until(&mut inputs, silent).await, 1, "it is watched");
    sockets.expect(|instrument| instrument.position() != 1);
    assert!(!sockets.status()[0].streams[1].silent);
    let ended = Instant::now();
    while ended.elapsed() < EXPECTED * 10 {
        assert_eq!(silent(next(&mut inputs).await), None);
    }
    assert_eq!(sockets.counters()[SocketCounter::SilenceReconnects], 0);
    assert_eq!(server.accepted(), 1);

    let returned = Instant::now();
    sockets.expect(|_| true);
    assert_eq!(until(&mut inputs, silent).await, 1);
    assert!(returned.elapsed() >= EXPECTED, "silence counts from its return on");
    let reason = until(&mut inputs, |input| match input {
        SocketEvent::Closed { reason, .. } => Some(reason),
        _ => None,
    })
    .await;
    assert_eq!(reason, CloseReason::Silent(1.into()));
    stop(sockets, &mut inputs).await;
}

/// A gateway that answers pings and sends nothing: trades may be rare, so that no stream has an expected silence.
#[tokio::test]
async fn a_connection_without_any_event_is_replaced_and_one_with_events_or_without_expectations_is_not() {
    let server = Server::websocket(|mut socket, number| async move {
        if number == 1 {
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() && socket.send(Message::text("pong")).await.is_err() {
                    return;
                }
            }
        } else {
            send_every(&mut socket, Duration::from_millis(10), "a").await;
        }
    })
    .await;
    let mut first = connection(server.ws());
    first.heartbeat = Heartbeat::Text(TextHeartbeat { send: "ping".to_owned(), every_ms: 20 });
    first.streams = vec![stream(0, &[]), stream(0, &[])];
    let mut options = quick();
    // Far above a stall of this thread.
    options.event_timeout = Duration::from_secs(3);
    let (sockets, mut inputs) = start_with(&plan(vec![first]), options, 8);
    sockets.expect(|_| false);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(7) {
        let input = next(&mut inputs).await;
        assert!(!matches!(input, SocketEvent::Closed { .. }), "nothing can come: {input:?}");
    }
    let expected = Instant::now();
    sockets.expect(|_| true);
    let closed = until(&mut inputs, |input| match input {
        SocketEvent::Frame(frame) if frame.data.as_ref() == b"a" => {
            sockets.stream_received(0, frame.generation, 1, frame.received_at_ns);
            None
        }
        SocketEvent::Closed { generation: 1, reason, overlap, .. } => Some((reason, overlap)),
        _ => None,
    })
    .await;
    assert_eq!(closed, (CloseReason::NoEvent, true));
    assert!(expected.elapsed() >= Duration::from_secs(3), "{:?}", expected.elapsed());
    let replaced = Instant::now();
    while replaced.elapsed() < Duration::from_secs(7) {
        match next(&mut inputs).await {
            SocketEvent::Frame(frame) => {
                sockets.stream_received(0, frame.generation, 1, frame.received_at_ns)
            }
            SocketEvent::Closed { reason, .. } => panic!("it brings events: {reason}"),
            _ => {}
        }
    }
    assert_eq!(sockets.counters()[SocketCounter::SilenceReconnects], 1);
    stop(sockets, &mut inputs).await;
}

/// The others of its connection deliver, so that neither an expected silence nor a connection without events shows it.
#[tokio::test]
async fn a_stream_that_the_venue_never_took_is_subscribed_again_without_a_reconnect() {
    let server = Server::websocket(|mut socket, _| async move {
        let mut takes_b = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(10)) => {
                    let text = if takes_b { "b" } else { "a" };
                    if socket.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => takes_b |= text.as_str() == "on b",
                    Some(Ok(_)) => {}
                    _ => return,
                },
            }
        }
    })
    .await;
    let mut first = connection(server.ws());
    first.on_open = vec!["on a b".to_owned()];
    first.streams = vec![stream(0, &["on a"]), stream(0, &["off b", "on b"])];
    let mut options = quick();
    // Far above a stall of this thread.
    options.unanswered_after = Duration::from_secs(3);
    let (sockets, mut inputs) = start_with(&plan(vec![first]), options, 8);
    let began = Instant::now();
    until(&mut inputs, |input| match input {
        SocketEvent::Frame(frame) => {
            let is_b = frame.data.as_ref() == b"b";
            sockets.stream_received(0, frame.generation, u32::from(is_b), frame.received_at_ns);
            is_b.then_some(())
        }
        SocketEvent::Closed { reason, .. } => panic!("{reason}"),
        SocketEvent::Silent { stream, .. } => panic!("its silence is normal: {stream}"),
        _ => None,
    })
    .await;
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(sockets.counters()[SocketCounter::UnansweredResubscribes], 1);
    assert_eq!(server.accepted(), 1);
    stop(sockets, &mut inputs).await;
}
