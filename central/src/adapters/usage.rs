//! Use of the stored versions: an edge runs them, or is to run them, or returns to them with a rollback.

use std::collections::BTreeMap;

use anyhow::ensure;
use marketprism_schema::{AdapterVersion, WantedAdapter};

use super::bucket::{StoredAdapter, shown};
use super::edges::{EdgeReport, Heartbeats};
use super::wishes::Wishes;

/// Uses by digest.
#[derive(Debug, Default)]
pub struct AdapterUsage {
    uses: BTreeMap<String, Vec<String>>,
    /// Edges that may run anything: their heartbeats cannot be read.
    unreadable: Vec<String>,
}

impl AdapterUsage {
    pub async fn read(heartbeats: Heartbeats<'_>, wishes: &Wishes) -> anyhow::Result<Self> {
        let (reports, unreadable) = heartbeats.read_all().await?;
        Ok(Self { unreadable, ..Self::of_all(&reports, &wishes.all().await?) })
    }

    fn of_all(reports: &[EdgeReport], wanted: &BTreeMap<String, WantedAdapter>) -> Self {
        let mut usage = Self::default();
        for report in reports {
            for (_, version) in &report.adapters {
                usage.add(version, format!("edge {} runs it", report.edge));
            }
        }
        for WantedAdapter { all, regions, edges, before, .. } in wanted.values() {
            all.iter().for_each(|wish| usage.add(&wish.target, "wanted by all".to_owned()));
            for (region, wish) in regions {
                usage.add(&wish.target, format!("wanted by region {region}"));
            }
            for (edge, wish) in edges {
                usage.add(&wish.target, format!("wanted by edge {edge}"));
            }
            for (edge, step) in before {
                usage.add(&step.to, format!("a rollback brings edge {edge} back to it"));
            }
        }
        usage
    }

    fn add(&mut self, version: &AdapterVersion, text: String) {
        self.uses.entry(version.digest.clone()).or_default().push(text);
    }

    /// Uses of a version, in words.
    pub fn of(&self, adapter: &StoredAdapter) -> &[String] {
        self.uses.get(&adapter.version.digest).map_or(&[], Vec::as_slice)
    }

    /// Refuses to delete what is in use, or what may be.
    pub fn check_unused(&self, adapters: &[StoredAdapter]) -> anyhow::Result<()> {
        let edges = self.unreadable.join(", ");
        ensure!(
            edges.is_empty(),
            "heartbeats of {edges} not readable: these edges may run any version, nothing was deleted; update central, or remove an \
             retired edge with `edges --forget NAME`"
        );
        let used: Vec<String> = adapters
            .iter()
            .filter(|one| !self.of(one).is_empty())
            .map(|one| format!("{}: {}", shown(one), self.of(one).join(", ")))
            .collect();
        ensure!(used.is_empty(), "in use, nothing was deleted: {}", used.join("; "));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use marketprism_schema::StepBack;

    use super::super::edges::tests::report;
    use super::super::wishes::new_wish;
    use super::*;

    fn version(number: &str) -> AdapterVersion {
        AdapterVersion { version: number.into(), digest: format!("d{number}") }
    }

    fn stored(number: &str) -> StoredAdapter {
        StoredAdapter::fixture("x", number, &format!("d{number}"))
    }

    #[test]
    fn a_version_that_an_edge_runs_wants_or_returns_to_is_not_deleted_and_no_guess_is_made() {
        let wish = |number: &str| new_wish(version(number), Vec::new());
        let wanted = WantedAdapter {
            all: Some(wish("2")),
            regions: [("r".into(), wish("3"))].into(),
            edges: [("e1".into(), wish("4"))].into(),
            before: [("e1".into(), StepBack { to: version("5"), from: "d4".into() })].into(),
            newest: Some("d6".into()),
        };
        let usage = AdapterUsage::of_all(&[report("e1", "r")], &[("x".into(), wanted)].into());
        for (number, cause) in [
            ("1", "edge e1 runs it"),
            ("2", "wanted by all"),
            ("3", "wanted by region r"),
            ("4", "wanted by edge e1"),
            ("5", "a rollback brings edge e1 back to it"),
        ] {
            let error = usage.check_unused(&[stored("6"), stored(number)]).unwrap_err().to_string();
            assert!(error.contains(&format!("x@{number}+d{number}: {cause}")), "{error}");
        }
        assert!(usage.check_unused(&[stored("6")]).is_ok());
        let unsure = AdapterUsage { unreadable: vec!["e9".into()], ..AdapterUsage::default() };
        assert!(unsure.check_unused(&[stored("6")]).unwrap_err().to_string().contains("heartbeats of e9"));
    }
}
