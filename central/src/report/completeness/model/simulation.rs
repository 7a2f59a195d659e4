//! A venue, edges and hot in virtual time; audits as edges send them.

use std::collections::{BTreeMap, BTreeSet};

use marketprism_schema::{Capability, Completeness, Gap, GapCause, GapKind, Numbering};

pub const WINDOW: i64 = 60;
pub const SECOND_NS: i64 = 1_000_000_000;
pub const WINDOW_NS: i64 = WINDOW * SECOND_NS;
/// Begin of the first window.
pub const BEGIN: i64 = 1_000 * WINDOW;
pub const STRANGER: &str = "stranger";

/// One step of a history. Numbers of edges count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The venue sends the next trade on all connections.
    Trade,
    /// Seconds pass.
    Pass(u8),
    /// The venue drops what it sends on the edge's connection, until `Flow`.
    Drop(u8),
    Flow(u8),
    /// The edge's connection is lost, and it knows that, until `Join`.
    Cut(u8),
    Join(u8),
    /// Killed, with its journal lost.
    Kill(u8),
    /// Killed: the next start recovers the audit up to the last record.
    Crash(u8),
    /// With an audit up to now.
    Stop(u8),
    Start(u8),
    /// The edge's queue drops its next trade.
    Overflow(u8),
    /// The edge claims to have stored its next trade, and does not.
    Lie(u8),
    /// The audit of the window arrives after everything else.
    Late(u8),
    /// The audit of the window never arrives.
    Lose(u8),
    /// Hot is put back: of the newest trades so many are lost.
    Restore(u8),
    /// The trades that restores took are taken in again.
    Refill,
    /// An edge without a row in hot reports the window, full of duplicates and without a gap.
    Stranger,
}

#[derive(Debug, Default)]
pub struct SimEdge {
    run_ns: Option<i64>,
    is_connected: bool,
    is_dropped: bool,
    next: Option<i64>,
    last_ns: i64,
    open: Option<Gap>,
    /// No audit has named the open gap yet.
    is_new: bool,
    stored: Vec<i64>,
    duplicates: u64,
    gaps: Vec<Gap>,
    overflows: bool,
    lies: bool,
    is_late: bool,
    is_lost: bool,
}

#[derive(Debug, Clone)]
pub struct SimAudit {
    pub edge: String,
    pub run: i64,
    pub window_ns: i64,
    pub from: i64,
    pub to: i64,
    pub stored: Vec<i64>,
    pub duplicates: u64,
    pub gaps: Vec<Gap>,
    pub is_late: bool,
}

#[derive(Debug)]
pub struct Simulation {
    pub is_numbered: bool,
    now_ns: i64,
    pub edges: Vec<SimEdge>,
    broker: BTreeSet<i64>,
    /// Trades in hot: edge and receive time.
    pub hot: BTreeMap<i64, (usize, i64)>,
    removed: BTreeMap<i64, (usize, i64)>,
    /// Send time of every trade.
    pub sent: BTreeMap<i64, i64>,
    pub audits: Vec<SimAudit>,
    /// Audits of crashed edges that the next start recovers.
    crashed: BTreeMap<usize, SimAudit>,
    /// Edge, end of its recovered audit, and its next start.
    pub killed: Vec<(String, i64, i64)>,
    pub stranger: BTreeSet<i64>,
}

impl Simulation {
    /// All edges run and have stored trades of two whole windows.
    pub fn begin(edges: usize, is_numbered: bool) -> Self {
        let mut simulation = Self {
            is_numbered,
            now_ns: BEGIN * SECOND_NS,
            edges: std::iter::repeat_with(SimEdge::default).take(edges).collect(),
            broker: BTreeSet::new(),
            hot: BTreeMap::new(),
            removed: BTreeMap::new(),
            sent: BTreeMap::new(),
            audits: Vec::new(),
            crashed: BTreeMap::new(),
            killed: Vec::new(),
            stranger: BTreeSet::new(),
        };
        for edge in 0..edges {
            simulation.start(edge);
        }
        simulation.flow_for_two_windows();
        simulation
    }

    /// Everything runs again, and trades flow until their windows are closed.
    pub fn end(&mut self) {
        for edge in 0..self.edges.len() {
            if self.edges[edge].run_ns.is_none() {
                self.start(edge);
            }
            (self.edges[edge].is_connected, self.edges[edge].is_dropped) = (true, false);
        }
        self.pass(WINDOW_NS - self.now_ns.rem_euclid(WINDOW_NS));
        self.flow_for_two_windows();
    }

    fn flow_for_two_windows(&mut self) {
        for _ in 0..4 {
            self.pass(10 * SECOND_NS);
            self.trade();
            self.pass(20 * SECOND_NS);
        }
    }

    /// The window that lasts ends.
    pub fn close(&mut self) {
        self.pass(WINDOW_NS - self.now_ns.rem_euclid(WINDOW_NS));
    }

    pub fn period(&self) -> (i64, i64) {
        (BEGIN, self.now_ns / SECOND_NS)
    }

    pub fn step(&mut self, step: Step) {
        let count = self.edges.len();
        let edge = |edge: u8| usize::from(edge) % count;
        match step {
            Step::Trade => self.trade(),
            Step::Pass(seconds) => self.pass(i64::from(seconds) * SECOND_NS),
            Step::Drop(of) => self.edges[edge(of)].is_dropped = true,
            Step::Flow(of) => self.edges[edge(of)].is_dropped = false,
            Step::Cut(of) => self.cut(edge(of)),
            Step::Join(of) => self.edges[edge(of)].is_connected = self.edges[edge(of)].run_ns.is_some(),
            Step::Kill(of) => {
                self.crashed.remove(&edge(of));
                self.edges[edge(of)] = SimEdge::default();
            }
            Step::Crash(of) => self.crash(edge(of)),
            Step::Stop(of) => self.stop(edge(of)),
            Step::Start(of) => {
                self.pass(SECOND_NS);
                self.start(edge(of));
            }
            Step::Overflow(of) => self.edges[edge(of)].overflows = true,
            Step::Lie(of) => self.edges[edge(of)].lies = true,
            Step::Late(of) => self.edges[edge(of)].is_late = true,
            Step::Lose(of) => self.edges[edge(of)].is_lost = true,
            Step::Restore(trades) => {
                for _ in 0..trades {
                    self.removed.extend(self.hot.pop_last());
                }
            }
            Step::Refill => self.hot.append(&mut self.removed),
            Step::Stranger => drop(self.stranger.insert(self.window_ns())),
        }
    }

    pub const fn window_ns(&self) -> i64 {
        self.now_ns - self.now_ns.rem_euclid(WINDOW_NS)
    }

    fn pass(&mut self, mut left_ns: i64) {
        while left_ns > 0 {
            let to_end = WINDOW_NS - self.now_ns.rem_euclid(WINDOW_NS);
            let passed = left_ns.min(to_end);
            if passed == to_end {
                let end_ns = self.now_ns + passed;
                for edge in 0..self.edges.len() {
                    self.audit(edge, end_ns);
                }
            }
            (self.now_ns, left_ns) = (self.now_ns + passed, left_ns - passed);
        }
    }

    fn start(&mut self, edge: usize) {
        if self.edges[edge].run_ns.is_none() {
            if let Some(audit) = self.crashed.remove(&edge) {
                self.killed.push((audit.edge.clone(), audit.to, self.now_ns.max(audit.to + 1)));
                self.audits.push(audit);
            }
            let gap = Gap::open(GapKind::Start, GapCause::Network, self.now_ns, "start");
            self.edges[edge] = SimEdge {
                run_ns: Some(self.now_ns),
                is_connected: true,
                last_ns: self.now_ns,
                open: Some(gap),
                ..SimEdge::default()
            };
        }
    }

    fn cut(&mut self, edge: usize) {
        let edge = &mut self.edges[edge];
        if edge.run_ns.is_some() && edge.is_connected {
            edge.is_connected = false;
            // As the edge reports it: since its newest frame.
            let gap = Gap::open(GapKind::Connection, GapCause::Network, edge.last_ns, "cut");
            edge.is_new |= edge.open.is_none();
            edge.open = edge.open.take().or(Some(gap));
        }
    }

    fn stop(&mut self, edge: usize) {
        if self.edges[edge].run_ns.is_some() {
            let stop = Gap::open(GapKind::Stop, GapCause::Operator, self.now_ns, "stop");
            let at_stop = stop.within(self.window_ns(), self.now_ns + 1, self.now_ns + 1);
            self.edges[edge].gaps.extend(at_stop);
            self.audit(edge, self.now_ns);
            self.edges[edge] = SimEdge::default();
        }
    }

    /// The last checkpoint was before the newest trade of the window.
    fn crash(&mut self, edge: usize) {
        if self.edges[edge].run_ns.is_none() {
            return;
        }
        let (last_ns, window_ns) = (self.edges[edge].last_ns, self.window_ns());
        let known_to_ns = if last_ns > window_ns { last_ns } else { self.now_ns };
        self.edges[edge].is_lost = false;
        self.audit(edge, known_to_ns);
        let mut audit = self.audits.pop().unwrap();
        audit.stored.retain(|id| self.sent[id] < known_to_ns);
        audit.gaps.retain(|gap| gap.kind != GapKind::TradeIds || gap.to < known_to_ns);
        self.crashed.insert(edge, audit);
        self.edges[edge] = SimEdge::default();
    }

    fn trade(&mut self) {
        self.now_ns += 1_000_000;
        let id = i64::try_from(self.sent.len()).unwrap() + 1;
        self.sent.insert(id, self.now_ns);
        let count = self.edges.len();
        let first = usize::try_from(id).unwrap();
        for edge in (0..count).map(|edge| (edge + first) % count) {
            self.receive(edge, id);
        }
    }

    fn receive(&mut self, number: usize, id: i64) {
        let (now_ns, window_ns) = (self.now_ns, self.window_ns());
        let edge = &mut self.edges[number];
        if edge.run_ns.is_none() || !edge.is_connected || edge.is_dropped {
            return;
        }
        if let Some(gap) = edge.open.take() {
            edge.gaps.extend(part(&gap, std::mem::take(&mut edge.is_new), window_ns, now_ns));
        }
        let next = edge.next.unwrap_or(id);
        if self.is_numbered && next < id {
            let (first, last) = (next.unsigned_abs(), (id - 1).unsigned_abs());
            edge.gaps.push(Gap::trade_ids(first, last, edge.last_ns, now_ns));
        }
        (edge.next, edge.last_ns) = (Some(id + 1), now_ns);
        if std::mem::take(&mut edge.overflows) {
            let mut gap = Gap::trade_ids(id.unsigned_abs(), id.unsigned_abs(), now_ns, now_ns);
            gap.kind = GapKind::Dropped;
            edge.gaps.push(gap);
        } else if std::mem::take(&mut edge.lies) {
            edge.stored.push(id);
        } else if self.broker.insert(id) {
            edge.stored.push(id);
            self.hot.insert(id, (number, now_ns));
        } else {
            edge.duplicates += 1;
        }
    }

    fn audit(&mut self, number: usize, end_ns: i64) {
        let window_ns = self.window_ns();
        let edge = &mut self.edges[number];
        let Some(run) = edge.run_ns else { return };
        let is_new = std::mem::take(&mut edge.is_new);
        let open = edge.open.as_ref().and_then(|gap| part(gap, is_new, window_ns, end_ns));
        let gaps: Vec<Gap> = std::mem::take(&mut edge.gaps).into_iter().chain(open).collect();
        let audit = SimAudit {
            edge: format!("e{number}"),
            run,
            window_ns,
            from: window_ns.max(run),
            to: end_ns,
            stored: std::mem::take(&mut edge.stored),
            duplicates: std::mem::take(&mut edge.duplicates),
            gaps,
            is_late: std::mem::take(&mut edge.is_late),
        };
        if !std::mem::take(&mut edge.is_lost) {
            self.audits.push(audit);
        }
    }

    /// An edge without any gap in a window had events in it and says so.
    pub fn is_witnessed(&self, window: i64, with_late: bool) -> bool {
        let mut audits = self.arrived(with_late).filter(|audit| audit.window_ns == window * SECOND_NS);
        audits.any(|audit| {
            audit.to - audit.from == WINDOW_NS
                && !self.is_touched(&audit.edge, window, with_late)
                && (!audit.stored.is_empty() || audit.duplicates > 0)
        })
    }

    /// An edge has a gap in a window, or it reported others and not all of this one.
    pub fn is_troubled(&self, window: i64, with_late: bool) -> bool {
        (0..self.edges.len()).map(|edge| format!("e{edge}")).any(|name| {
            let mut own = self.arrived(with_late).filter(|audit| audit.edge == name);
            let is_full = |audit: &SimAudit| {
                audit.window_ns == window * SECOND_NS && audit.to - audit.from == WINDOW_NS
            };
            self.is_touched(&name, window, with_late) || !own.any(is_full)
        })
    }

    fn is_touched(&self, edge: &str, window: i64, with_late: bool) -> bool {
        let (from, to) = (window * SECOND_NS, (window + WINDOW) * SECOND_NS);
        let mut gaps =
            self.arrived(with_late).filter(|audit| audit.edge == edge).flat_map(|audit| &audit.gaps);
        gaps.any(|gap| gap.from < to && gap.to > from)
    }

    pub fn arrived(&self, with_late: bool) -> impl Iterator<Item = &SimAudit> {
        self.audits.iter().filter(move |audit| with_late || !audit.is_late)
    }

    pub fn capability(&self) -> Capability {
        let numbering = if self.is_numbered { Numbering::ByOne } else { Numbering::Unnumbered };
        Capability { numbering, completeness: Completeness::Complete, delay_seconds: 0 }
    }
}

/// The part of a gap in a window; the first one reaches back to the gap's begin.
fn part(gap: &Gap, is_new: bool, window_ns: i64, known_to_ns: i64) -> Option<Gap> {
    let part = gap.within(window_ns, window_ns + WINDOW_NS, known_to_ns)?;
    Some(if is_new { Gap { from: gap.from, ..part } } else { part })
}
