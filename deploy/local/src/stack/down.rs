use anyhow::{Context as _, bail};
use marketprism_service::error_text;

use super::STOP_ORDER;
use crate::process::{self, ProcessRecord, StopResult};
use crate::{Console, StackPaths, limits, lock};

/// Handling of the data after a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataAfterStop {
    Keep,
    Ask,
    /// Deleted without a question.
    Delete,
}

/// Stops the parts that `up` started, and no others.
pub fn down(paths: &StackPaths, purge: DataAfterStop, console: &Console) -> anyhow::Result<()> {
    let _lock = lock(&paths.run().join("lock"), console).context("the run folder cannot be locked")?;
    let mut known = 0;
    let mut failed = Vec::new();
    for part in STOP_ORDER {
        let Some(record) = ProcessRecord::load(&paths.run(), part)? else { continue };
        known += 1;
        match process::stop(&record, limits::STOP_WAIT) {
            Ok(stopped) => {
                console.say(result_line(&record, &stopped));
                ProcessRecord::remove(&paths.run(), part)?;
            }
            Err(error) => failed.push(error_text(error.as_ref())),
        }
    }
    if known == 0 {
        console.say("nothing runs that `make up` started");
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    match purge {
        DataAfterStop::Keep => Ok(()),
        DataAfterStop::Delete => delete(paths, console),
        DataAfterStop::Ask => {
            let question = format!("delete all data, configuration and logs in {}?", paths.state.display());
            anyhow::ensure!(
                console.confirms(&question),
                "nothing was deleted: answer yes to the question, or pass --yes"
            );
            delete(paths, console)
        }
    }
}

fn result_line(record: &ProcessRecord, stopped: &StopResult) -> String {
    let (part, pid) = (&record.part, record.process.pid);
    match stopped {
        StopResult::Ended(took) => {
            format!("  {part:<12} pid {pid:<8} stopped in {:.1} s", took.as_secs_f32())
        }
        StopResult::Killed(took) => {
            let log = record.log.display();
            format!(
                "  {part:<12} pid {pid:<8} DID NOT STOP, KILLED after {:.1} s; see {log}",
                took.as_secs_f32()
            )
        }
        StopResult::WasGone => {
            format!("  {part:<12} pid {pid:<8} had already ended; see {}", record.log.display())
        }
        StopResult::LeftAlone { command } => {
            format!(
                "  {part:<12} had already ended; its pid {pid} now belongs to another process, not touched: {command}"
            )
        }
    }
}

fn delete(paths: &StackPaths, console: &Console) -> anyhow::Result<()> {
    for folder in paths.data() {
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
