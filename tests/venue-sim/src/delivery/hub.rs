//! Subscribers by stream, and delivery of frames to them through the faults.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::Bytes;

use super::connection::{Connection, Counters, End, Frame, Out};
use crate::fault::{self, FaultAction, FaultSpec, Faults, FrameFacts};
use crate::ledger::Ledger;
use crate::venue::{Stream, Venue};

#[derive(Debug)]
struct ReorderedFrame {
    due: Instant,
    connection: Arc<Connection>,
    frame: Arc<Frame>,
}

#[derive(Debug, Default)]
pub struct Hub {
    connections: BTreeMap<u64, Arc<Connection>>,
    subscribers: HashMap<Arc<str>, Vec<Arc<Connection>>>,
    held: HashMap<(u64, Arc<str>), ReorderedFrame>,
}

pub struct DeliveryContext<'a> {
    pub venue: &'a dyn Venue,
    pub symbol: &'a str,
    pub faults: &'a Faults,
    pub ledger: &'a mut Ledger,
    pub counters: &'a Counters,
}

impl Hub {
    pub fn add(&mut self, connection: Arc<Connection>) {
        self.connections.insert(connection.id, connection);
    }

    pub fn remove(&mut self, id: u64) {
        self.connections.remove(&id);
        for receivers in self.subscribers.values_mut() {
            receivers.retain(|connection| connection.id != id);
        }
        self.subscribers.retain(|_, receivers| !receivers.is_empty());
        self.held.retain(|(connection, _), _| *connection != id);
    }

    /// False when the connection already has this subscription.
    pub fn subscribe(&mut self, stream: &str, connection: &Arc<Connection>) -> bool {
        let receivers = self.subscribers.entry(Arc::from(stream)).or_default();
        if receivers.iter().any(|c| c.id == connection.id) {
            return false;
        }
        receivers.push(connection.clone());
        true
    }

    pub fn unsubscribe(&mut self, stream: &str, connection: u64) {
        if let Some(receivers) = self.subscribers.get_mut(stream) {
            receivers.retain(|c| c.id != connection);
            if receivers.is_empty() {
                self.subscribers.remove(stream);
            }
        }
    }

    pub fn is_wanted(&self, stream: &str) -> bool {
        self.subscribers.contains_key(stream)
    }

    pub fn has_subscribers(&self) -> bool {
        !self.subscribers.is_empty()
    }

    pub fn connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.connections.values()
    }

    /// Connections subscribed to a stream that matches a fault's filters.
    pub fn matching(&self, spec: &FaultSpec, symbol_streams: Option<&[Stream]>) -> Vec<Arc<Connection>> {
        let gets = |connection: &Connection| {
            (spec.stream.is_none() && spec.symbol.is_none())
                || self.subscribers.iter().any(|(stream, receivers)| {
                    spec.stream.as_ref().is_none_or(|part| stream.contains(part.as_str()))
                        && (spec.symbol.is_none()
                            || symbol_streams
                                .is_some_and(|names| names.iter().any(|own| own.name == *stream)))
                        && receivers.iter().any(|c| c.id == connection.id)
                })
        };
        let wanted = |c: &&Arc<Connection>| spec.connection.is_none_or(|id| id == c.id) && gets(c);
        self.connections.values().filter(wanted).cloned().collect()
    }

    /// Sends a frame to all subscribers of its stream, through the faults.
    pub fn dispatch(&mut self, frame: &Arc<Frame>, context: &mut DeliveryContext<'_>) {
        let Hub { subscribers, held, .. } = self;
        if let Some(receivers) = subscribers.get(&frame.stream) {
            deliver(frame, receivers, held, context);
        }
    }

    pub fn dispatch_to(
        &mut self,
        connection: &Arc<Connection>,
        frame: &Arc<Frame>,
        context: &mut DeliveryContext<'_>,
    ) {
        deliver(frame, std::slice::from_ref(connection), &mut self.held, context);
    }

    /// Sends frames held back for reordering that got no successor in time.
    pub fn release_held(&mut self, now: Instant, context: &mut DeliveryContext<'_>) {
        let due: Vec<_> =
            self.held.iter().filter(|(_, h)| h.due <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            if let Some(held) = self.held.remove(&key) {
                offer(&held.connection, &held.frame, context);
            }
        }
    }
}

fn deliver(
    frame: &Arc<Frame>,
    receivers: &[Arc<Connection>],
    held: &mut HashMap<(u64, Arc<str>), ReorderedFrame>,
    context: &mut DeliveryContext<'_>,
) {
    Counters::add(&context.counters.frames, 1);
    let facts = FrameFacts {
        exchange: context.venue.exchange(),
        symbol: context.symbol,
        stream: &frame.stream,
        book: frame.book,
    };
    let effects = context.faults.on_frame(facts, |id| receivers.iter().any(|c| c.id == id));
    for connection in receivers {
        let mut plan = Plan::new();
        for effect in &effects {
            if effect.connection.is_none_or(|id| id == connection.id) {
                plan.apply(effect, frame, connection, context);
            }
        }
        let earlier =
            if held.is_empty() { None } else { held.remove(&(connection.id, frame.stream.clone())) };
        if let Some(due) = plan.hold {
            let late = ReorderedFrame { due, connection: connection.clone(), frame: frame.clone() };
            held.insert((connection.id, frame.stream.clone()), late);
        } else {
            plan.send(frame, connection, context);
        }
        if let Some(late) = earlier {
            offer(&late.connection, &late.frame, context);
        }
    }
}

pub fn offer(connection: &Arc<Connection>, frame: &Arc<Frame>, context: &mut DeliveryContext<'_>) {
    let overflowed_before = connection.ending().is_some();
    if connection.offer(Out::Frame(frame.clone())) {
        Counters::add(&context.counters.queued, 1);
        for entry in &frame.carries {
            context.ledger.note(*entry, |deliveries| deliveries.sent += 1);
        }
    } else if !overflowed_before && connection.ending() == Some(&End::Overflow) {
        Counters::add(&context.counters.overflows, 1);
    }
}

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

    fn apply(
        &mut self,
        spec: &FaultSpec,
        frame: &Arc<Frame>,
        connection: &Connection,
        context: &DeliveryContext<'_>,
    ) {
        let text = || -> String {
            if connection.combined.load(Ordering::Relaxed) {
                frame.wrapped(|stream, raw| context.venue.wrap(stream, raw)).as_str().to_owned()
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
            FaultAction::Garbage | FaultAction::Half | FaultAction::WrongTypes | FaultAction::Checksum => {
                self.before.push(match spec.action {
                    FaultAction::Garbage if spec.binary == Some(true) => {
                        Out::Binary(Bytes::from_static(fault::garbage_binary()))
                    }
                    action => Out::Text(fault::corrupted(action, &text()).into()),
                });
                if spec.replace.unwrap_or(spec.action != FaultAction::Garbage) {
                    self.copies = 0;
                }
            }
            FaultAction::Close => self.end = Some(close_of(spec)),
            FaultAction::Cut => self.end = Some(End::Cut),
            FaultAction::HalfCut => self.end = Some(End::HalfCut),
            _ => {}
        }
    }

    fn send(self, frame: &Arc<Frame>, connection: &Arc<Connection>, context: &mut DeliveryContext<'_>) {
        if let Some(end) = self.end {
            connection.end(end);
        }
        for out in self.before {
            connection.offer(out);
        }
        for _ in 0..self.copies {
            offer(connection, frame, context);
        }
        if self.copies == 0 {
            Counters::add(&context.counters.withheld, 1);
            for entry in &frame.carries {
                context.ledger.note(*entry, |deliveries| deliveries.withheld += 1);
            }
        }
    }
}

pub fn close_of(spec: &FaultSpec) -> End {
    End::Close(spec.code.unwrap_or(1011), spec.reason.clone().unwrap_or_default())
}
