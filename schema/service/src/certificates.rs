//! The remaining time of certificates in files, for a metric. Files are read again once a minute, and so is what replaced them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use time::{Date, Month, Time};

use crate::clock;
use crate::tls::read_certificates;

const READ_EVERY: Duration = Duration::from_secs(60);
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// End of the keys of files with authorities.
const AUTHORITIES: &str = "ca_file";

const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// Set in a length that is followed by its digits.
const LONG: u8 = 0x80;

/// End and begin of a certificate in seconds since 1970, ordered by the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Validity {
    end: i64,
    begin: i64,
}

/// Of the certificates of a file: of a chain the one that ends first, of authorities the last, since one that ended breaks nothing while another one
/// is there.
fn read_validity(path: &Path, are_authorities: bool) -> anyhow::Result<Validity> {
    let certificates = read_certificates(path)?;
    let all = certificates.iter().map(|certificate| validity(certificate));
    let read = if are_authorities { all.max() } else { all.min() };
    read.flatten().with_context(|| format!("{}: not a certificate", path.display()))
}

/// RFC 5280: a certificate begins with its version, if it has one, its serial number, algorithm, issuer and validity.
fn validity(certificate: &[u8]) -> Option<Validity> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    for _ in ["serial number", "algorithm", "issuer"] {
        fields = element(fields)?.2;
    }
    let (_, validity, _) = element(fields)?;
    let (begin_kind, begin, rest) = element(validity)?;
    let (end_kind, end, _) = element(rest)?;
    let time = |kind: u8, text: &[u8]| seconds(kind, std::str::from_utf8(text).ok()?);
    Some(Validity { end: time(end_kind, end)?, begin: time(begin_kind, begin)? })
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

/// Times of the certificates of a file, both 0 for a file that cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CertificateTimes {
    /// Seconds until the end: negative after it.
    pub left: i64,
    /// Seconds from begin to end.
    pub lifetime: i64,
}

/// Files of a configuration, by key, and the times of their certificates.
#[derive(Debug, Default)]
pub struct CertificateFiles(Mutex<WatchedFiles>);

#[derive(Debug, Default)]
struct WatchedFiles {
    files: BTreeMap<String, PathBuf>,
    /// Of the files; `None` for one that cannot be read.
    validities: BTreeMap<String, Option<Validity>>,
    read: Option<Instant>,
    /// Keys that were in the configuration once.
    earlier: BTreeSet<String>,
}

impl CertificateFiles {
    /// Of configuration keys and their files; those that are not given are left out. Files of keys that end in `ca_file` hold authorities.
    pub fn new(files: impl IntoIterator<Item = (String, Option<PathBuf>)>) -> Self {
        let new = Self::default();
        new.set(files);
        new
    }

    /// Replaces the files.
    pub fn set(&self, files: impl IntoIterator<Item = (String, Option<PathBuf>)>) {
        let files: BTreeMap<_, _> = files.into_iter().filter_map(|(key, path)| Some((key, path?))).collect();
        let mut watched = self.lock();
        let before = std::mem::replace(&mut watched.files, files);
        watched.earlier.extend(before.into_keys());
        watched.read = None;
    }

    /// Keys and the times of their files; `None` for a key that is no longer in the configuration.
    pub fn remaining(&self) -> Vec<(String, Option<CertificateTimes>)> {
        let mut watched = self.lock();
        if watched.read.is_none_or(|read| read.elapsed() >= READ_EVERY) {
            let read = |(key, path): (&String, &PathBuf)| {
                (key.clone(), read_validity(path, key.ends_with(AUTHORITIES)).ok())
            };
            watched.validities = watched.files.iter().map(read).collect();
            watched.read = Some(Instant::now());
        }
        let now = clock::now_ns() / NANOS_PER_SECOND;
        let times = |read: &Option<Validity>| {
            read.map_or_else(CertificateTimes::default, |Validity { end, begin }| CertificateTimes {
                left: end.saturating_sub(now),
                lifetime: end.saturating_sub(begin),
            })
        };
        let current = watched.validities.iter().map(|(key, read)| (key.clone(), Some(times(read))));
        let earlier = watched.earlier.iter().filter(|key| !watched.files.contains_key(*key));
        current.chain(earlier.map(|key| (key.clone(), None))).collect()
    }

    // A panic of another holder leaves files that are read again.
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
        params.not_before = date_time_ymd(year - 1, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn of_a_chain_the_first_end_counts_of_authorities_the_last_and_an_unreadable_file_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let years = |year: i32| date_time_ymd(year, 1, 1).unix_timestamp();
        std::fs::write(path("chain"), certificate(4000) + &certificate(2035)).unwrap();
        std::fs::write(path("roots"), certificate(2000) + &certificate(3000)).unwrap();
        std::fs::write(path("torn"), "none").unwrap();
        let validity = |year: i32| Validity { end: years(year), begin: years(year - 1) };
        assert_eq!(read_validity(&path("chain"), false).unwrap(), validity(2035));
        assert_eq!(read_validity(&path("roots"), false).unwrap(), validity(2000));
        assert_eq!(read_validity(&path("roots"), true).unwrap(), validity(3000));
        let key = |key: &str, file: &str| (key.to_owned(), Some(path(file)));
        let files = CertificateFiles::new([
            key("a.ca_file", "roots"),
            key("b.client_cert_file", "roots"),
            key("c", "torn"),
            key("d", "missing"),
            ("e".to_owned(), None),
        ]);
        let remaining = files.remaining();
        let [a, b, c, d] = remaining.as_slice() else { panic!("{remaining:?}") };
        let (of_a, of_b) = (a.1.unwrap(), b.1.unwrap());
        assert!(of_a.left > 1_000_000_000 && of_b.left < -100_000_000, "{remaining:?}");
        assert_eq!([of_a.lifetime, of_b.lifetime], [365 * 86_400; 2]);
        assert_eq!((c.1, d.1), (Some(CertificateTimes::default()), Some(CertificateTimes::default())));
        files.set([key("c", "chain")]);
        let changed = files.remaining();
        assert!(changed[0].1.unwrap().left > 0, "{changed:?}");
        let left: Vec<_> = changed[1..].iter().map(|(key, times)| (key.as_str(), *times)).collect();
        assert_eq!(left, [("a.ca_file", None), ("b.client_cert_file", None), ("d", None)]);
    }
}
