//! Channels of the venue's sockets and the data types that they carry.

use marketprism_adapter_sdk::DataType;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Trades,
    Books,
    Funding,
    OpenInterest,
    Liquidations,
    /// Documented, and needed by no data type of this adapter.
    NotNeeded,
    Unknown,
}

impl Channel {
    pub(crate) fn of(name: &str) -> Channel {
        match name {
            "trades" => Channel::Trades,
            "books" => Channel::Books,
            "funding-rate" => Channel::Funding,
            "open-interest" => Channel::OpenInterest,
            "liquidation-orders" => Channel::Liquidations,
            name if NOT_NEEDED.split(' ').any(|known| known == name)
                || FAMILIES.iter().any(|kind| name.starts_with(kind)) =>
            {
                Channel::NotNeeded
            }
            _ => Channel::Unknown,
        }
    }

    pub(crate) fn data_type(self) -> Option<DataType> {
        match self {
            Channel::Trades => Some(DataType::Trade),
            Channel::Books => Some(DataType::Orderbook),
            Channel::Funding => Some(DataType::FundingRate),
            Channel::OpenInterest => Some(DataType::OpenInterest),
            Channel::Liquidations => Some(DataType::Liquidation),
            Channel::NotNeeded | Channel::Unknown => None,
        }
    }
}

/// The channel of this data type; none for one that is polled or not offered.
pub(crate) fn name(data_type: DataType) -> Option<&'static str> {
    match data_type {
        DataType::Trade => Some("trades"),
        DataType::Orderbook => Some("books"),
        DataType::FundingRate => Some("funding-rate"),
        DataType::OpenInterest => Some("open-interest"),
        DataType::Liquidation => Some("liquidation-orders"),
        DataType::LsrTopPosition | DataType::LsrAllAccount | DataType::VolatilityIndex => None,
    }
}

/// Beginnings of channel names: candles end with a period, `sprd-` are spreads between two instruments.
const FAMILIES: [&str; 4] = ["candle", "index-candle", "mark-price-candle", "sprd-"];

const NOT_NEEDED: &str = "tickers books5 bbo-tbt books-l2-tbt books50-l2-tbt books-rpi books-elp books-elp-all trades-all \
    option-trades mark-price index-tickers instruments price-limit estimated-price \
    opt-summary adl-warning status public-block-trades public-struc-block-trades block-tickers \
    economic-calendar call-auction-details event-contract-markets";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscribed_channels_are_recognized() {
        let pushed = [
            DataType::Trade,
            DataType::Orderbook,
            DataType::FundingRate,
            DataType::OpenInterest,
            DataType::Liquidation,
        ];
        for data_type in pushed {
            assert_eq!(name(data_type).and_then(|name| Channel::of(name).data_type()), Some(data_type));
        }
        assert_eq!(name(DataType::LsrTopPosition), None);
        let others =
            "tickers candle1m mark-price-candle1H books5 books-l2-tbt public-block-trades sprd-books5";
        for other in others.split(' ') {
            assert_eq!(Channel::of(other), Channel::NotNeeded, "{other}");
        }
        assert_eq!(Channel::of("books-new"), Channel::Unknown);
    }
}
