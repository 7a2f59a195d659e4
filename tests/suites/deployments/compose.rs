//! Promise: the files of `deploy/compose` and `deploy/docker` name what exists, each container sees its own secrets, and the command lines work.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use marketprism_tests::broker::free_port;
use marketprism_tests::clickhouse::ClickHouse;
use marketprism_tests::nats_files::variables;
use marketprism_tests::parts;
use marketprism_tests::process::{Process, run};
use marketprism_tests::wait::eventually;
use marketprism_venue_sim::{Sim, SimConfig};
use serde_json::Value;

use super::{checked, deploy, nats_variables_are_given, text, words, yaml};

fn prepare(secrets: &Path, kind: &str, region: &str) -> Output {
    let mut command = Command::new(deploy("compose/prepare.sh"));
    command.arg(kind).env("SECRETS", secrets).env("REGION", region).output().unwrap()
}

fn prepared(folder: &Path, kind: &str) -> PathBuf {
    let secrets = folder.join("secrets");
    for _ in 0..2 {
        let output = prepare(&secrets, kind, "tokyo");
        assert!(output.status.success(), "{output:?}");
    }
    secrets
}

#[test]
fn a_preparation_that_was_interrupted_between_key_and_certificate_is_completed_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = prepared(folder.path(), "all");
    let (key, certificate) = (secrets.join("nats/tls/nats-key.pem"), secrets.join("nats/tls/nats.pem"));
    let before = [text(&key), text(&certificate)];
    std::fs::rename(&certificate, secrets.join("tls/nats.pem")).unwrap();
    let output = prepare(&secrets, "all", "tokyo");
    assert!(output.status.success(), "{output:?}");
    assert!(before == [text(&key), text(&certificate)], "the pair is another one");
}

/// The secrets of a region, with no more of the centre's than its README says.
fn of_region(folder: &Path, centre: &Path, region: &str) -> PathBuf {
    let secrets = folder.join(region);
    for name in ["leaf/tls", "edge/tls"] {
        std::fs::create_dir_all(secrets.join(name)).unwrap();
        for file in files(&centre.join(name)) {
            std::fs::copy(&file, secrets.join(name).join(file.file_name().unwrap())).unwrap();
        }
    }
    let login = format!("nats-password-leaf-{region}");
    std::fs::copy(centre.join(&login), secrets.join(&login)).unwrap();
    let output = prepare(&secrets, "edge", region);
    assert!(output.status.success(), "{output:?}");
    secrets
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// An instruction of a stage of the Dockerfile.
fn instruction(stage: &str, name: &str) -> String {
    let file = text(&deploy("docker/Dockerfile"));
    let stages =
        file.split("\nFROM ").find(|one| one.lines().next().unwrap().ends_with(&format!(" AS {stage}")));
    let found = stages.and_then(|one| one.lines().find_map(|line| line.strip_prefix(name)));
    found.unwrap_or_else(|| panic!("no {name} in stage {stage}")).trim().to_owned()
}

/// Words of a line such as `... CMD ["a", "b"]`.
fn listed(line: &str) -> Vec<String> {
    serde_json::from_str(&line[line.find('[').unwrap()..]).unwrap()
}

fn environment(service: &Value) -> Vec<(String, String)> {
    let given = service["environment"].as_object().into_iter().flatten();
    given
        .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect()
}

/// Mounted folders by their path in the container. A mounted file keeps its inode: one that is renamed over it, as editors, git and certbot do,
/// is not seen until the container is created again.
fn mounts(name: &str, service: &Value, volumes: &Value, secrets: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for volume in words(&service["volumes"]) {
        let mut fields = volume.split(':');
        let (from, to) = (fields.next().unwrap(), fields.next().unwrap());
        if !from.starts_with('.') {
            assert!(volumes.as_object().unwrap().contains_key(from), "{name}: volume {from} is not declared");
            continue;
        }
        let path = match from.strip_prefix("./secrets") {
            Some(rest) => secrets.join(rest.trim_start_matches('/')),
            None => deploy("compose").join(from),
        };
        assert!(path.is_dir(), "{name}: {} is no folder", path.display());
        found.insert(to.to_owned(), path);
    }
    found
}

fn check_service(name: &str, service: &Value, whole: &Value, secrets: &Path) {
    let mounted = mounts(name, service, &whole["volumes"], secrets);
    let mut given: BTreeMap<String, String> = environment(service).into_iter().collect();
    for file in words(&service["env_file"]) {
        let path = secrets.join(file.strip_prefix("secrets/").unwrap());
        for (name, value) in variables(&text(&path)) {
            given.entry(name).or_insert(value);
        }
    }
    let source = |path: &str| {
        let place = |(to, from): (&String, &PathBuf)| Some(from.join(path.strip_prefix(&format!("{to}/"))?));
        mounted.iter().filter_map(place).find(|place| place.is_file())
    };
    let inside = |path: &str| source(path).is_some();
    let seen: Vec<PathBuf> = mounted.values().flat_map(|folder| files(folder)).collect();
    if service["image"].as_str().unwrap().starts_with("nats:") {
        let is_conf = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "conf");
        let confs: Vec<PathBuf> = seen.iter().filter(is_conf).cloned().collect();
        assert_eq!(confs.len(), 2, "{name}: {confs:?}");
        assert!(!seen.iter().any(|path| path.ends_with("ca-key.pem")), "{name}: {seen:?}");
        nats_variables_are_given(&confs, &given.keys().cloned().collect());
        for key in ["NATS_CERT", "NATS_KEY", "NATS_CA"] {
            assert!(inside(&given[key]), "{name}: {key} {} is not mounted", given[key]);
        }
        assert!(inside(&words(&service["command"])[1]), "{name}: its configuration is not mounted");
        let port = given["NATS_MONITOR"].rsplit_once(':').unwrap().1.to_owned();
        assert!(service["healthcheck"]["test"].to_string().contains(&port), "{name}");
    }
    let Some(target) = service["build"]["target"].as_str() else { return };
    let own_user = environment(service).into_iter().find(|(name, _)| name == "MARKETPRISM_NATS__USER");
    let user = own_user
        .map_or_else(|| if target == "edge" { "tokyo-1" } else { target }.to_owned(), |(_, user)| user);
    for file in &seen {
        let file = file.file_name().unwrap().to_str().unwrap();
        assert!(
            !file.contains("nats-password") || file == format!("nats-password-{user}"),
            "{name}: {file} is another user's"
        );
        assert!(
            !file.contains("ca-key") && (target != "edge" || !file.contains("clickhouse")),
            "{name}: {file}"
        );
    }
    assert_eq!(service["build"]["dockerfile"], "deploy/docker/Dockerfile");
    let program = format!("marketprism-{target}");
    assert!(instruction(target, "COPY --from=build").ends_with(&format!("/usr/bin/{program}")));
    let command = words(&service["command"]);
    let config = source(&command[2]).unwrap_or_else(|| panic!("{name}: {} is not mounted", command[2]));
    let own = environment(service);
    checked(&program, &config, &mounted["/run/marketprism"], &own);
    if target == "central" {
        reading_changes_nothing(&text(&config), &mounted["/run/marketprism"]);
    }
    let port = words(&service["ports"])[0].rsplit_once(':').unwrap().1.to_owned();
    assert_eq!(instruction(target, "EXPOSE"), port, "{name}");
    assert!(text(&config).contains(&format!("0.0.0.0:{port}")), "{name}: nothing listens on {port}");
}

/// Whoever may read, as Prometheus does, has another token than who may repair.
fn reading_changes_nothing(config: &str, secrets: &Path) {
    let token = |key: &str| {
        let path = config.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        let name = Path::new(path.unwrap().trim_matches('"')).file_name().unwrap();
        text(&secrets.join(name))
    };
    assert_ne!(token("token_file"), token("read_token_file"));
}

#[test]
fn every_path_port_and_variable_of_the_containers_exists() {
    let folder = tempfile::tempdir().unwrap();
    let all = prepared(&folder.path().join("all"), "all");
    let centre = prepared(&folder.path().join("centre"), "centre");
    let channel = text(&parts::root().join("rust-toolchain.toml"));
    let dockerfile = text(&deploy("docker/Dockerfile"));
    let version = dockerfile.split("FROM rust:").nth(1).unwrap().split('-').next().unwrap();
    assert!(channel.contains(&format!("channel = \"{version}\"")), "another toolchain than {version}");
    for user in ["edge", "central"] {
        assert!(!instruction(user, "ENTRYPOINT").is_empty() && !instruction(user, "HEALTHCHECK").is_empty());
    }
    assert!(instruction("base", "USER").starts_with("10001"), "containers run as root");
    // The client of the broker trusts the system's list, of which the slim image has none.
    assert!(instruction("base", "COPY").contains("/etc/ssl/certs/ca-certificates.crt"));
    let [tokyo, frankfurt] =
        ["tokyo", "frankfurt"].map(|region| (of_region(folder.path(), &centre, region), region));
    let kinds =
        [("all.yml", (all, "")), ("centre.yml", (centre, "")), ("edge.yml", tokyo), ("edge.yml", frankfurt)];
    for (file, (secrets, region)) in &kinds {
        let text = text(&deploy("compose").join(file)).replace("${REGION:-tokyo}", region);
        let whole = yaml(&text).remove(0);
        let services = whole["services"].as_object().unwrap();
        for (name, service) in services {
            check_service(&format!("{file}: {name}"), service, &whole, secrets);
            for (before, how) in service["depends_on"].as_object().into_iter().flatten() {
                assert_eq!(how["condition"], "service_healthy");
                let other = services.get(before).unwrap_or_else(|| panic!("{file}: {before} is no service"));
                assert!(other["healthcheck"].is_object(), "{file}: {before} has no health");
            }
        }
    }
}

/// An upgrade keeps certificates, passwords and tokens that running parts know.
#[test]
fn secrets_of_one_folder_for_all_containers_move_to_those_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = (folder.path().join("before"), prepared(folder.path(), "all"));
    std::fs::create_dir_all(before.join("tls")).unwrap();
    let moved = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_tls = path.parent().unwrap().ends_with("tls");
        (name != "ca.pem" && !name.ends_with(".conf"))
            .then(|| if is_tls { format!("tls/{name}") } else { name.to_owned() })
    };
    let parts = ["nats", "central", "edge"].map(|part| files(&after.join(part))).concat();
    let parts: Vec<(PathBuf, String)> =
        parts.into_iter().filter_map(|path| Some((path.clone(), moved(&path)?))).collect();
    assert!(parts.len() >= 12, "{parts:?}");
    for (path, former) in &parts {
        std::fs::copy(path, before.join(former)).unwrap();
    }
    for former in ["tls/ca.pem", "nats-single.env"] {
        std::fs::copy(after.join(former), before.join(former)).unwrap();
    }
    let output = prepare(&before, "all", "tokyo");
    assert!(output.status.success(), "{output:?}");
    for (path, _) in &parts {
        let kept = before.join(path.strip_prefix(&after).unwrap());
        assert_eq!(text(&kept), text(path), "{}", kept.display());
    }
}

/// nats-server does not start while a user's variable has no value, and the passwords of the others are in use.
#[test]
fn a_user_that_is_new_at_the_broker_gets_a_password_and_no_other_changes() {
    let folder = tempfile::tempdir().unwrap();
    run(Command::new("cp").arg("-r").args([deploy("compose"), deploy("nats")]).arg(folder.path()));
    let secrets = folder.path().join("secrets");
    let prepare = || {
        let mut command = Command::new(folder.path().join("compose/prepare.sh"));
        run(command.arg("all").env("SECRETS", &secrets));
        variables(&text(&secrets.join("nats-single.env")))
    };
    let before = prepare();
    let nats = folder.path().join("nats");
    let edges = text(&nats.join("edges.toml")) + "[[edge]]\nname = \"home-1\"\nexchanges = [\"okx_spot\"]\n";
    std::fs::write(nats.join("edges.toml"), edges).unwrap();
    let mut users = Command::new(parts::binary("marketprism-central"));
    run(users.arg("broker-users").arg(nats.join("edges.toml")).arg("--out").arg(&nats));
    let mut after = prepare();
    let drawn = after.remove("NATS_PASSWORD_HOME_1").unwrap();
    assert_eq!(after, before);
    assert_eq!(text(&secrets.join("nats-password-home-1")).trim(), drawn);
    assert!(text(&secrets.join("nats/authorization.conf")).contains("$NATS_PASSWORD_HOME_1"));
}

/// The processes of `all.yml`, and what asks them for their health.
struct Composed {
    folder: PathBuf,
    secrets: PathBuf,
    whole: Value,
}

impl Composed {
    fn config(&self, name: &str, changes: &[(&str, String)]) -> PathBuf {
        let service = name.trim_end_matches(".toml");
        let mut text = text(&deploy("compose").join(service).join(name));
        let secrets = format!("{}/", self.secrets.join(service).display());
        let adapters = parts::adapter_of("binance_spot").parent().unwrap().to_str().unwrap().to_owned();
        let mounted = [("/run/marketprism/", secrets), ("/usr/lib/marketprism/adapters", adapters)];
        for (from, to) in mounted.iter().chain(changes) {
            assert!(text.contains(from) || *from == "/usr/lib/marketprism/adapters", "{name}: no {from}");
            text = text.replace(from, to);
        }
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// With the words of the service's command, or of the health check of its image.
    fn command(&self, service: &str, is_health: bool) -> Command {
        let words = if is_health {
            listed(&instruction(service, "HEALTHCHECK")).split_off(1)
        } else {
            words(&self.whole["services"][service]["command"])
        };
        let mut command = Command::new(parts::binary(&format!("marketprism-{service}")));
        let config = self.folder.join(format!("{service}.toml"));
        command.args(words.iter().map(|word| match word.ends_with(".toml") {
            true => config.to_str().unwrap(),
            false => word.as_str(),
        }));
        command
    }

    async fn health(&self, service: &str) -> Output {
        tokio::process::Command::from(self.command(service, true)).output().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_lines_of_the_containers_work_and_tell_their_health() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = prepared(folder.path(), "all");
    let whole = yaml(&text(&deploy("compose/all.yml"))).remove(0);
    let composed = Composed { folder: folder.path().to_owned(), secrets: secrets.clone(), whole };
    let clickhouse = ClickHouse::start(folder.path()).await;
    let sim = Sim::start(SimConfig {
        symbols: vec!["BTCUSDT".to_owned(), "ETHUSDT".to_owned()],
        ..SimConfig::default()
    });
    let sim = sim.await.unwrap();

    let nats_port = free_port();
    let mut given = variables(&text(&secrets.join("nats-single.env")));
    for (name, file) in
        [("NATS_CERT", "tls/nats.pem"), ("NATS_KEY", "tls/nats-key.pem"), ("NATS_CA", "tls/ca.pem")]
    {
        given.insert(name.to_owned(), secrets.join("nats").join(file).to_str().unwrap().to_owned());
    }
    given.insert("NATS_LISTEN".to_owned(), format!("127.0.0.1:{nats_port}"));
    given.insert("NATS_MONITOR".to_owned(), format!("127.0.0.1:{}", free_port()));
    given.insert("NATS_STORE".to_owned(), folder.path().join("store").to_str().unwrap().to_owned());
    let mut nats = Command::new(parts::nats_server());
    nats.arg("--config").arg(secrets.join("nats/nats-server.conf")).env_clear().envs(given);
    let _nats = Process::start("nats", &mut nats, folder.path());

    let broker = ("tls://nats:4222", format!("tls://127.0.0.1:{nats_port}"));
    let login = "user = \"marketprism\"\npassword_file = ";
    composed.config(
        "central.toml",
        &[
            broker.clone(),
            ("http://hot:8123", clickhouse.url()),
            ("0.0.0.0:8085", format!("127.0.0.1:{}", free_port())),
            // The engine's user is in its address.
            (login, "# ".to_owned()),
        ],
    );
    let venue = sim.addr();
    let endpoints = format!(
        "data_types = [\"trade\", \"orderbook\"]\n[feed.endpoints]\nws = \"ws://{venue}/binance_spot\"\nrest = \"http://{venue}/binance_spot\""
    );
    composed.config(
        "edge.toml",
        &[
            broker,
            (
                "metrics_listen = \"0.0.0.0:9093\"",
                format!(
                    "listen = \"127.0.0.1:{}\"\nmetrics_listen = \"127.0.0.1:{}\"",
                    free_port(),
                    free_port()
                ),
            ),
            ("data_types = [\"trade\", \"orderbook\"]", endpoints),
        ],
    );
    let down = composed.health("edge").await;
    assert_eq!(down.status.code(), Some(2), "nothing runs: {down:?}");
    let _central = Process::start("central", &mut composed.command("central", false), folder.path());
    let mut edge = composed.command("edge", false);
    edge.env("MARKETPRISM_EDGE__DATA_DIR", folder.path().join("data")).env("HEALTH_GRACE_SECONDS", "0");
    let _edge = Process::start("edge", &mut edge, folder.path());
    for service in ["central", "edge"] {
        eventually(&format!("{service} says that it is healthy"), || async {
            let health = composed.health(service).await;
            if health.status.success() { Ok(()) } else { Err(format!("{health:?}")) }
        })
        .await;
    }
    clickhouse.reaches("SELECT count() FROM marketprism_hot.trades", 6).await;
}
