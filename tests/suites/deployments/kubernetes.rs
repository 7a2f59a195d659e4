//! Promise: the overlays of `deploy/kubernetes` build, and each workload in them is probed, bounded and fenced.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use async_nats::ConnectOptions;
use marketprism_tests::nats_files::{NatsFromFiles, certificates, variables};
use marketprism_tests::parts;
use marketprism_tests::wait::eventually;
use serde_json::Value;

use super::{checked, deploy, nats_variables_are_given, text, words, yaml};

/// The manifests of an overlay; `None` where `kubectl` is missing.
fn manifests(overlay: &str) -> Option<Vec<Value>> {
    let folder = deploy("kubernetes/overlays").join(overlay);
    let Ok(output) = Command::new("kubectl").arg("kustomize").arg(folder).output() else {
        eprintln!("SKIPPED: kubectl is missing");
        return None;
    };
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let built = yaml(&text);
    // The operator's own kind has no schema there.
    let core: Vec<&Value> = built.iter().filter(|one| one["kind"] != "ClickHouseInstallation").collect();
    let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    std::fs::write(
        file.path(),
        serde_json::to_vec(&serde_json::json!({"apiVersion": "v1", "kind": "List", "items": core})).unwrap(),
    )
    .unwrap();
    match Command::new("kubernetes-validate").arg("--strict").arg(file.path()).output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(_) => eprintln!("SKIPPED: kubernetes-validate is missing"),
    }
    Some(built)
}

/// Names of the objects of a kind.
fn named(built: &[Value], kind: &str) -> BTreeSet<String> {
    let of_kind = built.iter().filter(|one| one["kind"] == kind);
    of_kind.map(|one| one["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// True if an object of `kind` selects pods with these labels.
fn is_selected(built: &[Value], kind: &str, labels: &Value) -> bool {
    let selectors = built.iter().filter(|one| one["kind"] == kind);
    selectors
        .map(|one| one["spec"].get("podSelector").unwrap_or(&one["spec"]["selector"])["matchLabels"].clone())
        .any(|wanted| wanted.as_object().unwrap().iter().all(|(name, value)| labels.get(name) == Some(value)))
}

fn check_workload(built: &[Value], workload: &Value, documented: &str) {
    let name = workload["metadata"]["name"].as_str().unwrap();
    let template = &workload["spec"]["template"];
    for kind in ["PodDisruptionBudget", "NetworkPolicy"] {
        assert!(is_selected(built, kind, &template["metadata"]["labels"]), "{name}: no {kind}");
    }
    let pod = &template["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
    for volume in pod["volumes"].as_array().unwrap() {
        if let Some(secret) = volume["secret"]["secretName"].as_str() {
            assert!(documented.contains(&format!("`{secret}`")), "{name}: secret {secret} is in no README");
        }
        if let Some(map) = volume["configMap"]["name"].as_str() {
            assert!(named(built, "ConfigMap").contains(map), "{name}: no ConfigMap {map}");
        }
    }
    let mounts = |container: &Value| -> BTreeSet<String> {
        let mounts = container["volumeMounts"].as_array().unwrap().iter();
        mounts.map(|mount| mount["name"].as_str().unwrap().to_owned()).collect()
    };
    for container in pod["containers"].as_array().unwrap() {
        for key in ["livenessProbe", "readinessProbe"] {
            assert!(container[key].is_object(), "{name}: no {key}");
        }
        let resources = &container["resources"];
        assert!(
            resources["requests"]["cpu"].is_string() && resources["limits"]["memory"].is_string(),
            "{name}"
        );
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{name}");
        let claims = workload["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten();
        let given: BTreeSet<String> = claims
            .map(|claim| &claim["metadata"])
            .chain(pod["volumes"].as_array().unwrap())
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(mounts(container), given, "{name}");
        let asked = words(&container["readinessProbe"]["exec"]["command"]);
        if let [program, command, option, ..] = &asked[..] {
            let help = Command::new(parts::binary(program)).arg(command).arg("--help").output().unwrap();
            let text = String::from_utf8_lossy(&help.stdout);
            // Health has a grace period, and is bad while copying to cold fails.
            assert!(option == "--ready" && text.contains(option.as_str()), "{name}: {asked:?}, {help:?}");
        }
    }
}

/// The edge's policy has the ports of its adapters' addresses.
fn venues_are_reached(built: &[Value], config: &Path) {
    let config = text(config);
    let adapters = config.lines().filter_map(|line| line.strip_prefix("adapter = \"")?.split('"').next());
    let policy = built.iter().find(|one| one["kind"] == "NetworkPolicy" && one["metadata"]["name"] == "edge");
    let allowed = policy.map(|policy| policy["spec"]["egress"].to_string()).unwrap_or_default();
    for adapter in adapters {
        let file = parts::adapter_of("binance_spot").with_file_name(Path::new(adapter).file_name().unwrap());
        let output =
            Command::new(parts::binary("marketprism-edge")).args(["adapter", "inspect"]).arg(file).output();
        let described: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        let venues = described["venues"].as_array().unwrap().iter();
        let used = venues.filter(|venue| config.contains(&format!("exchange = {}", venue["exchange"])));
        let mut addresses: Vec<String> = Vec::new();
        for venue in used {
            let endpoints = venue["endpoints"].as_object().unwrap().values();
            addresses.extend(endpoints.map(|address| address.as_str().unwrap().to_owned()));
        }
        assert!(!addresses.is_empty(), "{adapter}");
        for address in addresses {
            let host = address.split('/').nth(2).unwrap();
            let port = host.rsplit_once(':').map_or("443", |(_, port)| port);
            assert!(allowed.contains(&format!("\"port\":{port},")), "{address} is not reached: {allowed}");
        }
    }
}

#[test]
fn the_manifests_build_and_each_workload_is_probed_bounded_and_fenced() {
    let documented = text(&deploy("kubernetes/README.md"));
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(secrets.join("tls.key"), certified.signing_key.serialize_pem()).unwrap();
    for name in ["tls.crt", "ca.crt"] {
        std::fs::write(secrets.join(name), certified.cert.pem()).unwrap();
    }
    for name in ["nats-password", "clickhouse-password", "token", "read-token"] {
        assert!(documented.contains(&format!("`{name}`")), "{name}");
        std::fs::write(secrets.join(name), "a secret of enough characters").unwrap();
    }
    for (overlay, program, config, conf, secret) in [
        ("centre", "marketprism-central", "central.toml", "cluster.conf", "cluster.env"),
        ("tokyo", "marketprism-edge", "edge.toml", "leaf.conf", "leaf.env"),
    ] {
        checked(program, &deploy("kubernetes/overlays").join(overlay).join(config), &secrets, &[]);
        let Some(built) = manifests(overlay) else { continue };
        venues_are_reached(&built, &deploy("kubernetes/overlays").join(overlay).join(config));
        let workloads: Vec<&Value> =
            built.iter().filter(|one| one["kind"] == "Deployment" || one["kind"] == "StatefulSet").collect();
        assert!(workloads.len() >= 2, "{overlay}");
        for workload in workloads {
            check_workload(&built, workload, &documented);
            let container = &workload["spec"]["template"]["spec"]["containers"][0];
            let Some(own) = container["env"].as_array() else { continue };
            let mut given: BTreeSet<String> =
                own.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect();
            let of_secret = variables(&text(&deploy("nats").join(secret)));
            given.extend(
                of_secret
                    .into_keys()
                    .filter(|name| name.starts_with("NATS_PASSWORD") || name == "NATS_HUB_URLS"),
            );
            let include = if conf == "leaf.conf" { "leaf-accounts-tokyo.conf" } else { "accounts.conf" };
            nats_variables_are_given(&[deploy("nats").join(conf), deploy("nats").join(include)], &given);
        }
    }
}

/// By order, Kubernetes waits for a pod to be ready before it replaces it: one with an invalid configuration stays, whatever is applied afterwards.
#[test]
fn a_corrected_configuration_replaces_a_pod_that_never_got_ready() {
    let mut sets = 0;
    for file in ["centre/nats.yml", "edge/leaf.yml", "edge/edge.yml"] {
        let documents = yaml(&text(&deploy("kubernetes/base").join(file)));
        for set in documents.iter().filter(|one| one["kind"] == "StatefulSet") {
            assert_eq!(set["spec"]["podManagementPolicy"], "Parallel", "{file}");
            sets += 1;
        }
    }
    assert_eq!(sets, 3);
}

/// nats-server reads its certificate at a start and at a reload: cert-manager renews it in the pod, and nobody else reloads it.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_take_renewed_certificates_by_themselves() {
    let scripts = ["centre/nats.yml", "edge/leaf.yml"].map(|file| {
        let documents = yaml(&text(&deploy("kubernetes/base").join(file)));
        let workload = documents.into_iter().find(|one| one["kind"] == "StatefulSet").unwrap();
        let command = words(&workload["spec"]["template"]["spec"]["containers"][0]["command"]);
        assert_eq!(command[..2], ["sh", "-c"], "{file}");
        command[2].clone()
    });
    assert_eq!(scripts[0], scripts[1]);
    let folder = tempfile::tempdir().unwrap();
    let [mounted, renewed] = ["mounted", "renewed"].map(|name| folder.path().join(name));
    for authority in [&mounted, &renewed] {
        certificates(authority, &["server", "client"]);
    }
    let mut nats = NatsFromFiles::prepared(folder.path(), &mounted, "single", "nats-0", &[]);
    nats.start_in_container(&scripts[0], &mounted);
    nats.listens().await;
    let (url, password) = (nats.url(), nats.password("CENTRAL").to_owned());
    let connects = |authority: &Path| {
        let options = ConnectOptions::with_user_and_password("central".to_owned(), password.clone())
            .add_root_certificates(authority.join("ca.pem"))
            .add_client_certificate(authority.join("client.pem"), authority.join("client-key.pem"));
        let url = url.clone();
        async move { options.connect(url).await.map(drop).map_err(|error| error.to_string()) }
    };
    eventually("a client of the first authority is let in", || connects(&mounted)).await;
    let stranger = folder.path().join("stranger");
    std::fs::create_dir(&stranger).unwrap();
    for name in ["ca.pem", "client.pem", "client-key.pem"] {
        std::fs::copy(renewed.join(name), stranger.join(name)).unwrap();
    }
    connects(&stranger).await.unwrap_err();
    for name in ["server-key.pem", "server.pem", "ca.pem"] {
        std::fs::copy(renewed.join(name), mounted.join(name)).unwrap();
    }
    eventually("a client of the new authority is let in", || connects(&stranger)).await;
}

/// A pod that is not ready is one to scrape and to ask.
#[test]
fn services_of_edge_and_central_list_pods_that_are_not_ready() {
    for (file, services) in
        [("edge/edge.yml", vec!["edge"]), ("centre/central.yml", vec!["central", "central-metrics"])]
    {
        let documents = yaml(&text(&deploy("kubernetes/base").join(file)));
        assert_eq!(named(&documents, "Service"), services.iter().map(|name| (*name).to_owned()).collect());
        for service in documents.iter().filter(|one| one["kind"] == "Service") {
            assert_eq!(service["spec"]["publishNotReadyAddresses"], true, "{service}");
            let selector = service["spec"]["selector"].as_object().unwrap();
            let pods = documents.iter().map(|one| &one["spec"]["template"]["metadata"]["labels"]);
            let selected = pods.filter(|labels| selector.iter().all(|(name, value)| &labels[name] == value));
            let expected = if service["metadata"]["name"] == "central-metrics" { 2 } else { 1 };
            assert_eq!(selected.count(), expected, "{service}");
        }
    }
}

/// Venues are reached by both families, private addresses by none.
#[test]
fn the_policy_of_the_edge_permits_venues_of_both_families() {
    let documents = yaml(&text(&deploy("kubernetes/base/edge/network-policy.yml")));
    let policy = documents.iter().find(|one| one["metadata"]["name"] == "edge").unwrap();
    let rules = policy["spec"]["egress"].as_array().unwrap().iter();
    let blocks: Vec<&Value> =
        rules.flat_map(|rule| rule["to"].as_array().into_iter().flatten()).map(|to| &to["ipBlock"]).collect();
    for (family, private) in [("0.0.0.0/0", "169.254.0.0/16"), ("::/0", "fc00::/7"), ("::/0", "fe80::/10")] {
        let block = blocks.iter().find(|block| block["cidr"] == family);
        let block = block.unwrap_or_else(|| panic!("no venue of {family}: {blocks:?}"));
        assert!(words(&block["except"]).iter().any(|one| one == private), "{private}: {block}");
    }
}
