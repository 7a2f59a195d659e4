//! The invented venue, read as it is: trades, and order books whose updates name their predecessor.

use crate::fault::Fault;
use marketprism_adapter_sdk::symbol::pair;
use marketprism_adapter_sdk::{
    Answer, Book, BookChange, Budget, Capability, Charge, ChecksumRule, Completeness, Connection, Cursor,
    DataStream, DataType, Delivery, Description, Endpoint, Endpoints, Feed, Frame, Heartbeat, Ignored,
    Instrument, Listing, Loaded, MarketType, Method, Object, Output, Payload, Plan, Refusal, Request,
    Resubscription, Resync, ResyncAction, Scan, SequenceRule, Sides, SimpleAdapter, SnapshotSource, Trade,
    TradeId, Venue, amount, amount_at, each_element, side,
};

/// Streams of one connection.
const STREAMS: usize = 100;

/// The four functions.
#[derive(Debug, Default)]
pub(crate) struct Sound;

impl SimpleAdapter for Sound {
    fn describe() -> Description {
        let venue = |fault: Fault| Venue {
            exchange: fault.exchange().to_owned(),
            market_types: vec![MarketType::Spot],
            capabilities: vec![
                capability(DataType::Trade, SequenceRule::Unnumbered, SnapshotSource::NotApplicable, 0),
                capability(DataType::Orderbook, SequenceRule::Chained, SnapshotSource::InBand, 100),
            ],
            endpoints: vec![endpoint("ws", "wss://stream.example"), endpoint("rest", "https://api.example")],
        };
        Description {
            name: "broken".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            venues: Fault::ALL.map(venue).to_vec(),
        }
    }

    fn instruments(_: &Feed, endpoints: &Endpoints, answers: &[Answer]) -> Scan<Listing> {
        let Some(answer) = answers.first() else {
            return Ok(Listing::Ask(vec![Request {
                method: Method::Get,
                url: format!("{}/markets", endpoints.url("rest")),
                headers: Vec::new(),
                body: None,
                charges: Vec::new(),
                timeout_ms: 10_000,
            }]));
        };
        let mut found = Vec::new();
        let list = Object::whole(&answer.body)?;
        list.read("markets", |cursor, _| each_element(cursor, |cursor| market(cursor, &mut found)))?;
        Ok(Listing::Found(found))
    }

    fn plan(loaded: &Loaded) -> Result<Plan, Refusal> {
        Ok(plan(loaded))
    }

    fn normalize(&mut self, loaded: &Loaded, output: &mut Output, frame: Frame<'_>) -> Scan<()> {
        let message = Object::whole(frame.bytes)?;
        match &*message.read("type", Cursor::text)? {
            "trade" => trade(loaded, output, &message),
            "snapshot" => book(loaded, output, &message, BookChange::Snapshot),
            "update" => book(loaded, output, &message, BookChange::Delta),
            "done" => {
                output.ignored(Ignored::Acknowledgement);
                Ok(())
            }
            _ => {
                output.ignored(Ignored::UnknownKind);
                Ok(())
            }
        }
    }
}

fn capability(
    data_type: DataType,
    sequence: SequenceRule,
    snapshot: SnapshotSource,
    max_depth: u32,
) -> Capability {
    Capability {
        data_type,
        market_types: vec![MarketType::Spot],
        delivery: Delivery::Push,
        sequence,
        checksum: ChecksumRule::Unchecked,
        snapshot,
        contiguous_trade_ids: data_type == DataType::Trade,
        completeness: Completeness::Complete,
        max_depth,
    }
}

fn endpoint(name: &str, url: &str) -> Endpoint {
    Endpoint { name: name.to_owned(), default_url: url.to_owned() }
}

fn market(cursor: &mut Cursor<'_>, found: &mut Vec<Instrument>) -> Scan<()> {
    let listed = Object::parse(cursor)?;
    let (base, quote) = (listed.read("base", Cursor::text)?, listed.read("quote", Cursor::text)?);
    let places = |step: &'static str| listed.read(step, Cursor::decimal).map(|step| step.scale);
    found.push(Instrument {
        symbol: pair(&base, &quote),
        venue_symbol: listed.read("name", Cursor::text)?.into_owned(),
        market_type: MarketType::Spot,
        base: base.into_owned(),
        quote: quote.into_owned(),
        contract_size: None,
        contract_value: None,
        price_scale: places("tick")?,
        quantity_scale: places("step")?,
        trading: true,
    });
    Ok(())
}

fn plan(loaded: &Loaded) -> Plan {
    let mut streams = Vec::new();
    for (index, instrument) in (0_u32..).zip(&loaded.instruments) {
        for data_type in &loaded.feed.data_types {
            let kind = if *data_type == DataType::Trade { "trades" } else { "book" };
            streams.push(DataStream {
                data_type: *data_type,
                instrument: Some(index),
                expected_silence_ms: 0,
                resubscribe: vec![format!(r#"{{"subscribe":"{kind}.{}"}}"#, instrument.venue_symbol)],
            });
        }
    }
    let (mut connections, mut resyncs) = (Vec::new(), Vec::new());
    for (number, part) in (0_u32..).zip(streams.chunks(STREAMS)) {
        let books = part.iter().filter(|stream| stream.data_type == DataType::Orderbook);
        resyncs.extend(books.filter_map(|stream| {
            let again = Resubscription { connection: number, messages: stream.resubscribe.clone() };
            let action = ResyncAction::Resubscribe(again);
            Some(Resync { instrument: stream.instrument?, action, depth_limit: None })
        }));
        connections.push(Connection {
            name: format!("stream-{number}"),
            url: format!("{}/v1", loaded.endpoints.url("ws")),
            headers: Vec::new(),
            on_open: part.iter().flat_map(|stream| stream.resubscribe.clone()).collect(),
            heartbeat: Heartbeat::Passive,
            idle_timeout_ms: 60_000,
            max_age_ms: 0,
            messages_max: 5,
            messages_window_ms: 1_000,
            charges: vec![Charge { budget: "connects".to_owned(), units: 1 }],
            streams: part.to_vec(),
        });
    }
    let budgets = vec![Budget { name: "connects".to_owned(), units: 10, window_ms: 60_000 }];
    Plan { connections, polls: Vec::new(), resyncs, budgets }
}

fn trade(loaded: &Loaded, output: &mut Output, message: &Object<'_>) -> Scan<()> {
    let name = message.read("name", Cursor::text)?;
    let Some((instrument, _)) = loaded.wanted(output, &name, DataType::Trade) else { return Ok(()) };
    output.event(Payload::Trade(Trade {
        instrument,
        time_us: message.read("time_us", Cursor::integer)?,
        id: TradeId::Number(message.read("id", Cursor::unsigned)?),
        price: message.read("price", amount)?,
        quantity: message.read("quantity", amount)?,
        side: message.read("taker", side)?,
    }));
    Ok(())
}

fn book(loaded: &Loaded, output: &mut Output, message: &Object<'_>, change: BookChange) -> Scan<()> {
    let name = message.read("name", Cursor::text)?;
    let Some((index, instrument)) = loaded.wanted(output, &name, DataType::Orderbook) else { return Ok(()) };
    let level = |cursor: &mut Cursor<'_>| {
        cursor.expect(b'[', "a level")?;
        let price = amount_at(cursor, "a price", instrument.price_scale)?;
        cursor.expect(b',', "`,`")?;
        let quantity = amount_at(cursor, "a quantity", instrument.quantity_scale)?;
        cursor.expect(b']', "the end of a level")?;
        Ok((price, quantity))
    };
    let Sides { levels_at, bids, asks } = Sides::read(output, message, ["bids", "asks"], level)?;
    let last_id = message.read("id", Cursor::integer)?;
    let previous_id = match change {
        BookChange::Snapshot => None,
        BookChange::Delta => Some(message.read("previous", Cursor::integer)?),
    };
    output.event(Payload::Book(Book {
        instrument: index,
        change,
        time_us: Some(message.read("time_us", Cursor::integer)?),
        first_id: last_id,
        last_id,
        previous_id,
        checksum: None,
        price_scale: instrument.price_scale,
        quantity_scale: instrument.quantity_scale,
        levels_at,
        bids,
        asks,
    }));
    Ok(())
}
