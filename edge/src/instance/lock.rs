//! The lock of a data folder, and the identity of both.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use marketprism_schema::EdgeLease;
use marketprism_service::{Exit, Failure, FailureContext as _, FileLock, clock, read_text};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Longest file of an identity.
const ID_BYTES_MAX: u64 = 256;

/// Remedy in every refusal.
const REMEDY: &str =
    "stop it, give this edge another name, or allow both with edge.allow_multiple = true or ALLOW_MULTIPLE=1";

/// Held until the end of the process.
#[derive(Debug)]
pub struct InstanceLock {
    _file: Option<FileLock>,
    /// This process, for the lease of the name.
    pub lease: EdgeLease,
    /// File for the sequence of the lease.
    pub sequence: PathBuf,
}

impl InstanceLock {
    /// Fails while another process runs this edge in this folder, with the exit code that says so.
    pub fn take(data_dir: &Path, edge: &str) -> Result<Self, Failure> {
        let folder = data_dir.join("runs");
        let host = host_name();
        let (pid, since) = (std::process::id(), clock::now_ns());
        let path = folder.join(format!("{edge}.lock"));
        let holder = holder_text(&host, pid, since);
        let taken = or_unlocked(FileLock::try_take_as(&path, &holder), &path);
        let file = match taken.with_context(|| format!("cannot lock {}", path.display()))? {
            Ok(file) => file,
            Err(holder) => {
                let folder = data_dir.display();
                let refusal = anyhow!("edge {edge:?} runs already in {folder}: {holder}; {REMEDY}");
                return Err(refusal).or_exit(Exit::NOT_STARTED);
            }
        };
        let path = folder.join(format!("{edge}.id"));
        let data_id = data_id(&path).with_context(|| format!("identity {}", path.display()))?;
        let lease = EdgeLease { edge: edge.to_owned(), host, pid, data_id, since };
        Ok(Self { _file: file, lease, sequence: folder.join(format!("{edge}.lease")) })
    }
}

/// Without the lock where the file system has none: the lease of the name finds another process too.
fn or_unlocked(
    taken: io::Result<Result<FileLock, String>>,
    path: &Path,
) -> io::Result<Result<Option<FileLock>, String>> {
    match taken {
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::ENOLCK | libc::ENOSYS | libc::EOPNOTSUPP)) =>
        {
            tracing::error!(%error, ?path, "data folder not locked: its file system has no locks; only the lease at the broker finds another process of this edge");
            Ok(Ok(None))
        }
        taken => taken.map(|taken| taken.map(Some)),
    }
}

pub fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// Refusal for a process of another host.
pub fn twin_text(twin: &EdgeLease) -> String {
    let EdgeLease { edge, host, pid, since, .. } = twin;
    format!("edge {edge:?} runs already: {}; {REMEDY}", holder_text(host, *pid, *since))
}

fn holder_text(host: &str, pid: u32, since_ns: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(since_ns.div_euclid(1_000_000_000)).ok();
    let since = time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default();
    format!("process {pid} on host {host}, since {since}")
}

/// Made at the first start.
fn data_id(path: &Path) -> io::Result<String> {
    match read_text(path, ID_BYTES_MAX) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let id = format!("{:032x}", rand::random::<u128>());
    let mut file = fs::File::create(path)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_locks_does_not_keep_the_edge_from_starting() {
        let taken = |code| or_unlocked(Err(io::Error::from_raw_os_error(code)), Path::new("e1.lock"));
        for code in [libc::ENOLCK, libc::ENOSYS, libc::EOPNOTSUPP] {
            assert!(taken(code).unwrap().unwrap().is_none(), "{code}");
        }
        assert!(taken(libc::EACCES).is_err());
    }

    #[test]
    fn the_refusal_of_a_second_process_names_the_holder_of_the_folder_and_since_when() {
        let folder = tempfile::tempdir().unwrap();
        let held = InstanceLock::take(folder.path(), "e1").unwrap();
        let refused = InstanceLock::take(folder.path(), "e1").unwrap_err();
        assert_eq!(refused.exit, Exit::NOT_STARTED);
        let refused = refused.error.to_string();
        let holder = format!("process {} on host {}, since 20", std::process::id(), held.lease.host);
        assert!(refused.contains(&holder) && refused.contains("ALLOW_MULTIPLE=1"), "{refused}");
        let other = InstanceLock::take(folder.path(), "e2").unwrap();
        assert_ne!(other.lease.data_id, held.lease.data_id);
        let id = held.lease.data_id.clone();
        drop(held);
        assert_eq!(
            InstanceLock::take(folder.path(), "e1").unwrap().lease.data_id,
            id,
            "the folder keeps its identity"
        );
    }
}
