//! Settings from the environment: ports, and servers that already run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use marketprism_config::{Document, MaskedUrl, Problems, Secret, environment};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

/// Variables of this command; other `MARKETPRISM_*__*` belong to edge and central.
const PREFIX: &str = "MARKETPRISM_LOCAL__";

/// Variables of the Python system, below those of this command.
pub(crate) const PREDECESSORS: [&str; 7] = [
    "HEALTH_CHECK_PORT",
    "METRICS_PORT",
    "HOT_STORAGE_HTTP_PORT",
    "MARKETPRISM_NATS_SERVERS",
    "MARKETPRISM_CLICKHOUSE_HOST",
    "MARKETPRISM_CLICKHOUSE_PORT",
    "MARKETPRISM_CLICKHOUSE_DATABASE",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub ports: Ports,
    /// A running broker: `MARKETPRISM_NATS_URL`, else `NATS_URL`.
    pub nats_url: Option<MaskedUrl>,
    /// A running ClickHouse: `CLICKHOUSE_URL`, `CLICKHOUSE_USER`, `CLICKHOUSE_PASSWORD`.
    pub clickhouse: Option<ClickHouse>,
    /// `None`: where it was before, at first together with hot.
    pub cold: Option<ColdPlace>,
}

/// Server of the cold database: the one of the hot database, or one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ColdPlace {
    Together,
    Apart,
}

/// Loopback ports of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ports {
    #[schemars(range(min = 1, max = 65_535))]
    pub nats_port: u16,
    #[schemars(range(min = 1, max = 65_535))]
    pub nats_monitoring_port: u16,
    #[schemars(range(min = 1, max = 65_535))]
    pub clickhouse_port: u16,
    /// Of the engine that keeps the cold database if it is apart.
    #[schemars(range(min = 1, max = 65_535))]
    pub clickhouse_cold_port: u16,
    /// `/health /ready /metrics /integrity` of central.
    #[schemars(range(min = 1, max = 65_535))]
    pub central_port: u16,
    /// `/health /ready /metrics /coverage /adapters` of the edge.
    #[schemars(range(min = 1, max = 65_535))]
    pub edge_port: u16,
    /// `/metrics` for a scraper.
    #[schemars(range(min = 1, max = 65_535))]
    pub edge_metrics_port: u16,
    /// 0: any free port.
    #[schemars(range(min = 0, max = 65_535))]
    pub simulator_port: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            nats_port: 4222,
            nats_monitoring_port: 8222,
            clickhouse_port: 8123,
            clickhouse_cold_port: 8124,
            central_port: 8085,
            edge_port: 8087,
            edge_metrics_port: 9093,
            simulator_port: 0,
        }
    }
}

/// Variables `MARKETPRISM_LOCAL__*`.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
struct LocalVariables {
    local: LocalSection,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
struct LocalSection {
    #[serde(flatten)]
    ports: Ports,
    cold: Option<ColdPlace>,
}

/// A ClickHouse server and its credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClickHouse {
    /// HTTP address without user and password.
    pub url: Url,
    pub user: String,
    /// Of a given server: passed on in the environment, never in a file.
    pub password: Option<Secret>,
    /// File of the password of the stack's own server.
    pub password_file: Option<PathBuf>,
    pub tls: ClickHouseTls,
}

/// The keys for TLS of central's `[clickhouse]`, from its variables: central reads them too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClickHouseTls {
    pub ca_file: Option<PathBuf>,
    pub client_cert_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
    pub server_name: Option<String>,
}

impl ClickHouseTls {
    fn read(variables: &BTreeMap<String, String>) -> Self {
        let given = |key: &str| {
            let name = format!("MARKETPRISM_CLICKHOUSE__{key}");
            variables.get(&name).filter(|value| !value.is_empty()).cloned()
        };
        Self {
            ca_file: given("CA_FILE").map(PathBuf::from),
            client_cert_file: given("CLIENT_CERT_FILE").map(PathBuf::from),
            client_key_file: given("CLIENT_KEY_FILE").map(PathBuf::from),
            server_name: given("SERVER_NAME"),
        }
    }
}

impl Settings {
    pub fn from_environment() -> anyhow::Result<Self> {
        Self::read(&environment(std::env::vars_os())?)
    }

    /// Reads variables; one error lists every problem.
    pub fn read(variables: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let own = variables
            .iter()
            .filter(|(name, _)| name.starts_with(PREFIX) || PREDECESSORS.contains(&name.as_str()));
        let own = own.map(|(name, value)| (name.clone(), value.clone()));
        let document = Document::parse("(environment)", "", PathBuf::new(), own)?;
        let (LocalVariables { local: LocalSection { mut ports, cold } }, mut problems) = document.read();
        ports.take_predecessors(&mut problems);
        let earlier_clickhouse = earlier_clickhouse(&mut problems);
        problems.finish()?;
        // The stack asks its parts over plain loopback.
        let moved = ["MARKETPRISM_HTTP__LISTEN", "MARKETPRISM_HTTP__TLS_CERT_FILE"];
        let moved: Vec<&str> = moved.into_iter().filter(|name| variables.contains_key(*name)).collect();
        anyhow::ensure!(
            moved.is_empty(),
            "{}: `make up` keeps central on loopback without TLS; run marketprism-central with a configuration of its own",
            moved.join(", ")
        );
        let given = |name: &str| variables.get(name).filter(|value| !value.is_empty());
        let nats_url = ["MARKETPRISM_NATS_URL", "NATS_URL", "MARKETPRISM_NATS_SERVERS"];
        let nats_url = nats_url.into_iter().find_map(given);
        let nats_url = nats_url.map(|url| url.as_str().into());
        let clickhouse = given("CLICKHOUSE_URL")
            .or(earlier_clickhouse.as_ref())
            .map(|url| ClickHouse::parse(url, given("CLICKHOUSE_USER"), given("CLICKHOUSE_PASSWORD")))
            .transpose()?
            .map(|server| ClickHouse { tls: ClickHouseTls::read(variables), ..server });
        Ok(Self { ports, nats_url, clickhouse, cold })
    }
}

impl Ports {
    fn take_predecessors(&mut self, problems: &mut Problems<'_>) {
        for (variable, key, port) in [
            ("HEALTH_CHECK_PORT", "local.edge_port", &mut self.edge_port),
            ("METRICS_PORT", "local.edge_metrics_port", &mut self.edge_metrics_port),
            ("HOT_STORAGE_HTTP_PORT", "local.central_port", &mut self.central_port),
        ] {
            if let Some(given) = problems.predecessor_port(variable, key) {
                *port = given;
            }
        }
    }
}

/// Address by the host or the port of the earlier system.
fn earlier_clickhouse(problems: &mut Problems<'_>) -> Option<String> {
    const KEY: &str = "local.clickhouse";
    let before = MaskedUrl::from("http://127.0.0.1:8123");
    let mut url = before.clone();
    problems.predecessor_host("MARKETPRISM_CLICKHOUSE_HOST", KEY, &mut url);
    if let Some(port) = problems.predecessor_port("MARKETPRISM_CLICKHOUSE_PORT", KEY) {
        url.change(|url| url.set_port(Some(port)).is_ok());
    }
    (problems.predecessor("MARKETPRISM_CLICKHOUSE_HOST", KEY).is_some() || url != before)
        .then(|| url.reveal().to_owned())
}

/// The variable that moves the port of this key.
pub(crate) fn port_variable(key: &str) -> String {
    format!("{PREFIX}{}_PORT", key.to_uppercase())
}

impl ClickHouse {
    /// The stack's own server.
    pub(crate) fn local(port: u16, (password, file): (Secret, PathBuf)) -> anyhow::Result<Self> {
        let url = Url::parse(&format!("http://127.0.0.1:{port}/"))?;
        let user = "default".to_owned();
        let tls = ClickHouseTls::default();
        Ok(Self { url, user, password: Some(password), password_file: Some(file), tls })
    }

    fn parse(text: &str, user: Option<&String>, password: Option<&String>) -> anyhow::Result<Self> {
        let form =
            "CLICKHOUSE_URL must be the address of ClickHouse's HTTP interface such as http://127.0.0.1:8123";
        let mut address = MaskedUrl::from(text);
        let (in_url_user, in_url_password) = address.take_user_info().unwrap_or_default();
        let url = address.parse(&["http", "https"]).map_err(|error| anyhow::anyhow!("{form}: {error}"))?;
        let user = user.cloned().or(Some(in_url_user).filter(|user| !user.is_empty()));
        let password = password.cloned().or(Some(in_url_password).filter(|password| !password.is_empty()));
        let (user, password) = (user.unwrap_or_else(|| "default".to_owned()), password.map(Secret::new));
        Ok(Self { url, user, password, password_file: None, tls: ClickHouseTls::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> anyhow::Result<Settings> {
        Settings::read(&variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    #[test]
    fn every_mistake_in_the_environment_is_named() {
        let mistakes = [
            ("MARKETPRISM_LOCAL__EDGE_PORT", "99999"),
            ("MARKETPRISM_LOCAL__HEDGE_PORT", "1"),
            ("MARKETPRISM_EDGE__NAME", "x"),
        ];
        let text = read(&mistakes).unwrap_err().to_string();
        assert!(
            text.contains("MARKETPRISM_LOCAL__EDGE_PORT: is 99999 (allowed: a whole number from 1 to 65535)"),
            "{text}"
        );
        assert!(text.contains("MARKETPRISM_LOCAL__HEDGE_PORT"), "{text}");
        assert!(!text.contains("MARKETPRISM_EDGE__NAME"), "{text}");
    }

    #[test]
    fn a_central_that_the_stack_could_not_ask_is_refused() {
        for name in ["MARKETPRISM_HTTP__LISTEN", "MARKETPRISM_HTTP__TLS_CERT_FILE"] {
            let text = read(&[(name, "x")]).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains("loopback"), "{text}");
        }
        assert!(read(&[("MARKETPRISM_HTTP__READ_TOKEN", "0123456789abcdef")]).is_ok());
    }

    #[test]
    fn the_named_variables_move_the_ports() {
        let settings =
            read(&[(&port_variable("nats"), "5222"), (&port_variable("edge_metrics"), "9999")]).unwrap();
        assert_eq!(
            (settings.ports.nats_port, settings.ports.edge_metrics_port, settings.ports.edge_port),
            (5222, 9999, 8087)
        );
    }

    #[test]
    fn variables_of_the_earlier_system_count_below_ours() {
        let earlier = [
            ("HEALTH_CHECK_PORT", "18087"),
            ("HOT_STORAGE_HTTP_PORT", "18085"),
            ("MARKETPRISM_NATS_SERVERS", "nats://a:1"),
            ("MARKETPRISM_CLICKHOUSE_HOST", "db"),
        ];
        let settings = read(&earlier).unwrap();
        assert_eq!((settings.ports.edge_port, settings.ports.central_port), (18_087, 18_085));
        assert_eq!(settings.nats_url.unwrap().reveal(), "nats://a:1");
        assert_eq!(settings.clickhouse.unwrap().url.as_str(), "http://db:8123/");
        let ours = [
            ("MARKETPRISM_LOCAL__EDGE_PORT", "5"),
            ("NATS_URL", "nats://b:2"),
            ("CLICKHOUSE_URL", "http://c:3"),
        ];
        let settings = read(&[&earlier[..], &ours].concat()).unwrap();
        assert_eq!((settings.ports.edge_port, settings.nats_url.unwrap().reveal()), (5, "nats://b:2"));
        assert_eq!(settings.clickhouse.unwrap().url.as_str(), "http://c:3/");
        let error = read(&[("METRICS_PORT", "x")]).unwrap_err().to_string();
        assert!(
            error.contains("METRICS_PORT: is \"x\" (allowed: a whole number from 1 to 65535)"),
            "{error}"
        );
    }

    #[test]
    fn the_engine_of_the_cold_database_is_configurable() {
        let cold = |word: &str| read(&[("MARKETPRISM_LOCAL__COLD", word)]).map(|settings| settings.cold);
        assert_eq!(cold("apart").unwrap(), Some(ColdPlace::Apart));
        assert_eq!(cold("together").unwrap(), Some(ColdPlace::Together));
        assert_eq!(read(&[]).unwrap().cold, None);
        let text = cold("elsewhere").unwrap_err().to_string();
        assert!(text.contains("MARKETPRISM_LOCAL__COLD") && text.contains("together, apart"), "{text}");
    }

    #[test]
    fn a_password_in_the_address_is_taken_out() {
        let settings =
            read(&[("CLICKHOUSE_URL", "https://ann:s3%40cret@db.example:8443/"), ("NATS_URL", "nats://a")])
                .unwrap();
        let server = settings.clickhouse.as_ref().unwrap();
        assert_eq!((server.url.as_str(), server.user.as_str()), ("https://db.example:8443/", "ann"));
        assert_eq!(server.password.as_ref().unwrap().reveal(), "s3@cret");
        assert!(!format!("{settings:?}").contains("cret"));
        assert!(
            read(&[("CLICKHOUSE_URL", "tcp://db:9000")]).unwrap_err().to_string().contains("HTTP interface")
        );
    }
}
