//! The shipped rules with shorter times: an alert that waits for five minutes waits for fifteen seconds. Nothing else is changed.

/// Times of rules are divided by this.
pub const FACTOR: u64 = 20;

/// Thresholds that are times, or messages of a time: as shipped, and here. The last is in minutes.
const THRESHOLDS: [(&str, &str, &str); 6] = [
    ("NoEvents", "> 60", "> 3"),
    ("FeedBehind", "> 30", "> 1.5"),
    ("PublishStalled", "> 30", "> 1.5"),
    ("ConsumerBacklog", "> 50000", "> 2500"),
    ("LedgerBehind", "> 300", "> 15"),
    ("ColdLag", "> 15", "> 0.75"),
];

/// The rules with their times and thresholds divided.
pub fn shortened(rules: &str) -> String {
    let mut alert = String::new();
    let mut text = String::new();
    for line in rules.lines() {
        if let Some(name) = line.trim().strip_prefix("- alert: ") {
            name.clone_into(&mut alert);
        }
        let mut line = match line.split_once("for: ") {
            Some((head, time)) => format!("{head}for: {}s", seconds(time) / FACTOR),
            None => ranges(line),
        };
        for (_, shipped, short) in THRESHOLDS.iter().filter(|(name, ..)| *name == alert) {
            if line.trim().starts_with("expr:") {
                assert!(line.ends_with(shipped), "{alert}: {line} has not the threshold {shipped}");
                line = line.replace(shipped, short);
            }
        }
        text += &format!("{line}\n");
    }
    text
}

/// A line with the ranges in brackets divided.
fn ranges(line: &str) -> String {
    let mut parts = line.split('[');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (range, rest) = part.split_once(']').unwrap();
        text += &format!("[{}s]{rest}", seconds(range) / FACTOR);
    }
    text
}

fn seconds(time: &str) -> u64 {
    let (number, unit) = time.trim().split_at(time.trim().len() - 1);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        other => panic!("unit {other} of {time}"),
    };
    number.parse::<u64>().unwrap() * unit
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use marketprism_tests::parts;

    use super::*;
    use crate::alerts::{NOT_PROVOKED, drills::DRILLS};

    fn names(rules: &str) -> Vec<&str> {
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect()
    }

    fn shipped() -> String {
        parts::text("deploy/prometheus/alerts.yml")
    }

    #[test]
    fn only_times_are_shorter_than_in_the_shipped_rules() {
        let short = shortened(&shipped());
        for line in [
            "for: 3s",
            "for: 180s",
            "_lost_events_total[30s]) > 0",
            "_unacknowledged_seconds > 1.5",
            "lag_minutes > 0.75",
        ] {
            assert!(short.contains(line), "{line}: {short}");
        }
        assert_eq!(names(&short), names(&shipped()));
        let digits = |text: &str| -> String {
            text.chars().filter(|c| !c.is_ascii_digit() && !"[]smh.".contains(*c)).collect()
        };
        assert_eq!(digits(&short), digits(&shipped()));
    }

    #[test]
    fn every_alert_has_a_drill_or_a_reason_why_not() {
        let rules = shipped();
        let drilled: Vec<&str> = DRILLS.iter().flat_map(|drill| drill.alerts).copied().collect();
        let named: Vec<&str> =
            drilled.into_iter().chain(NOT_PROVOKED.iter().map(|(name, _)| *name)).collect();
        let unique: BTreeSet<&str> = named.iter().copied().collect();
        assert_eq!(unique.len(), named.len(), "an alert has two drills");
        assert_eq!(unique, names(&rules).into_iter().collect());
    }
}
