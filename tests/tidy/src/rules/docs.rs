//! Rules on doc comments.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::{Finding, Source};

/// A doc line opens with the noun, not with a clause.
const OPENINGS: [&str; 6] = ["What", "Whether", "How", "Which", "That", "The same"];
/// Past this many words a doc comment says more than the name.
const REPEATING_WORDS_MAX: usize = 4;
/// Words that add nothing to a name.
const FILLERS: [&str; 6] = ["a", "an", "the", "of", "its", "this"];

/// Checks the doc comments of one Rust file.
pub fn check_docs(source: &Source) -> Result<Vec<Finding>> {
    let file = syn::parse_file(&source.text).with_context(|| source.path.clone())?;
    let mut findings = openings(source);
    let mut names = Names { path: &source.path, around: Vec::new(), findings: Vec::new() };
    names.visit_file(&file);
    findings.append(&mut names.findings);
    Ok(findings)
}

fn openings(source: &Source) -> Vec<Finding> {
    let opening = |line: &str| {
        let text = line.trim_start();
        let text = text.strip_prefix("///").or_else(|| text.strip_prefix("//!"))?.trim_start();
        let text = text.trim_start_matches(['-', '*', ' ']);
        let is_opening = |opening: &&str| {
            text.strip_prefix(*opening).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        OPENINGS.into_iter().find(|opening| is_opening(opening))
    };
    let finding = |(i, line)| {
        let what = format!("a doc line begins with {:?}: begin with the noun", opening(line)?);
        Some(Finding { path: source.path.clone(), line: i + 1, what })
    };
    source.text.lines().enumerate().filter_map(finding).collect()
}

/// Compares each doc comment with the names that it stands at.
struct Names<'a> {
    path: &'a str,
    /// Names of the items around.
    around: Vec<String>,
    findings: Vec<Finding>,
}

impl Names<'_> {
    fn item(&mut self, name: &syn::Ident, attributes: &[syn::Attribute]) {
        let lines: Vec<String> = attributes.iter().filter_map(doc_line).collect();
        let words = words(&lines.join(" "));
        let of_names: BTreeSet<String> =
            self.around.iter().chain([&name.to_string()]).flat_map(|name| name_words(name)).collect();
        let is_repeating = !lines.is_empty()
            && words.len() <= REPEATING_WORDS_MAX
            && words.iter().all(|word| FILLERS.contains(&word.as_str()) || of_names.contains(stem(word)));
        if is_repeating {
            let what = format!("the doc comment of {name} says only its name: delete it, or say more");
            let line = attributes.first().map_or(1, |attribute| attribute.span().start().line);
            self.findings.push(Finding { path: self.path.to_owned(), line, what });
        }
    }

    fn within(&mut self, name: &syn::Ident, visit: impl FnOnce(&mut Self)) {
        self.around.push(name.to_string());
        visit(self);
        self.around.pop();
    }
}

fn doc_line(attribute: &syn::Attribute) -> Option<String> {
    let syn::Meta::NameValue(value) = &attribute.meta else { return None };
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &value.value else { return None };
    value.path.is_ident("doc").then(|| text.value())
}

fn words(text: &str) -> Vec<String> {
    let words = text.replace("'s", "");
    let words = words.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// `OpenGaps` and `open_gaps` are `open` and `gap`.
fn name_words(name: &str) -> Vec<String> {
    let mut spaced = String::new();
    for c in name.chars() {
        if c.is_uppercase() {
            spaced.push(' ');
        }
        spaced.push(c);
    }
    words(&spaced).iter().map(|word| stem(word).to_owned()).collect()
}

fn stem(word: &str) -> &str {
    word.strip_suffix('s').unwrap_or(word)
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.item(&item.ident, &item.attrs);
        self.within(&item.ident, |names| visit::visit_item_struct(names, item));
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.item(&item.ident, &item.attrs);
        self.within(&item.ident, |names| visit::visit_item_enum(names, item));
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.item(&item.ident, &item.attrs);
        self.within(&item.ident, |names| visit::visit_item_trait(names, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.item(&item.sig.ident, &item.attrs);
        visit::visit_item_fn(self, item);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.item(&item.ident, &item.attrs);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.item(&item.ident, &item.attrs);
        visit::visit_item_mod(self, item);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if let Some(name) = &field.ident {
            self.item(name, &field.attrs);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.item(&variant.ident, &variant.attrs);
        visit::visit_variant(self, variant);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.item(&item.sig.ident, &item.attrs);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.item(&item.sig.ident, &item.attrs);
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Vec<String> {
        let source = Source { path: "edge/src/a.rs".to_owned(), text: text.replace('#', "/") };
        check_docs(&source).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_doc_line_that_begins_with_a_clause_is_refused() {
        for line in [
            "##! What an edge does.",
            "### Whether it runs.\nfn f() {}",
            "### - The same for all.\nfn f() {}",
        ] {
            assert!(check(line)[0].contains("begin with the noun"), "{line}");
        }
        for line in ["##! Whatever is left.", "## What is this?", "### Says how.\nfn f() {}"] {
            assert_eq!(check(line), Vec::<String>::new(), "{line}");
        }
    }

    #[test]
    fn a_doc_comment_that_says_only_the_name_is_refused() {
        for text in [
            "### The open gaps.\nstruct OpenGap;",
            "struct Stream {\n### The stream's name.\nname: u8 }",
            "enum Side {\n### A bid.\nBid }",
            "trait T {\n### Name of\n### this.\nfn name(); }",
        ] {
            assert!(check(text)[0].contains("says only its name"), "{text}");
        }
        for text in
            ["### Gaps without an end.\nstruct OpenGap;", "struct Stream {\n### Nanoseconds.\nage: u8 }"]
        {
            assert_eq!(check(text), Vec::<String>::new(), "{text}");
        }
    }
}
