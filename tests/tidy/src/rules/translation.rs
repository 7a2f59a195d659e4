//! A translated README has the commands of the original: its code blocks, and no command that the original does not name.

use crate::{Finding, Source};

const ORIGINAL: &str = "README.md";
const TRANSLATIONS: [&str; 1] = ["README.zh.md"];

/// Code blocks, each with the line of its first fence, and spans of code outside of them, each with its line.
struct Commands<'a> {
    blocks: Vec<(usize, Vec<&'a str>)>,
    spans: Vec<(usize, String)>,
}

impl<'a> Commands<'a> {
    fn of(text: &'a str) -> Self {
        let mut commands = Self { blocks: Vec::new(), spans: Vec::new() };
        let (mut is_in_block, mut prose) = (false, String::new());
        for (i, line) in text.lines().enumerate() {
            let is_fence = line.starts_with("```");
            if is_fence && !is_in_block {
                commands.blocks.push((i + 1, Vec::new()));
            }
            if let Some((_, block)) = commands.blocks.last_mut().filter(|_| is_fence || is_in_block) {
                block.push(line);
            } else {
                prose.push_str(line);
            }
            prose.push('\n');
            is_in_block ^= is_fence;
        }
        // A span may be broken over two lines.
        let mut line = 1;
        for (i, part) in prose.split('`').enumerate() {
            if i % 2 == 1 {
                commands.spans.push((line, part.replace('\n', " ")));
            }
            line += part.matches('\n').count();
        }
        commands
    }
}

pub fn check_translations(sources: &[Source]) -> Vec<Finding> {
    let text = |path: &str| sources.iter().find(|source| source.path == path).map(|source| &source.text);
    let Some(original) = text(ORIGINAL).map(|text| Commands::of(text)) else { return Vec::new() };
    let mut findings = Vec::new();
    for path in TRANSLATIONS {
        let Some(translated) = text(path).map(|text| Commands::of(text)) else { continue };
        let mut report = |line, what| findings.push(Finding { path: path.to_owned(), line, what });
        let (wanted, found) = (original.blocks.len(), translated.blocks.len());
        if wanted != found {
            report(1, format!("{found} code blocks: {ORIGINAL} has {wanted}"));
        }
        for ((line, block), (at, wanted)) in translated.blocks.iter().zip(&original.blocks) {
            if block != wanted {
                report(*line, format!("a code block differs from that of {ORIGINAL}:{at}"));
            }
        }
        for (line, span) in translated.spans {
            if !original.spans.iter().any(|(_, known)| *known == span) {
                report(line, format!("`{span}` is not in {ORIGINAL}"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_translation_with_other_commands_is_found() {
        let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        let original = source(ORIGINAL, "Run `make\nup`:\n```\nmake up\n```\nthen\n```sh\nmake down\n```\n");
        let check = |text: &str| -> Vec<String> {
            let findings = check_translations(&[original.clone(), source("README.zh.md", text)]);
            findings.iter().map(Finding::to_string).collect()
        };
        let same = "运行 `make up`：\n\n```\nmake up\n```\n然后\n```sh\nmake down\n```\n";
        assert_eq!(check(same), Vec::<String>::new());
        assert_eq!(
            check(&same.replace("make down", "make halt")),
            ["README.zh.md:7: a code block differs from that of README.md:7"]
        );
        assert_eq!(
            check("运行 `make go`\n```\nmake up\n```\n"),
            [
                "README.zh.md:1: 1 code blocks: README.md has 2",
                "README.zh.md:1: `make go` is not in README.md"
            ]
        );
    }
}
