//! Back-pressure, forms of frames, the venue's message limit and its pings.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use marketprism_socket::{SocketCounter, SocketEvent};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as RawFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::plans::{connection, plan};
use crate::venue::{
    Server, eventually, most_within, next, next_frame, noticed, quick, read_to_end, start, start_with, stop,
    until, until_frame, without_stalls,
};

#[tokio::test]
async fn a_slow_pipeline_holds_the_reader_and_loses_nothing() {
    const FRAMES: usize = 30_000;
    let server = Server::websocket(|mut socket, _| async move {
        for number in 0..FRAMES {
            socket.send(Message::text(format!("{number:01024}"))).await.unwrap();
        }
        read_to_end(&mut socket).await;
    })
    .await;
    let mut first = connection(server.ws());
    first.idle_timeout_ms = 300;
    let (sockets, mut inputs) = start_with(&plan(vec![first]), quick(), 4);
    eventually("the queue is full", || sockets.counters()[SocketCounter::Stalls] == 1).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let read = sockets.status()[0].frames;
    assert!(read <= 5, "{read} frames read although nobody takes them");
    next(&mut inputs).await;
    for number in 0..FRAMES {
        let frame = next_frame(&mut inputs).await;
        assert_eq!(frame.data.as_ref(), format!("{number:01024}").as_bytes());
    }
    let counters = sockets.counters();
    assert_eq!(counters[SocketCounter::Frames], FRAMES as u64);
    assert!(counters[SocketCounter::StalledMicroseconds] >= 500_000);
    // Our own waiting was not taken for the venue's silence.
    assert_eq!(counters[SocketCounter::ClosedIdle], 0);
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn every_kind_of_message_is_delivered() {
    let server = Server::websocket(|mut socket, _| async move {
        socket.send(Message::Binary(Bytes::from_static(&[0, 255, 7]))).await.unwrap();
        let part = |text: &'static str, kind, last| {
            Message::Frame(RawFrame::message(Bytes::from_static(text.as_bytes()), OpCode::Data(kind), last))
        };
        socket.send(part("frag", Data::Text, false)).await.unwrap();
        socket.send(Message::Ping(Bytes::new())).await.unwrap();
        socket.send(part("mented", Data::Continue, true)).await.unwrap();
        socket.send(Message::text("")).await.unwrap();
        read_to_end(&mut socket).await;
    })
    .await;
    let (sockets, mut inputs) = start(&plan(vec![connection(server.ws())]));
    next(&mut inputs).await;
    for wanted in [&[0, 255, 7][..], b"fragmented", b""] {
        let frame = next_frame(&mut inputs).await;
        assert_eq!(frame.data.as_ref(), wanted);
    }
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn bad_text_and_oversized_messages_end_the_connection() {
    let server = Server::websocket(|mut socket, number| async move {
        let bad = if number == 1 {
            Message::Frame(RawFrame::message(
                Bytes::from_static(&[0xc3, 0x28]),
                OpCode::Data(Data::Text),
                true,
            ))
        } else {
            Message::text("x".repeat(2000))
        };
        socket.send(bad).await.unwrap();
        read_to_end(&mut socket).await;
    })
    .await;
    let mut options = quick();
    options.max_frame_bytes = 1000;
    let (sockets, mut inputs) = start_with(&plan(vec![connection(server.ws())]), options, 8);
    for wanted in ["protocol", "too_large"] {
        let label = until(&mut inputs, |input| match input {
            SocketEvent::Closed { reason, .. } => Some(reason.label()),
            _ => None,
        });
        assert_eq!(label.await, wanted);
    }
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn messages_never_exceed_the_window_at_the_venue() {
    let window = Duration::from_millis(800);
    let (times, stall) = without_stalls(window / 2, async || arrivals_of_paced_messages(window).await).await;
    let most = most_within(&times, window - stall);
    assert!(most <= 5, "{most} messages in a window");
}

async fn arrivals_of_paced_messages(window: Duration) -> Vec<Instant> {
    let (arrived, mut arrivals) = mpsc::channel(64);
    let server = Server::websocket(move |mut socket, _| {
        let arrived = arrived.clone();
        async move {
            let mut count = 0;
            while let Some(Ok(message)) = socket.next().await {
                count += 1;
                arrived.send((Instant::now(), message)).await.unwrap();
                if count == 6 {
                    socket.send(Message::Ping(Bytes::from_static(b"middle"))).await.unwrap();
                }
            }
        }
    })
    .await;
    let mut first = connection(server.ws());
    first.messages_max = 5;
    first.messages_window_ms = u32::try_from(window.as_millis()).unwrap();
    first.on_open = (0..12).map(|number| number.to_string()).collect();
    let (sockets, mut inputs) = start(&plan(vec![first]));
    next(&mut inputs).await;
    sockets.reply(0, 1, "reply".to_owned()).unwrap();
    let mut times = Vec::new();
    let mut texts = Vec::new();
    while times.len() < 14 {
        let (at, message) = noticed(&mut arrivals).await;
        times.push(at);
        if let Message::Text(text) = message {
            texts.push(text.to_string());
        }
    }
    // A reply goes before subscriptions that wait; the subscriptions keep their order.
    let at = texts.iter().position(|text| text == "reply").unwrap();
    assert!(at <= 5, "the reply came as number {at}");
    texts.remove(at);
    assert_eq!(texts, (0..12).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(sockets.counters()[SocketCounter::TextsSent], 13);
    assert_eq!(sockets.counters()[SocketCounter::PingsAnswered], 1);
    stop(sockets, &mut inputs).await;
    times
}

#[tokio::test]
async fn a_ping_is_answered_at_once_with_its_payload() {
    let server = Server::websocket(|mut socket, _| async move {
        for number in 0..5u8 {
            let payload = Bytes::from(vec![number; usize::from(number) * 31]);
            let sent = Instant::now();
            socket.send(Message::Ping(payload.clone())).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong(payload));
            assert!(sent.elapsed() < Duration::from_secs(20));
        }
        socket.send(Message::text("all answered")).await.unwrap();
        read_to_end(&mut socket).await;
    })
    .await;
    let (sockets, mut inputs) = start(&plan(vec![connection(server.ws())]));
    assert_eq!(until_frame(&mut inputs).await.data.as_ref(), b"all answered");
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn sent_texts_are_reported_when_asked() {
    let server = Server::silent().await;
    let mut first = connection(server.ws());
    first.on_open = vec!["one".to_owned(), "two".to_owned()];
    let mut options = quick();
    options.report_sent = true;
    let (sockets, mut inputs) = start_with(&plan(vec![first]), options, 8);
    assert!(matches!(next(&mut inputs).await, SocketEvent::Opened { .. }));
    for wanted in ["one", "two"] {
        let SocketEvent::Sent { text, generation: 1, .. } = next(&mut inputs).await else {
            panic!("not reported")
        };
        assert_eq!(text, wanted);
    }
    stop(sockets, &mut inputs).await;
}
