//! Identity of an edge's run in its audits.

use std::time::Duration;

use marketprism_schema::{
    AUDIT_VERSION, Audit, DOWNTIME_VERSION, Downtime, DowntimeReason, EdgeHealth, StreamId,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditOrigin {
    pub edge: String,
    pub region: String,
    pub run_ns: i64,
    /// 1 to 60, a divisor of 60.
    pub window_seconds: u16,
    /// Least time from a window's end to its audit.
    pub settle: Duration,
}

impl AuditOrigin {
    pub(super) fn audit(&self, run: i64, window_start: i64, (from, to): (i64, i64)) -> Audit {
        Audit {
            version: AUDIT_VERSION,
            edge: self.edge.clone(),
            region: self.region.clone(),
            run,
            window_start,
            window_seconds: self.window_seconds,
            from,
            to,
            part: 1,
            parts: 1,
            streams: Vec::new(),
            silent: Vec::new(),
            feeds: Vec::new(),
            health: EdgeHealth::default(),
        }
    }

    pub(super) fn downtime(
        &self,
        from: i64,
        to: Option<i64>,
        reason: DowntimeReason,
        streams: Vec<StreamId>,
    ) -> Downtime {
        let (edge, region) = (self.edge.clone(), self.region.clone());
        Downtime { version: DOWNTIME_VERSION, edge, region, from, to, reason, detail: None, streams }
    }
}

#[cfg(test)]
impl AuditOrigin {
    /// Windows of a minute, which are closed at once.
    pub(crate) fn fixture(run_ns: i64) -> Self {
        let (edge, region) = ("e1".to_owned(), "r1".to_owned());
        Self { edge, region, run_ns, window_seconds: 60, settle: Duration::ZERO }
    }
}
