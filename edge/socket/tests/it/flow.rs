//! Back-pressure, and the forms of frames.

use std::time::Duration;

use bytes::Bytes;
use futures_util::SinkExt;
use marketprism_socket::{SocketCounter, SocketEvent};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as RawFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::plans::{connection, plan};
use crate::venue::{
    Server, eventually, next, next_frame, quick, read_to_end, start, start_with, stop, until,
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
