//! The edges that a command is about, in their order.

use std::collections::BTreeSet;

use anyhow::ensure;
use clap::Args;

use super::edges::EdgeReport;

/// Edges, regions, or all of them.
#[derive(Debug, Clone, Default, Args)]
pub struct EdgeSelection {
    /// Edge; may be given several times. These come first, in this order.
    #[arg(long = "edge", value_name = "EDGE")]
    pub(super) edges: Vec<String>,
    /// Region; may be given several times. They come next, in this order.
    #[arg(long = "region", value_name = "REGION")]
    pub(super) regions: Vec<String>,
    /// All edges, also those that come later.
    #[arg(long)]
    pub(super) all: bool,
}

impl EdgeSelection {
    pub(super) fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.edges.is_empty() && self.regions.is_empty() && !self.all
    }

    pub(super) fn names(&self, edge: &str) -> bool {
        self.edges.iter().any(|one| one == edge)
    }

    /// The edges among these that run the adapter. One that is named and does not is an error.
    pub(super) fn select<'r>(
        &self,
        reports: &'r [EdgeReport],
        adapter: &str,
    ) -> anyhow::Result<Vec<&'r EdgeReport>> {
        let names = |names: BTreeSet<&str>| match names.is_empty() {
            true => "none".to_owned(),
            false => names.into_iter().collect::<Vec<_>>().join(", "),
        };
        let mut selected: Vec<&EdgeReport> = Vec::new();
        let mut add = |report: &'r EdgeReport| {
            if !selected.iter().any(|one| one.edge == report.edge) {
                selected.push(report);
            }
        };
        for edge in &self.edges {
            let found = reports.iter().find(|report| report.edge == *edge);
            let Some(report) = found else {
                let known = names(reports.iter().map(|report| report.edge.as_str()).collect());
                anyhow::bail!("--edge {edge}: no such edge is known (known: {known})");
            };
            ensure!(
                report.running(adapter).is_some(),
                "--edge {edge}: it runs no adapter named {adapter} (it runs: {})",
                names(report.adapters.iter().map(|(name, _)| name.as_str()).collect())
            );
            add(report);
        }
        let running = || reports.iter().filter(|report| report.running(adapter).is_some());
        for region in &self.regions {
            let known = || names(running().map(|report| report.region.as_str()).collect());
            ensure!(
                running().any(|report| report.region == *region),
                "--region {region}: no edge of it runs an adapter named {adapter} (regions with one: {})",
                known()
            );
            running().filter(|report| report.region == *region).for_each(&mut add);
        }
        if self.all {
            running().for_each(&mut add);
        }
        Ok(selected)
    }

    /// Its region or all edges are selected, not the edge alone.
    pub(super) fn covers(&self, region: &str) -> bool {
        self.all || self.regions.iter().any(|one| one == region)
    }
}

#[cfg(test)]
mod tests {
    use super::super::edges::tests::report;
    use super::*;

    #[test]
    fn named_edges_come_first_then_regions_then_the_rest() {
        let reports: Vec<EdgeReport> = [("a1", "a"), ("b1", "b"), ("b2", "b"), ("c1", "c")]
            .map(|(edge, region)| report(edge, region))
            .into();
        let select = |edges: &[&str], regions: &[&str], all| {
            let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
            let selection = EdgeSelection { edges: texts(edges), regions: texts(regions), all };
            let selected = selection.select(&reports, "x").map_err(|error| error.to_string())?;
            Ok::<_, String>(selected.iter().map(|report| report.edge.clone()).collect::<Vec<_>>())
        };
        assert_eq!(select(&["b2"], &["b"], true).unwrap(), ["b2", "b1", "a1", "c1"]);
        assert_eq!(select(&[], &["c"], false).unwrap(), ["c1"]);
        assert_eq!(
            select(&["z"], &[], false).unwrap_err(),
            "--edge z: no such edge is known (known: a1, b1, b2, c1)"
        );
        assert!(select(&[], &["z"], false).unwrap_err().contains("(regions with one: a, b, c)"));
        let other = EdgeSelection { edges: vec!["a1".into()], ..EdgeSelection::default() };
        let error = other.select(&reports, "y").unwrap_err().to_string();
        assert_eq!(error, "--edge a1: it runs no adapter named y (it runs: x)");
    }
}
