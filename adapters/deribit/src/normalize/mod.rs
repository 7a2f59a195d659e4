//! Frames: data in the venue's usual form first, then messages in any form, and the answers of polls.

mod book;
mod control;
mod liquidation;
mod ticker;
mod trade;
mod volatility;

use crate::DeribitVenue;
use crate::channels::{Channel, ChannelInstrument, channel};
use crate::numbers::{ContractUnits, pass};
use marketprism_adapter_sdk::{
    Cursor, DataType, Frame, FrameSource, Ignored, LoadedFeed, Output, ParseResult, wide_key,
};

impl DeribitVenue {
    #[inline(always)]
    pub(crate) fn frame(
        &mut self,
        loaded: &LoadedFeed,
        output: &mut Output,
        frame: Frame<'_>,
    ) -> ParseResult<()> {
        match loaded.source(frame.source) {
            FrameSource::Connection(_) => {}
            FrameSource::Backfill(instrument) => return self.history(loaded, output, frame, instrument),
            FrameSource::Poll(poll) | FrameSource::Resync(poll) => {
                return self.polled(loaded, output, frame, poll);
            }
        }
        let mut cursor = Cursor::new(frame.bytes);
        if cursor.literal(b"{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{\"channel\":")
            && let Some(channel) = cursor.plain_text()
            && cursor.literal(b",\"data\":")
        {
            self.data(loaded, output, &mut cursor, channel)?;
            end_of_object(&mut cursor, [wide_key("channel"), wide_key("data")])?;
            end_of_object(&mut cursor, [wide_key("method"), wide_key("params")])?;
            return cursor.end();
        }
        self.message(loaded, output, frame)
    }

    #[inline(always)]
    fn data(
        &mut self,
        loaded: &LoadedFeed,
        output: &mut Output,
        cursor: &mut Cursor<'_>,
        name: &[u8],
    ) -> ParseResult<()> {
        let channel = channel(name);
        let (data_type, symbol) = match channel {
            Channel::Book(symbol) => (DataType::Orderbook, symbol),
            Channel::Ticker(symbol) => (DataType::OpenInterest, symbol),
            Channel::Trades => return self.trades(loaded, output, cursor),
            Channel::Volatility(name) => (DataType::VolatilityIndex, name),
            Channel::Other(reason) => return ignored(output, cursor, reason),
        };
        let ticker = data_type == DataType::OpenInterest;
        let wanted = loaded.has(data_type) || (ticker && loaded.has(DataType::FundingRate));
        if !wanted {
            return ignored(output, cursor, Ignored::OtherDataType);
        }
        let found = self.find(loaded, symbol, data_type == DataType::VolatilityIndex);
        let Some((instrument, units)) = found else {
            return ignored(output, cursor, Ignored::OtherInstrument);
        };
        let named = ChannelInstrument { instrument, units, venue_symbol: symbol };
        match channel {
            Channel::Book(_) => book::book(output, cursor, named),
            Channel::Ticker(_) => ticker::ticker(loaded, output, cursor, named),
            _ => volatility::volatility(output, cursor, named),
        }
    }

    /// The instrument of this name; `index` for a volatility index, whose name no other channel may use.
    #[inline(always)]
    fn find(&self, loaded: &LoadedFeed, name: &[u8], index: bool) -> Option<(u32, ContractUnits)> {
        let instrument = loaded.position(name)?;
        let units = self.units.get(instrument as usize).filter(|units| units.is_index == index)?;
        Some((instrument, *units))
    }
}

#[inline(never)]
fn ignored(output: &mut Output, cursor: &mut Cursor<'_>, reason: Ignored) -> ParseResult<()> {
    pass(cursor)?;
    output.ignored(reason);
    Ok(())
}

/// Moves to the end of an object. The members that were read before may not come again.
#[inline(always)]
fn end_of_object(cursor: &mut Cursor<'_>, read: [u128; 2]) -> ParseResult<()> {
    let mut first = false;
    while cursor.more(b'}', &mut first)? {
        if read.contains(&cursor.wide_key()?) {
            return cursor.expected("each member once");
        }
        pass(cursor)?;
    }
    Ok(())
}
