//! The sources of a plan, and the streams of its connections.

use std::collections::HashMap;

use marketprism_adapter_host::contract::{Connection, Payload, Plan};
use marketprism_adapter_host::{InstrumentIndex, PlanSource, SourceIndex, StreamIndex};
use marketprism_schema::DataType;

/// Streams of a connection by data type and instrument; without instrument: one stream for all.
type ConnectionStreams = HashMap<(DataType, Option<InstrumentIndex>), StreamIndex>;

#[derive(Debug, Clone)]
pub struct SourceMap {
    plan: Plan,
    streams: Vec<ConnectionStreams>,
    instruments: usize,
}

impl SourceMap {
    pub fn new(plan: &Plan, instruments: usize) -> Self {
        let streams = plan.connections.iter().map(connection_streams).collect();
        Self { plan: plan.clone(), streams, instruments }
    }

    pub fn entry(&self, source: SourceIndex) -> Option<PlanSource<'_>> {
        source.entry(&self.plan)
    }

    pub const fn is_connection(&self, source: SourceIndex) -> bool {
        source.position() < self.streams.len()
    }

    /// The stream of a connection that has one only.
    pub fn only_stream(&self, source: SourceIndex) -> Option<StreamIndex> {
        let connection = self.plan.connections.get(source.position())?;
        (connection.streams.len() == 1).then(StreamIndex::default)
    }

    pub fn url(&self, source: SourceIndex) -> Option<&str> {
        Some(&self.entry(source)?.request()?.url)
    }

    pub fn stream(&self, source: SourceIndex, payload: &Payload) -> Option<StreamIndex> {
        let (streams, kind) = (self.streams.get(source.position())?, payload.data_type());
        streams.get(&(kind, Some(payload.instrument()))).or_else(|| streams.get(&(kind, None))).copied()
    }

    pub fn books_of(&self, source: SourceIndex) -> Vec<InstrumentIndex> {
        let Some(streams) = self.streams.get(source.position()) else { return Vec::new() };
        if streams.contains_key(&(DataType::OrderBook, None)) {
            return (0..self.instruments).map(InstrumentIndex::at).collect();
        }
        let books = streams.keys().filter(|(kind, _)| *kind == DataType::OrderBook);
        books.filter_map(|(_, instrument)| *instrument).collect()
    }
}

fn connection_streams(connection: &Connection) -> ConnectionStreams {
    let streams = StreamIndex::enumerate(&connection.streams);
    streams.map(|(index, one)| ((one.data_type.into(), one.instrument.map(Into::into)), index)).collect()
}
