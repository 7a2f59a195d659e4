//! The rounds: which windows are looked at, and what becomes of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::facts::Key;
use super::inquiry::{Inquirer, Inquiry, Read, is_taken_in};
use super::judge::{Case, Due, Outcome, judge};
use super::pending::Pending;
use super::roster::Roster;
use super::settle::{self, Change};
use super::verdict::Verdict;
use crate::clock;
use crate::context::CentralContext;
use crate::ledger::state::State;
use crate::ledger::touched::Touched;
use crate::ledger::windows::{SECOND_NS, Span, Windows};
use crate::limits;

/// Rows may carry venue times so much older than their receipt without anybody saying so.
const UNTOLD_AGE_NS: i64 = 3_600 * SECOND_NS;
/// The server drops rows by its own clock, and not to the second.
const TTL_MARGIN_NS: i64 = 2 * 3_600 * SECOND_NS;
const DAY_NS: i64 = 86_400 * SECOND_NS;
/// A window is looked at when an audit of it arrives; after this part of the grace also when none did.
const HEARD_WITHIN: i64 = 4;

/// Compares windows, and remembers which are not settled.
pub struct Comparison {
    pub(super) shared: Arc<CentralContext>,
    pub(super) windows: Windows,
    pub(super) roster: Roster,
    touched: Arc<Touched>,
    pending: Pending,
    /// Windows that begin before this are closed and were taken up.
    closed: i64,
    grace_ns: i64,
    ttl_ns: i64,
    removed_after_ns: Option<i64>,
}

impl Comparison {
    /// One that knows nothing yet. Windows that are closed already are taken up by the first recheck.
    pub fn new(shared: Arc<CentralContext>, touched: Arc<Touched>) -> Self {
        let windows = Windows::new(shared.config.ledger.window);
        let nanos = |time: std::time::Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        Self {
            windows,
            roster: Roster::new(windows.length_ns()),
            touched,
            pending: Pending::default(),
            closed: windows.of(clock::now_ns()),
            grace_ns: nanos(shared.config.ledger.grace),
            ttl_ns: i64::from(shared.config.clickhouse.hot_ttl_days) * DAY_NS,
            removed_after_ns: shared.config.replication.remove_from_hot_after.map(nanos),
            shared,
        }
    }

    /// The oldest window that hot still holds whole.
    pub(super) fn oldest_kept(&self, now_ns: i64) -> i64 {
        now_ns - self.removed_after_ns.map_or(self.ttl_ns, |removed| removed.min(self.ttl_ns))
    }

    /// Looks at the windows that are due.
    pub async fn round(&mut self) -> anyhow::Result<()> {
        let now = clock::now_ns();
        for window in self.windows.within(Span { from: self.closed, to: self.windows.of(now) }) {
            let end = self.windows.span(window).to;
            self.pending.add(window, end.saturating_add(self.grace_ns / HEARD_WITHIN));
        }
        self.closed = self.closed.max(self.windows.of(now));
        for window in self.touched.take().into_iter().map(|window| self.windows.of(window)) {
            self.pending.add(window, self.windows.span(window).to);
        }
        let due = self.pending.due(now);
        for span in self.windows.join(due, limits::WINDOWS_A_SPAN) {
            self.judge_span(span, Read::Ready).await?;
        }
        Ok(())
    }

    /// Judges every closed window of a span, and writes down what changed.
    pub(super) async fn judge_span(&mut self, span: Span, read: Read<'_>) -> anyhow::Result<()> {
        let now_ns = clock::now_ns();
        let inquirer = Inquirer {
            storage: &self.shared.storage,
            broker: &self.shared.broker,
            windows: self.windows,
            grace_ns: self.grace_ns,
            now_ns,
        };
        let inquiry = inquirer.ask(span, read, &mut self.roster).await?;
        let mut open = BTreeSet::new();
        let mut changes = Vec::new();
        for key in self.keys(&inquiry, span, now_ns) {
            let outcome = self.judge_key(&key, &inquiry, now_ns);
            let standing = inquiry.standing.get(&key);
            let state = match decide(outcome, standing) {
                Some((verdict, event)) => {
                    let state = verdict.state;
                    let before = standing.cloned();
                    changes.push(Change { key: key.clone(), verdict, event, before });
                    Some(state)
                }
                None => standing.map(|verdict| verdict.state),
            };
            if state == Some(State::Open) {
                open.insert(key.0);
            }
        }
        // An audit that came in between would be judged by halves; its window is looked at again at once.
        changes.retain(|change| !self.touched.is_any_in(self.windows.span(change.key.0)));
        settle::settle(&self.shared, self.windows, span, changes).await?;
        for window in self.windows.within(span).filter(|&window| self.windows.span(window).to <= now_ns) {
            let end = self.windows.span(window).to;
            let final_ns = end.saturating_add(self.grace_ns);
            if inquiry.unheard.contains(&window) {
                self.pending.put_off(window, final_ns);
            } else if open.contains(&window) || !inquiry.read.contains(&window) {
                self.pending.postpone(window, end, final_ns, now_ns);
            } else {
                self.pending.remove(window);
            }
        }
        Ok(())
    }

    /// Everything of a span that there is something to say about.
    fn keys(&self, inquiry: &Inquiry, span: Span, now_ns: i64) -> BTreeSet<Key> {
        let standing_open =
            inquiry.standing.iter().filter(|(_, verdict)| verdict.state == State::Open).map(|(key, _)| key);
        let known = inquiry.claims.keys().chain(inquiry.held.keys()).chain(standing_open).cloned();
        let expected = self.windows.within(span).flat_map(|window| self.roster.expected(window));
        let is_closed = |key: &Key| self.windows.span(key.0).to <= now_ns && self.windows.of(key.0) == key.0;
        known.chain(expected).filter(is_closed).collect()
    }

    fn judge_key(&self, key: &Key, inquiry: &Inquiry, now_ns: i64) -> Outcome {
        let (window, source) = key;
        let span = self.windows.span(*window);
        let claims = inquiry.claims.get(key).map(Vec::as_slice).unwrap_or_default();
        let final_ns = span.to.saturating_add(self.grace_ns);
        let due = if now_ns < final_ns {
            Due::Grace
        } else if claims.is_empty() && inquiry.horizon.audits < final_ns
            || !is_taken_in(claims, inquiry.horizon.of(source.data_type))
        {
            Due::Behind
        } else {
            Due::Past
        };
        let told = claims.iter().map(|claim| claim.oldest_us.map(|us| us.saturating_mul(1_000)));
        let untold = span.from - UNTOLD_AGE_NS;
        let oldest = told.map(|oldest| oldest.unwrap_or(untold)).min().unwrap_or(untold);
        let is_removed = self.removed_after_ns.is_some_and(|after| span.from.saturating_add(after) <= now_ns);
        let case = Case {
            source,
            window: span,
            claims,
            held: inquiry.read.contains(window).then(|| inquiry.held.get(key).copied().unwrap_or_default()),
            unsure_away: inquiry.unsure_away.get(key).copied().unwrap_or_default(),
            expected: self.roster.expects(source, *window),
            is_first: self.roster.is_first(source, *window),
            is_known: self.roster.is_known_before(source, *window),
            due,
            is_trimmed: oldest.saturating_add(self.ttl_ns) <= now_ns + TTL_MARGIN_NS || is_removed,
        };
        judge(&case)
    }

    /// Age of the oldest window without a final verdict, in seconds since its end.
    pub fn oldest_open_seconds(&self) -> i64 {
        let end = self.pending.oldest().map(|window| self.windows.span(window).to);
        end.map_or(0, |end| (clock::now_ns() - end).max(0) / SECOND_NS)
    }
}

/// The verdict to write, if what stands is not it.
fn decide(outcome: Outcome, standing: Option<&Verdict>) -> Option<(Verdict, Option<u128>)> {
    let stands = standing.map(|verdict| verdict.state);
    match outcome {
        // Expected once, and not any more: nobody will report it.
        Outcome::Nothing => standing.filter(|verdict| verdict.state == State::Open).map(|verdict| {
            let reason = "the edge did not report it".to_owned();
            (Verdict { state: State::Unverifiable, reason, ..verdict.clone() }, None)
        }),
        Outcome::Keep(verdict) => match stands {
            None => Some((verdict, None)),
            Some(State::Open) if verdict.state != State::Open => Some((verdict, None)),
            Some(_) => None,
        },
        Outcome::Judged(verdict, event) => {
            let is_new = standing.is_none_or(|standing| !settle::says_the_same(standing, &verdict));
            is_new.then_some((verdict, event))
        }
    }
}
