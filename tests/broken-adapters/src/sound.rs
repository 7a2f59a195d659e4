//! The invented venue, read correctly: trades, and order books whose updates name their predecessor.

use crate::broken::Fault;
use marketprism_adapter_sdk::symbol::pair;
use marketprism_adapter_sdk::{
    Answer, Book, BookChange, BookLevels, BookScales, Capability, Connection, Cursor, DataStream, DataType,
    Description, Endpoints, Feed, Frame, Heartbeat, Ignored, Instrument, Listing, LoadedFeed, MarketType,
    Object, Output, ParseResult, Payload, Plan, Ranked, RankingKey, Refusal, Request, SequenceRule,
    SnapshotSource, Trade, TradeId, TradeRange, Venue, VenueAdapter, amount, amount_at, budget, charge,
    each_element, endpoints, get, percent_encoded, pushed, ranked_row, resubscribe, side,
};

const STREAMS_PER_CONNECTION: usize = 100;

#[derive(Debug)]
pub(crate) struct SoundVenue;

impl VenueAdapter for SoundVenue {
    fn describe() -> Description {
        let trade = Capability {
            contiguous_trade_ids: true,
            backfill: true,
            ..pushed(DataType::Trade, &[MarketType::Spot])
        };
        let orderbook = Capability {
            sequence: SequenceRule::Chained,
            snapshot: SnapshotSource::InBand,
            max_depth: 100,
            ..pushed(DataType::Orderbook, &[MarketType::Spot])
        };
        let venue = |fault: Fault| Venue {
            exchange: fault.exchange().to_owned(),
            market_types: vec![MarketType::Spot],
            capabilities: vec![trade.clone(), orderbook.clone()],
            endpoints: endpoints("wss://stream.example", "https://api.example"),
            rankings: if fault == Fault::HiddenRanking { Vec::new() } else { vec![RankingKey::Volume24h] },
        };
        Description {
            name: "broken".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            venues: Fault::ALL.map(venue).to_vec(),
        }
    }

    fn instrument_requests(
        _: &Feed,
        endpoints: &Endpoints,
        answers: &[Answer],
    ) -> Result<Vec<Request>, Refusal> {
        let request = || get(format!("{}/markets", endpoints.url("rest")), Vec::new(), 10_000);
        Ok(if answers.is_empty() { vec![request()] } else { Vec::new() })
    }

    fn instruments(_: &Feed, answers: &[Answer]) -> Result<Listing, Refusal> {
        let mut listing = Listing::new("name");
        for answer in answers {
            let list = Object::whole(&answer.body)?;
            list.read("markets", |cursor, _| each_element(cursor, |cursor| listing.row(cursor, market)))?;
        }
        Ok(listing)
    }

    fn ranking_requests(
        _: &Feed,
        _: RankingKey,
        endpoints: &Endpoints,
        answers: &[Answer],
    ) -> Result<Vec<Request>, Refusal> {
        let request = || get(format!("{}/volumes", endpoints.url("rest")), Vec::new(), 10_000);
        Ok(if answers.is_empty() { vec![request()] } else { Vec::new() })
    }

    fn ranking(_: &Feed, _: RankingKey, answers: &[Answer]) -> Result<Vec<Ranked>, Refusal> {
        let mut rows = Vec::new();
        for answer in answers {
            let list = Object::whole(&answer.body)?;
            list.read("volumes", |cursor, _| {
                each_element(cursor, |cursor| {
                    ranked_row(&mut rows, cursor, |row| {
                        let venue_symbol = row.read("name", Cursor::text)?.into_owned();
                        Ok(Ranked { venue_symbol, value: row.read("volume", amount)?, currency: None })
                    })
                })
            })?;
        }
        Ok(rows)
    }

    fn load(_: &LoadedFeed) -> Result<SoundVenue, Refusal> {
        Ok(SoundVenue)
    }

    fn plan(&mut self, loaded: &LoadedFeed) -> Result<Plan, Refusal> {
        Ok(plan(loaded))
    }

    fn backfill(
        &self,
        loaded: &LoadedFeed,
        instrument: &Instrument,
        trades: TradeRange,
    ) -> Result<Request, Refusal> {
        let name = percent_encoded(&instrument.venue_symbol);
        let url = format!("{}/trade?name={name}&id={}", loaded.endpoints.url("rest"), trades.first);
        Ok(get(url, vec![charge("requests", 1)], 10_000))
    }

    fn normalize(&mut self, loaded: &LoadedFeed, output: &mut Output, frame: Frame<'_>) -> ParseResult<()> {
        let message = Object::whole(frame.bytes)?;
        match &*message.read("type", Cursor::text)? {
            "trade" => trade(loaded, output, &message),
            "snapshot" => book(loaded, output, &message, BookChange::Snapshot),
            "update" => book(loaded, output, &message, BookChange::Delta),
            kind => {
                output.ignored(if kind == "done" { Ignored::Acknowledgement } else { Ignored::UnknownKind });
                Ok(())
            }
        }
    }
}

fn market(cursor: &mut Cursor<'_>) -> ParseResult<Option<Instrument>> {
    let listed = Object::parse(cursor)?;
    let (base, quote) = (listed.read("base", Cursor::text)?, listed.read("quote", Cursor::text)?);
    let (tick, step) = (listed.read("tick", Cursor::decimal)?, listed.read("step", Cursor::decimal)?);
    Ok(Some(Instrument {
        symbol: pair(&base, &quote),
        venue_symbol: listed.read("name", Cursor::text)?.into_owned(),
        market_type: MarketType::Spot,
        base: base.into_owned(),
        quote: quote.into_owned(),
        contract_size: None,
        contract_value: None,
        price_scale: tick.scale,
        quantity_scale: step.scale,
        tick_size: Some(tick),
        step_size: Some(step),
        trading: true,
    }))
}

fn plan(loaded: &LoadedFeed) -> Plan {
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
    for (number, part) in (0_u32..).zip(streams.chunks(STREAMS_PER_CONNECTION)) {
        let books = part.iter().filter(|stream| stream.data_type == DataType::Orderbook);
        resyncs.extend(books.filter_map(|stream| {
            Some(resubscribe(stream.instrument?, number, stream.resubscribe.clone(), None))
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
            charges: vec![charge("connects", 1)],
            streams: part.to_vec(),
        });
    }
    let budgets = vec![budget("connects", 10, 60_000), budget("requests", 10, 1_000)];
    Plan { connections, polls: Vec::new(), resyncs, budgets, clock: None }
}

fn trade(loaded: &LoadedFeed, output: &mut Output, message: &Object<'_>) -> ParseResult<()> {
    let name = message.read("name", Cursor::text)?;
    let Some((instrument, _)) = loaded.subscribed(output, &name, DataType::Trade) else { return Ok(()) };
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

fn book(
    loaded: &LoadedFeed,
    output: &mut Output,
    message: &Object<'_>,
    change: BookChange,
) -> ParseResult<()> {
    let name = message.read("name", Cursor::text)?;
    let Some((index, instrument)) = loaded.subscribed(output, &name, DataType::Orderbook) else {
        return Ok(());
    };
    let scales = BookScales::new(instrument.price_scale, instrument.quantity_scale);
    let levels = BookLevels::read(output, message, ["bids", "asks"], scales, |cursor| {
        cursor.expect(b'[', "a level")?;
        let price = amount_at(cursor, "a price", instrument.price_scale)?;
        cursor.expect(b',', "`,`")?;
        let quantity = amount_at(cursor, "a quantity", instrument.quantity_scale)?;
        cursor.expect(b']', "the end of a level")?;
        Ok((price, quantity))
    })?;
    let last_id = message.read("id", Cursor::integer)?;
    let previous_id = match change {
        BookChange::Snapshot => None,
        BookChange::Delta => Some(message.read("previous", Cursor::integer)?),
    };
    let time_us = Some(message.read("time_us", Cursor::integer)?);
    let book = levels.book(index, change);
    output.event(Payload::Book(Book { time_us, first_id: last_id, last_id, previous_id, ..book }));
    Ok(())
}
