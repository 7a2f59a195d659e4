//! Findings about the edges, by their heartbeats.

use serde::Serialize;
use utoipa::ToSchema;

use super::document::{Finding, FindingCode as Code, Level, Unanswered};
use super::sources::{Sources, edges};
use super::terminal::{Paint, clean, findings as finding_lines};
use super::{Time, edge_tables};
use crate::fleet::{EdgeLife, FleetEdge};
use crate::{clock, limits};

/// Reasons that a finding repeats.
const REASONS_NAMED: usize = 3;

/// All edges by their newest heartbeats.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Fleet {
    pub version: u32,
    pub generated_at: Time,
    pub program_version: &'static str,
    /// Without a heartbeat for so long an edge is silent.
    pub silent_after_seconds: u64,
    /// By name.
    pub edges: Vec<FleetEdge>,
    /// The most severe first.
    pub findings: Vec<Finding>,
    /// Sources that did not answer.
    pub unanswered: Vec<Unanswered>,
}

/// All edges as `/edges` and the command `edges` show them.
pub async fn fleet(sources: &Sources) -> Fleet {
    let (edges, unanswered) = match edges::edges(sources).await {
        Ok(edges) => (edges, Vec::new()),
        Err(reason) => (Vec::new(), vec![Unanswered { part: "edges".to_owned(), reason }]),
    };
    let mut all = findings(&edges);
    all.extend(health_findings(&edges));
    all.sort_by_key(|finding| finding.level);
    Fleet {
        version: 1,
        generated_at: Time(clock::now_ns() / 1_000_000),
        program_version: env!("CARGO_PKG_VERSION"),
        silent_after_seconds: limits::EDGE_SILENT.as_secs(),
        edges,
        findings: all,
        unanswered,
    }
}

impl Fleet {
    /// Nothing needs attention.
    pub const fn is_fine(&self) -> bool {
        self.findings.is_empty()
    }

    pub fn render(&self, paint: Paint) -> String {
        let mut out = String::new();
        for Unanswered { part, reason } in &self.unanswered {
            out.push_str(&format!("{part}: no answer ({})\n", clean(reason)));
        }
        finding_lines(&self.findings, paint, &mut out);
        if self.edges.is_empty() && self.unanswered.is_empty() {
            out.push_str("no edge is known: start one, it writes its heartbeat to the broker\n");
        }
        edge_tables::edges(&self.edges, paint, &mut out);
        out
    }
}

/// Edges that are silent or speak another form. While others collect the same exchanges only redundancy is lost.
pub fn findings(edges: &[FleetEdge]) -> Vec<Finding> {
    let is_covered = |edge: &FleetEdge| {
        let is_elsewhere =
            |exchange: &str| edges.iter().any(|other| other.is_running() && other.collects(exchange));
        !edge.feeds.is_empty() && edge.feeds.iter().all(|feed| is_elsewhere(&feed.exchange))
    };
    let finding = |edge: &FleetEdge| match edge.state {
        EdgeLife::Silent => {
            let level = if is_covered(edge) { Level::Warn } else { Level::Unknown };
            let FleetEdge { heartbeat_age_seconds: age, heartbeat_at, region, host, .. } = edge;
            let limit = limits::EDGE_SILENT.as_secs();
            let text = format!(
                "no heartbeat for {age} s (limit {limit} s), the last at {heartbeat_at}; region {region}, host {host}"
            );
            let remedy = "check that it runs and reaches the broker; a retired one: `edges --forget NAME`";
            Some(Finding::new(Code::EdgeSilent, level, subject(edge), text, remedy))
        }
        EdgeLife::Unreadable => {
            let text = edge.reasons.join("; ");
            let remedy = "run one version of edge and central";
            Some(Finding::new(Code::EdgeUnreadable, Level::Warn, subject(edge), text, remedy))
        }
        EdgeLife::Running | EdgeLife::Stopped => None,
    };
    edges.iter().filter_map(finding).collect()
}

/// Running edges that report themselves as not healthy.
pub fn health_findings(edges: &[FleetEdge]) -> Vec<Finding> {
    let unhealthy = edges.iter().filter(|edge| edge.is_running() && edge.status != "healthy");
    let finding = |edge: &FleetEdge| {
        let (named, rest) = edge.reasons.split_at(edge.reasons.len().min(REASONS_NAMED));
        let more = if rest.is_empty() { String::new() } else { format!("; and {} more", rest.len()) };
        let text = format!("{}: {}{more}", edge.status, named.join("; "));
        let remedy = "read its /coverage and its log";
        Finding::new(Code::EdgeUnhealthy, Level::Warn, subject(edge), text, remedy)
    };
    unhealthy.map(finding).collect()
}

fn subject(edge: &FleetEdge) -> String {
    format!("edge {}", edge.edge)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use marketprism_schema::EdgeRunState::{Running, Stopped};

    use super::*;
    use crate::fleet::fixtures::edge;

    #[test]
    fn a_silent_edge_weighs_more_while_nobody_else_collects_its_exchanges() {
        let age = limits::EDGE_SILENT + Duration::from_secs(7);
        let silent = || edge("e1", age, Running);
        let level = |edges: &[FleetEdge]| {
            let [finding] = &findings(edges)[..] else { panic!("{edges:?}") };
            assert_eq!((finding.code, finding.subject.as_str()), (Code::EdgeSilent, "edge e1"));
            assert!(
                finding.text.starts_with(&format!("no heartbeat for {} s", age.as_secs())),
                "{}",
                finding.text
            );
            finding.level
        };
        assert_eq!(level(&[silent()]), Level::Unknown);
        assert_eq!(level(&[silent(), edge("e2", Duration::ZERO, Running)]), Level::Warn);
        assert_eq!(level(&[silent(), edge("e2", age, Stopped)]), Level::Unknown);
        assert_eq!(findings(&[edge("e1", age, Stopped)]), []);
    }

    #[test]
    fn reasons_of_an_unhealthy_edge_are_named_and_bounded() {
        let reasons = (0..5).map(|number| format!("r{number}")).collect();
        let mut ill = edge("e1", Duration::ZERO, Running);
        (ill.status, ill.reasons) = ("degraded".to_owned(), reasons);
        assert_eq!(health_findings(&[ill])[0].text, "degraded: r0; r1; r2; and 2 more");
        assert_eq!(health_findings(&[edge("e2", Duration::ZERO, Running)]), []);
    }
}
