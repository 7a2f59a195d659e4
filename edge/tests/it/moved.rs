//! A part after one of its instruments has moved to another one, for its new terms: its connection still has the subscription.

use marketprism_adapter_host::fixtures::{ECHO_AT, EXCHANGE};
use marketprism_edge::feed::InstrumentEnd;
use marketprism_edge::telemetry::ANY;
use marketprism_schema::DataType;
use marketprism_service::clock;
use marketprism_socket::{ReceivedFrame, SocketEvent};
use marketprism_tests::wait::eventually;

use crate::auditing::setup::{NUMBERED, SECOND};
use crate::feeds::AuditedPipeline;

/// The fixture gives it back as its result: an update of the book that cannot be read, and the restart of the book.
fn unreadable_update() -> SocketEvent {
    let mut words = vec![ECHO_AT, 0, ECHO_AT, 0, ECHO_AT + 24, 2];
    for remark in [[3, 0, ECHO_AT + 128, 1, 1], [5, 0, 0, 0, 0]] {
        // The frame's number, and the remark in the size of the largest one.
        words.push(0);
        words.extend(remark);
        words.resize(words.len() + 7, 0);
    }
    let bytes = words.into_iter().flat_map(u32::to_le_bytes).chain(*b"p");
    SocketEvent::Frame(ReceivedFrame {
        source: 0.into(),
        generation: 1,
        received_at_ns: clock::now_ns(),
        subscribed_at_ns: Some(0),
        data: bytes.collect::<Vec<u8>>().into(),
    })
}

/// Finer prices than the part's terms have come with each update until the feed starts again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_of_a_book_that_moved_to_another_part_is_unasked_and_not_malformed() {
    let AuditedPipeline { sender, auditor, status, instrument, pipeline, sockets: _kept } =
        AuditedPipeline::start(DataType::OrderBook, NUMBERED);
    let metrics = &pipeline.metrics;
    let malformed = metrics.collector_errors.with_label_values(&[EXCHANGE, ANY, "malformed"]);
    let unasked = metrics.unasked.with_label_values(&[EXCHANGE, DataType::OrderBook.as_str()]);
    let counted = || (malformed.get(), unasked.get());
    for (sent, expected) in [(1, (1, 0)), (2, (1, 1)), (3, (1, 2))] {
        // One by one: the fixture gives one frame back.
        sender.send(unreadable_update()).await.unwrap();
        eventually("it is counted", || async { malformed.get() + unasked.get() == sent }).await;
        assert_eq!(counted(), expected);
        status.end_instruments(std::slice::from_ref(&instrument), InstrumentEnd::Moved);
        status.ended_instruments().await;
    }
    pipeline.stop();
    let audits = auditor.close(clock::now_ns() + 9 * SECOND, auditor.frontier_ns(), 1_000);
    assert_eq!(audits.iter().flat_map(|audit| &audit.feeds).map(|feed| feed.malformed).sum::<u64>(), 1);
}
