//! The intervals of `fundingInfo`, kept for later mark prices.

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FundingIntervals {
    /// By instrument; none until the venue's list has come.
    hours: Option<Vec<u32>>,
}

impl FundingIntervals {
    /// Absent while the list is not known: an interval is never assumed.
    pub(crate) fn hours(&self, instrument: u32) -> Option<u32> {
        self.hours.as_ref().and_then(|hours| hours.get(instrument as usize)).copied()
    }

    pub(crate) fn replace(&mut self, hours: Vec<u32>) {
        self.hours = Some(hours);
    }
}
