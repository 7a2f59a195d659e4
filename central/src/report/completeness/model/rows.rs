//! Rows of a simulation as ClickHouse answers the report's queries; verdicts come from the real evaluation.

use std::collections::BTreeMap;

use marketprism_schema::{Capability, DowntimeReason, EventId, Fingerprint, Gap, StreamId};

use super::simulation::{BEGIN, SECOND_NS, STRANGER, SimAudit, Simulation, WINDOW, WINDOW_NS};
use crate::ledger::model_parts::{
    Arrival, DowntimeSpan, Evaluation, ExpectedStreams, HotContents, VerdictState, WindowAudit, WindowInputs,
    WindowVerdict, evaluate,
};
use crate::ledger::{EdgeStream, WindowRange};
use crate::report::sources::ledger::{EdgeGap, RunState, StoredIdsRow, VerdictBucket};

/// Rows of the report's queries.
#[derive(Debug, Default)]
pub struct SimRows {
    pub verdicts: Vec<VerdictBucket>,
    pub gaps: Vec<EdgeGap>,
    pub ids: Vec<StoredIdsRow>,
    pub mismatches: u64,
}

impl Simulation {
    /// Rows of a report on all closed windows, from the audits that have arrived.
    pub fn rows(&self, with_late: bool) -> SimRows {
        let mut arrived: BTreeMap<(String, i64), Vec<&SimAudit>> = BTreeMap::new();
        for audit in self.arrived(with_late) {
            arrived.entry((audit.edge.clone(), audit.window_ns)).or_default().push(audit);
        }
        let mut contents: BTreeMap<(String, i64), Vec<i64>> = BTreeMap::new();
        let mut by_window: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (id, (edge, at_ns)) in &self.hot {
            let (window_ns, name) = (at_ns - at_ns.rem_euclid(WINDOW_NS), format!("e{edge}"));
            let is_unaudited =
                self.killed.iter().any(|(killed, from, to)| *killed == name && from <= at_ns && at_ns < to);
            if !is_unaudited {
                contents.entry((name, window_ns)).or_default().push(*id);
            }
            by_window.entry(window_ns).or_default().push(*id);
        }
        let mut expected = ExpectedStreams::new(WINDOW_NS);
        for (edge, window_ns) in arrived.keys() {
            expected.add(&edge_stream(edge), *window_ns, self.capability());
        }
        for window_ns in &self.stranger {
            expected.add(&edge_stream(STRANGER), *window_ns, self.capability());
        }
        let mut rows = SimRows::default();
        let names = (0..self.edges.len()).map(|edge| format!("e{edge}")).chain([STRANGER.to_owned()]);
        for name in names {
            let mut states = Vec::new();
            let mut found = 0;
            for window_ns in
                (BEGIN * SECOND_NS..self.window_ns()).step_by(usize::try_from(WINDOW_NS).unwrap())
            {
                let key = (name.clone(), window_ns);
                let audits = arrived.get(&key).map(Vec::as_slice).unwrap_or_default();
                let ids = contents.get(&key).map(Vec::as_slice).unwrap_or_default();
                let ranges = ranges(by_window.get(&window_ns).map(Vec::as_slice).unwrap_or_default());
                let Some(verdict) = self.verdict(&name, window_ns, audits, ids, &ranges, &expected) else {
                    continue;
                };
                rows.mismatches += u64::from(verdict.state == VerdictState::Mismatch);
                found += verdict.found;
                states.push((window_ns / SECOND_NS, code(&verdict)));
                if self.is_numbered {
                    rows.ids.push(ids_row(&name, window_ns, &verdict));
                }
            }
            rows.verdicts.extend(bucket(&name, &states, found, self.capability()));
        }
        for audit in arrived.values().flatten() {
            rows.gaps.extend(audit.gaps.iter().map(|gap| gap_row(audit, gap)));
        }
        rows.gaps.extend(self.killed.iter().map(|(edge, from, to)| killed_row(edge, *from, *to)));
        rows
    }

    fn verdict(
        &self,
        name: &str,
        window_ns: i64,
        audits: &[&SimAudit],
        ids: &[i64],
        ranges: &[(i64, i64)],
        expected: &ExpectedStreams,
    ) -> Option<WindowVerdict> {
        let source = edge_stream(name);
        let is_strange = name == STRANGER && self.stranger.contains(&window_ns);
        let mut audits: Vec<WindowAudit> =
            audits.iter().map(|audit| window_audit(audit, self.capability())).collect();
        if is_strange {
            let (from, to, duplicates) = (window_ns, window_ns + WINDOW_NS, 5);
            audits.push(WindowAudit { from, to, duplicates, ..WindowAudit::new(self.capability()) });
        }
        let killed = self.killed.iter().filter(|(killed, ..)| killed == name);
        let downtimes: Vec<DowntimeSpan> = killed
            .map(|(_, from, to)| DowntimeSpan {
                range: WindowRange { from: *from, to: *to },
                reason: DowntimeReason::Killed,
                detail: String::new(),
            })
            .collect();
        let inputs = WindowInputs {
            edge_stream: &source,
            window: WindowRange { from: window_ns, to: window_ns + WINDOW_NS },
            audits: &audits,
            contents: Some(HotContents { ids: fingerprint(ids), copies: 0 }),
            capability: self.capability(),
            stored_ids: ranges,
            downtimes: &downtimes,
            ambiguous_missing: 0,
            duplicates_missing: 0,
            expectation: expected.expects(&source, window_ns),
            is_first: expected.is_first(&source, window_ns),
            is_known: expected.is_known_before(&source, window_ns),
            arrival: Arrival::Complete,
            is_trimmed: false,
            is_relived: false,
            was_early: false,
        };
        match evaluate(&inputs) {
            Evaluation::Nothing => None,
            Evaluation::Keep(verdict) | Evaluation::Replace(verdict, _) => Some(verdict),
        }
    }
}

fn stream() -> StreamId {
    StreamId::parse("trade.sim_spot.spot.A-B").unwrap()
}

fn edge_stream(edge: &str) -> EdgeStream {
    EdgeStream { stream: stream(), edge: edge.to_owned() }
}

fn fingerprint(ids: &[i64]) -> Fingerprint {
    ids.iter().map(|id| EventId(u128::from(id.unsigned_abs()) * 0x9e37_79b9_7f4a_7c15_f39c_c060)).collect()
}

fn window_audit(audit: &SimAudit, capability: Capability) -> WindowAudit {
    WindowAudit {
        from: audit.from,
        to: audit.to,
        stored: fingerprint(&audit.stored),
        duplicates: audit.duplicates,
        ..WindowAudit::new(capability)
    }
}

/// As the query of hot groups the ids of a window.
fn ranges(ids: &[i64]) -> Vec<(i64, i64)> {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for id in ids {
        match ranges.last_mut() {
            Some(last) if last.1 + 1 == *id => last.1 = *id,
            _ => ranges.push((*id, *id)),
        }
    }
    ranges
}

const fn code(verdict: &WindowVerdict) -> RunState {
    match verdict.state {
        VerdictState::Verified if verdict.found + verdict.duplicates > 0 => RunState::Storing,
        VerdictState::Verified => RunState::Quiet,
        VerdictState::Mismatch => RunState::Mismatch,
        VerdictState::Unverifiable => RunState::Unverifiable,
        VerdictState::Open => RunState::Open,
        VerdictState::NotCollected => RunState::NotCollected,
    }
}

fn ids_row(name: &str, window_ns: i64, verdict: &WindowVerdict) -> StoredIdsRow {
    let window = window_ns / SECOND_NS;
    let ids = verdict.stored_ids.iter().map(|(first, last)| (*first, *last, window, window)).collect();
    StoredIdsRow { stream: stream(), edge: name.to_owned(), first_ms: window * 1_000, ids }
}

/// The whole period is one bucket.
fn bucket(
    name: &str,
    states: &[(i64, RunState)],
    rows: u64,
    capability: Capability,
) -> Option<VerdictBucket> {
    let (first, last) = (states.first()?.0, states.last()?.0);
    let mut runs: Vec<(i64, i64, u8)> = Vec::new();
    for (window, state) in states {
        match runs.last_mut() {
            Some(run) if run.1 == *window && run.2 == state.code() => run.1 += WINDOW,
            _ => runs.push((*window, window + WINDOW, state.code())),
        }
    }
    let count = |wanted: &[RunState]| {
        u64::try_from(states.iter().filter(|(_, state)| wanted.contains(state)).count()).unwrap()
    };
    Some(VerdictBucket {
        stream: stream(),
        edge: name.to_owned(),
        bucket: 0,
        verified: count(&[RunState::Storing, RunState::Quiet]),
        mismatch: count(&[RunState::Mismatch]),
        unverifiable: count(&[RunState::Unverifiable]),
        not_collected: count(&[RunState::NotCollected]),
        open: count(&[RunState::Open]),
        overdue: 0,
        rows,
        duplicates: 0,
        conflated: 0,
        window_seconds: u16::try_from(WINDOW).unwrap(),
        first_ms: first * 1_000,
        last_ms: last * 1_000,
        numbering: capability.numbering.to_string(),
        completeness: capability.completeness.to_string(),
        delay_seconds: 0,
        runs,
    })
}

fn gap_row(audit: &SimAudit, gap: &Gap) -> EdgeGap {
    EdgeGap {
        stream: stream(),
        edge: audit.edge.clone(),
        window_ms: audit.window_ns / 1_000_000,
        run: audit.run,
        kind: gap.kind.to_string(),
        cause: gap.cause.to_string(),
        from_ns: gap.from,
        to_ns: gap.to,
        from_sequence: gap.from_sequence,
        to_sequence: gap.to_sequence,
        missing: gap.missing,
    }
}

/// As the report's query reads a downtime of a killed edge.
fn killed_row(edge: &str, from_ns: i64, to_ns: i64) -> EdgeGap {
    EdgeGap {
        stream: stream(),
        edge: edge.to_owned(),
        window_ms: to_ns / 1_000_000,
        run: 0,
        kind: DowntimeReason::Killed.to_string(),
        cause: "ours".into(),
        from_ns,
        to_ns,
        from_sequence: None,
        to_sequence: None,
        missing: None,
    }
}
