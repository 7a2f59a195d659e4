//! How every binary reads its configuration: TOML, overridden by the environment, every error listed at once, secrets masked.
//!
//! A reader takes the values it knows from a [`Document`]; [`Document::finish`] then reports all problems together, among them the
//! keys that nobody asked for. Reading does no input or output beyond the files that the configuration names.

mod document;
mod nats;
mod problem;
mod secret;
mod section;

pub use document::Document;
pub use nats::{Nats, NatsAuthentication, NatsConnectError};
pub use problem::{ConfigError, Problem};
pub use secret::Secret;
pub use section::Section;
