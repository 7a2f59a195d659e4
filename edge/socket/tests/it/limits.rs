//! Rate limits over many connections, measured at the venue.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use marketprism_adapter_host::contract::{Budget, Connection};
use marketprism_socket::{Budgets, FeedSockets, SocketCounter};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{charge, connection, plan};
use crate::venue::{Server, eventually, most_within, quick, read_to_end, start_with, stop};

fn connections(url: &str, count: usize) -> Vec<Connection> {
    let named = |number| {
        let mut one = connection(format!("{url}/{number}"));
        one.name = format!("public-{number}");
        one
    };
    (0..count).map(named).collect()
}

#[tokio::test]
async fn connects_of_all_connections_keep_one_budget() {
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&arrivals);
    let server = Server::tcp(move |stream, number| {
        keep.lock().unwrap().push(Instant::now());
        async move {
            if number > 40
                && let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await
            {
                read_to_end(&mut socket).await;
            }
        }
    })
    .await;
    let window = Duration::from_millis(300);
    let budgets = Budgets::new();
    let mut feeds = Vec::new();
    for _ in 0..2 {
        let mut plan = plan(connections(&server.ws(), 12));
        plan.budgets = vec![Budget { name: "connects".to_owned(), units: 5, window_ms: 300 }];
        for connection in &mut plan.connections {
            connection.charges = vec![charge("connects", 1)];
        }
        let (sender, inputs) = mpsc::channel(256);
        feeds.push((FeedSockets::start(&plan, quick(), budgets.clone(), sender).unwrap(), inputs));
    }
    eventually("all are open", || feeds.iter().all(|(feed, _)| feed.counters()[SocketCounter::Opened] >= 12))
        .await;
    for (feed, mut inputs) in feeds {
        stop(feed, &mut inputs).await;
    }
    let arrivals = arrivals.lock().unwrap();
    assert!(arrivals.len() >= 64);
    // Both clocks tick apart: what left 300 ms apart may arrive a little closer together.
    let most = most_within(&arrivals, window - Duration::from_millis(5));
    assert!(most <= 5, "{most} connects within {window:?}");
}

#[tokio::test]
async fn messages_of_every_connection_keep_its_limit() {
    let arrivals: Arc<Mutex<BTreeMap<usize, Vec<Instant>>>> = Arc::default();
    let keep = Arc::clone(&arrivals);
    let server = Server::websocket(move |mut socket, _| {
        let keep = Arc::clone(&keep);
        async move {
            let (mut place, mut times) = (0, Vec::new());
            let mut pings = tokio::time::interval(Duration::from_millis(500));
            pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let message = tokio::select! {
                    _ = pings.tick() => {
                        if socket.send(Message::Ping(Default::default())).await.is_err() {
                            break;
                        }
                        continue;
                    }
                    message = socket.next() => message,
                };
                times.push(Instant::now());
                match message {
                    Some(Ok(Message::Text(text))) => place = text.split_once(' ').unwrap().0.parse().unwrap(),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                    Some(Ok(_)) => {}
                }
            }
            keep.lock().unwrap().insert(place, times);
        }
    })
    .await;
    let mut plan = plan(connections(&server.ws(), 8));
    for (place, connection) in plan.connections.iter_mut().enumerate() {
        connection.messages_max = max_of(place);
        connection.messages_window_ms = window_of(place);
        connection.on_open = (0..30).map(|number| format!("{place} {number}")).collect();
    }
    let (sockets, mut inputs) = start_with(&plan, quick(), 256);
    eventually("all are open", || sockets.counters()[SocketCounter::Opened] == 8).await;
    for source in 0..8 {
        eventually("it serves", || sockets.status()[source as usize].generation == 1).await;
        (0..5).for_each(|number| sockets.reply(source, 1, format!("{source} reply {number}")).unwrap());
    }
    eventually("all is sent", || sockets.counters()[SocketCounter::TextsSent] == 8 * 35).await;
    stop(sockets, &mut inputs).await;
    eventually("the venue has seen all ends", || arrivals.lock().unwrap().len() == 8).await;
    for (place, times) in arrivals.lock().unwrap().iter() {
        assert!(times.len() >= 35, "{} messages on connection {place}", times.len());
        let most = most_within(times, Duration::from_millis(window_of(*place).into()));
        assert!(most <= max_of(*place) as usize, "{most} messages in a window of connection {place}");
    }
}

fn max_of(place: usize) -> u32 {
    3 + u32::try_from(place).unwrap() % 4
}

fn window_of(place: usize) -> u32 {
    100 + 20 * u32::try_from(place).unwrap()
}
