//! The last line behind the engine's grants and the front's guard: the kernel lets this process and all its threads open no file
//! outside its folders (Landlock), make no network socket and start no program (seccomp).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use landlock::{
    ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, make_bitflags,
    path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Rights that newer kernels add to these are not needed.
const LANDLOCK: ABI = ABI::V3;

/// Read by the loader of the library and by the engine. Not all of `/proc`: it shows memory and environment of other processes.
const READ_ONLY: [&str; 23] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/loadavg",
    "/proc/sys/vm",
    "/proc/self/auxv",
    "/proc/self/cgroup",
    "/proc/self/io",
    "/proc/self/maps",
    "/proc/self/stat",
    "/proc/self/statm",
    "/proc/self/status",
    "/sys/kernel/mm",
    "/usr/share/locale",
];

/// Folders that the process keeps access to.
pub struct Folders<'a> {
    pub data: &'a Path,
    pub library: &'a Path,
}

/// Restricts the calling thread and all threads that it starts from now on. `false`: the kernel has no Landlock, files are protected
/// by grants and guard alone.
pub fn enter(folders: &Folders<'_>) -> anyhow::Result<bool> {
    let is_enforced = restrict_files(folders).context("cannot restrict the process to its folders")?;
    restrict_calls().context("cannot forbid sockets and programs")?;
    Ok(is_enforced)
}

fn restrict_files(folders: &Folders<'_>) -> anyhow::Result<bool> {
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let mut readable: Vec<PathBuf> = READ_ONLY.iter().map(PathBuf::from).collect();
    readable.push(folders.library.to_owned());
    readable.push("/dev/urandom".into());
    // Errors carry a stack trace; without the symbols of this program the engine aborts.
    readable.push(std::env::current_exe().context("the path of this program is unknown")?);
    let own = ["/proc/self/fd", "/proc/self/task", "/dev/null"];
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .create()?
        .add_rules(path_beneath_rules(readable, read))?
        .add_rules(path_beneath_rules(own, read | AccessFs::WriteFile))?
        .add_rules(path_beneath_rules([folders.data], AccessFs::from_all(LANDLOCK) & !AccessFs::Execute))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// The listening socket exists already; local notifications of the runtime use `socketpair`.
fn restrict_calls() -> anyhow::Result<()> {
    let netlink = u64::try_from(libc::AF_NETLINK)?;
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, netlink)?;
    let rules = BTreeMap::from([
        (libc::SYS_execve, Vec::new()),
        (libc::SYS_execveat, Vec::new()),
        (libc::SYS_socket, vec![SeccompRule::new(vec![condition])?]),
    ]);
    let refuse = SeccompAction::Errno(u32::try_from(libc::EACCES)?);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, std::env::consts::ARCH.try_into()?)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}
