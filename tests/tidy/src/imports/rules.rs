//! The rules on a crate's imports.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::Tree;
use super::resolve::Arrows;
use crate::Finding;

type Graph<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Arrows of a large circle that are listed at most.
const LISTED_MAX: usize = 40;

/// A module uses only those after it, and the table names each module of the crate.
pub fn order(tree: &Tree, arrows: &Arrows, order: &str) -> Vec<Finding> {
    let order: Vec<&str> = order.split_whitespace().collect();
    let mut findings = Vec::new();
    let position = |name: &str| order.iter().position(|listed| *listed == name);
    let at = |path: String, line, what| Finding { path, line, what };
    let tops: BTreeSet<&str> = tree
        .modules
        .iter()
        .filter(|module| module.path.len() == 1)
        .map(|module| module.path[0].as_str())
        .collect();
    let root = || tree.path(&tree.modules[0].file);
    for name in tops.iter().filter(|name| position(name).is_none()) {
        findings.push(at(root(), 1, format!("the table of tests/tidy/src/order.rs does not name {name}")));
    }
    for name in order.iter().filter(|name| !tops.contains(*name)) {
        findings.push(at(
            root(),
            1,
            format!("the table of tests/tidy/src/order.rs names {name}: no such module"),
        ));
    }
    for ((from, to), line) in arrows {
        let (from, to) = (&tree.modules[*from], &tree.modules[*to]);
        let (Some(user), Some(used)) = (from.path.first(), to.path.first()) else { continue };
        if let (Some(user_at), Some(used_at)) = (position(user), position(used))
            && user_at > used_at
        {
            let what =
                format!("{user} uses {used} ({}): against the order in tests/tidy/src/order.rs", to.file);
            findings.push(at(tree.path(&from.file), *line, what));
        }
    }
    findings
}

/// No circle among the modules of a folder of which one is a folder itself.
pub fn folder_circles(tree: &Tree, arrows: &Arrows) -> Vec<Finding> {
    // By folder: who uses whom among its modules.
    let mut graphs: BTreeMap<&[String], Graph<'_>> = BTreeMap::new();
    for (from, to) in arrows.keys() {
        let (from, to) = (&tree.modules[*from].path, &tree.modules[*to].path);
        let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        if let (Some(user), Some(used)) = (from.get(common), to.get(common)) {
            graphs.entry(&from[..common]).or_default().entry(user).or_default().insert(used);
        }
    }
    let is_folder = |path: Vec<String>| tree.modules.iter().any(|m| m.path == path && !m.children.is_empty());
    let mut findings = Vec::new();
    for (folder, graph) in graphs {
        for circle in circles(&graph) {
            let mut members = circle.iter();
            let Some(start) = members.find(|name| is_folder([folder, &[(**name).to_owned()]].concat()))
            else {
                continue;
            };
            let place = [&["src".to_owned()], folder].concat().join("/");
            let members = Vec::from_iter(circle.iter().copied()).join(", ");
            let mut what = format!("circle of folders in {place}: {members}");
            let in_folder = |path: &[String]| {
                path.starts_with(folder)
                    && path.get(folder.len()).is_some_and(|n| circle.contains(n.as_str()))
            };
            let crosses = |(from, to): (&[String], &[String])| {
                in_folder(from) && in_folder(to) && from.get(folder.len()) != to.get(folder.len())
            };
            what +=
                &listed(tree, arrows, |from, to| crosses((&tree.modules[from].path, &tree.modules[to].path)));
            let file = [folder, &[(*start).to_owned()]].concat().join("/");
            findings.push(Finding { path: tree.path(&file), line: 1, what });
        }
    }
    findings
}

/// No circle of more than two files.
pub fn file_circles(tree: &Tree, arrows: &Arrows) -> Vec<Finding> {
    let mut graph = Graph::new();
    for (from, to) in arrows.keys() {
        graph.entry(&tree.modules[*from].file).or_default().insert(&tree.modules[*to].file);
    }
    let mut findings = Vec::new();
    for circle in circles(&graph).iter().filter(|circle| circle.len() > 2) {
        let Some(start) = circle.first() else { continue };
        let is_in = |module: usize| circle.contains(tree.modules[module].file.as_str());
        let mut what = format!(
            "circle of {} files: {}",
            circle.len(),
            Vec::from_iter(circle.iter().copied()).join(", ")
        );
        what += &listed(tree, arrows, |from, to| is_in(from) && is_in(to));
        findings.push(Finding { path: tree.path(start), line: 1, what });
    }
    findings
}

/// The arrows of a circle, one a line.
fn listed(tree: &Tree, arrows: &Arrows, is_in: impl Fn(usize, usize) -> bool) -> String {
    let within = arrows.iter().filter(|((from, to), _)| is_in(*from, *to));
    let line = |((from, to), line): (&(usize, usize), &usize)| {
        format!("\n    {}:{line} uses {}", tree.modules[*from].file, tree.modules[*to].file)
    };
    within.take(LISTED_MAX).map(line).collect()
}

/// Groups of two and more of which each reaches each other.
fn circles<'a>(graph: &Graph<'a>) -> BTreeSet<BTreeSet<&'a str>> {
    let reached: Graph<'a> = graph.keys().map(|start| (*start, reached_from(graph, start))).collect();
    let circle = |(start, targets): (&&'a str, &BTreeSet<&'a str>)| {
        let is_back = |target: &&str| reached.get(target).is_some_and(|back| back.contains(start));
        targets.iter().copied().filter(is_back).collect::<BTreeSet<&'a str>>()
    };
    reached.iter().map(circle).filter(|circle| circle.len() > 1).collect()
}

fn reached_from<'a>(graph: &Graph<'a>, start: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![start];
    while let Some(at) = open.pop() {
        for target in graph.get(at).into_iter().flatten() {
            if found.insert(*target) {
                open.push(target);
            }
        }
    }
    found
}
