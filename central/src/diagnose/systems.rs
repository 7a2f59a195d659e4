//! Broker, streams, leases, servers, schema.

use super::check::{Check, Found};
use crate::clock;
use crate::init;
use crate::report::Sources;
use crate::report::document::{Finding, Level};
use crate::report::rules;
use crate::report::sources::{broker as broker_state, servers as server_state};

const AWAY: &str = "look whether it runs, whether the address is right and a firewall lets us through";

/// Connection, version, JetStream.
pub async fn broker(sources: &Sources) -> Vec<Check> {
    let jetstream = &sources.broker.jetstream;
    let urls = sources.config.nats.shown_urls();
    let check = match sources.broker_answer(jetstream.query_account()).await {
        Ok(account) => {
            let version = sources.broker.client.server_info().version;
            Check::ok(
                "broker",
                format!("{urls}: nats-server {version}, JetStream holds {} MiB", account.storage >> 20),
            )
        }
        Err(reason) => Check::new("broker", Found::Unknown, format!("{urls}: {reason}"), AWAY),
    };
    vec![check]
}

/// Every stream and its consumers against the configuration. Looks only: `init` changes.
pub async fn streams(sources: &Sources) -> Vec<Check> {
    let looked = sources.broker_answer(init::compare_streams(&sources.config, &sources.broker)).await;
    let mut checks = match looked {
        Err(reason) => vec![Check::new("streams", Found::Unknown, reason, AWAY)],
        Ok(report) => {
            let differs = |(what, difference): (String, &init::Difference)| {
                let found = if difference.changeable { Found::Warn } else { Found::Fail };
                let remedy = "`init` makes what is missing, `init --apply` changes what can be changed";
                Check::new(what, found, difference.to_string(), remedy)
            };
            report.differences().map(differs).collect()
        }
    };
    if checks.is_empty() {
        checks.push(Check::ok("streams", "streams and consumers are as configured"));
    }
    for (name, stream) in broker_state::streams(sources).await {
        let Ok(stream) = stream else { continue };
        let mut findings = Vec::new();
        rules::judge_stream(&stream, &mut findings);
        checks.extend(findings.iter().map(of_finding));
        if findings.is_empty() {
            let waiting: u64 = stream.consumers.iter().map(|consumer| consumer.pending).sum();
            let (messages, consumers) = (stream.messages, stream.consumers.len());
            let text = format!("{messages} messages, {consumers} consumers, {waiting} wait");
            checks.push(Check::ok(format!("flow of {name}"), text));
        }
    }
    checks
}

fn of_finding(finding: &Finding) -> Check {
    let found = match finding.level {
        Level::Fail => Found::Fail,
        Level::Unknown => Found::Unknown,
        Level::Warn => Found::Warn,
        Level::Info => Found::Ok,
    };
    Check::new(finding.subject.clone(), found, finding.text.clone(), finding.remedy.clone())
}

/// Who replicates, who keeps the ledger.
pub async fn leases(sources: &Sources) -> Vec<Check> {
    match broker_state::leases(sources).await {
        Err(reason) => vec![Check::new("leases", Found::Unknown, reason, AWAY)],
        Ok(leases) => {
            let mut findings = Vec::new();
            rules::judge_leases(&leases, clock::now_ns() / 1_000_000, &mut findings);
            let held: Vec<String> =
                leases.iter().map(|lease| format!("{} by {}", lease.lease, lease.holder)).collect();
            let mut checks: Vec<Check> = findings.iter().map(of_finding).collect();
            if findings.is_empty() {
                checks.push(Check::ok("leases", held.join(", ")));
            }
            checks
        }
    }
}

/// Both servers: reachable, version, clock, room.
pub async fn servers(sources: &Sources) -> Vec<Check> {
    let place = &sources.config.clickhouse;
    let (hot, cold) = tokio::join!(
        server_state::read(sources, "hot", &sources.hot, &place.hot.url),
        server_state::read(sources, "cold", &sources.cold, &place.cold.url),
    );
    let mut checks = Vec::new();
    for (role, url, state) in [("hot", &place.hot.url, hot), ("cold", &place.cold.url, cold)] {
        let name = format!("clickhouse {role}");
        match state {
            Err(reason) => checks.push(Check::new(name, Found::Unknown, format!("{url}: {reason}"), AWAY)),
            Ok(server) => {
                let mut findings = Vec::new();
                rules::judge_server(&server, &mut findings);
                let text = format!(
                    "{url}: version {}, clock within {} ms of ours, {} MiB in {} parts",
                    server.version,
                    server.clock_ahead_ms.abs(),
                    server.bytes >> 20,
                    server.parts
                );
                checks.push(Check::ok(name, text));
                checks.extend(findings.iter().map(of_finding));
            }
        }
    }
    checks
}

/// Tables against the source of their definitions, and cold against hot.
pub async fn schema(sources: &Sources) -> Vec<Check> {
    let state = init::schema_state(&sources.config, &sources.hot, &sources.cold).await;
    let mut checks = Vec::new();
    for database in &state.databases {
        let name = format!("database {}", database.database);
        let version = database.version.map_or("none".to_owned(), |version| version.to_string());
        checks.push(match &database.problem {
            Some(problem) => {
                Check::new(name, Found::Unknown, problem.clone(), "`init` lays out what is missing")
            }
            None if database.version == Some(database.newest) => {
                Check::ok(name, format!("migration {version}, the newest"))
            }
            None => {
                let text = format!("migration {version}, the newest is {}", database.newest);
                Check::new(name, Found::Warn, text, "`init` applies what is missing")
            }
        });
    }
    for table in state.tables.iter().filter(|table| !table.equal) {
        let name = format!("table {}.{}", table.database, table.table);
        let text: Vec<String> = table.differences.iter().map(ToString::to_string).collect();
        let text = format!("against {}: {}", table.compared_with, text.join("; "));
        let found = if table.differences.iter().all(|d| d.changeable) { Found::Warn } else { Found::Fail };
        checks.push(Check::new(name, found, text, "`init --apply` changes what can be changed in place"));
    }
    if state.equal == Some(true) {
        checks.push(Check::ok("tables", format!("{} comparisons, no difference", state.tables.len())));
    }
    checks
}
