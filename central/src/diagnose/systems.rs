//! Checks of broker, streams, leases, servers and schema.

use super::check::{Check, CheckStatus};
use crate::clock;
use crate::init;
use crate::report::Sources;
use crate::report::document::FindingCode;
use crate::report::rules;
use crate::report::sources::{broker as broker_state, servers as server_state};

const UNREACHABLE: &str = "check that it runs, that the address is right and that no firewall blocks it";

pub async fn broker(sources: &Sources) -> Check {
    let jetstream = &sources.broker.jetstream;
    let urls = sources.config.nats.shown_urls();
    match sources.broker_answer(jetstream.query_account()).await {
        Ok(account) => {
            let version = sources.broker.client.server_info().version;
            let stored = account.storage >> 20;
            Check::ok("broker", format!("{urls}: nats-server {version}, JetStream stores {stored} MiB"))
        }
        Err(reason) => Check::unavailable("broker", format!("{urls}: {reason}"), UNREACHABLE),
    }
}

/// Compares streams and consumers with the configuration; changes nothing.
pub async fn streams(sources: &Sources) -> Vec<Check> {
    let compared = sources.broker_answer(init::compare_streams(&sources.config, &sources.broker)).await;
    let mut checks = match compared {
        Err(reason) => vec![Check::unavailable("streams", reason, UNREACHABLE)],
        Ok(report) => {
            let differs = |(what, difference): (String, &init::Difference)| {
                let found = if difference.changeable { CheckStatus::Warn } else { CheckStatus::Fail };
                let remedy =
                    "run `init` to create what is missing, `init --apply` to change what can be changed";
                Check::new(FindingCode::BrokerDrift, what, found, difference.to_string(), remedy)
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
        rules::evaluate_stream(&stream, &mut findings);
        if findings.is_empty() {
            let pending: u64 = stream.consumers.iter().map(|consumer| consumer.pending).sum();
            let (messages, consumers) = (stream.messages, stream.consumers.len());
            let text = format!("{messages} messages, {consumers} consumers, {pending} pending");
            checks.push(Check::ok(format!("stream {name}"), text));
        }
        checks.extend(findings.into_iter().map(Check::from));
    }
    checks
}

pub async fn leases(sources: &Sources) -> Vec<Check> {
    let leases = match broker_state::leases(sources).await {
        Err(reason) => return vec![Check::unavailable("leases", reason, UNREACHABLE)],
        Ok(leases) => leases,
    };
    let mut findings = Vec::new();
    rules::evaluate_leases(&leases, clock::now_ns() / 1_000_000, &mut findings);
    if findings.is_empty() {
        let held: Vec<String> =
            leases.iter().map(|lease| format!("{} held by {}", lease.lease, lease.holder)).collect();
        return vec![Check::ok("leases", held.join(", "))];
    }
    findings.into_iter().map(Check::from).collect()
}

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
            Err(reason) => checks.push(Check::unavailable(name, format!("{url}: {reason}"), UNREACHABLE)),
            Ok(server) => {
                let mut findings = Vec::new();
                rules::evaluate_server(&server, &mut findings);
                let text = format!(
                    "{url}: version {}, clock within {} ms of this machine's, {} MiB in {} parts",
                    server.version,
                    server.clock_ahead_ms.abs(),
                    server.bytes >> 20,
                    server.parts
                );
                checks.push(Check::ok(name, text));
                checks.extend(findings.into_iter().map(Check::from));
            }
        }
    }
    checks
}

/// Compares the tables with their definitions, and cold with hot.
pub async fn schema(sources: &Sources) -> Vec<Check> {
    let state = init::schema_state(&sources.config, &sources.hot, &sources.cold).await;
    let mut checks = Vec::new();
    for database in &state.databases {
        let name = format!("database {}", database.database);
        let version = database.version.map_or("none".to_owned(), |version| version.to_string());
        checks.push(match &database.problem {
            Some(problem) => {
                Check::unavailable(name, problem.clone(), "run `init`: it creates what is missing")
            }
            None if database.version == Some(database.newest) => {
                Check::ok(name, format!("migration {version}, up to date"))
            }
            None => {
                let text = format!("migration {version}, the newest is {}", database.newest);
                let remedy = "run `init`: it applies what is missing";
                Check::new(FindingCode::SchemaOutdated, name, CheckStatus::Warn, text, remedy)
            }
        });
    }
    for table in state.tables.iter().filter(|table| !table.equal) {
        let name = format!("table {}.{}", table.database, table.table);
        let text: Vec<String> = table.differences.iter().map(ToString::to_string).collect();
        let text = format!("differs from {}: {}", table.compared_with, text.join("; "));
        let is_changeable = table.differences.iter().all(|difference| difference.changeable);
        let found = if is_changeable { CheckStatus::Warn } else { CheckStatus::Fail };
        let remedy = "run `init --apply`: it changes what can be changed in place";
        checks.push(Check::new(FindingCode::SchemaDrift, name, found, text, remedy));
    }
    if state.equal == Some(true) {
        checks.push(Check::ok("tables", format!("{} comparisons, no difference", state.tables.len())));
    }
    checks
}
