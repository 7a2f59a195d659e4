//! Stable codes of findings and checks. A code never changes its meaning; texts may be bettered at any time.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

macro_rules! codes {
    ($($variant:ident $code:literal $meaning:literal)*) => {
        /// Stable code of a finding: match on this, never on the text.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FindingCode {
            $(#[doc = $meaning] $variant,)*
        }

        impl FindingCode {
            /// Code as JSON, terminal and page show it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                }
            }

            /// Every code with its meaning, in the order of the README.
            pub const MEANINGS: &[(&'static str, &'static str)] = &[$(($code, $meaning),)*];
        }
    };
}

codes! {
    LedgerMismatchedWindows "ledger.mismatched_windows" "hot storage differs from what edges published in these windows"
    LedgerNewlyMismatchedWindows "ledger.newly_mismatched_windows" "`--verify` found windows where hot differs, and the ledger had not"
    LedgerNewlyUnverifiableWindows "ledger.newly_unverifiable_windows" "`--verify` could not verify windows that the ledger had verified or not evaluated"
    LedgerNewlyVerifiedWindows "ledger.newly_verified_windows" "`--verify` verified windows that the ledger had not"
    LedgerMissingEvents "ledger.missing_events" "events that hot lacks: holes in the ids of the venue, or losses that edges counted and no other edge covers"
    LedgerUnverifiableWindows "ledger.unverifiable_windows" "windows without a complete audit, neither covered by another edge nor proven by the ids of the venue"
    LedgerNotCollected "ledger.not_collected" "times in which an edge was stopped or a stream was not configured, not covered by another edge"
    LedgerCoveredDowntime "ledger.covered_downtime" "such times that another edge or the venue's numbers cover"
    EdgeKilled "edge.killed" "times of which a killed edge has no audit, and that another edge or the venue's numbers do not cover"
    EdgeAlone "edge.alone" "times in which only one of a stream's edges collected it whole"
    EdgeHolesFilled "edge.holes_filled" "times in which another edge had what this one missed"
    LedgerOverdueWindows "ledger.overdue_windows" "windows still open long after their grace period"
    LedgerWindowsWithoutVerdict "ledger.windows_without_verdict" "windows between the first and the last verdict that have none"
    LedgerNoWindows "ledger.no_windows" "no window of the period has a verdict"
    LedgerNoClosedWindow "ledger.no_closed_window" "every window of the period is still open"
    LedgerGapsOfUnknownSize "ledger.gaps_of_unknown_size" "gaps that may hide any number of events"
    LedgerCoveredGaps "ledger.covered_gaps" "gaps in which nothing is missing: another edge covers them, or the ids of the venue in hot have no hole"
    LedgerTradeIdsRestarted "ledger.trade_ids_restarted" "venues that numbered their trades from a lower id on again"
    LedgerEvidence "ledger.evidence" "windows and rows that are verified complete, stored = received, or lower bounds"
    LedgerStreamStarts "ledger.stream_starts" "streams that started or restarted in the period"
    LedgerStreamNotAudited "ledger.stream_not_audited" "rows arrive that no edge reports in its audits"
    LedgerRefusedMessages "ledger.refused_messages" "messages refused for their content, kept in dead_letters"
    LedgerExpiredEvents "ledger.expired_events" "events that came later than hot keeps rows, kept in dead_letters only"
    LedgerLostMessages "ledger.lost_messages" "messages, each of one or more events, that the broker discarded before they were stored"
    LedgerCorrectionPending "ledger.correction_pending" "a closed correction that is not carried out"
    LedgerCorrectionLost "ledger.correction_lost" "a correction of which hot, put back to an earlier state, knows nothing any more"
    EdgeClockOffset "edge.clock_offset" "the clock of an edge differs from that of a venue by more than 500 ms beyond the error of the measurement"
    EdgeClockStepped "edge.clock_stepped" "the clock of an edge's machine was set while the edge ran"
    EdgeNoRecentAudit "edge.no_recent_audit" "an edge that stopped reporting audits"
    EdgeNoRecentRows "edge.no_recent_rows" "no edge delivered a row recently"
    EdgeSilent "edge.silent" "the heartbeats of an edge that was not stopped do not come any more"
    EdgeUnreadable "edge.unreadable" "the heartbeats of an edge have a form that this version does not read"
    EdgeNoAnswer "edge.no_answer" "an edge that published lately does not answer a request for its status"
    EdgeUnhealthy "edge.unhealthy" "an edge reports itself unhealthy or degraded, with its reasons"
    EdgeLowDisk "edge.low_disk" "the disk of an edge's data folder has less than 10 % free"
    TableNoRecentRows "table.no_recent_rows" "no row arrived in hot within the table's freshness limit"
    TableDuplicateRows "table.duplicate_rows" "more than one row of the same event"
    ReplicationMismatchedWindows "replication.mismatched_windows" "cold differs from hot in these windows"
    ReplicationFailedWindows "replication.failed_windows" "windows that could not be copied or compared"
    ReplicationNoRecentRows "replication.no_recent_rows" "hot has recent rows, cold has none"
    ReplicationLag "replication.lag" "cold is too far behind hot"
    IngestStopped "ingest.stopped" "messages are pending and no central takes them"
    IngestStalled "ingest.stalled" "a consumer delivers nothing while messages are pending and a central waits for them"
    IngestLag "ingest.lag" "many messages are pending"
    ThroughputNoMessages "throughput.no_messages" "no message arrived at the broker, or in a stream, for a time in which `validate` or `longrun` measured"
    ThroughputNotStored "throughput.not_stored" "messages arrived while `validate` or `longrun` measured, and hot stored no row for a time, or ever more of them wait"
    BrokerReplicasBehind "broker.replicas_behind" "replicas of a stream are not up to date"
    BrokerStreamFull "broker.stream_full" "a stream is nearly full while messages are pending"
    BrokerNoRoom "broker.no_room" "the broker's account may store less than the configured streams take"
    BrokerDrift "broker.drift" "streams or consumers differ from the configuration"
    ClickhouseLowDisk "clickhouse.low_disk" "a disk has less than 10 % free"
    ClickhouseReadonlyTable "clickhouse.readonly_table" "a replicated table takes no rows: its server has no session with Keeper"
    ClickhouseStuckMutation "clickhouse.stuck_mutation" "a mutation of a table fails, or is not done after an hour"
    ClickhouseBrokenParts "clickhouse.broken_parts" "the server put parts of a table aside as broken: their rows are lost"
    ClickhouseSeveralServers "clickhouse.several_servers" "an address of ClickHouse leads to more than one server"
    ClickhouseClockSkew "clickhouse.clock_skew" "the server's clock differs from this machine's"
    LeaseNotHeld "lease.not_held" "no central holds a lease that one must hold"
    SchemaDrift "schema.drift" "tables differ from their definitions"
    SchemaOutdated "schema.outdated" "migrations have not been applied yet"
    CentralNoListener "central.no_listener" "nothing answers at this configuration's `http.listen`"
    ConfigNoToken "config.no_token" "no token is configured, so POST /repair is refused"
    SourceUnavailable "source.unavailable" "broker, server or table did not answer in time"
}

impl Serialize for FindingCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl PartialSchema for FindingCode {
    fn schema() -> RefOr<Schema> {
        let codes = Self::MEANINGS.iter().map(|(code, _)| *code);
        let meanings = Self::MEANINGS.iter().map(|(code, meaning)| format!("- `{code}`: {meaning}\n"));
        let text = format!(
            "Stable code of a finding: match on this, never on the text.\n\n{}",
            meanings.collect::<String>()
        );
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes)).description(Some(text)).into()
    }
}

impl ToSchema for FindingCode {
    fn name() -> Cow<'static, str> {
        "FindingCode".into()
    }
}

#[cfg(test)]
mod tests {
    use super::FindingCode;

    /// A code that is missing in one of the three places could not be found by those who match on it.
    #[test]
    fn readme_openapi_and_enum_name_the_same_codes() {
        let codes: Vec<&str> = FindingCode::MEANINGS.iter().map(|(code, _)| *code).collect();
        let readme = include_str!("../../../README.md");
        let section = readme.split("### Finding codes").nth(1).unwrap();
        let rows: Vec<(&str, &str)> = section
            .lines()
            .skip_while(|line| !line.starts_with("|---"))
            .skip(1)
            .take_while(|line| line.starts_with('|'))
            .map(|line| {
                let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
                (cells[0].trim_matches('`'), cells[1])
            })
            .collect();
        assert_eq!(rows, FindingCode::MEANINGS);
        let openapi = serde_json::to_value(crate::http::description()).unwrap();
        let documented = &openapi["components"]["schemas"]["FindingCode"]["enum"];
        assert_eq!(documented, &serde_json::json!(codes));
    }
}
