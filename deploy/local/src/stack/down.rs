//! Takes the stack down.

use anyhow::{Context as _, bail};

use super::STOP_ORDER;
use crate::process::{self, Record, Stopped};
use crate::{Console, FileLock, Home, limits};

/// What happens to the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purge {
    /// It stays.
    Keep,
    /// It is deleted when the person says yes.
    Ask,
    /// It is deleted.
    Delete,
}

/// Stops what `up` started, and only that.
pub fn down(home: &Home, purge: Purge, console: &Console) -> anyhow::Result<()> {
    let _lock =
        FileLock::take(&home.run().join("lock"), console).context("the run folder cannot be locked")?;
    let mut known = 0;
    let mut failed = Vec::new();
    for part in STOP_ORDER {
        let Some(record) = Record::load(&home.run(), part)? else { continue };
        known += 1;
        match process::stop(&record, limits::STOP_WAIT) {
            Ok(stopped) => {
                console.say(told(&record, &stopped));
                Record::remove(&home.run(), part)?;
            }
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    if known == 0 {
        console.say("nothing runs that `up` started");
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    match purge {
        Purge::Keep => Ok(()),
        Purge::Delete => delete(home, console),
        Purge::Ask => {
            let question = format!("delete all data, configuration and logs in {}?", home.state.display());
            anyhow::ensure!(
                console.confirms(&question),
                "nothing was deleted: say yes to the question, or give --yes"
            );
            delete(home, console)
        }
    }
}

fn told(record: &Record, stopped: &Stopped) -> String {
    let (part, pid) = (&record.part, record.process.pid);
    match stopped {
        Stopped::Ended(took) => format!("  {part:<12} pid {pid:<8} stopped in {:.1} s", took.as_secs_f32()),
        Stopped::Killed(took) => {
            let log = record.log.display();
            format!(
                "  {part:<12} pid {pid:<8} DID NOT STOP, KILLED after {:.1} s; see {log}",
                took.as_secs_f32()
            )
        }
        Stopped::WasGone => {
            format!("  {part:<12} pid {pid:<8} had ended before; see {}", record.log.display())
        }
        Stopped::LeftAlone { command } => {
            format!("  {part:<12} had ended before; pid {pid} is now another process, left alone: {command}")
        }
    }
}

fn delete(home: &Home, console: &Console) -> anyhow::Result<()> {
    for folder in home.data() {
        match std::fs::remove_dir_all(&folder) {
            Ok(()) => console.say(format!("  deleted {}", folder.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be deleted", folder.display()));
            }
        }
    }
    Ok(())
}
