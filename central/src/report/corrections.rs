//! Corrections in the findings.

use super::document::{Finding, FindingCode as Code, Level, ReportedCorrection};
use crate::limits;
use crate::time::millis;

/// Corrections that should be carried out by now.
pub fn findings(corrections: &[ReportedCorrection], now_ms: i64) -> Vec<Finding> {
    let due_ms = now_ms.saturating_sub(millis(limits::CORRECTION_DUE));
    let pending = corrections.iter().filter(|one| one.applied.is_none() && one.at.0 < due_ms);
    let finding = |one: &ReportedCorrection| {
        let ReportedCorrection { correction, edge, exchange, data_type, at, .. } = one;
        let text = format!(
            "correction {correction} of {data_type} of {exchange} was closed at {at} and is not carried out: its events have not \
             all arrived, or windows of its rows are not copied"
        );
        let remedy = "run `marketprism-edge renormalize` again with the same arguments";
        Finding::new(Code::LedgerCorrectionPending, Level::Warn, format!("edge {edge}"), text, remedy)
    };
    pending.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::document::AppliedCorrection;
    use crate::time::Time;

    #[test]
    fn a_correction_that_is_not_carried_out_in_time_is_a_finding() {
        let now_ms = 10_000_000;
        let closed = |age_ms: i64| ReportedCorrection {
            correction: "0a".into(),
            at: Time(now_ms - age_ms),
            edge: "e1".into(),
            exchange: "sim_spot".into(),
            data_type: "trade".into(),
            from: Time(0),
            to: Time(1),
            old_adapter: "a@1".into(),
            new_adapter: "a@2".into(),
            old_digest: String::new(),
            new_digest: String::new(),
            changed: 1,
            added: 0,
            withdrawn: 0,
            state: "pending".into(),
            applied: None,
        };
        let due_ms = millis(limits::CORRECTION_DUE);
        assert!(findings(&[closed(due_ms)], now_ms).is_empty());
        let [finding] = &findings(&[closed(due_ms + 1)], now_ms)[..] else { panic!("one") };
        assert!(finding.text.contains("correction 0a of trade of sim_spot"), "{}", finding.text);
        let applied = AppliedCorrection { at: Time(0), replaced: 1, added: 0, withdrawn: 0, absent: 0 };
        let done = ReportedCorrection { applied: Some(applied), ..closed(due_ms + 1) };
        assert!(findings(std::slice::from_ref(&done), now_ms).is_empty());
    }
}
