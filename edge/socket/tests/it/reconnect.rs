//! Reconnects, and stopping a feed.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use marketprism_adapter_host::contract::{Budget, Heartbeat};
use marketprism_socket::{
    Budgets, CloseReason, CommandError, ConnectionPhase, FeedSockets, SocketCounter, SocketEvent,
};
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{charge, connection, plan, poll};
use crate::venue::{
    DEADLINE, Server, answer, eventually, inputs_of, next, next_frame, noticed, quick, read_to_end, start,
    start_with, stop, until, until_frame,
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
    let (sender, mut inputs) = inputs_of(64);
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
            tokio::time::sleep(Duration::from_millis(100)).await;
            if socket.send(Message::Ping(Default::default())).await.is_err() {
                return;
            }
        }
    })
    .await;
    let mut first = connection(mute.ws());
    first.idle_timeout_ms = 3_000;
    let mut second = first.clone();
    second.name = "pinging".to_owned();
    second.url = pinging.ws();
    let plan = plan(vec![first, second]);
    let (sockets, mut inputs) = start(&plan);
    for _ in 0..2 {
        let (source, reason) = until(&mut inputs, |input| match input {
            SocketEvent::Closed { source, reason, .. } => Some((source, reason)),
            _ => None,
        })
        .await;
        assert_eq!((source.position(), reason), (0, CloseReason::Idle(Duration::from_secs(3))));
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

fn tasks_alive() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[tokio::test]
async fn a_stop_is_polite_and_leaves_no_task() {
    assert_eq!(tasks_alive(), 0);
    let (codes, mut closes) = mpsc::channel(8);
    let (go, _) = broadcast::channel::<()>(1);
    let gate = go.clone();
    let venue = Server::websocket(move |mut socket, _| {
        let (codes, mut gate) = (codes.clone(), gate.subscribe());
        async move {
            socket.send(Message::text("first")).await.unwrap();
            gate.recv().await.unwrap();
            for _ in 0..3 {
                socket.send(Message::text("late")).await.unwrap();
            }
            let mut code = None;
            while let Some(Ok(message)) = socket.next().await {
                if let Message::Close(frame) = message {
                    code = frame.map(|frame| u16::from(frame.code));
                }
            }
            codes.send(code).await.unwrap();
        }
    })
    .await;
    let rest = Server::rest(|_, _| (Duration::from_secs(3_600), answer("200 OK", "", ""))).await;
    let mut second = connection(venue.ws());
    second.name = "second".to_owned();
    let mut plan = plan(vec![connection(venue.ws()), second]);
    plan.polls = vec![poll(rest.http("/slow"), Duration::from_millis(10))];
    let (sockets, mut inputs) = start_with(&plan, quick(), 64);
    eventually("both deliver", || sockets.status().iter().all(|status| status.frames == 1)).await;
    eventually("the poll is under way", || rest.accepted() == 1).await;
    let start = Instant::now();
    go.send(()).unwrap();
    let inputs_seen = stop(sockets, &mut inputs).await;
    assert!(start.elapsed() < Duration::from_secs(30));
    let ends = inputs_seen.iter().filter_map(|input| match input {
        SocketEvent::Closed { reason, overlap: false, .. } => Some(reason.label()),
        _ => None,
    });
    assert_eq!(ends.collect::<Vec<_>>(), ["stopped", "stopped"]);
    let frames = inputs_seen.iter().filter(|input| matches!(input, SocketEvent::Frame(_))).count();
    assert_eq!(frames, 2 * 4);
    assert_eq!([noticed(&mut closes).await, noticed(&mut closes).await], [Some(1000), Some(1000)]);
    drop((venue, rest));
    eventually("no task is left", || tasks_alive() == 0).await;
}

#[tokio::test]
async fn a_stop_keeps_its_deadline_against_everybody() {
    let venue = Server::websocket(|mut socket, _| async move {
        loop {
            if socket.send(Message::text("more")).await.is_err() {
                return;
            }
        }
    })
    .await;
    let mut options = quick();
    options.close_timeout = Duration::from_secs(3600);
    let (sender, inputs) = inputs_of(2);
    let sockets =
        FeedSockets::start(&plan(vec![connection(venue.ws())]), options, Budgets::new(), sender).unwrap();
    eventually("the queue is full", || sockets.status()[0].frames == 2).await;
    let start = Instant::now();
    tokio::time::timeout(DEADLINE, sockets.stop(Duration::from_millis(300))).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    drop(inputs);
}

#[tokio::test]
async fn nothing_is_read_for_nobody() {
    let venue = Server::silent().await;
    let (sender, inputs) = inputs_of(8);
    let sockets =
        FeedSockets::start(&plan(vec![connection(venue.ws())]), quick(), Budgets::new(), sender).unwrap();
    eventually("it is open", || sockets.status()[0].phase == ConnectionPhase::Open).await;
    drop(inputs);
    eventually("it is stopped", || sockets.status()[0].phase == ConnectionPhase::Stopped).await;
    assert_eq!(venue.accepted(), 1);
    sockets.stop(DEADLINE).await;
}

#[tokio::test]
async fn commands_for_unknown_things_are_refused() {
    let venue = Server::silent().await;
    let (sockets, mut inputs) = start(&plan(vec![connection(venue.ws())]));
    assert_eq!(sockets.reply(1, 1, String::new()), Err(CommandError::UnknownSource(1.into())));
    assert_eq!(sockets.replace(1, 1, ""), Err(CommandError::UnknownSource(1.into())));
    sockets.stream_received(9, 1, 9, 0);
    stop(sockets, &mut inputs).await;
}
