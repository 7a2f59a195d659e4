//! Polls, their further pages, and silent streams, through a whole pipeline.

use std::collections::BTreeSet;
use std::sync::Arc;

use marketprism_adapter_host::contract::{self, Endpoint};
use marketprism_adapter_host::fixtures::{EXCHANGE, FixtureKind};
use marketprism_edge::feed::FeedStatus;
use marketprism_edge::gaps::GapMonitor;
use marketprism_schema::{Audit, Capability, DataType, GapCause, GapKind};
use marketprism_service::clock;
use marketprism_socket::{
    Budgets, FeedSockets, InputBounds, SilenceHint, SocketEvent, SocketOptions, input_queue,
};
use marketprism_tests::wait::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::auditing::setup::SECOND;
use crate::feeds::{AuditedPipeline, RunningPipeline, adapter, supervisor};

/// Answers every request with `!`, for which the fixture asks for one more page.
pub async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = [0; 4_096];
        if stream.read(&mut request).await.is_ok() {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n!";
            // The client may have left.
            let _sent = stream.write_all(answer).await;
        }
    }
}

/// The poll is answered; its next page is at an address where nobody listens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_page_is_counted_at_its_poll_which_goes_on_and_a_stream_without_messages_is_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/first", listener.local_addr().unwrap());
    let server = tokio::spawn(serve(listener));
    let adapter = adapter(FixtureKind::FollowUpForever);
    let supervisor = supervisor(&adapter, vec![Endpoint { name: "ws".into(), default_url: url }]);
    let plan = supervisor.plan().clone();
    let (sender, inputs) = input_queue(InputBounds { events: 64, bytes: 1 << 20 });
    let sockets =
        FeedSockets::start(&plan, SocketOptions::default(), Budgets::default(), sender.clone()).unwrap();
    let sockets = Arc::new(sockets);
    let status = Arc::new(FeedStatus::new(EXCHANGE, &[DataType::Trade], adapter));
    let gaps = GapMonitor::off(&plan);
    let pipeline = RunningPipeline::start(supervisor, inputs, &sockets, &status, gaps);
    let silent = SocketEvent::Silent {
        source: 0.into(),
        stream: 0.into(),
        data_type: contract::DataType::Trade,
        instrument: Some(0.into()),
        connection: "main".into(),
        url: "ws://venue.example/wrong".into(),
        silence_ms: 60_000,
        hint: SilenceHint::NeverSeen,
        at_ns: 60_000_000_000,
    };
    sender.send(silent).await.unwrap();
    let polls = eventually("two answers and a failed page", || async {
        let polls = status.report().polls.into_iter().map(|(_, polls)| polls).next();
        polls.filter(|polls| polls.answers >= 2 && polls.failures.contains_key("connect"))
    })
    .await;
    assert_eq!((polls.polls, polls.never_succeeded), (1, 0));
    assert!(polls.oldest_success_ns.is_some());
    let text = String::from_utf8(pipeline.metrics.encode().unwrap()).unwrap();
    let name = "marketprism_edge_silent_streams_total";
    let labels = "{data_type=\"trade\",exchange=\"sim_hostile\",hint=\"never_seen\"}";
    assert!(text.contains(&format!("{name}{labels} 1\n")), "{text}");
    pipeline.stop();
    drop(sockets);
    server.abort();
}

/// A gap that the venue's silence made.
fn has_silence(audit: &Audit) -> bool {
    let mut gaps = audit.streams.iter().flat_map(|stream| &stream.gaps);
    gaps.any(|gap| (gap.kind, gap.cause) == (GapKind::Connection, GapCause::Venue))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gap_of_a_silent_stream_is_in_the_audits_until_its_instrument_does_not_trade() {
    let AuditedPipeline { sender, auditor, status, instrument, pipeline, sockets: _kept } =
        AuditedPipeline::start(DataType::FundingRate, Capability::UNNUMBERED);
    let silent = SocketEvent::Silent {
        source: 0.into(),
        stream: 0.into(),
        data_type: contract::DataType::FundingRate,
        instrument: Some(0.into()),
        connection: "main".into(),
        url: "ws://venue.example/".into(),
        silence_ms: 15_000,
        hint: SilenceHint::WentQuiet,
        at_ns: clock::now_ns(),
    };
    sender.send(silent).await.unwrap();
    let closed = || auditor.close(clock::now_ns() + SECOND, auditor.frontier_ns(), 1_000);
    eventually("a window with the gap", || async { closed().iter().any(has_silence) }).await;
    let halted_ns = clock::now_ns();
    status.set_not_trading(&BTreeSet::from([instrument.clone()]));
    let is_over = |audit: &Audit| audit.from > halted_ns && !has_silence(audit);
    eventually("a window without the gap", || async { closed().iter().any(is_over) }).await;
    pipeline.stop();
}
