//! Stopping a feed.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use marketprism_socket::{Budgets, CommandError, ConnectionPhase, FeedSockets, SocketEvent};
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{connection, plan, poll};
use crate::venue::{DEADLINE, Server, answer, eventually, noticed, quick, start, start_with, stop};

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
    let rest = Server::rest(|_, _| (Duration::from_secs(60), answer("200 OK", "", ""))).await;
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
    assert!(start.elapsed() < Duration::from_secs(5));
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
    let (sender, inputs) = mpsc::channel(2);
    let sockets =
        FeedSockets::start(&plan(vec![connection(venue.ws())]), options, Budgets::new(), sender).unwrap();
    eventually("the queue is full", || sockets.status()[0].frames == 2).await;
    let start = Instant::now();
    tokio::time::timeout(DEADLINE, sockets.stop(Duration::from_millis(300))).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    drop(inputs);
}

#[tokio::test]
async fn nothing_is_read_for_nobody() {
    let venue = Server::silent().await;
    let (sender, inputs) = mpsc::channel(8);
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
    assert_eq!(sockets.replace(1, ""), Err(CommandError::UnknownSource(1.into())));
    sockets.saw(9, 9, 0);
    stop(sockets, &mut inputs).await;
}
