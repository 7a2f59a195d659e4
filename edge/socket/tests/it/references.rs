//! Reference polls before connections.

use std::time::Duration;

use futures_util::SinkExt;
use marketprism_adapter_host::contract::Plan;
use marketprism_socket::{SocketCounter, SocketEvent};
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{connection, plan, poll};
use crate::venue::{Server, answer, next, next_frame, quick, read_to_end, start, start_with, stop};

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
    let mute = Server::rest(|_, _| (Duration::from_secs(60), Vec::new())).await;
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
    let mute = Server::rest(|_, _| (Duration::from_secs(60), Vec::new())).await;
    let (sockets, mut inputs) = start(&with_reference(&venue, &mute));
    crate::venue::eventually("it is asked", || mute.accepted() == 1).await;
    let stopping = tokio::time::timeout(Duration::from_secs(5), stop(sockets, &mut inputs));
    assert!(stopping.await.unwrap().is_empty());
    assert_eq!(venue.accepted(), 0);
}
