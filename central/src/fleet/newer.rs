//! Names that only newer edges know: logged once an edge, in bounded lines. The counter has them all.

use std::collections::{BTreeMap, BTreeSet};

use marketprism_schema::UnknownName;

use crate::limits::{EDGES_MAX, UNKNOWN_NAMES_LISTED, UNKNOWN_NAMES_LOGGED};

/// Names that were logged, by edge.
#[derive(Debug, Default)]
pub struct NewerEdges(BTreeMap<String, BTreeSet<(&'static str, String)>>);

impl NewerEdges {
    /// They are read as `unknown`, or what they name is left out.
    pub fn log(&mut self, edge: &str, message: &str, unknown: &[UnknownName]) {
        if let Some(names) = self.unreported(edge, unknown) {
            tracing::warn!(edge, message, names, "the edge is newer: names are unknown here; update central");
        }
    }

    fn unreported(&mut self, edge: &str, unknown: &[UnknownName]) -> Option<String> {
        if unknown.is_empty() || (self.0.len() >= EDGES_MAX && !self.0.contains_key(edge)) {
            return None;
        }
        let logged = self.0.entry(edge.to_owned()).or_default();
        let mut names = Vec::new();
        let mut more = 0;
        for UnknownName { field, value, .. } in unknown {
            if logged.len() >= UNKNOWN_NAMES_LOGGED || !logged.insert((field, value.clone())) {
                continue;
            }
            if names.len() < UNKNOWN_NAMES_LISTED {
                names.push(format!("{field} {value:?}"));
            } else {
                more += 1;
            }
        }
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!names.is_empty()).then(|| names.join(", ") + &more)
    }

    /// Forgets edges that no longer exist.
    pub fn retain(&mut self, edges: &BTreeSet<String>) {
        self.0.retain(|edge, _| edges.contains(edge));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(values: impl Iterator<Item = usize>) -> Vec<UnknownName> {
        let name =
            |value: usize| UnknownName { field: "kind", value: value.to_string(), allowed: String::new() };
        values.map(name).collect()
    }

    #[test]
    fn each_name_of_an_edge_is_reported_once_and_lines_and_memory_are_bounded() {
        let mut newer = NewerEdges::default();
        let two = names([7, 8, 7].into_iter());
        assert_eq!(newer.unreported("e1", &two).unwrap(), "kind \"7\", kind \"8\"");
        assert_eq!(newer.unreported("e1", &two), None, "each message has them");
        assert_eq!(newer.unreported("e1", &names(8..10)).unwrap(), "kind \"9\"");
        assert!(newer.unreported("e2", &two).is_some(), "another edge");
        let many = newer.unreported("e3", &names(0..10_000)).unwrap();
        let more = UNKNOWN_NAMES_LOGGED - UNKNOWN_NAMES_LISTED;
        assert!(many.ends_with(&format!(" and {more} more")) && many.len() < 1_000, "{many}");
        assert_eq!(newer.unreported("e3", &names(20_000..20_001)), None, "no more are kept");
        newer.retain(&BTreeSet::from(["e2".to_owned()]));
        assert!(newer.unreported("e1", &two).is_some());
        for edge in 0..EDGES_MAX {
            newer.unreported(&edge.to_string(), &two);
        }
        assert_eq!(newer.0.len(), EDGES_MAX);
    }
}
