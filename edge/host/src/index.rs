//! Typed positions for the contract's bare numbers. They convert with `From` where a contract type is read or written.

use std::fmt;

use crate::contract::{Connection, Plan, Poll, Request, Resync, ResyncAction};

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl $name {
            /// The index of an element at `position`. Positions above 32 bits become the largest index, which names nothing.
            pub fn at(position: usize) -> Self {
                Self(u32::try_from(position).unwrap_or(u32::MAX))
            }

            /// Pairs each item with its index.
            pub fn enumerate<T>(items: impl IntoIterator<Item = T>) -> impl Iterator<Item = (Self, T)> {
                (0..).map(Self).zip(items)
            }

            /// Position in a slice.
            pub const fn position(self) -> usize {
                self.0 as usize
            }
        }

        impl From<u32> for $name {
            fn from(number: u32) -> Self {
                Self(number)
            }
        }

        impl From<$name> for u32 {
            fn from(index: $name) -> Self {
                index.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

index! {
    /// Position of an instrument in the feed's instrument list.
    InstrumentIndex
}
index! {
    /// Position of a frame in its batch.
    FrameIndex
}
index! {
    /// Source of a frame: the plan's connections first, then its polls, then its resyncs, then the backfill of each instrument.
    SourceIndex
}
index! {
    /// Position of a stream in its connection.
    StreamIndex
}
index! {
    /// Position of a resync in the plan.
    ResyncIndex
}

/// The entry of a plan behind a [`SourceIndex`].
#[derive(Clone, Copy, Debug)]
pub enum PlanSource<'a> {
    /// A websocket connection.
    Connection(&'a Connection),
    /// A scheduled request.
    Poll(&'a Poll),
    /// A snapshot action of one book.
    Resync(&'a Resync),
}

impl<'a> PlanSource<'a> {
    /// The request of a poll or a resync.
    pub fn request(self) -> Option<&'a Request> {
        match self {
            Self::Poll(poll) => Some(&poll.request),
            Self::Resync(Resync { action: ResyncAction::Request(request), .. }) => Some(request),
            Self::Connection(_) | Self::Resync(_) => None,
        }
    }
}

impl SourceIndex {
    /// The source of the poll at `position` in the plan.
    pub fn of_poll(plan: &Plan, position: usize) -> Self {
        Self::at(plan.connections.len() + position)
    }

    /// The source of the resync at `position` in the plan.
    pub fn of_resync(plan: &Plan, position: usize) -> Self {
        Self::at(plan.connections.len() + plan.polls.len() + position)
    }

    /// The source of backfill answers of an instrument.
    pub fn of_backfill(plan: &Plan, instrument: InstrumentIndex) -> Self {
        Self::at(Self::of_resync(plan, plan.resyncs.len()).position() + instrument.position())
    }

    /// The instrument whose backfill answers have this source.
    pub fn backfilled(self, plan: &Plan) -> Option<InstrumentIndex> {
        let first = Self::of_resync(plan, plan.resyncs.len());
        self.position().checked_sub(first.position()).map(InstrumentIndex::at)
    }

    /// The plan's entry with this number; none for a backfill.
    pub fn entry(self, plan: &Plan) -> Option<PlanSource<'_>> {
        let connections = plan.connections.iter().map(PlanSource::Connection);
        let polls = plan.polls.iter().map(PlanSource::Poll);
        connections.chain(polls).chain(plan.resyncs.iter().map(PlanSource::Resync)).nth(self.position())
    }
}
