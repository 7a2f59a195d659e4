//! Instruments and plans for tests.

use marketprism_adapter_host::contract::{
    Connection, DataStream, DataType, Heartbeat, Instrument, MarketType, Plan, Poll,
};

/// A spot market that trades, such as `BTC-USDT`.
pub fn spot(symbol: &str) -> Instrument {
    let (base, quote) = symbol.split_once('-').unwrap_or((symbol, ""));
    Instrument {
        symbol: symbol.to_owned(),
        venue_symbol: symbol.replace('-', ""),
        market_type: MarketType::Spot,
        base: base.to_owned(),
        quote: quote.to_owned(),
        contract_size: None,
        contract_value: None,
        price_scale: 0,
        quantity_scale: 0,
        tick_size: None,
        step_size: None,
        trading: true,
    }
}

/// Trades of instruments on a connection to an address where nobody listens.
pub fn connection(instruments: &[Option<u32>]) -> Connection {
    let stream = |instrument: &Option<u32>| DataStream {
        data_type: DataType::Trade,
        instrument: *instrument,
        expected_silence_ms: 60_000,
        resubscribe: Vec::new(),
    };
    Connection {
        name: "trades".to_owned(),
        url: "ws://127.0.0.1:1/".to_owned(),
        headers: Vec::new(),
        on_open: Vec::new(),
        heartbeat: Heartbeat::Passive,
        idle_timeout_ms: 60_000,
        max_age_ms: 0,
        messages_max: 1,
        messages_window_ms: 1,
        charges: Vec::new(),
        streams: instruments.iter().map(stream).collect(),
    }
}

pub fn plan(connections: Vec<Connection>, polls: Vec<Poll>) -> Plan {
    Plan { connections, polls, resyncs: Vec::new(), budgets: Vec::new(), clock: None }
}
