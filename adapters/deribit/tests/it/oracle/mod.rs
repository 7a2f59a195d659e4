//! The events of a frame, calculated without the adapter's code: a JSON library's raw texts, and text and integer arithmetic for numbers.

use marketprism_adapter_deribit::Deribit;
use marketprism_adapter_sdk::testkit::{self, OwnedFrame, RecordKind, RecordedMessage, Session};
use marketprism_adapter_sdk::{Adapter, Answer, MarketType, market_type_name};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const EXCHANGE: &str = "deribit_derivatives";

/// Records of the golden cases of this name.
pub fn case(name: &str) -> Vec<RecordedMessage> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("frames");
    testkit::read(&folder.join(format!("{EXCHANGE}.{name}.jsonl"))).unwrap()
}

/// The adapter, loaded with everything that these lists of instruments hold.
pub fn session(lists: &[RecordedMessage]) -> Session<Deribit> {
    let feed = testkit::whole_feed::<Deribit>(EXCHANGE).unwrap();
    let bodies = lists.iter().filter(|record| {
        record.kind == RecordKind::Rest
            && record.url.as_deref().is_some_and(|url| url.contains("get_instruments"))
    });
    let answers =
        (0u32..).zip(bodies).map(|(request, body)| Answer { request, body: body.data.clone().into_bytes() });
    let instruments = Deribit::instruments(&feed, answers.collect()).unwrap();
    let adapter = Deribit::load(feed, instruments.clone()).unwrap();
    let plan = adapter.plan().unwrap();
    Session { adapter, instruments, plan }
}

/// The events of golden lines, without what the oracle does not calculate.
pub fn comparable(lines: &[Value]) -> Vec<Value> {
    lines.iter().filter(|line| line.get("event").is_some()).map(testkit::comparable).collect()
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

/// The events that a message holds, as golden lines without frame numbers; none where it cannot be read.
pub fn events(session: &Session<Deribit>, frame: &OwnedFrame) -> Option<Vec<Value>> {
    let message: Members<'_> = serde_json::from_slice(&frame.bytes).ok()?;
    if text(message.get("method")?)? != "subscription" {
        return None;
    }
    let params = members(message.get("params")?)?;
    let (channel, data) = (text(params.get("channel")?)?, *params.get("data")?);
    let (kind, rest) = channel.split_once('.')?;
    let instrument = rest.rsplit_once('.').map(|(instrument, _)| instrument);
    match kind {
        "book" => book(session, instrument?, &members(data)?).map(|event| vec![event]),
        "ticker" => ticker(session, instrument?, &members(data)?, frame.at),
        "trades" => trades(session, data),
        "deribit_volatility_index" => {
            volatility(session, rest, &members(data)?, frame.at).map(|event| vec![event])
        }
        _ => None,
    }
}

fn book(session: &Session<Deribit>, instrument: &str, data: &Members<'_>) -> Option<Value> {
    let instrument = find(session, instrument)?;
    let given =
        |key: &str| data.get(key).copied().filter(|value| !matches!(value.get().trim(), "null" | "\"\""));
    let is_given = |key: &str| given(key).is_some();
    let previous = match given("prev_change_id") {
        Some(id) => Some(integer(id)?),
        None => None,
    };
    let snapshot = match (given("type").map(text), previous) {
        (Some(Some(kind)), _) if kind == "snapshot" => true,
        (Some(Some(kind)), previous) if kind == "change" => previous? == 0,
        (Some(_), _) => return None,
        (None, previous) => previous.is_none_or(|id| id == 0),
    };
    if !is_given("bids") && !is_given("asks") {
        return None;
    }
    let side = |key: &str| -> Option<Value> {
        if !is_given(key) {
            return Some(json!([]));
        }
        let rows: Vec<Vec<&RawValue>> = serde_json::from_str(data.get(key)?.get()).ok()?;
        let level = |row: Vec<&RawValue>| {
            let (price, amount) = (number(row.get(1)?)?, number(row.get(2)?)?);
            let gone = text(row.first()?)? == "delete";
            if gone && snapshot {
                return None;
            }
            let quantity = if gone { "0".to_owned() } else { instrument.base(&amount, &price)? };
            Some(json!([price, quantity]))
        };
        rows.into_iter().map(level).collect::<Option<Vec<_>>>().map(Value::from)
    };
    let id = integer(data.get("change_id")?)?;
    let previous = previous.filter(|_| !snapshot);
    Some(json!({"kind": "book", "event": {
        "instrument": instrument.name, "change": if snapshot { "snapshot" } else { "delta" },
        "time_us": if is_given("timestamp") { Some(time(data)?) } else { None },
        "first_id": id, "last_id": id, "previous_id": previous, "checksum": null,
        "bids": side("bids")?, "asks": side("asks")?,
    }}))
}

fn ticker(
    session: &Session<Deribit>,
    instrument: &str,
    data: &Members<'_>,
    received_at_ns: i64,
) -> Option<Vec<Value>> {
    let time_us = state_time(data, received_at_ns)?;
    let instrument = find(session, instrument)?;
    let given = |key: &str| data.get(key).and_then(|value| calculated(value));
    let mut events = Vec::new();
    if let Some(rate) = given("funding_8h").filter(|_| instrument.market == MarketType::Perpetual) {
        events.push(json!({"kind": "funding_rate", "event": {
            "instrument": instrument.name, "time_us": time_us, "rate": rate, "funding_time_us": null,
            "next_funding_time_us": null, "interval_hours": 8, "mark_price": given("mark_price"),
            "index_price": given("index_price"),
        }}));
    }
    if let Some(amount) = given("open_interest") {
        let (base, dollars) = if instrument.inverse { (None, Some(amount)) } else { (Some(amount), None) };
        events.push(json!({"kind": "open_interest", "event": {
            "instrument": instrument.name, "time_us": time_us, "base": base, "contracts": null,
            "value_usd": dollars,
        }}));
    }
    Some(events)
}

fn trades(session: &Session<Deribit>, data: &RawValue) -> Option<Vec<Value>> {
    let rows: Vec<Members<'_>> = serde_json::from_str(data.get()).ok()?;
    let mut reported = BTreeSet::new();
    // An element that cannot be read costs only itself.
    let of_rows = rows.iter().filter_map(|row| {
        let mut events = Vec::new();
        let Some(instrument) = find(session, &text(row.get("instrument_name")?)?) else {
            return Some(events);
        };
        let (price, sequence) = (number(row.get("price")?)?, integer(row.get("trade_seq")?)?);
        let quantity = instrument.base(&number(row.get("amount")?)?, &price)?;
        let side = text(row.get("direction")?).filter(|side| matches!(side.as_str(), "buy" | "sell"))?;
        events.push(json!({"kind": "trade", "event": {
            "instrument": instrument.name, "time_us": time(row)?, "id": sequence, "price": price,
            "quantity": quantity, "side": side,
        }}));
        let other = if side == "buy" { "sell" } else { "buy" };
        let mark = row.get("liquidation").and_then(|mark| text(mark));
        let sides = match mark.as_deref() {
            Some("T") => vec![side.as_str()],
            Some("M") => vec![other],
            Some("MT") => vec![side.as_str(), other],
            _ => Vec::new(),
        };
        let new = sides.is_empty() || reported.insert((instrument.name.clone(), sequence));
        for side in sides.into_iter().filter(|_| new && instrument.market != MarketType::Options) {
            events.push(json!({"kind": "liquidation", "event": {
                "instrument": instrument.name, "time_us": time(row)?, "side": side, "price": price,
                "quantity": quantity, "liquidation_time_us": time(row)?, "id": sequence,
            }}));
        }
        Some(events)
    });
    Some(of_rows.flatten().collect())
}

fn volatility(
    session: &Session<Deribit>,
    index: &str,
    data: &Members<'_>,
    received_at_ns: i64,
) -> Option<Value> {
    let coin = index.split('_').next()?.to_uppercase();
    session.instruments.iter().find(|known| known.venue_symbol == index)?;
    Some(json!({"kind": "volatility_index", "event": {
        "instrument": format!("options {coin}"), "time_us": state_time(data, received_at_ns)?,
        "value": calculated(data.get("volatility")?)?, "underlying": coin,
    }}))
}

struct Known {
    name: String,
    market: MarketType,
    inverse: bool,
    quantity_scale: u32,
}

impl Known {
    fn base(&self, amount: &str, price: &str) -> Option<String> {
        if self.inverse { quotient(amount, price, self.quantity_scale) } else { Some(amount.to_owned()) }
    }
}

fn find(session: &Session<Deribit>, venue_symbol: &str) -> Option<Known> {
    let market_instrument = venue_symbol.contains('-');
    let known = session.instruments.iter().find(|known| known.venue_symbol == venue_symbol)?;
    market_instrument.then(|| Known {
        name: format!("{} {}", market_type_name(known.market_type), known.symbol),
        market: known.market_type,
        // The venue's names: coins alone are dollars, `COIN_USDC` is linear, and an option has four parts.
        inverse: !venue_symbol.contains('_') && venue_symbol.split('-').count() == 2,
        quantity_scale: u32::from(known.quantity_scale),
    })
}

fn members(value: &RawValue) -> Option<Members<'_>> {
    serde_json::from_str(value.get()).ok()
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

fn integer(value: &RawValue) -> Option<i64> {
    unquoted(value).parse().ok()
}

/// Numbers are the same in quotes.
fn unquoted(value: &RawValue) -> &str {
    let text = value.get();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

fn time(data: &Members<'_>) -> Option<i64> {
    integer(data.get("timestamp")?)?.checked_mul(1000)
}

/// The time of a state: of its receipt where the venue gives none.
fn state_time(data: &Members<'_>, received_at_ns: i64) -> Option<i64> {
    match data.get("timestamp").map(|value| value.get()) {
        None | Some("null" | "\"\"") => Some(received_at_ns / 1000),
        Some(_) => time(data),
    }
}

/// A JSON number in plain notation; `None` for any other value.
fn number(value: &RawValue) -> Option<String> {
    let text = unquoted(value);
    let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if is_number { testkit::plain_number(text) } else { None }
}

/// As [`number`], for values that the venue calculates: what no decimal holds has at most 18 digits and places, half to even.
fn calculated(value: &RawValue) -> Option<String> {
    let text = number(value)?;
    let (sign, plain) = text.strip_prefix('-').map_or(("", text.as_str()), |plain| ("-", plain));
    let places = plain.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let digits = plain.replace('.', "").trim_start_matches('0').to_owned();
    if places <= 18 && (digits.is_empty() || digits.parse::<i64>().is_ok()) {
        return Some(text);
    }
    let cut = digits.len().saturating_sub(18).max(places.saturating_sub(18));
    // No number type holds that many digits: those behind the places only tell on which side of the half it is.
    let kept = (plain.len() - cut + 2).min(plain.len());
    let rest = plain[kept..].bytes().any(|digit| digit != b'0');
    let short = if rest { format!("{}1", &plain[..kept]) } else { plain[..kept].to_owned() };
    let rounded = quotient(&short, "1", u32::try_from(places.checked_sub(cut)?).ok()?)?;
    Some(if rounded == "0" { rounded } else { format!("{sign}{rounded}") })
}

/// Amount divided by price at this scale, half to even, digit by digit as on paper.
fn quotient(amount: &str, price: &str, scale: u32) -> Option<String> {
    let places = |text: &str| text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let whole = |text: &str| text.replace('.', "");
    let room = |count: usize| "0".repeat(count);
    let width = usize::try_from(scale).ok()?;
    // Each side is moved by the places of the other, so that both are whole.
    let above = format!("{}{}{}", whole(amount), room(places(price)), room(width));
    let below: u128 = format!("{}{}", whole(price), room(places(amount))).parse().ok()?;
    let (mut rest, mut digits) = (0u128, String::new());
    for digit in above.chars() {
        rest = rest * 10 + u128::from(digit.to_digit(10)?);
        digits.push(char::from_digit(u32::try_from(rest.checked_div(below)?).ok()?, 10)?);
        rest %= below;
    }
    let mut value: u128 = digits.parse().ok()?;
    value += u128::from(rest * 2 > below || (rest * 2 == below && value % 2 == 1));
    let padded = format!("{value:0>width$}", width = width + 1);
    let (integer, fraction) = padded.split_at(padded.len() - width);
    let fraction = fraction.trim_end_matches('0');
    Some(if fraction.is_empty() { integer.to_owned() } else { format!("{integer}.{fraction}") })
}
