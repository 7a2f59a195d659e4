//! Memory that this process may use: of the machine, or of its control group if that is less.

use std::path::Path;

use anyhow::Context;

/// Bytes.
pub fn available() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let machine = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    let machine: u64 = machine.context("/proc/meminfo has no MemTotal")?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group_limit(Path::new("/sys/fs/cgroup"), &groups);
    Ok(group.unwrap_or(u64::MAX).min(machine << 10))
}

/// The lowest limit of the group and of those around it; both versions of control groups.
fn group_limit(root: &Path, groups: &str) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let (folder, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let own = folder.join(path.trim_start_matches('/'));
        let around = own.ancestors().take_while(|group| group.starts_with(&folder));
        around.filter_map(|group| std::fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()).min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::group_limit;

    #[test]
    fn the_lowest_limit_around_the_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("a/memory.max", "3000\n");
        write("a/b/memory.max", "max\n");
        write("memory/memory.limit_in_bytes", "2000\n");
        assert_eq!(group_limit(root.path(), "0::/a/b\n"), Some(3000));
        assert_eq!(group_limit(root.path(), "5:cpu:/x\n4:memory:/docker/1\n0::/a\n"), Some(2000));
        assert_eq!(group_limit(root.path(), "0::/c\n"), None);
    }
}
