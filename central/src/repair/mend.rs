//! Making one window the same on both sides again.

use super::progress::{Fate, Request};
use crate::replicator::{
    Copier, CopyError, Direction, EvaluatedWindow, LoggedWindow, RowDiff, TimeRange, WindowCondition,
    WindowDigest, WindowOps, WindowState,
};

/// What became of a window, and why.
pub type Mended = (Fate, String);

/// Mends a window as far as that can be done without deleting the only copy of a row.
pub async fn mend(
    ops: &WindowOps<'_>,
    examined: &EvaluatedWindow,
    request: &Request,
) -> Result<Mended, CopyError> {
    let EvaluatedWindow { start_ms, facts, condition, logged } = examined;
    let diff = ops.diff(*start_ms, &facts.hot, &facts.cold).await?;
    let Some(diff) = diff else {
        return Ok((Fate::Left, "it holds too many rows to be compared one by one".to_owned()));
    };
    let is_cold_as_logged = facts.log.is_some_and(|l| l.has_same_columns && facts.cold.is_same(&l.state));
    let has_lost_in_hot = !diff.is_cold_within_hot();
    match (condition, logged) {
        (WindowCondition::ColdModified, Some(logged)) => {
            mend_cold(ops, examined, &diff, logged, request).await
        }
        (WindowCondition::CompareRows, Some(_))
            if facts.is_hot_whole && is_cold_as_logged && has_lost_in_hot =>
        {
            mend_hot(ops, examined, &diff, request).await
        }
        (WindowCondition::Sound, _) if request.dry_run => {
            Ok((Fate::WouldMend, "is whole; would be logged so".to_owned()))
        }
        (WindowCondition::New | WindowCondition::CompareRows, _) if request.dry_run => {
            Ok((Fate::WouldMend, format!("would be copied again; {diff}")))
        }
        (WindowCondition::Sound | WindowCondition::New | WindowCondition::CompareRows, _) => {
            if ops.reconcile(examined).await? {
                return Ok((Fate::Mended, "copied and verified".to_owned()));
            }
            Ok((Fate::Left, reason_of(ops, *start_ms).await?))
        }
        _ if request.dry_run => Ok((Fate::Left, format!("{}; {diff}", unmendable(*condition)))),
        _ => {
            ops.reconcile(examined).await?;
            Ok((Fate::Left, reason_of(ops, *start_ms).await?))
        }
    }
}

const fn unmendable(condition: WindowCondition) -> &'static str {
    match condition {
        WindowCondition::ColdModifiedHotGone => "cold was changed, and hot does not hold the window any more",
        WindowCondition::BothModifiedAlike => {
            "hot and cold were changed alike: what was verified is on neither side"
        }
        WindowCondition::NeverCopied => "cold holds rows of a window that was never copied, hot none",
        _ => "hot and cold both differ from what was verified: it cannot be told which side is right",
    }
}

async fn reason_of(ops: &WindowOps<'_>, start_ms: i64) -> Result<String, CopyError> {
    let window = TimeRange::window(start_ms, ops.width_ms);
    let logged = ops.log.read(&ops.pair.cold, window).await.map_err(CopyError::cold)?;
    Ok(logged.get(&start_ms).map_or_else(|| "it is not logged".to_owned(), |logged| logged.reason.clone()))
}

/// Hot is as verified: what differs in cold is deleted there and copied again. Hot holds each event that is deleted.
async fn mend_cold(
    ops: &WindowOps<'_>,
    examined: &EvaluatedWindow,
    diff: &RowDiff,
    logged: &LoggedWindow,
    request: &Request,
) -> Result<Mended, CopyError> {
    let window = TimeRange::window(examined.start_ms, ops.width_ms);
    let mut deleted = diff.differing.clone();
    if request.drop_extra {
        deleted.extend(&diff.only_cold);
    }
    let extra = if request.drop_extra { 0 } else { diff.only_cold.len() };
    let kept = format!(
        "{extra} rows of cold that hot never held stay, they may be the only copy; --drop-extra deletes them"
    );
    let told =
        format!("cold: {} rows deleted and copied again, {} copied", deleted.len(), diff.only_hot.len());
    if request.dry_run {
        return Ok(if extra > 0 {
            (Fate::Left, format!("{kept}; {diff}"))
        } else {
            (Fate::WouldMend, format!("would do: {told}"))
        });
    }
    // Logged first: if this ends here, the window is copied again as one that is open.
    let reason = logged.reason_after("being repaired");
    ops.write(&[LoggedWindow { state: WindowState::Open, reason, ..logged.clone() }]).await?;
    ops.check_lease()?;
    ops.pair.cold.delete(ops.table, window, &deleted).await.map_err(CopyError::cold)?;
    let logged = ops.replicate(window).await?;
    let is_whole = logged.iter().all(|window| window.state == WindowState::Verified);
    Ok(match (is_whole, extra) {
        (true, _) => (Fate::Mended, told),
        (false, 0) => (Fate::Left, reason_of(ops, examined.start_ms).await?),
        (false, _) => (Fate::Left, format!("{told}; {kept}")),
    })
}

/// Cold is as verified: rows that differ in hot are deleted there, and what hot does not hold is put back from cold.
async fn mend_hot(
    ops: &WindowOps<'_>,
    examined: &EvaluatedWindow,
    diff: &RowDiff,
    request: &Request,
) -> Result<Mended, CopyError> {
    let window = TimeRange::window(examined.start_ms, ops.width_ms);
    let told =
        format!("hot: {} rows replaced, {} put back from cold", diff.differing.len(), diff.only_cold.len());
    if request.dry_run {
        return Ok((Fate::WouldMend, format!("would do: {told}")));
    }
    let elsewhere =
        ops.pair.hot.held_outside(ops.table, window, &diff.only_cold, None).await.map_err(CopyError::hot)?;
    if !elsewhere.is_empty() {
        let text = format!(
            "{} of the events that hot lost of this window came again later: they stay where they are",
            elsewhere.len()
        );
        return Ok((Fate::Left, text));
    }
    ops.check_lease()?;
    ops.pair.hot.delete(ops.table, window, &diff.differing).await.map_err(CopyError::hot)?;
    put_back(ops, examined, &window).await?;
    // Now hot holds at least what cold holds; what came late besides is copied.
    for again in ops.examine(window).await? {
        if !ops.reconcile(&again).await? {
            return Ok((Fate::Left, reason_of(ops, examined.start_ms).await?));
        }
    }
    Ok((Fate::Mended, told))
}

async fn put_back(
    ops: &WindowOps<'_>,
    examined: &EvaluatedWindow,
    window: &TimeRange,
) -> Result<(), CopyError> {
    let copier = Copier::new(ops.pair, ops.table, ops.context.config, Direction::ToHot);
    let tries = usize::try_from(ops.context.config.replication.retries.max(1)).unwrap_or(1);
    let first = examined.logged.as_ref().map_or(0, |logged| logged.logged_ms);
    // When nothing comes, an earlier insert had the same token, and its rows are gone again: hence another salt each time.
    for salt in (first..).take(tries) {
        let (hot, cold) = ops.both_digests(examined.start_ms).await?;
        for piece in ops.pieces(*window, &cold, &hot, salt) {
            ops.check_lease()?;
            copier.copy(&piece).await.map_err(CopyError::hot)?;
        }
        let (after, _) = ops.both_digests(examined.start_ms).await?;
        if is_grown(&hot, &after) {
            return Ok(());
        }
    }
    Ok(())
}

const fn is_grown(before: &WindowDigest, after: &WindowDigest) -> bool {
    after.rows > before.rows
}
