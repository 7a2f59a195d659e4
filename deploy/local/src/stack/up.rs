use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};

use super::part::PortUse;
use super::plan::{COLD_APART, Plan, Tables};
use super::start::require_free;
use super::{CENTRAL, CLICKHOUSE_COLD, EDGE, SIMULATOR, Starter, configuration, data, status};
use crate::process::{self, ProcessRecord, StopResult};
use crate::{Client, ColdPlace, Console, Engine, Settings, StackPaths, Venues, limits, lock};

/// Exit status of `central init` for differences that it changes only on request.
const INIT_DRIFT: i32 = 3;
const LIVE: &str = "live venues";
const SIMULATED: &str = "simulated venues";

/// Source of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum VenueChoice {
    /// The live venues that answer; the simulator if none does.
    Auto,
    /// The live venues, reachable or not.
    Live,
    Simulated,
}

/// Starts the missing parts, and returns when new rows are in both tables.
pub async fn up(
    paths: &StackPaths,
    settings: &Settings,
    choice: VenueChoice,
    console: &Console,
) -> anyhow::Result<()> {
    let _lock = lock(&paths.run().join("lock"), console).context("the run folder cannot be locked")?;
    let (started, started_ms) = (Instant::now(), now_ms()?);
    let venues = Venues::load(&configuration::venues_file(&paths.root))?;
    let plan = Plan::new(paths, settings, console);
    let client = Client::new()?;
    let mut starter = Starter::new(paths, &client, console);
    plan.require_possible()?;
    reject_other_venues(&starter, choice)?;
    reject_other_place(&starter, &plan)?;
    let missing = missing_parts(&starter, &plan)?;
    if missing.is_empty() {
        console.say("all parts already run; nothing was started");
        return status::show(paths, settings, &client, console).await.map(drop);
    }
    require_free(&missing)?;
    plan.require_built(&venues)?;
    let mut steps = Steps { console, done: 0, all: step_count(&plan, &starter)? };
    let mut result = start(&plan, &mut starter, &venues, choice, &mut steps).await;
    if result.is_ok() {
        steps.begin(&format!("first rows in hot ClickHouse (at most {} s)", limits::DATA_WAIT.as_secs()));
        result = data::wait(&plan, &mut starter, started_ms).await;
    }
    if result.is_err() && starter.started().next().is_some() {
        console.say("started parts keep running: `make up` starts the rest, `make status` shows them, `make down` stops them");
    }
    result?;
    console.say(format!("\ndata is in hot ClickHouse after {:.1} s\n", started.elapsed().as_secs_f32()));
    status::show(paths, settings, &client, console).await?;
    console.say(status::how_to_look(paths, settings, &plan.clickhouse()?));
    Ok(())
}

/// Numbered headings, so that a reader sees how far the start is.
struct Steps<'a> {
    console: &'a Console,
    done: usize,
    all: usize,
}

impl Steps<'_> {
    fn begin(&mut self, step: &str) {
        self.done += 1;
        self.console.say(format!("[{}/{}] {step}", self.done, self.all));
    }
}

/// Steps of [`start`], and the wait for data.
fn step_count(plan: &Plan<'_>, starter: &Starter<'_>) -> anyhow::Result<usize> {
    let servers = plan.required_parts().len();
    let is_initialized = starter.running(CENTRAL)?.is_some();
    Ok(servers + usize::from(!is_initialized) + 2)
}

async fn start(
    plan: &Plan<'_>,
    starter: &mut Starter<'_>,
    venues: &Venues,
    choice: VenueChoice,
    steps: &mut Steps<'_>,
) -> anyhow::Result<()> {
    let console = steps.console;
    if plan.settings.nats_url.is_none() {
        steps.begin("broker");
        starter.ensure(plan.nats(venues, console)?).await?;
    }
    if !matches!(plan.tables, Tables::Given(_)) {
        steps.begin("ClickHouse");
        starter.ensure(plan.clickhouse_server(Engine::Hot, console)?).await?;
        if plan.cold == ColdPlace::Apart {
            steps.begin("ClickHouse for the cold database");
            starter.ensure(plan.clickhouse_server(Engine::Cold, console)?).await?;
        }
    }
    if starter.running(CENTRAL)?.is_none() {
        steps.begin("streams and tables (marketprism-central init)");
        initialize(plan, starter, console).await?;
    }
    steps.begin("central: broker to ClickHouse");
    starter.ensure(plan.central("run")?).await?;
    steps.begin("venues");
    let simulated = is_simulated(starter, venues, choice, console).await?;
    let simulator =
        if simulated { Some(ensure_simulator(plan, starter, venues, console).await?) } else { None };
    let note = if simulated { SIMULATED } else { LIVE };
    let address = simulator.as_ref().map(|record| record.address.as_str());
    steps.begin("edge: venues to broker");
    starter.ensure(plan.edge(venues, address, note)?).await?;
    Ok(())
}

/// The parts to start, with their ports. A part that runs on other ports than configured is an error.
fn missing_parts(
    starter: &Starter<'_>,
    plan: &Plan<'_>,
) -> anyhow::Result<Vec<(&'static str, Vec<PortUse>)>> {
    let mut missing = Vec::new();
    for (name, ports) in plan.required_parts() {
        let Some(record) = starter.running(name)? else {
            missing.push((name, ports));
            continue;
        };
        let requested: Vec<u16> = ports.iter().map(|port| port.port).collect();
        if record.ports != requested {
            bail!(
                "{name} runs on ports {:?}, configured are {requested:?}; run `make down` first",
                record.ports
            );
        }
    }
    if simulator_port_in_use(starter)?.is_some() && starter.running(SIMULATOR)?.is_none() {
        missing.push((SIMULATOR, plan.simulator_port()));
    }
    Ok(missing)
}

/// Port of the simulator that a running edge uses; `None` without such an edge.
fn simulator_port_in_use(starter: &Starter<'_>) -> anyhow::Result<Option<u16>> {
    let bound = starter.running(EDGE)?.is_some_and(|edge| edge.note == SIMULATED);
    let port = starter.last(SIMULATOR)?.and_then(|record| record.ports.first().copied());
    Ok(if bound { Some(port.unwrap_or(0)) } else { None })
}

fn reject_other_venues(starter: &Starter<'_>, choice: VenueChoice) -> anyhow::Result<()> {
    let requested = match choice {
        VenueChoice::Auto => return Ok(()),
        VenueChoice::Live => LIVE,
        VenueChoice::Simulated => SIMULATED,
    };
    match starter.running(EDGE)? {
        Some(edge) if edge.note != requested => {
            bail!("the edge runs with {}, requested are {requested}; run `make down` first", edge.note)
        }
        _ => Ok(()),
    }
}

/// The cold tables cannot move to another engine while central runs.
fn reject_other_place(starter: &Starter<'_>, plan: &Plan<'_>) -> anyhow::Result<()> {
    let central = starter.running(CENTRAL)?;
    let (runs, requested) = match (central, plan.cold) {
        (Some(central), ColdPlace::Apart) if central.note != COLD_APART => ("one engine", "two"),
        (Some(central), ColdPlace::Together) if central.note == COLD_APART => ("two engines", "one"),
        (None, ColdPlace::Together) if starter.running(CLICKHOUSE_COLD)?.is_some() => ("two engines", "one"),
        _ => return Ok(()),
    };
    bail!("hot and cold run on {runs}, requested: {requested}; run `make down` first")
}

/// Creates streams and tables. Differences that need a request are reported and left.
async fn initialize(plan: &Plan<'_>, starter: &Starter<'_>, console: &Console) -> anyhow::Result<()> {
    let part = plan.central("init")?;
    let (code, log) = starter.run_to_end(&part, "central-init", limits::INIT_WAIT).await?;
    match code {
        Some(0) => Ok(()),
        Some(INIT_DRIFT) => {
            console.say(format!(
                "streams or tables differ from the configuration:{}",
                process::tail_indented(&log)
            ));
            Ok(())
        }
        code => {
            let code = code.map_or_else(|| "a signal".to_owned(), |code| format!("status {code}"));
            bail!("marketprism-central init ended with {code}:{}", process::tail_indented(&log))
        }
    }
}

/// A running edge or simulator decides; else the choice; else the reachability of the venues.
async fn is_simulated(
    starter: &Starter<'_>,
    venues: &Venues,
    choice: VenueChoice,
    console: &Console,
) -> anyhow::Result<bool> {
    if let Some(edge) = starter.running(EDGE)? {
        return Ok(edge.note == SIMULATED);
    }
    match choice {
        VenueChoice::Live => return Ok(false),
        VenueChoice::Simulated => return Ok(true),
        VenueChoice::Auto if starter.running(SIMULATOR)?.is_some() => return Ok(true),
        VenueChoice::Auto => {}
    }
    let (reachable, unreachable) = venues.probe(&Client::for_venues()?).await;
    for venue in &unreachable {
        console.say(format!("  {venue}"));
    }
    if reachable.is_empty() {
        console.say("  NO VENUE IS REACHABLE: THE DATA IS SIMULATED");
    } else {
        console.say(format!("  live venues: {}", reachable.join(", ")));
    }
    Ok(reachable.is_empty())
}

/// Starts the simulator at the address that the edge uses. If that port is occupied the edge is stopped, to
/// be started again with a new one.
async fn ensure_simulator(
    plan: &Plan<'_>,
    starter: &mut Starter<'_>,
    venues: &Venues,
    console: &Console,
) -> anyhow::Result<ProcessRecord> {
    let configured = plan.settings.ports.simulator_port;
    let mut port = configured;
    if let Some(bound) = simulator_port_in_use(starter)?
        && starter.running(SIMULATOR)?.is_none()
    {
        if bound != 0 && process::is_free(bound).unwrap_or(false) {
            port = bound;
        } else if let Some(edge) = starter.running(EDGE)? {
            console.say("  the simulator's port is occupied: restarting the edge with a new one");
            let stopped = process::stop(&edge, limits::STOP_WAIT)?;
            anyhow::ensure!(
                !matches!(stopped, StopResult::LeftAlone { .. }),
                "the edge ended meanwhile; repeat `make up`"
            );
        }
    }
    starter.ensure(plan.simulator(venues, port)).await
}

fn now_ms() -> anyhow::Result<u128> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).context("the system clock is before 1970")?.as_millis())
}
