//! Rules on doc comments.

use crate::{Finding, Source};

/// A doc line opens with the noun, not with a clause.
const OPENINGS: [&str; 6] = ["What", "Whether", "How", "Which", "That", "The same"];
/// Past this many words a doc comment says more than the name.
const REPEATING_WORDS_MAX: usize = 4;
/// Words that add nothing to a name.
const FILLERS: [&str; 6] = ["a", "an", "the", "of", "its", "this"];
/// Words before the name of an item.
const KEYWORDS: [&str; 14] = [
    "pub", "crate", "super", "async", "const", "unsafe", "static", "fn", "struct", "enum", "trait", "type",
    "mod", "union",
];
const CONTAINERS: [&str; 3] = ["struct", "enum", "trait"];

/// Checks the doc comments of one Rust file.
pub fn check_docs(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut report = |line, what| findings.push(Finding { path: source.path.clone(), line, what });
    // Start and text of the doc comment that the next item has.
    let (mut start, mut doc) = (0, String::new());
    // Struct, enum or trait around, with its indentation.
    let mut container = (0, "");
    for (i, line) in source.text.lines().enumerate() {
        let code = line.trim_start();
        if let Some(text) = code.strip_prefix("///").or_else(|| code.strip_prefix("//!")) {
            if let Some(opening) = OPENINGS.into_iter().find(|opening| begins_with(text, opening)) {
                report(i + 1, format!("a doc line begins with {opening:?}: begin with the noun"));
            }
            if code.starts_with("///") {
                start = if doc.is_empty() { i + 1 } else { start };
                doc = format!("{doc} {text}");
            }
            continue;
        }
        if code.starts_with("#[") || code.is_empty() {
            continue;
        }
        let indent = line.len() - code.len();
        let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty());
        let kind = words.clone().find(|word| CONTAINERS.contains(word) || *word == "fn");
        let name = words.find(|word| !KEYWORDS.contains(word)).unwrap_or_default();
        let around = if indent > container.0 { container.1 } else { "" };
        if !doc.is_empty() && repeats(&doc, &[around, name]) {
            report(start, format!("the doc comment of {name} says only its name: delete it, or say more"));
        }
        doc.clear();
        if kind.is_some_and(|kind| CONTAINERS.contains(&kind)) {
            container = (indent, name);
        }
    }
    findings
}

fn begins_with(text: &str, opening: &str) -> bool {
    let text = text.trim_start_matches(['-', '*', ' ']);
    text.strip_prefix(opening).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

/// Are all words of the comment words of the names?
fn repeats(doc: &str, names: &[&str]) -> bool {
    let words = words(&doc.replace("'s", ""));
    let of_names: Vec<String> = names.iter().flat_map(|name| name_words(name)).collect();
    let is_known =
        |word: &String| FILLERS.contains(&word.as_str()) || of_names.iter().any(|of| of == stem(word));
    words.len() <= REPEATING_WORDS_MAX && words.iter().all(is_known)
}

fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// `OpenGaps` and `open_gaps` are `open` and `gap`.
fn name_words(name: &str) -> Vec<String> {
    let spaced: String =
        name.chars().flat_map(|c| [c.is_uppercase().then_some(' '), Some(c)]).flatten().collect();
    words(&spaced).iter().map(|word| stem(word).to_owned()).collect()
}

fn stem(word: &str) -> &str {
    word.strip_suffix('s').unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Vec<String> {
        let source = Source { path: "edge/src/a.rs".to_owned(), text: text.replace('#', "/") };
        check_docs(&source).iter().map(ToString::to_string).collect()
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
            "struct Stream {\n    ### The stream's name.\n    name: u8 }",
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
