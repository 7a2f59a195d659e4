//! Overlapping replacement and planned renewals of connections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use marketprism_socket::{Budgets, CloseReason, FeedSockets, SocketEvent, SubscriptionPhase};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{connection, plan, stream};
use crate::venue::{
    Server, ServerSocket, eventually, inputs_of, next, next_frame, quick, send_every, start, start_with,
    stop, ticker, until, until_frame,
};

/// Numbers its frames: every connection gets the current number.
pub async fn numbered(every: Duration) -> (Server, JoinSet<()>) {
    let (numbers, ticker) = ticker(every);
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

#[tokio::test]
async fn no_frame_is_lost_through_renewals() {
    let (server, _ticker) = numbered(Duration::from_micros(500)).await;
    let mut first = connection(server.ws());
    first.max_age_ms = 300;
    let (sockets, mut inputs) = start_with(&plan(vec![first]), quick(), 64);
    let mut seen = BTreeSet::new();
    let mut renewals = 0;
    while renewals < 10 {
        match next(&mut inputs).await {
            SocketEvent::Frame(frame) => {
                seen.insert(std::str::from_utf8(&frame.data).unwrap().parse::<u64>().unwrap());
            }
            SocketEvent::Closed { reason, overlap, .. } => {
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

#[tokio::test]
async fn a_replacement_is_subscribed_before_it_takes_over() {
    const TOPICS: usize = 10;
    let (numbers, _ticker) = ticker(Duration::from_millis(2));
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
    let (sockets, mut inputs) = start_with(&plan(vec![first]), options, 64);
    let mut seen = vec![BTreeSet::new(); TOPICS];
    let (mut asked, mut after) = (false, 0);
    while after < 50 {
        match next(&mut inputs).await {
            SocketEvent::Frame(frame) => {
                let (topic, number) = std::str::from_utf8(&frame.data).unwrap().split_once(' ').unwrap();
                seen[topic.parse::<usize>().unwrap()].insert(number.parse::<u64>().unwrap());
                if !asked && seen.iter().all(|numbers| numbers.len() > 50) {
                    asked = true;
                    sockets.replace(0, 1, "test").unwrap();
                }
                after += usize::from(frame.generation == 2 && sockets.status()[0].generation == 2);
            }
            SocketEvent::Closed { overlap, .. } => assert!(overlap),
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

/// The venue answers each message at once. The second one waits for the message limit.
#[tokio::test]
async fn a_connection_is_subscribed_once_its_last_opening_message_is_sent_and_answered() {
    let server = Server::websocket(|mut socket, _| async move {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() && socket.send(message).await.is_err() {
                return;
            }
        }
    })
    .await;
    let mut paced = connection(server.ws());
    paced.on_open = vec!["a".to_owned(), "b".to_owned()];
    (paced.messages_max, paced.messages_window_ms) = (2, 2_000);
    let (sockets, mut inputs) = start(&plan(vec![paced]));
    assert!(sockets.opening_time() >= Duration::from_secs(2));
    let first = until_frame(&mut inputs).await;
    assert_eq!((&first.data[..], first.subscribed_at_ns), (&b"a"[..], None));
    assert_eq!(sockets.status()[0].subscription, SubscriptionPhase::Pending);
    let second = until_frame(&mut inputs).await;
    assert!(second.subscribed_at_ns.is_some_and(|at_ns| at_ns > first.received_at_ns), "{second:?}");
    let is_answered = || matches!(sockets.status()[0].subscription, SubscriptionPhase::Answered(_));
    eventually("the connection is subscribed", is_answered).await;
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn a_connection_with_its_streams_in_the_address_is_subscribed_from_its_opening() {
    let server = Server::websocket(|mut socket, _| async move {
        send_every(&mut socket, Duration::from_millis(5), "x").await;
    })
    .await;
    let (sockets, mut inputs) = start(&plan(vec![connection(server.ws())]));
    let first = until_frame(&mut inputs).await;
    assert!(first.subscribed_at_ns.is_some_and(|at_ns| at_ns <= first.received_at_ns), "{first:?}");
    stop(sockets, &mut inputs).await;
}

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
            send_every(&mut socket, Duration::from_millis(5), &number.to_string()).await;
        }
    })
    .await;
    let (sockets, mut inputs) = start(&plan(vec![connection(server.ws())]));
    next(&mut inputs).await;
    sockets.replace(0, 1, "the venue is about to close").unwrap();
    sockets.replace(0, 1, "said twice").unwrap();
    let opened = |input| match input {
        SocketEvent::Opened { generation, .. } => Some(generation),
        SocketEvent::Closed { .. } => panic!("closed before the replacement had data"),
        _ => None,
    };
    assert_eq!(until(&mut inputs, opened).await, 2);
    for _ in 0..50 {
        let frame = next_frame(&mut inputs).await;
        assert_eq!(frame.generation, 1);
    }
    go.send(()).unwrap();
    let mut data_on_new = false;
    let reason = until(&mut inputs, |input| match input {
        SocketEvent::Frame(frame) => {
            data_on_new |= frame.generation == 2;
            None
        }
        SocketEvent::Closed { generation: 1, reason, overlap: true, .. } => Some(reason),
        other => panic!("unexpected {other:?}"),
    })
    .await;
    assert!(data_on_new);
    assert_eq!(reason, CloseReason::Replaced("the venue is about to close".to_owned()));
    assert_eq!(server.accepted(), 2);
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn connections_that_are_to_be_replaced_at_once_are_paced() {
    let server = Server::websocket(|mut socket, _| async move {
        send_every(&mut socket, Duration::from_millis(2), "x").await;
    })
    .await;
    let mut options = quick();
    let pause = Duration::from_millis(400);
    (options.overlap, options.backoff.healthy_after) = (Duration::ZERO, Duration::from_secs(60));
    (options.backoff.base, options.backoff.cap) = (pause, pause);
    let (sockets, mut inputs) = start_with(&plan(vec![connection(server.ws())]), options, 64);
    let begun = Instant::now();
    for generation in 1..=6 {
        let serving = |input| match input {
            SocketEvent::Frame(frame) if sockets.status()[0].generation == generation => {
                (frame.generation == generation).then_some(())
            }
            _ => None,
        };
        until(&mut inputs, serving).await;
        sockets.replace(0, generation, "the venue refuses subscriptions").unwrap();
    }
    // Five pauses of 200 ms on average.
    assert!(begun.elapsed() > Duration::from_millis(100), "{:?}", begun.elapsed());
    stop(sockets, &mut inputs).await;
}

/// A replacement that serves without what it was refused would leave streams silent.
#[tokio::test]
async fn a_replacement_that_is_refused_too_never_serves_and_another_one_is_opened() {
    let server = Server::websocket(|mut socket, number| async move {
        let text = if number < 3 { "later" } else { "x" };
        send_every(&mut socket, Duration::from_millis(2), text).await;
    })
    .await;
    let mut options = quick();
    // Whatever the machine is busy with, the refusal is heard before the takeover.
    (options.overlap, options.overlap_settle) = (Duration::from_secs(1), Duration::from_secs(1));
    let (sockets, mut inputs) = start_with(&plan(vec![connection(server.ws())]), options, 64);
    let mut closed = Vec::new();
    while closed.len() < 2 {
        match next(&mut inputs).await {
            SocketEvent::Frame(frame) if &frame.data[..] == b"later" => {
                assert_ne!(sockets.status()[0].generation, 2);
                sockets.replace(0, frame.generation, "later").unwrap();
            }
            SocketEvent::Closed { generation, reason, overlap, .. } => {
                closed.push((generation, reason, overlap));
            }
            _ => {}
        }
    }
    let refused = CloseReason::Replaced("later".to_owned());
    assert_eq!(closed, [(2, refused.clone(), true), (1, refused, true)]);
    assert_eq!((sockets.status()[0].generation, server.accepted()), (3, 3));
    stop(sockets, &mut inputs).await;
}

/// The venue answers pings, and the subscription later than the overlap.
#[tokio::test]
async fn a_replacement_without_an_event_never_serves_while_the_old_connection_brings_some() {
    let server = Server::websocket(|mut socket, number| async move {
        let text = if number == 2 { "pong" } else { "data" };
        send_every(&mut socket, Duration::from_millis(2), text).await;
    })
    .await;
    let mut first = connection(server.ws());
    first.streams = vec![stream(0, &[])];
    let mut options = quick();
    options.overlap = Duration::from_secs(1);
    let (sockets, mut inputs) = start_with(&plan(vec![first]), options, 64);
    let (mut asked, mut closed) = (false, Vec::new());
    while closed.len() < 2 {
        match next(&mut inputs).await {
            SocketEvent::Frame(frame) if &frame.data[..] == b"data" => {
                sockets.stream_received(0, frame.generation, 0, frame.received_at_ns);
                if !asked {
                    asked = true;
                    sockets.replace(0, 1, "test").unwrap();
                }
            }
            SocketEvent::Frame(_) => assert_ne!(sockets.status()[0].generation, 2),
            SocketEvent::Closed { generation, overlap, .. } => closed.push((generation, overlap)),
            _ => {}
        }
    }
    assert_eq!(closed, [(2, true), (1, true)]);
    stop(sockets, &mut inputs).await;
}

/// Its frames are pongs: they do not show that the venue has subscribed anything.
#[tokio::test]
async fn a_connection_lost_while_its_replacement_has_no_event_says_so() {
    let lost = Arc::new(tokio::sync::Notify::new());
    let losing = Arc::clone(&lost);
    let server = Server::websocket(move |mut socket, number| {
        let losing = Arc::clone(&losing);
        async move {
            let text = if number == 1 { "data" } else { "pong" };
            tokio::select! {
                () = send_every(&mut socket, Duration::from_millis(2), text) => {}
                () = losing.notified(), if number == 1 => {}
            }
        }
    })
    .await;
    let mut first = connection(server.ws());
    first.streams = vec![stream(0, &[])];
    let mut options = quick();
    // It takes over for the loss, and not before.
    (options.overlap, options.overlap_settle) = (Duration::from_secs(20), Duration::from_secs(20));
    let (sockets, mut inputs) = start_with(&plan(vec![first]), options, 64);
    let (mut asked, mut pongs) = (false, 0);
    let closed = until(&mut inputs, |input| match input {
        SocketEvent::Frame(frame) if &frame.data[..] == b"data" => {
            sockets.stream_received(0, frame.generation, 0, frame.received_at_ns);
            if !std::mem::replace(&mut asked, true) {
                sockets.replace(0, 1, "test").unwrap();
            }
            if pongs > 20 {
                lost.notify_one();
            }
            None
        }
        SocketEvent::Frame(_) => {
            pongs += 1;
            None
        }
        SocketEvent::Closed { generation, overlap, is_late, .. } => Some((generation, overlap, is_late)),
        _ => None,
    });
    assert_eq!(closed.await, (1, false, true));
    stop(sockets, &mut inputs).await;
}

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
            send_every(&mut socket, Duration::from_millis(2), "x").await;
        }
    })
    .await;
    let (sockets, mut inputs) = start(&plan(vec![connection(server.ws())]));
    next(&mut inputs).await;
    sockets.replace(0, 1, "test").unwrap();
    let generation = until(&mut inputs, |input| match input {
        SocketEvent::Closed { generation, overlap, .. } => Some((generation, overlap)),
        _ => None,
    });
    assert_eq!(generation.await, (1, true));
    assert_eq!(refused.load(Ordering::SeqCst), 3);
    eventually("the fifth connection serves", || sockets.status()[0].generation == 5).await;
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn connections_opened_together_are_renewed_one_after_the_other() {
    const CONNECTIONS: usize = 12;
    let (server, _ticker) = numbered(Duration::from_millis(20)).await;
    let connections = (0..CONNECTIONS).map(|number| {
        let mut one = connection(server.ws());
        one.name = format!("public-{number}");
        // A quarter of it is for a renewal.
        one.max_age_ms = 8_000;
        one
    });
    let (sender, mut inputs) = inputs_of(256);
    let plan = plan(connections.collect());
    let sockets = FeedSockets::start(&plan, quick(), Budgets::new(), sender).unwrap();
    let mut seen = vec![BTreeSet::new(); CONNECTIONS];
    let mut open = BTreeMap::new();
    let (mut renewals, mut most) = (0, 0);
    while renewals < 2 * CONNECTIONS {
        match next(&mut inputs).await {
            SocketEvent::Opened { source, generation, at_ns, .. } => {
                open.insert((source, generation), at_ns);
                most = most.max(open.len());
            }
            SocketEvent::Closed { source, generation, reason, overlap, at_ns, .. } => {
                assert_eq!((reason, overlap), (CloseReason::Renewed, true));
                let lived = at_ns - open.remove(&(source, generation)).unwrap();
                assert!(lived < 8_000_000_000, "connection {source} lived for {lived} ns");
                renewals += 1;
            }
            SocketEvent::Frame(frame) => {
                let number: u64 = std::str::from_utf8(&frame.data).unwrap().parse().unwrap();
                seen[frame.source.position()].insert(number);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    stop(sockets, &mut inputs).await;
    assert!(most <= CONNECTIONS + 3, "{} renewals at once", most - CONNECTIONS);
    for (source, numbers) in seen.iter().enumerate() {
        let (first, last) = (*numbers.first().unwrap(), *numbers.last().unwrap());
        let missing: Vec<u64> = (first..=last).filter(|number| !numbers.contains(number)).collect();
        assert!(missing.is_empty(), "connection {source} misses {missing:?} of {first}..={last}");
    }
}
