//! Brings the edge's adapters to the versions that central wants. Each wish is tried once; the way of a component is that of every other
//! change. While the broker is unreachable or its buckets are missing the edge goes on with what runs, and looks again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, Subscriber};
use futures_util::StreamExt as _;
use marketprism_adapter_host::DifferenceKind;
use marketprism_schema::{ADAPTERS_WANTED_SUBJECT, FollowState, FollowedAdapter, WantedVersion};
use tokio::time::sleep;

use super::fetch::{fetch_component, read_wanted};
use super::parts::running_parts;
use super::record::{SwapOutcome, SwapRecord};
use super::swaps::{AdapterSwaps, SwapRefused};
use crate::broker::BrokerLink;
use crate::feed::{EdgeContext, FeedRoster};
use crate::limits::{COMPONENT_RETRY, WANTED_EVERY, WANTED_WAITING_EVERY};

/// Labels of failures to follow.
pub const FOLLOW_FAILURES: [&str; 2] = [WANTED, COMPONENT];
const WANTED: &str = "wanted";
const COMPONENT: &str = "component";

pub struct WishFollower {
    client: Client,
    link: Arc<BrokerLink>,
    context: Arc<EdgeContext>,
    roster: Arc<FeedRoster>,
    swaps: Arc<AdapterSwaps>,
    retries: BTreeMap<String, ComponentRetry>,
    is_unreadable: bool,
}

/// A component that could not be fetched.
struct ComponentRetry {
    cause: String,
    next: Instant,
    pause: Duration,
}

type WishState = (FollowState, Option<String>);

impl WishFollower {
    pub fn new(
        (client, link): (Client, Arc<BrokerLink>),
        context: &Arc<EdgeContext>,
        roster: Arc<FeedRoster>,
        swaps: Arc<AdapterSwaps>,
    ) -> Self {
        let (retries, is_unreadable) = Default::default();
        Self { client, link, context: Arc::clone(context), roster, swaps, retries, is_unreadable }
    }

    /// Runs until the edge stops.
    pub async fn run(mut self) {
        let (stop, swaps) = (self.context.stop.clone(), Arc::clone(&self.swaps));
        // Without notices wishes are found at the next look.
        let mut notices = self.client.subscribe(ADAPTERS_WANTED_SUBJECT).await.ok();
        loop {
            let look = async {
                if self.link.is_connected() {
                    self.look().await;
                }
            };
            tokio::select! {
                () = look => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = sleep(self.pause()) => {}
                () = swaps.ended_one() => {}
                () = notice(&mut notices) => self.retries.clear(),
                () = stop.cancelled() => return,
            }
        }
    }

    fn pause(&self) -> Duration {
        let is_waiting = self.swaps.followed().iter().any(|one| one.state == FollowState::Waiting);
        if is_waiting { WANTED_WAITING_EVERY } else { WANTED_EVERY }
    }

    async fn look(&mut self) {
        let names: BTreeSet<String> =
            self.roster.list().iter().map(|feed| feed.adapter().description().name.clone()).collect();
        let (mut followed, mut are_readable) = (Vec::new(), true);
        for name in names {
            let wanted = match read_wanted((&self.client, &self.link), &name).await {
                Ok(wanted) => wanted,
                Err(error) => return self.unreadable(&error),
            };
            let wanted = match wanted {
                Ok(wanted) => wanted,
                Err(error) => {
                    // The other adapters are followed all the same.
                    are_readable = false;
                    self.unreadable(&error);
                    let earlier = self.swaps.followed().into_iter();
                    followed.extend(earlier.filter(|one| one.adapter == name));
                    continue;
                }
            };
            let wish = wanted.as_ref().and_then(|one| one.of(&self.context.name, &self.context.region));
            let Some(wish) = wish else {
                // It was taken back.
                cancel_other(&self.swaps, &name, None);
                continue;
            };
            let (state, cause) = self.follow(&name, wish).await;
            let (wish, digest) = (wish.wish.clone(), wish.target.digest.clone());
            followed.push(FollowedAdapter { adapter: name, wish, digest, state, cause });
        }
        if are_readable && std::mem::take(&mut self.is_unreadable) {
            tracing::info!("wanted adapter versions are readable again");
        }
        self.retries.retain(|wish, _| followed.iter().any(|one| one.wish == *wish));
        self.swaps.set_followed(followed);
    }

    /// Known states of the wishes stay as they are.
    fn unreadable(&mut self, error: &anyhow::Error) {
        self.context.metrics.adapter_follow_failures.with_label_values(&[WANTED]).inc();
        if !std::mem::replace(&mut self.is_unreadable, true) {
            let error = format!("{error:#}");
            tracing::warn!(
                error,
                "wanted adapter versions not read: the running ones stay, they are asked for again"
            );
        }
    }

    async fn follow(&mut self, name: &str, wish: &WantedVersion) -> WishState {
        let source = SwapRecord::source_of_wish(&wish.wish);
        let running: BTreeSet<String> =
            running_parts(&self.roster, name).iter().map(|part| part.from.digest().to_owned()).collect();
        match wish_state(&self.swaps, name, wish, &running) {
            Some(state) => state,
            None => self.begin(name, wish, &source).await,
        }
    }

    async fn begin(&mut self, name: &str, wish: &WantedVersion, source: &str) -> WishState {
        let digest = &wish.target.digest;
        if self.swaps.previous(name).as_ref() == Some(digest) {
            return started(self.swaps.return_to_previous(name, digest.clone(), source));
        }
        let known: BTreeSet<DifferenceKind> =
            wish.accept.iter().filter_map(|kind| DifferenceKind::parse(kind)).collect();
        let unknown = wish.accept.iter().find(|kind| DifferenceKind::parse(kind).is_none());
        if let Some(unknown) = unknown {
            return (FollowState::Refused, Some(DifferenceKind::unknown(unknown)));
        }
        if let Some(retry) = self.retries.get(&wish.wish).filter(|retry| Instant::now() < retry.next) {
            return (FollowState::Unavailable, Some(retry.cause.clone()));
        }
        match fetch_component((&self.client, &self.link), name, digest).await {
            Ok(component) => {
                self.retries.remove(&wish.wish);
                started(self.swaps.load(component, known, source))
            }
            Err(error) => (FollowState::Unavailable, Some(self.unavailable(name, wish, &error))),
        }
    }

    fn unavailable(&mut self, adapter: &str, wish: &WantedVersion, error: &anyhow::Error) -> String {
        self.context.metrics.adapter_follow_failures.with_label_values(&[COMPONENT]).inc();
        let cause = format!("{error:#}");
        let earlier = self.retries.get(&wish.wish);
        let pause = earlier.map_or(COMPONENT_RETRY.0, |earlier| (earlier.pause * 2).min(COMPONENT_RETRY.1));
        if earlier.is_none_or(|earlier| earlier.cause != cause) {
            let (error, version) = (&cause, &wish.target.version);
            tracing::warn!(
                adapter,
                version,
                error,
                "wanted adapter not fetched: the running one stays, it is tried again"
            );
        }
        let retry = ComponentRetry { cause: cause.clone(), next: Instant::now() + pause, pause };
        self.retries.insert(wish.wish.clone(), retry);
        cause
    }
}

/// `None`: the wish is to be tried. `running`: digests of the adapter's running parts.
fn wish_state(
    swaps: &AdapterSwaps,
    adapter: &str,
    wish: &WantedVersion,
    running: &BTreeSet<String>,
) -> Option<WishState> {
    let source = SwapRecord::source_of_wish(&wish.wish);
    if let Some(change) = swaps.running() {
        if change.source == source {
            return Some((FollowState::Changing, Some(change.step.as_str().to_owned())));
        }
        cancel_other(swaps, adapter, Some(&source));
        return Some((FollowState::Waiting, Some(format!("change {} of an adapter runs", change.number))));
    }
    if running.is_empty() {
        return Some((FollowState::Waiting, Some("no feed of the adapter runs".to_owned())));
    }
    if running.iter().all(|digest| *digest == wish.target.digest) {
        return Some((FollowState::Active, None));
    }
    let tried = swaps.newest_of(&source).filter(|record| !record.is_to_be_repeated())?;
    let step = tried.step.as_str();
    let cause = tried.reason.as_ref().map(|reason| format!("step {step}: {reason}"));
    Some(match tried.outcome {
        SwapOutcome::Refused => (FollowState::Refused, cause),
        SwapOutcome::RolledBack if !tried.is_return() => (FollowState::RolledBack, cause),
        _ => (FollowState::Replaced, Some("another version was loaded at the edge since".to_owned())),
    })
}

/// Rolls the running change of an adapter back if it is of a wish with another source.
fn cancel_other(swaps: &AdapterSwaps, adapter: &str, source: Option<&str>) {
    if let Some(change) = swaps.running()
        && change.is_of_wish()
        && source != Some(&change.source)
    {
        swaps.cancel(adapter, change.number);
    }
}

fn started(started: Result<u64, SwapRefused>) -> WishState {
    match started {
        Ok(_) => (FollowState::Changing, None),
        Err(refused) => (FollowState::Waiting, Some(refused.to_string())),
    }
}

/// Returns when central wrote a wish.
async fn notice(notices: &mut Option<Subscriber>) {
    if let Some(notices) = notices
        && notices.next().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use marketprism_schema::AdapterVersion;

    use super::super::record::SwapStep;
    use super::*;

    fn wish(name: &str, digest: &str) -> WantedVersion {
        let target = AdapterVersion { version: "2".into(), digest: digest.into() };
        WantedVersion { wish: name.into(), target, accept: Vec::new() }
    }

    #[test]
    fn a_wish_is_tried_once_and_a_newer_one_ends_its_change() {
        let (swaps, mut requests) = AdapterSwaps::with_history(Vec::new());
        let (old, new) = (BTreeSet::from(["old".to_owned()]), BTreeSet::from(["new".to_owned()]));
        let (wanted, none) = (wish("w1", "new"), BTreeSet::new());
        let state = |wish: &WantedVersion, running| wish_state(&swaps, "a", wish, running);
        let is = |wish: &WantedVersion, running, expected| state(wish, running).unwrap().0 == expected;
        assert_eq!(state(&wanted, &old), None, "it is to be tried");
        assert!(is(&wanted, &none, FollowState::Waiting));
        assert_eq!(state(&wanted, &new), Some((FollowState::Active, None)));

        swaps.load(Bytes::from_static(b"new"), BTreeSet::new(), &SwapRecord::source_of_wish("w1")).unwrap();
        swaps.set_cancellable("a");
        assert!(is(&wanted, &new, FollowState::Changing), "on probation");
        let request = requests.try_recv().unwrap();
        assert!(!request.cancel.is_cancelled());
        assert!(is(&wish("w2", "old"), &new, FollowState::Waiting));
        assert!(request.cancel.is_cancelled(), "the newer wish ends the change");
        let end = |outcome, step, reason: &str| {
            swaps.update(|record| record.step = step);
            swaps.end(swaps.ended(outcome, Some(reason.to_owned())).unwrap());
        };
        end(SwapOutcome::RolledBack, SwapStep::Probation, "worse");
        assert_eq!(
            state(&wanted, &old),
            Some((FollowState::RolledBack, Some("step probation: worse".to_owned())))
        );
        assert_eq!(state(&wish("w3", "new"), &old), None, "the same version, wanted again");

        for (source, outcome, expected) in [
            ("w4", SwapOutcome::Refused, Some(FollowState::Refused)),
            ("w5", SwapOutcome::Promoted, Some(FollowState::Replaced)),
            ("w6", SwapOutcome::Stopped, None),
        ] {
            swaps.load(Bytes::new(), BTreeSet::new(), &SwapRecord::source_of_wish(source)).unwrap();
            requests.try_recv().unwrap();
            end(outcome, SwapStep::Shadow, "cause");
            assert_eq!(state(&wish(source, "new"), &old).map(|(state, _)| state), expected);
        }
    }

    #[test]
    fn an_operators_change_is_waited_for() {
        let (swaps, mut requests) = AdapterSwaps::with_history(Vec::new());
        swaps.load(Bytes::new(), BTreeSet::new(), "http").unwrap();
        swaps.set_cancellable("a");
        let state = wish_state(&swaps, "a", &wish("w", "new"), &BTreeSet::new()).unwrap();
        assert_eq!(state, (FollowState::Waiting, Some("change 1 of an adapter runs".to_owned())));
        cancel_other(&swaps, "a", None);
        assert!(!requests.try_recv().unwrap().cancel.is_cancelled());
    }

    #[test]
    fn a_wish_that_is_taken_back_ends_its_change() {
        let (swaps, mut requests) = AdapterSwaps::with_history(Vec::new());
        swaps.load(Bytes::new(), BTreeSet::new(), &SwapRecord::source_of_wish("w")).unwrap();
        swaps.set_cancellable("a");
        let request = requests.try_recv().unwrap();
        cancel_other(&swaps, "b", None);
        assert!(!request.cancel.is_cancelled(), "the change is of another adapter");
        cancel_other(&swaps, "a", None);
        assert!(request.cancel.is_cancelled());
    }
}
