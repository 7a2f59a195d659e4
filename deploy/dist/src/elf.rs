//! Needs of a binary, as `objdump` reads them from it.

use std::path::Path;

use anyhow::Context as _;

use crate::platform::Platform;
use crate::tools::run;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryNeeds {
    /// Shared libraries.
    pub libraries: Vec<String>,
    /// The newest symbol version of the C library.
    pub glibc: (u32, u32),
}

impl BinaryNeeds {
    pub fn of(platform: &Platform, binary: &Path) -> anyhow::Result<Self> {
        let headers = run(platform.tool("objdump").arg("-p").arg(binary))?;
        Self::read(&headers).with_context(|| format!("{}: needs no version of glibc", binary.display()))
    }

    fn read(headers: &str) -> Option<Self> {
        let needed = headers.lines().filter_map(|line| line.trim().strip_prefix("NEEDED"));
        let mut libraries: Vec<String> = needed.map(|name| name.trim().to_owned()).collect();
        libraries.sort();
        let words = headers.split_whitespace().filter_map(|word| word.strip_prefix("GLIBC_"));
        let version = |text: &str| {
            let mut parts = text.split('.').map(str::parse::<u32>);
            Some((parts.next()?.ok()?, parts.next()?.ok()?))
        };
        Some(Self { libraries, glibc: words.filter_map(version).max()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_counts_as_a_number() {
        let text = "  NEEDED               libm.so.6\n  NEEDED               libc.so.6\n  required from libc.so.6:\n    0x09691a75 0x00 03 \
                    GLIBC_2.2.5\n    0x06969194 0x00 02 GLIBC_2.34\n    0x06969189 0x00 02 GLIBC_2.9\n    0x0 0x00 02 GLIBC_PRIVATE\n";
        let needs = BinaryNeeds::read(text).unwrap();
        assert_eq!(
            (needs.libraries, needs.glibc),
            (vec!["libc.so.6".to_owned(), "libm.so.6".to_owned()], (2, 34))
        );
        assert_eq!(BinaryNeeds::read("no dynamic section"), None);
    }
}
