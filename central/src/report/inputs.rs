//! Inputs of a report: the answer of every source, or the reason why there is none.

use std::collections::BTreeMap;

use marketprism_schema::Table;

use super::ReportScope;
use super::document::{
    BrokerStream, DeadLetters, LeaseState, LossList, ReportedChange, ReportedGap, SchemaReport,
    ServerState, TruncatedList, Unanswered, Verification, WorstWindow,
};
use super::period::TimeBuckets;
use super::sources::corrections::PeriodCorrections;
use super::sources::latency::LatencyRows;
use super::sources::ledger::{EdgeDowntime, EdgeGap, StoredIdsRow, VerdictBucket};
use super::sources::tables::{ReplicationBucket, TableAnswer, TableWatermark};
use super::sources::{Answer, SchemaCache, Sources, corrections, edges, latency, ledger, systems, tables};
use crate::clock;
use crate::fleet::FleetEdge;

/// Time after its grace period from which an open window is overdue.
const OVERDUE_MS: i64 = 600_000;
/// Time after its grace period in which a window gets its verdict.
const CLOSING_MS: i64 = 60_000;
/// Most windows listed.
pub const WORST_MAX: usize = 100;

/// Result of a verification; takes the place of the window log in the report.
#[derive(Debug)]
pub struct Verified {
    pub document: Verification,
    pub copies: Vec<ReplicationBucket>,
    /// Windows that differ or failed.
    pub copies_worst: Vec<WorstWindow>,
    /// Windows whose stored verdict was better than what was found.
    pub audits_worst: Vec<WorstWindow>,
    /// Reason why hot was not compared with the audits.
    pub audits_failed: Option<String>,
}

#[derive(Debug)]
pub struct ReportInputs {
    pub now_ms: i64,
    pub scope: ReportScope,
    pub buckets: TimeBuckets,
    pub grace_ms: i64,
    pub hot: Vec<TableAnswer>,
    pub cold: Vec<TableAnswer>,
    pub verdicts: Answer<Vec<VerdictBucket>>,
    pub edge_gaps: Answer<Vec<EdgeGap>>,
    pub stored_ids: Answer<Vec<StoredIdsRow>>,
    pub gaps: Answer<Vec<ReportedGap>>,
    pub downtimes: Answer<Vec<EdgeDowntime>>,
    pub latency: Answer<LatencyRows>,
    pub losses: Answer<LossList>,
    pub dead_letters: Answer<Vec<DeadLetters>>,
    /// None for a period that does not reach the present.
    pub edges: Answer<Vec<FleetEdge>>,
    pub changes: Answer<TruncatedList<ReportedChange>>,
    pub corrections: Answer<PeriodCorrections>,
    pub copies: Answer<Vec<ReplicationBucket>>,
    pub copies_worst: Answer<Vec<WorstWindow>>,
    pub watermarks: Answer<BTreeMap<String, TableWatermark>>,
    pub servers: [(&'static str, Answer<ServerState>); 2],
    pub broker: Vec<(&'static str, Answer<BrokerStream>)>,
    pub leases: Answer<Vec<LeaseState>>,
    pub schema: Answer<SchemaReport>,
    pub verification: Option<Verification>,
    /// Windows whose stored verdict is better than what the verification found.
    pub verified_worst: Vec<WorstWindow>,
    /// Parts of the verification without a result, with the reason.
    unverified: Vec<(String, String)>,
}

impl ReportInputs {
    pub async fn gather(sources: &Sources, scope: ReportScope, schemas: &SchemaCache) -> Self {
        let now_ms = clock::now_ns() / 1_000_000;
        let wanted: Vec<&'static Table> = scope.tables().collect();
        let buckets = TimeBuckets::of(&scope);
        let place = &sources.config.clickhouse;
        let grace_ms = i64::try_from(sources.config.ledger.grace.as_millis()).unwrap_or(i64::MAX);
        let overdue = overdue_before(now_ms, grace_ms);
        let (
            hot,
            cold,
            hot_server,
            cold_server,
            broker,
            leases,
            schema,
            copies,
            copies_worst,
            watermarks,
            verdicts,
            edge_gaps,
            stored_ids,
            gaps,
            downtimes,
            latencies,
            losses,
            dead_letters,
            edges,
            (changes, corrections),
        ) = tokio::join!(
            tables::read(sources, &sources.hot, &wanted, now_ms),
            tables::read(sources, &sources.cold, &wanted, now_ms),
            systems::server(sources, "hot", &sources.hot, &place.hot.url),
            systems::server(sources, "cold", &sources.cold, &place.cold.url),
            systems::streams(sources),
            systems::leases(sources),
            schemas.state(sources),
            tables::counts(sources, &scope, &buckets),
            tables::worst(sources, &scope, WORST_MAX),
            tables::watermarks(sources),
            ledger::verdicts(sources, &scope, &buckets, overdue),
            ledger::gaps(sources, &scope, now_ms - grace_ms - CLOSING_MS),
            ledger::stored_ids(sources, &scope, &buckets),
            ledger::newest_gaps(sources, &scope),
            ledger::downtimes(sources, &scope),
            latency::read(sources, &scope, now_ms),
            ledger::losses(sources, &scope),
            ledger::dead_letters(sources, &scope),
            running_edges(sources, &scope, now_ms),
            edge_reports(sources, &scope),
        );
        Self {
            now_ms,
            scope,
            buckets,
            grace_ms,
            hot,
            cold,
            verdicts,
            edge_gaps,
            stored_ids,
            gaps,
            downtimes,
            latency: latencies,
            losses,
            dead_letters,
            edges,
            changes,
            corrections,
            copies,
            copies_worst,
            watermarks,
            servers: [("hot", hot_server), ("cold", cold_server)],
            broker,
            leases,
            schema,
            verification: None,
            verified_worst: Vec::new(),
            unverified: Vec::new(),
        }
    }

    /// Numbers counted now take the place of the window log.
    pub fn replace_with(&mut self, verified: Verified) {
        let Verified { document, copies, copies_worst, audits_worst, audits_failed } = verified;
        self.copies = Ok(copies);
        self.copies_worst = Ok(copies_worst);
        self.verified_worst = audits_worst;
        let stopped = document
            .tables
            .iter()
            .filter_map(|table| Some((format!("verification of {}", table.table), table.stopped.clone()?)));
        let audits = audits_failed.map(|reason| ("verification of audits".to_owned(), reason));
        self.unverified = stopped.chain(audits).collect();
        self.verification = Some(document);
    }

    /// The period includes the present, so that recent rows are expected.
    pub fn reaches_now(&self) -> bool {
        reaches_now(&self.scope, self.now_ms)
    }

    /// Open windows that began earlier are overdue.
    pub fn overdue_before(&self) -> i64 {
        overdue_before(self.now_ms, self.grace_ms)
    }

    /// Sources without an answer, grouped by reason.
    pub fn unanswered(&self) -> Vec<Unanswered> {
        let servers = self.servers.iter().filter_map(|(role, server)| {
            let reason = server.as_ref().err()?;
            Some((format!("clickhouse {role}"), reason))
        });
        let tables = [("hot", &self.hot), ("cold", &self.cold)].into_iter().flat_map(|(role, tables)| {
            tables.iter().filter_map(move |table| {
                let reason = table.venues.as_ref().err()?;
                Some((format!("{role} {}", table.table.name), reason))
            })
        });
        let queries = [
            ("verdicts", self.verdicts.as_ref().err()),
            ("gaps", self.edge_gaps.as_ref().err().or(self.gaps.as_ref().err())),
            ("stored ids", self.stored_ids.as_ref().err()),
            ("downtimes", self.downtimes.as_ref().err()),
            ("latency", self.latency.as_ref().err()),
            ("losses", self.losses.as_ref().err()),
            ("dead letters", self.dead_letters.as_ref().err()),
            ("edges", self.edges.as_ref().err()),
            ("changes of edges", self.changes.as_ref().err()),
            ("corrections", self.corrections.as_ref().err()),
            ("window log", self.copies.as_ref().err().or(self.copies_worst.as_ref().err())),
            ("watermarks", self.watermarks.as_ref().err()),
            ("leases", self.leases.as_ref().err()),
            ("schema", self.schema.as_ref().err()),
        ];
        let queries = queries.into_iter().filter_map(|(part, reason)| Some((part.to_owned(), reason?)));
        let streams = self.broker.iter().filter_map(|(name, stream)| {
            let reason = stream.as_ref().err()?;
            Some((format!("stream {name}"), reason))
        });
        let mut unanswered: Vec<Unanswered> = Vec::new();
        let unverified = self.unverified.iter().map(|(part, reason)| (part.clone(), reason));
        for (part, reason) in servers.chain(tables).chain(queries).chain(streams).chain(unverified) {
            match unanswered.iter_mut().find(|known| known.reason == *reason) {
                Some(known) => known.part = format!("{}, {part}", known.part),
                None => unanswered.push(Unanswered { part, reason: reason.clone() }),
            }
        }
        unanswered
    }
}

const fn reaches_now(scope: &ReportScope, now_ms: i64) -> bool {
    scope.to.0 >= now_ms - 60_000
}

type EdgeReports = (Answer<TruncatedList<ReportedChange>>, Answer<PeriodCorrections>);

async fn edge_reports(sources: &Sources, scope: &ReportScope) -> EdgeReports {
    tokio::join!(edges::changes(sources, scope), corrections::corrections(sources, scope))
}

async fn running_edges(sources: &Sources, scope: &ReportScope, now_ms: i64) -> Answer<Vec<FleetEdge>> {
    if reaches_now(scope, now_ms) { edges::edges(sources).await } else { Ok(Vec::new()) }
}

const fn overdue_before(now_ms: i64, grace_ms: i64) -> i64 {
    now_ms - grace_ms - OVERDUE_MS
}
