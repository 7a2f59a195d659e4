//! The answer of `book`, as JSON and as text.

use marketprism_schema::{Decimal, RebuiltBook};
use serde::Serialize;

use super::rows::{BookMarket, DeltaRow, EpochRow};
use crate::report::terminal::Paint;
use crate::time::rfc3339_micros;

/// Levels a side that the text shows unless another number is asked for.
const LEVELS_SHOWN: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BookVerdict {
    /// Records are missing, or the book was rebuilt at that time: no state is known.
    NotProvable,
    /// The state of the newest record; no later one is stored that would prove that nothing came in between.
    Newest,
    /// Every record from a snapshot up to that time is there, and the one after it.
    Proven,
}

/// The state of one book at a time. Prices and quantities are exact decimals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BookDocument {
    pub version: u32,
    pub exchange: String,
    pub market_type: String,
    pub symbol: String,
    pub at: String,
    pub verdict: BookVerdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `hot` or `cold`.
    pub side: &'static str,
    pub edge: String,
    pub epoch_started_at: String,
    /// Number in its epoch of the newest record up to that time.
    pub number: u64,
    /// The venue's time of that record.
    pub updated_at: String,
    #[serde(skip)]
    pub(super) updated_us: i64,
    /// Of the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_update_at: Option<String>,
    /// Absent if no state is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub book: Option<BookLevelsDocument>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BookLevelsDocument {
    pub epoch: u32,
    pub last_update_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<i64>,
    /// The venue may have levels beyond those known.
    pub is_bids_partial: bool,
    pub is_asks_partial: bool,
    /// Price and quantity, best first.
    pub bids: Vec<[String; 2]>,
    pub asks: Vec<[String; 2]>,
}

impl BookLevelsDocument {
    pub(super) fn new(book: &RebuiltBook, newest: &DeltaRow, depth: Option<usize>) -> Self {
        let most = depth.unwrap_or(usize::MAX);
        let text = |level: [Decimal; 2]| level.map(|number| number.to_string());
        Self {
            epoch: newest.epoch,
            last_update_id: newest.last_update_id,
            checksum: newest.checksum,
            is_bids_partial: newest.is_bids_partial,
            is_asks_partial: newest.is_asks_partial,
            bids: book.bids().take(most).map(text).collect(),
            asks: book.asks().take(most).map(text).collect(),
        }
    }
}

impl BookDocument {
    pub(super) fn new(market: &BookMarket, at_us: i64, side: &'static str, epoch: &EpochRow) -> Self {
        Self {
            version: 1,
            exchange: market.exchange.clone(),
            market_type: market.market_type.clone(),
            symbol: market.symbol.clone(),
            at: rfc3339_micros(at_us),
            verdict: BookVerdict::NotProvable,
            reason: None,
            side,
            edge: epoch.edge_name.clone(),
            epoch_started_at: rfc3339_micros(epoch.started_ns / 1_000),
            number: epoch.newest,
            updated_at: rfc3339_micros(epoch.updated_us),
            updated_us: epoch.updated_us,
            next_update_at: None,
            book: None,
        }
    }

    pub fn render(&self, paint: Paint) -> String {
        let (color, verdict) = match self.verdict {
            BookVerdict::Proven => (Paint::GOOD, "proven"),
            BookVerdict::Newest => (Paint::UNKNOWN, "newest"),
            BookVerdict::NotProvable => (Paint::BAD, "not provable"),
        };
        let Self { exchange, market_type, symbol, at, side, edge, number, .. } = self;
        let mut out = format!(
            "{exchange} {market_type} {symbol} at {at}: {}\n  {side}, edge {edge}, epoch of {}, record {number} of {}\n",
            paint.with(color, verdict),
            self.epoch_started_at,
            self.updated_at
        );
        if let Some(reason) = &self.reason {
            out.push_str(&format!("  {reason}\n"));
        }
        if let Some(book) = &self.book {
            book.render(&mut out);
        }
        out.trim_end().to_owned()
    }
}

impl BookLevelsDocument {
    fn render(&self, out: &mut String) {
        let partial = |is_partial| if is_partial { "more may exist" } else { "all" };
        out.push_str(&format!(
            "  last update id {}; {} bids ({}), {} asks ({})\n\n",
            self.last_update_id,
            self.bids.len(),
            partial(self.is_bids_partial),
            self.asks.len(),
            partial(self.is_asks_partial)
        ));
        let rows = self.bids.len().max(self.asks.len()).min(LEVELS_SHOWN);
        out.push_str(&format!("{:>24} {:>20}   {:<20} {:<24}\n", "quantity", "bid", "ask", "quantity"));
        for row in 0..rows {
            let level = |side: &[[String; 2]]| side.get(row).cloned().unwrap_or_default();
            let ([bid, bid_quantity], [ask, ask_quantity]) = (level(&self.bids), level(&self.asks));
            out.push_str(&format!("{bid_quantity:>24} {bid:>20}   {ask:<20} {ask_quantity:<24}\n"));
        }
        let hidden = self.bids.len().max(self.asks.len()) - rows;
        if hidden > 0 {
            out.push_str(&format!("  {hidden} deeper levels are in the JSON (--json)\n"));
        }
    }
}
