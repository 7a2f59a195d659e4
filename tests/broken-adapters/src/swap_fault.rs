//! A fault that a test writes into the built component: versions of one adapter that a change at run time has to refuse or roll back.

use std::hint::black_box;

use marketprism_adapter_sdk::{
    Description, Frames, Ignored, Instrument, Malformed, Normalized, Note, Payload, Plan, Remark, opposite,
};

/// Bytes before a fault's name in the component.
const MARK: &[u8] = b"swap-fault:";

/// The mark, and the name filled up with dots.
static FAULT: [u8; 32] = *b"swap-fault:none.................";

/// The faults of output concern frames with a `!` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapFault {
    None,
    Trap,
    /// Gives no event.
    Silent,
    WrongSide,
    Malformed,
    Slow,
    MemoryHungry,
    OtherPlan,
    OtherInstruments,
    /// Describes other books.
    OtherVenue,
}

impl SwapFault {
    pub const ALL: [SwapFault; 10] = [
        SwapFault::None,
        SwapFault::Trap,
        SwapFault::Silent,
        SwapFault::WrongSide,
        SwapFault::Malformed,
        SwapFault::Slow,
        SwapFault::MemoryHungry,
        SwapFault::OtherPlan,
        SwapFault::OtherInstruments,
        SwapFault::OtherVenue,
    ];

    pub fn name(self) -> &'static str {
        match self {
            SwapFault::None => "none",
            SwapFault::Trap => "trap",
            SwapFault::Silent => "silent",
            SwapFault::WrongSide => "wrong-side",
            SwapFault::Malformed => "malformed",
            SwapFault::Slow => "slow",
            SwapFault::MemoryHungry => "memory-hungry",
            SwapFault::OtherPlan => "other-plan",
            SwapFault::OtherInstruments => "other-instruments",
            SwapFault::OtherVenue => "other-venue",
        }
    }

    /// The component with this fault. `None`: it is not one of this crate.
    pub fn put(self, component: &[u8]) -> Option<Vec<u8>> {
        let at = component.windows(MARK.len()).position(|bytes| bytes == MARK)? + MARK.len();
        let mut changed = component.to_vec();
        let place = changed.get_mut(at..at + FAULT.len() - MARK.len())?;
        let name = self.name().bytes().chain(std::iter::repeat(b'.'));
        place.iter_mut().zip(name).for_each(|(byte, letter)| *byte = letter);
        Some(changed)
    }

    /// The fault of this component.
    pub(crate) fn of_component() -> SwapFault {
        let fault = black_box(&FAULT);
        let name = fault.get(MARK.len()..).unwrap_or_default();
        let is_named = |fault: &SwapFault| {
            let rest = name.strip_prefix(fault.name().as_bytes());
            rest.is_some_and(|rest| rest.first() == Some(&b'.'))
        };
        SwapFault::ALL.into_iter().find(is_named).unwrap_or(SwapFault::None)
    }

    pub(crate) fn describe(self, mut description: Description) -> Description {
        if self == SwapFault::OtherVenue {
            let venues = description.venues.iter_mut();
            venues.flat_map(|venue| &mut venue.capabilities).for_each(|one| one.max_depth /= 2);
        }
        description
    }

    pub(crate) fn instruments(self, mut instruments: Vec<Instrument>) -> Vec<Instrument> {
        if self == SwapFault::OtherInstruments {
            instruments.iter_mut().for_each(|instrument| instrument.quantity_scale += 1);
        }
        instruments
    }

    pub(crate) fn plan(self, mut plan: Plan) -> Plan {
        if self == SwapFault::OtherPlan {
            plan.connections.iter_mut().for_each(|connection| connection.idle_timeout_ms += 1);
        }
        plan
    }

    pub(crate) fn spoil(self, frames: &Frames, normalized: &mut Normalized) {
        let marked = marked(frames);
        if marked.is_empty() {
            return;
        }
        match self {
            SwapFault::Trap => trap(),
            SwapFault::Slow => drop((0..2_000_000_u64).fold(0, |sum: u64, one| black_box(sum ^ one))),
            SwapFault::MemoryHungry => drop(black_box(vec![1_u8; 80 << 20])),
            SwapFault::WrongSide => {
                let events = normalized.events.iter_mut().filter(|event| marked.contains(&event.frame));
                for event in events {
                    if let Payload::Trade(trade) = &mut event.payload {
                        trade.side = opposite(trade.side);
                    }
                }
            }
            SwapFault::Silent => replace(normalized, &marked, &Remark::Ignored(Ignored::NotNeeded)),
            SwapFault::Malformed => {
                let malformed = Malformed { at: 0, what: "a fault".to_owned(), count: 1 };
                replace(normalized, &marked, &Remark::Malformed(malformed));
            }
            _ => {}
        }
    }
}

#[allow(clippy::panic, reason = "this is the fault")]
fn trap() {
    panic!("a marked frame");
}

/// Frames with a `!`.
fn marked(frames: &Frames) -> Vec<u32> {
    let mut start = 0;
    let mut marked = Vec::new();
    for (index, end) in (0_u32..).zip(&frames.ends) {
        let end = *end as usize;
        if frames.data.get(start..end).is_some_and(|bytes| bytes.contains(&b'!')) {
            marked.push(index);
        }
        start = end;
    }
    marked
}

/// Puts the remark in place of the frames' events.
fn replace(normalized: &mut Normalized, frames: &[u32], remark: &Remark) {
    normalized.events.retain(|event| !frames.contains(&event.frame));
    normalized.notes.extend(frames.iter().map(|frame| Note { frame: *frame, remark: remark.clone() }));
    normalized.notes.sort_by_key(|note| note.frame);
}
