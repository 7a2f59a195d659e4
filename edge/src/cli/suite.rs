//! The command `adapter test`: runs the conformance suite.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use marketprism_adapter_conformance::{Options, Report, golden_folder, test};

use super::changes;

#[derive(Debug, Args)]
pub(super) struct TestArguments {
    /// Component of the adapter.
    #[arg(value_name = "FILE")]
    adapter: PathBuf,
    /// Only this exchange id; may be given several times. Default: all that the adapter describes.
    #[arg(long = "exchange", value_name = "ID")]
    exchanges: Vec<String>,
    /// A recording of the venue; may be given several times. Exchanges that are not in it ignore it.
    #[arg(long = "recording", value_name = "FILE")]
    recordings: Vec<PathBuf>,
    /// The adapter's folder with `frames` and `expected`. Default: `adapters/<name>` above the component `<name>.wasm`.
    #[arg(long, value_name = "DIR")]
    frames: Option<PathBuf>,
    /// Component of the version that this one is to replace in running edges: both are given the same frames, and instruments, plan and
    /// output are compared.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Kind of difference to that version that is no fault: a data type, `commands` or `notes`; may be given several times.
    #[arg(long = "accept", value_name = "KIND", requires = "against")]
    accepted: Vec<String>,
    /// Base address of a running venue simulator, such as http://127.0.0.1:9400.
    #[arg(long, value_name = "URL")]
    simulator: Option<String>,
    /// Time for the simulator to answer all requests of one exchange.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    simulator_seconds: u64,
    /// Damaged frames per exchange.
    #[arg(long, value_name = "COUNT", default_value_t = 4_000)]
    mutations: u32,
    /// Seed of the damage: the same seed gives the same damage.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Print the report as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the suite. Returns the report, and true if no check failed.
pub(super) fn run_suite(arguments: TestArguments) -> anyhow::Result<(String, bool)> {
    let mut options = Options::new(arguments.adapter);
    if let Some(folder) = arguments.frames {
        options.golden = golden_folder(&folder).filter(|_| folder.is_dir());
        if options.golden.is_none() {
            bail!("--frames {}: expected a folder named `frames`, or one that contains it", folder.display());
        }
    }
    options.accepted = changes::accepted(&arguments.accepted)?;
    options.against = arguments.against;
    options.exchanges = arguments.exchanges;
    options.recordings = arguments.recordings;
    options.simulator = arguments.simulator;
    options.simulator_time = Duration::from_secs(arguments.simulator_seconds);
    options.mutations = arguments.mutations;
    options.seed = arguments.seed;
    let report: Report = test(&options).with_context(|| options.adapter.display().to_string())?;
    let text = if arguments.json { report.json()? } else { report.text() };
    Ok((text, report.passed))
}
