//! Settings from the environment: ports, and servers that already run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use marketprism_config::{Document, Secret, Section};
use url::Url;

/// Variables of this command; other `MARKETPRISM_*__*` belong to edge and central.
const PREFIX: &str = "MARKETPRISM_LOCAL__";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub ports: Ports,
    /// A running broker: `MARKETPRISM_NATS_URL`, else `NATS_URL`.
    pub nats_url: Option<String>,
    /// A running ClickHouse: `CLICKHOUSE_URL`, `CLICKHOUSE_USER`, `CLICKHOUSE_PASSWORD`.
    pub clickhouse: Option<ClickHouse>,
    /// `None`: where it was before, at first together with hot.
    pub cold: Option<ColdPlace>,
}

/// Server of the cold database: the one of the hot database, or one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColdPlace {
    Together,
    Apart,
}

impl FromStr for ColdPlace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "together" => Ok(Self::Together),
            "apart" => Ok(Self::Apart),
            _ => Err("not known"),
        }
    }
}

/// Loopback ports of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub nats: u16,
    pub nats_monitoring: u16,
    pub clickhouse: u16,
    /// Of the engine that keeps the cold database if it is apart.
    pub clickhouse_cold: u16,
    /// `/health /ready /metrics /integrity` of central.
    pub central: u16,
    /// `/health /ready /metrics /coverage /adapters` of the edge.
    pub edge: u16,
    /// `/metrics` for a scraper.
    pub edge_metrics: u16,
    /// 0: any free port.
    pub simulator: u16,
}

/// A ClickHouse server and its credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClickHouse {
    /// HTTP address without user and password.
    pub url: Url,
    pub user: String,
    /// Passed on in the environment, never in a file.
    pub password: Option<Secret>,
}

impl Settings {
    pub fn from_environment() -> anyhow::Result<Self> {
        Self::read(&std::env::vars().collect())
    }

    /// Reads variables; one error lists every problem.
    pub fn read(variables: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let own = variables.iter().filter(|(name, _)| name.starts_with(PREFIX));
        let own = own.map(|(name, value)| (name.clone(), value.clone()));
        let document = Document::parse("(environment)", "", PathBuf::new(), own)?;
        let (ports, cold) = {
            let local = document.root().section("local");
            (Ports::read(&local), local.parsed("cold", "together, apart"))
        };
        document.finish()?;
        let given = |name: &str| variables.get(name).filter(|value| !value.is_empty());
        let nats_url = given("MARKETPRISM_NATS_URL").or_else(|| given("NATS_URL")).cloned();
        let clickhouse = given("CLICKHOUSE_URL")
            .map(|url| ClickHouse::parse(url, given("CLICKHOUSE_USER"), given("CLICKHOUSE_PASSWORD")))
            .transpose()?;
        Ok(Self { ports, nats_url, clickhouse, cold })
    }
}

impl Ports {
    fn read(section: &Section<'_>) -> Self {
        let read = |key: &str, default: u16, least: u64| {
            let port = section.integer_or(key, u64::from(default), least..=65_535);
            u16::try_from(port).unwrap_or(default)
        };
        Self {
            nats: read("nats_port", 4222, 1),
            nats_monitoring: read("nats_monitoring_port", 8222, 1),
            clickhouse: read("clickhouse_port", 8123, 1),
            clickhouse_cold: read("clickhouse_cold_port", 8124, 1),
            central: read("central_port", 8085, 1),
            edge: read("edge_port", 8087, 1),
            edge_metrics: read("edge_metrics_port", 9093, 1),
            simulator: read("simulator_port", 0, 0),
        }
    }
}

/// The variable that moves the port of this key.
#[must_use]
pub(crate) fn port_variable(key: &str) -> String {
    format!("{PREFIX}{}_PORT", key.to_uppercase())
}

impl ClickHouse {
    /// The stack's own server.
    pub(crate) fn local(port: u16) -> anyhow::Result<Self> {
        let url = Url::parse(&format!("http://127.0.0.1:{port}/"))?;
        Ok(Self { url, user: "default".to_owned(), password: None })
    }

    fn parse(text: &str, user: Option<&String>, password: Option<&String>) -> anyhow::Result<Self> {
        let form =
            "CLICKHOUSE_URL must be the address of ClickHouse's HTTP interface such as http://127.0.0.1:8123";
        let mut url = Url::parse(text).context(form)?;
        anyhow::ensure!(
            matches!(url.scheme(), "http" | "https"),
            "{form}; it is of scheme {:?}",
            url.scheme()
        );
        let in_url = (url.username().to_owned(), url.password().map(str::to_owned));
        let user = user.cloned().or(Some(in_url.0).filter(|user| !user.is_empty()));
        let password = password.cloned().or(in_url.1).map(Secret::new);
        let cleared = url.set_username("").is_ok() && url.set_password(None).is_ok();
        anyhow::ensure!(cleared, "{form}");
        Ok(Self { url, user: user.unwrap_or_else(|| "default".to_owned()), password })
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
        assert!(text.contains("MARKETPRISM_LOCAL__EDGE_PORT: is \"99999\""), "{text}");
        assert!(text.contains("MARKETPRISM_LOCAL__HEDGE_PORT"), "{text}");
        assert!(!text.contains("MARKETPRISM_EDGE__NAME"), "{text}");
    }

    #[test]
    fn the_named_variables_move_the_ports() {
        let settings =
            read(&[(&port_variable("nats"), "5222"), (&port_variable("edge_metrics"), "9999")]).unwrap();
        assert_eq!(
            (settings.ports.nats, settings.ports.edge_metrics, settings.ports.edge),
            (5222, 9999, 8087)
        );
    }

    #[test]
    fn the_place_of_cold_is_read() {
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
            read(&[("CLICKHOUSE_URL", "https://ann:s3cret@db.example:8443/"), ("NATS_URL", "nats://a")])
                .unwrap();
        let server = settings.clickhouse.as_ref().unwrap();
        assert_eq!((server.url.as_str(), server.user.as_str()), ("https://db.example:8443/", "ann"));
        assert_eq!(server.password.as_ref().unwrap().reveal(), "s3cret");
        assert!(!format!("{settings:?}").contains("s3cret"));
        assert!(
            read(&[("CLICKHOUSE_URL", "tcp://db:9000")]).unwrap_err().to_string().contains("HTTP interface")
        );
    }
}
