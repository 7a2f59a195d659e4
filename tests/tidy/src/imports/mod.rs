//! Rules on the imports inside a crate: modules in one direction, no circles of folders, circles of at most two files.
//!
//! Code under `#[cfg(test)]` is left out. A re-export counts as the file that it leads to.

#![allow(clippy::indexing_slicing, reason = "indices of modules come from the tree that they point into")]

mod modules;
mod resolve;
mod rules;

use anyhow::Result;

pub use modules::is_test;

use crate::{Finding, ORDER, Source};

/// Checks the imports of all crates.
pub fn check_imports(sources: &[Source]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in sources.iter().filter_map(|source| source.path.strip_suffix("/Cargo.toml")) {
        let Some(tree) = modules::Tree::read(package, sources)? else { continue };
        let arrows = resolve::arrows(&tree);
        if let Some((_, order)) = ORDER.iter().find(|(name, _)| *name == package) {
            findings.extend(rules::order(&tree, &arrows, order));
        }
        findings.extend(rules::folder_circles(&tree, &arrows));
        findings.extend(rules::file_circles(&tree, &arrows));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings for a package with the order `top`, `middle`, `base`.
    fn check(files: &[(&str, &str)]) -> Vec<String> {
        let source =
            |(path, text): &(&str, &str)| Source { path: format!("p/src/{path}"), text: (*text).to_owned() };
        let sources: Vec<Source> = files.iter().map(source).collect();
        let tree = modules::Tree::read("p", &sources).unwrap().unwrap();
        let arrows = resolve::arrows(&tree);
        let mut findings = rules::order(&tree, &arrows, "top middle base");
        findings.extend(rules::folder_circles(&tree, &arrows));
        findings.extend(rules::file_circles(&tree, &arrows));
        findings.iter().map(ToString::to_string).collect()
    }

    const LIB: (&str, &str) = ("lib.rs", "mod top; mod middle; mod base; pub use base::Base;");

    #[test]
    fn an_import_against_the_order_is_refused_however_it_is_written() {
        let with = |base: &str| {
            check(&[
                LIB,
                ("top.rs", "use crate::base::Base;"),
                ("middle.rs", "pub struct Middle;"),
                ("base.rs", base),
            ])
        };
        assert_eq!(with("pub struct Base;"), Vec::<String>::new());
        for back in [
            "use crate::middle::Middle;",
            "use crate::{middle};",
            "use super::middle::*;",
            "fn f(x: &crate::middle::Middle) {}",
            "fn f() { let _ = vec![super::middle::Middle]; }",
            "fn f() { use crate::middle::Middle; }",
            "mod inner { use super::super::middle::Middle; }",
        ] {
            assert!(with(back)[0].contains("base uses middle"), "{back}: {:?}", with(back));
        }
        assert_eq!(with("#[cfg(test)] mod tests { use crate::middle::Middle; }"), Vec::<String>::new());
    }

    #[test]
    fn a_re_export_counts_as_the_file_that_it_leads_to() {
        let top = ("top.rs", "pub struct Base;");
        let middle = ("middle/mod.rs", "mod a; mod b; pub use a::A; pub use b::B;");
        let b = ("middle/b.rs", "use super::A; pub struct B;");
        let lib = ("lib.rs", "mod top; mod middle; mod base; pub use top::Base;");
        let found = check(&[
            lib,
            top,
            ("base.rs", "use crate::Base;"),
            middle,
            ("middle/a.rs", "pub(super) struct A;"),
            b,
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("p/src/base.rs:1: base uses top"), "{found:?}");
    }

    #[test]
    fn the_table_names_each_module_and_no_other() {
        let found = check(&[
            ("lib.rs", "mod top; mod extra; mod base;"),
            ("top.rs", ""),
            ("extra.rs", ""),
            ("base.rs", ""),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|finding| finding.contains("does not name extra")), "{found:?}");
        assert!(found.iter().any(|finding| finding.contains("names middle")), "{found:?}");
    }

    #[test]
    fn a_circle_of_folders_is_refused_at_any_depth() {
        let files = [
            LIB,
            ("base.rs", "pub struct Base;"),
            ("middle.rs", ""),
            ("top/mod.rs", "mod a; mod b;"),
            ("top/a/mod.rs", "mod x; mod y;"),
            ("top/a/x.rs", "use super::super::b::B;"),
            ("top/a/y.rs", "pub struct Y;"),
            ("top/b.rs", "use super::a::y::Y; pub struct B;"),
        ];
        let found = check(&files);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("circle of folders in src/top: a, b"), "{found:?}");
    }

    #[test]
    fn two_files_may_use_each_other_and_three_may_not() {
        let files = |c: &'static str| {
            check(&[
                LIB,
                ("base.rs", "pub struct Base;"),
                ("middle.rs", ""),
                ("top/mod.rs", "mod a; mod b; mod c; pub use a::A; pub use b::B; pub use c::C;"),
                ("top/a.rs", "use super::B; pub struct A;"),
                ("top/b.rs", "use super::{A, C}; pub(super) struct B;"),
                ("top/c.rs", c),
            ])
        };
        assert_eq!(files("pub struct C;"), Vec::<String>::new());
        let found = files("use super::A; pub struct C;");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("circle of 3 files"), "{found:?}");
    }
}
