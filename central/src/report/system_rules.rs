//! Rules of the parts that data passes: broker, ClickHouse servers, leases, tables. Pure: no clock, no I/O.

use super::document::{
    BrokerStream, Finding, FindingCode as Code, LeaseState, Level, ServerState, TableTrouble, count,
};
use super::inputs::ReportInputs;
use crate::init::{is_central, is_unused};

/// From so many pending messages on, ingest is behind.
const PENDING_WARN: u64 = 50_000;
/// A lease not renewed for so long has no holder.
const LEASE_STALE_MS: i64 = 15_000;
/// From this fill level on a stream discards its oldest messages soon.
const FULL_PERCENT: i64 = 90;
/// With a larger clock difference windows of `created_at` close too early.
const CLOCK_WARN_MS: i64 = 2_000;

pub fn evaluate_systems(inputs: &ReportInputs, findings: &mut Vec<Finding>) {
    for stream in inputs.broker.iter().filter_map(|(_, stream)| stream.as_ref().ok()) {
        evaluate_stream(stream, findings);
    }
    for server in inputs.servers.iter().filter_map(|(_, server)| server.as_ref().ok()) {
        evaluate_server(server, findings);
    }
    if let Ok(leases) = &inputs.leases {
        evaluate_leases(leases, inputs.now_ms, findings);
    }
    if let Ok(schema) = &inputs.schema
        && !schema.as_wanted
    {
        let first = schema.differences.first();
        let named = first.map(|first| format!("; {}: {}", first.what, first.difference)).unwrap_or_default();
        let total = u64::try_from(schema.differences.len()).unwrap_or(u64::MAX);
        let text = format!("{} from the table definitions{named}", count(total, "difference"));
        let remedy = "run `init` to list them, `init --apply` to change what can be changed in place";
        findings.push(Finding::new(Code::SchemaDrift, Level::Warn, "schema", text, remedy));
    }
}

pub fn evaluate_stream(stream: &BrokerStream, findings: &mut Vec<Finding>) {
    let subject = format!("stream {}", stream.stream);
    let mut warn = |code, text: String, remedy: &str| {
        findings.push(Finding::new(code, Level::Warn, subject.clone(), text, remedy));
    };
    if stream.replicas_current < stream.replicas {
        let text = format!("{} of {} replicas are up to date", stream.replicas_current, stream.replicas);
        warn(Code::BrokerReplicasBehind, text, "check the servers of the NATS cluster");
    }
    let bytes = i64::try_from(stream.bytes).unwrap_or(i64::MAX);
    if stream.max_bytes > 0 && bytes / (stream.max_bytes / 100).max(1) >= FULL_PERCENT {
        let percent = bytes / (stream.max_bytes / 100).max(1);
        // A full stream is normal when max_age discards late; it matters only while messages are pending.
        if stream.consumers.iter().any(|consumer| consumer.pending > 0) {
            let text = format!("{percent} % full while messages are pending");
            warn(Code::BrokerStreamFull, text, "raise max_bytes of the stream");
        }
    }
    // One of others may be behind for ever.
    for consumer in stream.consumers.iter().filter(|consumer| is_central(&consumer.consumer)) {
        let (name, pending) = (&consumer.consumer, count(consumer.pending, "message"));
        if consumer.waiting == 0 && is_unused((&stream.stream, stream.partitions), name) {
            let text = format!(
                "consumer {name}: of an older central or another number of partitions, nothing reads it"
            );
            warn(Code::BrokerDrift, text, &format!("delete it: `nats consumer rm {} {name}`", stream.stream));
        } else if consumer.pending > 0 && consumer.waiting == 0 && consumer.ack_pending == 0 {
            let text = format!("consumer {name}: {pending} pending, no central takes them");
            warn(Code::IngestStopped, text, "start a central with --role all or hot");
        } else if let Some(seconds) = consumer.stalled_seconds {
            let text = format!("consumer {name}: {pending} pending, nothing delivered for {seconds} s");
            let remedy = "central subscribes again after a minute, then less often; if that does not help, restart the NATS server that leads the consumer";
            warn(Code::IngestStalled, text, remedy);
        } else if consumer.pending >= PENDING_WARN {
            let text = format!("consumer {name}: {pending} pending");
            warn(
                Code::IngestLag,
                text,
                "start another central: it shares the streams, and with streams.partitions each of them",
            );
        }
    }
}

pub fn evaluate_server(server: &ServerState, findings: &mut Vec<Finding>) {
    let subject = format!("clickhouse {}", server.role);
    for disk in server.disks.iter().filter(|disk| disk.total_bytes > 0) {
        if disk.free_bytes < disk.total_bytes / 10 {
            let percent = disk.free_bytes.saturating_mul(100) / disk.total_bytes;
            let text = format!("disk {} has {percent} % free", disk.disk);
            let remedy = "delete old logs in /var/log/clickhouse-server and log tables of the database `system` first (bounds: deploy/clickhouse/logs.xml); then add space, or lower the TTL";
            findings.push(Finding::new(Code::ClickhouseLowDisk, Level::Warn, subject.clone(), text, remedy));
        }
    }
    if server.clock_ahead_ms.abs() > CLOCK_WARN_MS {
        let text = format!("its clock differs from this machine's by {} ms", server.clock_ahead_ms);
        let remedy = "synchronize the clocks (NTP)";
        findings.push(Finding::new(Code::ClickhouseClockSkew, Level::Warn, subject.clone(), text, remedy));
    }
    findings.extend(server.troubles.iter().map(|trouble| trouble_of(&subject, trouble)));
}

fn trouble_of(subject: &str, trouble: &TableTrouble) -> Finding {
    let TableTrouble { table, kind, count: number, detail } = trouble;
    let (code, level, what, remedy) = match kind.as_str() {
        "readonly" => (
            Code::ClickhouseReadonlyTable,
            Level::Fail,
            count(*number, "read-only replica"),
            "check Keeper; if it lost the table's metadata, run SYSTEM RESTORE REPLICA",
        ),
        "broken_part" => (
            Code::ClickhouseBrokenParts,
            Level::Warn,
            count(*number, "broken part"),
            "let the next comparison name the windows, run `repair` for them, then drop the detached parts",
        ),
        _ => (
            Code::ClickhouseStuckMutation,
            Level::Warn,
            count(*number, "mutation") + " not done",
            "find it in system.mutations; fix its cause, or KILL MUTATION",
        ),
    };
    // A replica that lost its session has no error to name.
    let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
    Finding::new(code, level, subject.to_owned(), format!("{table}: {what}{detail}"), remedy)
}

pub fn evaluate_leases(leases: &[LeaseState], now_ms: i64, findings: &mut Vec<Finding>) {
    for (name, role) in not_held(leases, now_ms) {
        let remedy = format!("start a central with --role all or {role}");
        let (subject, text) = (format!("lease {name}"), "not held by any central");
        findings.push(Finding::new(Code::LeaseNotHeld, Level::Warn, subject, text, remedy));
    }
}

/// Of the leases that exactly one central must hold, those without a holder, each with the role of a central that takes it.
pub fn not_held(leases: &[LeaseState], now_ms: i64) -> impl Iterator<Item = (&'static str, &'static str)> {
    let is_held = move |name: &str| {
        let is_fresh = |lease: &LeaseState| lease.renewed.is_some_and(|at| now_ms - at.0 < LEASE_STALE_MS);
        leases.iter().any(|lease| lease.lease == name && is_fresh(lease))
    };
    [("ledger", "hot"), ("replicator", "cold")].into_iter().filter(move |(name, _)| !is_held(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::document::{BrokerConsumer, Disk};

    #[test]
    fn a_consumer_that_delivers_nothing_is_named_however_few_messages_wait() {
        let codes = |name: &str, stalled_seconds| {
            let consumer = BrokerConsumer {
                consumer: name.to_owned(),
                pending: 3,
                ack_pending: 0,
                redelivered: 0,
                waiting: 1,
                stalled_seconds,
            };
            let stream = BrokerStream {
                stream: "MARKET_DATA".to_owned(),
                messages: 3,
                bytes: 0,
                max_bytes: 0,
                first_sequence: 1,
                last_sequence: 3,
                partitions: 1,
                replicas: 1,
                replicas_current: 1,
                leader: None,
                consumers: vec![consumer],
            };
            let mut findings = Vec::new();
            evaluate_stream(&stream, &mut findings);
            findings.iter().map(|finding| finding.code.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(codes("central-liquidations", Some(90)), ["ingest.stalled"]);
        assert!(codes("central-liquidations", None).is_empty());
        assert!(codes("analytics", Some(90)).is_empty(), "a consumer of somebody else");
    }

    #[test]
    fn a_full_disk_is_freed_of_logs_before_market_data() {
        let disk = Disk { disk: "default".into(), free_bytes: 5, total_bytes: 100 };
        let server = ServerState {
            role: "hot",
            url: String::new(),
            database: String::new(),
            version: String::new(),
            uptime_seconds: 1,
            clock_ahead_ms: 0,
            parts: 0,
            bytes: 0,
            disks: vec![disk],
            troubles: Vec::new(),
        };
        let mut findings = Vec::new();
        evaluate_server(&server, &mut findings);
        let low = findings.iter().find(|one| one.code == Code::ClickhouseLowDisk).unwrap();
        let place = |what: &str| low.remedy.find(what).unwrap_or_else(|| panic!("no {what}: {}", low.remedy));
        assert!(place("logs") < place("TTL") && place("database `system`") < place("TTL"), "{}", low.remedy);
    }
}
