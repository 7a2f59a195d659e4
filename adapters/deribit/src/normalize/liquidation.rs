//! Liquidations: trades with the mark of a forced order. The venue sets it about an hour late and on REST only, so past trades are polled; a
//! mark on the socket is read too. No forced trade is published twice.

use super::control;
use super::trade::TradeRow;
use crate::DeribitVenue;
use crate::describe::markets;
use crate::numbers::text;
use crate::plan;
use marketprism_adapter_sdk::{
    Cursor, DataType, Frame, Ignored, Liquidation, LoadedFeed, Object, Output, ParseResult, Payload, Request,
    Side, TradeId, decimal::fit, log, opposite, unset,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForcedSide {
    Maker,
    Taker,
    Both,
    /// A mark that the venue does not document. It costs the trade nothing.
    Unknown,
}

impl ForcedSide {
    pub(super) fn read(cursor: &mut Cursor<'_>) -> ParseResult<Option<ForcedSide>> {
        if unset(cursor) {
            return Ok(None);
        }
        if cursor.peek() != b'"' {
            return cursor.skip().map(|()| Some(ForcedSide::Unknown));
        }
        Ok(Some(match &*text(cursor, "`liquidation`")? {
            b"M" => ForcedSide::Maker,
            b"T" => ForcedSide::Taker,
            b"MT" => ForcedSide::Both,
            _ => ForcedSide::Unknown,
        }))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForcedOrder {
    None,
    Repeated,
    Published,
}

impl DeribitVenue {
    /// Adds the forced orders of a trade that the feed has and that were not published before.
    #[inline(always)]
    pub(super) fn liquidation(
        &mut self,
        loaded: &LoadedFeed,
        output: &mut Output,
        cursor: &Cursor<'_>,
        row: &TradeRow,
    ) -> ParseResult<ForcedOrder> {
        match row.forced {
            Some(forced) => self.forced(loaded, output, cursor, row, forced),
            None => Ok(ForcedOrder::None),
        }
    }

    #[cold]
    fn forced(
        &mut self,
        loaded: &LoadedFeed,
        output: &mut Output,
        cursor: &Cursor<'_>,
        row: &TradeRow,
        forced: ForcedSide,
    ) -> ParseResult<ForcedOrder> {
        let TradeRow { instrument, units, .. } = *row;
        let offered = markets(DataType::Liquidation).contains(&units.market);
        if !offered || !loaded.has(DataType::Liquidation) {
            return Ok(ForcedOrder::None);
        }
        // The direction is the taker's. Where both sides were forced, each is an order of its own.
        let maker = opposite(row.side);
        let sides: &[Side] = match forced {
            ForcedSide::Taker => &[row.side],
            ForcedSide::Maker => &[maker],
            ForcedSide::Both => &[row.side, maker],
            ForcedSide::Unknown => {
                output.ignored(Ignored::UnknownKind);
                return Ok(ForcedOrder::None);
            }
        };
        let quantity = units.base_quantity(cursor, row.amount, row.price)?;
        if !self.forced_trades.insert(instrument, row.sequence) {
            return Ok(ForcedOrder::Repeated);
        }
        for side in sides {
            output.event(Payload::Liquidation(Liquidation {
                instrument,
                time_us: row.time_us,
                side: *side,
                price: fit(row.price, units.scales.price.places()),
                quantity,
                liquidation_time_us: Some(row.time_us),
                id: Some(TradeId::Number(row.sequence)),
            }));
        }
        Ok(ForcedOrder::Published)
    }

    pub(super) fn polled(
        &mut self,
        loaded: &LoadedFeed,
        output: &mut Output,
        frame: Frame<'_>,
        poll: u32,
    ) -> ParseResult<()> {
        let request = loaded.plan.polls.get(poll as usize).map(|poll| &poll.request);
        let Some(request) = request else {
            return Cursor::new(frame.bytes).expected("a source number of the plan");
        };
        let answer = Object::whole(frame.bytes)?;
        if control::error(output, &answer, None)? {
            return Ok(());
        }
        let result = answer.read("result", |cursor, _| Object::parse(cursor))?;
        let more = result.read("has_more", Cursor::boolean)?;
        let span = result.read("trades", |cursor, _| self.poll_rows(loaded, output, cursor))?;
        if more && let Some(page) = next_page(request, span, frame.received_at_ns) {
            output.follow_up(page);
        }
        Ok(())
    }

    /// Reads rows of trades; returns the times of the first and the last one.
    fn poll_rows(
        &mut self,
        loaded: &LoadedFeed,
        output: &mut Output,
        cursor: &mut Cursor<'_>,
    ) -> ParseResult<Option<(i64, i64)>> {
        let mut span: Option<(i64, i64)> = None;
        // None until a row could be read.
        let mut has_other: Option<bool> = None;
        let count = output.each_item(cursor, |output, cursor| {
            let Some(row) = self.row(loaded, cursor)? else {
                has_other = Some(true);
                output.ignored(Ignored::OtherInstrument);
                return Ok(());
            };
            let (first, last) = span.unwrap_or((row.time_us, row.time_us));
            span = Some((first.min(row.time_us), last.max(row.time_us)));
            let order = self.liquidation(loaded, output, cursor, &row)?;
            has_other = Some(has_other == Some(true) || order != ForcedOrder::None);
            if order == ForcedOrder::Repeated {
                output.ignored(Ignored::Repeated);
            }
            Ok(())
        })?;
        if count == 0 || has_other == Some(false) {
            output.ignored(Ignored::Empty);
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
        log::warn(
            "a page of trades holds a single millisecond; further trades of that millisecond are skipped",
        );
    }
    let from = if first == last { last + 1 } else { last };
    let to = received_at_ns / 1_000_000 - i64::from(plan::WINDOW_TO_AGO_MS);
    (from <= to).then(|| Request {
        url: format!("{}&{}={from}&{}={to}", request.url, plan::FROM_PARAMETER, plan::TO_PARAMETER),
        ..request.clone()
    })
}
