//! Scheduled polls and resyncs on demand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use marketprism_adapter_host::contract::{Budget, Resubscription, Resync, ResyncAction};
use marketprism_socket::{CommandError, SocketCounter, SocketEvent};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::plans::{charge, charged_request, connection, plan, poll, request};
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
    let start = Instant::now();
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&arrivals);
    let server = Server::rest(move |number, head| {
        let banned = head.contains("/banned");
        if banned {
            keep.lock().unwrap().push((number, start.elapsed()));
        }
        let ban = banned && start.elapsed() < Duration::from_millis(500);
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
    while answers < 6 {
        match next(&mut inputs).await {
            SocketEvent::RequestFailed { source, .. } if source.position() < 3 => failures += 1,
            SocketEvent::Frame(frame) if frame.source.position() == 3 => others += 1,
            SocketEvent::Frame(_) => answers += 1,
            other => panic!("unexpected {other:?}"),
        }
    }
    let counters = sockets.counters();
    stop(sockets, &mut inputs).await;
    let arrivals = arrivals.lock().unwrap();
    let during = arrivals.iter().filter(|(_, at)| *at < Duration::from_millis(1950)).count();
    assert!(during <= 3, "asked during the ban: {arrivals:?}");
    assert!(failures <= 6, "{failures} failures told");
    assert!(others >= 20, "the other budget's poll came {others} times only");
    assert!(counters[SocketCounter::PollsSkippedBlocked] >= 60);
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
