//! Tables that were found as wanted are recognized by a fingerprint in the comment of the table of migrations: what the server shows of them,
//! its version and the statements that make them. So the scratch database, some sixty statements, is only created when one of these changed.

use marketprism_schema::{Layout, Migration};
use xxhash_rust::xxh3::Xxh3;

use super::migrations::{RECORDS, execute};
use super::shape::{Shape, Shapes};
use crate::storage::{Storage, StorageError};

const COMMENT: &str = "as wanted: tables ";

/// Fingerprints in a comment. Centrals of several versions, as during an upgrade, each keep their own.
const NOTED: usize = 4;

/// Fingerprint of tables that are as wanted.
#[derive(Debug, PartialEq, Eq)]
pub struct Compared(String);

impl Compared {
    /// `version`: of the server, which decides the spelling.
    pub fn of(version: &str, layout: &Layout<'_>, found: &Shapes) -> Self {
        let mut hash = Xxh3::new();
        let mut add = |text: &str| {
            hash.update(&text.len().to_le_bytes());
            hash.update(text.as_bytes());
        };
        add(version);
        for statement in Migration::ALL.iter().flat_map(|migration| migration.statements(layout)) {
            add(&statement.sql);
        }
        for table in Migration::tables(layout.kind) {
            add(&table);
            found.get(&table).into_iter().for_each(|shape| shape.texts().for_each(&mut add));
        }
        Self(format!("{:032x}", hash.digest128()))
    }

    /// The tables were compared in this state and did not differ.
    pub fn is_noted(&self, found: &Shapes) -> bool {
        fingerprints(comment_of(found)).any(|noted| noted == self.0)
    }

    /// On this server alone, on a cluster too: a comment is not replicated, and a replica that is away must not hold up a start.
    pub async fn note(&self, storage: &Storage, database: &str, found: &Shapes) -> Result<(), StorageError> {
        let comment = self.added_to(comment_of(found));
        execute(storage, &format!("ALTER TABLE {database}.{RECORDS} MODIFY COMMENT '{comment}'")).await
    }

    /// The newest first. A comment of another form is replaced.
    fn added_to(&self, comment: &str) -> String {
        let earlier = fingerprints(comment).filter(|noted| *noted != self.0);
        let all: Vec<&str> = std::iter::once(self.0.as_str()).chain(earlier).take(NOTED).collect();
        format!("{COMMENT}{}", all.join(" "))
    }
}

fn comment_of(found: &Shapes) -> &str {
    found.get(RECORDS).map_or("", Shape::comment)
}

fn fingerprints(comment: &str) -> impl Iterator<Item = &str> {
    let listed = comment.strip_prefix(COMMENT).unwrap_or_default().split(' ');
    listed.filter(|noted| !noted.is_empty() && noted.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each start of one would create all tables once more to compare them, and replace what the other one noted.
    #[test]
    fn centrals_of_two_versions_keep_the_fingerprint_of_each() {
        let fingerprint = |number: u32| Compared(format!("{number:032x}"));
        let noted_by = |comment: &str, number| fingerprint(number).added_to(comment);
        let is_noted =
            |comment: &str, number| fingerprints(comment).any(|noted| noted == fingerprint(number).0);
        let both = noted_by(&noted_by("", 1), 2);
        assert!(is_noted(&both, 1) && is_noted(&both, 2));
        assert_eq!(noted_by(&both, 2), both);
        assert_eq!(noted_by("it's a comment of somebody", 1), noted_by("", 1));
        let many = (3..6).fold(both, |comment, number| noted_by(&comment, number));
        assert_eq!([1, 2, 3, 4, 5].map(|number| is_noted(&many, number)), [false, true, true, true, true]);
    }
}
