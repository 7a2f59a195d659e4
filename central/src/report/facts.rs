//! Everything that was asked, with the answers or why there are none.

use std::collections::BTreeMap;
use std::time::Duration;

use marketprism_schema::Table;

use super::Scope;
use super::bins::Bins;
use super::document::{
    BrokerStream, DeadLetters, Gap, LeaseState, Listed, Loss, SchemaState, ServerState, Unanswered,
    WorstWindow,
};
use super::sources::gaps::GapGroup;
use super::sources::replication::{CopiedBin, Watermark};
use super::sources::tables::TableFacts;
use super::sources::verdicts::Binned;
use super::sources::{Part, Sources, broker, gaps, replication, schema, servers, tables, verdicts};
use crate::clock;

/// An open window is overdue so long after its grace.
const OVERDUE: Duration = Duration::from_secs(600);
/// Windows of the copy listed by name.
pub const WORST_MAX: usize = 100;

/// Everything that was asked.
#[derive(Debug)]
pub struct Facts {
    /// When.
    pub now_ms: i64,
    /// About what.
    pub scope: Scope,
    /// How time is cut.
    pub bins: Bins,
    /// Time that an edge's audit may take.
    pub grace_ms: i64,
    /// Tables of the hot server.
    pub hot: Vec<TableFacts>,
    /// Tables of the cold server.
    pub cold: Vec<TableFacts>,
    /// The ledger's verdicts.
    pub verdicts: Part<Vec<Binned>>,
    /// Gaps counted.
    pub gap_groups: Part<Vec<GapGroup>>,
    /// Gaps named.
    pub gaps: Part<Vec<Gap>>,
    /// What the broker no longer had.
    pub losses: Part<Listed<Loss>>,
    /// What was refused.
    pub dead_letters: Part<Vec<DeadLetters>>,
    /// The window log.
    pub copies: Part<Vec<CopiedBin>>,
    /// Its worst windows.
    pub copies_worst: Part<Vec<WorstWindow>>,
    /// How far each table is copied.
    pub watermarks: Part<BTreeMap<String, Watermark>>,
    /// ClickHouse.
    pub servers: [(&'static str, Part<ServerState>); 2],
    /// The broker's streams.
    pub broker: Vec<(&'static str, Part<BrokerStream>)>,
    /// The leases.
    pub leases: Part<Vec<LeaseState>>,
    /// The schema.
    pub schema: Part<SchemaState>,
}

impl Facts {
    /// Asks everything at once.
    pub async fn gather(sources: &Sources, scope: Scope, schemas: &schema::Cache) -> Self {
        let now_ms = clock::now_ns() / 1_000_000;
        let wanted: Vec<&'static Table> = scope.tables().collect();
        let bins = Bins::of(&scope);
        let place = &sources.config.clickhouse;
        let grace_ms = grace_ms(sources);
        let overdue = overdue_before(now_ms, grace_ms);
        let (
            (hot, cold, hot_server, cold_server),
            (verdicts, gap_groups, gaps, losses, dead_letters),
            (copies, copies_worst, watermarks),
            (broker, leases, schema),
        ) = tokio::join!(
            async {
                tokio::join!(
                    tables::read(sources, &sources.hot, &wanted, now_ms),
                    tables::read(sources, &sources.cold, &wanted, now_ms),
                    servers::read(sources, "hot", &sources.hot, &place.hot.url),
                    servers::read(sources, "cold", &sources.cold, &place.cold.url),
                )
            },
            async {
                tokio::join!(
                    verdicts::read(sources, &scope, &bins, overdue),
                    gaps::groups(sources, &scope, &bins),
                    gaps::newest(sources, &scope),
                    gaps::losses(sources, &scope),
                    gaps::dead_letters(sources, &scope),
                )
            },
            async {
                tokio::join!(
                    replication::bins(sources, &scope, &bins),
                    replication::worst(sources, &scope, WORST_MAX),
                    replication::watermarks(sources),
                )
            },
            async { tokio::join!(broker::streams(sources), broker::leases(sources), schemas.state(sources)) },
        );
        let servers = [("hot", hot_server), ("cold", cold_server)];
        Self {
            now_ms,
            scope,
            bins,
            grace_ms,
            hot,
            cold,
            verdicts,
            gap_groups,
            gaps,
            losses,
            dead_letters,
            copies,
            copies_worst,
            watermarks,
            servers,
            broker,
            leases,
            schema,
        }
    }

    /// Whether the scope is about the present, so that what is recent matters.
    pub fn reaches_now(&self) -> bool {
        self.scope.to.0 >= self.now_ms - 60_000
    }

    /// Open windows that began before this should have been judged.
    pub fn overdue_before(&self) -> i64 {
        overdue_before(self.now_ms, self.grace_ms)
    }

    /// Parts without an answer, those with the same reason together.
    pub fn unanswered(&self) -> Vec<Unanswered> {
        let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
        let mut add = |part: String, reason: &str| match reasons.iter_mut().find(|(known, _)| known == reason)
        {
            Some((_, parts)) => parts.push(part),
            None => reasons.push((reason.to_owned(), vec![part])),
        };
        for (role, server) in &self.servers {
            if let Err(reason) = server {
                add(format!("clickhouse {role}"), reason);
            }
        }
        for (role, tables) in [("hot", &self.hot), ("cold", &self.cold)] {
            for table in tables {
                if let Err(reason) = &table.venues {
                    add(format!("{role} {}", table.table.name), reason);
                }
            }
        }
        let errors = [
            ("verdicts", self.verdicts.as_ref().err()),
            ("gaps", self.gap_groups.as_ref().err().or(self.gaps.as_ref().err())),
            ("losses", self.losses.as_ref().err()),
            ("dead letters", self.dead_letters.as_ref().err()),
            ("window log", self.copies.as_ref().err().or(self.copies_worst.as_ref().err())),
            ("watermarks", self.watermarks.as_ref().err()),
            ("leases", self.leases.as_ref().err()),
            ("schema", self.schema.as_ref().err()),
        ];
        for (part, reason) in errors {
            if let Some(reason) = reason {
                add(part.to_owned(), reason);
            }
        }
        for (name, stream) in &self.broker {
            if let Err(reason) = stream {
                add(format!("stream {name}"), reason);
            }
        }
        let join = |(reason, parts): (String, Vec<String>)| Unanswered { part: parts.join(", "), reason };
        reasons.into_iter().map(join).collect()
    }
}

fn grace_ms(sources: &Sources) -> i64 {
    i64::try_from(sources.config.ledger.grace.as_millis()).unwrap_or(i64::MAX)
}

fn overdue_before(now_ms: i64, grace_ms: i64) -> i64 {
    now_ms - grace_ms - i64::try_from(OVERDUE.as_millis()).unwrap_or(i64::MAX)
}
