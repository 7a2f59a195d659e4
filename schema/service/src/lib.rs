//! Run-time parts that all binaries share: clock, back-off, log set-up and limits, limits of the host, signals, exit codes, accept loop, room on
//! disks, words to the service manager, files that a user names, colours, masks of secrets in texts, host names of listeners.
//! Nothing here knows about market data or configuration.

mod accept;
mod backoff;
#[cfg(feature = "http")]
mod bearer;
#[cfg(feature = "tls")]
mod certificates;
pub mod clock;
mod colours;
mod disk;
mod file_lock;
mod files;
mod host_limits;
mod hosts;
#[cfg(feature = "http")]
mod http;
mod journal_priority;
mod log_file;
mod log_output;
mod logs;
mod mask;
#[cfg(feature = "tls")]
mod own_server;
#[cfg(feature = "pages")]
mod pages;
mod process;
#[cfg(feature = "http")]
mod server_tls;
mod service_manager;
#[cfg(feature = "tls")]
mod tls;
mod usage;
mod write_timeout;

pub use accept::{accept, bind_when_available, serve_connections};
pub use backoff::{Backoff, jitter};
#[cfg(feature = "http")]
pub use bearer::{TokenRefusal, check_bearer, credentials, is_token};
#[cfg(feature = "tls")]
pub use certificates::{CertificateFiles, CertificateTimes};
pub use colours::shows_colours;
pub use disk::DiskSpace;
pub use file_lock::FileLock;
pub use files::{FileStamp, open_file, read_file, read_pem, read_text, replace_file, sync_folder};
pub use host_limits::{check_host, host_limit, start_thread, thread_limit};
pub use hosts::HostRule;
#[cfg(feature = "http")]
pub use http::{HttpBounds, HttpListener, serve_http};
pub use logs::{LOG_FILTER_ALLOWED, LogLimit, check_log_filter, init_logs, set_log_filter};
pub use mask::{MASK, error_text, mask, mask_arguments};
#[cfg(feature = "tls")]
pub use own_server::{own_addresses, own_server_tls};
#[cfg(feature = "pages")]
pub use pages::write_pages;
pub use process::{Exit, Failure, FailureContext, ReloadSignal, Signals, cancel_on_signal, print, report};
#[cfg(feature = "http")]
pub use server_tls::ServerTls;
pub use service_manager::{ServiceState, tell_service_manager};
#[cfg(feature = "tls")]
pub use tls::{tls_client, tls_problem};
pub use usage::ProcessUsage;
pub use write_timeout::WriteTimeout;
