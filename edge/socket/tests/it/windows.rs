//! Polls with a time window.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use marketprism_socket::{SocketCounter, SocketEvent};

use crate::plans::{plan, poll, window};
use crate::venue::{Server, answer, eventually, next, quick, start, start_with, stop};

/// Start and end of a request's window; answered with 200.
type Asked = (i64, i64, bool);

fn parameter(head: &str, name: &str) -> i64 {
    let query = head.split(' ').nth(1).unwrap().split_once('?').unwrap().1;
    let found = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    found.unwrap_or_else(|| panic!("no {name} in {query}")).parse().unwrap()
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Records every window; `good` gives the status by the request's number.
async fn venue(
    good: impl Fn(usize) -> &'static str + Send + Sync + 'static,
) -> (Server, Arc<Mutex<Vec<Asked>>>) {
    let windows = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&windows);
    let server = Server::rest(move |number, head| {
        assert!(head.starts_with("GET /liquidations?coin=BTC&start="), "{head}");
        let status = good(number);
        let (from, to) = (parameter(head, "start"), parameter(head, "end"));
        keep.lock().unwrap().push((from, to, status == "200 OK"));
        (Duration::from_millis(15), answer(status, "", ""))
    })
    .await;
    (server, windows)
}

#[tokio::test]
async fn answers_cover_all_of_the_time() {
    let (server, windows) = venue(|number| match number {
        3 | 6 | 11 => "503 Service Unavailable",
        8 | 14 => "400 Bad Request",
        _ => "200 OK",
    })
    .await;
    let mut plan = plan(Vec::new());
    let mut liquidations = poll(server.http("/liquidations?coin=BTC"), Duration::from_millis(120));
    liquidations.window = window(620, 500);
    plan.polls = vec![liquidations];
    let began = now_ms();
    let (sockets, mut inputs) = start(&plan);
    while server.accepted() < 25 {
        next(&mut inputs).await;
    }
    let counters = sockets.counters();
    stop(sockets, &mut inputs).await;
    assert_eq!(counters[SocketCounter::PollWindowHoles], 0);
    assert_eq!(counters[SocketCounter::RetriesVenueError], 3);
    let windows = windows.lock().unwrap();
    for pair in windows.windows(2) {
        assert!(pair[1].1 >= pair[0].1 + 10, "a try repeats the moment of the one before: {pair:?}");
    }
    let answered: Vec<Asked> = windows.iter().copied().filter(|(.., good)| *good).collect();
    assert!((began - 620..began).contains(&answered[0].0), "{} at {began}", answered[0].0);
    for pair in answered.windows(2) {
        assert!(pair[1].0 <= pair[0].1, "a hole between {pair:?}");
    }
}

#[tokio::test]
async fn a_long_outage_leaves_a_counted_hole() {
    let (server, windows) =
        venue(|number| if (4..20).contains(&number) { "400 Bad Request" } else { "200 OK" }).await;
    let mut plan = plan(Vec::new());
    let mut liquidations = poll(server.http("/liquidations?coin=BTC"), Duration::from_millis(50));
    liquidations.window = window(400, 300);
    plan.polls = vec![liquidations];
    let (sockets, mut inputs) = start_with(&plan, quick(), 64);
    eventually("the hole is counted", || sockets.counters()[SocketCounter::PollWindowHoles] == 1).await;
    while server.accepted() < 24 {
        assert!(!matches!(next(&mut inputs).await, SocketEvent::Opened { .. }));
    }
    assert_eq!(sockets.counters()[SocketCounter::PollWindowHoles], 1);
    stop(sockets, &mut inputs).await;
    let windows = windows.lock().unwrap();
    let lengths: Vec<i64> = windows.iter().map(|(from, to, _)| to - from).collect();
    assert!(lengths.iter().all(|length| (100..=300).contains(length)), "{lengths:?}");
    assert_eq!(lengths[19], 300);
}
