//! Promise: no log of a shipped service fills a disk, and each service has the time that its stop takes.

use std::path::Path;

use serde_json::Value;

use super::{deploy, text, words, yaml};

const COMPOSED: [&str; 3] = ["all.yml", "centre.yml", "edge.yml"];
const LOGS: &str = "clickhouse/logs.xml";

/// Services of all compose files by file and name.
fn services() -> Vec<(String, Value)> {
    let of_file = |file: &&str| {
        let whole = yaml(&text(&deploy("compose").join(file))).remove(0);
        let services = whole["services"].as_object().unwrap().clone();
        services.into_iter().map(|(name, service)| (format!("{file}: {name}"), service)).collect::<Vec<_>>()
    };
    COMPOSED.iter().flat_map(of_file).collect()
}

/// `90s` or `2m`.
fn seconds(duration: &str) -> u64 {
    let (number, unit) = duration.split_at(duration.len() - 1);
    number.parse::<u64>().unwrap() * if unit == "m" { 60 } else { 1 }
}

fn grace(service: &Value) -> u64 {
    service["stop_grace_period"].as_str().map_or(10, seconds)
}

fn is_image(service: &Value, name: &str) -> bool {
    service["image"].as_str().is_some_and(|image| image.starts_with(name))
}

fn documents(path: &Path, kind: &str) -> Vec<Value> {
    let all = yaml(&text(path));
    all.into_iter().filter(|one| one["kind"] == kind).collect()
}

#[test]
fn each_container_of_compose_bounds_its_log_and_has_time_to_stop() {
    let services = services();
    assert!(services.len() >= 13, "{}", services.len());
    for (name, service) in &services {
        let logging = &service["logging"];
        assert_eq!(logging["driver"], "json-file", "{name}");
        for limit in ["max-size", "max-file"] {
            assert!(logging["options"][limit].is_string(), "{name}: no {limit}");
        }
        assert!(grace(service) >= 60, "{name}: killed after {} s", grace(service));
    }
}

/// As installed, ClickHouse keeps its system tables for ever and logs at level trace.
#[test]
fn clickhouse_bounds_its_logs_and_system_tables_in_every_deployment() {
    let bounds = text(&deploy(LOGS));
    for bound in ["<level>information</level>", "<size>100M</size>", "<count>3</count>"] {
        assert!(bounds.contains(bound), "no {bound}");
    }
    let tables =
        bounds.lines().map(str::trim).filter(|line| line.split(['>', ' ']).next().unwrap().ends_with("_log"));
    let tables: Vec<&str> = tables.collect();
    for table in ["query_log", "part_log", "trace_log", "text_log", "metric_log", "asynchronous_metric_log"] {
        assert!(tables.iter().any(|line| line.starts_with(&format!("<{table}"))), "no {table}");
    }
    for line in tables {
        assert!(line.contains("INTERVAL 7 DAY DELETE</ttl>") || line.ends_with("remove=\"1\"/>"), "{line}");
    }

    let of_compose = services().into_iter().filter(|(_, service)| is_image(service, "clickhouse/"));
    let of_compose: Vec<(String, Value)> = of_compose.collect();
    assert_eq!(of_compose.len(), 3);
    for (name, service) in of_compose {
        // The folder config.d of the image has its listen addresses.
        let mounted = words(&service["volumes"]);
        assert!(mounted.iter().any(|one| one == "../clickhouse:/etc/clickhouse-server/conf.d:ro"), "{name}");
    }

    let overlay = deploy("kubernetes/overlays/centre");
    let patches = yaml(&text(&overlay.join("kustomization.yml"))).remove(0)["patches"].clone();
    let patch =
        patches.as_array().unwrap().iter().find(|one| one["target"]["kind"] == "ClickHouseInstallation");
    let added = yaml(patch.unwrap()["patch"].as_str().unwrap()).remove(0)[0].clone();
    assert_eq!(added["path"], "/spec/configuration/files");
    let given = added["value"]["config.d/marketprism-logs.xml"].as_str().unwrap();
    assert_eq!(given.trim_end(), bounds.trim_end());
    let installations = documents(&overlay.join("clickhouse.yml"), "ClickHouseInstallation");
    assert_eq!(installations.len(), 2);
    for installation in installations {
        let pod = &installation["spec"]["templates"]["podTemplates"][0]["spec"];
        assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() >= 120, "{installation}");
    }

    let page = text(&deploy("README.md"));
    assert!(
        page.contains("deploy/clickhouse/logs.xml /etc/clickhouse-server/config.d/"),
        "a server of one's own"
    );
}

/// Docker counts a container to which it sent any signal as stopped by hand: after a restart of the host it stays away.
#[test]
fn no_page_sends_signals_to_containers_that_are_to_start_again() {
    for (name, service) in services().iter().filter(|(_, service)| is_image(service, "nats:")) {
        assert_eq!(service["restart"], "unless-stopped", "{name}");
    }
    for page in ["README.md", "OPERATIONS.md", "compose/README.md", "nats/README.md"] {
        let content = text(&deploy(page));
        for line in content.lines().filter(|line| line.contains("docker ")) {
            let is_signal = |command: &str| command.contains(" kill ") && !command.contains(" exec ");
            assert!(!line.split('`').any(is_signal), "{page}: {line}");
        }
    }
    let page = text(&deploy("compose/README.md"));
    assert!(page.contains("exec nats kill -HUP 1"), "the reload of a certificate");
}

/// A time of a configuration of nats-server.
fn setting(kind: &str, name: &str) -> Option<u64> {
    let conf = text(&deploy(&format!("nats/{kind}.conf")));
    conf.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(seconds))
}

/// SIGTERM ends a server at once: its clients lose their connection, its streams their leaders. Without another server that is the shortest
/// outage: lame duck mode stops JetStream first, then waits.
#[test]
fn brokers_with_others_beside_them_stop_by_lame_duck_mode_and_have_time_for_it() {
    let lame_duck = setting("cluster", "lame_duck_duration").unwrap();
    for kind in ["single", "leaf"] {
        assert_eq!(
            setting(kind, "lame_duck_grace_period"),
            Some(1),
            "{kind}: systemd stops it by lame duck mode"
        );
    }
    let brokers: Vec<(String, Value)> =
        services().into_iter().filter(|(_, service)| is_image(service, "nats:")).collect();
    assert_eq!(brokers.len(), 5);
    for (name, service) in brokers {
        let is_lame_duck = service["stop_signal"] == "SIGUSR2";
        assert_eq!(is_lame_duck, name.starts_with("centre.yml"), "{name}");
        assert!(grace(&service) > lame_duck + 10, "{name}: {} s", grace(&service));
    }
    for (file, is_cluster) in [("centre/nats.yml", true), ("edge/leaf.yml", false)] {
        let [broker] = &documents(&deploy("kubernetes/base").join(file), "StatefulSet")[..] else {
            panic!("{file}")
        };
        let pod = &broker["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        // It is process 1, in place of the shell, and its user may send it a signal.
        let started = words(&container["command"]).join(" ");
        assert!(started.trim_end().contains("\nexec nats-server --config "), "{file}: {started}");
        let stop = words(&container["lifecycle"]["preStop"]["exec"]["command"]).join(" ");
        assert_eq!(stop.contains("kill -USR2 1"), is_cluster, "{file}: {stop}");
        assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > lame_duck + 10, "{file}");
        let variables = container["env"].as_array().unwrap();
        let heap =
            variables.iter().find(|one| one["name"] == "GOMEMLIMIT").unwrap()["value"].as_str().unwrap();
        let heap: u64 = heap.strip_suffix("MiB").unwrap().parse().unwrap();
        let limit = container["resources"]["limits"]["memory"].as_str().unwrap();
        let limit = limit.strip_suffix("Gi").unwrap().parse::<u64>().unwrap() * 1024;
        assert!(heap < limit && heap > limit * 8 / 10, "{file}: {heap} of {limit} MiB");
    }
}
