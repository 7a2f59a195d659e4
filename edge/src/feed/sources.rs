//! What a source number of a plan stands for.

use std::collections::HashMap;

use marketprism_adapter_host::contract::{self, Payload, Plan, ResyncAction};
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
        instrument: u32,
        /// Its address; none where the snapshot comes in-band.
        url: Option<String>,
    },
}

/// The sources of one plan, and the streams of its connections.
#[derive(Debug, Clone)]
pub struct SourceMap {
    sources: Vec<Source>,
    /// Per connection: the stream that brings a data type of an instrument.
    streams: Vec<HashMap<(DataType, Option<u32>), u32>>,
    /// Per connection: the stream that is its only one.
    only: Vec<Option<u32>>,
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
            instrument: resync.instrument,
            url: match &resync.action {
                ResyncAction::Request(request) => Some(request.url.clone()),
                ResyncAction::Resubscribe(_) => None,
            },
        });
        Self {
            sources: connections.chain(polls).chain(resyncs).collect(),
            streams: plan.connections.iter().map(streams_of).collect(),
            only: plan.connections.iter().map(|c| (c.streams.len() == 1).then_some(0)).collect(),
            instruments,
        }
    }

    /// What a source number stands for.
    #[must_use]
    pub fn get(&self, source: u32) -> Option<&Source> {
        self.sources.get(usize::try_from(source).ok()?)
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
    pub fn only_stream(&self, source: u32) -> Option<u32> {
        self.only.get(usize::try_from(source).ok()?).copied().flatten()
    }

    /// The address of a poll or a snapshot request.
    #[must_use]
    pub fn url(&self, source: u32) -> Option<&str> {
        match self.get(source)? {
            Source::Connection { .. } => None,
            Source::Poll { url, .. } => Some(url),
            Source::Resync { url, .. } => url.as_deref(),
        }
    }

    /// The stream of a connection that brought an event.
    #[must_use]
    pub fn stream(&self, source: u32, payload: &Payload) -> Option<u32> {
        let streams = self.streams.get(usize::try_from(source).ok()?)?;
        let (kind, instrument) = stream_key(payload);
        streams.get(&(kind, Some(instrument))).or_else(|| streams.get(&(kind, None))).copied()
    }

    /// The instruments whose books a connection carries; all of them where one stream carries several.
    #[must_use]
    pub fn books_of(&self, source: u32) -> Vec<u32> {
        let Some(streams) = usize::try_from(source).ok().and_then(|index| self.streams.get(index)) else {
            return Vec::new();
        };
        if streams.contains_key(&(DataType::OrderBook, None)) {
            return (0..u32::try_from(self.instruments).unwrap_or(u32::MAX)).collect();
        }
        let books = streams.keys().filter(|(kind, _)| *kind == DataType::OrderBook);
        books.filter_map(|(_, instrument)| *instrument).collect()
    }
}

fn streams_of(connection: &contract::Connection) -> HashMap<(DataType, Option<u32>), u32> {
    let stream = |(index, stream): (usize, &contract::DataStream)| {
        Some(((data_type(stream.data_type), stream.instrument), u32::try_from(index).ok()?))
    };
    connection.streams.iter().enumerate().filter_map(stream).collect()
}
