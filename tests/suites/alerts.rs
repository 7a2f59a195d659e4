//! Promise: an alert reads metrics that exist, says what to do, and fires when it should and only then; a dashboard asks for nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use marketprism_tests::parts::{self, text};
use marketprism_tests::process::run;
use serde_json::Value;

/// Of Prometheus and node_exporter.
const FOREIGN_METRICS: [&str; 4] =
    ["up", "node_filesystem_avail_bytes", "node_filesystem_size_bytes", "node_filesystem_readonly"];

fn folder() -> PathBuf {
    parts::root().join("deploy/prometheus")
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
        run(Command::new("promtool").args(arguments).current_dir(folder()));
    }
}

/// No program exposes its job, and no edge its name: an alert that asks for another job never fires, and edges without the label hide each other.
#[test]
fn each_scrape_configuration_has_the_jobs_and_the_label_that_alerts_ask_for() {
    let alerts = text("deploy/prometheus/alerts.yml");
    let jobs: BTreeSet<&str> =
        alerts.split("job=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(jobs, BTreeSet::from(["marketprism-central", "marketprism-edge"]));
    for file in ["prometheus.yml", "kubernetes.yml"] {
        let config = text(&format!("deploy/prometheus/{file}"));
        let scraped = named(&config, "- job_name:");
        assert!(jobs.is_subset(&scraped), "{file}: {scraped:?}");
        let of_edge = config.split("- job_name: ").find(|job| job.starts_with("marketprism-edge")).unwrap();
        assert!(of_edge.contains("labels: {edge: ") || of_edge.contains("target_label: edge\n"), "{file}");
    }
}

/// Another Service `edge` of the cluster was scraped as an edge without a name, and paged when it was down.
#[test]
fn only_the_namespaces_of_the_overlays_are_scraped_in_a_cluster() {
    let config = text("deploy/prometheus/kubernetes.yml");
    let kept = named(&config, "regex:");
    for (overlay, rule) in [("centre", "{};central-metrics;http"), ("tokyo", "marketprism-.+;edge;metrics")] {
        let overlay = text(&format!("deploy/kubernetes/overlays/{overlay}/kustomization.yml"));
        let namespace = named(&overlay, "namespace:").into_iter().next().unwrap();
        assert!(kept.contains(rule.replace("{}", namespace).as_str()), "{kept:?}");
        assert!(!rule.starts_with("marketprism-") || namespace.starts_with("marketprism-"), "{namespace}");
    }
    let keeps = config.matches("action: keep").count();
    assert_eq!(
        config.matches("[__meta_kubernetes_namespace, __meta_kubernetes_service_name,").count(),
        keeps
    );
}

/// Labels of each metric of edge and central, as their own tests hold the tables to what they expose. Those of histograms by their series too.
fn exposed() -> BTreeMap<String, BTreeSet<String>> {
    let tables = text("edge/README.md") + &text("central/README.md");
    let rows = tables.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let mut metrics = BTreeMap::from([("up".to_owned(), BTreeSet::new())]);
    for (name, row) in rows.filter(|(name, _)| name.starts_with("marketprism_") || name.starts_with("nats_"))
    {
        let mut cells = row.split(" | ");
        let kind = cells.next().unwrap().trim();
        let labels: BTreeSet<String> =
            cells.next().unwrap().split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let series: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        for suffix in series {
            metrics.insert(format!("{name}{suffix}"), labels.clone());
        }
    }
    metrics
}

/// Labels of the scrape configuration, of Prometheus, and of histograms.
const ADDED_LABELS: [&str; 4] = ["edge", "instance", "job", "le"];

/// Metrics and labels of a query.
fn of_query(query: &str) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let metrics = query.split(|c| !is_word(c));
    let metrics =
        metrics.filter(|word| word.starts_with("marketprism_") || word.starts_with("nats_") || *word == "up");
    let selectors = query.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let selected = selectors.flat_map(|text| text.split(", ")).filter_map(|one| one.split(['=', '!']).next());
    let groups = query.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
    (metrics.collect(), selected.chain(groups.flat_map(|text| text.split(", "))).collect())
}

/// Of Grafana: no less than the step of a panel, so that a range of it covers every sample however long the panel's time is.
const RATE_INTERVAL: &str = "$__rate_interval";

fn dashboards() -> Vec<(String, Value)> {
    let folder = parts::root().join("deploy/grafana/dashboards");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    };
    paths.map(read).collect()
}

#[test]
fn each_query_of_a_dashboard_is_one_of_the_running_programs() {
    let (exposed, mut rules, mut variables) = (exposed(), String::new(), BTreeSet::new());
    let dashboards = dashboards();
    assert_eq!(dashboards.len(), 5);
    for (name, dashboard) in &dashboards {
        let listed = dashboard["templating"]["list"].as_array().unwrap();
        let own: BTreeSet<&str> = listed.iter().map(|one| one["name"].as_str().unwrap()).collect();
        variables.extend(own.iter().map(|&name| name.to_owned()));
        let panels = dashboard["panels"].as_array().unwrap();
        let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
        let queries: Vec<String> =
            targets.map(|target| target["expr"].as_str().unwrap().replace(RATE_INTERVAL, "1m")).collect();
        let mut used = BTreeSet::new();
        for query in &queries {
            let (metrics, labels) = of_query(query);
            assert!(!metrics.is_empty(), "{name}: {query}");
            let known: BTreeSet<&str> = metrics
                .iter()
                .flat_map(|metric| {
                    exposed.get(*metric).unwrap_or_else(|| panic!("{name}: no metric {metric}"))
                })
                .map(String::as_str)
                .collect();
            let unknown: Vec<_> =
                labels.iter().filter(|one| !known.contains(**one) && !ADDED_LABELS.contains(one)).collect();
            assert!(unknown.is_empty(), "{name}: no label {unknown:?} in {query}");
            used.extend(query.split('$').skip(1).filter_map(|rest| rest.split('"').next()));
            let concrete = query.split('$').next().unwrap().to_owned()
                + &query
                    .split('$')
                    .skip(1)
                    .map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()))
                    .collect::<String>();
            rules += &format!(
                "      - record: a:b:c\n        expr: {}\n",
                serde_json::to_string(&concrete).unwrap()
            );
        }
        assert_eq!(used, own, "{name}: variables");
    }
    assert_eq!(variables, ["consumer", "edge", "stream"].map(str::to_owned).into());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("groups:\n  - name: dashboards\n    rules:\n{rules}")).unwrap();
    match Command::new("promtool").args(["check", "rules", "--lint=none"]).arg(file.path()).output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(_) => eprintln!("SKIPPED: promtool is missing (Debian package prometheus)"),
    }
}

/// A fixed range is shorter than the step of a panel that shows days: what happened between two points would not be drawn.
#[test]
fn a_panel_over_time_shows_every_increase_however_far_it_is_zoomed_out() {
    let mut ranges = 0;
    for (name, dashboard) in dashboards() {
        for panel in dashboard["panels"].as_array().unwrap() {
            if panel["type"] != "timeseries" {
                continue;
            }
            for target in panel["targets"].as_array().unwrap() {
                let query = target["expr"].as_str().unwrap();
                for range in query.split('[').skip(1).filter_map(|rest| rest.split(']').next()) {
                    assert_eq!(range, RATE_INTERVAL, "{name}: {query}");
                    ranges += 1;
                }
            }
        }
    }
    assert!(ranges > 30, "{ranges} ranges");
    let scraped = text("deploy/prometheus/prometheus.yml");
    let interval = named(&scraped, "scrape_interval:").into_iter().next().unwrap();
    let source = text("deploy/grafana/provisioning/datasources/prometheus.yml");
    assert!(
        source.contains(&format!("timeInterval: {interval}}}")),
        "another interval than {interval}: {source}"
    );
}
