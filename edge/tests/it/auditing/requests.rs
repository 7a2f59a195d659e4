//! Requests to send events again.

use marketprism_edge::broker::answer_requests;
use marketprism_schema::{RepairAnswer, RepairRequest, RepairState};
use marketprism_tests::broker::Broker;
use marketprism_tests::wait::eventually;
use tokio_util::sync::CancellationToken;

use super::setup::trades;

#[tokio::test]
async fn a_repair_request_is_answered_with_not_kept_and_an_invalid_one_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    let client = async_nats::connect(broker.url()).await.unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(answer_requests(client.clone(), "e1".into(), stop.clone()));
    let request = RepairRequest::new("r-1".into(), &trades("A-B"), 1, 2).encode().unwrap();
    let ask = async |bytes: Vec<u8>| {
        let asked = client.request("repair.e1", bytes.into()).await;
        asked.ok().map(|answer| RepairAnswer::decode(&answer.payload).unwrap())
    };
    let answer = eventually("the edge answers", || ask(request.clone())).await;
    assert_eq!((answer.request_id.as_str(), answer.state, answer.resent), ("r-1", RepairState::NotKept, 0));
    assert!(answer.reason.contains("no journal on disk"), "{}", answer.reason);
    let refused = ask(b"{}".to_vec()).await.unwrap();
    assert_eq!(refused.state, RepairState::Refused);
    assert!(refused.reason.contains("version"), "{}", refused.reason);
    stop.cancel();
    task.await.unwrap().unwrap();
}
