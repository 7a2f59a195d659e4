//! Wanted and running versions of each edge, and where each version in the bucket is wanted.

use std::collections::BTreeMap;

use marketprism_schema::{AdapterVersion, WantedAdapter};
use serde::Serialize;

use super::bucket::StoredAdapter;
use super::edges::EdgeReport;

/// One adapter of one edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdapterStatus {
    pub edge: String,
    pub region: String,
    pub adapter: String,
    pub active: AdapterVersion,
    pub wanted: Option<AdapterVersion>,
    /// As the edge reports it; `offline` and `pending` where it has not; `-` where nothing is wanted.
    pub state: String,
    pub cause: Option<String>,
}

/// A component with the places where it is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PromotedVersion {
    #[serde(flatten)]
    pub stored: StoredAdapter,
    /// `all`, `region R` and `edge E`.
    pub promoted: Vec<String>,
}

pub fn adapter_status(
    reports: &[EdgeReport],
    wanted: &BTreeMap<String, WantedAdapter>,
) -> Vec<AdapterStatus> {
    let mut rows = Vec::new();
    for report in reports {
        for (adapter, active) in &report.adapters {
            let wish = wanted.get(adapter).and_then(|wanted| wanted.of(&report.edge, &report.region));
            let followed = wish.and_then(|wish| report.followed.iter().find(|one| one.wish == wish.wish));
            let state = match (wish, followed) {
                _ if !report.is_online => "offline",
                (None, _) => "-",
                (Some(_), None) => "pending",
                (Some(_), Some(followed)) => followed.state.as_str(),
            };
            rows.push(AdapterStatus {
                edge: report.edge.clone(),
                region: report.region.clone(),
                adapter: adapter.clone(),
                active: active.clone(),
                wanted: wish.map(|wish| wish.target.clone()),
                state: state.to_owned(),
                cause: followed.and_then(|followed| followed.cause.clone()),
            });
        }
    }
    rows
}

pub fn promoted_versions(
    stored: Vec<StoredAdapter>,
    wanted: &BTreeMap<String, WantedAdapter>,
) -> Vec<PromotedVersion> {
    let places = |stored: &StoredAdapter| {
        let Some(wanted) = wanted.get(&stored.adapter) else { return Vec::new() };
        let all = wanted.all.iter().map(|wish| ("all".to_owned(), wish));
        let regions = wanted.regions.iter().map(|(region, wish)| (format!("region {region}"), wish));
        let edges = wanted.edges.iter().map(|(edge, wish)| (format!("edge {edge}"), wish));
        let places = all.chain(regions).chain(edges);
        places.filter(|(_, wish)| wish.target == stored.version).map(|(place, _)| place).collect()
    };
    stored.into_iter().map(|stored| PromotedVersion { promoted: places(&stored), stored }).collect()
}
