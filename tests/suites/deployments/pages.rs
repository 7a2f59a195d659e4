//! Promise: commands, paths and links of the pages under `deploy` exist.

use std::path::Path;
use std::process::Command;

use marketprism_tests::parts;
use marketprism_tests::process::run;

use super::{deploy, text};

const PAGES: [&str; 8] = [
    "README.md",
    "OPERATIONS.md",
    "nats/README.md",
    "compose/README.md",
    "kubernetes/README.md",
    "grafana/README.md",
    "systemd/README.md",
    "prometheus/README.md",
];

/// A command of a page is one of the program, with flags that it has.
fn command_exists(page: &str, line: &str) {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap();
    let is_verb = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
    };
    let verbs = words.clone().take_while(is_verb);
    let help = run(Command::new(parts::binary(program)).args(verbs).arg("--help"));
    for flag in words.filter(|word| word.starts_with("--")) {
        assert!(help.contains(flag), "{page}: {line}: no {flag}");
    }
}

#[test]
fn commands_paths_and_links_of_the_pages_exist() {
    let makefile = text(&parts::root().join("Makefile"));
    let mut commands = 0;
    for page in PAGES {
        let path = deploy(page);
        let content = text(&path);
        for link in content.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let is_here = !link.is_empty() && !link.contains("://");
            assert!(!is_here || path.parent().unwrap().join(link).exists(), "{page}: no {link}");
        }
        for word in content.split([' ', '`', '\n', '(']).filter(|word| word.starts_with("deploy/")) {
            let word = word.trim_end_matches([',', '.', ':', ')', ';']).split(['*']).next().unwrap();
            assert!(parts::root().join(word).exists(), "{page}: no {word}");
        }
        let programs = ["marketprism-edge ", "marketprism-central "];
        let spans = content.split('`').skip(1).step_by(2).filter(|span| !span.contains('\n'));
        let lines = content.lines().map(|line| {
            line.split('#')
                .next()
                .unwrap()
                .trim()
                .trim_start_matches("sudo -u marketprism ")
                .trim_start_matches("sudo ")
        });
        for line in spans.chain(lines) {
            if programs.iter().any(|program| line.starts_with(program)) {
                command_exists(page, line);
                commands += 1;
            }
            if let Some(target) = line.strip_prefix("make ").and_then(|rest| rest.split(' ').next()) {
                assert!(makefile.contains(&format!("\n{target}:")), "{page}: no `make {target}`");
            }
        }
    }
    assert!(commands >= 8, "{commands} commands");
}

/// systemd opens the file of `append:` before it makes the folders of a unit.
#[test]
fn the_folder_of_logs_in_files_is_made_before_a_unit_starts() {
    let page = text(&deploy("systemd/README.md"));
    let (before, rest) = page.split_once("\n  StandardError=append:").unwrap();
    let folder = Path::new(rest.lines().next().unwrap()).parent().unwrap();
    assert!(before.contains(&format!("sudo install -d -m 750 {}\n", folder.display())), "{before}");
    assert!(!page.lines().any(|line| line.trim_start().starts_with("LogsDirectory=")));
}
