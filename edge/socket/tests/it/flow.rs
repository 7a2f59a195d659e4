//! Back-pressure, and what frames look like.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use marketprism_socket::{Budgets, Counted, FeedSockets, Input};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as RawFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::plans::{connection, plan};
use crate::venue::{Server, eventually, next, quick, stop, until};

/// Goal: a pipeline that does not take its inputs stops the reader, down to the venue; nothing is lost and
/// nothing piles up here. Method: a queue of 4, a server that sends 30,000 frames of 1 KiB; first nobody
/// takes, then everything must come in order.
#[tokio::test]
async fn a_slow_pipeline_holds_the_reader_and_loses_nothing() {
    const FRAMES: usize = 30_000;
    let server = Server::websocket(|mut socket, _| async move {
        for number in 0..FRAMES {
            socket.send(Message::text(format!("{number:01024}"))).await.unwrap();
        }
        while socket.next().await.is_some_and(|message| message.is_ok()) {}
    })
    .await;
    let mut first = connection(server.ws());
    first.idle_timeout_ms = 300;
    let (sender, mut inputs) = mpsc::channel(4);
    let sockets = FeedSockets::start(&plan(vec![first]), quick(), Budgets::new(), sender).unwrap();
    eventually("the queue is full", || sockets.counters().get(Counted::Stalls) == 1).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let read = sockets.status()[0].frames;
    assert!(read <= 5, "{read} frames read although nobody takes them");
    next(&mut inputs).await;
    for number in 0..FRAMES {
        let Input::Frame(frame) = next(&mut inputs).await else { panic!("frame {number} is missing") };
        assert_eq!(frame.data.as_ref(), format!("{number:01024}").as_bytes());
    }
    let counters = sockets.counters();
    assert_eq!(counters.get(Counted::Frames), FRAMES as u64);
    assert!(counters.get(Counted::StalledMicroseconds) >= 500_000);
    // Our own waiting was not taken for the venue's silence.
    assert_eq!(counters.get(Counted::ClosedIdle), 0);
    stop(sockets, &mut inputs).await;
}

/// Goal: binary messages and fragmented ones are delivered as they are; empty ones too. Method: one of each.
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
        while socket.next().await.is_some_and(|message| message.is_ok()) {}
    })
    .await;
    let (sender, mut inputs) = mpsc::channel(8);
    let sockets =
        FeedSockets::start(&plan(vec![connection(server.ws())]), quick(), Budgets::new(), sender).unwrap();
    next(&mut inputs).await;
    for wanted in [&[0, 255, 7][..], b"fragmented", b""] {
        let Input::Frame(frame) = next(&mut inputs).await else { panic!("no frame") };
        assert_eq!(frame.data.as_ref(), wanted);
    }
    stop(sockets, &mut inputs).await;
}

/// Goal: text that is not UTF-8 and messages above the limit end the connection with their own reasons.
/// Method: one of each.
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
        while socket.next().await.is_some_and(|message| message.is_ok()) {}
    })
    .await;
    let mut options = quick();
    options.max_frame_bytes = 1000;
    let (sender, mut inputs) = mpsc::channel(8);
    let sockets =
        FeedSockets::start(&plan(vec![connection(server.ws())]), options, Budgets::new(), sender).unwrap();
    for wanted in ["protocol", "too_large"] {
        let label = until(&mut inputs, |input| match input {
            Input::Closed { reason, .. } => Some(reason.label()),
            _ => None,
        });
        assert_eq!(label.await, wanted);
    }
    stop(sockets, &mut inputs).await;
}
