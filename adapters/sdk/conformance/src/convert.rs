//! Between the host's types and the SDK's: both are generated from one contract. Golden lines are written from the SDK's, results are
//! checked as the host's.

use marketprism_adapter_host::contract as host;
use marketprism_adapter_sdk as sdk;

macro_rules! plain {
    ($trait:ident $convert:ident $target:ident: $($kind:ty),+) => {$(
        impl $trait for $kind {
            type $target = $kind;
            fn $convert(&self) -> $kind {
                self.clone()
            }
        }
    )+};
}

macro_rules! records {
    (
        $trait:ident $convert:ident $target:ident $from:ident $to:ident:
        $($name:ident { $($field:ident)+ })+
    ) => {$(
        impl $trait for $from::$name {
            type $target = $to::$name;
            fn $convert(&self) -> $to::$name {
                $to::$name { $($field: self.$field.$convert()),+ }
            }
        }
    )+};
}

macro_rules! variants {
    (
        $trait:ident $convert:ident $target:ident $from:ident $to:ident:
        $($name:ident { $($unit:ident)*; $($case:ident)* })+
    ) => {$(
        impl $trait for $from::$name {
            type $target = $to::$name;
            fn $convert(&self) -> $to::$name {
                match self {
                    $($from::$name::$unit => $to::$name::$unit,)*
                    $($from::$name::$case(value) => $to::$name::$case(value.$convert()),)*
                }
            }
        }
    )+};
}

macro_rules! conversion {
    ($trait:ident $convert:ident $target:ident $from:ident $to:ident) => {
        pub trait $trait {
            type $target;
            fn $convert(&self) -> Self::$target;
        }

        impl<T: $trait> $trait for Option<T> {
            type $target = Option<T::$target>;
            fn $convert(&self) -> Self::$target {
                self.as_ref().map($trait::$convert)
            }
        }

        impl<T: $trait> $trait for [T] {
            type $target = Vec<T::$target>;
            fn $convert(&self) -> Self::$target {
                self.iter().map($trait::$convert).collect()
            }
        }

        impl<T: $trait> $trait for Vec<T> {
            type $target = Vec<T::$target>;
            fn $convert(&self) -> Self::$target {
                self.as_slice().$convert()
            }
        }

        plain!($trait $convert $target: bool, u8, u32, i64, u64, String, (String, String));

        variants! { $trait $convert $target $from $to:
            DataType {
                Trade Orderbook FundingRate OpenInterest Liquidation LsrTopPosition LsrAllAccount VolatilityIndex;
            }
            MarketType { Spot Perpetual Futures Options; }
            Side { Buy Sell; }
            BookChange { Snapshot Delta; }
            TimeUnit { Seconds Milliseconds Microseconds Nanoseconds; }
            Method { Get Post; }
            Ignored {
                Acknowledgement Heartbeat NotNeeded OtherInstrument OtherDataType Status UnknownKind Empty Reference
                Repeated;
            }
            TradeId { ; Number Text }
            Heartbeat { Passive; PingFrame Text }
            ResyncAction { ; Request Resubscribe }
            Remark { ; Ignored VenueError Reply Malformed Closing RestartBook FollowUp }
            Payload {
                ;
                Trade Book FundingRate OpenInterest Liquidation LsrTopPosition LsrAllAccount VolatilityIndex
            }
        }

        records! { $trait $convert $target $from $to:
            Decimal { mantissa scale }
            Instrument {
                symbol venue_symbol market_type base quote contract_size contract_value price_scale quantity_scale
                tick_size step_size trading
            }
            Charge { budget units }
            Budget { name units window_ms }
            Request { method url headers body charges timeout_ms }
            TextHeartbeat { send every_ms }
            DataStream { data_type instrument expected_silence_ms resubscribe }
            Connection {
                name url headers on_open heartbeat idle_timeout_ms max_age_ms messages_max messages_window_ms
                charges streams
            }
            TimeWindow { from_parameter to_parameter from_ago_ms to_ago_ms }
            Poll { request data_type instrument period_ms window reference }
            Resubscription { connection messages }
            Resync { instrument action depth_limit }
            VenueClock { request pointer unit }
            Plan { connections polls resyncs budgets clock }
            Trade { instrument time_us id price quantity side }
            Book {
                instrument change time_us first_id last_id previous_id checksum price_scale quantity_scale levels_at
                bids asks
            }
            FundingRate {
                instrument time_us rate funding_time_us next_funding_time_us interval_hours mark_price index_price
            }
            OpenInterest { instrument time_us base contracts value_usd }
            Liquidation { instrument time_us side price quantity liquidation_time_us id }
            LongShortRatio { instrument time_us long short ratio period }
            VolatilityIndex { instrument time_us value underlying }
            Event { frame payload }
            VenueError { code text }
            Malformed { at what count }
            Note { frame remark }
            Normalized { events levels notes }
        }
    };
}

conversion!(ToSdk to_sdk Sdk host sdk);
conversion!(ToHost to_host Host sdk host);
