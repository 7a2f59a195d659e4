//! Answers that must be known before connections are opened.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use marketprism_adapter_host::contract::Plan;
use marketprism_socket::{Budgets, Counted, FeedSockets, Input};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{connection, plan, poll};
use crate::venue::{Server, answer, next, quick, stop};

/// A venue that sends at once on every connection.
async fn talkative() -> Server {
    Server::websocket(|mut socket, _| async move {
        socket.send(Message::text("data")).await.unwrap();
        while socket.next().await.is_some_and(|message| message.is_ok()) {}
    })
    .await
}

/// A connection, a poll of an hour that is a reference, and one that is not.
fn with_reference(venue: &Server, rest: &Server) -> Plan {
    let mut plan = plan(vec![connection(venue.ws())]);
    plan.polls = vec![
        poll(rest.http("/usual"), Duration::from_secs(1)),
        poll(rest.http("/reference"), Duration::from_secs(3600)),
    ];
    plan.polls[1].reference = true;
    plan
}

/// Goal: the answer of a reference poll stands before everything else, and nothing is opened before it.
/// Method: a reference that takes 300 ms, a connection and a poll that would be quicker.
#[tokio::test]
async fn references_come_before_everything_else() {
    let venue = talkative().await;
    let rest = Server::rest(|_, head| {
        let slow = head.contains("/reference");
        let wait = if slow { Duration::from_millis(300) } else { Duration::ZERO };
        (wait, answer("200 OK", "", if slow { "reference" } else { "usual" }))
    })
    .await;
    let (sender, mut inputs) = mpsc::channel(8);
    let sockets =
        FeedSockets::start(&with_reference(&venue, &rest), quick(), Budgets::new(), sender).unwrap();
    let Input::Frame(frame) = next(&mut inputs).await else { panic!("something came before the reference") };
    assert_eq!((frame.source, frame.data.as_ref()), (2, &b"reference"[..]));
    assert_eq!((rest.accepted(), sockets.counters().get(Counted::Opened)), (1, 0));
    let mut others = [false; 2];
    while others != [true; 2] {
        match next(&mut inputs).await {
            Input::Opened { .. } => others[0] = true,
            Input::Frame(frame) if frame.source == 1 => others[1] = true,
            _ => {}
        }
    }
    stop(sockets, &mut inputs).await;
}

/// Goal: a reference that fails does not keep the connections closed, and is asked for again soon and not
/// after its hour. Method: a venue that refuses it three times.
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
    let (sender, mut inputs) = mpsc::channel(8);
    let sockets = FeedSockets::start(&plan, quick(), Budgets::new(), sender).unwrap();
    assert!(matches!(next(&mut inputs).await, Input::RequestFailed { source: 1, .. }));
    let (mut opened, mut failed) = (false, 1);
    loop {
        match next(&mut inputs).await {
            Input::Opened { .. } => opened = true,
            Input::RequestFailed { source: 1, .. } => failed += 1,
            Input::Frame(frame) if frame.source == 1 => break,
            _ => {}
        }
    }
    assert_eq!((opened, failed), (true, 3));
    assert_eq!(sockets.counters().get(Counted::ReferencesLate), 0);
    stop(sockets, &mut inputs).await;
}

/// Goal: a reference that never answers holds the connections for a bounded time. Method: a mute venue, 200
/// ms.
#[tokio::test]
async fn a_mute_reference_holds_connections_for_a_bounded_time() {
    let venue = talkative().await;
    let mute = Server::rest(|_, _| (Duration::from_secs(60), Vec::new())).await;
    let mut options = quick();
    options.reference_wait = Duration::from_millis(200);
    let (sender, mut inputs) = mpsc::channel(8);
    let sockets =
        FeedSockets::start(&with_reference(&venue, &mute), options, Budgets::new(), sender).unwrap();
    assert!(matches!(next(&mut inputs).await, Input::Opened { .. }));
    assert_eq!(sockets.counters().get(Counted::ReferencesLate), 1);
    stop(sockets, &mut inputs).await;
}

/// Goal: a stop does not wait for references. Method: a mute venue and a stop at once.
#[tokio::test]
async fn a_stop_does_not_wait_for_references() {
    let venue = talkative().await;
    let mute = Server::rest(|_, _| (Duration::from_secs(60), Vec::new())).await;
    let (sender, mut inputs) = mpsc::channel(8);
    let sockets =
        FeedSockets::start(&with_reference(&venue, &mute), quick(), Budgets::new(), sender).unwrap();
    crate::venue::eventually("it is asked", || mute.accepted() == 1).await;
    let stopping = tokio::time::timeout(Duration::from_secs(5), stop(sockets, &mut inputs));
    assert!(stopping.await.unwrap().is_empty());
    assert_eq!(venue.accepted(), 0);
}
