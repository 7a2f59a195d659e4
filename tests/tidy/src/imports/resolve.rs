//! Follows paths, by way of imports and re-exports, to the file that defines what they name.

use std::collections::BTreeMap;

use super::modules::{Module, Tree};

/// Re-exports followed at most, so that two that name each other end.
const HOPS_MAX: usize = 16;

/// Uses of one file by another: (from, to) and the first line in `from`.
pub type Arrows = BTreeMap<(usize, usize), usize>;

/// All uses of a module by another, by the first module of each file.
pub fn arrows(tree: &Tree) -> Arrows {
    let mut first_of = BTreeMap::new();
    for (index, module) in tree.modules.iter().enumerate() {
        first_of.entry(module.file.as_str()).or_insert(index);
    }
    let mut arrows = Arrows::new();
    for (index, module) in tree.modules.iter().enumerate() {
        for path in &module.paths {
            let Some(target) = resolve(tree, index, &path.segments, 0) else { continue };
            let target = &tree.modules[target];
            let is_own = target.file == module.file;
            if is_own || path.is_re_export && target.path.starts_with(&module.path) {
                continue;
            }
            let ends = (first_of[module.file.as_str()], first_of[target.file.as_str()]);
            arrows.entry(ends).or_insert(path.line);
        }
    }
    arrows
}

/// The module that defines what the path names in module `from`; `None` if that is in another crate.
fn resolve(tree: &Tree, from: usize, path: &[String], hops: usize) -> Option<usize> {
    let (first, rest) = path.split_first().filter(|_| hops < HOPS_MAX)?;
    let module = &tree.modules[from];
    let start = match first.as_str() {
        "crate" => tree.root(from),
        "self" => from,
        "super" => module.parent?,
        name => match module.children.get(name) {
            Some(child) => *child,
            None if rest.is_empty() => return None,
            None => {
                let import = module.imports.get(name).filter(|import| *import != path)?;
                return resolve(tree, from, &[import.as_slice(), rest].concat(), hops + 1);
            }
        },
    };
    descend(tree, start, rest, hops)
}

fn descend(tree: &Tree, module: usize, path: &[String], hops: usize) -> Option<usize> {
    let Some((first, rest)) = path.split_first() else { return Some(module) };
    let here = &tree.modules[module];
    if first == "super" {
        return descend(tree, here.parent?, rest, hops);
    }
    if let Some(child) = here.children.get(first) {
        return descend(tree, *child, rest, hops);
    }
    if here.items.contains(first) {
        return Some(module);
    }
    if let Some(import) = here.imports.get(first) {
        return through(tree, module, &[import.as_slice(), rest].concat(), hops);
    }
    let globs = here.globs.iter().filter_map(|glob| resolve(tree, module, glob, hops + 1));
    let mut providers = globs.filter(|target| provides(&tree.modules[*target], first));
    providers.next().map_or(Some(module), |target| descend(tree, target, path, hops + 1))
}

/// A re-export: what it names, or the module itself when that is in another crate.
fn through(tree: &Tree, module: usize, path: &[String], hops: usize) -> Option<usize> {
    let is_local = |first: &String| {
        matches!(first.as_str(), "crate" | "self" | "super")
            || tree.modules[module].children.contains_key(first)
    };
    let is_import = |first: &String| path.len() > 1 && tree.modules[module].imports.contains_key(first);
    match path.first() {
        Some(first) if is_local(first) || is_import(first) => {
            resolve(tree, module, path, hops + 1).or(Some(module))
        }
        _ => Some(module),
    }
}

fn provides(module: &Module, name: &str) -> bool {
    module.children.contains_key(name) || module.items.contains(name) || module.imports.contains_key(name)
}
