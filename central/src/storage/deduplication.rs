//! Settings by which an insert says that a repetition of it stores nothing, or that it is stored whatever was inserted before.
//!
//! Up to ClickHouse 26.1 `insert_deduplicate` decides. From 26.2 on `deduplicate_insert` wins over it, by its default and by a profile's value
//! alike, but a server refuses a setting that it does not know. A token counts on each of them.

use std::time::Duration;

use clickhouse::Client;

use super::{StorageError, bounded};

const OF_INSERT: &str = "deduplicate_insert";
const OF_SELECT: &str = "deduplicate_insert_select";

pub type InsertSettings = Vec<(&'static str, String)>;

/// Rules that a server has beside `insert_deduplicate`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeduplicationRules {
    has_insert: bool,
    has_select: bool,
}

impl DeduplicationRules {
    pub async fn read(client: &Client, limit: Duration) -> Result<Self, StorageError> {
        let sql = format!("SELECT name FROM system.settings WHERE name IN ('{OF_INSERT}', '{OF_SELECT}')");
        let names = bounded(limit, client.query_raw(&sql).fetch_all::<String>()).await?;
        let has = |name: &str| names.iter().any(|found| found == name);
        Ok(Self { has_insert: has(OF_INSERT), has_select: has(OF_SELECT) })
    }

    /// A repetition with the same token stores nothing.
    pub fn once(self, token: &str) -> InsertSettings {
        let mut settings =
            vec![("insert_deduplicate", "1".to_owned()), ("insert_deduplication_token", token.to_owned())];
        settings.extend(self.has_insert.then(|| (OF_INSERT, "enable".to_owned())));
        settings
    }

    /// [`Self::once`] of an `INSERT SELECT`.
    pub fn once_of_select(self, token: &str) -> InsertSettings {
        let mut settings = self.once(token);
        settings.extend(self.has_select.then(|| (OF_SELECT, "enable_even_for_bad_queries".to_owned())));
        settings
    }
}

/// The rows are stored whatever was inserted before: a server that deduplicates nevertheless knows no such token. After a kill it may know a block
/// without holding its rows.
pub fn always() -> InsertSettings {
    let token = format!("{:032x}", rand::random::<u128>());
    vec![("insert_deduplicate", "0".to_owned()), ("insert_deduplication_token", token)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::storage::Storage;

    /// The engine is of a version in which `insert_deduplicate` decides nothing.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_repetition_is_stored_unless_it_has_the_token_whatever_the_profile_says() {
        if marketprism_tests::parts::missing().is_some() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let engine = marketprism_tests::clickhouse::ClickHouse::start(folder.path()).await;
        let config = Config::parse(&format!("[clickhouse]\nurl = {:?}\n", engine.url())).unwrap();
        let client = Storage::hot(&config.clickhouse).unwrap().client;
        let rules = DeduplicationRules::read(&client, Duration::from_secs(60)).await.unwrap();
        assert_eq!(rules, DeduplicationRules { has_insert: true, has_select: true });
        let run = async |sql: String| client.query(&sql).execute().await.unwrap();
        run("CREATE DATABASE IF NOT EXISTS repeated".to_owned()).await;
        let mut number = 0;
        let mut rows_of_two = async |profile: Option<&str>, settings: &dyn Fn() -> InsertSettings| {
            number += 1;
            let table = format!("repeated.t{number}");
            let window = "SETTINGS non_replicated_deduplication_window = 100";
            run(format!("CREATE TABLE {table} (id UInt64) ENGINE = MergeTree ORDER BY id {window}")).await;
            let client = match profile {
                Some(value) => client.clone().with_setting(OF_INSERT, value),
                None => client.clone(),
            };
            for _ in 0..2 {
                let insert = client.insert_formatted_with(format!("INSERT INTO {table} FORMAT TSV"));
                let mut insert = settings()
                    .into_iter()
                    .fold(insert, |insert, (name, value)| insert.with_setting(name, value));
                insert.send("1\n".into()).await.unwrap();
                insert.end().await.unwrap();
            }
            client.query(&format!("SELECT count() FROM {table}")).fetch_one::<u64>().await.unwrap()
        };
        for profile in [None, Some("enable"), Some("disable"), Some("backward_compatible_choice")] {
            assert_eq!(rows_of_two(profile, &always).await, 2, "{profile:?}");
            assert_eq!(rows_of_two(profile, &|| rules.once("a")).await, 1, "{profile:?}");
        }
    }
}
