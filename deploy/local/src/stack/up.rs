//! Brings the stack up.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};

use super::part::PortUse;
use super::plan::{COLD_APART, Plan, Tables};
use super::start::require_free;
use super::{CENTRAL, CLICKHOUSE_COLD, EDGE, SIMULATOR, Starter, configuration, data, guide, status};
use crate::process::{self, Record, Stopped};
use crate::{Client, ColdPlace, Console, Engine, FileLock, Home, Settings, Venues, limits};

/// Exit status of `central init` for differences that it would change when asked.
const INIT_DRIFT: i32 = 3;
const LIVE: &str = "live venues";
const SIMULATED: &str = "simulated venues";

/// Which venues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum VenueChoice {
    /// The live ones where they answer, else the simulator.
    Auto,
    /// The live ones, whether they answer or not.
    Live,
    /// The simulator.
    Simulated,
}

/// Starts what does not run, and returns when fresh rows are in both tables.
pub async fn up(
    home: &Home,
    settings: &Settings,
    choice: VenueChoice,
    console: &Console,
) -> anyhow::Result<()> {
    let _lock =
        FileLock::take(&home.run().join("lock"), console).context("the run folder cannot be locked")?;
    let (begun, begun_ms) = (Instant::now(), now_ms()?);
    let venues = Venues::load(&configuration::venues_file(&home.root))?;
    let plan = Plan::new(home, settings, console);
    let client = Client::new()?;
    let mut starter = Starter::new(home, &client, console);
    plan.require_possible()?;
    refuse_other_venues(&starter, choice)?;
    refuse_other_place(&starter, &plan)?;
    let missing = missing_parts(&starter, &plan)?;
    if missing.is_empty() {
        console.say("everything runs already; nothing was started");
        return status::show(home, settings, &client, console).await.map(drop);
    }
    require_free(&missing)?;
    plan.require_built(&venues)?;
    console
        .say(format!("starting: {}", missing.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")));
    let mut outcome = start(&plan, &mut starter, &venues, choice, console).await;
    if outcome.is_ok() {
        outcome = data::wait(&plan, &mut starter, begun_ms).await;
    }
    if outcome.is_err() && starter.started().next().is_some() {
        console.say("what was started keeps running: `make up` starts the rest, `make status` tells, `make down` stops it");
    }
    outcome?;
    console.say(format!(
        "\ndata is in hot ClickHouse, {:.1} s after the start\n",
        begun.elapsed().as_secs_f32()
    ));
    status::show(home, settings, &client, console).await?;
    console.say(guide::how_to_look(home, settings, &plan.clickhouse()?));
    Ok(())
}

async fn start(
    plan: &Plan<'_>,
    starter: &mut Starter<'_>,
    venues: &Venues,
    choice: VenueChoice,
    console: &Console,
) -> anyhow::Result<()> {
    if plan.settings.nats_url.is_none() {
        starter.ensure(plan.nats(console)?).await?;
    }
    if !matches!(plan.tables, Tables::Given(_)) {
        starter.ensure(plan.clickhouse_server(Engine::Hot, console)?).await?;
        if plan.cold == ColdPlace::Apart {
            starter.ensure(plan.clickhouse_server(Engine::Cold, console)?).await?;
        }
    }
    if starter.running(CENTRAL)?.is_none() {
        initialize(plan, starter, console).await?;
    }
    starter.ensure(plan.central("run")?).await?;
    let simulated = is_simulated(starter, venues, choice, console).await?;
    let simulator =
        if simulated { Some(ensure_simulator(plan, starter, venues, console).await?) } else { None };
    let note = if simulated { SIMULATED } else { LIVE };
    let address = simulator.as_ref().map(|record| record.address.as_str());
    starter.ensure(plan.edge(venues, address, note)?).await?;
    Ok(())
}

/// The parts that must be started, with their ports. A part that runs on other ports than those asked for is an error.
fn missing_parts(
    starter: &Starter<'_>,
    plan: &Plan<'_>,
) -> anyhow::Result<Vec<(&'static str, Vec<PortUse>)>> {
    let mut missing = Vec::new();
    for (name, ports) in plan.wanted() {
        let Some(record) = starter.running(name)? else {
            missing.push((name, ports));
            continue;
        };
        let asked: Vec<u16> = ports.iter().map(|port| port.port).collect();
        if record.ports != asked {
            bail!("{name} runs on ports {:?}, and {asked:?} are asked for; `make down` first", record.ports);
        }
    }
    if simulator_port_in_use(starter)?.is_some() && starter.running(SIMULATOR)?.is_none() {
        missing.push((SIMULATOR, plan.simulator_port()));
    }
    Ok(missing)
}

/// The port of the simulator to which an edge that runs is bound; nothing where no edge is.
fn simulator_port_in_use(starter: &Starter<'_>) -> anyhow::Result<Option<u16>> {
    let bound = starter.running(EDGE)?.is_some_and(|edge| edge.note == SIMULATED);
    let port = starter.last(SIMULATOR)?.and_then(|record| record.ports.first().copied());
    Ok(if bound { Some(port.unwrap_or(0)) } else { None })
}

fn refuse_other_venues(starter: &Starter<'_>, choice: VenueChoice) -> anyhow::Result<()> {
    let asked = match choice {
        VenueChoice::Auto => return Ok(()),
        VenueChoice::Live => LIVE,
        VenueChoice::Simulated => SIMULATED,
    };
    match starter.running(EDGE)? {
        Some(edge) if edge.note != asked => {
            bail!("the edge runs with {}, and {asked} are asked for; `make down` first", edge.note)
        }
        _ => Ok(()),
    }
}

/// Cold is not moved from one engine to another under a central that runs.
fn refuse_other_place(starter: &Starter<'_>, plan: &Plan<'_>) -> anyhow::Result<()> {
    let central = starter.running(CENTRAL)?;
    let (runs, asked) = match (central, plan.cold) {
        (Some(central), ColdPlace::Apart) if central.note != COLD_APART => ("one engine", "two are"),
        (Some(central), ColdPlace::Together) if central.note == COLD_APART => ("two engines", "one is"),
        (None, ColdPlace::Together) if starter.running(CLICKHOUSE_COLD)?.is_some() => {
            ("two engines", "one is")
        }
        _ => return Ok(()),
    };
    bail!("hot and cold are on {runs}, and {asked} asked for; `make down` first")
}

/// Creates streams and tables. Differences that nobody asked to change are told and left.
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

/// An edge or a simulator that runs decides; else what was asked for; else whether the venues answer.
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
    let (reachable, silent) = venues.probe(&Client::new()?).await;
    for venue in &silent {
        console.say(format!("  no use of {venue}"));
    }
    if reachable.is_empty() {
        console.say("NO VENUE CAN BE REACHED FROM HERE: THE DATA IS SIMULATED, NOT REAL");
    } else {
        console.say(format!("  live venues: {}", reachable.join(", ")));
    }
    Ok(reachable.is_empty())
}

/// Starts the simulator where the edge looks for it. When that port is lost, the edge is stopped, to be started again with the new one.
async fn ensure_simulator(
    plan: &Plan<'_>,
    starter: &mut Starter<'_>,
    venues: &Venues,
    console: &Console,
) -> anyhow::Result<Record> {
    let configured = plan.settings.ports.simulator;
    let mut port = configured;
    if let Some(bound) = simulator_port_in_use(starter)?
        && starter.running(SIMULATOR)?.is_none()
    {
        if bound != 0 && process::is_free(bound).unwrap_or(false) {
            port = bound;
        } else if let Some(edge) = starter.running(EDGE)? {
            console.say("  the simulator's port is lost: the edge is started again with a new one");
            let stopped = process::stop(&edge, limits::STOP_WAIT)?;
            anyhow::ensure!(
                !matches!(stopped, Stopped::LeftAlone { .. }),
                "the edge ended meanwhile; run `make up` again"
            );
        }
    }
    starter.ensure(plan.simulator(venues, port)).await
}

fn now_ms() -> anyhow::Result<u128> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?.as_millis())
}
