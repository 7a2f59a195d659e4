//! JetStream domains that acknowledge where none is configured. Of two, one may be a leaf node's, which central does not read.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// In the place of a domain, of a server that has none.
const NO_DOMAIN: &str = "(none)";

#[derive(Debug, Default)]
pub(super) struct AckDomains(Mutex<SeenDomains>);

#[derive(Debug, Default)]
struct SeenDomains {
    first: Option<String>,
    other: Option<String>,
    /// The first one came again after the other: no change of the broker's configuration.
    are_two: bool,
}

impl SeenDomains {
    fn problem(&self) -> Option<String> {
        let (Some(first), Some(other), true) = (&self.first, &self.other, self.are_two) else { return None };
        Some(format!(
            "messages are acknowledged by streams of two JetStream domains, {first} and {other}: what only one of them has, central may never read; \
             set nats.jetstream_domain to the centre's, and delete the stream in the other"
        ))
    }
}

impl AckDomains {
    pub(super) fn note(&self, domain: Option<&str>) {
        let mut guard = self.lock();
        let seen = &mut *guard;
        let domain = domain.unwrap_or(NO_DOMAIN);
        match (&seen.first, &seen.other) {
            (None, _) => seen.first = Some(domain.to_owned()),
            (Some(first), None) if first != domain => seen.other = Some(domain.to_owned()),
            (Some(first), Some(_)) if !seen.are_two && first == domain => {
                seen.are_two = true;
                tracing::error!(problem = seen.problem(), "acknowledgements of two streams");
            }
            _ => {}
        }
    }

    /// Another server may have another domain.
    pub(super) fn reconnected(&self) {
        *self.lock() = SeenDomains::default();
    }

    pub(super) fn problem(&self) -> Option<String> {
        self.lock().problem()
    }

    /// Of streams that acknowledge, and of which central has no confirmed sequence.
    pub(super) fn unconfirmed_problem(&self, streams: &[&str]) -> String {
        let (streams, domain) = (streams.join(", "), self.lock().first.clone());
        let domain = domain.as_deref().unwrap_or(NO_DOMAIN);
        format!(
            "central has never confirmed what {streams} of the JetStream domain {domain} acknowledges: no central has run yet, or it reads streams of \
             another domain (`marketprism-central diagnose` names it); set nats.jetstream_domain to that one"
        )
    }

    // Every change is a single assignment, so a panic of another holder does not matter.
    fn lock(&self) -> MutexGuard<'_, SeenDomains> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem_after(domains: &[Option<&str>]) -> Option<String> {
        let seen = AckDomains::default();
        for domain in domains {
            seen.note(*domain);
        }
        seen.problem()
    }

    #[test]
    fn two_domains_that_acknowledge_by_turns_are_a_problem_and_a_domain_that_changed_is_none() {
        let (hub, leaf) = (Some("hub"), Some("leaf"));
        let problem = problem_after(&[leaf, hub, leaf]).unwrap();
        assert!(problem.contains("domains, leaf and hub: "), "{problem}");
        assert!(problem_after(&[None, hub, hub, None]).unwrap().contains("(none) and hub"));
        for one in [&[hub, hub, hub][..], &[None, None], &[None, hub, hub], &[]] {
            assert_eq!(problem_after(one), None, "{one:?}");
        }
    }

    #[test]
    fn a_stream_that_central_does_not_confirm_is_named_with_its_domain() {
        let seen = AckDomains::default();
        seen.note(Some("leaf"));
        let problem = seen.unconfirmed_problem(&["MARKET_DATA"]);
        assert!(problem.contains("what MARKET_DATA of the JetStream domain leaf acknowledges"), "{problem}");
    }

    #[test]
    fn a_new_connection_begins_anew() {
        let seen = AckDomains::default();
        for domain in [Some("leaf"), None, Some("leaf")] {
            seen.note(domain);
        }
        assert!(seen.problem().is_some());
        seen.reconnected();
        seen.note(None);
        assert_eq!(seen.problem(), None);
    }
}
