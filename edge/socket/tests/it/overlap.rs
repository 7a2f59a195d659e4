//! Replacing a connection without losing a frame.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use marketprism_socket::{Budgets, CloseReason, FeedSockets, Input};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{connection, plan};
use crate::venue::{Server, ServerSocket, eventually, next, quick, stop, until};

/// A venue that numbers its frames: every connection gets the number that is due, as real venues do.
pub async fn numbered(every: Duration) -> (Server, JoinSet<()>) {
    let (numbers, _) = broadcast::channel::<u64>(4096);
    let feed = numbers.clone();
    let mut ticker = JoinSet::new();
    ticker.spawn(async move {
        for number in 0u64.. {
            let _ = feed.send(number);
            tokio::time::sleep(every).await;
        }
    });
    let server = Server::websocket(move |socket, _| serve_numbers(socket, numbers.subscribe())).await;
    (server, ticker)
}

async fn serve_numbers(mut socket: ServerSocket, mut numbers: broadcast::Receiver<u64>) {
    loop {
        tokio::select! {
            number = numbers.recv() => {
                if socket.send(Message::text(number.unwrap().to_string())).await.is_err() {
                    return;
                }
            }
            message = socket.next() => match message {
                // Reading on answers the close frame.
                Some(Ok(_)) => {}
                _ => return,
            },
        }
    }
}

/// Goal: through many renewals by age no number is missing, and every planned end says that it overlapped.
/// Method: a server that numbers its frames, a maximum age of 300 ms, ten renewals.
#[tokio::test]
async fn no_frame_is_lost_through_renewals() {
    let (server, _ticker) = numbered(Duration::from_micros(500)).await;
    let mut first = connection(server.ws());
    first.max_age_ms = 300;
    let (sender, mut inputs) = mpsc::channel(64);
    let sockets = FeedSockets::start(&plan(vec![first]), quick(), Budgets::new(), sender).unwrap();
    let mut seen = BTreeSet::new();
    let mut renewals = 0;
    while renewals < 10 {
        match next(&mut inputs).await {
            Input::Frame(frame) => {
                seen.insert(std::str::from_utf8(&frame.data).unwrap().parse::<u64>().unwrap());
            }
            Input::Closed { reason, overlap, .. } => {
                assert_eq!((reason, overlap), (CloseReason::Renewed, true));
                renewals += 1;
            }
            _ => {}
        }
    }
    let (first, last) = (*seen.first().unwrap(), *seen.last().unwrap());
    let missing: Vec<u64> = (first..=last).filter(|number| !seen.contains(number)).collect();
    assert!(missing.is_empty(), "missing of {first}..={last}: {missing:?}");
    stop(sockets, &mut inputs).await;
}

/// Goal: a replacement takes over only when all of its opening messages are sent, however slowly the message
/// limit lets them through. Method: ten opening messages of which three may go in 200 ms, an overlap of 100
/// ms; the venue sends for a topic once that was asked for; no topic may lose a number.
#[tokio::test]
async fn a_replacement_is_subscribed_before_it_takes_over() {
    const TOPICS: usize = 10;
    let (numbers, _) = broadcast::channel::<u64>(4096);
    let feed = numbers.clone();
    let mut ticker = JoinSet::new();
    ticker.spawn(async move {
        for number in 0u64.. {
            let _ = feed.send(number);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let server = Server::websocket(move |mut socket, _| {
        let mut numbers = numbers.subscribe();
        async move {
            let mut topics: Vec<String> = Vec::new();
            loop {
                tokio::select! {
                    number = numbers.recv() => {
                        let number = number.unwrap();
                        for topic in &topics {
                            if socket.send(Message::text(format!("{topic} {number}"))).await.is_err() {
                                return;
                            }
                        }
                    }
                    message = socket.next() => match message {
                        Some(Ok(Message::Text(topic))) => topics.push(topic.to_string()),
                        Some(Ok(_)) => {}
                        _ => return,
                    },
                }
            }
        }
    })
    .await;
    let mut first = connection(server.ws());
    first.on_open = (0..TOPICS).map(|topic| topic.to_string()).collect();
    (first.messages_max, first.messages_window_ms) = (4, 200);
    let mut options = quick();
    options.overlap = Duration::from_millis(100);
    let (sender, mut inputs) = mpsc::channel(64);
    let sockets = FeedSockets::start(&plan(vec![first]), options, Budgets::new(), sender).unwrap();
    let mut seen = vec![BTreeSet::new(); TOPICS];
    let (mut asked, mut after) = (false, 0);
    while after < 50 {
        match next(&mut inputs).await {
            Input::Frame(frame) => {
                let (topic, number) = std::str::from_utf8(&frame.data).unwrap().split_once(' ').unwrap();
                seen[topic.parse::<usize>().unwrap()].insert(number.parse::<u64>().unwrap());
                if !asked && seen.iter().all(|numbers| numbers.len() > 50) {
                    asked = true;
                    sockets.replace(0, "test").unwrap();
                }
                after += usize::from(frame.generation == 2 && sockets.status()[0].generation == 2);
            }
            Input::Closed { overlap, .. } => assert!(overlap),
            _ => {}
        }
    }
    stop(sockets, &mut inputs).await;
    for (topic, numbers) in seen.iter().enumerate() {
        let (first, last) = (*numbers.first().unwrap(), *numbers.last().unwrap());
        let missing = (first..=last).filter(|number| !numbers.contains(number)).count();
        assert_eq!(missing, 0, "topic {topic}");
    }
}

/// Goal: `replace` opens the new connection at once and closes the old one only after data came on the new
/// one. Method: a server that keeps the second connection without data until the test allows it.
#[tokio::test]
async fn the_old_connection_stays_until_the_new_one_has_data() {
    let (go, _) = broadcast::channel::<()>(1);
    let gate = go.clone();
    let server = Server::websocket(move |mut socket, number| {
        let mut gate = gate.subscribe();
        async move {
            if number == 2 {
                gate.recv().await.unwrap();
            }
            loop {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(5)) => {
                        if socket.send(Message::text(number.to_string())).await.is_err() {
                            return;
                        }
                    }
                    message = socket.next() => if !matches!(message, Some(Ok(_))) { return },
                }
            }
        }
    })
    .await;
    let (sender, mut inputs) = mpsc::channel(8);
    let sockets =
        FeedSockets::start(&plan(vec![connection(server.ws())]), quick(), Budgets::new(), sender).unwrap();
    next(&mut inputs).await;
    sockets.replace(0, "the venue is about to close").unwrap();
    sockets.replace(0, "said twice").unwrap();
    let opened = |input| match input {
        Input::Opened { generation, .. } => Some(generation),
        Input::Closed { .. } => panic!("closed before the replacement had data"),
        _ => None,
    };
    assert_eq!(until(&mut inputs, opened).await, 2);
    for _ in 0..50 {
        let Input::Frame(frame) = next(&mut inputs).await else {
            panic!("closed before the replacement had data")
        };
        assert_eq!(frame.generation, 1);
    }
    go.send(()).unwrap();
    let mut data_on_new = false;
    let reason = until(&mut inputs, |input| match input {
        Input::Frame(frame) => {
            data_on_new |= frame.generation == 2;
            None
        }
        Input::Closed { generation: 1, reason, overlap: true, .. } => Some(reason),
        other => panic!("unexpected {other:?}"),
    })
    .await;
    assert!(data_on_new);
    assert_eq!(reason, CloseReason::Replaced("the venue is about to close".to_owned()));
    assert_eq!(server.accepted(), 2);
    stop(sockets, &mut inputs).await;
}

/// Goal: when the replacement fails, the old connection stays and the replacement is tried again. Method: a
/// server that refuses connections 2 to 4.
#[tokio::test]
async fn a_failed_replacement_is_tried_again_while_the_old_one_serves() {
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let server = Server::tcp(move |stream, number| {
        let count = Arc::clone(&count);
        async move {
            if (2..=4).contains(&number) {
                count.fetch_add(1, Ordering::SeqCst);
                return;
            }
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            loop {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(2)) => {
                        if socket.send(Message::text("x")).await.is_err() {
                            return;
                        }
                    }
                    message = socket.next() => if !matches!(message, Some(Ok(_))) { return },
                }
            }
        }
    })
    .await;
    let (sender, mut inputs) = mpsc::channel(8);
    let sockets =
        FeedSockets::start(&plan(vec![connection(server.ws())]), quick(), Budgets::new(), sender).unwrap();
    next(&mut inputs).await;
    sockets.replace(0, "test").unwrap();
    let generation = until(&mut inputs, |input| match input {
        Input::Closed { generation, overlap, .. } => Some((generation, overlap)),
        _ => None,
    });
    assert_eq!(generation.await, (1, true));
    assert_eq!(refused.load(Ordering::SeqCst), 3);
    eventually("the fifth connection serves", || sockets.status()[0].generation == 5).await;
    stop(sockets, &mut inputs).await;
}
