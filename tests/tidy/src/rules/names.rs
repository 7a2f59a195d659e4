//! Rules on the names of types.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use syn::visit::{self, Visit};

use crate::imports::is_test;
use crate::{Finding, Source};

/// Names that fit any type, and so say nothing of this one.
const GENERIC: [&str; 62] = [
    "Again",
    "Alone",
    "Answers",
    "Asked",
    "Badness",
    "Counted",
    "Damaged",
    "Data",
    "Delivered",
    "Desk",
    "Done",
    "Each",
    "Effort",
    "Entry",
    "Facts",
    "Fate",
    "Found",
    "Given",
    "Gone",
    "Heard",
    "Held",
    "Helper",
    "Hole",
    "Info",
    "Inner",
    "Inquiry",
    "Item",
    "Kept",
    "Kind",
    "Known",
    "Lacking",
    "Last",
    "Left",
    "Levels",
    "Listed",
    "Look",
    "Manager",
    "Mended",
    "Named",
    "Noted",
    "Origin",
    "Outcome",
    "Passed",
    "Piece",
    "Place",
    "Rare",
    "Ready",
    "Record",
    "Refused",
    "Seat",
    "Seen",
    "Settled",
    "Shared",
    "Standing",
    "State",
    "Stuff",
    "Thing",
    "Told",
    "Touched",
    "Way",
    "Wish",
    "Work",
];

/// Checks the names of all types under a crate's `src`, tests left out.
pub fn check_type_names(sources: &[Source]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in sources.iter().filter_map(|source| source.path.strip_suffix("Cargo.toml")) {
        let mut types = Types::default();
        let src = format!("{package}src/");
        for source in sources.iter().filter(|source| source.path.starts_with(&src)) {
            if source.path.ends_with(".rs") {
                types.path.clone_from(&source.path);
                let file = syn::parse_file(&source.text).with_context(|| source.path.clone())?;
                types.visit_file(&file);
            }
        }
        findings.append(&mut types.findings);
    }
    Ok(findings)
}

#[derive(Default)]
struct Types {
    path: String,
    places: BTreeMap<String, String>,
    findings: Vec<Finding>,
}

impl Types {
    fn name(&mut self, name: &syn::Ident) {
        let line = name.span().start().line;
        let mut report = |what| self.findings.push(Finding { path: self.path.clone(), line, what });
        let text = name.to_string();
        if GENERIC.contains(&text.as_str()) {
            report(format!("the type name {text} fits anything: name it by what it holds"));
        }
        if let Some(first) = self.places.get(&text) {
            report(format!("a second type {text} in this crate (the first: {first})"));
        } else {
            self.places.insert(text, format!("{}:{line}", self.path));
        }
    }
}

impl<'ast> Visit<'ast> for Types {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        match item {
            syn::Item::Enum(item) if !is_test(&item.attrs) => self.name(&item.ident),
            syn::Item::Struct(item) if !is_test(&item.attrs) => self.name(&item.ident),
            syn::Item::Trait(item) if !is_test(&item.attrs) => self.name(&item.ident),
            syn::Item::Type(item) if !is_test(&item.attrs) => self.name(&item.ident),
            syn::Item::Mod(item) if !is_test(&item.attrs) => visit::visit_item_mod(self, item),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)]) -> Vec<String> {
        let source =
            |(path, text): &(&str, &str)| Source { path: (*path).to_owned(), text: (*text).to_owned() };
        let sources: Vec<Source> = files.iter().map(source).collect();
        check_type_names(&sources).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_type_name_is_once_in_a_crate_and_says_something() {
        let cargo = [("edge/Cargo.toml", ""), ("edge/host/Cargo.toml", "")];
        let with = |files: &[(&str, &str)]| check(&[&cargo, files].concat());
        let found = with(&[("edge/src/a.rs", "struct Gap;"), ("edge/src/b.rs", "enum Gap {}")]);
        assert!(found[0].starts_with("edge/src/b.rs:1: a second type Gap"), "{found:?}");
        assert!(with(&[("edge/src/a.rs", "mod x { type Outcome = u8; }")])[0].contains("fits anything"));
        for other in ["edge/host/src/b.rs", "edge/tests/b.rs"] {
            assert_eq!(
                with(&[("edge/src/a.rs", "struct Gap;"), (other, "struct Gap;")]),
                Vec::<String>::new()
            );
        }
        let test = "struct Gap; #[cfg(test)] mod tests { struct Gap; struct State; }";
        assert_eq!(with(&[("edge/src/a.rs", test)]), Vec::<String>::new());
    }
}
