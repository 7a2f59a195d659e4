//! Promise: a traced message is one trace from frame to row, over edge and central, and copies, repairs and queries have theirs.

use std::collections::BTreeSet;

use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::stack::Stack;
use marketprism_tests::trace_collector::{CollectedSpan, TraceCollector};
use marketprism_tests::wait::eventually;
use marketprism_venue_sim::Sim;

use crate::{SYMBOLS, two_symbols};

const EDGE: &str = "marketprism-edge";
const CENTRAL: &str = "marketprism-central";
const SHORT: &str =
    "[batch]\nmax_age_ms = 200\n[replication]\nwindow_seconds = 2\nsafety_lag_seconds = 1\ninterval_ms = 500";

fn names(spans: &[CollectedSpan]) -> BTreeSet<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

/// A message of the edge that central has stored: its spans at the edge and at central.
async fn traced(collector: &TraceCollector) -> (CollectedSpan, CollectedSpan) {
    eventually("a message is traced to its row", || async {
        let published = collector.named(EDGE, "publish");
        let is_of = |ingest: &CollectedSpan, root: &CollectedSpan| {
            root.trace == ingest.trace && root.id == ingest.parent && root.parent.is_empty()
        };
        let mut ingested = collector.named(CENTRAL, "ingest").into_iter();
        ingested
            .find_map(|ingest| Some((published.iter().find(|root| is_of(&ingest, root))?.clone(), ingest)))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_one_trace_from_frame_to_row() {
    let collector = TraceCollector::start().await;
    let sim = Sim::start(two_symbols(50)).await.unwrap();
    let traces = format!("[traces]\nendpoint = {:?}\none_message_in = 3\n", collector.endpoint());
    let stack = Stack::plain_with(&format!("{SHORT}\n{traces}")).await;
    let feed = Feed::simulated("binance_spot", &sim.addr().to_string(), &SYMBOLS);
    let edge = Edge::with_tables(stack.folder.path(), &stack.broker.nats(), &traces, &[feed]).await;
    sim.resume();

    let (publish, ingest) = traced(&collector).await;
    let below = collector.children(&publish);
    assert_eq!(names(&below), ["collect", "ingest", "join", "store"].into());
    let (collect, store) = (find(&below, "collect"), find(&below, "store"));
    assert!(publish.times.0 == collect.times.0 && publish.times.1 == store.times.1, "{below:?}");
    assert_eq!(names(&collector.children(&ingest)), ["insert", "wait"].into());
    for key in ["messaging.destination.name", "marketprism.sequence"] {
        assert_eq!(publish.attributes[key], ingest.attributes[key], "{key}");
    }
    assert_eq!(publish.attributes["marketprism.duplicate"], "false");

    eventually("windows are copied", || async {
        collector.named(CENTRAL, "copy windows").into_iter().find(|copy| copy.error.is_none())
    })
    .await;
    let (status, _, errors) = stack.central.ask(&["query", "SELECT count() FROM trades"]).await;
    assert_eq!(status, Some(0), "{errors}");
    let (status, _, errors) = stack.central.ask(&["query", "SELECT no_such"]).await;
    assert_eq!(status, Some(2), "{errors}");
    let (status, _, errors) = stack.central.ask(&["repair"]).await;
    assert_eq!(status, Some(0), "{errors}");
    // Sent before the commands ended.
    let failed: Vec<bool> =
        collector.named(CENTRAL, "query").iter().map(|query| query.error.is_some()).collect();
    assert_eq!(failed, [false, true]);
    let repair = collector.named(CENTRAL, "repair").remove(0);
    let steps = collector.children(&repair);
    assert!(repair.error.is_none() && names(&steps).is_superset(&["trades", "edges"].into()), "{steps:?}");

    // One message of three.
    let traced = collector.named(EDGE, "publish").len() as u64;
    let messages = edge.metric("marketprism_edge_published_messages_total", "").await;
    assert!(traced * 2 < messages, "{traced} of {messages}");
    assert!(edge.metric("marketprism_trace_spans_exported_total", "").await > 0);
    assert_eq!(edge.metric("marketprism_trace_spans_dropped_total", "").await, 0);
}

fn find<'a>(spans: &'a [CollectedSpan], name: &str) -> &'a CollectedSpan {
    spans.iter().find(|span| span.name == name).unwrap()
}
