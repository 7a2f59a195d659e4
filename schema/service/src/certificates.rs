//! The remaining time of certificates in files, for a metric. Files are read again once a minute, and so is what replaced them.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use time::{Date, Month, Time};

use crate::clock;
use crate::tls::read_certificates;

const READ_EVERY: Duration = Duration::from_secs(60);
const NANOS_PER_SECOND: i64 = 1_000_000_000;

const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// Set in a length that is followed by its digits.
const LONG: u8 = 0x80;

/// Time at which the first certificate of a file ends, in seconds since 1970.
pub fn certificates_end(path: &Path) -> anyhow::Result<i64> {
    let ends = read_certificates(path)?.iter().map(|certificate| not_after(certificate)).min();
    ends.flatten().with_context(|| format!("{}: not a certificate", path.display()))
}

/// RFC 5280: a certificate begins with its version, if it has one, its serial number, algorithm, issuer and validity.
fn not_after(certificate: &[u8]) -> Option<i64> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    for _ in ["serial number", "algorithm", "issuer"] {
        fields = element(fields)?.2;
    }
    let (_, validity, _) = element(fields)?;
    let (_, _, rest) = element(validity)?;
    let (kind, text, _) = element(rest)?;
    seconds(kind, std::str::from_utf8(text).ok()?)
}

/// Tag, content, and what follows the element, in DER.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk()?;
    let (length, rest) = if first & LONG == 0 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & !LONG))?;
        let length = digits
            .iter()
            .try_fold(0_usize, |sum, digit| sum.checked_mul(256).map(|sum| sum + usize::from(*digit)))?;
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDhhmmssZ`, or with four digits of the year.
fn seconds(kind: u8, text: &str) -> Option<i64> {
    let (year, rest) = match kind {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i32 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<u8>().ok();
    let date = Date::from_calendar_date(year, Month::try_from(part(0)?).ok()?, part(2)?).ok()?;
    let time = Time::from_hms(part(4)?, part(6)?, part(8)?).ok()?;
    Some(date.with_time(time).assume_utc().unix_timestamp())
}

/// Files of a configuration, by key, and the ends of their certificates.
#[derive(Debug, Default)]
pub struct CertificateFiles(Mutex<WatchedFiles>);

#[derive(Debug, Default)]
struct WatchedFiles {
    files: Vec<(String, PathBuf)>,
    /// Of the files, in their order.
    ends: Vec<Option<i64>>,
    read: Option<Instant>,
}

impl CertificateFiles {
    /// Of configuration keys and their files; those that are not given are left out.
    pub fn new(files: impl IntoIterator<Item = (String, Option<PathBuf>)>) -> Self {
        let new = Self::default();
        new.set(files);
        new
    }

    /// Replaces the files.
    pub fn set(&self, files: impl IntoIterator<Item = (String, Option<PathBuf>)>) {
        let files = files.into_iter().filter_map(|(key, path)| Some((key, path?))).collect();
        *self.lock() = WatchedFiles { files, ..WatchedFiles::default() };
    }

    /// Keys and the seconds until the first certificate of the file ends: negative after it, 0 for a file that cannot be read.
    pub fn remaining(&self) -> Vec<(String, i64)> {
        let mut watched = self.lock();
        if watched.read.is_none_or(|read| read.elapsed() >= READ_EVERY) {
            watched.ends = watched.files.iter().map(|(_, path)| certificates_end(path).ok()).collect();
            watched.read = Some(Instant::now());
        }
        let now = clock::now_ns() / NANOS_PER_SECOND;
        let files = watched.files.iter().zip(&watched.ends);
        files.map(|((key, _), end)| (key.clone(), end.map_or(0, |end| end.saturating_sub(now)))).collect()
    }

    // Each change is complete within one lock, so a panic of another holder does not matter.
    fn lock(&self) -> MutexGuard<'_, WatchedFiles> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32) -> String {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn the_first_certificate_that_ends_counts_and_an_unreadable_file_counts_as_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("chain"), certificate(4000) + &certificate(3000)).unwrap();
        std::fs::write(path("ended"), certificate(2000)).unwrap();
        std::fs::write(path("torn"), "none").unwrap();
        std::fs::write(path("soon"), certificate(2035)).unwrap();
        assert_eq!(certificates_end(&path("soon")).unwrap(), date_time_ymd(2035, 1, 1).unix_timestamp());
        assert_eq!(certificates_end(&path("chain")).unwrap(), date_time_ymd(3000, 1, 1).unix_timestamp());
        let names = ["chain", "ended", "torn", "missing"];
        let given = names.map(|name| (name.to_owned(), Some(path(name))));
        let files = CertificateFiles::new(given.into_iter().chain([("none".to_owned(), None)]));
        let remaining = files.remaining();
        assert_eq!(remaining.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
        assert!(remaining[0].1 > 1_000_000_000 && remaining[1].1 < -100_000_000, "{remaining:?}");
        assert_eq!((remaining[2].1, remaining[3].1), (0, 0));
        files.set([("soon".to_owned(), Some(path("soon")))]);
        assert_eq!(files.remaining().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["soon"]);
    }
}
