//! A stream's guarantees: the most that a report may claim about it.

use serde::{Deserialize, Serialize};

use crate::names::names;

names! {
    /// Numbers of the venue that show a loss.
    Numbering, "numbering", unknown = Unnumbered, {
        /// None: a loss at the venue is visible to nobody.
        Unnumbered = "unnumbered",
        /// Every update names or continues its predecessor; the edge checks it.
        Linked = "linked",
        /// Ids rise by one: the stored ids themselves show every loss.
        ByOne = "by_one",
    }
}

names! {
    /// Share of the events that the venue publishes.
    Completeness, "completeness", unknown = LowerBound, {
        /// Every event.
        Complete = "complete",
        /// Some events: sums are lower bounds.
        LowerBound = "lower_bound",
    }
}

/// Guarantees of the venue for one stream, from the adapter's description and plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// Numbers that show a loss.
    pub numbering: Numbering,
    /// Share of the events that are published.
    pub completeness: Completeness,
    /// Events are requested this long after they happened; 0 without a planned delay.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delay_seconds: u32,
}

impl Capability {
    /// Complete, without numbers and without delay: nothing more than "stored = received" can be claimed.
    pub const UNNUMBERED: Self =
        Self { numbering: Numbering::Unnumbered, completeness: Completeness::Complete, delay_seconds: 0 };
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}
