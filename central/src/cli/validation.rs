//! `validate` and `longrun`.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use marketprism_service::Exit;
use serde::Serialize;
use serde_json::json;

use super::progress::ProgressLine;
use super::reports::print;
use super::signals::stop_on_signal;
use crate::config::Config;
use crate::limits;
use crate::report::Sources;
use crate::report::terminal::Paint;
use crate::time::read_duration;
use crate::validation::{LongRun, LongRunReport, Sample, sample_line, validate};

#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Time over which the throughput is measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
}

pub async fn execute_validate(config: &Config, args: &ValidateArgs) -> anyhow::Result<Exit> {
    let sources = Sources::connect(config, limits::COMMAND_PATIENCE).await?;
    let progress = ProgressLine::on_stderr("validating");
    let length = Duration::from_secs(args.seconds);
    let validation = validate(&sources, length, &|state| progress.show(state)).await;
    progress.end();
    print(args.json, &validation, |paint| validation.render(paint))?;
    Ok(validation.verdict.exit_code())
}

#[derive(Debug, Args)]
pub struct LongRunArgs {
    /// Length of the run. It can be stopped earlier with Ctrl-C or SIGTERM, and reports the time so far.
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0)]
    minutes: f64,
    /// Time between two samples.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = read_duration)]
    every: Duration,
    /// Print JSON lines: each sample, then the report.
    #[arg(long)]
    json: bool,
}

impl LongRunArgs {
    fn length(&self) -> anyhow::Result<Duration> {
        let (minutes, every) = (self.minutes, self.every);
        let length = Duration::try_from_secs_f64(minutes * 60.0).unwrap_or_default();
        ensure!(
            length >= Duration::from_secs(1) && minutes <= 525_600.0,
            "--minutes is {minutes} (allowed: 1 second to a year, 0.02 to 525600)"
        );
        ensure!(every >= Duration::from_secs(1), "--every is {every:?} (allowed: 1s or more)");
        let samples = length.as_secs() / every.as_secs();
        let most = limits::SAMPLES_MAX;
        ensure!(samples <= most, "{samples} samples (allowed: {most}); raise --every or shorten --minutes");
        Ok(length)
    }
}

pub async fn execute_longrun(config: &Config, args: &LongRunArgs) -> anyhow::Result<Exit> {
    let length = args.length()?;
    let sources = Sources::connect(config, limits::COMMAND_PATIENCE).await?;
    let progress = ProgressLine::on_terminal("long run");
    let (stop, _signals) = stop_on_signal();
    let show = |state: &_| progress.show(state);
    let run = LongRun { sources: &sources, length, every: args.every, stop, progress: &show };
    let report: LongRunReport = run
        .run(|before: Option<&Sample>, sample| {
            progress.end();
            match args.json {
                true => line(&json!({ "sample": sample })),
                false => {
                    marketprism_service::print(&sample_line(before, sample)).context("cannot write a sample")
                }
            }
        })
        .await?;
    progress.end();
    match args.json {
        true => line(&json!({ "report": report }))?,
        false => marketprism_service::print(&report.render(Paint::of_stdout()))
            .context("cannot write the report")?,
    }
    Ok(report.verdict.exit_code())
}

fn line(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(value).context("cannot write the answer")?;
    marketprism_service::print(&text).context("cannot write the answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_cannot_be_is_refused_with_what_is_allowed() {
        let of = |minutes, every| {
            let args = LongRunArgs { minutes, every: Duration::from_secs(every), json: false };
            args.length().map_err(|error| error.to_string())
        };
        assert_eq!(of(10.0, 30), Ok(Duration::from_secs(600)));
        for minutes in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(of(minutes, 30).unwrap_err().contains("--minutes"), "{minutes}");
        }
        assert!(of(10.0, 0).unwrap_err().contains("--every"));
        assert!(of(525_600.0, 1).unwrap_err().contains("raise --every"));
    }
}
