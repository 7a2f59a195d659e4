//! Forced trades. The venue marks them about an hour after the fact and on REST only, so they are looked for in the trades of some time
//! ago; a mark that comes over the socket after all is read too.

use crate::adapter::Deribit;
use crate::contract::fit;
use crate::control;
use crate::exchange::markets;
use crate::numbers::text;
use crate::plan;
use crate::trade::Row;
use marketprism_adapter_sdk::{
    Cursor, DataType, Frame, Ignored, Liquidation, Object, Output, Payload, Request, Scan, Side, TradeId,
    each_element, log,
};
use std::collections::BTreeSet;

/// Which side of a trade was forced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forced {
    Maker,
    Taker,
    Both,
}

impl Forced {
    /// Reads the mark; none for `null`.
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Scan<Option<Forced>> {
        if cursor.null() {
            return Ok(None);
        }
        let start = *cursor;
        match &*text(cursor, "`liquidation`")? {
            b"M" => Ok(Some(Forced::Maker)),
            b"T" => Ok(Some(Forced::Taker)),
            b"MT" => Ok(Some(Forced::Both)),
            _ => start.fault("`M`, `T` or `MT`"),
        }
    }
}

/// The forced trades that were told, by instrument and sequence number: windows of successive requests overlap, and the socket may tell
/// them before.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    known: BTreeSet<(u32, u64)>,
    /// Those of the current frame.
    fresh: Vec<(u32, u64)>,
}

/// Forced trades that are remembered: more than the venue has in the hours that requests look back. Beyond it an instrument's oldest
/// makes room for its newest; told again, it has the same content and so the same event id.
const SEEN_MAX: usize = 100_000;

impl Seen {
    fn insert(&mut self, instrument: u32, sequence: u64) -> bool {
        let new = self.known.insert((instrument, sequence));
        if new {
            self.fresh.push((instrument, sequence));
        }
        new
    }

    /// The current frame was read well.
    #[inline(always)]
    pub(crate) fn keep(&mut self) {
        if !self.fresh.is_empty() {
            self.keep_fresh();
        }
    }

    #[cold]
    fn keep_fresh(&mut self) {
        for (instrument, _) in self.fresh.drain(..) {
            if self.known.len() > SEEN_MAX
                && let Some(oldest) = self.known.range((instrument, 0)..).next().copied()
            {
                self.known.remove(&oldest);
            }
        }
    }

    /// The current frame is malformed.
    #[cold]
    pub(crate) fn forget(&mut self) {
        for told in self.fresh.drain(..) {
            self.known.remove(&told);
        }
    }
}

/// What a row says of a forced order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Nothing,
    Again,
    New,
}

impl Deribit {
    /// Adds the forced orders of a trade, if there are any, the feed wants them and they were not told before.
    #[inline(always)]
    pub(crate) fn liquidation(&mut self, output: &mut Output, cursor: &Cursor<'_>, row: &Row) -> Scan<Told> {
        match row.forced {
            Some(forced) => self.forced(output, cursor, row, forced),
            None => Ok(Told::Nothing),
        }
    }

    #[cold]
    fn forced(&mut self, output: &mut Output, cursor: &Cursor<'_>, row: &Row, forced: Forced) -> Scan<Told> {
        let Some((instrument, contract)) = row.instrument else { return Ok(Told::Nothing) };
        let offered = markets(DataType::Liquidation).contains(&contract.market);
        if !offered || !self.wants(DataType::Liquidation) {
            return Ok(Told::Nothing);
        }
        let quantity = contract.base_quantity(cursor, row.amount, row.price)?;
        if !self.seen.insert(instrument, row.sequence) {
            return Ok(Told::Again);
        }
        // The direction is the taker's. Where both sides were forced, each is an order of its own.
        let opposite = if row.side == Side::Buy { Side::Sell } else { Side::Buy };
        let sides: &[Side] = match forced {
            Forced::Taker => &[row.side],
            Forced::Maker => &[opposite],
            Forced::Both => &[row.side, opposite],
        };
        for side in sides {
            output.event(Payload::Liquidation(Liquidation {
                instrument,
                time_us: row.time_us,
                side: *side,
                price: fit(row.price, contract.price),
                quantity,
                liquidation_time_us: Some(row.time_us),
                id: Some(TradeId::Number(row.sequence)),
            }));
        }
        Ok(Told::New)
    }

    /// Reads an answer of the trades request of a poll.
    pub(crate) fn polled(&mut self, output: &mut Output, frame: Frame<'_>, poll: u32) -> Scan<()> {
        let request = self.planned.plan.polls.get(poll as usize).map(|poll| poll.request.clone());
        let Some(request) = request else {
            return Cursor::new(frame.bytes).fault("a source number of the plan");
        };
        let answer = Object::whole(frame.bytes)?;
        if control::error(output, &answer, None)? {
            return Ok(());
        }
        let result = answer.read("result", |cursor, _| Object::parse(cursor))?;
        let more = result.read("has_more", Cursor::boolean)?;
        let span = result.read("trades", |cursor, _| self.forced_trades(output, cursor))?;
        if more && let Some(page) = next_page(&request, span, frame.received_at_ns) {
            output.follow_up(page);
        }
        Ok(())
    }

    /// Reads rows of trades. Gives the times of the first and the last one.
    fn forced_trades(&mut self, output: &mut Output, cursor: &mut Cursor<'_>) -> Scan<Option<(i64, i64)>> {
        let mut span: Option<(i64, i64)> = None;
        let (mut nothing, mut again, mut other) = (true, false, false);
        each_element(cursor, |cursor| {
            let row = self.row(cursor)?;
            let (first, last) = span.unwrap_or((row.time_us, row.time_us));
            span = Some((first.min(row.time_us), last.max(row.time_us)));
            let told = self.liquidation(output, cursor, &row)?;
            nothing &= told == Told::Nothing;
            again |= told == Told::Again;
            other |= row.instrument.is_none();
            Ok(())
        })?;
        for (seen, reason) in [
            (other, Ignored::OtherInstrument),
            (again, Ignored::Repeated),
            (nothing && !other, Ignored::Empty),
        ] {
            if seen {
                output.ignored(reason);
            }
        }
        Ok(span)
    }
}

/// The request for what follows this page, in rising order of time, to the end of the window. The next page begins at the last trade's
/// time: it may have stood in the middle of a millisecond.
fn next_page(request: &Request, span: Option<(i64, i64)>, received_at_ns: i64) -> Option<Request> {
    let (first, last) = span?;
    let (first, last) = (first / 1000, last / 1000);
    if first == last {
        log::warn("a page of trades holds a single millisecond: the rest of that millisecond is left out");
    }
    let from = if first == last { last + 1 } else { last };
    let to = received_at_ns / 1_000_000 - i64::from(plan::WINDOW_TO_AGO_MS);
    (from <= to).then(|| Request {
        url: format!("{}&{}={from}&{}={to}", request.url, plan::FROM_PARAMETER, plan::TO_PARAMETER),
        ..request.clone()
    })
}
