//! The checks, in the order of the data's way.

use super::check::{Check, Diagnosis, Found};
use super::{data, systems};
use crate::clock;
use crate::report::{Sources, Time};

/// Looks at everything; changes nothing but a scratch database that is made for the comparison of tables and dropped again.
pub async fn diagnose(sources: &Sources) -> Diagnosis {
    let mut checks = vec![configuration(sources)];
    let (broker, streams, leases, servers, schema, data) = tokio::join!(
        systems::broker(sources),
        systems::streams(sources),
        systems::leases(sources),
        systems::servers(sources),
        systems::schema(sources),
        data::checks(sources),
    );
    for some in [broker, streams, leases, servers, schema, data] {
        checks.extend(some);
    }
    Diagnosis { version: 1, generated_at: Time(clock::now_ns() / 1_000_000), checks }
}

/// That it could be read is known already: a wrong one ends the command with every error.
fn configuration(sources: &Sources) -> Check {
    let config = &sources.config;
    if config.http.token.is_none() {
        let text = "as it should be; no token is configured, so POST /repair is refused";
        let remedy =
            "put a token into a file and name it as token_file under [http]; the command `repair` needs none";
        return Check::new("configuration", Found::Warn, text, remedy);
    }
    Check::ok("configuration", "as it should be")
}
