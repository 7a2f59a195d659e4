//! Configuration on serde types: TOML, overridden by the environment. Keys, ranges and meanings are in the types; every error is
//! reported at once, unknown keys are refused, and the key reference of a README is generated from the same types.

mod document;
mod duration;
mod masked_url;
mod nats;
mod nats_credentials;
mod nats_problems;
mod predecessor;
mod problem;
mod reference;
mod secret;
mod validate;

pub use document::{Document, Problems, environment};
pub use duration::{millis, seconds};
pub use masked_url::MaskedUrl;
pub use nats::{Nats, NatsConnectError};
pub use nats_problems::NatsProblems;
pub use problem::{ConfigError, Problem};
pub use reference::{check_generated, check_readme, key_reference};
pub use secret::Secret;

/// The schema of a closed set of names, for types that do not have one.
pub fn names_schema<'a>(names: impl IntoIterator<Item = &'a str>) -> schemars::Schema {
    let names: Vec<&str> = names.into_iter().collect();
    schemars::json_schema!({ "type": "string", "enum": names })
}
