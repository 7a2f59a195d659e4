//! Streams that freeze while their connection stands.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use marketprism_adapter_host::contract::DataType;
use marketprism_socket::{Budgets, CloseReason, Counted, FeedSockets, Input, SilenceHint};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{connection, plan, stream};
use crate::venue::{Server, next, noticed, quick, stop, until};

/// Goal: a frozen stream is reported once, asked for again, and after another silence its connection is
/// replaced, while the connection's other stream goes on. Method: a server that sends stream `a` all the time
/// and stream `b` once, on the first connection only; the test tells which stream a frame belongs to, as the
/// pipeline does.
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
    first.streams = vec![stream(300, &["again a"]), stream(300, &["off b", "on b"])];
    let (sender, mut inputs) = mpsc::channel(8);
    let sockets = FeedSockets::start(&plan(vec![first]), quick(), Budgets::new(), sender).unwrap();
    let mut silences = Vec::new();
    let reason = until(&mut inputs, |input| match input {
        Input::Frame(frame) => {
            sockets.saw(0, u32::from(frame.data.as_ref() == b"b"), frame.received_at_ns);
            None
        }
        Input::Silent { stream, silence_ms, hint, .. } => {
            silences.push((stream, hint));
            assert!((300..2000).contains(&silence_ms), "{silence_ms} ms");
            assert!(sockets.status()[0].streams[1].silent);
            None
        }
        Input::Closed { generation: 1, reason, overlap, .. } => {
            assert!(overlap);
            Some(reason)
        }
        _ => None,
    })
    .await;
    assert_eq!(silences, [(1, SilenceHint::WentQuiet)]);
    assert_eq!(reason, CloseReason::Silent(1));
    assert_eq!(noticed(&mut asks).await, (1, "off b".to_owned()));
    assert_eq!(noticed(&mut asks).await, (1, "on b".to_owned()));
    assert!(asks.try_recv().is_err());
    assert_eq!(sockets.counters().get(Counted::Silences), 1);
    assert!(sockets.counters().get(Counted::SilenceReconnects) >= 1);
    stop(sockets, &mut inputs).await;
}

/// Goal: a subscription that is confirmed and then never delivers is told apart from a stream that stopped,
/// once, with what it takes to find the wrong route; confirmations and heartbeats do not hide it. Method: a
/// stream that the venue only confirms, and one that delivers; both get a heartbeat all the time; two
/// reconnects go by.
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
    alive.streams = vec![stream(200, &[])];
    alive.on_open = vec!["subscribe".to_owned()];
    let mut options = quick();
    options.stagger = Duration::from_millis(100);
    let mut mute = alive.clone();
    mute.name = "mute".to_owned();
    mute.streams[0].data_type = DataType::Liquidation;
    mute.streams[0].instrument = None;
    let (sender, mut inputs) = mpsc::channel(8);
    let sockets = FeedSockets::start(&plan(vec![alive, mute]), options, Budgets::new(), sender).unwrap();
    let (mut silences, mut reconnects) = (Vec::new(), 0);
    while reconnects < 2 {
        match next(&mut inputs).await {
            Input::Frame(frame) if frame.data.as_ref() == b"data" => {
                sockets.saw(frame.source, 0, frame.received_at_ns);
            }
            Input::Silent { source, stream, data_type, instrument, connection, url, silence_ms, hint } => {
                assert_eq!((source, stream, data_type, instrument), (1, 0, DataType::Liquidation, None));
                assert_eq!((connection.as_str(), url, hint), ("mute", server.ws(), SilenceHint::NeverSeen));
                silences.push(silence_ms);
            }
            Input::Closed { source, reason, .. } => {
                assert_eq!((source, reason), (1, CloseReason::Silent(0)));
                reconnects += 1;
            }
            _ => {}
        }
    }
    assert_eq!(silences.len(), 1, "{silences:?}");
    let status = sockets.status();
    assert!(status[0].streams[0].last_frame_age.unwrap() < Duration::from_millis(200));
    assert_eq!((status[1].streams[0].last_frame_at_ns, status[1].streams[0].silent), (None, true));
    stop(sockets, &mut inputs).await;
}

/// Goal: silence counts from the end of the subscribing, however slowly the message limit lets that through.
/// Method: 12 opening messages of which three may go in 200 ms, and a stream whose expected silence is
/// shorter than that; the venue sends after the last message.
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
    (first.messages_max, first.messages_window_ms) = (4, 200);
    first.streams = vec![stream(300, &["again"])];
    let (sender, mut inputs) = mpsc::channel(8);
    let sockets = FeedSockets::start(&plan(vec![first]), quick(), Budgets::new(), sender).unwrap();
    for _ in 0..100 {
        match next(&mut inputs).await {
            Input::Frame(frame) => sockets.saw(0, 0, frame.received_at_ns),
            Input::Opened { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    stop(sockets, &mut inputs).await;
}
