//! The intervals of `fundingInfo`, kept for later mark prices.

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FundingIntervals {
    /// By instrument, none where its row could not be read; none until the venue's list has come.
    hours: Option<Vec<Option<u32>>>,
}

impl FundingIntervals {
    /// Absent while the list is not known: an interval is never assumed.
    pub(crate) fn hours(&self, instrument: u32) -> Option<u32> {
        self.hours.as_ref().and_then(|hours| hours.get(instrument as usize)).copied().flatten()
    }

    pub(crate) fn replace(&mut self, hours: Vec<Option<u32>>) {
        self.hours = Some(hours);
    }
}
