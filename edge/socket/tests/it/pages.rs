//! Answers of several pages.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use marketprism_adapter_host::contract::Budget;
use marketprism_socket::{Budgets, CommandError, FeedSockets, SocketCounter, SocketEvent};
use tokio::sync::mpsc;

use crate::plans::{charge, charged_request, connection, plan, poll, request, window};
use crate::venue::{Server, answer, next, next_frame, quick, start, start_with, stop, until};

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
        let SocketEvent::Asked { url, .. } = next(&mut inputs).await else {
            panic!("not told what was asked")
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
async fn pages_keep_the_plans_budgets() {
    let (server, _asked) = venue(Duration::ZERO).await;
    let silent = Server::mute().await;
    let mut plan = plan(vec![connection(silent.ws())]);
    plan.polls = vec![poll(server.http("/list"), Duration::from_secs(3600))];
    plan.budgets = vec![Budget { name: "weight".to_owned(), units: 10, window_ms: 60_000 }];
    let budgets = Budgets::new();
    let (sender, mut inputs) = mpsc::channel(8);
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
