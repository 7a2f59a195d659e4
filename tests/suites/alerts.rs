//! Promise: an alert reads metrics that exist, says what to do, and fires when it should and only then.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use marketprism_tests::parts;

/// Of Prometheus and node_exporter.
const FOREIGN_METRICS: [&str; 3] = ["up", "node_filesystem_avail_bytes", "node_filesystem_size_bytes"];

fn folder() -> PathBuf {
    parts::root().join("deploy/prometheus")
}

fn text(path: &str) -> String {
    std::fs::read_to_string(parts::root().join(path)).unwrap()
}

/// Words after `key` at the begin of lines.
fn named<'a>(text: &'a str, key: &str) -> BTreeSet<&'a str> {
    text.lines().filter_map(|line| line.trim().strip_prefix(key)).map(str::trim).collect()
}

#[test]
fn each_alert_has_instructions_and_a_case() {
    let alerts = text("deploy/prometheus/alerts.yml");
    let alerts = named(&alerts, "- alert:");
    assert!(alerts.len() > 20, "{alerts:?}");
    assert_eq!(alerts, named(&text("deploy/prometheus/README.md"), "###"));
    assert_eq!(alerts, named(&text("deploy/prometheus/alerts.test.yml"), "- alertname:"));
}

#[test]
fn each_metric_of_an_alert_exists() {
    let listed = text("edge/README.md") + &text("central/README.md");
    let alerts = text("deploy/prometheus/alerts.yml");
    let expressions = named(&alerts, "expr:");
    let mut metrics = BTreeSet::new();
    for expression in &expressions {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        metrics.extend(words.filter(|word| {
            ["marketprism_", "nats_", "node_"].iter().any(|begin| word.starts_with(begin)) || *word == "up"
        }));
    }
    assert!(metrics.len() > 20, "{metrics:?}");
    let unknown = metrics
        .iter()
        .filter(|metric| !FOREIGN_METRICS.contains(metric) && !listed.contains(&format!("| `{metric}` |")));
    assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn each_alert_fires_in_its_case_only() {
    if Command::new("promtool").arg("--version").output().is_err() {
        eprintln!("SKIPPED: promtool is missing (Debian package prometheus)");
        return;
    }
    for arguments in [["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]] {
        let output = Command::new("promtool").args(arguments).current_dir(folder()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}
