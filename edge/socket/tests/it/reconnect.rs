//! Reconnects.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use marketprism_adapter_host::contract::{Budget, Heartbeat};
use marketprism_socket::{Budgets, CloseReason, FeedSockets, SocketCounter, SocketEvent};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{charge, connection, plan};
use crate::venue::{
    Server, eventually, next, next_frame, quick, read_to_end, start, start_with, stop, until, until_frame,
};

#[tokio::test]
async fn a_cut_connection_comes_back_each_time() {
    let server = Server::websocket(|mut socket, number| async move {
        socket.send(Message::text(number.to_string())).await.unwrap();
    })
    .await;
    let plan = plan(vec![connection(server.ws())]);
    let (sockets, mut inputs) = start(&plan);
    for life in 1..=10u64 {
        let SocketEvent::Opened { generation, .. } = next(&mut inputs).await else { panic!("not opened") };
        assert_eq!(generation, life);
        let frame = next_frame(&mut inputs).await;
        assert_eq!((frame.generation, frame.data.as_ref()), (life, life.to_string().as_bytes()));
        let SocketEvent::Closed { generation, reason, overlap, .. } = next(&mut inputs).await else {
            panic!("not closed")
        };
        assert_eq!((generation, overlap), (life, false));
        assert_eq!(reason.label(), "lost", "{reason}");
    }
    assert!(sockets.counters()[SocketCounter::ClosedLost] >= 10);
    assert!(sockets.status()[0].reconnects["lost"] >= 10);
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn a_refusing_venue_is_asked_more_and_more_rarely() {
    let server = Server::tcp(|stream, _| async move { drop(stream) }).await;
    let mut options = quick();
    options.backoff.base = Duration::from_millis(10);
    options.backoff.cap = Duration::from_secs(60);
    let plan = plan(vec![connection(server.ws())]);
    let (sockets, mut inputs) = start_with(&plan, options, 8);
    eventually("5 tries", || server.accepted() >= 5).await;
    let start = Instant::now();
    tokio::time::sleep_until(start + Duration::from_millis(300)).await;
    // Without growth, 300 ms would hold about 60 tries of 5 ms each on average.
    assert!(server.accepted() <= 25, "{} tries", server.accepted());
    assert!(sockets.counters()[SocketCounter::ConnectFailedHandshake] >= 4);
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn connects_are_charged() {
    let server = Server::websocket(|socket, _| async move { drop(socket) }).await;
    let mut first = connection(server.ws());
    first.charges = vec![charge("connects", 1)];
    let mut plan = plan(vec![first]);
    plan.budgets = vec![Budget { name: "connects".to_owned(), units: 3, window_ms: 3_600_000 }];
    let (sender, mut inputs) = mpsc::channel(64);
    let budgets = Budgets::new();
    let sockets = FeedSockets::start(&plan, quick(), budgets.clone(), sender).unwrap();
    eventually("3 connects", || server.accepted() >= 3).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.accepted(), 3);
    assert!(budgets.reserve(&[charge("connects", 1)], Duration::from_millis(50)).await.is_err());
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn the_venues_close_frame_is_reported() {
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;
    let server = Server::websocket(|mut socket, _| async move {
        let frame = CloseFrame { code: 1008.into(), reason: "too many messages".into() };
        socket.close(Some(frame)).await.unwrap();
        read_to_end(&mut socket).await;
    })
    .await;
    let plan = plan(vec![connection(server.ws())]);
    let (sockets, mut inputs) = start(&plan);
    let reason = until(&mut inputs, |input| match input {
        SocketEvent::Closed { reason, .. } => Some(reason),
        _ => None,
    });
    assert_eq!(reason.await, CloseReason::Venue { code: 1008, text: "too many messages".to_owned() });
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn no_byte_for_the_idle_timeout_ends_a_connection() {
    let mute = Server::mute().await;
    let pinging = Server::websocket(|mut socket, _| async move {
        loop {
            tokio::time::sleep(Duration::from_millis(40)).await;
            if socket.send(Message::Ping(Default::default())).await.is_err() {
                return;
            }
        }
    })
    .await;
    let mut first = connection(mute.ws());
    first.idle_timeout_ms = 200;
    let mut second = first.clone();
    second.name = "pinging".to_owned();
    second.url = pinging.ws();
    let plan = plan(vec![first, second]);
    let (sockets, mut inputs) = start(&plan);
    for _ in 0..3 {
        let (source, reason) = until(&mut inputs, |input| match input {
            SocketEvent::Closed { source, reason, .. } => Some((source, reason)),
            _ => None,
        })
        .await;
        assert_eq!((source.position(), reason), (0, CloseReason::Idle(Duration::from_millis(200))));
    }
    assert_eq!(pinging.accepted(), 1);
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn heartbeats_go_out_by_themselves() {
    use marketprism_adapter_host::contract::TextHeartbeat;
    let server = Server::websocket(|mut socket, _| async move {
        for _ in 0..3 {
            match socket.next().await.unwrap().unwrap() {
                Message::Text(text) => assert_eq!(text.as_str(), "ping"),
                Message::Ping(_) => {}
                other => panic!("unexpected {other}"),
            }
        }
        socket.send(Message::text("three")).await.unwrap();
        read_to_end(&mut socket).await;
    })
    .await;
    let mut text = connection(server.ws());
    text.heartbeat = Heartbeat::Text(TextHeartbeat { send: "ping".to_owned(), every_ms: 30 });
    let mut frame = connection(server.ws());
    frame.name = "frame".to_owned();
    frame.heartbeat = Heartbeat::PingFrame(30);
    let (sockets, mut inputs) = start(&plan(vec![text, frame]));
    let mut sources = [false; 2];
    while sources != [true; 2] {
        sources[until_frame(&mut inputs).await.source.position()] = true;
    }
    stop(sockets, &mut inputs).await;
}
