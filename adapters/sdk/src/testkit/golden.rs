//! Golden output.

use super::json::{lines, start_lines};
use super::recording::{RecordedMessage, read};
use super::session::{Session, whole_feed};
use crate::adapter::Adapter;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Runs every case in `folder/frames` and compares it with `folder/expected`, at batch sizes 1, 16 and 64.
/// With the environment variable `MARKETPRISM_BLESS=1` the golden output is written instead. Gives the number
/// of cases.
///
/// # Errors
/// Every difference, each with file, line, what was expected and what came.
pub fn golden<A: Adapter>(folder: &Path) -> Result<usize, String> {
    let bless = std::env::var("MARKETPRISM_BLESS").is_ok_and(|value| value == "1");
    let frames = folder.join("frames");
    let entries =
        std::fs::read_dir(&frames).map_err(|error| format!("folder {}: {error}", frames.display()))?;
    let mut cases: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    cases.sort();
    let mut faults = Vec::new();
    for case in &cases {
        let name = case.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let expected = folder.join("expected").join(&name);
        let outcome = run::<A>(case, &name)
            .and_then(|lines| if bless { write(&expected, &lines) } else { compare(&expected, &lines) });
        faults.extend(outcome.err().map(|fault| format!("{name}: {fault}")));
    }
    if cases.is_empty() {
        faults.push(format!("no case in {}", frames.display()));
    }
    if faults.is_empty() { Ok(cases.len()) } else { Err(faults.join("\n")) }
}

fn run<A: Adapter>(case: &Path, name: &str) -> Result<Vec<Value>, String> {
    let exchange = name.split('.').next().unwrap_or(name);
    let instruments = case.with_file_name(format!("{exchange}.instruments.jsonl"));
    let shared: Vec<RecordedMessage> = read(&instruments)?;
    let feed = whole_feed::<A>(exchange)?;
    if case == instruments {
        let session = Session::<A>::open(&feed, &shared)?;
        return Ok(start_lines(&session.instruments, &session.plan));
    }
    let mut results = Vec::new();
    let own = read(case)?;
    for batch_size in [1, 16, 64] {
        // A new instance each time: what it remembers must not matter.
        let mut session = Session::<A>::open(&feed, &shared)?;
        let frames = session.frames(&own);
        let normalized = session.normalize(&frames, batch_size);
        results.push(lines(&normalized, &session.instruments));
    }
    if results.iter().any(|result| Some(result) != results.first()) {
        return Err("the batch size changes the output".to_owned());
    }
    results.pop().ok_or_else(|| "no result".to_owned())
}

fn write(path: &Path, lines: &[Value]) -> Result<(), String> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|error| format!("file {}: {error}", path.display()))
}

fn compare(path: &Path, lines: &[Value]) -> Result<(), String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("file {}: {error}; MARKETPRISM_BLESS=1 writes it", path.display()))?;
    let expected: Vec<&str> = text.lines().collect();
    let mut faults = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let wanted: Option<Value> = expected.get(index).and_then(|line| serde_json::from_str(line).ok());
        if wanted.as_ref() != Some(line) {
            let wanted = wanted.map_or_else(|| "nothing".to_owned(), |wanted| wanted.to_string());
            faults.push(format!("line {}\n  expected {wanted}\n  came     {line}", index + 1));
        }
    }
    if expected.len() > lines.len() {
        faults.push(format!("{} more lines were expected", expected.len() - lines.len()));
    }
    faults.truncate(10);
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}
