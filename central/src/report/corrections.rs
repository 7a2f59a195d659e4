//! Corrections in the findings.

use super::document::{CorrectionState, Finding, FindingCode as Code, Level, ReportedCorrection};
use crate::limits;
use crate::time::millis;

/// Corrections that should be carried out by now, and those that hot has lost.
pub fn findings(corrections: &[ReportedCorrection], now_ms: i64) -> Vec<Finding> {
    let due_ms = now_ms.saturating_sub(millis(limits::CORRECTION_DUE));
    corrections.iter().filter_map(|one| finding(one, due_ms)).collect()
}

fn finding(one: &ReportedCorrection, due_ms: i64) -> Option<Finding> {
    let ReportedCorrection { correction, edge, exchange, data_type, at, .. } = one;
    let name = format!("correction {correction} of {data_type} of {exchange}");
    let (code, text, remedy) = match one.state {
        CorrectionState::Pending if at.0 < due_ms => (
            Code::LedgerCorrectionPending,
            format!(
                "{name} was closed at {at} and is not carried out: its events have not all arrived, or windows of its rows are not copied"
            ),
            "run `marketprism-edge renormalize` again with the same arguments".to_owned(),
        ),
        CorrectionState::Lost => (
            Code::LedgerCorrectionLost,
            format!(
                "{name}, closed at {at}, was carried out; hot was put back to a state before it, and may have events as {} gave them",
                one.old_adapter
            ),
            format!("when hot has caught up, run on this edge: {}", one.again.as_deref().unwrap_or_default()),
        ),
        CorrectionState::Pending | CorrectionState::Applied => return None,
    };
    Some(Finding::new(code, Level::Warn, format!("edge {edge}"), text, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    const NOW_MS: i64 = 10_000_000;

    fn closed(age_ms: i64) -> ReportedCorrection {
        ReportedCorrection {
            correction: "0a".into(),
            at: Time(NOW_MS - age_ms),
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
            state: CorrectionState::Pending,
            applied: None,
            again: None,
        }
    }

    #[test]
    fn a_correction_that_is_not_carried_out_in_time_or_lost_is_a_finding() {
        let due_ms = millis(limits::CORRECTION_DUE);
        assert!(findings(&[closed(due_ms)], NOW_MS).is_empty());
        let [finding] = &findings(&[closed(due_ms + 1)], NOW_MS)[..] else { panic!("one") };
        assert!(finding.text.contains("correction 0a of trade of sim_spot"), "{}", finding.text);
        let done = ReportedCorrection { state: CorrectionState::Applied, ..closed(due_ms + 1) };
        assert!(findings(std::slice::from_ref(&done), NOW_MS).is_empty());
        let lost = ReportedCorrection { state: CorrectionState::Lost, again: Some("again".into()), ..done };
        let [finding] = &findings(&[lost], NOW_MS)[..] else { panic!("one") };
        assert_eq!(finding.code, Code::LedgerCorrectionLost);
        assert!(finding.remedy.ends_with("run on this edge: again"), "{}", finding.remedy);
    }
}
