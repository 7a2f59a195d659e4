//! `diagnose`: checks everything that central depends on, each with its remedy.

mod check;
mod checks;

use check::{Check, CheckStatus, Diagnosis};

use crate::clock;
use crate::report::document::FindingCode;
use crate::report::{Sources, Time};

/// Changes nothing, except for a scratch database that is created to compare tables and dropped again.
pub async fn diagnose(sources: &Sources) -> Diagnosis {
    let mut checks = vec![configuration(sources)];
    let (broker, streams, leases, servers, schema, data) = tokio::join!(
        checks::broker(sources),
        checks::streams(sources),
        checks::leases(sources),
        checks::servers(sources),
        checks::schema(sources),
        checks::data(sources),
    );
    for some in [vec![broker], streams, leases, servers, schema, data] {
        checks.extend(some);
    }
    Diagnosis { version: 1, generated_at: Time(clock::now_ns() / 1_000_000), checks }
}

/// A configuration that cannot be read has ended the command already.
fn configuration(sources: &Sources) -> Check {
    if sources.config.http.token.is_some() {
        return Check::ok("configuration", "valid");
    }
    let text = "valid; no token is configured, so POST /repair is refused";
    let remedy = "write a token to a file and set token_file under [http]; the command `repair` needs none";
    Check::new(FindingCode::ConfigNoToken, "configuration", CheckStatus::Warn, text, remedy)
}
