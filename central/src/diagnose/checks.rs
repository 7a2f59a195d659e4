//! Checks of broker, servers and schema, and of the data of the last day: dead letters, losses, replication, audits.

use std::collections::BTreeMap;

use clickhouse::Row;
use marketprism_schema::Table;
use serde::Deserialize;

use super::check::{Check, CheckStatus};
use super::replicas::one_server;
use crate::report::document::{DeadLetters, FindingCode as Code, WorstWindow};
use crate::report::sources::{Answer, ledger, systems as source, tables};
use crate::report::{ReportScope, Sources, Time, rules, system_rules};
use crate::{clock, init, sql};

const UNREACHABLE: &str = "check that it runs, that the address is right and that no firewall blocks it";

pub async fn broker(sources: &Sources) -> Check {
    let urls = sources.config.nats.shown_urls();
    match sources.broker_answer(sources.broker.account()).await {
        Ok(account) => {
            let version = sources.broker.client.server_info().version;
            let stored = account.storage >> 20;
            // Of a leaf node, if `nats.jetstream_domain` should name the centre's.
            let domain = account.domain.map(|domain| format!(" of the domain {domain}")).unwrap_or_default();
            let text = format!("{urls}: nats-server {version}, JetStream{domain} stores {stored} MiB");
            Check::ok("broker", text)
        }
        Err(reason) => {
            let text = if reason.contains(&urls) { reason } else { format!("{urls}: {reason}") };
            Check::unavailable("broker", text, unreachable(sources))
        }
    }
}

/// No remedy where the reason names one: the server was reached.
fn unreachable(sources: &Sources) -> &'static str {
    if sources.broker.is_connected() || sources.broker.is_refused() { "" } else { UNREACHABLE }
}

/// Compares streams and consumers with the configuration; changes nothing.
pub async fn streams(sources: &Sources) -> Vec<Check> {
    let compared = sources.broker_answer(init::compare_streams(&sources.config, &sources.broker)).await;
    let mut checks = match compared {
        Err(reason) => vec![Check::unavailable("streams", reason, unreachable(sources))],
        Ok(report) => {
            let differs = |(what, difference): (String, &init::Difference)| {
                let found = if difference.changeable { CheckStatus::Warn } else { CheckStatus::Fail };
                let remedy = match difference.is_taken() {
                    true => "",
                    false => {
                        "run `init` to create what is missing, `init --apply` to change what can be changed"
                    }
                };
                Check::new(Code::BrokerDrift, what, found, difference.to_string(), remedy)
            };
            let room = sources.broker_answer(init::check_room(&sources.config, &sources.broker)).await.err();
            let no_room = |reason| Check::new(Code::BrokerNoRoom, "room", CheckStatus::Fail, reason, "");
            room.into_iter().map(no_room).chain(report.differences().map(differs)).collect()
        }
    };
    if checks.is_empty() {
        checks.push(Check::ok("streams", "streams and consumers are as configured"));
    }
    for (name, stream) in source::streams(sources).await {
        let Ok(stream) = stream else { continue };
        let mut findings = Vec::new();
        system_rules::evaluate_stream(&stream, &mut findings);
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
    let leases = match source::leases(sources).await {
        Err(reason) => return vec![Check::unavailable("leases", reason, unreachable(sources))],
        Ok(leases) => leases,
    };
    let mut findings = Vec::new();
    system_rules::evaluate_leases(&leases, clock::now_ns() / 1_000_000, &mut findings);
    if findings.is_empty() {
        let held: Vec<String> =
            leases.iter().map(|lease| format!("{} held by {}", lease.lease, lease.holder)).collect();
        return vec![Check::ok("leases", held.join(", "))];
    }
    findings.into_iter().map(Check::from).collect()
}

pub async fn servers(sources: &Sources) -> Vec<Check> {
    let place = &sources.config.clickhouse;
    let (hot, cold, several_hot, several_cold) = tokio::join!(
        source::server(sources, "hot", &sources.hot, &place.hot.url),
        source::server(sources, "cold", &sources.cold, &place.cold.url),
        one_server(sources, "hot", &sources.hot, &place.hot.url),
        one_server(sources, "cold", &sources.cold, &place.cold.url),
    );
    let mut checks: Vec<Check> = several_hot.into_iter().chain(several_cold).collect();
    for (role, url, state) in [("hot", &place.hot.url, hot), ("cold", &place.cold.url, cold)] {
        let name = format!("clickhouse {role}");
        match state {
            Err(reason) => checks.push(Check::unavailable(name, format!("{url}: {reason}"), UNREACHABLE)),
            Ok(server) => {
                let mut findings = Vec::new();
                system_rules::evaluate_server(&server, &mut findings);
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
                Check::new(Code::SchemaOutdated, name, CheckStatus::Warn, text, remedy)
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
        checks.push(Check::new(Code::SchemaDrift, name, found, text, remedy));
    }
    if state.equal == Some(true) {
        checks.push(Check::ok("tables", format!("{} comparisons, no difference", state.tables.len())));
    }
    checks
}

const DAY_MS: i64 = 86_400_000;
/// Age up to which rows show that their edge runs.
const ALIVE_MS: i64 = 10 * 60_000;
/// Edges publish an audit every minute; older than this it is late.
const AUDIT_LATE_MS: i64 = 10 * 60_000;
/// Most replication windows listed.
const LISTED: usize = 3;

pub async fn data(sources: &Sources) -> Vec<Check> {
    let now_ms = clock::now_ns() / 1_000_000;
    let scope = ReportScope { from: Time(now_ms - DAY_MS), to: Time(now_ms), table: None };
    let (letters, losses, copies, edges) = tokio::join!(
        dead_letters(sources, &scope),
        losses(sources, &scope),
        replicated_windows(sources, &scope),
        edges(sources, now_ms),
    );
    letters.into_iter().chain([losses]).chain(copies).chain(edges).collect()
}

async fn dead_letters(sources: &Sources, scope: &ReportScope) -> Vec<Check> {
    const NAME: &str = "dead letters";
    let letters = match ledger::dead_letters(sources, scope).await {
        Err(reason) => return vec![Check::unavailable(NAME, reason, "")],
        Ok(letters) if letters.is_empty() => return vec![Check::ok(NAME, "none in the last day")],
        Ok(letters) => letters,
    };
    let check = |letter: DeadLetters| {
        let newest = letter.newest.map(|at| format!(", newest {at}")).unwrap_or_default();
        let text = format!("{} refused: {}{newest}", letter.messages, letter.reason);
        let (code, remedy) = match letter.reason.contains(crate::ingest::EXPIRED) {
            true => (Code::LedgerExpiredEvents, rules::LATE),
            false => (
                Code::LedgerRefusedMessages,
                "inspect the payloads in the table dead_letters of hot; an adapter or a foreign publisher sends them",
            ),
        };
        Check::new(code, NAME, CheckStatus::Warn, text, remedy)
    };
    letters.into_iter().map(check).collect()
}

async fn losses(sources: &Sources, scope: &ReportScope) -> Check {
    const NAME: &str = "lost messages";
    match ledger::losses(sources, scope).await {
        Err(reason) => Check::unavailable(NAME, reason, ""),
        Ok(losses) if losses.total == 0 => Check::ok(NAME, "none in the last day"),
        Ok(losses) => {
            let newest = losses.items.first();
            let newest = newest.map(|loss| {
                format!("{} {} to {}: {}", loss.stream, loss.from_seq, loss.to_seq, loss.evidence)
            });
            let text = format!("{} losses, the newest: {}", losses.total, newest.unwrap_or_default());
            let remedy =
                "raise max_bytes or max_age_seconds of the stream; `repair` asks the edges to publish again";
            Check::new(Code::LedgerLostMessages, NAME, CheckStatus::Fail, text, remedy)
        }
    }
}

async fn replicated_windows(sources: &Sources, scope: &ReportScope) -> Vec<Check> {
    const NAME: &str = "replication";
    let worst = match tables::worst(sources, scope, LISTED).await {
        Err(reason) => return vec![Check::unavailable(NAME, reason, "")],
        Ok(worst) => worst,
    };
    if worst.is_empty() {
        return vec![Check::ok(NAME, "no window of the last day differs or failed")];
    }
    let check = |window: WorstWindow| {
        let code = match window.state.as_str() {
            "mismatch" => Code::ReplicationMismatchedWindows,
            _ => Code::ReplicationFailedWindows,
        };
        let text = format!("{} {} of {}: {}", window.state, window.window_start, window.of, window.reason);
        let remedy = format!("run `repair --table {}`: it copies the window again", window.of);
        Check::new(code, NAME, CheckStatus::Fail, text, remedy)
    };
    worst.into_iter().map(check).collect()
}

#[derive(Debug, Row, Deserialize)]
struct NewestOfEdge {
    edge: String,
    newest_ms: i64,
}

/// Every edge whose rows arrive must publish audits.
async fn edges(sources: &Sources, now_ms: i64) -> Vec<Check> {
    let database = &sources.hot.database;
    let since = sql::millis(now_ms - ALIVE_MS);
    let of_table = |table: &Table| {
        format!("SELECT edge, created_at FROM {database}.{} WHERE created_at >= {since}", table.name)
    };
    let all: Vec<String> = Table::ALL.iter().map(of_table).collect();
    let alive = format!(
        "SELECT toString(edge) AS edge, toUnixTimestamp64Milli(max(created_at)) AS newest_ms FROM ({}) \
         GROUP BY edge ORDER BY edge LIMIT 1000",
        all.join(" UNION ALL ")
    );
    let audited = format!(
        "SELECT toString(edge) AS edge, toUnixTimestamp64Milli(max(window_start)) AS newest_ms \
         FROM {database}.audits WHERE window_start >= {} GROUP BY edge LIMIT 1000",
        sql::millis(now_ms - DAY_MS)
    );
    let (alive, audited): (Answer<Vec<NewestOfEdge>>, Answer<Vec<NewestOfEdge>>) =
        tokio::join!(sources.rows(&sources.hot, &alive), sources.rows(&sources.hot, &audited));
    let (alive, audited) = match (alive, audited) {
        (Ok(alive), Ok(audited)) => (alive, audited),
        (Err(reason), _) | (_, Err(reason)) => return vec![Check::unavailable("audits", reason, "")],
    };
    if alive.is_empty() {
        let (text, remedy) = (
            "no edge delivered a row in ten minutes",
            "start an edge; `status` shows whether messages are pending",
        );
        return vec![Check::new(Code::EdgeNoRecentRows, "audits", CheckStatus::Warn, text, remedy)];
    }
    let newest: BTreeMap<String, i64> = audited.into_iter().map(|row| (row.edge, row.newest_ms)).collect();
    alive.iter().map(|row| audits_of(&row.edge, newest.get(&row.edge).copied(), now_ms)).collect()
}

fn audits_of(edge: &str, newest_ms: Option<i64>, now_ms: i64) -> Check {
    let name = format!("audits of {edge}");
    let text = match newest_ms {
        None => "rows arrive, but no audit in a day".to_owned(),
        Some(at) if now_ms - at > AUDIT_LATE_MS => {
            format!("rows arrive, but the newest audit is of {} (at most 10 minutes expected)", Time(at))
        }
        Some(at) => return Check::ok(name, format!("newest audited window: {}", Time(at))),
    };
    let remedy = "read the edge's log, check the stream AUDIT and that a central holds the lease `ledger`";
    Check::new(Code::EdgeNoRecentAudit, name, CheckStatus::Fail, text, remedy)
}
