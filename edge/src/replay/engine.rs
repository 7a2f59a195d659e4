//! The command `replay`: prints the normalized events of recordings.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use clap::builder::TypedValueParser as _;
use marketprism_adapter_host::Adapter;
use marketprism_schema::DataType;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::frames::{FrameReplay, ReplayCounts, ReplaySetup};
use super::recording::Recordings;
use crate::raw::TimeSpan;
use crate::records::EventOrigin;

/// Edge and region of replayed events.
const REPLAY: &str = "replay";

#[derive(Debug, Clone, Args)]
pub struct ReplayOptions {
    /// Exchange id.
    #[arg(long, value_name = "ID")]
    pub exchange: String,
    /// Only this data type; may be given several times. Default: all that the adapter offers.
    #[arg(long = "data-type", value_name = "TYPE")]
    pub data_types: Vec<DataType>,
    /// Print the live book after each update instead of once per interval.
    #[arg(long)]
    pub every_update: bool,
    /// Levels a side of printed books; default: 400, or the venue's deepest where that is less.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub depth: Option<u32>,
    /// Least time between two printed states of a book, by the recording's clock.
    #[arg(
        long = "publish-interval-ms",
        value_name = "MS",
        default_value = "100",
        value_parser = clap::value_parser!(u64).range(1..=60_000).map(Duration::from_millis)
    )]
    pub publish_interval: Duration,
    /// Begin of the time: frames before it are left out, lists and reference answers are not.
    #[arg(long, value_name = "RFC3339", value_parser = parse_time)]
    pub from: Option<i64>,
    /// End of the time.
    #[arg(long, value_name = "RFC3339", value_parser = parse_time)]
    pub to: Option<i64>,
    /// Recordings, in order, and folders of raw frames (`raw/<exchange>` in `edge.data_dir`).
    #[arg(required = true, value_name = "RECORDING")]
    pub recordings: Vec<PathBuf>,
}

impl ReplayOptions {
    fn span(&self) -> TimeSpan {
        TimeSpan { from_ns: self.from.unwrap_or(i64::MIN), to_ns: self.to.unwrap_or(i64::MAX) }
    }

    fn setup(&self, adapter: &Adapter) -> ReplaySetup {
        ReplaySetup {
            data_types: self.data_types.clone(),
            // An empty list would leave out options.
            market_types: None,
            depth: self.depth,
            publish_interval: self.publish_interval,
            every_update: self.every_update,
            // One line per event of the input, duplicates included.
            deduplicate: false,
            origin: EventOrigin {
                edge: REPLAY.to_owned(),
                region: REPLAY.to_owned(),
                adapter: adapter.id().to_owned(),
                exchange: self.exchange.clone(),
            },
        }
    }
}

/// Nanoseconds since 1970.
pub fn parse_time(text: &str) -> Result<i64, String> {
    let allowed = "a time such as 2026-01-31T12:00:00Z";
    let time =
        OffsetDateTime::parse(text, &Rfc3339).map_err(|error| format!("{error} (allowed: {allowed})"))?;
    i64::try_from(time.unix_timestamp_nanos()).map_err(|_| format!("out of range (allowed: {allowed})"))
}

/// Writes the events of the recordings to `out`, and problems of frames to `problems`.
pub fn replay(
    adapter: &Adapter,
    options: &ReplayOptions,
    out: &mut impl Write,
    problems: &mut impl Write,
) -> anyhow::Result<ReplayCounts> {
    let TimeSpan { from_ns, to_ns } = options.span();
    if from_ns >= to_ns {
        bail!("--to: is not after --from (allowed: a later time, none for the end of the recordings)");
    }
    let recordings = Recordings::new(&options.recordings, options.span())?;
    let mut frames = FrameReplay::start(adapter, options.setup(adapter), &recordings)?;
    recordings.each_frame(|file, number, line| {
        if !frames.push(file, number, line)? {
            frames.normalize(&recordings, problems)?;
            write(&mut frames, out)?;
            frames.push(file, number, line)?;
        }
        Ok(())
    })?;
    frames.normalize(&recordings, problems)?;
    frames.publish_rest();
    write(&mut frames, out)?;
    out.flush()?;
    Ok(frames.counts)
}

fn write(frames: &mut FrameReplay, out: &mut impl Write) -> anyhow::Result<()> {
    for record in frames.records.drain(..) {
        out.write_all(&record.payload)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}
