//! From the host's types to the SDK's: both are generated from one contract, and the SDK's test kit writes golden lines from its own.

use marketprism_adapter_host::contract as host;
use marketprism_adapter_sdk as sdk;

macro_rules! cases {
    ($(#[$doc:meta])* $name:ident: $kind:ident { $($case:ident),+ $(,)? }) => {
        $(#[$doc])*
        pub(crate) fn $name(value: host::$kind) -> sdk::$kind {
            match value { $(host::$kind::$case => sdk::$kind::$case,)+ }
        }
    };
}

cases!(data_type: DataType {
    Trade, Orderbook, FundingRate, OpenInterest, Liquidation, LsrTopPosition, LsrAllAccount, VolatilityIndex,
});
cases!(market_type: MarketType { Spot, Perpetual, Futures, Options });
cases!(side: Side { Buy, Sell });
cases!(change: BookChange { Snapshot, Delta });
cases!(method: Method { Get, Post });
cases!(ignored: Ignored {
    Acknowledgement, Heartbeat, NotNeeded, OtherInstrument, OtherDataType, Status, UnknownKind, Empty, Reference, Repeated,
});

pub(crate) fn decimal(value: host::Decimal) -> sdk::Decimal {
    sdk::Decimal { mantissa: value.mantissa, scale: value.scale }
}

fn trade_id(id: &host::TradeId) -> sdk::TradeId {
    match id {
        host::TradeId::Number(number) => sdk::TradeId::Number(*number),
        host::TradeId::Text(text) => sdk::TradeId::Text(text.clone()),
    }
}

pub(crate) fn instruments(instruments: &[host::Instrument]) -> Vec<sdk::Instrument> {
    let one = |one: &host::Instrument| sdk::Instrument {
        symbol: one.symbol.clone(),
        venue_symbol: one.venue_symbol.clone(),
        market_type: market_type(one.market_type),
        base: one.base.clone(),
        quote: one.quote.clone(),
        contract_size: one.contract_size.map(decimal),
        contract_value: one.contract_value.map(decimal),
        price_scale: one.price_scale,
        quantity_scale: one.quantity_scale,
        trading: one.trading,
    };
    instruments.iter().map(one).collect()
}

fn charges(charges: &[host::Charge]) -> Vec<sdk::Charge> {
    charges.iter().map(|one| sdk::Charge { budget: one.budget.clone(), units: one.units }).collect()
}

fn request(request: &host::Request) -> sdk::Request {
    sdk::Request {
        method: method(request.method),
        url: request.url.clone(),
        headers: request.headers.clone(),
        body: request.body.clone(),
        charges: charges(&request.charges),
        timeout_ms: request.timeout_ms,
    }
}

pub(crate) fn plan(plan: &host::Plan) -> sdk::Plan {
    let budget = |one: &host::Budget| sdk::Budget {
        name: one.name.clone(),
        units: one.units,
        window_ms: one.window_ms,
    };
    sdk::Plan {
        connections: plan.connections.iter().map(connection).collect(),
        polls: plan.polls.iter().map(poll).collect(),
        resyncs: plan.resyncs.iter().map(resync).collect(),
        budgets: plan.budgets.iter().map(budget).collect(),
    }
}

fn connection(one: &host::Connection) -> sdk::Connection {
    let stream = |stream: &host::DataStream| sdk::DataStream {
        data_type: data_type(stream.data_type),
        instrument: stream.instrument,
        expected_silence_ms: stream.expected_silence_ms,
        resubscribe: stream.resubscribe.clone(),
    };
    let heartbeat = match &one.heartbeat {
        host::Heartbeat::Passive => sdk::Heartbeat::Passive,
        host::Heartbeat::PingFrame(every_ms) => sdk::Heartbeat::PingFrame(*every_ms),
        host::Heartbeat::Text(text) => {
            sdk::Heartbeat::Text(sdk::TextHeartbeat { send: text.send.clone(), every_ms: text.every_ms })
        }
    };
    sdk::Connection {
        name: one.name.clone(),
        url: one.url.clone(),
        headers: one.headers.clone(),
        on_open: one.on_open.clone(),
        heartbeat,
        idle_timeout_ms: one.idle_timeout_ms,
        max_age_ms: one.max_age_ms,
        messages_max: one.messages_max,
        messages_window_ms: one.messages_window_ms,
        charges: charges(&one.charges),
        streams: one.streams.iter().map(stream).collect(),
    }
}

fn poll(one: &host::Poll) -> sdk::Poll {
    let window = |window: &host::TimeWindow| sdk::TimeWindow {
        from_parameter: window.from_parameter.clone(),
        to_parameter: window.to_parameter.clone(),
        from_ago_ms: window.from_ago_ms,
        to_ago_ms: window.to_ago_ms,
    };
    sdk::Poll {
        request: request(&one.request),
        data_type: data_type(one.data_type),
        instrument: one.instrument,
        period_ms: one.period_ms,
        window: one.window.as_ref().map(window),
        reference: one.reference,
    }
}

fn resync(one: &host::Resync) -> sdk::Resync {
    let action = match &one.action {
        host::ResyncAction::Request(asked) => sdk::ResyncAction::Request(request(asked)),
        host::ResyncAction::Resubscribe(again) => sdk::ResyncAction::Resubscribe(sdk::Resubscription {
            connection: again.connection,
            messages: again.messages.clone(),
        }),
    };
    sdk::Resync { instrument: one.instrument, action, depth_limit: one.depth_limit }
}

pub(crate) fn normalized(normalized: &host::Normalized) -> sdk::Normalized {
    let event = |event: &host::Event| sdk::Event { frame: event.frame, payload: payload(&event.payload) };
    let note = |note: &host::Note| sdk::Note { frame: note.frame, remark: remark(&note.remark) };
    sdk::Normalized {
        events: normalized.events.iter().map(event).collect(),
        levels: normalized.levels.clone(),
        notes: normalized.notes.iter().map(note).collect(),
    }
}

fn remark(remark: &host::Remark) -> sdk::Remark {
    match remark {
        host::Remark::Ignored(reason) => sdk::Remark::Ignored(ignored(*reason)),
        host::Remark::VenueError(error) => {
            sdk::Remark::VenueError(sdk::VenueError { code: error.code.clone(), text: error.text.clone() })
        }
        host::Remark::Reply(text) => sdk::Remark::Reply(text.clone()),
        host::Remark::Malformed(found) => {
            sdk::Remark::Malformed(sdk::Malformed { at: found.at, what: found.what.clone() })
        }
        host::Remark::Closing(reason) => sdk::Remark::Closing(reason.clone()),
        host::Remark::RestartBook(instrument) => sdk::Remark::RestartBook(*instrument),
        host::Remark::FollowUp(page) => sdk::Remark::FollowUp(request(page)),
    }
}

fn payload(payload: &host::Payload) -> sdk::Payload {
    match payload {
        host::Payload::Trade(one) => sdk::Payload::Trade(sdk::Trade {
            instrument: one.instrument,
            time_us: one.time_us,
            id: trade_id(&one.id),
            price: decimal(one.price),
            quantity: decimal(one.quantity),
            side: side(one.side),
        }),
        host::Payload::Book(one) => sdk::Payload::Book(book(one)),
        host::Payload::FundingRate(one) => sdk::Payload::FundingRate(funding_rate(one)),
        host::Payload::OpenInterest(one) => sdk::Payload::OpenInterest(sdk::OpenInterest {
            instrument: one.instrument,
            time_us: one.time_us,
            base: one.base.map(decimal),
            contracts: one.contracts.map(decimal),
            value_usd: one.value_usd.map(decimal),
        }),
        host::Payload::Liquidation(one) => sdk::Payload::Liquidation(sdk::Liquidation {
            instrument: one.instrument,
            time_us: one.time_us,
            side: side(one.side),
            price: decimal(one.price),
            quantity: decimal(one.quantity),
            liquidation_time_us: one.liquidation_time_us,
            id: one.id.as_ref().map(trade_id),
        }),
        host::Payload::LsrTopPosition(one) => sdk::Payload::LsrTopPosition(long_short(one)),
        host::Payload::LsrAllAccount(one) => sdk::Payload::LsrAllAccount(long_short(one)),
        host::Payload::VolatilityIndex(one) => sdk::Payload::VolatilityIndex(sdk::VolatilityIndex {
            instrument: one.instrument,
            time_us: one.time_us,
            value: decimal(one.value),
            underlying: one.underlying.clone(),
        }),
    }
}

fn book(one: &host::Book) -> sdk::Book {
    sdk::Book {
        instrument: one.instrument,
        change: change(one.change),
        time_us: one.time_us,
        first_id: one.first_id,
        last_id: one.last_id,
        previous_id: one.previous_id,
        checksum: one.checksum,
        price_scale: one.price_scale,
        quantity_scale: one.quantity_scale,
        levels_at: one.levels_at,
        bids: one.bids,
        asks: one.asks,
    }
}

fn funding_rate(one: &host::FundingRate) -> sdk::FundingRate {
    sdk::FundingRate {
        instrument: one.instrument,
        time_us: one.time_us,
        rate: decimal(one.rate),
        funding_time_us: one.funding_time_us,
        next_funding_time_us: one.next_funding_time_us,
        interval_hours: one.interval_hours,
        mark_price: one.mark_price.map(decimal),
        index_price: one.index_price.map(decimal),
    }
}

fn long_short(one: &host::LongShortRatio) -> sdk::LongShortRatio {
    sdk::LongShortRatio {
        instrument: one.instrument,
        time_us: one.time_us,
        long: decimal(one.long),
        short: decimal(one.short),
        ratio: one.ratio.map(decimal),
        period: one.period.clone(),
    }
}
