//! A venue's answers to subscriptions, through a whole pipeline.

use marketprism_adapter_host::fixtures::{ECHO_AT, EXCHANGE};
use marketprism_schema::{Audit, DataType, GapKind};
use marketprism_service::clock;
use marketprism_socket::{ReceivedFrame, SocketEvent};
use marketprism_tests::wait::eventually;

use crate::auditing::setup::{NUMBERED, SECOND};
use crate::feeds::AuditedPipeline;

/// Words of a note in the fixture's memory. That of an acknowledgement by the first frame has zeros only.
const NOTE_WORDS: usize = 13;

/// The fixture gives it back as its result.
fn acknowledgement(received_at_ns: i64) -> SocketEvent {
    let mut words = vec![ECHO_AT, 0, ECHO_AT, 0, ECHO_AT + 24, 1];
    words.resize(words.len() + NOTE_WORDS, 0);
    let bytes = words.into_iter().flat_map(u32::to_le_bytes);
    SocketEvent::Frame(ReceivedFrame {
        source: 0.into(),
        generation: 1,
        received_at_ns,
        subscribed_at_ns: Some(0),
        data: bytes.collect::<Vec<u8>>().into(),
    })
}

/// A connection counted as subscribed a round trip after its last subscription was sent, however late the venue took it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gap_of_a_start_lasts_until_the_venue_has_answered_all_subscriptions() {
    let AuditedPipeline { sender, auditor, pipeline, sockets: _kept, .. } =
        AuditedPipeline::opened_by(2, DataType::Trade, NUMBERED);
    let acknowledged = pipeline.metrics.ignored.with_label_values(&[EXCHANGE, "acknowledgement"]);
    let mut answered_ns = 0;
    for count in [1, 2] {
        // One by one: the fixture gives one frame back.
        answered_ns = clock::now_ns();
        sender.send(acknowledgement(answered_ns)).await.unwrap();
        eventually("the answer is read", || async { acknowledged.get() == count }).await;
    }
    let ends_then = |audit: &Audit| {
        let mut gaps = audit.streams.iter().flat_map(|stream| &stream.gaps);
        gaps.any(|gap| (gap.kind, gap.to) == (GapKind::Start, answered_ns))
    };
    let closed = || auditor.close(clock::now_ns() + SECOND, auditor.frontier_ns(), 1_000);
    eventually("the gap ends with the second answer", || async { closed().iter().any(ends_then) }).await;
    pipeline.stop();
}
