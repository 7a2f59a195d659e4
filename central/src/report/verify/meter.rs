//! Progress of a verification.

/// Work done and to do, in rows read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyProgress {
    pub doing: String,
    pub done: u64,
    pub total: u64,
}

pub struct ProgressMeter<'a> {
    on_progress: &'a (dyn Fn(&VerifyProgress) + Sync),
    state: VerifyProgress,
}

impl<'a> ProgressMeter<'a> {
    pub const fn new(on_progress: &'a (dyn Fn(&VerifyProgress) + Sync)) -> Self {
        Self { on_progress, state: VerifyProgress { doing: String::new(), done: 0, total: 0 } }
    }

    pub const fn expect(&mut self, rows: u64) {
        self.state.total = rows;
    }

    pub fn begin(&mut self, doing: impl Into<String>) {
        self.state.doing = doing.into();
        (self.on_progress)(&self.state);
    }

    pub fn add(&mut self, rows: u64) {
        self.state.done = self.state.done.saturating_add(rows).min(self.state.total);
        (self.on_progress)(&self.state);
    }
}
