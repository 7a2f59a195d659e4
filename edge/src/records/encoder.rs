//! From an adapter's event to the record that is published: the header, the event id, the encoding.

use std::borrow::Cow;

use async_nats::Subject as NatsSubject;
use bytes::BytesMut;
use marketprism_adapter_host::InstrumentIndex;
use marketprism_adapter_host::contract::{self, Payload, TradeId};
use marketprism_book::BookView;
use marketprism_schema::{
    Body, DataType, Decimal, Event, EventId, FundingRate, Header, Levels, Liquidation, LongShortRatio,
    MarketType, OpenInterest, OrderBook, Side, StreamId, StreamIdError, Trade, VolatilityIndex, WireForm,
};

use crate::audit::{NO_STREAM, StreamTable};
use crate::contract::market_type;
use crate::queue::Record;

/// Room that is taken at once for encoded events; a record keeps its part of it alive.
const BUFFER_BYTES: usize = 64 * 1024;

/// Who publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Name of the edge.
    pub edge: String,
    /// Region of the edge.
    pub region: String,
    /// `name@version+digest` of the adapter.
    pub adapter: String,
    /// Exchange id.
    pub exchange: String,
}

/// An instrument with what its records need.
#[derive(Debug, Clone)]
struct InstrumentRoute {
    symbol: String,
    venue_symbol: String,
    market_type: MarketType,
    /// In the order of [`DataType::ALL`].
    subjects: Vec<NatsSubject>,
    /// Numbers of its streams in the audits, in the same order.
    streams: [u32; 8],
}

/// Makes records of one feed.
pub struct EventEncoder {
    origin: Origin,
    instruments: Vec<InstrumentRoute>,
    /// Rows of the coverage table, in the order of [`DataType::ALL`].
    coverage: [u16; 8],
    /// How each data type is encoded, in the same order.
    forms: [WireForm; 8],
    buffer: BytesMut,
    scratch: Vec<u8>,
    bids: Vec<[i64; 2]>,
    asks: Vec<[i64; 2]>,
}

impl EventEncoder {
    /// An envelope for the instruments in the order in which the adapter counts them. A symbol that is no legal part of a subject is
    /// an error of the adapter.
    pub fn new(
        origin: Origin,
        instruments: &[contract::Instrument],
        coverage: [u16; 8],
    ) -> Result<Self, StreamIdError> {
        let listed: Result<Vec<_>, _> =
            instruments.iter().map(|instrument| InstrumentRoute::new(&origin.exchange, instrument)).collect();
        Ok(Self {
            origin,
            instruments: listed?,
            coverage,
            forms: [WireForm::default(); 8],
            buffer: BytesMut::with_capacity(BUFFER_BYTES),
            scratch: Vec::with_capacity(BUFFER_BYTES),
            bids: Vec::new(),
            asks: Vec::new(),
        })
    }

    /// The same with these wire forms, in the order of [`DataType::ALL`].
    #[must_use]
    pub const fn with_forms(mut self, forms: [WireForm; 8]) -> Self {
        self.forms = forms;
        self
    }

    /// The same with the numbers of its streams in the audits.
    #[must_use]
    pub fn with_streams(mut self, streams: &StreamTable) -> Self {
        for (listed, streams) in self.instruments.iter_mut().zip(streams) {
            listed.streams = *streams;
        }
        self
    }

    /// The record of an event that is no order book. `None` for order books, and where the adapter names an instrument that it does
    /// not have.
    pub fn event(&mut self, payload: &Payload, received_at_ns: i64) -> Option<Record> {
        let mut digits = itoa::Buffer::new();
        let (instrument, time_us, body) = event_body(payload, &mut digits)?;
        let mut digits = itoa::Buffer::new();
        let venue_id = match payload {
            Payload::Liquidation(contract::Liquidation { id: Some(TradeId::Number(id)), .. }) => {
                digits.format(*id)
            }
            Payload::Liquidation(contract::Liquidation { id: Some(TradeId::Text(id)), .. }) => id,
            _ => "",
        };
        let sequence = match payload {
            Payload::Trade(contract::Trade { id: TradeId::Number(id), .. }) => i64::try_from(*id).ok(),
            _ => None,
        };
        let record = self.seal(instrument.into(), time_us, received_at_ns, body, venue_id)?;
        Some(Record { sequence, ..record })
    }

    /// The record of a book as it stands.
    pub fn book(&mut self, instrument: InstrumentIndex, view: &BookView<'_>, depth: u32) -> Option<Record> {
        let (mut bids, mut asks) = (std::mem::take(&mut self.bids), std::mem::take(&mut self.asks));
        bids.clear();
        asks.clear();
        bids.extend(view.bids().map(|(price, quantity)| [price, quantity]));
        asks.extend(view.asks().map(|(price, quantity)| [price, quantity]));
        let body = Body::OrderBook(OrderBook {
            last_update_id: view.last_update_id(),
            levels: Levels {
                price_scale: view.price_scale(),
                quantity_scale: view.quantity_scale(),
                bids: Cow::Borrowed(&bids),
                asks: Cow::Borrowed(&asks),
            },
            depth,
            epoch: view.epoch(),
        });
        let received_at_ns = view.received_at_ns();
        let time_us = view.time_us().unwrap_or(received_at_ns / 1_000);
        let record = self.seal(instrument, time_us, received_at_ns, body, "");
        self.bids = bids;
        self.asks = asks;
        Some(Record { sequence: Some(view.last_update_id()), ..record? })
    }

    fn seal(
        &mut self,
        instrument: InstrumentIndex,
        time_us: i64,
        received_at_ns: i64,
        body: Body<'_>,
        venue_id: &str,
    ) -> Option<Record> {
        let listed = self.instruments.get(instrument.position())?;
        let data_type = body.data_type();
        let kind = DataType::ALL.iter().position(|kind| *kind == data_type)?;
        let mut event = Event {
            header: Header {
                exchange: Cow::Borrowed(&self.origin.exchange),
                market_type: listed.market_type,
                symbol: Cow::Borrowed(&listed.symbol),
                venue_symbol: Cow::Borrowed(&listed.venue_symbol),
                timestamp_us: time_us,
                received_at_ns,
                event_id: EventId(0),
                edge: Cow::Borrowed(&self.origin.edge),
                region: Cow::Borrowed(&self.origin.region),
                adapter: Cow::Borrowed(&self.origin.adapter),
            },
            body,
        };
        event.header.event_id = EventId::with_venue_id(&event, venue_id);
        self.scratch.clear();
        let form = self.forms.get(kind).copied().unwrap_or_default();
        form.encode(&event, &mut self.scratch);
        // `reserve` would move what is left of a used-up buffer into a new one of just this event's size.
        if self.buffer.capacity() < self.scratch.len() {
            self.buffer = BytesMut::with_capacity(BUFFER_BYTES.max(self.scratch.len()));
        }
        self.buffer.extend_from_slice(&self.scratch);
        Some(Record {
            subject: listed.subjects.get(kind)?.clone(),
            event_id: event.header.event_id,
            data_type,
            form,
            stream: listed.streams.get(kind).copied().unwrap_or(NO_STREAM),
            sequence: None,
            coverage: self.coverage.get(kind).copied()?,
            received_at_ns,
            timestamp_us: time_us,
            payload: self.buffer.split().freeze(),
        })
    }
}

impl InstrumentRoute {
    fn new(exchange: &str, instrument: &contract::Instrument) -> Result<Self, StreamIdError> {
        let market_type = market_type(instrument.market_type);
        let subjects: Result<Vec<_>, StreamIdError> = DataType::ALL
            .iter()
            .map(|data_type| {
                let subject = StreamId::new(*data_type, exchange, market_type, &instrument.symbol)?;
                Ok(NatsSubject::from(subject.to_string()))
            })
            .collect();
        Ok(Self {
            symbol: instrument.symbol.clone(),
            venue_symbol: instrument.venue_symbol.clone(),
            market_type,
            subjects: subjects?,
            streams: [NO_STREAM; 8],
        })
    }
}

/// Instrument, venue time and body of an event; nothing for order books, which pass through the book engine.
fn event_body<'a>(payload: &'a Payload, digits: &'a mut itoa::Buffer) -> Option<(u32, i64, Body<'a>)> {
    Some(match payload {
        Payload::Book(_) => return None,
        Payload::Trade(trade) => {
            let trade_id = match &trade.id {
                TradeId::Number(number) => Cow::Borrowed(digits.format(*number)),
                TradeId::Text(text) => Cow::Borrowed(text.as_str()),
            };
            let body = Trade {
                trade_id,
                price: decimal(trade.price),
                quantity: decimal(trade.quantity),
                side: side(trade.side),
            };
            (trade.instrument, trade.time_us, Body::Trade(body))
        }
        Payload::FundingRate(rate) => (rate.instrument, rate.time_us, Body::FundingRate(funding_rate(rate))),
        Payload::OpenInterest(interest) => {
            let body = OpenInterest {
                open_interest: interest.base.map(decimal),
                open_interest_contracts: interest.contracts.map(decimal),
                open_interest_value: interest.value_usd.map(decimal),
            };
            (interest.instrument, interest.time_us, Body::OpenInterest(body))
        }
        Payload::Liquidation(order) => {
            let body = Liquidation {
                side: side(order.side),
                price: decimal(order.price),
                quantity: decimal(order.quantity),
                liquidation_time_us: order.liquidation_time_us,
            };
            (order.instrument, order.time_us, Body::Liquidation(body))
        }
        Payload::LsrTopPosition(shares) => {
            (shares.instrument, shares.time_us, Body::LsrTopPosition(ratio(shares)))
        }
        Payload::LsrAllAccount(shares) => {
            (shares.instrument, shares.time_us, Body::LsrAllAccount(ratio(shares)))
        }
        Payload::VolatilityIndex(index) => {
            let body = VolatilityIndex {
                index_value: decimal(index.value),
                underlying_asset: Cow::Borrowed(&index.underlying),
            };
            (index.instrument, index.time_us, Body::VolatilityIndex(body))
        }
    })
}

fn funding_rate(rate: &contract::FundingRate) -> FundingRate {
    FundingRate {
        funding_rate: decimal(rate.rate),
        funding_time_us: rate.funding_time_us,
        next_funding_time_us: rate.next_funding_time_us,
        interval_hours: rate.interval_hours,
        mark_price: rate.mark_price.map(decimal),
        index_price: rate.index_price.map(decimal),
    }
}

fn ratio(shares: &contract::LongShortRatio) -> LongShortRatio<'_> {
    LongShortRatio {
        long: decimal(shares.long),
        short: decimal(shares.short),
        ratio: shares.ratio.map(decimal),
        period: Cow::Borrowed(&shares.period),
    }
}

/// The host has checked the scale.
const fn decimal(value: contract::Decimal) -> Decimal {
    Decimal { mantissa: value.mantissa, scale: value.scale }
}

const fn side(side: contract::Side) -> Side {
    match side {
        contract::Side::Buy => Side::Buy,
        contract::Side::Sell => Side::Sell,
    }
}
