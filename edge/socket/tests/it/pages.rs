//! Answers that are one page of several.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use marketprism_adapter_host::contract::Budget;
use marketprism_socket::{Budgets, Counted, FeedSockets, Input, Refused};
use tokio::sync::mpsc;

use crate::plans::{charge, connection, plan, poll, request, window};
use crate::venue::{Server, answer, eventually, next, quick, stop, until};

/// A venue that keeps what was asked and answers with the path; pages take `wait`, and `/broken` is not
/// there.
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

/// Goal: pages run in order and belong to their round: the next round waits for them, its missed times are
/// counted, and every answer has the poll's source. Method: rounds of eleven pages that take longer than two
/// periods; the order at the venue.
#[tokio::test]
async fn pages_come_in_order_before_the_next_round() {
    const PAGES: usize = 10;
    let (server, asked) = venue(Duration::from_millis(30)).await;
    let mut plan = plan(Vec::new());
    plan.polls = vec![poll(server.http("/0"), Duration::from_millis(150))];
    let mut options = quick();
    options.report_sent = true;
    let (sender, mut inputs) = mpsc::channel(8);
    let sockets = FeedSockets::start(&plan, options, Budgets::new(), sender).unwrap();
    let mut answers = 0;
    while answers < 3 * (PAGES + 1) {
        let Input::Asked { source: 0, url, .. } = next(&mut inputs).await else {
            panic!("not told what was asked")
        };
        let Input::Frame(frame) = next(&mut inputs).await else { panic!("no answer") };
        let path = std::str::from_utf8(&frame.data).unwrap();
        assert_eq!((frame.source, frame.generation, url), (0, 0, server.http(path)));
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
    assert!(counters.get(Counted::PollsSkippedLate) >= 2);
    assert_eq!(counters.get(Counted::FollowUpsAnswered), 3 * PAGES as u64);
}

/// Goal: an adapter that asks for page after page is stopped at 100 in a round, that is counted, and the next
/// round is served again. Method: every answer asks for another page.
#[tokio::test]
async fn pages_without_end_are_stopped() {
    let (server, asked) = venue(Duration::ZERO).await;
    let mut plan = plan(Vec::new());
    plan.polls = vec![poll(server.http("/first"), Duration::from_secs(2))];
    let (sender, mut inputs) = mpsc::channel(8);
    let sockets = FeedSockets::start(&plan, quick(), Budgets::new(), sender).unwrap();
    let mut refusals = 0;
    while refusals < 2 {
        let Input::Frame(_) = next(&mut inputs).await else { panic!("no answer") };
        match sockets.follow_up(0, request(server.http("/next"))) {
            Ok(()) => {}
            Err(refused) => {
                assert_eq!(refused, Refused::TooManyPages);
                refusals += 1;
            }
        }
    }
    assert_eq!(sockets.counters().get(Counted::FollowUpsRefused), 2);
    stop(sockets, &mut inputs).await;
    let asked = asked.lock().unwrap();
    let firsts: Vec<usize> = (0..asked.len()).filter(|at| asked[*at] == "/first").collect();
    assert_eq!(firsts, [0, 101]);
    assert_eq!(asked.len(), 202);
}

/// Goal: a page that is missing is reported, and its stretch of time asked for again. Method: a poll with a
/// window whose first page leads to one that is not there; the starts of two rounds.
#[tokio::test]
async fn a_missing_page_makes_its_round_count_for_nothing() {
    let (server, asked) = venue(Duration::ZERO).await;
    let mut plan = plan(Vec::new());
    plan.polls = vec![poll(server.http("/list"), Duration::from_millis(200))];
    plan.polls[0].window = window(1000, 500);
    let (sender, mut inputs) = mpsc::channel(8);
    let sockets = FeedSockets::start(&plan, quick(), Budgets::new(), sender).unwrap();
    let Input::Frame(_) = next(&mut inputs).await else { panic!("no answer") };
    sockets.follow_up(0, request(server.http("/broken"))).unwrap();
    let Input::RequestFailed { source: 0, reason, .. } = next(&mut inputs).await else {
        panic!("not reported")
    };
    assert_eq!(reason.label(), "refused");
    let Input::Frame(_) = next(&mut inputs).await else { panic!("no second round") };
    assert_eq!(sockets.counters().get(Counted::FollowUpsFailed), 1);
    stop(sockets, &mut inputs).await;
    let asked = asked.lock().unwrap();
    let start_of = |path: &str| path.split('&').next().unwrap().to_owned();
    assert_eq!((start_of(&asked[2]), asked[1].as_str()), (start_of(&asked[0]), "/broken"));
    assert_ne!(asked[2], asked[0]);
}

/// Goal: pages keep the plan's budgets, and only polls have pages. Method: pages with a budget that is not in
/// the plan, a charge above it, a bad URL, a connection's source, an unknown source; a page that fits is
/// charged.
#[tokio::test]
async fn pages_keep_the_plans_budgets() {
    let (server, _asked) = venue(Duration::ZERO).await;
    let silent = Server::websocket(|socket, _| async move {
        std::future::pending::<()>().await;
        drop(socket);
    })
    .await;
    let mut plan = plan(vec![connection(silent.ws())]);
    plan.polls = vec![poll(server.http("/list"), Duration::from_secs(3600))];
    plan.budgets = vec![Budget { name: "weight".to_owned(), units: 10, window_ms: 60_000 }];
    let budgets = Budgets::new();
    let (sender, mut inputs) = mpsc::channel(8);
    let sockets = FeedSockets::start(&plan, quick(), budgets.clone(), sender).unwrap();
    let page = |charged: &str, units| {
        let mut page = request(server.http("/next"));
        page.charges = vec![charge(charged, units)];
        page
    };
    assert_eq!(sockets.follow_up(0, page("weight", 1)), Err(Refused::NotAPoll(0)));
    assert_eq!(sockets.follow_up(2, page("weight", 1)), Err(Refused::NotAPoll(2)));
    for bad in [page("wieght", 1), page("weight", 11), request("ftp://venue".to_owned())] {
        assert_eq!(sockets.follow_up(1, bad), Err(Refused::BadRequest));
    }
    assert_eq!(sockets.counters().get(Counted::FollowUpsRefused), 3);
    sockets.follow_up(1, page("weight", 7)).unwrap();
    let answered = until(&mut inputs, |input| match input {
        Input::Frame(frame) if frame.data.as_ref() == b"/next" => Some(frame.source),
        _ => None,
    });
    assert_eq!(answered.await, 1);
    eventually("the page is charged", || budgets.usage()[0].used == 7).await;
    stop(sockets, &mut inputs).await;
}
