//! A Prometheus process with the shipped scrape configuration: other targets, a scrape each second, and rules with shorter times.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use marketprism_tests::broker::free_port;
use marketprism_tests::central::get;
use marketprism_tests::parts;
use marketprism_tests::process::Process;
use marketprism_tests::wait::until;
use serde_json::Value;

use super::rules;

#[derive(Debug)]
pub struct Prometheus {
    port: u16,
    /// Alerts that fired.
    pub seen: BTreeSet<String>,
    _process: Process,
}

impl Prometheus {
    /// `None` where the program is missing.
    pub async fn start(folder: &Path, edges: &[(&str, u16)], central: u16) -> Option<Self> {
        let program = parts::program("MARKETPRISM_PROMETHEUS", &["prometheus"])?;
        let folder = folder.join("prometheus");
        std::fs::create_dir_all(&folder).unwrap();
        let shipped = |name: &str| parts::text(&format!("deploy/prometheus/{name}"));
        std::fs::write(folder.join("alerts.yml"), rules::shortened(&shipped("alerts.yml"))).unwrap();
        let targets: String = edges
            .iter()
            .map(|(name, port)| {
                format!("      - targets: [\"127.0.0.1:{port}\"]\n        labels: {{edge: {name}}}\n")
            })
            .collect();
        let mut config = shipped("prometheus.yml");
        for (old, new) in [
            ("scrape_interval: 15s", "scrape_interval: 1s"),
            ("scrape_timeout: 10s", "scrape_timeout: 1s"),
            ("evaluation_interval: 15s", "evaluation_interval: 1s"),
            ("      - targets: [\"127.0.0.1:9093\"]\n        labels: {edge: edge-1}\n", &targets),
            ("127.0.0.1:8085", &format!("127.0.0.1:{central}")),
        ] {
            assert!(config.contains(old), "prometheus.yml has no {old}");
            config = config.replace(old, new);
        }
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        let port = free_port();
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = Process::start("prometheus", &mut command, &folder);
        let url = format!("http://127.0.0.1:{port}/-/ready");
        until("prometheus is ready", Duration::from_secs(60), || get(url.clone())).await;
        Some(Self { port, seen: BTreeSet::new(), _process: process })
    }

    /// Names of the alerts that fire now.
    pub async fn firing(&mut self) -> Result<Vec<String>, String> {
        let text = get(format!("http://127.0.0.1:{}/api/v1/alerts", self.port)).await?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let alerts = answer["data"]["alerts"].as_array().ok_or(text)?;
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let mut names: Vec<String> = firing
            .map(|alert| alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned())
            .collect();
        names.sort();
        names.dedup();
        self.seen.extend(names.iter().cloned());
        Ok(names)
    }

    /// Scrape targets that answer.
    pub async fn targets_up(&self) -> Result<u64, String> {
        let text = get(format!("http://127.0.0.1:{}/api/v1/targets", self.port)).await?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let targets = answer["data"]["activeTargets"].as_array().ok_or(text)?;
        Ok(targets.iter().filter(|target| target["health"] == "up").count() as u64)
    }
}
