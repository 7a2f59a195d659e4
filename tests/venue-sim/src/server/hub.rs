//! Who gets which stream, and the way of a frame to them through the faults.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};

use super::connection::{Connection, End, Out};
use super::counters::Counters;
use crate::fault::{self, FaultAction, FaultSpec, Faults, FrameFacts};
use crate::frame::Frame;
use crate::ledger::Ledger;
use crate::venue::Venue;

#[derive(Debug)]
struct Held {
    due: Instant,
    connection: Arc<Connection>,
    frame: Arc<Frame>,
}

/// Connections and subscriptions of one exchange.
#[derive(Debug, Default)]
pub struct Hub {
    connections: BTreeMap<u64, Arc<Connection>>,
    subscribers: HashMap<Arc<str>, Vec<Arc<Connection>>>,
    held: HashMap<(u64, Arc<str>), Held>,
}

/// What a frame needs on its way.
pub struct Way<'a> {
    /// The venue, for wrapping.
    pub venue: &'a dyn Venue,
    /// The venue's symbol the frame speaks of.
    pub symbol: &'a str,
    /// Faults.
    pub faults: &'a Faults,
    /// Where attempts are noted.
    pub ledger: &'a mut Ledger,
    /// Where sums are kept.
    pub counters: &'a Counters,
}

impl Hub {
    /// Adds a connection.
    pub fn add(&mut self, connection: Arc<Connection>) {
        self.connections.insert(connection.id, connection);
    }

    /// Takes a connection and its subscriptions away.
    pub fn remove(&mut self, id: u64) {
        self.connections.remove(&id);
        for receivers in self.subscribers.values_mut() {
            receivers.retain(|connection| connection.id != id);
        }
        self.subscribers.retain(|_, receivers| !receivers.is_empty());
        self.held.retain(|(connection, _), _| *connection != id);
    }

    /// Lets a stream flow to a connection; false when it already does.
    pub fn subscribe(&mut self, stream: &str, connection: &Arc<Connection>) -> bool {
        let receivers = self.subscribers.entry(Arc::from(stream)).or_default();
        if receivers.iter().any(|c| c.id == connection.id) {
            return false;
        }
        receivers.push(connection.clone());
        true
    }

    /// Stops a stream's flow to a connection.
    pub fn unsubscribe(&mut self, stream: &str, connection: u64) {
        if let Some(receivers) = self.subscribers.get_mut(stream) {
            receivers.retain(|c| c.id != connection);
            if receivers.is_empty() {
                self.subscribers.remove(stream);
            }
        }
    }

    /// Whether anybody gets a stream.
    #[must_use]
    pub fn is_wanted(&self, stream: &str) -> bool {
        self.subscribers.contains_key(stream)
    }

    /// Whether anybody gets anything.
    #[must_use]
    pub fn has_subscribers(&self) -> bool {
        !self.subscribers.is_empty()
    }

    /// All connections.
    pub fn connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.connections.values()
    }

    /// Connections that get a stream which a fault's filters name, or all of them when it names none.
    #[must_use]
    pub fn matching(&self, spec: &FaultSpec, symbol_streams: Option<&[Arc<str>]>) -> Vec<Arc<Connection>> {
        let gets = |connection: &Connection| {
            (spec.stream.is_none() && spec.symbol.is_none())
                || self.subscribers.iter().any(|(stream, receivers)| {
                    spec.stream.as_ref().is_none_or(|part| stream.contains(part.as_str()))
                        && (spec.symbol.is_none()
                            || symbol_streams.is_some_and(|names| names.contains(stream)))
                        && receivers.iter().any(|c| c.id == connection.id)
                })
        };
        let wanted = |c: &&Arc<Connection>| spec.connection.is_none_or(|id| id == c.id) && gets(c);
        self.connections.values().filter(wanted).cloned().collect()
    }

    /// Sends a frame to everybody who gets its stream, through the faults.
    pub fn dispatch(&mut self, frame: &Arc<Frame>, way: &mut Way<'_>) {
        let Hub { subscribers, held, .. } = self;
        if let Some(receivers) = subscribers.get(&frame.stream) {
            deliver(frame, receivers, held, way);
        }
    }

    /// Sends a frame to one connection, through the faults.
    pub fn dispatch_to(&mut self, connection: &Arc<Connection>, frame: &Arc<Frame>, way: &mut Way<'_>) {
        deliver(frame, std::slice::from_ref(connection), &mut self.held, way);
    }

    /// Sends frames that were held to be out of order and found no successor in time.
    pub fn release_held(&mut self, now: Instant, way: &mut Way<'_>) {
        let due: Vec<_> =
            self.held.iter().filter(|(_, h)| h.due <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            if let Some(held) = self.held.remove(&key) {
                offer(&held.connection, &held.frame, way);
            }
        }
    }
}

fn deliver(
    frame: &Arc<Frame>,
    receivers: &[Arc<Connection>],
    held: &mut HashMap<(u64, Arc<str>), Held>,
    way: &mut Way<'_>,
) {
    Counters::add(&way.counters.frames, 1);
    let facts = FrameFacts {
        exchange: way.venue.exchange(),
        symbol: way.symbol,
        stream: &frame.stream,
        book: frame.book,
    };
    let effects = way.faults.on_frame(facts, |id| receivers.iter().any(|c| c.id == id));
    for connection in receivers {
        let mut plan = Plan::new();
        for effect in &effects {
            if effect.spec.connection.is_none_or(|id| id == connection.id) {
                plan.apply(&effect.spec, frame, connection, way);
            }
        }
        let earlier =
            if held.is_empty() { None } else { held.remove(&(connection.id, frame.stream.clone())) };
        if let Some(due) = plan.hold {
            let late = Held { due, connection: connection.clone(), frame: frame.clone() };
            held.insert((connection.id, frame.stream.clone()), late);
        } else {
            plan.send(frame, connection, way);
        }
        if let Some(late) = earlier {
            offer(&late.connection, &late.frame, way);
        }
    }
}

/// Queues a frame for a connection and notes it.
pub fn offer(connection: &Arc<Connection>, frame: &Arc<Frame>, way: &mut Way<'_>) {
    let overflowed_before = connection.ending().is_some();
    if connection.offer(Out::Frame(frame.clone())) {
        Counters::add(&way.counters.queued, 1);
        for entry in &frame.carries {
            way.ledger.attempted(*entry, connection.id);
        }
    } else if !overflowed_before && connection.ending() == Some(&End::Overflow) {
        Counters::add(&way.counters.overflows, 1);
    }
}

/// What one connection gets instead of, before or after a frame.
struct Plan {
    before: Vec<Out>,
    copies: usize,
    hold: Option<Instant>,
    end: Option<End>,
}

impl Plan {
    fn new() -> Plan {
        Plan { before: Vec::new(), copies: 1, hold: None, end: None }
    }

    fn apply(&mut self, spec: &FaultSpec, frame: &Arc<Frame>, connection: &Connection, way: &Way<'_>) {
        let text = || -> String {
            if connection.combined.load(Ordering::Relaxed) {
                frame.wrapped(|stream, raw| way.venue.wrap(stream, raw)).as_str().to_owned()
            } else {
                frame.raw().as_str().to_owned()
            }
        };
        match spec.action {
            FaultAction::Drop | FaultAction::Gap | FaultAction::Freeze => self.copies = 0,
            FaultAction::Duplicate => self.copies *= 2,
            FaultAction::Reorder => {
                self.hold = Some(Instant::now() + Duration::from_millis(spec.delay_ms.unwrap_or(1000)));
            }
            FaultAction::Garbage if spec.binary == Some(true) => {
                self.spoil(
                    spec.replace.unwrap_or(false),
                    Out::Binary(Bytes::from_static(fault::garbage_binary())),
                );
            }
            FaultAction::Garbage => {
                let garbage = Out::Text(Utf8Bytes::from_static(fault::garbage_text()));
                self.spoil(spec.replace.unwrap_or(false), garbage);
            }
            FaultAction::Half => {
                let half = Out::Text(Utf8Bytes::from(fault::half(&text())));
                self.spoil(spec.replace.unwrap_or(true), half);
            }
            FaultAction::WrongTypes => {
                let wrong = Out::Text(Utf8Bytes::from(fault::wrong_types(&text())));
                self.spoil(spec.replace.unwrap_or(true), wrong);
            }
            FaultAction::Close => self.end = Some(close_of(spec)),
            FaultAction::Cut => self.end = Some(End::Cut),
            FaultAction::HalfCut => self.end = Some(End::HalfCut),
            _ => {}
        }
    }

    fn spoil(&mut self, replace: bool, out: Out) {
        self.before.push(out);
        if replace {
            self.copies = 0;
        }
    }

    fn send(self, frame: &Arc<Frame>, connection: &Arc<Connection>, way: &mut Way<'_>) {
        if let Some(end) = self.end {
            connection.end(end);
        }
        for out in self.before {
            connection.offer(out);
        }
        for _ in 0..self.copies {
            offer(connection, frame, way);
        }
        if self.copies == 0 {
            Counters::add(&way.counters.withheld, 1);
            for entry in &frame.carries {
                way.ledger.withheld(*entry);
            }
        }
    }
}

/// The end a `close` fault asks for.
#[must_use]
pub fn close_of(spec: &FaultSpec) -> End {
    End::Close(spec.code.unwrap_or(1011), spec.reason.clone().unwrap_or_default())
}
