//! `diagnose`: checks everything that central depends on, each with its remedy.

mod buckets;
mod check;
mod checks;
mod edges;
mod replicas;

pub use check::{Check, CheckStatus, CheckVerdict, render_checks};
pub use edges::reachable;

use marketprism_service::Exit;
use serde::Serialize;

use crate::clock;
use crate::report::document::FindingCode;
use crate::report::terminal::Paint;
use crate::report::{Sources, Time};

/// Changes nothing, except for a scratch database that is created to compare tables and dropped again.
pub async fn diagnose(sources: &Sources) -> Diagnosis {
    let mut checks = vec![configuration(sources)];
    let (listener, broker, streams, buckets, leases, servers, schema, data, edges, heartbeats) = tokio::join!(
        edges::listener(sources),
        checks::broker(sources),
        checks::streams(sources),
        buckets::buckets_there(sources),
        checks::leases(sources),
        checks::servers(sources),
        checks::schema(sources),
        checks::data(sources),
        edges::edges(sources),
        edges::heartbeats(sources),
    );
    for some in
        [vec![listener], edges, heartbeats, vec![broker], streams, buckets, leases, servers, schema, data]
    {
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

#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    pub version: u32,
    pub generated_at: Time,
    /// In the order of the data flow.
    pub checks: Vec<Check>,
}

impl Diagnosis {
    pub fn exit_code(&self) -> Exit {
        CheckVerdict::of(&self.checks).exit_code()
    }

    pub fn render(&self, paint: Paint) -> String {
        render_checks(&self.checks, paint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_status_is_that_of_the_worst_check_and_remedies_follow_their_check() {
        let check = |found| Check::new(FindingCode::SchemaDrift, "a", found, "b", "do c");
        let of = |found: &[CheckStatus]| Diagnosis {
            version: 1,
            generated_at: Time(0),
            checks: found.iter().map(|found| check(*found)).collect(),
        };
        assert_eq!(of(&[CheckStatus::Ok, CheckStatus::Warn]).exit_code(), Exit::SUCCESS);
        assert_eq!(of(&[CheckStatus::Unknown, CheckStatus::Warn]).exit_code(), Exit::NOT_DONE);
        assert_eq!(of(&[CheckStatus::Unknown, CheckStatus::Fail]).exit_code(), Exit::FAILED);
        let text = of(&[CheckStatus::Fail]).render(Paint::none());
        assert_eq!(text, "FAIL  a: b [schema.drift]\n      do c\n");
    }
}
