//! Adapters that edges follow: signed components in an Object Store bucket, and the wanted version of each in a KV bucket.
//!
//! Central writes both, edges read them, by requests only: an edge creates no consumer. What came of a wish is in its heartbeat.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde::{Deserialize, Serialize};

use crate::names::names;

/// Object Store bucket of the components, one object for each digest.
pub const ADAPTER_OBJECTS_BUCKET: &str = "adapters";
/// KV bucket of the wanted versions; its keys are names of adapters.
pub const WANTED_ADAPTERS_BUCKET: &str = "MARKETPRISM_ADAPTERS";
/// Notices to edges that a wanted version has changed. They ask for no answer: an edge that subscribed the bucket itself could answer
/// central's writes before the broker does.
pub const ADAPTERS_WANTED_SUBJECT: &str = "adapters_wanted";

/// One version of an adapter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterVersion {
    /// As its author numbers it.
    pub version: String,
    /// SHA-256 of the component, hex.
    pub digest: String,
}

/// A version that edges shall run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedVersion {
    /// Identity of this wish: an edge tries each once. A repeated promotion of a digest is another one.
    pub wish: String,
    /// Component to run.
    pub target: AdapterVersion,
    /// Kinds of differences to the running version that do not refuse it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<String>,
}

/// Version that an edge ran before a promotion, for a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepBack {
    /// Version to return to.
    pub to: AdapterVersion,
    /// Digest of the version that the promotion brought: of another one it is no way back.
    pub from: String,
}

/// Value of an adapter's key. The most specific wish applies: of the edge, of its region, of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WantedAdapter {
    /// For all edges.
    pub all: Option<WantedVersion>,
    /// By region.
    pub regions: BTreeMap<String, WantedVersion>,
    /// By edge.
    pub edges: BTreeMap<String, WantedVersion>,
    /// One step back, by edge.
    pub before: BTreeMap<String, StepBack>,
    /// Digest of the version that was promoted last, to whatever edges.
    pub newest: Option<String>,
}

impl WantedAdapter {
    /// The wish for an edge of a region.
    pub fn of(&self, edge: &str, region: &str) -> Option<&WantedVersion> {
        let of_region = || self.regions.get(region);
        self.edges.get(edge).or_else(of_region).or(self.all.as_ref())
    }
}

names! {
    /// Progress of an edge towards a wish.
    FollowState, "state", unknown = Unknown, {
        /// No feed of the adapter runs, or another change does: it is tried later.
        Waiting = "waiting",
        /// The component cannot be fetched: it is tried again.
        Unavailable = "unavailable",
        /// Its change runs.
        Changing = "changing",
        /// It runs, past its probation.
        Active = "active",
        /// The change was refused: the earlier version runs.
        Refused = "refused",
        /// The new version was worse: the earlier one runs again.
        RolledBack = "rolled_back",
        /// It ran, and was replaced at the edge since.
        Replaced = "replaced",
        /// A name that this version does not know.
        Unknown = "unknown",
    }
}

impl FollowState {
    /// The edge does nothing more about the wish.
    pub const fn is_failed(self) -> bool {
        matches!(self, Self::Refused | Self::RolledBack | Self::Replaced)
    }
}

/// State of a wish at an edge, in its heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowedAdapter {
    /// Name of the adapter.
    pub adapter: String,
    /// [`WantedVersion::wish`].
    pub wish: String,
    /// Digest of the wanted component.
    pub digest: String,
    /// Progress.
    pub state: FollowState,
    /// Step of a running change, or reason of another state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// Subject of a request for the newest value.
pub fn wanted_adapter_request_subject(adapter: &str) -> String {
    format!("$JS.API.DIRECT.GET.KV_{WANTED_ADAPTERS_BUCKET}.$KV.{WANTED_ADAPTERS_BUCKET}.{adapter}")
}

/// Name of a component in the bucket.
pub fn adapter_object_name(adapter: &str, digest: &str) -> String {
    format!("{adapter}/{digest}")
}

/// Subject of a request for an object's description.
pub fn adapter_info_request_subject(object: &str) -> String {
    let name = URL_SAFE.encode(object);
    format!("$JS.API.DIRECT.GET.OBJ_{ADAPTER_OBJECTS_BUCKET}.$O.{ADAPTER_OBJECTS_BUCKET}.M.{name}")
}

/// Subject of requests for the pieces of objects.
pub fn adapter_chunk_request_subject() -> String {
    format!("$JS.API.DIRECT.GET.OBJ_{ADAPTER_OBJECTS_BUCKET}")
}

/// Subject of an object's pieces.
pub fn adapter_chunk_subject(nuid: &str) -> String {
    format!("$O.{ADAPTER_OBJECTS_BUCKET}.C.{nuid}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_wish_applies() {
        let wish = |wish: &str| WantedVersion {
            wish: wish.into(),
            target: AdapterVersion { version: "1".into(), digest: "d".into() },
            accept: Vec::new(),
        };
        let wanted = WantedAdapter {
            all: Some(wish("all")),
            regions: [("jp".to_owned(), wish("jp"))].into(),
            edges: [("tokyo".to_owned(), wish("tokyo"))].into(),
            ..WantedAdapter::default()
        };
        let of = |edge: &str, region: &str| wanted.of(edge, region).map(|one| one.wish.clone()).unwrap();
        assert_eq!([of("tokyo", "jp"), of("osaka", "jp"), of("paris", "fr")], ["tokyo", "jp", "all"]);
        assert_eq!(WantedAdapter::default().of("tokyo", "jp"), None);
        let text = serde_json::to_string(&wanted).unwrap();
        assert!(
            text.starts_with(r#"{"all":{"wish":"all","target":{"version":"1","digest":"d"}},"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<WantedAdapter>(&text).unwrap(), wanted);
    }
}
