//! Rate limits over many connections, measured at the venue; hundreds of streams over several connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use marketprism_adapter_host::contract::{Budget, Connection, Plan};
use marketprism_socket::{Budgets, FeedSockets, SocketCounter, SocketEvent};
use tokio::sync::broadcast;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{charge, connection, plan, stream};
use crate::venue::{
    DEADLINE, Server, ServerSocket, eventually, inputs_of, most_within, next, quick, read_to_end, start_with,
    stop, ticker, without_stalls,
};

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
        let (sender, inputs) = inputs_of(256);
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
    let shortest = Duration::from_millis(window_of(0).into());
    let (arrivals, stall) = without_stalls(shortest / 2, arrivals_of_every_connection).await;
    for (place, times) in arrivals {
        assert!(times.len() >= 35, "{} messages on connection {place}", times.len());
        let window = Duration::from_millis(window_of(place).into());
        let most = most_within(&times, window - stall);
        assert!(most <= max_of(place) as usize, "{most} messages in a window of connection {place}");
    }
}

async fn arrivals_of_every_connection() -> BTreeMap<usize, Vec<Instant>> {
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
    std::mem::take(&mut arrivals.lock().unwrap())
}

fn max_of(place: usize) -> u32 {
    3 + u32::try_from(place).unwrap() % 4
}

fn window_of(place: usize) -> u32 {
    300 + 20 * u32::try_from(place).unwrap()
}

const CONNECTIONS: usize = 6;
const STREAMS: usize = 50;
const TIME: Duration = Duration::from_secs(5);

/// Sends a frame per tick for each stream subscribed so far, as venues do.
async fn serve(mut socket: ServerSocket, mut ticks: broadcast::Receiver<u64>) {
    let mut streams: Vec<String> = Vec::new();
    let padding = "x".repeat(200);
    loop {
        tokio::select! {
            tick = ticks.recv() => {
                let tick = tick.unwrap();
                for stream in &streams {
                    if socket.feed(Message::text(format!("{stream} {tick} {padding}"))).await.is_err() {
                        return;
                    }
                }
                if socket.flush().await.is_err() {
                    return;
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(stream))) => streams.push(stream.to_string()),
                Some(Ok(_)) => {}
                _ => return,
            },
        }
    }
}

fn plan_of_300(url: &str) -> Plan {
    let connections = (0..CONNECTIONS).map(|number| {
        let mut one = connection(url.to_owned());
        one.name = format!("public-{number}");
        one.on_open = (0..STREAMS).map(|stream| stream.to_string()).collect();
        (one.messages_max, one.messages_window_ms) = (21, 100);
        one.max_age_ms = 3000;
        one.charges = vec![charge("connects", 1)];
        one.streams = one.on_open.iter().map(|text| stream(3_000, &[text])).collect();
        one
    });
    let mut plan = plan(connections.collect());
    plan.budgets = vec![Budget { name: "connects".to_owned(), units: 2, window_ms: 200 }];
    plan
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_streams_lose_nothing_and_stay_small() {
    let (ticks, _ticker) = ticker(Duration::from_millis(20));
    let server = Server::websocket(move |socket, _| serve(socket, ticks.subscribe())).await;
    let (sockets, mut inputs) = start_with(&plan_of_300(&server.ws()), quick(), 1024);
    let start = Instant::now();
    // Per stream: the first tick, and a flag for each tick since.
    let mut seen: Vec<Option<(u64, Vec<bool>)>> = vec![None; CONNECTIONS * STREAMS];
    let (mut renewals, mut small) = (0, None);
    while start.elapsed() < TIME || (renewals < CONNECTIONS && start.elapsed() < DEADLINE) {
        match next(&mut inputs).await {
            SocketEvent::Frame(frame) => {
                let mut parts = std::str::from_utf8(&frame.data).unwrap().split(' ');
                let stream: u32 = parts.next().unwrap().parse().unwrap();
                let tick: u64 = parts.next().unwrap().parse().unwrap();
                sockets.stream_received(frame.source, frame.generation, stream, frame.received_at_ns);
                let place = frame.source.position() * STREAMS + stream as usize;
                let (first, flags) = seen[place].get_or_insert_with(|| (tick, Vec::new()));
                let at = (tick - *first) as usize;
                flags.resize(flags.len().max(at + 1), false);
                flags[at] = true;
            }
            SocketEvent::Closed { reason, overlap, .. } => {
                assert_eq!((reason.label(), overlap), ("renewed", true));
                renewals += 1;
            }
            SocketEvent::Opened { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
        if small.is_none() && start.elapsed() > TIME / 3 {
            small = Some(resident_kib());
        }
    }
    let grown = resident_kib().saturating_sub(small.unwrap());
    let counters = sockets.counters();
    stop(sockets, &mut inputs).await;
    println!("{} frames, {renewals} renewals, {grown} KiB more", counters[SocketCounter::Frames]);
    for (place, ticks) in seen.iter().enumerate() {
        let (first, flags) = ticks.as_ref().unwrap_or_else(|| panic!("stream {place} never came"));
        let missing = flags.iter().filter(|flag| !**flag).count();
        assert_eq!(missing, 0, "stream {place} misses ticks after {first}");
        assert!(flags.len() > 30, "stream {place} has {} ticks only", flags.len());
    }
    assert!(renewals >= CONNECTIONS, "{renewals} renewals");
    assert!(grown < 32 * 1024, "memory grew by {grown} KiB");
}
