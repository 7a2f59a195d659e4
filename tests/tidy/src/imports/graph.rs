//! Circles in a graph of names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Who uses whom.
pub type Graph<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Groups of two and more of which each reaches each other.
pub fn circles<'a>(graph: &Graph<'a>) -> Vec<BTreeSet<&'a str>> {
    let reached: BTreeMap<&str, BTreeSet<&'a str>> =
        graph.keys().map(|start| (*start, path_lengths(graph, start).into_keys().collect())).collect();
    let mut circles: Vec<BTreeSet<&'a str>> = Vec::new();
    for (start, targets) in &reached {
        if circles.iter().any(|circle| circle.contains(start)) {
            continue;
        }
        let circle: BTreeSet<&'a str> = targets
            .iter()
            .filter(|target| reached.get(*target).is_some_and(|back| back.contains(start)))
            .copied()
            .collect();
        if circle.len() > 1 {
            circles.push(circle);
        }
    }
    circles
}

/// The shortest way round from `start`, as `a -> b -> a`.
pub fn round_trip(graph: &Graph<'_>, start: &str) -> String {
    let mut way = vec![start];
    let before = path_lengths(graph, start);
    let mut at = start;
    while let Some(previous) = before.get(at) {
        way.push(previous);
        at = previous;
        if at == start {
            break;
        }
    }
    way.reverse();
    way.join(" -> ")
}

/// Everything that `start` reaches, and the step before it on a shortest way.
fn path_lengths<'a>(graph: &Graph<'a>, start: &str) -> BTreeMap<&'a str, &'a str> {
    let mut before = BTreeMap::new();
    let mut queue: VecDeque<&str> = graph.keys().find(|name| **name == start).copied().into_iter().collect();
    while let Some(at) = queue.pop_front() {
        let Some((at, targets)) = graph.get_key_value(at) else { continue };
        for target in targets {
            if !before.contains_key(target) {
                before.insert(*target, *at);
                queue.push_back(target);
            }
        }
    }
    before
}
