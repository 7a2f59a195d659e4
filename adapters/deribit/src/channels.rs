//! Names of channels: `{kind}.{instrument}.{interval}` and `deribit_volatility_index.{index}`.

use crate::numbers::{ContractUnits, text};
use marketprism_adapter_sdk::{Cursor, DataType, Ignored, ParseResult, same_bytes, unset};

/// The public interval. `raw` is refused to connections without credentials, and the whole request with it.
const INTERVAL: &str = "100ms";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel<'a> {
    Book(&'a [u8]),
    /// Trades of one or of many instruments: each row names its own.
    Trades,
    Ticker(&'a [u8]),
    Volatility(&'a [u8]),
    /// Nothing to publish.
    Other(Ignored),
}

#[inline(always)]
pub(crate) fn channel(name: &[u8]) -> Channel<'_> {
    let mut cursor = Cursor::new(name);
    if cursor.literal(b"book.") {
        return ungrouped(cursor.rest()).map_or(Channel::Other(Ignored::NotNeeded), Channel::Book);
    }
    if cursor.literal(b"ticker.") {
        return ungrouped(cursor.rest()).map_or(Channel::Other(Ignored::UnknownKind), Channel::Ticker);
    }
    if name.starts_with(b"trades.") {
        return Channel::Trades;
    }
    if let Some(index) = name.strip_prefix(b"deribit_volatility_index.") {
        return Channel::Volatility(index);
    }
    Channel::Other(other(name))
}

/// The instrument in `{instrument}.{interval}`; none with further parts between, as in the books that are grouped and cut
/// to a depth: each of their messages is a whole book with other rows.
#[inline(always)]
fn ungrouped(rest: &[u8]) -> Option<&[u8]> {
    let dot = rest.iter().rposition(|byte| *byte == b'.')?;
    let instrument = rest.get(..dot)?;
    if instrument.contains(&b'.') { None } else { Some(instrument) }
}

fn other(name: &[u8]) -> Ignored {
    const STATUS: [&[u8]; 3] = [b"platform_state", b"instrument.state.", b"announcements"];
    const NOT_NEEDED: [&[u8]; 12] = [
        b"perpetual.",
        b"quote.",
        b"incremental_ticker.",
        b"chart.trades.",
        b"deribit_price_index.",
        b"deribit_price_ranking.",
        b"deribit_price_statistics.",
        b"markprice.options.",
        b"estimated_expiration_price.",
        b"block_rfq.",
        b"block_trade_confirmations",
        b"rfq.",
    ];
    let among = |known: &[&[u8]]| known.iter().any(|start| name.starts_with(start));
    if among(&STATUS) {
        Ignored::Status
    } else if among(&NOT_NEEDED) {
        Ignored::NotNeeded
    } else {
        Ignored::UnknownKind
    }
}

/// The name of the channel that carries a data type; none where no channel does.
pub(crate) fn name(data_type: DataType, venue_symbol: &str) -> Option<String> {
    let kind = match data_type {
        DataType::Orderbook => "book",
        DataType::Trade => "trades",
        DataType::FundingRate | DataType::OpenInterest => "ticker",
        DataType::VolatilityIndex => return Some(format!("deribit_volatility_index.{venue_symbol}")),
        DataType::Liquidation | DataType::LsrTopPosition | DataType::LsrAllAccount => return None,
    };
    Some(format!("{kind}.{venue_symbol}.{INTERVAL}"))
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ChannelInstrument<'n> {
    pub(crate) instrument: u32,
    pub(crate) units: ContractUnits,
    pub(crate) venue_symbol: &'n [u8],
}

impl ChannelInstrument<'_> {
    /// Reads the name in the data, which must be that of the channel where it is set.
    #[inline(always)]
    pub(crate) fn agrees(&self, cursor: &mut Cursor<'_>) -> ParseResult<()> {
        let start = *cursor;
        if unset(cursor) {
            return Ok(());
        }
        let name = text(cursor, "the name of an instrument or index")?;
        if same_bytes(&name, self.venue_symbol) {
            Ok(())
        } else {
            start.expected("the name that the channel has")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_known_by_its_name_at_any_interval() {
        for interval in ["raw", "100ms", "agg2"] {
            let book = format!("book.BTC-PERPETUAL.{interval}");
            assert_eq!(channel(book.as_bytes()), Channel::Book(b"BTC-PERPETUAL"));
            let ticker = format!("ticker.MATIC_USDC-9MAR24-1d02-C.{interval}");
            assert_eq!(channel(ticker.as_bytes()), Channel::Ticker(b"MATIC_USDC-9MAR24-1d02-C"));
        }
        assert_eq!(channel(b"trades.BTC-PERPETUAL.raw"), Channel::Trades);
        assert_eq!(channel(b"trades.option.BTC.100ms"), Channel::Trades);
        assert_eq!(channel(b"deribit_volatility_index.btc_usd"), Channel::Volatility(b"btc_usd"));
        for (name, reason) in [
            ("book.BTC-PERPETUAL.none.20.100ms", Ignored::NotNeeded),
            ("perpetual.BTC-PERPETUAL.100ms", Ignored::NotNeeded),
            ("quote.BTC-PERPETUAL", Ignored::NotNeeded),
            ("block_rfq.trades.any", Ignored::NotNeeded),
            ("platform_state", Ignored::Status),
            ("instrument.state.any.any", Ignored::Status),
            ("ticker.BTC", Ignored::UnknownKind),
            ("brand_new.BTC", Ignored::UnknownKind),
            ("", Ignored::UnknownKind),
        ] {
            assert_eq!(channel(name.as_bytes()), Channel::Other(reason), "{name}");
        }
    }

    #[test]
    fn subscribed_channels_are_recognized() {
        let of = |data_type| name(data_type, "BTC-PERPETUAL");
        assert_eq!(of(DataType::Orderbook).as_deref(), Some("book.BTC-PERPETUAL.100ms"));
        assert_eq!(of(DataType::Trade).as_deref(), Some("trades.BTC-PERPETUAL.100ms"));
        assert_eq!(of(DataType::FundingRate), of(DataType::OpenInterest));
        assert_eq!(of(DataType::OpenInterest).as_deref(), Some("ticker.BTC-PERPETUAL.100ms"));
        assert_eq!(of(DataType::Liquidation), None);
        assert_eq!(
            name(DataType::VolatilityIndex, "btc_usd").as_deref(),
            Some("deribit_volatility_index.btc_usd")
        );
    }
}
