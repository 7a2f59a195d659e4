//! Starts a part that outlives the terminal.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub path: PathBuf,
    pub arguments: Vec<OsString>,
    /// Variables in addition to those of this process.
    pub variables: Vec<(String, String)>,
    /// Configuration sections whose overrides (`MARKETPRISM_<SECTION>__<KEY>`) the program accepts. Those
    /// of other sections are removed: it would reject them as unknown.
    pub sections: &'static [&'static str],
    pub folder: PathBuf,
}

/// Starts a program in a process group of its own, so that neither closing the terminal nor Ctrl-C reaches
/// it, without input, its output appended to `log`.
pub fn spawn(program: &Program, log: &Path) -> anyhow::Result<Child> {
    let mut command = command(program, log)?;
    command.spawn().with_context(|| format!("{} cannot be started", program.path.display()))
}

fn command(program: &Program, log: &Path) -> anyhow::Result<Command> {
    let open = || OpenOptions::new().create(true).append(true).open(log);
    let output = open().with_context(|| format!("{} cannot be written", log.display()))?;
    let errors = output.try_clone().with_context(|| format!("{} cannot be written", log.display()))?;
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).current_dir(&program.folder).process_group(0);
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| is_for_others(name, program.sections)) {
            command.env_remove(name);
        }
    }
    command.envs(program.variables.iter().map(|(name, value)| (name, value)));
    Ok(command)
}

fn is_for_others(variable: &str, sections: &[&str]) -> bool {
    let section = variable.strip_prefix("MARKETPRISM_").and_then(|rest| rest.split_once("__"));
    section.is_some_and(|(section, _)| !sections.contains(&section.to_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_reach_only_the_part_that_knows_them() {
        let sections = ["nats", "feed"];
        assert!(is_for_others("MARKETPRISM_LOCAL__EDGE_PORT", &sections));
        assert!(!is_for_others("MARKETPRISM_FEED__0__DEPTH", &sections));
        assert!(!is_for_others("MARKETPRISM_NATS__URLS", &sections));
        assert!(!is_for_others("MARKETPRISM_LOG", &sections));
        assert!(!is_for_others("HOME__X", &sections));
    }
}
