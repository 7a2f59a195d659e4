//! What a source number of a plan stands for.

use std::collections::HashMap;

use marketprism_adapter_host::contract::{self, Payload, Plan, ResyncAction};
use marketprism_adapter_host::{InstrumentIndex, SourceIndex, StreamIndex};
use marketprism_schema::DataType;

use crate::contract::{data_type, stream_key};

/// A source of frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A websocket connection.
    Connection {
        /// Its name in the plan.
        name: String,
    },
    /// A poll.
    Poll {
        /// What it asks for.
        data_type: DataType,
        /// Its address.
        url: String,
    },
    /// A snapshot request.
    Resync {
        /// Whose book.
        instrument: InstrumentIndex,
        /// Its address; none where the snapshot comes in-band.
        url: Option<String>,
    },
}

/// The sources of one plan, and the streams of its connections.
#[derive(Debug, Clone)]
pub struct SourceMap {
    sources: Vec<Source>,
    /// Per connection: the stream that brings a data type of an instrument.
    streams: Vec<HashMap<(DataType, Option<InstrumentIndex>), StreamIndex>>,
    /// Per connection: the stream that is its only one.
    only: Vec<Option<StreamIndex>>,
    instruments: usize,
}

impl SourceMap {
    /// The sources in the order in which the plan numbers them: connections, polls, resyncs.
    #[must_use]
    pub fn new(plan: &Plan, instruments: usize) -> Self {
        let connections = plan.connections.iter().map(|c| Source::Connection { name: c.name.clone() });
        let polls = plan
            .polls
            .iter()
            .map(|poll| Source::Poll { data_type: data_type(poll.data_type), url: poll.request.url.clone() });
        let resyncs = plan.resyncs.iter().map(|resync| Source::Resync {
            instrument: resync.instrument.into(),
            url: match &resync.action {
                ResyncAction::Request(request) => Some(request.url.clone()),
                ResyncAction::Resubscribe(_) => None,
            },
        });
        Self {
            sources: connections.chain(polls).chain(resyncs).collect(),
            streams: plan.connections.iter().map(streams_of).collect(),
            only: plan
                .connections
                .iter()
                .map(|c| (c.streams.len() == 1).then_some(StreamIndex::default()))
                .collect(),
            instruments,
        }
    }

    /// What a source number stands for.
    #[must_use]
    pub fn get(&self, source: SourceIndex) -> Option<&Source> {
        self.sources.get(source.position())
    }

    /// Number of connections: they come first.
    #[must_use]
    pub const fn connections(&self) -> usize {
        self.streams.len()
    }

    /// Number of all sources.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether the plan has no source at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The stream that is the only one of its connection.
    #[must_use]
    pub fn only_stream(&self, source: SourceIndex) -> Option<StreamIndex> {
        self.only.get(source.position()).copied().flatten()
    }

    /// The address of a poll or a snapshot request.
    #[must_use]
    pub fn url(&self, source: SourceIndex) -> Option<&str> {
        match self.get(source)? {
            Source::Connection { .. } => None,
            Source::Poll { url, .. } => Some(url),
            Source::Resync { url, .. } => url.as_deref(),
        }
    }

    /// The stream of a connection that brought an event.
    #[must_use]
    pub fn stream(&self, source: SourceIndex, payload: &Payload) -> Option<StreamIndex> {
        let streams = self.streams.get(source.position())?;
        let (kind, instrument) = stream_key(payload);
        streams.get(&(kind, Some(instrument))).or_else(|| streams.get(&(kind, None))).copied()
    }

    /// The instruments whose books a connection carries; all of them where one stream carries several.
    #[must_use]
    pub fn books_of(&self, source: SourceIndex) -> Vec<InstrumentIndex> {
        let Some(streams) = self.streams.get(source.position()) else { return Vec::new() };
        if streams.contains_key(&(DataType::OrderBook, None)) {
            return (0..self.instruments).map(InstrumentIndex::at).collect();
        }
        let books = streams.keys().filter(|(kind, _)| *kind == DataType::OrderBook);
        books.filter_map(|(_, instrument)| *instrument).collect()
    }
}

fn streams_of(
    connection: &contract::Connection,
) -> HashMap<(DataType, Option<InstrumentIndex>), StreamIndex> {
    let streams = StreamIndex::enumerate(&connection.streams);
    streams.map(|(index, one)| ((data_type(one.data_type), one.instrument.map(Into::into)), index)).collect()
}
