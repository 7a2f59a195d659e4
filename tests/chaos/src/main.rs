//! `marketprism-chaos`: real parts under seeded faults, judged by the simulator's own list of trades. `faults`: a schedule of kills, stops, cuts,
//! restores, full and slow disks, changes while they run and faults of the venue: nothing may be lost behind the broker, nothing doubled, no
//! verdict false, and no process may grow. `kills`: an edge killed again and again. `regions`: regions and a centre apart.
//! `alerts`: each alert fires and clears.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)]

mod alerts;
mod clock;
mod disk;
mod faults;
mod flatness;
mod judge;
mod kills;
mod regions;
mod report;
mod schedule;
mod system;
mod versions;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use tokio::time::{sleep, sleep_until};

use crate::flatness::Flatness;
use crate::judge::Judge;
use crate::schedule::{Moment, Schedule, ScheduleOptions};
use crate::system::System;

/// Time between two looks at what the processes use in a calm.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Parser)]
#[command(
    name = "marketprism-chaos",
    about = "Runs all parts under seeded faults, and judges what they stored and said"
)]
struct Arguments {
    /// Seed of the faults; default: a random one, which is printed.
    #[arg(long, global = true)]
    seed: Option<u64>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// Two edges on one venue and all other parts under a schedule of faults.
    Faults {
        /// Length of the schedule.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1_440))]
        minutes: u64,
        /// Step the edges' clocks too. Needs libfaketime.
        #[arg(long)]
        clocks: bool,
    },
    /// One edge, killed at seeded points.
    Kills {
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        kills: u32,
    },
    /// Debian's Prometheus scrapes edges and central: every alert that can be provoked fires in its drill and clears.
    Alerts {
        /// Alerts whose drills run; default: all.
        #[arg(value_name = "ALERT")]
        alerts: Vec<String>,
    },
    /// Three regions and a centre in network namespaces: a cut region, a killed broker, another build of central, a promoted adapter. Needs
    /// root and iproute2.
    Regions {
        /// Length of the load.
        #[arg(long, default_value_t = regions::MINUTES_MIN, value_parser = clap::value_parser!(u64).range(regions::MINUTES_MIN..=1_440))]
        minutes: u64,
        /// Binary of the central that takes over; default: the same program with another digest.
        #[arg(long, value_name = "FILE")]
        build: Option<PathBuf>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut folder = tempfile::tempdir().unwrap();
    // A panic is a failure too: its logs stay.
    folder.disable_cleanup(true);
    let failures = match arguments.what {
        What::Faults { minutes, clocks } => {
            let has_clocks = clocks && clock::library().is_some();
            if clocks && !has_clocks {
                println!("libfaketime is missing: no clock is stepped");
            }
            let length = Duration::from_secs(60 * minutes);
            faults(folder.path(), ScheduleOptions { seed, length, has_clocks }).await
        }
        What::Kills { kills } => kills::run(folder.path(), seed, kills).await,
        What::Alerts { alerts } => alerts::run(folder.path(), &alerts).await,
        What::Regions { minutes, build } => {
            let settings = regions::Settings { seed, minutes, build };
            // Each namespace has threads of its own.
            tokio::task::block_in_place(|| regions::run(folder.path(), settings))
        }
    };
    for failure in &failures {
        println!("FAILED  {failure}");
    }
    if failures.is_empty() {
        folder.disable_cleanup(false);
        println!("passed: seed {seed}");
        return ExitCode::SUCCESS;
    }
    println!("seed {seed}; logs and data: {}", folder.path().display());
    ExitCode::FAILURE
}

async fn faults(folder: &Path, options: ScheduleOptions) -> Vec<String> {
    let schedule = Schedule::new(options);
    let mut system = System::start(folder, options.has_clocks).await;
    let mut judge = Judge::begin(&system, &schedule).await;
    let mut flatness = Flatness::default();
    let began = Instant::now();
    let mut is_calm = false;
    for step in &schedule.steps {
        let at = began + step.at;
        while is_calm && Instant::now() + LOOK_EVERY < at {
            flatness.see(system.usage());
            sleep(LOOK_EVERY).await;
        }
        sleep_until(at.into()).await;
        is_calm = step.moment == Moment::CalmBegins;
        println!("{:>7.1} s  {}", step.at.as_secs_f64(), step.words());
        match step.moment {
            Moment::Begin => system.begin(step.action).await,
            Moment::End => system.end(step.action).await,
            Moment::CalmBegins => judge.calm_begins(&system).await,
            Moment::CalmEnds => {
                judge.calm_ends(&system).await;
                flatness.see(system.usage());
                flatness.end_calm();
            }
        }
    }
    system.settle().await;
    let mut failures = judge.verdict(&system).await;
    failures.extend(flatness.verdict());
    system.stop().await;
    failures
}
