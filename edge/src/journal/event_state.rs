//! State of a journaled event, in memory and in the notes on disk.

use crate::audit::PublishOutcome;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventState {
    /// In memory too: waiting or in flight.
    Queued,
    /// On disk only, to be sent.
    Waiting,
    /// As waiting, but of an earlier run or a closed window. The audits of a killed run count it once it is sent.
    Unaudited,
    /// As unaudited, but acknowledged before: the broker may still know its message id.
    Again,
    Stored,
    /// The broker has it from another edge, or from another message of its id.
    Duplicate,
    /// The broker has it, from this edge or another one.
    Ambiguous,
    Rejected,
    /// Conflated, or lost: not to be sent.
    Settled,
}

impl EventState {
    pub(super) const ALL: [Self; 9] = [
        Self::Queued,
        Self::Waiting,
        Self::Unaudited,
        Self::Again,
        Self::Stored,
        Self::Duplicate,
        Self::Ambiguous,
        Self::Rejected,
        Self::Settled,
    ];
    pub(super) const TO_SEND: [Self; 3] = [Self::Waiting, Self::Unaudited, Self::Again];
    /// States that are noted on disk.
    pub(super) const NOTED: [Self; 6] =
        [Self::Again, Self::Stored, Self::Duplicate, Self::Ambiguous, Self::Rejected, Self::Settled];

    /// The broker has the event.
    pub(super) const fn is_stored(self) -> bool {
        matches!(self, Self::Stored | Self::Duplicate | Self::Ambiguous)
    }

    /// Nothing more will happen to the event, and the broker does not have it.
    pub(super) const fn is_over(self) -> bool {
        matches!(self, Self::Rejected | Self::Settled)
    }

    pub(super) const fn of_outcome(outcome: PublishOutcome) -> Self {
        match outcome {
            PublishOutcome::Stored => Self::Stored,
            PublishOutcome::Duplicate => Self::Duplicate,
            PublishOutcome::Ambiguous => Self::Ambiguous,
            PublishOutcome::Rejected => Self::Rejected,
            PublishOutcome::Conflated | PublishOutcome::Dropped => Self::Settled,
        }
    }

    /// Outcome of an event of a killed run; `None`: it has none yet, or counts in no audit.
    pub(super) const fn outcome(self) -> Option<PublishOutcome> {
        match self {
            Self::Stored => Some(PublishOutcome::Stored),
            Self::Duplicate => Some(PublishOutcome::Duplicate),
            // It was stored, by whom is no longer noted.
            Self::Ambiguous | Self::Again => Some(PublishOutcome::Ambiguous),
            Self::Rejected => Some(PublishOutcome::Rejected),
            Self::Queued | Self::Waiting | Self::Unaudited | Self::Settled => None,
        }
    }
}
