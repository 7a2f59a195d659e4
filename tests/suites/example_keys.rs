//! Promise: two files of `deploy/examples` have every key of edge and central with meaning, allowed values and default, and the defaults are
//! valid as they are written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use marketprism_tests::parts;

const HEAD: &str = "# Every key with its meaning, allowed values and default; a key that begins with # has its default. Generated from the\n\
                    # table of keys in PART/README.md; the test `example_keys` writes it with MARKETPRISM_BLESS=1.\n";
/// Values of the keys that are required.
const REQUIRED: [(&str, &str); 6] = [
    ("edge.name", "\"tokyo-1\""),
    ("edge.region", "\"tokyo\""),
    ("feed.adapter", "\"/usr/lib/marketprism/adapters/binance.wasm\""),
    ("feed.data_types", "[\"trade\", \"orderbook\"]"),
    ("feed.exchange", "\"binance_spot\""),
    ("feed.symbols", "[\"BTC-USDT\", \"ETH-USDT\"]"),
];
const LINE_MAX: usize = 120;

struct Key<'a> {
    name: &'a str,
    default: &'a str,
    allowed: &'a str,
    meaning: &'a str,
}

/// Keys of a README by section; a key of a table within a section is a dotted one.
fn sections(readme: &str) -> BTreeMap<&str, Vec<Key<'_>>> {
    let (_, table) = readme.split_once("| key | default | allowed | meaning |\n|---|---|---|---|\n").unwrap();
    let mut sections: BTreeMap<&str, Vec<Key<'_>>> = BTreeMap::new();
    for row in table.lines().map_while(|line| line.strip_prefix("| ")?.strip_suffix(" |")) {
        let mut cells = row.splitn(4, " | ");
        let [path, default, allowed, meaning] = [(); 4].map(|()| cells.next().unwrap());
        let path = path.trim_matches('`');
        let (section, name) = match path.strip_prefix("[[") {
            Some(path) => path.split_once("]] ").unwrap(),
            None => path.split_once('.').unwrap(),
        };
        sections.entry(section).or_default().push(Key { name, default, allowed, meaning });
    }
    sections
}

fn value(section: &str, key: &Key<'_>) -> String {
    let required = format!("{section}.{}", key.name);
    let text = key.default.trim_matches('`');
    match (key.default, key.allowed) {
        ("required", _) => REQUIRED.iter().find(|(name, _)| *name == required).unwrap().1.to_owned(),
        ("none", _) => String::new(),
        (_, "an array of texts") => format!("[{text:?}]"),
        (default, _) if default.starts_with('`') => format!("{text:?}"),
        (default, _) => default.to_owned(),
    }
}

fn comment(text: &str, out: &mut String) {
    let mut line = "#".to_owned();
    for word in text.split_whitespace() {
        if line.len() + word.len() >= LINE_MAX {
            writeln!(out, "{line}").unwrap();
            line = "#".to_owned();
        }
        write!(line, " {word}").unwrap();
    }
    writeln!(out, "{line}").unwrap();
}

fn file(part: &str) -> String {
    let readme = std::fs::read_to_string(parts::root().join(part).join("README.md")).unwrap();
    let mut out = HEAD.replace("PART", part);
    // What names the edge comes first, what may come several times last.
    let mut sections: Vec<_> = sections(&readme).into_iter().collect();
    sections.sort_by_key(|(section, _)| (*section != "edge", *section == "feed"));
    for (section, keys) in sections {
        let head = if section == "feed" { format!("[[{section}]]") } else { format!("[{section}]") };
        writeln!(out, "\n{head}").unwrap();
        for (number, key) in keys.iter().enumerate() {
            out.push_str(if number == 0 { "" } else { "\n" });
            let default = match key.default {
                "required" => "Required.".to_owned(),
                default => format!("Default: {default}."),
            };
            comment(&format!("{} Allowed: {}. {default}", key.meaning, key.allowed), &mut out);
            let sign = if key.default == "required" { "" } else { "# " };
            writeln!(out, "{}", format!("{sign}{} = {}", key.name, value(section, key)).trim_end()).unwrap();
        }
    }
    out
}

fn check(part: &str, folder: &Path, text: &str) -> Output {
    let adapters = parts::adapter_of("binance_spot");
    let path = folder.join(format!("{part}.toml"));
    let there = adapters.parent().unwrap().to_str().unwrap();
    std::fs::write(&path, text.replace("/usr/lib/marketprism/adapters", there)).unwrap();
    let mut command = Command::new(parts::binary(&format!("marketprism-{part}")));
    command.arg("check").arg("--config").arg(&path).current_dir(folder).output().unwrap()
}

#[test]
fn every_key_is_in_an_example_with_its_default_and_all_defaults_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    let mut outdated = Vec::new();
    for (part, keys_min) in [("edge", 100), ("central", 80)] {
        let name = format!("{part}-all-keys.toml");
        let (path, wanted) = (parts::root().join("deploy/examples").join(&name), file(part));
        if std::env::var("MARKETPRISM_BLESS").is_ok_and(|value| value == "1") {
            std::fs::write(&path, &wanted).unwrap();
        } else if std::fs::read_to_string(&path).ok().as_ref() != Some(&wanted) {
            outdated.push(name);
        }
        let is_key = |line: &&str| {
            line.split(" =").next().is_some_and(|key| !key.trim_start_matches("# ").contains(' '))
        };
        let keys = wanted.lines().filter(|line| line.contains(" =")).filter(is_key);
        assert!(keys.count() >= keys_min, "{wanted}");
        // A key without a default stays a comment.
        let with_defaults = wanted.lines().map(|line| match line.strip_prefix("# ") {
            Some(pair) if is_key(&line) && pair.contains(" = ") => pair,
            _ => line,
        });
        let with_defaults = with_defaults.collect::<Vec<_>>().join("\n");
        for text in [&wanted, &with_defaults] {
            let checked = check(part, folder.path(), text);
            assert!(checked.status.success(), "{part}: {checked:?}");
        }
    }
    assert!(
        outdated.is_empty(),
        "{outdated:?} of deploy/examples are out of date; MARKETPRISM_BLESS=1 writes them"
    );
}
