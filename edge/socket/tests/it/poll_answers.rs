//! Answers of several pages, and reference polls before connections.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::SinkExt;
use marketprism_adapter_host::contract::{Budget, Plan};
use marketprism_socket::{Budgets, CommandError, FeedSockets, SocketCounter, SocketEvent};
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{charge, charged_request, connection, plan, poll, request, window};
use crate::venue::{
    Server, answer, inputs_of, next, next_frame, quick, read_to_end, start, start_with, stop, until,
};

/// Records the requested paths and answers with the path after `wait`; `/broken` is missing.
async fn venue(wait: Duration) -> (Server, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&asked);
    let server = Server::rest(move |_, head| {
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let status = if path.starts_with("/broken") { "404 Not Found" } else { "200 OK" };
        let bytes = answer(status, "", &path);
        keep.lock().unwrap().push(path);
        (wait, bytes)
    })
    .await;
    (server, asked)
}

#[tokio::test]
async fn pages_come_in_order_before_the_next_round() {
    const PAGES: usize = 10;
    let (server, asked) = venue(Duration::from_millis(30)).await;
    let mut plan = plan(Vec::new());
    plan.polls = vec![poll(server.http("/0"), Duration::from_millis(150))];
    let mut options = quick();
    options.report_sent = true;
    let (sockets, mut inputs) = start_with(&plan, options, 8);
    let mut answers = 0;
    while answers < 3 * (PAGES + 1) {
        let SocketEvent::Requested { url, .. } = next(&mut inputs).await else {
            panic!("the asked text was not reported")
        };
        let frame = next_frame(&mut inputs).await;
        let path = std::str::from_utf8(&frame.data).unwrap();
        assert_eq!((frame.source.position(), frame.generation, url), (0, 0, server.http(path)));
        let page: usize = path[1..].parse().unwrap();
        if page < PAGES {
            sockets.follow_up(0, request(server.http(&format!("/{}", page + 1)))).unwrap();
        }
        answers += 1;
    }
    let counters = sockets.counters();
    stop(sockets, &mut inputs).await;
    let round: Vec<String> = (0..=PAGES).map(|page| format!("/{page}")).collect();
    assert_eq!(asked.lock().unwrap()[..3 * (PAGES + 1)], [&round[..], &round[..], &round[..]].concat());
    assert!(counters[SocketCounter::PollsSkippedLate] >= 2);
    assert_eq!(counters[SocketCounter::FollowUpsAnswered], 3 * PAGES as u64);
}

#[tokio::test]
async fn pages_without_end_are_stopped() {
    let (server, asked) = venue(Duration::ZERO).await;
    let mut plan = plan(Vec::new());
    plan.polls = vec![poll(server.http("/first"), Duration::from_secs(2))];
    let (sockets, mut inputs) = start(&plan);
    let mut refusals = 0;
    while refusals < 2 {
        next_frame(&mut inputs).await;
        match sockets.follow_up(0, request(server.http("/next"))) {
            Ok(()) => {}
            Err(refused) => {
                assert_eq!(refused, CommandError::TooManyPages);
                refusals += 1;
            }
        }
    }
    assert_eq!(sockets.counters()[SocketCounter::FollowUpsRefused], 2);
    stop(sockets, &mut inputs).await;
    let asked = asked.lock().unwrap();
    let firsts: Vec<usize> = (0..asked.len()).filter(|at| asked[*at] == "/first").collect();
    assert_eq!(firsts, [0, 101]);
    assert_eq!(asked.len(), 202);
}

#[tokio::test]
async fn a_missing_page_makes_its_round_count_for_nothing() {
    let (server, asked) = venue(Duration::ZERO).await;
    let mut plan = plan(Vec::new());
    plan.polls = vec![poll(server.http("/list"), Duration::from_millis(200))];
    plan.polls[0].window = window(1000, 500);
    let (sockets, mut inputs) = start(&plan);
    next_frame(&mut inputs).await;
    sockets.follow_up(0, request(server.http("/broken"))).unwrap();
    let SocketEvent::RequestFailed { reason, .. } = next(&mut inputs).await else { panic!("not reported") };
    assert_eq!(reason.label(), "refused");
    next_frame(&mut inputs).await;
    assert_eq!(sockets.counters()[SocketCounter::FollowUpsFailed], 1);
    stop(sockets, &mut inputs).await;
    let asked = asked.lock().unwrap();
    let start_of = |path: &str| path.split('&').next().unwrap().to_owned();
    assert_eq!((start_of(&asked[2]), asked[1].as_str()), (start_of(&asked[0]), "/broken"));
    assert_ne!(asked[2], asked[0]);
}

#[tokio::test]
async fn a_window_whose_answer_gave_nothing_is_requested_again() {
    let (server, asked) = venue(Duration::ZERO).await;
    let mut plan = plan(Vec::new());
    plan.polls = vec![poll(server.http("/list"), Duration::from_millis(200))];
    plan.polls[0].window = window(1000, 500);
    let (sockets, mut inputs) = start(&plan);
    next_frame(&mut inputs).await;
    sockets.answer_unusable(0);
    next_frame(&mut inputs).await;
    next_frame(&mut inputs).await;
    stop(sockets, &mut inputs).await;
    let asked = asked.lock().unwrap();
    let starts: Vec<&str> = asked.iter().map(|path| path.split('&').next().unwrap()).collect();
    assert_eq!(starts[0], starts[1]);
    assert_ne!(starts[1], starts[2]);
}

#[tokio::test]
async fn pages_keep_the_plans_budgets() {
    let (server, _asked) = venue(Duration::ZERO).await;
    let silent = Server::mute().await;
    let mut plan = plan(vec![connection(silent.ws())]);
    plan.polls = vec![poll(server.http("/list"), Duration::from_secs(3600))];
    plan.budgets = vec![Budget { name: "weight".to_owned(), units: 10, window_ms: 60_000 }];
    let budgets = Budgets::new();
    let (sender, mut inputs) = inputs_of(8);
    let sockets = FeedSockets::start(&plan, quick(), budgets.clone(), sender).unwrap();
    let page = |budget: &str, units| charged_request(server.http("/next"), budget, units);
    assert_eq!(sockets.follow_up(0, page("weight", 1)), Err(CommandError::NotAPoll(0.into())));
    assert_eq!(sockets.follow_up(2, page("weight", 1)), Err(CommandError::NotAPoll(2.into())));
    for bad in [page("wieght", 1), page("weight", 11), request("ftp://venue".to_owned())] {
        assert_eq!(sockets.follow_up(1, bad), Err(CommandError::BadRequest));
    }
    assert_eq!(sockets.counters()[SocketCounter::FollowUpsRefused], 3);
    sockets.follow_up(1, page("weight", 7)).unwrap();
    let answered = until(&mut inputs, |input| match input {
        SocketEvent::Frame(frame) if frame.data.as_ref() == b"/next" => Some(frame.source),
        _ => None,
    });
    assert_eq!(answered.await.position(), 1);
    let wait = Duration::from_millis(50);
    assert!(budgets.reserve(&[charge("weight", 4)], wait).await.is_err(), "7 of 10 units are charged");
    assert!(budgets.reserve(&[charge("weight", 3)], wait).await.is_ok());
    stop(sockets, &mut inputs).await;
}

/// Sends at once on every connection.
async fn talkative() -> Server {
    Server::websocket(|mut socket, _| async move {
        socket.send(Message::text("data")).await.unwrap();
        read_to_end(&mut socket).await;
    })
    .await
}

/// A connection, a poll, and an hourly reference poll.
fn with_reference(venue: &Server, rest: &Server) -> Plan {
    let mut plan = plan(vec![connection(venue.ws())]);
    plan.polls = vec![
        poll(rest.http("/usual"), Duration::from_secs(1)),
        poll(rest.http("/reference"), Duration::from_secs(3600)),
    ];
    plan.polls[1].reference = true;
    plan
}

#[tokio::test]
async fn references_come_before_everything_else() {
    let venue = talkative().await;
    let rest = Server::rest(|_, head| {
        let slow = head.contains("/reference");
        let wait = if slow { Duration::from_millis(300) } else { Duration::ZERO };
        (wait, answer("200 OK", "", if slow { "reference" } else { "usual" }))
    })
    .await;
    let (sockets, mut inputs) = start(&with_reference(&venue, &rest));
    let frame = next_frame(&mut inputs).await;
    assert_eq!((frame.source.position(), frame.data.as_ref()), (2, &b"reference"[..]));
    assert_eq!((rest.accepted(), sockets.counters()[SocketCounter::Opened]), (1, 0));
    let mut others = [false; 2];
    while others != [true; 2] {
        match next(&mut inputs).await {
            SocketEvent::Opened { .. } => others[0] = true,
            SocketEvent::Frame(frame) if frame.source.position() == 1 => others[1] = true,
            _ => {}
        }
    }
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn a_failing_reference_is_tried_again_soon() {
    let venue = talkative().await;
    let rest = Server::rest(|number, head| {
        let refused = head.contains("/reference") && number <= 3;
        let status = if refused { "404 Not Found" } else { "200 OK" };
        (Duration::ZERO, answer(status, "", ""))
    })
    .await;
    let mut plan = with_reference(&venue, &rest);
    plan.polls.remove(0);
    let (sockets, mut inputs) = start(&plan);
    assert!(matches!(next(&mut inputs).await, SocketEvent::RequestFailed { .. }));
    let (mut opened, mut failed) = (false, 1);
    loop {
        match next(&mut inputs).await {
            SocketEvent::Opened { .. } => opened = true,
            SocketEvent::RequestFailed { .. } => failed += 1,
            SocketEvent::Frame(frame) if frame.source.position() == 1 => break,
            _ => {}
        }
    }
    assert_eq!((opened, failed), (true, 3));
    assert_eq!(sockets.counters()[SocketCounter::ReferencesLate], 0);
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn a_mute_reference_holds_connections_for_a_bounded_time() {
    let venue = talkative().await;
    let mute = Server::rest(|_, _| (Duration::from_secs(3_600), Vec::new())).await;
    let mut options = quick();
    options.reference_wait = Duration::from_millis(200);
    let (sockets, mut inputs) = start_with(&with_reference(&venue, &mute), options, 8);
    assert!(matches!(next(&mut inputs).await, SocketEvent::Opened { .. }));
    assert_eq!(sockets.counters()[SocketCounter::ReferencesLate], 1);
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_references() {
    let venue = talkative().await;
    let mute = Server::rest(|_, _| (Duration::from_secs(3_600), Vec::new())).await;
    let (sockets, mut inputs) = start(&with_reference(&venue, &mute));
    crate::venue::eventually("it is asked", || mute.accepted() == 1).await;
    let stopping = tokio::time::timeout(Duration::from_secs(30), stop(sockets, &mut inputs));
    assert!(stopping.await.unwrap().is_empty());
    assert_eq!(venue.accepted(), 0);
}
