//! A wall clock of a process that can be stepped, by Debian's package `libfaketime`.

use std::path::{Path, PathBuf};

const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

pub fn library() -> Option<&'static str> {
    LIBRARIES.into_iter().find(|library| Path::new(library).exists())
}

/// Of the machine, in milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// The file with the offset of one process.
#[derive(Debug)]
pub struct SteppedClock {
    offset: PathBuf,
}

impl SteppedClock {
    pub fn in_folder(folder: &Path) -> Self {
        let clock = Self { offset: folder.join("clock") };
        clock.set_seconds(0);
        clock
    }

    /// Renamed into place: the process reads the file at any time.
    pub fn set_seconds(&self, offset: i64) {
        let written = self.offset.with_extension("new");
        std::fs::write(&written, format!("{offset:+}")).unwrap();
        std::fs::rename(written, &self.offset).unwrap();
    }

    /// Variables of the process. Its monotonic clock stays.
    pub fn variables(&self) -> [(&'static str, &str); 4] {
        [
            ("FAKETIME_TIMESTAMP_FILE", self.offset.to_str().unwrap()),
            ("FAKETIME_CACHE_DURATION", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ]
    }
}
