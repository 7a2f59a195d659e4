//! `marketprism-chaos`: real parts under a seeded schedule of kills, stops, cuts, restores, a full disk and faults of the venue. The
//! simulator's own list of trades is the judge: nothing may be lost behind the broker, nothing doubled, no verdict false.
//!
//! Clocks are left alone: a process cannot be given a clock of its own without changing the program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)]

mod judge;
mod report;
mod schedule;
mod system;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::time::sleep_until;

use crate::judge::Judge;
use crate::schedule::{Moment, Schedule};
use crate::system::System;

#[derive(Debug, Parser)]
#[command(
    name = "marketprism-chaos",
    about = "Runs all parts under a seeded schedule of faults, and judges what they stored and said"
)]
struct Arguments {
    /// Seed of the schedule; default: a random one, which is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Length of the schedule.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    minutes: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let schedule = Schedule::new(seed, Duration::from_secs(60 * arguments.minutes));
    println!("chaos: seed {seed}, {} min; again: make chaos SEED={seed} MINUTES={0}", arguments.minutes);
    let mut folder = tempfile::tempdir().unwrap();
    let failures = run(folder.path(), &schedule).await;
    for failure in &failures {
        println!("FAILED  {failure}");
    }
    if failures.is_empty() {
        println!("passed: nothing lost behind the broker, nothing doubled, no false verdict");
        return ExitCode::SUCCESS;
    }
    folder.disable_cleanup(true);
    println!("seed {seed}; logs and data: {}", folder.path().display());
    ExitCode::FAILURE
}

async fn run(folder: &std::path::Path, schedule: &Schedule) -> Vec<String> {
    let mut system = System::start(folder).await;
    let mut judge = Judge::begin(&system).await;
    let began = Instant::now();
    for step in &schedule.steps {
        sleep_until((began + step.at).into()).await;
        println!("{:>7.1} s  {}", step.at.as_secs_f64(), step.words());
        match step.moment {
            Moment::Begin => system.begin(step.action).await,
            Moment::End => system.end(step.action).await,
            Moment::CalmBegins => judge.calm_begins(&system).await,
            Moment::CalmEnds => judge.calm_ends(&system).await,
        }
    }
    system.settle().await;
    let failures = judge.verdict(&system).await;
    system.stop().await;
    failures
}
