//! The record of an event: header, event id, encoding.

use std::borrow::Cow;

use async_nats::Subject as NatsSubject;
use bytes::BytesMut;
use marketprism_adapter_host::InstrumentIndex;
use marketprism_adapter_host::contract::{self, Payload, TradeId};
use marketprism_book::BookView;
use marketprism_schema::{
    Body, BookLevels, DataSource, DataType, DataTypeMap, Decimal, Event, EventId, FundingRate, Header,
    InvalidValue, Liquidation, LongShortRatio, MarketType, OpenInterest, OrderBook, StreamId, StreamIdError,
    Trade, VolatilityIndex, WireForm, validate_content,
};

use crate::audit::{AuditStream, StreamTable};
use crate::queue::EventRecord;
use crate::telemetry::CoverageIndex;

/// Size of the shared buffer for encoded events; each record keeps its part of it alive.
const BUFFER_BYTES: usize = 64 * 1024;

/// The edge's part of an event's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventOrigin {
    pub edge: String,
    pub region: String,
    /// `name@version+digest`.
    pub adapter: String,
    pub exchange: String,
}

#[derive(Debug, Clone)]
struct InstrumentRoute {
    symbol: String,
    venue_symbol: String,
    market_type: MarketType,
    subjects: DataTypeMap<NatsSubject>,
    streams: DataTypeMap<Option<AuditStream>>,
}

pub struct EventEncoder {
    origin: EventOrigin,
    instruments: Vec<InstrumentRoute>,
    coverage: DataTypeMap<CoverageIndex>,
    forms: DataTypeMap<WireForm>,
    buffer: BytesMut,
    scratch: Vec<u8>,
    bids: Vec<[i64; 2]>,
    asks: Vec<[i64; 2]>,
}

impl EventEncoder {
    /// # Errors
    /// A symbol is not valid in a subject: an error of the adapter.
    pub fn new(origin: EventOrigin, instruments: &[contract::Instrument]) -> Result<Self, StreamIdError> {
        let routes: Result<Vec<_>, _> =
            instruments.iter().map(|instrument| InstrumentRoute::new(&origin.exchange, instrument)).collect();
        Ok(Self {
            origin,
            instruments: routes?,
            coverage: DataTypeMap::from_fn(|_| CoverageIndex::NONE),
            forms: DataTypeMap::default(),
            buffer: BytesMut::with_capacity(BUFFER_BYTES),
            scratch: Vec::with_capacity(BUFFER_BYTES),
            bids: Vec::new(),
            asks: Vec::new(),
        })
    }

    pub fn set_adapter(&mut self, id: &str) {
        id.clone_into(&mut self.origin.adapter);
    }

    pub const fn with_coverage(mut self, coverage: DataTypeMap<CoverageIndex>) -> Self {
        self.coverage = coverage;
        self
    }

    pub const fn with_forms(mut self, forms: DataTypeMap<WireForm>) -> Self {
        self.forms = forms;
        self
    }

    pub fn with_streams(mut self, streams: &StreamTable) -> Self {
        for (route, streams) in self.instruments.iter_mut().zip(streams) {
            route.streams = *streams;
        }
        self
    }

    /// `None` for order books, and for an instrument that the feed does not have.
    ///
    /// # Errors
    /// A value cannot be true: central would refuse the event.
    pub fn event(
        &mut self,
        payload: &Payload,
        received_at_ns: i64,
        data_source: DataSource,
    ) -> Result<Option<EventRecord>, InvalidValue> {
        let mut digits = itoa::Buffer::new();
        let Some((time_us, body)) = event_body(payload, &mut digits) else { return Ok(None) };
        let sequence = match payload {
            Payload::Trade(contract::Trade { id: TradeId::Number(id), .. }) => i64::try_from(*id).ok(),
            _ => None,
        };
        let record = self.encode(payload.instrument(), time_us, (received_at_ns, data_source), body)?;
        Ok(record.map(|record| EventRecord { sequence, ..record }))
    }

    /// # Errors
    /// As above.
    pub fn book(
        &mut self,
        instrument: InstrumentIndex,
        view: &BookView<'_>,
        depth: u32,
    ) -> Result<Option<EventRecord>, InvalidValue> {
        let (mut bids, mut asks) = (std::mem::take(&mut self.bids), std::mem::take(&mut self.asks));
        bids.clear();
        asks.clear();
        bids.extend(view.bids().map(|(price, quantity)| [price, quantity]));
        asks.extend(view.asks().map(|(price, quantity)| [price, quantity]));
        let body = Body::OrderBook(OrderBook {
            last_update_id: view.last_update_id(),
            checksum: view.checksum(),
            levels: BookLevels {
                price_scale: view.price_scale(),
                quantity_scale: view.quantity_scale(),
                bids: Cow::Borrowed(&bids),
                asks: Cow::Borrowed(&asks),
            },
            depth,
            epoch: view.epoch(),
        });
        let record = self.of_book(instrument, view, body);
        self.bids = bids;
        self.asks = asks;
        record
    }

    /// A record of the update that the view is of.
    ///
    /// # Errors
    /// As above.
    pub(super) fn of_book(
        &mut self,
        instrument: InstrumentIndex,
        view: &BookView<'_>,
        body: Body<'_>,
    ) -> Result<Option<EventRecord>, InvalidValue> {
        let received_at_ns = view.received_at_ns();
        let time_us = view.time_us().unwrap_or(received_at_ns / 1_000);
        let record = self.encode(instrument, time_us, (received_at_ns, DataSource::Live), body)?;
        Ok(record.map(|record| EventRecord { sequence: Some(view.last_update_id()), ..record }))
    }

    fn encode(
        &mut self,
        instrument: InstrumentIndex,
        time_us: i64,
        (received_at_ns, data_source): (i64, DataSource),
        body: Body<'_>,
    ) -> Result<Option<EventRecord>, InvalidValue> {
        let Some(route) = self.instruments.get(instrument.position()) else { return Ok(None) };
        let data_type = body.data_type();
        let mut event = Event {
            header: Header {
                exchange: Cow::Borrowed(&self.origin.exchange),
                market_type: route.market_type,
                symbol: Cow::Borrowed(&route.symbol),
                venue_symbol: Cow::Borrowed(&route.venue_symbol),
                timestamp_us: time_us,
                received_at_ns,
                event_id: EventId(0),
                edge: Cow::Borrowed(&self.origin.edge),
                region: Cow::Borrowed(&self.origin.region),
                adapter: Cow::Borrowed(&self.origin.adapter),
                data_source,
            },
            body,
        };
        validate_content(&event, received_at_ns)?;
        event.header.event_id = EventId::of(&event);
        self.scratch.clear();
        let form = self.forms[data_type];
        form.encode(&event, &mut self.scratch);
        // `reserve` would move the rest of a used-up buffer into a new one of the size of this event only.
        if self.buffer.capacity() < self.scratch.len() {
            self.buffer = BytesMut::with_capacity(BUFFER_BYTES.max(self.scratch.len()));
        }
        self.buffer.extend_from_slice(&self.scratch);
        Ok(Some(EventRecord {
            subject: route.subjects[data_type].clone(),
            event_id: event.header.event_id,
            data_type,
            form,
            stream: route.streams[data_type],
            sequence: None,
            coverage: self.coverage[data_type],
            received_at_ns,
            timestamp_us: time_us,
            payload: self.buffer.split().freeze(),
            journal: None,
            is_resend: false,
        }))
    }
}

impl InstrumentRoute {
    fn new(exchange: &str, instrument: &contract::Instrument) -> Result<Self, StreamIdError> {
        let market_type = MarketType::from(instrument.market_type);
        let mut subjects = DataTypeMap::from_fn(|_| NatsSubject::from(""));
        for kind in DataType::ALL {
            let id = StreamId::new(*kind, exchange, market_type, &instrument.symbol)?;
            subjects[*kind] = NatsSubject::from(id.to_string());
        }
        Ok(Self {
            symbol: instrument.symbol.clone(),
            venue_symbol: instrument.venue_symbol.clone(),
            market_type,
            subjects,
            streams: DataTypeMap::default(),
        })
    }
}

fn id_text<'a>(id: &'a TradeId, digits: &'a mut itoa::Buffer) -> &'a str {
    match id {
        TradeId::Number(number) => digits.format(*number),
        TradeId::Text(text) => text,
    }
}

/// Venue time and body of an event; `None` for order books, which pass through the order-book engine.
fn event_body<'a>(payload: &'a Payload, digits: &'a mut itoa::Buffer) -> Option<(i64, Body<'a>)> {
    let decimal = |value: Option<contract::Decimal>| value.map(Decimal::from);
    Some(match payload {
        Payload::Book(_) => return None,
        Payload::Trade(trade) => (
            trade.time_us,
            Body::Trade(Trade {
                trade_id: Cow::Borrowed(id_text(&trade.id, digits)),
                price: trade.price.into(),
                quantity: trade.quantity.into(),
                side: trade.side.into(),
            }),
        ),
        Payload::FundingRate(rate) => (
            rate.time_us,
            Body::FundingRate(FundingRate {
                funding_rate: rate.rate.into(),
                funding_time_us: rate.funding_time_us,
                next_funding_time_us: rate.next_funding_time_us,
                interval_hours: rate.interval_hours,
                mark_price: decimal(rate.mark_price),
                index_price: decimal(rate.index_price),
            }),
        ),
        Payload::OpenInterest(interest) => (
            interest.time_us,
            Body::OpenInterest(OpenInterest {
                open_interest: decimal(interest.base),
                open_interest_contracts: decimal(interest.contracts),
                open_interest_value: decimal(interest.value_usd),
            }),
        ),
        Payload::Liquidation(order) => (
            order.time_us,
            Body::Liquidation(Liquidation {
                side: order.side.into(),
                price: order.price.into(),
                quantity: order.quantity.into(),
                liquidation_time_us: order.liquidation_time_us,
                liquidation_id: Cow::Borrowed(order.id.as_ref().map_or("", |id| id_text(id, digits))),
            }),
        ),
        Payload::LsrTopPosition(shares) => (shares.time_us, Body::LsrTopPosition(ratio(shares))),
        Payload::LsrAllAccount(shares) => (shares.time_us, Body::LsrAllAccount(ratio(shares))),
        Payload::VolatilityIndex(index) => (
            index.time_us,
            Body::VolatilityIndex(VolatilityIndex {
                index_value: index.value.into(),
                underlying_asset: Cow::Borrowed(&index.underlying),
            }),
        ),
    })
}

fn ratio(shares: &contract::LongShortRatio) -> LongShortRatio<'_> {
    LongShortRatio {
        long: shares.long.into(),
        short: shares.short.into(),
        ratio: shares.ratio.map(Into::into),
        period: Cow::Borrowed(&shares.period),
    }
}
