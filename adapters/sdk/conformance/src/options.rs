//! Input of the suite.

use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Options {
    pub adapter: PathBuf,
    /// Exchange ids; empty: every one that the adapter describes.
    pub exchanges: Vec<String>,
    /// A folder that holds `frames` and `expected`.
    pub golden: Option<PathBuf>,
    pub recordings: Vec<PathBuf>,
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
    #[must_use]
    pub fn new(adapter: PathBuf) -> Self {
        Options {
            golden: golden_folder(&adapter),
            adapter,
            exchanges: Vec::new(),
            recordings: Vec::new(),
            simulator: None,
            simulator_time: Duration::from_secs(20),
            mutations: 4_000,
            seed: 1,
        }
    }
}

/// The golden folder that goes with a path: the folder that holds `frames`; the parent of a folder `frames`; of a component
/// `<name>.wasm` the folder `adapters/<name>` at or above it.
#[must_use]
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
