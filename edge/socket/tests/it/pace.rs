//! The venue's message limit and its pings.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use marketprism_socket::{SocketCounter, SocketEvent};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{connection, plan};
use crate::venue::{
    Server, most_within, next, noticed, quick, read_to_end, start, start_with, stop, until_frame,
};

#[tokio::test]
async fn messages_never_exceed_the_window_at_the_venue() {
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
    first.messages_window_ms = 400;
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
    let most = most_within(&times, Duration::from_millis(400));
    assert!(most <= 5, "{most} messages in a window");
    // A reply goes before subscriptions that wait; the subscriptions keep their order.
    let at = texts.iter().position(|text| text == "reply").unwrap();
    assert!(at <= 5, "the reply came as number {at}");
    texts.remove(at);
    assert_eq!(texts, (0..12).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(sockets.counters()[SocketCounter::TextsSent], 13);
    assert_eq!(sockets.counters()[SocketCounter::PingsAnswered], 1);
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn a_ping_is_answered_at_once_with_its_payload() {
    let server = Server::websocket(|mut socket, _| async move {
        for number in 0..5u8 {
            let payload = Bytes::from(vec![number; usize::from(number) * 31]);
            let sent = Instant::now();
            socket.send(Message::Ping(payload.clone())).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong(payload));
            assert!(sent.elapsed() < Duration::from_secs(1));
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
