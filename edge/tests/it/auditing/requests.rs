//! Requests to send events again.

use marketprism_edge::broker::answer_requests;
use marketprism_schema::{RepairAnswer, RepairRequest, RepairState};
use tokio_util::sync::CancellationToken;

use super::edge::{subject, until};
use crate::nats_server::{NatsServer, binary};

/// Goal: a request to send again is answered honestly: this edge keeps nothing on disk. What is no request is refused, and says why.
#[tokio::test]
async fn repair_requests_are_answered() {
    let Some(binary) = binary() else { return };
    let mut server = NatsServer::new(binary);
    server.start().await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(answer_requests(client.clone(), "e1".into(), stop.clone()));
    let request = RepairRequest::new("r-1".into(), &subject("A-B"), 1, 2).encode().unwrap();
    let ask = async |bytes: Vec<u8>| {
        let asked = client.request("repair.e1", bytes.into()).await;
        asked.ok().map(|answer| RepairAnswer::decode(&answer.payload).unwrap())
    };
    until("the edge answers", 10, async || ask(request.clone()).await.is_some()).await;
    let answer = ask(request).await.unwrap();
    assert_eq!((answer.request_id.as_str(), answer.state, answer.resent), ("r-1", RepairState::NotKept, 0));
    assert!(answer.reason.contains("no journal on disk"), "{}", answer.reason);
    let refused = ask(b"{}".to_vec()).await.unwrap();
    assert_eq!(refused.state, RepairState::Refused);
    assert!(refused.reason.contains("version"), "{}", refused.reason);
    stop.cancel();
    task.await.unwrap().unwrap();
}
