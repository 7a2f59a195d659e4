//! Takes over a changed configuration while the edge runs: at SIGHUP, at `POST /reload`, and when the file changes. The file is validated as a
//! whole; an invalid one changes nothing. What is equal in both configurations is not touched.

mod handle;
mod reloader;
mod report;
mod watch;

pub use handle::{ReloadHandle, ReloadRequests};
pub use reloader::{ApplySettings, Reloader};
pub use report::{FeedReload, ReloadReport, ReloadResult};
pub use watch::ConfigWatch;
