//! Configuration files of the parts, rewritten by each start of a part: they hold no secrets. The token of central and the
//! password of ClickHouse are created once.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use marketprism_config::Secret;
use marketprism_schema::{CENTRAL_USER, STREAMS};
use sha2::{Digest as _, Sha256};

use super::broker::{self, EDGE_NAME};
use crate::{ClickHouse, Ports, StackPaths, Venues, limits};

const NOTICE: &str = "Written by `make up`; the next one overwrites changes.";

/// The broker: JetStream on, loopback only, storage for every stream, users that may do what they need to.
pub(super) fn nats(paths: &StackPaths, ports: &Ports, venues: &Venues) -> anyhow::Result<PathBuf> {
    let streams: u64 = STREAMS.iter().map(|stream| u64::try_from(stream.max_bytes).unwrap_or(0)).sum();
    let store_bytes = streams.saturating_add(limits::BROKER_STORE_SPARE_BYTES);
    let text = format!(
        "# {NOTICE}\n\
         server_name: \"marketprism-local\"\n\
         listen: \"127.0.0.1:{}\"\n\
         http: \"127.0.0.1:{}\"\n\
         log_file: {}\n\
         logfile_size_limit: {}\n\
         logfile_max_num: 2\n\
         jetstream {{\n  \
           store_dir: {}\n  \
           max_file_store: {store_bytes}\n\
         }}\n{}",
        ports.nats_port,
        ports.nats_monitoring_port,
        quoted(&paths.logs().join("nats-server.log").to_string_lossy()),
        limits::LOG_FILE_BYTES,
        quoted(&paths.state.join("nats").to_string_lossy()),
        broker::authorization(venues),
    );
    write(paths, "nats.conf", &text)
}

/// Central. The file names only the stack's own broker: the address of another may hold a password, and is
/// passed in the environment.
pub(super) fn central(
    paths: &StackPaths,
    ports: &Ports,
    own_broker: bool,
    hot: &ClickHouse,
    cold: Option<&ClickHouse>,
    token_file: &Path,
) -> anyhow::Result<PathBuf> {
    let server = |section: &str, server: &ClickHouse| {
        let url = quoted(server.url.as_str().trim_end_matches('/'));
        let file = server.password_file.as_ref().map(|file| quoted(&file.to_string_lossy()));
        let file = file.map(|file| format!("password_file = {file}\n")).unwrap_or_default();
        format!("[{section}]\nurl = {url}\nuser = {}\n{file}\n", quoted(&server.user))
    };
    let text = format!(
        "# {NOTICE}\n{}\n{}{}[http]\nlisten = \"127.0.0.1:{}\"\ntoken_file = {}\n",
        nats_section(paths, ports, own_broker, CENTRAL_USER)?,
        server("clickhouse", hot),
        cold.map(|cold| server("clickhouse.cold", cold)).unwrap_or_default(),
        ports.central_port,
        quoted(&token_file.to_string_lossy()),
    );
    write(paths, "central.toml", &text)
}

/// The edge; its feeds use the simulator if one is given.
pub(super) fn edge(
    paths: &StackPaths,
    ports: &Ports,
    own_broker: bool,
    venues: &Venues,
    simulator: Option<&str>,
) -> anyhow::Result<PathBuf> {
    let mut text = format!(
        "# {NOTICE}\n[edge]\nname = \"{EDGE_NAME}\"\nregion = \"local\"\ndata_dir = {}\n\n{}\n\
         [http]\nlisten = \"127.0.0.1:{}\"\nmetrics_listen = \"127.0.0.1:{}\"\n",
        quoted(&paths.state.join("edge").to_string_lossy()),
        nats_section(paths, ports, own_broker, EDGE_NAME)?,
        ports.edge_port,
        ports.edge_metrics_port,
    );
    for feed in &venues.feed {
        let adapter = paths.root.join(&feed.adapter);
        text.push_str(&format!(
            "\n[[feed]]\nexchange = {}\nadapter = {}\nsymbols = {}\ndata_types = {}\n",
            quoted(&feed.exchange),
            quoted(&adapter.to_string_lossy()),
            array(&feed.symbols),
            array(&feed.data_types),
        ));
        if !feed.market_types.is_empty() {
            text.push_str(&format!("market_types = {}\n", array(&feed.market_types)));
        }
        if let Some(address) = simulator {
            text.push_str("[feed.endpoints]\n");
            for (name, url) in feed.endpoints_at(address) {
                text.push_str(&format!("{} = {}\n", quoted(&name), quoted(&url)));
            }
        }
    }
    write(paths, "edge.toml", &text)
}

/// A `clickhouse server` found on the machine: loopback only.
pub(super) fn clickhouse_server(
    name: &str,
    paths: &StackPaths,
    data: &Path,
    port: u16,
    password: &Secret,
) -> anyhow::Result<PathBuf> {
    let digest: String = Sha256::digest(password.reveal()).iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = |name: &str| quoted(&format!("{}/", data.join(name).to_string_lossy()));
    let text = format!(
        "# {NOTICE}\n\
         logger: {{level: information, log: {}, size: {}, count: 1, console: 0}}\n\
         listen_host: 127.0.0.1\n\
         http_port: {port}\n\
         path: {}\n\
         tmp_path: {}\n\
         user_files_path: {}\n\
         format_schema_path: {}\n\
         users:\n  default:\n    password_sha256_hex: {digest}\n    networks: {{ip: 127.0.0.1}}\n    profile: default\n    quota: default\n\
         profiles: {{default: {{}}}}\n\
         quotas: {{default: {{}}}}\n",
        quoted(&paths.logs().join(format!("{name}.log")).to_string_lossy()),
        limits::LOG_FILE_BYTES,
        folder("data"),
        folder("tmp"),
        folder("user_files"),
        folder("format_schemas"),
    );
    write(paths, &format!("{name}.yaml"), &text)
}

fn nats_section(paths: &StackPaths, ports: &Ports, own_broker: bool, user: &str) -> anyhow::Result<String> {
    if !own_broker {
        return Ok("# The broker's address comes from MARKETPRISM_NATS_URL.\n[nats]\n".to_owned());
    }
    let password = quoted(&broker::ensure_password(paths, user)?.to_string_lossy());
    Ok(format!(
        "[nats]\nurls = [\"nats://127.0.0.1:{}\"]\nuser = \"{user}\"\npassword_file = {password}\n",
        ports.nats_port
    ))
}

fn write(paths: &StackPaths, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let folder = paths.config();
    let path = folder.join(name);
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, text));
    written.with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}

/// A quoted text, valid in TOML, YAML and the broker's format.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn array(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

pub(super) fn venues_file(root: &Path) -> PathBuf {
    root.join("deploy/local/venues.toml")
}

const RANDOM_BYTES: usize = 32;

/// Creates the file, readable for its owner only, unless it exists: a running central has read it.
pub(super) fn ensure_token(paths: &StackPaths) -> anyhow::Result<PathBuf> {
    ensure_secret(paths.token())
}

/// Creates a file with a random text, readable for its owner only, unless it exists.
pub(super) fn ensure_secret(path: PathBuf) -> anyhow::Result<PathBuf> {
    create_secret(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

/// The password of the stack's own ClickHouse servers and its file, created as the token is.
pub(super) fn ensure_password(paths: &StackPaths) -> anyhow::Result<(Secret, PathBuf)> {
    let path = ensure_secret(paths.clickhouse_password())?;
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((Secret::new(text.trim().to_owned()), path))
}

fn create_secret(path: &Path) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut random = [0; RANDOM_BYTES];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let mut secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    secret.push('\n');
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => Ok(file.write_all(secret.as_bytes())?),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::Settings;

    fn repository() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
    }

    #[test]
    fn every_feed_of_the_edge_uses_the_simulator() {
        let folder = tempfile::tempdir().unwrap();
        let paths = StackPaths::of(&folder.path().join("a \"b\" \\c"));
        let venues = Venues::load(&venues_file(&repository())).unwrap();
        let ports = Settings::read(&Default::default()).unwrap().ports;
        let path = edge(&paths, &ports, true, &venues, Some("127.0.0.1:4567")).unwrap();
        let table: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
        assert_eq!(table["nats"]["user"].as_str(), Some(EDGE_NAME));
        let feeds = table["feed"].as_array().unwrap();
        assert!(feeds.len() >= 2);
        for feed in feeds {
            let endpoints = feed["endpoints"].as_table().unwrap();
            assert!(!endpoints.is_empty());
            assert!(endpoints.values().all(|url| url.as_str().unwrap().contains("//127.0.0.1:4567/")));
            assert!(feed["adapter"].as_str().unwrap().starts_with(paths.root.to_str().unwrap()));
        }
        let live = edge(&paths, &ports, true, &venues, None).unwrap();
        assert!(!std::fs::read_to_string(live).unwrap().contains("endpoints"));
    }

    #[test]
    fn the_address_of_a_given_broker_is_in_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let paths = StackPaths::of(folder.path());
        let ports = Settings::read(&Default::default()).unwrap().ports;
        let server = |port| ClickHouse::local(port, ensure_password(&paths).unwrap()).unwrap();
        let (hot, cold) = (server(8123), server(8124));
        let token = paths.token();
        let path = central(&paths, &ports, false, &hot, Some(&cold), &token).unwrap();
        let table: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
        assert!(table["nats"].as_table().unwrap().is_empty());
        assert_eq!(table["clickhouse"]["url"].as_str(), Some("http://127.0.0.1:8123"));
        assert_eq!(table["clickhouse"]["cold"]["url"].as_str(), Some("http://127.0.0.1:8124"));
        let password_file = paths.clickhouse_password();
        for server in [&table["clickhouse"], &table["clickhouse"]["cold"]] {
            assert_eq!(server["password_file"].as_str(), password_file.to_str());
        }
        assert_eq!(table["http"]["token_file"].as_str(), token.to_str());
        let together = central(&paths, &ports, true, &hot, None, &token).unwrap();
        assert!(!std::fs::read_to_string(together).unwrap().contains("cold"));
    }

    #[test]
    fn token_and_password_are_created_once_and_readable_for_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let paths = StackPaths::of(folder.path());
        let path = ensure_token(&paths).unwrap();
        let token = std::fs::read_to_string(&path).unwrap();
        assert_eq!(token.trim().len(), 2 * RANDOM_BYTES);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        ensure_token(&paths).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), token);
        let (password, path) = ensure_password(&paths).unwrap();
        assert_eq!(password.reveal().len(), 2 * RANDOM_BYTES);
        assert_ne!(password.reveal(), token.trim());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(ensure_password(&paths).unwrap().0, password);
        let server = clickhouse_server("clickhouse", &paths, Path::new("/x"), 8123, &password).unwrap();
        let text = std::fs::read_to_string(server).unwrap();
        assert!(text.contains("password_sha256_hex: ") && !text.contains(password.reveal()), "{text}");
    }
}
