//! From the host's types to the SDK's: both are generated from one contract, and golden lines are written from the SDK's.

use marketprism_adapter_host::contract as host;
use marketprism_adapter_sdk as sdk;

pub(crate) trait ToSdk {
    type Sdk;
    fn to_sdk(&self) -> Self::Sdk;
}

macro_rules! plain {
    ($($kind:ty),+) => {$(
        impl ToSdk for $kind {
            type Sdk = $kind;
            fn to_sdk(&self) -> $kind {
                self.clone()
            }
        }
    )+};
}

macro_rules! records {
    ($($name:ident { $($field:ident),+ $(,)? })+) => {$(
        impl ToSdk for host::$name {
            type Sdk = sdk::$name;
            fn to_sdk(&self) -> sdk::$name {
                sdk::$name { $($field: self.$field.to_sdk()),+ }
            }
        }
    )+};
}

macro_rules! enums {
    ($($name:ident { $($case:ident),+ $(,)? })+) => {$(
        impl ToSdk for host::$name {
            type Sdk = sdk::$name;
            fn to_sdk(&self) -> sdk::$name {
                match self { $(host::$name::$case => sdk::$name::$case),+ }
            }
        }
    )+};
}

macro_rules! variants {
    ($($name:ident { $($unit:ident),* ; $($case:ident),+ $(,)? })+) => {$(
        impl ToSdk for host::$name {
            type Sdk = sdk::$name;
            fn to_sdk(&self) -> sdk::$name {
                match self {
                    $(host::$name::$unit => sdk::$name::$unit,)*
                    $(host::$name::$case(value) => sdk::$name::$case(value.to_sdk())),+
                }
            }
        }
    )+};
}

impl<T: ToSdk> ToSdk for Option<T> {
    type Sdk = Option<T::Sdk>;
    fn to_sdk(&self) -> Self::Sdk {
        self.as_ref().map(ToSdk::to_sdk)
    }
}

impl<T: ToSdk> ToSdk for [T] {
    type Sdk = Vec<T::Sdk>;
    fn to_sdk(&self) -> Self::Sdk {
        self.iter().map(ToSdk::to_sdk).collect()
    }
}

impl<T: ToSdk> ToSdk for Vec<T> {
    type Sdk = Vec<T::Sdk>;
    fn to_sdk(&self) -> Self::Sdk {
        self.as_slice().to_sdk()
    }
}

plain!(bool, u8, u32, i64, u64, String, (String, String));

enums! {
    DataType {
        Trade, Orderbook, FundingRate, OpenInterest, Liquidation, LsrTopPosition, LsrAllAccount, VolatilityIndex,
    }
    MarketType { Spot, Perpetual, Futures, Options }
    Side { Buy, Sell }
    BookChange { Snapshot, Delta }
    Method { Get, Post }
    Ignored {
        Acknowledgement, Heartbeat, NotNeeded, OtherInstrument, OtherDataType, Status, UnknownKind, Empty, Reference,
        Repeated,
    }
}

variants! {
    TradeId { ; Number, Text }
    Heartbeat { Passive ; PingFrame, Text }
    ResyncAction { ; Request, Resubscribe }
    Remark { ; Ignored, VenueError, Reply, Malformed, Closing, RestartBook, FollowUp }
    Payload {
        ;
        Trade, Book, FundingRate, OpenInterest, Liquidation, LsrTopPosition, LsrAllAccount, VolatilityIndex,
    }
}

records! {
    Decimal { mantissa, scale }
    Instrument {
        symbol, venue_symbol, market_type, base, quote, contract_size, contract_value, price_scale, quantity_scale,
        trading,
    }
    Charge { budget, units }
    Budget { name, units, window_ms }
    Request { method, url, headers, body, charges, timeout_ms }
    TextHeartbeat { send, every_ms }
    DataStream { data_type, instrument, expected_silence_ms, resubscribe }
    Connection {
        name, url, headers, on_open, heartbeat, idle_timeout_ms, max_age_ms, messages_max, messages_window_ms,
        charges, streams,
    }
    TimeWindow { from_parameter, to_parameter, from_ago_ms, to_ago_ms }
    Poll { request, data_type, instrument, period_ms, window, reference }
    Resubscription { connection, messages }
    Resync { instrument, action, depth_limit }
    Plan { connections, polls, resyncs, budgets }
    Trade { instrument, time_us, id, price, quantity, side }
    Book {
        instrument, change, time_us, first_id, last_id, previous_id, checksum, price_scale, quantity_scale,
        levels_at, bids, asks,
    }
    FundingRate {
        instrument, time_us, rate, funding_time_us, next_funding_time_us, interval_hours, mark_price, index_price,
    }
    OpenInterest { instrument, time_us, base, contracts, value_usd }
    Liquidation { instrument, time_us, side, price, quantity, liquidation_time_us, id }
    LongShortRatio { instrument, time_us, long, short, ratio, period }
    VolatilityIndex { instrument, time_us, value, underlying }
    Event { frame, payload }
    VenueError { code, text }
    Malformed { at, what }
    Note { frame, remark }
    Normalized { events, levels, notes }
}
