//! Two revisions in pairs: both are built, each runs the same parts in turn, and each figure is compared with its neighbour's.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use marketprism_tests::pairs::Spread;
use marketprism_tests::parts;
use marketprism_tests::printed::Printed;

/// Returns false if a figure got worse.
pub fn run(revision: &str, pairs: usize, arguments: &[String], out: &mut impl Write) -> Result<bool> {
    let other = built(revision)?;
    let ours = std::env::current_exe()?;
    let mut values: BTreeMap<String, (Printed, Vec<f64>)> = BTreeMap::new();
    for pair in 0..pairs {
        writeln!(std::io::stderr(), "pair {} of {pairs}", pair + 1)?;
        let (ours, other) = if pair % 2 == 0 {
            let ours = figures(&ours, arguments)?;
            (ours, figures(&other, arguments)?)
        } else {
            let other = figures(&other, arguments)?;
            (figures(&ours, arguments)?, other)
        };
        for figure in ours {
            let Some(peer) = other.iter().find(|peer| peer.name == figure.name) else { continue };
            let entry = values.entry(figure.name.clone()).or_insert_with(|| (figure.clone(), Vec::new()));
            if peer.value > 0.0 {
                entry.1.push(figure.value / peer.value);
            }
        }
    }
    ensure!(!values.is_empty(), "{revision} prints no figure of the same name");
    print(revision, &values, out)
}

fn print(
    revision: &str,
    values: &BTreeMap<String, (Printed, Vec<f64>)>,
    out: &mut impl Write,
) -> Result<bool> {
    let mut is_good = true;
    writeln!(out, "this revision / {revision}, median of the pairs [deciles]")?;
    for (name, (figure, ratios)) in values {
        let Some(spread) = Spread::of(ratios.iter().copied()) else { continue };
        let is_worse = figure.is_worse(ratios, spread);
        is_good &= !is_worse;
        let verdict = if is_worse { "WORSE" } else { "" };
        let Spread { low, median, high, count } = spread;
        let line = format!(
            "{name:<96} {median:>7.3} times [{low:.3} to {high:.3}, {count} pairs] of {} {verdict}",
            figure.unit
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(is_good)
}

/// Builds a revision in a folder of its own under `target/compare`, once; returns its benchmark.
fn built(revision: &str) -> Result<PathBuf> {
    let root = parts::root();
    let commit = format!("{revision}^{{commit}}");
    let commit = text(Command::new("git").arg("-C").arg(&root).args(["rev-parse", "--verify", &commit]))
        .with_context(|| format!("{revision:?} is no revision of this repository"))?;
    let folders = root.join("target/compare");
    let folder = folders.join(&commit);
    std::fs::create_dir_all(&folders)?;
    if !folder.exists() {
        let mut add = Command::new("git");
        add.arg("-C").arg(&root).args(["worktree", "add", "--force", "--detach"]).arg(&folder).arg(&commit);
        text(&mut add)?;
    }
    let (shared, link) = (root.join("../shared"), folders.join("shared"));
    if shared.exists() && !link.exists() {
        std::os::unix::fs::symlink(shared.canonicalize()?, link)?;
    }
    writeln!(
        std::io::stderr(),
        "building {commit} in {} (the first time compiles all dependencies)",
        folder.display()
    )?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    done(Command::new(cargo).args(["build", "--release", "--workspace", "--bins"]).current_dir(&folder))?;
    done(Command::new(folder.join("target/release/marketprism-adapter-build")).current_dir(&folder))?;
    Ok(folder.join("target/release/marketprism-bench"))
}

/// Runs a benchmark. One that misses its goals has figures too.
fn figures(program: &Path, arguments: &[String]) -> Result<Vec<Printed>> {
    let output = Command::new(program).args(arguments).stderr(Stdio::inherit()).output()?;
    let printed = String::from_utf8(output.stdout)?;
    let figures: Vec<Printed> = printed.lines().filter_map(Printed::parse).collect();
    if figures.is_empty() {
        bail!("{} {arguments:?} printed no figure, {}", program.display(), output.status);
    }
    Ok(figures)
}

fn done(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

fn text(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
