//! Input of the suite: options, golden cases and recordings.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use marketprism_adapter_host::DifferenceKind;
use marketprism_adapter_host::contract::{Normalized, Venue};
use marketprism_adapter_sdk::testkit::{OwnedFrame, read};
use marketprism_service::open_file;

use crate::market::{Market, MarketError, TestedAdapter};
use crate::session::Session;

#[derive(Clone, Debug)]
pub struct Options {
    pub adapter: PathBuf,
    /// Exchange ids; empty: every one that the adapter describes.
    pub exchanges: Vec<String>,
    /// A folder that holds `frames` and `expected`.
    pub golden: Option<PathBuf>,
    pub recordings: Vec<PathBuf>,
    /// Component of the version that the adapter is to replace in running edges.
    pub against: Option<PathBuf>,
    /// Kinds of differences to it that are no fault.
    pub accepted: BTreeSet<DifferenceKind>,
    /// Base address of a running venue simulator, such as `http://127.0.0.1:9400`.
    pub simulator: Option<String>,
    /// Limit for the simulator to answer every stream of one exchange.
    pub simulator_time: Duration,
    pub mutations: u32,
    /// Of the damage: equal seeds damage equal frames alike.
    pub seed: u64,
}

impl Options {
    /// Everything as usual for this component, without recordings and simulator.
    pub fn new(adapter: PathBuf) -> Self {
        Options {
            golden: golden_folder(&adapter),
            adapter,
            exchanges: Vec::new(),
            recordings: Vec::new(),
            against: None,
            accepted: BTreeSet::new(),
            simulator: None,
            simulator_time: Duration::from_secs(20),
            mutations: 4_000,
            seed: 1,
        }
    }
}

/// The golden folder that goes with a path: the folder that holds `frames`; the parent of a folder `frames`; of a component
/// `<name>.wasm` the folder `adapters/<name>` at or above it.
pub fn golden_folder(path: &Path) -> Option<PathBuf> {
    let holds = |folder: &Path| folder.join("frames").is_dir();
    if path.is_dir() {
        let parent = path.parent().filter(|_| path.ends_with("frames"));
        return [Some(path), parent]
            .into_iter()
            .flatten()
            .find(|folder| holds(folder))
            .map(Path::to_path_buf);
    }
    let file = path.canonicalize().ok()?;
    let name = file.file_stem()?;
    let adapters = file.ancestors().skip(1).map(|folder| folder.join("adapters").join(name));
    adapters.into_iter().find(|folder| holds(folder))
}

/// Frames with the market that they belong to.
pub(crate) struct Case<'a> {
    pub(crate) name: String,
    /// The golden output; none for a recording.
    pub(crate) expected: Option<PathBuf>,
    pub(crate) market: Rc<Market<'a>>,
    pub(crate) frames: Vec<OwnedFrame>,
}

impl Case<'_> {
    pub(crate) fn is_recording(&self) -> bool {
        self.expected.is_none()
    }

    /// The result of all frames in a new instance, in batches of this size.
    pub(crate) fn normalize(&self, size: usize) -> Result<Normalized, String> {
        let mut session = Session::open(&self.market).map_err(|error| format!("{}: {error}", self.name))?;
        let result = session.normalize(&self.frames, size);
        result.map_err(|faulted| format!("{}: {}", self.place(faulted.frame), faulted.text))
    }

    /// A frame as causes name it, with the beginning of its text.
    pub(crate) fn place(&self, frame: usize) -> String {
        let text = self.frames.get(frame).map(|frame| snippet(&frame.bytes)).unwrap_or_default();
        format!("{} frame {frame} `{text}`", self.name)
    }
}

/// The beginning of a frame in one line.
pub(crate) fn snippet(bytes: &[u8]) -> String {
    const BYTES: usize = 160;
    let cut = bytes.get(..BYTES).unwrap_or(bytes);
    let text: String = String::from_utf8_lossy(cut).chars().filter(|letter| !letter.is_control()).collect();
    if bytes.len() > BYTES { format!("{text}...") } else { text }
}

/// Everything that there is to test one exchange with.
pub(crate) struct Cases<'a> {
    /// Golden instruments, and their golden output.
    pub(crate) start: Option<(Rc<Market<'a>>, PathBuf)>,
    pub(crate) cases: Vec<Case<'a>>,
    /// Files that could not be used, with the reason.
    pub(crate) closed: Vec<String>,
}

impl<'a> Cases<'a> {
    /// Reads the golden frames and recordings.
    pub(crate) fn read(
        subject: &'a TestedAdapter,
        venue: &'a Venue,
        options: &Options,
    ) -> anyhow::Result<Self> {
        let mut cases = Cases { start: None, cases: Vec::new(), closed: Vec::new() };
        if let Some(folder) = &options.golden {
            cases.golden(subject, venue, folder)?;
        }
        for path in &options.recordings {
            // A pipe would block, a device may have no end.
            open_file(path).with_context(|| format!("recording {}", path.display()))?;
            let records = read(path).map_err(anyhow::Error::msg)?;
            let name = file_name(path);
            match Market::open(subject, venue, &records) {
                Ok(market) => {
                    let frames = market.frames(&records);
                    cases.cases.push(Case { name, expected: None, market: Rc::new(market), frames });
                }
                // A recording of another venue.
                Err(MarketError::NoAnswers(_)) => {}
                Err(MarketError::Failed(error)) => cases.closed.push(format!("{name}: {error}")),
            }
        }
        Ok(cases)
    }

    fn golden(&mut self, subject: &'a TestedAdapter, venue: &'a Venue, folder: &Path) -> anyhow::Result<()> {
        let frames = folder.join("frames");
        let start = format!("{}.instruments.jsonl", venue.exchange);
        let files = files(&frames, &venue.exchange)?;
        if !files.iter().any(|path| path.ends_with(&start)) {
            if !files.is_empty() {
                bail!("{} has frames of {}, but no {start}", frames.display(), venue.exchange);
            }
            return Ok(());
        }
        let records = read(&frames.join(&start)).map_err(anyhow::Error::msg)?;
        let market = match Market::open(subject, venue, &records) {
            Ok(market) => Rc::new(market),
            Err(closed) => {
                self.closed.push(format!("{start}: {closed}"));
                return Ok(());
            }
        };
        self.start = Some((Rc::clone(&market), folder.join("expected").join(&start)));
        for path in files.iter().filter(|path| !path.ends_with(&start)) {
            let records = read(path).map_err(anyhow::Error::msg)?;
            let name = file_name(path);
            let expected = Some(folder.join("expected").join(&name));
            self.cases.push(Case {
                name,
                expected,
                frames: market.frames(&records),
                market: Rc::clone(&market),
            });
        }
        Ok(())
    }

    /// Any market of the exchange: the golden one, else a recording's.
    pub(crate) fn market(&self) -> Option<&Rc<Market<'a>>> {
        let recorded = self.cases.iter().map(|case| &case.market);
        self.start.as_ref().map(|(market, _)| market).into_iter().chain(recorded).next()
    }

    pub(crate) fn frame_count(&self) -> usize {
        self.cases.iter().map(|case| case.frames.len()).sum()
    }
}

fn files(folder: &Path, exchange: &str) -> anyhow::Result<Vec<PathBuf>> {
    let of_exchange = |path: &PathBuf| {
        let name = file_name(path);
        name.strip_prefix(exchange).is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".jsonl"))
    };
    let entries = std::fs::read_dir(folder).with_context(|| format!("folder {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("folder {}", folder.display()))?.path();
        files.extend(Some(path).filter(of_exchange));
    }
    files.sort();
    Ok(files)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
