//! Everything that is asked about a span of windows before it is judged.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::Context as _;
use marketprism_schema::{DataType, Table};

use super::facts::{self, Claim, Key};
use super::held::{self, Held};
use super::horizon::Horizon;
use super::roster::{Expected, Roster};
use super::verdict::Verdict;
use crate::broker::Broker;
use crate::ledger::windows::{Span, Windows};
use crate::storage::Storage;

/// An audit that is this many windows late does not hold up the others of its window.
const LATE_WINDOWS: i64 = 3;

/// Which windows of a span have their rows read.
#[derive(Debug, Clone, Copy)]
pub enum Read<'a> {
    /// All, of these tables.
    All(&'a [Table]),
    /// Those whose audits are here or not expected any more, of all tables.
    Ready,
}

/// What is asked, and of whom.
pub struct Inquirer<'a> {
    /// Hot.
    pub storage: &'a Storage,
    /// The broker.
    pub broker: &'a Broker,
    /// The windows.
    pub windows: Windows,
    /// Length of the grace in nanoseconds.
    pub grace_ns: i64,
    /// Now.
    pub now_ns: i64,
}

/// The answers.
pub struct Inquiry {
    /// What edges say.
    pub claims: BTreeMap<Key, Vec<Claim>>,
    /// What hot holds of the windows that were read.
    pub held: HashMap<Key, Held>,
    /// The windows whose rows were read.
    pub read: BTreeSet<i64>,
    /// The windows that an audit is missing of, and may still come.
    pub unheard: BTreeSet<i64>,
    /// Unsure ids that are not in hot, counted.
    pub unsure_away: HashMap<Key, usize>,
    /// How far the streams are taken in.
    pub horizon: Horizon,
    /// The verdicts as they stand.
    pub standing: HashMap<Key, Verdict>,
}

impl Inquirer<'_> {
    /// Asks. The order matters: audits first, then how far events are taken in, then the rows; so that rows which are not there are known
    /// to be missing.
    pub async fn ask(&self, span: Span, read: Read<'_>, roster: &mut Roster) -> anyhow::Result<Inquiry> {
        let claims = facts::claims(self.storage, self.windows, span).await.context("reading audits")?;
        for (window, source) in claims.keys() {
            roster.add(source, *window);
        }
        let horizon = Horizon::ask(self.broker).await?;
        let (mut windows, mut unheard) = (BTreeSet::new(), BTreeSet::new());
        for window in self.windows.within(span) {
            match read {
                Read::All(_) => windows.insert(window),
                Read::Ready => match self.ready(window, &claims, &horizon, roster) {
                    Ready::Rows => windows.insert(window),
                    Ready::NotTakenIn => false,
                    Ready::NotHeard => unheard.insert(window),
                },
            };
        }
        let tables: &[Table] = match read {
            Read::All(tables) => tables,
            Read::Ready => &Table::ALL,
        };
        let mut inquiry = Inquiry {
            claims,
            held: HashMap::new(),
            read: windows,
            unheard,
            unsure_away: HashMap::new(),
            horizon,
            standing: HashMap::new(),
        };
        let parts = self.windows.join(inquiry.read.iter().copied(), i64::MAX / self.windows.length_ns());
        for part in parts {
            self.look(part, tables, &mut inquiry).await?;
        }
        inquiry.standing = facts::verdicts(self.storage, span).await.context("reading verdicts")?;
        Ok(inquiry)
    }

    /// Reads what hot holds of consecutive windows.
    async fn look(&self, span: Span, tables: &[Table], inquiry: &mut Inquiry) -> anyhow::Result<()> {
        let copied = held::copied_types(self.storage, span).await.context("reading copies")?;
        let mut plain = Vec::new();
        for table in Table::ALL {
            let unsure = unsure_of(&inquiry.claims, table.data_type, span);
            let has_copies = copied.contains(table.data_type.as_str());
            // Rows may have come in since the tables were looked through: what is claimed is read in any case.
            let is_claimed = is_any_stored(&inquiry.claims, table.data_type, span);
            if !has_copies && unsure.is_empty() {
                plain.extend((tables.contains(&table) || is_claimed).then_some(table));
                continue;
            }
            let flags = (has_copies, !unsure.is_empty());
            let rows = held::held_with_copies(self.storage, self.windows, &table, span, flags).await;
            inquiry.held.extend(rows.with_context(|| format!("reading {}", table.name))?);
            if !unsure.is_empty() {
                let away = self.away(&inquiry.claims, &table, span, &unsure).await?;
                inquiry.unsure_away.extend(away);
            }
        }
        let rows = held::held(self.storage, self.windows, &plain, span).await;
        inquiry.held.extend(rows.context("reading rows")?);
        Ok(())
    }

    async fn away(
        &self,
        claims: &BTreeMap<Key, Vec<Claim>>,
        table: &Table,
        span: Span,
        unsure: &BTreeSet<u128>,
    ) -> anyhow::Result<Vec<(Key, usize)>> {
        let found: HashSet<u128> = facts::unsure_in_hot(self.storage, table, span, unsure)
            .await
            .with_context(|| format!("looking for unsure events in {}", table.name))?;
        let away = |claims: &Vec<Claim>| {
            let ids: BTreeSet<&u128> = claims.iter().flat_map(|claim| &claim.unsure).collect();
            ids.into_iter().filter(|id| !found.contains(id)).count()
        };
        let keys = claims.iter().filter(|(key, _)| is_within(key, table.data_type, span));
        Ok(keys.map(|(key, claims)| (key.clone(), away(claims))).filter(|(_, away)| *away > 0).collect())
    }

    /// Whether it is of use to read the rows of a window.
    fn ready(
        &self,
        window: i64,
        claims: &BTreeMap<Key, Vec<Claim>>,
        horizon: &Horizon,
        roster: &Roster,
    ) -> Ready {
        let end = self.windows.span(window).to;
        if self.now_ns >= end.saturating_add(self.grace_ns) {
            return Ready::Rows;
        }
        let mut ready = None;
        for key in roster.expected(window) {
            match claims.get(&key) {
                Some(claims) if is_taken_in(claims, horizon.of(key.1.data_type)) => {}
                Some(_) => ready = Some(Ready::NotTakenIn),
                None => match roster.expects(&key.1, window) {
                    Some(Expected::EdgeSilent(windows) | Expected::StreamLeftOut(windows))
                        if windows > LATE_WINDOWS => {}
                    _ => return Ready::NotHeard,
                },
            }
            ready = ready.or(Some(Ready::Rows));
        }
        ready.unwrap_or(Ready::NotHeard)
    }
}

/// Whether it is of use to read the rows of a window.
enum Ready {
    /// It is.
    Rows,
    /// The broker holds messages that are older than an audit, and not taken in.
    NotTakenIn,
    /// An audit is missing: until one comes, or the grace ends, nothing changes.
    NotHeard,
}

/// Whether everything that the broker received before these audits is taken in, up to a moment of its clock.
pub fn is_taken_in(claims: &[Claim], horizon_ns: i64) -> bool {
    claims.iter().all(|claim| claim.told_ms.saturating_add(1).saturating_mul(1_000_000) <= horizon_ns)
}

fn unsure_of(claims: &BTreeMap<Key, Vec<Claim>>, data_type: DataType, span: Span) -> BTreeSet<u128> {
    let of_type = claims.iter().filter(|(key, _)| is_within(key, data_type, span));
    of_type.flat_map(|(_, claims)| claims.iter().flat_map(|claim| claim.unsure.iter().copied())).collect()
}

fn is_any_stored(claims: &BTreeMap<Key, Vec<Claim>>, data_type: DataType, span: Span) -> bool {
    let of_type = claims.iter().filter(|(key, _)| is_within(key, data_type, span));
    of_type.flat_map(|(_, claims)| claims).any(|claim| claim.stored.count > 0)
}

fn is_within((window, source): &Key, data_type: DataType, span: Span) -> bool {
    source.data_type == data_type && (span.from..span.to).contains(window)
}
