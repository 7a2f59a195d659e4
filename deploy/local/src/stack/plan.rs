//! The parts of a stack and the command line of each.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::part::health_url;
use super::{
    CENTRAL, CLICKHOUSE, CLICKHOUSE_COLD, EDGE, NATS, PartSpec, PortUse, ReadyCheck, SIMULATOR, broker,
    configuration,
};
use crate::install::Installer;
use crate::process::Program;
use crate::settings::port_variable;
use crate::{ClickHouse, ColdPlace, Console, Engine, Settings, StackPaths, Venues, limits};

/// Note of a central whose cold tables are on an engine of their own.
pub(super) const COLD_APART: &str = "cold apart";

/// Sections of central's configuration.
pub(super) const CENTRAL_SECTIONS: &[&str] =
    &["nats", "clickhouse", "consumers", "streams", "batch", "replication", "ledger", "http"];

#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) paths: &'a StackPaths,
    pub(super) settings: &'a Settings,
    pub(super) tables: Tables,
    pub(super) cold: ColdPlace,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tables {
    Given(Box<ClickHouse>),
    /// A `clickhouse` binary of this machine.
    Server(PathBuf),
    Embedded,
}

impl<'a> Plan<'a> {
    pub(super) fn new(paths: &'a StackPaths, settings: &'a Settings, console: &Console) -> Self {
        let tables = match &settings.clickhouse {
            Some(given) => Tables::Given(Box::new(given.clone())),
            None => {
                Installer::new(paths, console).find("clickhouse").map_or(Tables::Embedded, Tables::Server)
            }
        };
        let was_apart = || paths.engine_data(Engine::Cold).iter().any(|folder| folder.exists());
        let before = || if was_apart() { ColdPlace::Apart } else { ColdPlace::Together };
        Self { paths, settings, tables, cold: settings.cold.unwrap_or_else(before) }
    }

    pub(super) fn clickhouse(&self) -> anyhow::Result<ClickHouse> {
        match &self.tables {
            Tables::Given(server) => Ok((**server).clone()),
            _ => self.own_clickhouse(self.settings.ports.clickhouse_port),
        }
    }

    /// `None`: with the hot tables.
    pub(super) fn cold_clickhouse(&self) -> anyhow::Result<Option<ClickHouse>> {
        match self.cold {
            ColdPlace::Together => Ok(None),
            ColdPlace::Apart => self.own_clickhouse(self.settings.ports.clickhouse_cold_port).map(Some),
        }
    }

    fn own_clickhouse(&self, port: u16) -> anyhow::Result<ClickHouse> {
        ClickHouse::local(port, configuration::ensure_password(self.paths)?)
    }

    /// Rejects an embedded engine for cold together with a given server, which may be on another machine.
    pub(super) fn require_possible(&self) -> anyhow::Result<()> {
        let given = matches!(self.tables, Tables::Given(_));
        anyhow::ensure!(
            !given || self.cold == ColdPlace::Together,
            "MARKETPRISM_LOCAL__COLD=apart needs the embedded engine, but CLICKHOUSE_URL selects a server; set MARKETPRISM_CLICKHOUSE__COLD__URL for a cold one"
        );
        Ok(())
    }

    /// The parts that must run and their ports, without the simulator.
    pub(super) fn required_parts(&self) -> Vec<(&'static str, Vec<PortUse>)> {
        let ports = &self.settings.ports;
        let mut parts = Vec::new();
        if self.settings.nats_url.is_none() {
            parts.push((
                NATS,
                uses(&[("nats", ports.nats_port), ("nats_monitoring", ports.nats_monitoring_port)]),
            ));
        }
        if !matches!(self.tables, Tables::Given(_)) {
            parts.push((CLICKHOUSE, uses(&[("clickhouse", ports.clickhouse_port)])));
            if self.cold == ColdPlace::Apart {
                parts.push((CLICKHOUSE_COLD, uses(&[("clickhouse_cold", ports.clickhouse_cold_port)])));
            }
        }
        parts.push((CENTRAL, uses(&[("central", ports.central_port)])));
        parts.push((EDGE, uses(&[("edge", ports.edge_port), ("edge_metrics", ports.edge_metrics_port)])));
        parts
    }

    pub(super) fn simulator_port(&self) -> Vec<PortUse> {
        uses(&[("simulator", self.settings.ports.simulator_port)])
    }

    pub(super) fn nats(&self, venues: &Venues, console: &Console) -> anyhow::Result<PartSpec> {
        let path = Installer::new(self.paths, console).nats_server()?;
        let configuration = configuration::nats(self.paths, &self.settings.ports, venues)?;
        let mut program = self.program(path, ["--config".into(), configuration.into()], &[]);
        program.variables = broker::passwords(self.paths)?;
        let address = format!("nats://127.0.0.1:{}", self.settings.ports.nats_port);
        self.part(NATS, program, address, ReadyCheck::Healthy)
    }

    pub(super) fn clickhouse_server(&self, engine: Engine, console: &Console) -> anyhow::Result<PartSpec> {
        let ports = &self.settings.ports;
        let (name, port) = match engine {
            Engine::Hot => (CLICKHOUSE, ports.clickhouse_port),
            Engine::Cold => (CLICKHOUSE_COLD, ports.clickhouse_cold_port),
        };
        let [embedded, server] = self.paths.engine_data(engine);
        let (password, password_file) = configuration::ensure_password(self.paths)?;
        let program = match &self.tables {
            Tables::Server(path) => {
                let configuration =
                    configuration::clickhouse_server(name, self.paths, &server, port, &password)?;
                let config = format!("--config-file={}", configuration.display());
                let mut program = self.program(path.clone(), ["server".into(), config.into()], &[]);
                // With its watchdog the child process would not be the one that serves.
                program.variables.push(("CLICKHOUSE_WATCHDOG_ENABLE".to_owned(), "0".to_owned()));
                program
            }
            _ => {
                let library = Installer::new(self.paths, console).clickhouse_library()?;
                let listen = format!("127.0.0.1:{port}");
                // Less than the time until SIGKILL.
                let drain = ["--drain-seconds".into(), "10".into()];
                let percent = match self.cold {
                    ColdPlace::Together => limits::ENGINE_MEMORY_PERCENT,
                    ColdPlace::Apart => limits::ENGINE_MEMORY_PERCENT / 2,
                };
                let memory = ["--memory-percent".into(), percent.to_string().into()];
                let password = ["--password-file".into(), password_file.into()];
                let arguments = ["--data".into(), embedded.into(), "--listen".into(), listen.into()];
                let arguments = arguments
                    .into_iter()
                    .chain(["--library".into(), library.into()])
                    .chain(password)
                    .chain(memory)
                    .chain(drain);
                self.program(self.binary("marketprism-clickhouse"), arguments, &[])
            }
        };
        self.part(name, program, format!("http://127.0.0.1:{port}"), ReadyCheck::Healthy)
    }

    pub(super) fn central(&self, command: &str) -> anyhow::Result<PartSpec> {
        let (settings, clickhouse, cold) = (self.settings, self.clickhouse()?, self.cold_clickhouse()?);
        let own_broker = settings.nats_url.is_none();
        let token = configuration::ensure_token(self.paths)?;
        let configuration = configuration::central(
            self.paths,
            &settings.ports,
            own_broker,
            &clickhouse,
            cold.as_ref(),
            &token,
        )?;
        let arguments = [command.into(), "--config".into(), configuration.into()];
        let mut program = self.program(self.binary("marketprism-central"), arguments, CENTRAL_SECTIONS);
        program.variables.push(self.broker_variable());
        if let (Some(password), None) = (&clickhouse.password, &clickhouse.password_file) {
            let name = "MARKETPRISM_CLICKHOUSE__PASSWORD".to_owned();
            program.variables.push((name, password.reveal().to_owned()));
        }
        let address = format!("http://127.0.0.1:{}", settings.ports.central_port);
        let mut part = self
            .part(CENTRAL, program, address, |url| ReadyCheck::Healthy(url.replace("/health", "/ready")))?;
        if cold.is_some() {
            COLD_APART.clone_into(&mut part.note);
        }
        Ok(part)
    }

    /// `port` 0: any free port.
    pub(super) fn simulator(&self, venues: &Venues, port: u16) -> PartSpec {
        let listen = ["--listen".into(), format!("127.0.0.1:{port}").into()];
        let arguments = listen.into_iter().chain(venues.simulator.arguments.iter().map(OsString::from));
        let program = self.program(self.binary("marketprism-venue-sim"), arguments, &[]);
        let ports = vec![PortUse { port, variable: port_variable("simulator") }];
        let ready = ReadyCheck::Line("listening on ");
        PartSpec { name: SIMULATOR, program, address: String::new(), ports, ready, note: String::new() }
    }

    /// The edge; `simulator`: address of the simulator.
    pub(super) fn edge(
        &self,
        venues: &Venues,
        simulator: Option<&str>,
        note: &str,
    ) -> anyhow::Result<PartSpec> {
        const SECTIONS: &[&str] = &["edge", "nats", "publisher", "sandbox", "feed", "wire", "audit"];
        let settings = self.settings;
        let own_broker = settings.nats_url.is_none();
        let configuration = configuration::edge(self.paths, &settings.ports, own_broker, venues, simulator)?;
        let arguments = ["run".into(), "--config".into(), configuration.into()];
        let mut program = self.program(self.binary("marketprism-edge"), arguments, SECTIONS);
        program.variables.push(self.broker_variable());
        let address = format!("http://127.0.0.1:{}", settings.ports.edge_port);
        let mut part = self.part(EDGE, program, address, ReadyCheck::Answers)?;
        note.clone_into(&mut part.note);
        Ok(part)
    }

    /// Lists binaries and adapters that are not built, before anything is started.
    pub(super) fn require_built(&self, venues: &Venues) -> anyhow::Result<()> {
        let names = ["marketprism-central", "marketprism-edge", "marketprism-venue-sim"];
        let mut files: Vec<PathBuf> = names.iter().map(|name| self.binary(name)).collect();
        if self.tables == Tables::Embedded {
            files.push(self.binary("marketprism-clickhouse"));
        }
        files.extend(venues.feed.iter().map(|feed| self.paths.root.join(&feed.adapter)));
        files.sort();
        files.dedup();
        let missing: Vec<String> =
            files.iter().filter(|file| !file.is_file()).map(|file| file.display().to_string()).collect();
        anyhow::ensure!(missing.is_empty(), "not built: {}; run `make up`", missing.join(", "));
        Ok(())
    }

    fn part(
        &self,
        name: &'static str,
        program: Program,
        address: String,
        ready: impl Fn(String) -> ReadyCheck,
    ) -> anyhow::Result<PartSpec> {
        let parts = self.required_parts();
        let ports = parts.into_iter().find(|(part, _)| *part == name).map(|(_, ports)| ports);
        let ports = ports.unwrap_or_default();
        let numbers: Vec<u16> = ports.iter().map(|port| port.port).collect();
        let health = health_url(name, &numbers).with_context(|| format!("{name} has no port"))?;
        Ok(PartSpec { name, program, address, ports, ready: ready(health), note: String::new() })
    }

    fn program(
        &self,
        path: PathBuf,
        arguments: impl IntoIterator<Item = OsString>,
        sections: &'static [&'static str],
    ) -> Program {
        let folder = self.paths.root.clone();
        Program { path, arguments: arguments.into_iter().collect(), variables: Vec::new(), sections, folder }
    }

    fn binary(&self, name: &str) -> PathBuf {
        self.paths.binaries().join(Path::new(name))
    }

    /// Passed explicitly, so that the part and this command use the same broker.
    fn broker_variable(&self) -> (String, String) {
        let own = || format!("nats://127.0.0.1:{}", self.settings.ports.nats_port);
        let given = self.settings.nats_url.as_ref().map(|url| url.reveal().to_owned());
        ("MARKETPRISM_NATS_URL".to_owned(), given.unwrap_or_else(own))
    }
}

fn uses(ports: &[(&str, u16)]) -> Vec<PortUse> {
    ports.iter().map(|(key, port)| PortUse { port: *port, variable: port_variable(key) }).collect()
}
