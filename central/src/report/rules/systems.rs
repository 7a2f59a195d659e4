//! Broker, ClickHouse, schema, leases.

use super::{Level, count};
use crate::report::document::{BrokerStream, Finding, LeaseState, ServerState};
use crate::report::facts::Facts;

/// Messages that wait: more is behind, not in flight.
const PENDING_WARN: u64 = 50_000;
/// A lease that was not renewed for so long has no holder.
const LEASE_STALE_MS: i64 = 15_000;
/// A stream this full will soon drop its oldest messages.
const FULL_PERCENT: i64 = 90;
/// Clocks further apart make windows of `created_at` close too early.
const CLOCK_WARN_MS: i64 = 2_000;

/// Judges what runs around the data.
pub fn judge(facts: &Facts, findings: &mut Vec<Finding>) {
    for (_, stream) in &facts.broker {
        if let Ok(stream) = stream {
            judge_stream(stream, findings);
        }
    }
    for (_, server) in &facts.servers {
        if let Ok(server) = server {
            judge_server(server, findings);
        }
    }
    if let Ok(leases) = &facts.leases {
        judge_leases(leases, facts.now_ms, findings);
    }
    if let Ok(schema) = &facts.schema
        && !schema.as_wanted
    {
        let first = schema.differences.first();
        let named = first.map(|first| format!("{}: {}", first.what, first.difference)).unwrap_or_default();
        let total = u64::try_from(schema.differences.len()).unwrap_or(u64::MAX);
        let text = format!("{} from what is wanted; {named}", count(total, "difference"));
        let remedy = "`init` names all of them, `init --apply` changes what can be changed";
        findings.push(Finding::new(Level::Warn, "schema", text).remedy(remedy));
    }
}

/// Judges one stream of the broker.
pub fn judge_stream(stream: &BrokerStream, findings: &mut Vec<Finding>) {
    let subject = format!("stream {}", stream.stream);
    let mut warn = |text: String, remedy: &str| {
        findings.push(Finding::new(Level::Warn, subject.clone(), text).remedy(remedy));
    };
    if stream.replicas_current < stream.replicas {
        let text = format!("{} of {} replicas are up to date", stream.replicas_current, stream.replicas);
        warn(text, "look after the servers of the NATS cluster");
    }
    let bytes = i64::try_from(stream.bytes).unwrap_or(i64::MAX);
    if stream.max_bytes > 0 && bytes / (stream.max_bytes / 100).max(1) >= FULL_PERCENT {
        let percent = bytes / (stream.max_bytes / 100).max(1);
        // A full stream is normal where age bounds it late; it matters when somebody is behind.
        if stream.consumers.iter().any(|consumer| consumer.pending > 0) {
            warn(format!("{percent} % full, and not all of it is stored"), "raise max_bytes of the stream");
        }
    }
    for consumer in &stream.consumers {
        let name = &consumer.consumer;
        if consumer.pending > 0 && consumer.waiting == 0 && consumer.ack_pending == 0 {
            let text = format!("{name}: {} wait, and nobody takes them", count(consumer.pending, "message"));
            warn(text, "start a central that takes messages (--role all or hot)");
        } else if consumer.pending >= PENDING_WARN {
            let text = format!("{name}: {} wait", count(consumer.pending, "message"));
            warn(text, "ingest is behind: another central beside this one shares the work");
        }
    }
}

/// Judges one server.
pub fn judge_server(server: &ServerState, findings: &mut Vec<Finding>) {
    let subject = format!("clickhouse {}", server.role);
    for disk in server.disks.iter().filter(|disk| disk.total_bytes > 0) {
        if disk.free_bytes < disk.total_bytes / 10 {
            let percent = disk.free_bytes.saturating_mul(100) / disk.total_bytes;
            let text = format!("disk {} has {percent} % free", disk.disk);
            let remedy = "make room, or lower the TTL";
            findings.push(Finding::new(Level::Warn, subject.clone(), text).remedy(remedy));
        }
    }
    if server.clock_ahead_ms.abs() > CLOCK_WARN_MS {
        let text = format!("its clock differs from ours by {} ms", server.clock_ahead_ms);
        findings.push(Finding::new(Level::Warn, subject, text).remedy("synchronize the clocks (NTP)"));
    }
}

/// Judges whether somebody does what only one central may do.
pub fn judge_leases(leases: &[LeaseState], now_ms: i64, findings: &mut Vec<Finding>) {
    for name in ["ledger", "replicator"] {
        lease(name, leases, now_ms, findings);
    }
}

fn lease(name: &str, leases: &[LeaseState], now_ms: i64, findings: &mut Vec<Finding>) {
    let is_held = |lease: &LeaseState| {
        lease.lease == name && lease.renewed.is_some_and(|at| now_ms - at.0 < LEASE_STALE_MS)
    };
    if !leases.iter().any(is_held) {
        let role = if name == "replicator" { "cold" } else { "hot" };
        let remedy = format!("start a central with --role all or {role}");
        let finding = Finding::new(Level::Warn, format!("lease {name}"), "no central holds it");
        findings.push(finding.remedy(remedy));
    }
}
