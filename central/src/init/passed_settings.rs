//! Settings travel as parameters of a request. A proxy before the server may drop those that it does not know: inserts would lose their tokens, running ones
//! would not be found, and no limit would hold.

use anyhow::{Context as _, ensure};

use crate::limits;
use crate::storage::{SETTINGS_DROPPED, Storage, bounded};

/// No profile has it. The embedded engine adds to a comment.
const COMMENT: &str = "marketprism: settings are passed";

pub async fn check(storage: &Storage) -> anyhow::Result<()> {
    let sql = format!("SELECT startsWith(getSetting('log_comment'), '{COMMENT}')");
    let asked = storage.client.query_raw(&sql).with_setting("log_comment", COMMENT).fetch_one::<u8>();
    let is_passed = bounded(limits::QUERY_TIMEOUT, asked).await.context("cannot read a setting back")?;
    ensure!(is_passed == 1, "the ClickHouse server of database {}: {SETTINGS_DROPPED}", storage.database);
    Ok(())
}
