//! Streams that freeze while their connection is open.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use marketprism_adapter_host::contract::DataType;
use marketprism_socket::{CloseReason, SilenceHint, SocketCounter, SocketEvent};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{connection, plan, stream};
use crate::venue::{Server, next, noticed, quick, start, start_with, stop, until};

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
    let (sockets, mut inputs) = start(&plan(vec![first]));
    let mut silences = Vec::new();
    let reason = until(&mut inputs, |input| match input {
        SocketEvent::Frame(frame) => {
            sockets.saw(0, u32::from(frame.data.as_ref() == b"b"), frame.received_at_ns);
            None
        }
        SocketEvent::Silent { stream, silence_ms, hint, .. } => {
            silences.push((stream.position(), hint));
            assert!((300..2000).contains(&silence_ms), "{silence_ms} ms");
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
    alive.streams = vec![stream(200, &[])];
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
                sockets.saw(frame.source, 0, frame.received_at_ns);
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
    assert!(status[0].streams[0].last_frame_age.unwrap() < Duration::from_millis(200));
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
    (first.messages_max, first.messages_window_ms) = (4, 200);
    first.streams = vec![stream(300, &["again"])];
    let (sockets, mut inputs) = start(&plan(vec![first]));
    for _ in 0..100 {
        match next(&mut inputs).await {
            SocketEvent::Frame(frame) => sockets.saw(0, 0, frame.received_at_ns),
            SocketEvent::Opened { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    stop(sockets, &mut inputs).await;
}
