//! Users of the stack's broker. Their passwords are created once, in files readable for their owner only, and reach the broker in its environment.

use std::path::PathBuf;

use anyhow::Context as _;
use marketprism_schema::{BrokerUser, CENTRAL_USER, broker_authorization};

use super::configuration::ensure_secret;
use crate::{StackPaths, Venues};

/// Name of the stack's edge, and its user.
pub(super) const EDGE_NAME: &str = "edge-local";
/// For the user's own programs: reads events as they come, publishes nothing.
const READER: &str = "reader";
const USERS: [&str; 3] = [CENTRAL_USER, EDGE_NAME, READER];

/// The broker's `authorization` block, without passwords.
pub(super) fn authorization(venues: &Venues) -> String {
    let exchanges: Vec<&str> = venues.feed.iter().map(|feed| feed.exchange.as_str()).collect();
    let password = |user: &str| format!("${}", variable(user));
    broker_authorization(&[
        BrokerUser::central(&password(CENTRAL_USER)),
        BrokerUser::edge(EDGE_NAME, &exchanges, &password(EDGE_NAME)),
        BrokerUser::reader(READER, &password(READER)),
    ])
}

/// Path of a user's password, which is created unless it exists.
pub(super) fn ensure_password(paths: &StackPaths, user: &str) -> anyhow::Result<PathBuf> {
    ensure_secret(paths.config().join(format!("nats-{user}")))
}

/// Variables for the broker's process.
pub(super) fn passwords(paths: &StackPaths) -> anyhow::Result<Vec<(String, String)>> {
    let read = |user: &str| {
        let path = ensure_password(paths, user)?;
        let password =
            std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        // Quoted, or a password of digits would be a number.
        Ok((variable(user), format!("\"{}\"", password.trim())))
    };
    USERS.iter().map(|user| read(user)).collect()
}

fn variable(user: &str) -> String {
    format!("NATS_PASSWORD_{}", user.to_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::stack::configuration::venues_file;

    #[test]
    fn the_edge_may_publish_its_exchanges_and_every_password_is_in_the_environment_only() {
        let folder = tempfile::tempdir().unwrap();
        let paths = StackPaths::of(folder.path());
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let venues = Venues::load(&venues_file(root)).unwrap();
        let text = authorization(&venues);
        for feed in &venues.feed {
            assert!(text.contains(&format!("\"trade.{}.*.*\"", feed.exchange)), "{text}");
        }
        let passwords = passwords(&paths).unwrap();
        assert_eq!(passwords.len(), USERS.len());
        for (name, password) in &passwords {
            assert!(text.contains(&format!("password: ${name}")), "{name}: {text}");
            assert!(password.len() > 32 && !text.contains(password.trim_matches('"')), "{text}");
        }
        assert_eq!(super::passwords(&paths).unwrap(), passwords, "created once");
    }
}
