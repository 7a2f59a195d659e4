//! What was refused, lost, not copied, not vouched for.

use std::collections::BTreeMap;

use clickhouse::Row;
use marketprism_schema::Table;
use serde::Deserialize;

use super::check::{Check, Found};
use crate::clock;
use crate::report::sources::{Part, gaps, moment, replication};
use crate::report::{Scope, Sources, Time};

const DAY_MS: i64 = 86_400_000;
/// Rows this new come from an edge that runs.
const ALIVE_MS: i64 = 10 * 60_000;
/// An edge reports every minute; after so many it is late.
const AUDIT_LATE_MS: i64 = 10 * 60_000;
/// Windows of the copy named.
const NAMED: usize = 3;

/// The last day.
pub async fn checks(sources: &Sources) -> Vec<Check> {
    let now_ms = clock::now_ns() / 1_000_000;
    let scope = Scope { from: Time(now_ms - DAY_MS), to: Time(now_ms), table: None };
    let (letters, losses, copies, edges) = tokio::join!(
        dead_letters(sources, &scope),
        losses(sources, &scope),
        copies(sources, &scope),
        edges(sources, now_ms),
    );
    letters.into_iter().chain([losses]).chain(copies).chain(edges).collect()
}

async fn dead_letters(sources: &Sources, scope: &Scope) -> Vec<Check> {
    match gaps::dead_letters(sources, scope).await {
        Err(reason) => vec![Check::new("refused messages", Found::Unknown, reason, "")],
        Ok(letters) if letters.is_empty() => vec![Check::ok("refused messages", "none in a day")],
        Ok(letters) => {
            let check = |letter: crate::report::document::DeadLetters| {
                let newest = letter.newest.map(|at| format!(", the newest {at}")).unwrap_or_default();
                let text = format!("{} for: {}{newest}", letter.messages, letter.reason);
                let remedy =
                    "their bytes are in dead_letters of hot: the adapter or a foreign publisher sends them";
                Check::new("refused messages", Found::Warn, text, remedy)
            };
            letters.into_iter().map(check).collect()
        }
    }
}

async fn losses(sources: &Sources, scope: &Scope) -> Check {
    match gaps::losses(sources, scope).await {
        Err(reason) => Check::new("losses", Found::Unknown, reason, ""),
        Ok(losses) if losses.total == 0 => Check::ok("losses", "none in a day"),
        Ok(losses) => {
            let newest = losses.items.first();
            let text = newest.map(|loss| {
                format!("{} {} to {}: {}", loss.stream, loss.from_seq, loss.to_seq, loss.evidence)
            });
            let text = format!("{}, the newest: {}", losses.total, text.unwrap_or_default());
            let remedy = "raise max_bytes or max_age_seconds of the stream; `repair` asks the edges";
            Check::new("losses", Found::Fail, text, remedy)
        }
    }
}

async fn copies(sources: &Sources, scope: &Scope) -> Vec<Check> {
    let worst = match replication::worst(sources, scope, NAMED).await {
        Err(reason) => return vec![Check::new("replication", Found::Unknown, reason, "")],
        Ok(worst) => worst,
    };
    if worst.is_empty() {
        return vec![Check::ok("replication", "no window of the last day differs or failed")];
    }
    let check = |window: crate::report::document::WorstWindow| {
        let text = format!("{} {} of {}: {}", window.state, window.window_start, window.of, window.reason);
        let remedy = format!("`repair --table {}` copies it again", window.of);
        Check::new("replication", Found::Fail, text, remedy)
    };
    worst.into_iter().map(check).collect()
}

#[derive(Debug, Row, Deserialize)]
struct Heard {
    edge: String,
    newest_ms: i64,
}

/// Every edge whose rows arrive must report what it stored.
async fn edges(sources: &Sources, now_ms: i64) -> Vec<Check> {
    let database = &sources.hot.database;
    let since = moment(now_ms - ALIVE_MS);
    let of_table = |table: &Table| {
        format!("SELECT edge, created_at FROM {database}.{} WHERE created_at >= {since}", table.name)
    };
    let all: Vec<String> = Table::ALL.iter().map(of_table).collect();
    let alive = format!(
        "SELECT toString(edge) AS edge, toUnixTimestamp64Milli(max(created_at)) AS newest_ms FROM ({}) \
         GROUP BY edge ORDER BY edge LIMIT 1000",
        all.join(" UNION ALL ")
    );
    let vouched = format!(
        "SELECT toString(edge) AS edge, toUnixTimestamp64Milli(max(window_start)) AS newest_ms \
         FROM {database}.audits WHERE window_start >= {} GROUP BY edge LIMIT 1000",
        moment(now_ms - DAY_MS)
    );
    let (alive, vouched): (Part<Vec<Heard>>, Part<Vec<Heard>>) =
        tokio::join!(sources.rows(&sources.hot, &alive), sources.rows(&sources.hot, &vouched));
    let (alive, vouched) = match (alive, vouched) {
        (Ok(alive), Ok(vouched)) => (alive, vouched),
        (Err(reason), _) | (_, Err(reason)) => {
            return vec![Check::new("audits", Found::Unknown, reason, "")];
        }
    };
    let newest: BTreeMap<String, i64> =
        vouched.into_iter().map(|heard| (heard.edge, heard.newest_ms)).collect();
    if alive.is_empty() {
        let remedy = "start an edge; `status` says whether messages wait at the broker";
        return vec![Check::new("audits", Found::Warn, "no edge sent a row in ten minutes", remedy)];
    }
    alive.into_iter().map(|heard| audited(&heard.edge, newest.get(&heard.edge).copied(), now_ms)).collect()
}

fn audited(edge: &str, newest_ms: Option<i64>, now_ms: i64) -> Check {
    let name = format!("audits of {edge}");
    let remedy = "look in the edge's log and at the stream AUDIT; a central with the lease `ledger` must run";
    match newest_ms {
        None => Check::new(name, Found::Fail, "its rows arrive, and it reported nothing in a day", remedy),
        Some(at) if now_ms - at > AUDIT_LATE_MS => {
            let text = format!("its rows arrive, and its newest report is of {}", Time(at));
            Check::new(name, Found::Fail, text, remedy)
        }
        Some(at) => Check::ok(name, format!("the newest window reported is {}", Time(at))),
    }
}
