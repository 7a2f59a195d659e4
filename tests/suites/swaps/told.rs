//! Changes of versions in the edge's heartbeat, audits and traces.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::jetstream::{self, kv};
use marketprism_schema::{
    AdapterState, AuditPayload, ChangeOutcome, EDGE_LEASES_BUCKET, EdgeChange, EdgeHeartbeat,
    decode_audit_payload, edge_heartbeat_key,
};
use marketprism_tests::broker::Broker;
use marketprism_tests::trace_collector::TraceCollector;
use marketprism_tests::wait::eventually;

use crate::edge_audits::messages;

/// Newest word of every change in the audits, in their order.
pub async fn told_changes(broker: &Broker) -> BTreeMap<(i64, String), EdgeChange> {
    let mut told = BTreeMap::new();
    for message in messages(broker, "AUDIT").await {
        if let AuditPayload::Changes(changes) = decode_audit_payload(&message.payload).unwrap() {
            told.extend(changes.changed.into_iter().map(|one| ((one.at, one.id.clone()), one)));
        }
    }
    told
}

/// Heartbeat and audits tell the four promoted versions, and that the newest runs.
pub async fn are_told(broker: &Broker, digests: &[String]) {
    let client = async_nats::connect(broker.url()).await.unwrap();
    let config = kv::Config { bucket: EDGE_LEASES_BUCKET.to_owned(), history: 1, ..kv::Config::default() };
    let bucket = jetstream::new(client).create_key_value(config).await.unwrap();
    eventually("the heartbeat has the newest version", || async {
        let value = bucket.get(edge_heartbeat_key("edge-test")).await.map_err(|error| error.to_string())?;
        let beat = EdgeHeartbeat::of_key("edge-test", &value.ok_or("no heartbeat")?).unwrap();
        let running = beat.adapters.iter().map(|one| (one.adapter.as_str(), one.state, &one.digest));
        let is_newest = running.eq([("binance", AdapterState::Active, &digests[3])]);
        let last = beat.swaps.last().map(|last| (&last.digest, last.outcome.as_str()));
        let is_told = is_newest && last == Some((&digests[3], "promoted"));
        if is_told { Ok(()) } else { Err(format!("{beat:?}")) }
    })
    .await;
    eventually("every change is in the audits", || async {
        let told = told_changes(broker).await;
        let promoted = told.values().filter(|change| change.outcome == ChangeOutcome::Promoted);
        let promoted: Vec<_> = promoted.map(|change| change.digest.clone().unwrap_or_default()).collect();
        let causes: Vec<_> = told.values().filter_map(|change| change.cause.as_deref()).collect();
        let is_refused = matches!(causes[..], [one, two]
            if one.starts_with("signature: component has no signature") && two.contains("fits none of the 1 keys"));
        let is_whole = promoted == digests && is_refused && told.len() == 6;
        if is_whole { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

/// Each change is a trace with its steps; no message is traced.
pub async fn are_traced(collector: &TraceCollector) {
    let of = |outcome: &str| {
        let mut changes = collector.named("marketprism-edge", "change adapter");
        changes.retain(|change| change.attributes["marketprism.outcome"] == outcome);
        changes
    };
    let promoted = eventually("the changes are traced", || async {
        let found = (of("promoted"), of("refused"));
        if (found.0.len(), found.1.len()) == (4, 2) { Ok(found.0) } else { Err(format!("{found:?}")) }
    })
    .await;
    for change in promoted {
        let steps: BTreeSet<String> = collector.children(&change).into_iter().map(|step| step.name).collect();
        for wanted in ["signature", "compile", "instruments", "shadow", "switch", "probation"] {
            assert!(steps.contains(wanted), "{wanted}: {steps:?}");
        }
        assert_eq!((change.error, change.parent.len()), (None, 0));
    }
    assert!(of("refused").iter().all(|change| change.error.is_some()));
    assert!(collector.named("marketprism-edge", "publish").is_empty());
}
