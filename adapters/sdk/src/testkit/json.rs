//! Events and notes as JSON lines, for golden files.

use crate::decimal::to_text;
use crate::feed::{data_type_name, market_type_name};
use crate::types::{
    Book, BookChange, Decimal, Event, Heartbeat, Ignored, Instrument, Normalized, Note, Payload, Plan,
    Remark, ResyncAction, Side, TimeUnit, TradeId,
};
use serde_json::{Value, json};

/// A line for every event and note, in the order of their frames.
pub fn lines(normalized: &Normalized, instruments: &[Instrument]) -> Vec<Value> {
    let events =
        normalized.events.iter().map(|line| (line.frame, 0, event(line, &normalized.levels, instruments)));
    let notes = normalized.notes.iter().map(|line| (line.frame, 1, note(line, instruments)));
    let mut lines: Vec<(u32, u8, Value)> = events.chain(notes).collect();
    lines.sort_by_key(|(frame, kind, _)| (*frame, *kind));
    lines.into_iter().map(|(_, _, line)| line).collect()
}

/// A line for every instrument, and for every part of the plan.
pub fn start_lines(instruments: &[Instrument], plan: &Plan) -> Vec<Value> {
    let mut lines: Vec<Value> = instruments.iter().map(instrument).collect();
    for connection in &plan.connections {
        let heartbeat = match &connection.heartbeat {
            Heartbeat::Passive => json!("passive"),
            Heartbeat::PingFrame(every_ms) => json!({"ping_frame_every_ms": every_ms}),
            Heartbeat::Text(text) => json!({"send": text.send, "every_ms": text.every_ms}),
        };
        let streams: Vec<Value> = connection
            .streams
            .iter()
            .map(|stream| {
                json!({
                    "data_type": data_type_name(stream.data_type),
                    "instrument": stream.instrument.map(|index| name(index, instruments)),
                    "expected_silence_ms": stream.expected_silence_ms,
                    "resubscribe": stream.resubscribe,
                })
            })
            .collect();
        lines.push(json!({"connection": {
            "name": connection.name, "url": connection.url, "on_open": connection.on_open,
            "heartbeat": heartbeat,
            "idle_timeout_ms": connection.idle_timeout_ms, "max_age_ms": connection.max_age_ms,
            "messages_max": connection.messages_max, "messages_window_ms": connection.messages_window_ms,
            "streams": streams,
        }}));
    }
    lines.extend(
        plan.polls.iter().map(|poll| json!({"poll": {"url": poll.request.url, "period_ms": poll.period_ms}})),
    );
    for resync in &plan.resyncs {
        let action = match &resync.action {
            ResyncAction::Request(request) => {
                let charges: Vec<Value> =
                    request.charges.iter().map(|charge| json!([charge.budget, charge.units])).collect();
                json!({"url": request.url, "charges": charges})
            }
            ResyncAction::Resubscribe(again) => {
                json!({"connection": again.connection, "messages": again.messages})
            }
        };
        lines.push(json!({"resync": {"instrument": name(resync.instrument, instruments), "action": action}}));
    }
    let budget = |budget: &crate::Budget| json!({"budget": [budget.name, budget.units, budget.window_ms]});
    lines.extend(plan.budgets.iter().map(budget));
    lines.extend(plan.clock.iter().map(|clock| {
        let unit = time_unit_name(clock.unit);
        json!({"clock": {"url": clock.request.url, "pointer": clock.pointer, "unit": unit}})
    }));
    lines
}

fn time_unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Seconds => "seconds",
        TimeUnit::Milliseconds => "milliseconds",
        TimeUnit::Microseconds => "microseconds",
        TimeUnit::Nanoseconds => "nanoseconds",
    }
}

fn instrument(instrument: &Instrument) -> Value {
    json!({"instrument": {
        "symbol": instrument.symbol, "venue_symbol": instrument.venue_symbol,
        "market_type": market_type_name(instrument.market_type), "base": instrument.base,
        "quote": instrument.quote,
        "contract_size": instrument.contract_size.map(to_text),
        "contract_value": instrument.contract_value.map(to_text), "price_scale": instrument.price_scale,
        "quantity_scale": instrument.quantity_scale, "tick_size": instrument.tick_size.map(to_text),
        "step_size": instrument.step_size.map(to_text), "trading": instrument.trading,
    }})
}

fn event(event: &Event, levels: &[i64], instruments: &[Instrument]) -> Value {
    let (kind, body) = match &event.payload {
        Payload::Trade(trade) => (
            "trade",
            json!({
                "instrument": name(trade.instrument, instruments), "time_us": trade.time_us,
                "id": trade_id(&trade.id),
                "price": to_text(trade.price), "quantity": to_text(trade.quantity), "side": side(trade.side),
            }),
        ),
        Payload::Book(change) => ("book", book(change, levels, instruments)),
        Payload::FundingRate(rate) => (
            "funding_rate",
            json!({
                "instrument": name(rate.instrument, instruments), "time_us": rate.time_us,
                "rate": to_text(rate.rate),
                "funding_time_us": rate.funding_time_us, "next_funding_time_us": rate.next_funding_time_us,
                "interval_hours": rate.interval_hours, "mark_price": rate.mark_price.map(to_text),
                "index_price": rate.index_price.map(to_text),
            }),
        ),
        Payload::OpenInterest(interest) => (
            "open_interest",
            json!({
                "instrument": name(interest.instrument, instruments), "time_us": interest.time_us,
                "base": interest.base.map(to_text), "contracts": interest.contracts.map(to_text),
                "value_usd": interest.value_usd.map(to_text),
            }),
        ),
        Payload::Liquidation(forced) => (
            "liquidation",
            json!({
                "instrument": name(forced.instrument, instruments), "time_us": forced.time_us,
                "side": side(forced.side),
                "price": to_text(forced.price), "quantity": to_text(forced.quantity),
                "liquidation_time_us": forced.liquidation_time_us, "id": forced.id.as_ref().map(trade_id),
            }),
        ),
        Payload::LsrTopPosition(ratio) => ("lsr_top_position", long_short(ratio, instruments)),
        Payload::LsrAllAccount(ratio) => ("lsr_all_account", long_short(ratio, instruments)),
        Payload::VolatilityIndex(index) => (
            "volatility_index",
            json!({
                "instrument": name(index.instrument, instruments), "time_us": index.time_us,
                "value": to_text(index.value),
                "underlying": index.underlying,
            }),
        ),
    };
    json!({"frame": event.frame, "kind": kind, "event": body})
}

fn long_short(ratio: &crate::LongShortRatio, instruments: &[Instrument]) -> Value {
    json!({
        "instrument": name(ratio.instrument, instruments), "time_us": ratio.time_us,
        "long": to_text(ratio.long),
        "short": to_text(ratio.short), "ratio": ratio.ratio.map(to_text), "period": ratio.period,
    })
}

fn book(book: &Book, levels: &[i64], instruments: &[Instrument]) -> Value {
    let start = book.levels_at as usize;
    let bids_end = start + 2 * book.bids as usize;
    let text = |range: std::ops::Range<usize>| -> Value {
        let pairs = levels.get(range).unwrap_or(&[]).as_chunks::<2>().0.iter();
        pairs
            .map(|[price, quantity]| {
                let price = Decimal { mantissa: *price, scale: book.price_scale };
                json!([to_text(price), to_text(Decimal { mantissa: *quantity, scale: book.quantity_scale })])
            })
            .collect()
    };
    json!({
        "instrument": name(book.instrument, instruments),
        "change": if book.change == BookChange::Snapshot { "snapshot" } else { "delta" },
        "time_us": book.time_us, "first_id": book.first_id, "last_id": book.last_id,
        "previous_id": book.previous_id,
        "checksum": book.checksum, "price_scale": book.price_scale, "quantity_scale": book.quantity_scale,
        "bids": text(start..bids_end), "asks": text(bids_end..bids_end + 2 * book.asks as usize),
    })
}

fn note(note: &Note, instruments: &[Instrument]) -> Value {
    let (kind, body) = match &note.remark {
        Remark::Ignored(reason) => ("ignored", json!(ignored_name(*reason))),
        Remark::VenueError(error) => ("venue_error", json!({"code": error.code, "text": error.text})),
        Remark::Reply(text) => ("reply", json!(text)),
        Remark::Malformed(malformed) if malformed.count == 1 => {
            ("malformed", json!({"at": malformed.at, "what": malformed.what}))
        }
        Remark::Malformed(malformed) => {
            ("malformed", json!({"at": malformed.at, "what": malformed.what, "count": malformed.count}))
        }
        Remark::Closing(reason) => ("closing", json!(reason)),
        Remark::RestartBook(index) => ("restart_book", json!(name(*index, instruments))),
        Remark::FollowUp(request) => ("follow_up", json!(request.url)),
    };
    json!({"frame": note.frame, "kind": kind, "note": body})
}

fn name(index: u32, instruments: &[Instrument]) -> Value {
    match instruments.get(index as usize) {
        Some(instrument) => {
            json!(format!("{} {}", market_type_name(instrument.market_type), instrument.symbol))
        }
        None => json!(index),
    }
}

/// The reason, as the contract writes it.
fn ignored_name(reason: Ignored) -> &'static str {
    match reason {
        Ignored::Acknowledgement => "acknowledgement",
        Ignored::Heartbeat => "heartbeat",
        Ignored::NotNeeded => "not-needed",
        Ignored::OtherInstrument => "other-instrument",
        Ignored::OtherDataType => "other-data-type",
        Ignored::Status => "status",
        Ignored::UnknownKind => "unknown-kind",
        Ignored::Empty => "empty",
        Ignored::Reference => "reference",
        Ignored::Repeated => "repeated",
    }
}

fn side(side: Side) -> &'static str {
    if side == Side::Buy { "buy" } else { "sell" }
}

fn trade_id(id: &TradeId) -> Value {
    match id {
        TradeId::Number(number) => json!(number),
        TradeId::Text(text) => json!(text),
    }
}
