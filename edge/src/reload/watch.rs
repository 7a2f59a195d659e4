//! Changes of the configuration file, by its content.

use std::path::{Path, PathBuf};

use marketprism_service::{FileStamp, read_file};
use xxhash_rust::xxh3::xxh3_64;

/// Larger files are no configuration.
const CONFIG_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug)]
pub struct ConfigWatch {
    path: PathBuf,
    /// Of the content that was read last, by a reload or at the start.
    known: Option<u64>,
    /// Another content, at the look before.
    pending: Option<u64>,
    /// Without a change of it the file is not read.
    stamp: Option<FileStamp>,
}

impl ConfigWatch {
    /// Before the file is read: a change meanwhile is found then.
    pub fn new(path: &Path) -> Self {
        let mut watch = Self { path: path.to_owned(), known: None, pending: None, stamp: None };
        watch.read();
        watch
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A reload reads the file now.
    pub(super) fn read(&mut self) {
        (self.known, self.pending, self.stamp) = (self.content(), None, None);
    }

    /// True if the file has another content than was read, and the same as at the look before.
    pub(super) fn has_changed(&mut self) -> bool {
        let stamp = FileStamp::of(&self.path).ok();
        if self.pending.is_none() && stamp.is_some() && stamp == self.stamp {
            return false;
        }
        let Some(content) = self.content() else { return false };
        let is_known = self.known == Some(content);
        let is_settled = self.pending == Some(content);
        self.pending = (!is_known).then_some(content);
        // A write within the resolution of the time is found at the next look.
        self.stamp = stamp.filter(|stamp| is_known && stamp.is_settled());
        !is_known && is_settled
    }

    fn content(&self) -> Option<u64> {
        Some(xxh3_64(&read_file(&self.path, CONFIG_BYTES_MAX).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, rename};
    use std::os::unix::fs::symlink;
    use std::time::{Duration, Instant, UNIX_EPOCH};

    use super::*;

    /// As `/etc/marketprism/edge.toml` of a system that keeps its files in `/nix/store`.
    #[test]
    fn a_link_to_another_file_of_the_same_length_and_time_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, text) in [("a", "BTC"), ("b", "ETH")] {
            std::fs::write(at(name), text).unwrap();
            File::options().write(true).open(at(name)).unwrap().set_modified(UNIX_EPOCH).unwrap();
        }
        symlink(at("a"), at("edge.toml")).unwrap();
        let mut watch = ConfigWatch::new(&at("edge.toml"));
        let deadline = Instant::now() + Duration::from_secs(60);
        while watch.stamp.is_none() {
            assert!(!watch.has_changed() && Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(50));
        }
        symlink(at("b"), at("new")).unwrap();
        rename(at("new"), at("edge.toml")).unwrap();
        assert!(!watch.has_changed() && watch.has_changed());
    }

    #[test]
    fn a_change_is_reported_once_and_not_while_the_file_is_being_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.toml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("a");
        let mut watch = ConfigWatch::new(&path);
        assert!(!watch.has_changed() && !watch.has_changed());
        write("ab");
        assert!(!watch.has_changed(), "half");
        write("abc");
        assert!(!watch.has_changed(), "it changes still");
        assert!(watch.has_changed());
        watch.read();
        assert!(!watch.has_changed() && !watch.has_changed());
        write("abd");
        assert!(!watch.has_changed());
        write("abc");
        assert!(!watch.has_changed() && !watch.has_changed(), "as it was");
        std::fs::remove_file(&path).unwrap();
        assert!(
            !watch.has_changed() && !watch.has_changed(),
            "a file that is replaced is missing for a moment"
        );
        write("new");
        assert!(!watch.has_changed() && watch.has_changed());
    }
}
