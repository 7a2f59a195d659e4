//! Streams that freeze while their connection stands.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
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

/// Goal: a subscription that never delivers is told apart from one that stopped; a connection with one stream
/// needs no help from the pipeline. Method: one server that is mute and one that sends; nobody calls `saw`.
#[tokio::test]
async fn a_stream_that_never_came_has_its_own_hint() {
    let server = Server::websocket(|mut socket, number| async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(10)) => {
                    if number == 1 && socket.send(Message::text("a")).await.is_err() {
                        return;
                    }
                }
                message = socket.next() => if !matches!(message, Some(Ok(_))) { return },
            }
        }
    })
    .await;
    let mut alive = connection(server.ws());
    alive.streams = vec![stream(200, &[])];
    let mut options = quick();
    options.stagger = Duration::from_millis(100);
    let mut mute = alive.clone();
    mute.name = "mute".to_owned();
    let (sender, mut inputs) = mpsc::channel(8);
    let sockets = FeedSockets::start(&plan(vec![alive, mute]), options, Budgets::new(), sender).unwrap();
    let silent = until(&mut inputs, |input| match input {
        Input::Silent { source, stream, hint, .. } => Some((source, stream, hint)),
        _ => None,
    });
    assert_eq!(silent.await, (1, 0, SilenceHint::NeverSeen));
    let closed = until(&mut inputs, |input| match input {
        Input::Closed { source, reason, .. } => Some((source, reason)),
        _ => None,
    });
    // No data on the new connection either: it takes over after the overlap.
    assert_eq!(closed.await, (1, CloseReason::Silent(0)));
    let status = sockets.status();
    assert!(status[0].streams[0].last_frame_age.unwrap() < Duration::from_millis(200));
    assert_eq!(status[1].streams[0].last_frame_at_ns, None);
    next(&mut inputs).await;
    stop(sockets, &mut inputs).await;
}
