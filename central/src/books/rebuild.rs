//! Rebuilds one state, and decides whether the records prove it.

use anyhow::{Context as _, bail};
use marketprism_schema::{DatabaseKind, DeltaHole, RebuiltBook};

use super::document::{BookDocument, BookLevelsDocument, BookVerdict};
use super::rows::{BookMarket, DeltaRow, EpochRow, StoredDeltas};
use crate::config::Config;
use crate::limits;
use crate::storage::Storage;
use crate::time::rfc3339_micros;

/// The book that is asked for.
#[derive(Debug, Clone)]
pub struct BookScope {
    pub symbol: String,
    pub exchange: Option<String>,
    pub market_type: Option<String>,
    pub edge: Option<String>,
    /// Levels a side.
    pub depth: Option<usize>,
    pub at_us: i64,
}

/// The state of a book from hot, or from cold where hot does not prove it.
///
/// # Errors
/// No records of the book, several books of that symbol, or no answer.
pub async fn book_at(config: &Config, scope: &BookScope) -> anyhow::Result<BookDocument> {
    // A side that lags behind knows no later record, which does not make its state the newest.
    let mut best: Option<BookDocument> = None;
    let mut problems = Vec::new();
    for side in DatabaseKind::ALL {
        let storage = Storage::of(&config.clickhouse, side)?;
        match book_in(&storage, side.name(), scope).await {
            Ok(Some(found)) if found.verdict == BookVerdict::Proven => return Ok(found),
            Ok(found) => {
                best = better(best, found, |one| (one.verdict == BookVerdict::Proven, one.updated_us))
            }
            Err(error) => problems.push(format!("{}: {error:#}", side.name())),
        }
    }
    match best {
        Some(found) if problems.is_empty() => Ok(found),
        None if problems.is_empty() => bail!(
            "no orderbook_delta of {} in the day before {}: collect it (`data_types`), or name another time or market",
            scope.symbol,
            rfc3339_micros(scope.at_us)
        ),
        // The side that did not answer may have later records.
        _ => bail!("{}", problems.join("; ")),
    }
}

async fn book_in(
    storage: &Storage,
    side: &'static str,
    scope: &BookScope,
) -> anyhow::Result<Option<BookDocument>> {
    let stored = StoredDeltas { storage, at_us: scope.at_us };
    let filters = [("exchange", scope.exchange.as_deref()), ("market_type", scope.market_type.as_deref())];
    let markets = stored.markets(&scope.symbol, filters).await.context("cannot list markets")?;
    let market = match markets.as_slice() {
        [] => return Ok(None),
        [market] => market,
        several => {
            let names: Vec<String> =
                several.iter().map(|one| format!("{} {}", one.exchange, one.market_type)).collect();
            let (symbol, names) = (&scope.symbol, names.join(", "));
            bail!(
                "{symbol} has books in several markets: name one with --exchange and --market-type ({names})"
            );
        }
    };
    let epochs = stored.epochs(market, scope.edge.as_deref()).await.context("cannot list epochs")?;
    let mut best: Option<BookDocument> = None;
    for epoch in &epochs {
        let found = rebuild(&stored, market, side, epoch, scope.depth).await?;
        best = better(best, Some(found), |one| (one.verdict, one.updated_us));
        if best.as_ref().is_some_and(|best| best.verdict == BookVerdict::Proven) {
            break;
        }
    }
    Ok(best)
}

async fn rebuild(
    stored: &StoredDeltas<'_>,
    market: &BookMarket,
    side: &'static str,
    epoch: &EpochRow,
    depth: Option<usize>,
) -> anyhow::Result<BookDocument> {
    let mut document = BookDocument::new(market, stored.at_us, side, epoch);
    if epoch.snapshots == 0 {
        document.reason = Some("no snapshot of this epoch is stored in the day before".to_owned());
        return Ok(document);
    }
    let records = stored.records(market, epoch).await.context("cannot read records")?;
    if records.len() > limits::REBUILD_RECORDS_MAX {
        bail!("more than {} records since the newest snapshot", limits::REBUILD_RECORDS_MAX);
    }
    let (before, next) = split(&records, epoch.newest);
    let (book, newest) = match replay(before, epoch) {
        Ok(rebuilt) => rebuilt,
        Err(reason) => {
            document.reason = Some(reason);
            return Ok(document);
        }
    };
    document.next_update_at = next.map(|next| rfc3339_micros(next.time_us));
    let later_us = match next {
        Some(_) => 0,
        None => stored.first_after(market, epoch).await.context("cannot look for later records")?,
    };
    if later_us > 0 {
        document.reason = Some(format!(
            "the record after {} is missing or the epoch ended: what happened until {} is unknown; the state of {} is provable",
            epoch.newest,
            rfc3339_micros(later_us),
            document.updated_at
        ));
        return Ok(document);
    }
    document.verdict = if next.is_some() { BookVerdict::Proven } else { BookVerdict::Newest };
    if next.is_none() {
        document.reason =
            Some(format!("no later record is stored: the state is that of {}", document.updated_at));
    }
    document.book = Some(BookLevelsDocument::new(&book, newest, depth));
    Ok(document)
}

/// The document of the greater rank; the first of equal ones.
fn better<R: Ord>(
    best: Option<BookDocument>,
    found: Option<BookDocument>,
    rank: impl Fn(&BookDocument) -> R,
) -> Option<BookDocument> {
    match (best, found) {
        (Some(best), Some(found)) if rank(&found) > rank(&best) => Some(found),
        (Some(best), _) => Some(best),
        (None, found) => found,
    }
}

/// The records up to the newest one before the time, and the one after it.
fn split(records: &[DeltaRow], newest: u64) -> (&[DeltaRow], Option<&DeltaRow>) {
    match records.split_last() {
        Some((last, before)) if last.number > newest => (before, Some(last)),
        _ => (records, None),
    }
}

fn replay<'a>(records: &'a [DeltaRow], epoch: &EpochRow) -> Result<(RebuiltBook, &'a DeltaRow), String> {
    let mut book = RebuiltBook::default();
    for record in records {
        book.apply(&record.delta(epoch.started_ns)).map_err(|hole: DeltaHole| hole.to_string())?;
    }
    match records.last() {
        Some(last) if last.number == epoch.newest && book.is_whole() => Ok((book, last)),
        Some(last) => Err(format!("the rest of the update of record {} is not stored", last.number)),
        None => Err("the records of this epoch are not stored".to_owned()),
    }
}
