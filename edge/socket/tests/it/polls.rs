//! Scheduled polls, their time windows, and resyncs on demand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use marketprism_adapter_host::contract::{Budget, Resubscription, Resync, ResyncAction};
use marketprism_socket::{CommandError, SocketCounter, SocketEvent};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::plans::{charge, charged_request, connection, plan, poll, request, window};
use crate::venue::{Server, answer, eventually, next, noticed, quick, start, start_with, stop, until};

const NOW: Duration = Duration::ZERO;

#[tokio::test]
async fn polls_follow_their_schedule() {
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, highest) = (Arc::clone(&running), Arc::clone(&most));
    let server = Server::tcp(move |mut stream, _| {
        let (now, highest) = (Arc::clone(&now), Arc::clone(&highest));
        async move {
            use tokio::io::AsyncWriteExt;
            let head = crate::venue::read_head(&mut stream).await;
            let bytes = if head.contains("/slow") {
                highest.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(180)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                answer("200 OK", "", "slow")
            } else if head.contains("/fail") {
                answer("400 Bad Request", "", "no")
            } else {
                answer("200 OK", "", "quick")
            };
            stream.write_all(&bytes).await.unwrap();
        }
    })
    .await;
    let period = Duration::from_millis(50);
    let mut plan = plan(Vec::new());
    plan.polls = ["/quick", "/slow", "/fail"].map(|path| poll(server.http(path), period)).to_vec();
    let (sockets, mut inputs) = start(&plan);
    let mut seen = [0; 3];
    while seen[1] < 3 || seen[2] < 3 {
        match next(&mut inputs).await {
            SocketEvent::Frame(frame) => {
                let wanted: &[u8] = if frame.source.position() == 0 { b"quick" } else { b"slow" };
                assert_eq!((frame.data.as_ref(), frame.generation), (wanted, 0));
                seen[frame.source.position()] += 1;
            }
            SocketEvent::RequestFailed { source, reason, .. } if source.position() == 2 => {
                assert_eq!(reason.label(), "refused");
                seen[2] += 1;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(most.load(Ordering::SeqCst), 1, "the slow poll ran twice at once");
    assert!(seen[0] >= 5, "{seen:?}");
    assert!(sockets.counters()[SocketCounter::PollsSkippedLate] >= 4);
    assert!(sockets.counters()[SocketCounter::PollsFailed] >= 2);
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn a_ban_stops_every_poll_of_the_budget() {
    // Nothing may arrive for two seconds behind the first refusal, but what was under way.
    const BAN: Duration = Duration::from_millis(1_950);
    let arrivals = Arc::new(Mutex::new(Vec::<Instant>::new()));
    let keep = Arc::clone(&arrivals);
    let server = Server::rest(move |_, head| {
        let mut ban = false;
        if head.contains("/banned") {
            let mut arrivals = keep.lock().unwrap();
            arrivals.push(Instant::now());
            ban = arrivals[0].elapsed() < BAN;
        }
        (
            NOW,
            if ban { answer("418 I'm a teapot", "retry-after: 2\r\n", "") } else { answer("200 OK", "", "") },
        )
    })
    .await;
    let mut plan = plan(Vec::new());
    plan.polls = vec![poll(server.http("/banned"), Duration::from_millis(40)); 4];
    plan.budgets = ["group", "other"]
        .map(|name| Budget { name: name.to_owned(), units: 1000, window_ms: 1000 })
        .to_vec();
    for poll in &mut plan.polls {
        poll.request.charges = vec![charge("group", 1)];
    }
    plan.polls[3].request = charged_request(server.http("/other"), "other", 1);
    let mut options = quick();
    options.budget_wait_max = Duration::from_millis(100);
    let (sockets, mut inputs) = start_with(&plan, options, 8);
    let (mut failures, mut others, mut answers) = (0, 0, 0);
    let (mut others_during, mut skipped_during) = (0, 0);
    while answers < 6 {
        match next(&mut inputs).await {
            SocketEvent::RequestFailed { source, .. } if source.position() < 3 => failures += 1,
            SocketEvent::Frame(frame) if frame.source.position() == 3 => others += 1,
            SocketEvent::Frame(_) => {
                if answers == 0 {
                    others_during = others;
                    skipped_during = sockets.counters()[SocketCounter::PollsSkippedBlocked];
                }
                answers += 1;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    stop(sockets, &mut inputs).await;
    let arrivals = arrivals.lock().unwrap();
    let during = arrivals.iter().filter(|at| **at < arrivals[0] + BAN).count();
    assert!((1..=3).contains(&during), "asked during the ban: {arrivals:?}");
    assert!(failures <= 6, "{failures} failures reported");
    // Fifty times in two seconds of an idle machine.
    assert!(others_during >= 3, "the other budget's poll came {others_during} times during the ban");
    assert!(skipped_during >= 3, "{skipped_during} times of the three polls passed during the ban");
}

#[tokio::test]
async fn resyncs_answer_with_their_source() {
    let rest = Server::rest(|_, head| {
        let failed = head.contains("/fail");
        let wait = if head.contains("/book") { Duration::from_millis(100) } else { NOW };
        (wait, if failed { answer("404 Not Found", "", "") } else { answer("200 OK", "", "book") })
    })
    .await;
    let (asked, mut asks) = mpsc::channel(8);
    let venue = Server::websocket(move |mut socket, _| {
        let asked = asked.clone();
        async move {
            while let Some(Ok(message)) = socket.next().await {
                asked.send(message.to_string()).await.unwrap();
            }
        }
    })
    .await;
    let mut plan = plan(vec![connection(venue.ws())]);
    plan.polls = vec![poll(rest.http("/poll"), Duration::from_secs(3600)); 2];
    let again = Resubscription { connection: 0, messages: vec!["off".to_owned(), "on".to_owned()] };
    let actions = [
        ResyncAction::Request(request(rest.http("/book"))),
        ResyncAction::Resubscribe(again),
        ResyncAction::Request(request(rest.http("/fail"))),
    ];
    plan.resyncs =
        actions.into_iter().map(|action| Resync { instrument: 0, action, depth_limit: None }).collect();
    let (sockets, mut inputs) = start(&plan);
    until(&mut inputs, |input| matches!(input, SocketEvent::Opened { .. }).then_some(())).await;
    eventually("the connection serves", || sockets.status()[0].generation == 1).await;
    sockets.resync(0).unwrap();
    assert_eq!(sockets.resync(0), Err(CommandError::InFlight));
    assert_eq!(sockets.resync(3), Err(CommandError::UnknownResync(3.into())));
    sockets.resync(1).unwrap();
    let frame = |source| {
        move |input| match input {
            SocketEvent::Frame(frame) if frame.source.position() == source => Some(frame.data),
            _ => None,
        }
    };
    assert_eq!(until(&mut inputs, frame(3)).await.as_ref(), b"book");
    assert_eq!([noticed(&mut asks).await, noticed(&mut asks).await], ["off", "on"]);
    eventually("both can be asked for again", || sockets.resync(0).is_ok()).await;
    eventually("the texts are sent", || sockets.resync(1).is_ok()).await;
    for _ in 0..2 {
        eventually("it can be asked for", || sockets.resync(2).is_ok()).await;
        let failed = until(&mut inputs, |input| match input {
            SocketEvent::RequestFailed { source, reason, .. } => Some((source.position(), reason.label())),
            _ => None,
        });
        assert_eq!(failed.await, (5, "refused"));
    }
    assert_eq!(sockets.counters()[SocketCounter::ResyncsFailed], 2);
    stop(sockets, &mut inputs).await;
}

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
    let mut liquidations = poll(server.http("/liquidations?coin=BTC"), Duration::from_millis(300));
    liquidations.window = window(820, 500);
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
    assert!((began - 820..began).contains(&answered[0].0), "{} at {began}", answered[0].0);
    for pair in answered.windows(2) {
        assert!(pair[1].0 <= pair[0].1, "a hole between {pair:?}");
    }
}

#[tokio::test]
async fn a_long_outage_leaves_a_counted_hole() {
    let (server, windows) =
        venue(|number| if (4..20).contains(&number) { "400 Bad Request" } else { "200 OK" }).await;
    let mut plan = plan(Vec::new());
    let mut liquidations = poll(server.http("/liquidations?coin=BTC"), Duration::from_millis(250));
    liquidations.window = window(2_000, 1_500);
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
    assert!(lengths.iter().all(|length| (500..=1_500).contains(length)), "{lengths:?}");
    assert_eq!(lengths[19], 1_500);
}
