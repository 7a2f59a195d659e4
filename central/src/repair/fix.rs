//! Repair of one window: makes hot and cold equal again.

use super::progress::{RepairFate, RepairOptions};
use crate::replicator::{
    Copier, CopyError, Direction, EvaluatedWindow, LoggedWindow, RowDiff, TimeRange, WindowCondition,
    WindowOps, WindowState,
};

pub type Fixed = (RepairFate, String);

/// Never deletes the only copy of a row.
pub async fn fix(
    ops: &WindowOps<'_>,
    evaluated: &EvaluatedWindow,
    options: &RepairOptions,
) -> Result<Fixed, CopyError> {
    let EvaluatedWindow { start_ms, facts, condition, logged } = evaluated;
    if let Some(logged) = logged.as_ref().filter(|logged| logged.is_being_corrected()) {
        return Ok((RepairFate::NotRepaired, logged.reason.clone()));
    }
    let diff = ops.diff(*start_ms, &facts.hot, &facts.cold).await?;
    let Some(diff) = diff else {
        return Ok((RepairFate::NotRepaired, "too many rows to compare one by one".to_owned()));
    };
    let is_cold_as_logged = facts.log.is_some_and(|l| l.has_same_columns && facts.cold.is_same(&l.state));
    let has_lost_in_hot = !diff.is_cold_within_hot();
    match (condition, logged) {
        (WindowCondition::ColdModified, Some(logged)) => {
            fix_cold(ops, evaluated, &diff, logged, options).await
        }
        (WindowCondition::CompareRows, Some(_))
            if facts.is_hot_whole && is_cold_as_logged && has_lost_in_hot =>
        {
            fix_hot(ops, evaluated, &diff, options).await
        }
        (WindowCondition::Sound, _) if options.dry_run => {
            Ok((RepairFate::WouldRepair, "equal on both sides; would be logged as verified".to_owned()))
        }
        (WindowCondition::New | WindowCondition::CompareRows, _) if options.dry_run => {
            Ok((RepairFate::WouldRepair, format!("would be copied again; {diff}")))
        }
        (WindowCondition::Sound | WindowCondition::New | WindowCondition::CompareRows, _) => {
            if ops.reconcile(evaluated).await? {
                return Ok((RepairFate::Repaired, "copied and verified".to_owned()));
            }
            Ok((RepairFate::NotRepaired, reason_of(ops, *start_ms).await?))
        }
        _ if options.dry_run => {
            Ok((RepairFate::NotRepaired, format!("{}; {diff}", unrepairable_reason(*condition))))
        }
        _ => {
            ops.reconcile(evaluated).await?;
            Ok((RepairFate::NotRepaired, reason_of(ops, *start_ms).await?))
        }
    }
}

const fn unrepairable_reason(condition: WindowCondition) -> &'static str {
    match condition {
        WindowCondition::ColdModifiedHotGone => "cold was modified, and hot no longer has the window",
        WindowCondition::BothModifiedAlike => {
            "hot and cold were modified alike: neither side has what was verified"
        }
        WindowCondition::NeverCopied => "cold has rows of a window that was never copied, hot has none",
        _ => "hot, cold and the verified state all differ: cannot decide which side is right",
    }
}

async fn reason_of(ops: &WindowOps<'_>, start_ms: i64) -> Result<String, CopyError> {
    let window = TimeRange::window(start_ms, ops.width_ms);
    let logged = ops.log.read(&ops.pair.cold, window).await?;
    Ok(logged.get(&start_ms).map_or_else(|| "not logged".to_owned(), |logged| logged.reason.clone()))
}

/// Hot is as verified: rows that differ in cold are deleted there and copied again. Hot has every event that is deleted.
async fn fix_cold(
    ops: &WindowOps<'_>,
    evaluated: &EvaluatedWindow,
    diff: &RowDiff,
    logged: &LoggedWindow,
    options: &RepairOptions,
) -> Result<Fixed, CopyError> {
    let window = TimeRange::window(evaluated.start_ms, ops.width_ms);
    let mut deleted = diff.differing.clone();
    if options.drop_extra {
        deleted.extend(&diff.only_cold);
    }
    let extra = if options.drop_extra { 0 } else { diff.only_cold.len() };
    let kept = format!(
        "{extra} rows of cold that hot never had are kept, they may be the only copy; --drop-extra deletes them"
    );
    let done =
        format!("cold: {} rows deleted and copied again, {} copied", deleted.len(), diff.only_hot.len());
    if options.dry_run {
        return Ok(if extra > 0 {
            (RepairFate::NotRepaired, format!("{kept}; {diff}"))
        } else {
            (RepairFate::WouldRepair, format!("would do: {done}"))
        });
    }
    // Logged first: if the repair ends here, the replicator copies the window again as an open one.
    let reason = logged.reason_after("being repaired");
    ops.write(&[LoggedWindow { state: WindowState::Open, reason, ..logged.clone() }]).await?;
    ops.check_lease()?;
    ops.pair.cold.delete(ops.table, window, &deleted).await?;
    let logged = ops.replicate(window).await?;
    let is_complete = logged.iter().all(|window| window.state == WindowState::Verified);
    Ok(match (is_complete, extra) {
        (true, _) => (RepairFate::Repaired, done),
        (false, 0) => (RepairFate::NotRepaired, reason_of(ops, evaluated.start_ms).await?),
        (false, _) => (RepairFate::NotRepaired, format!("{done}; {kept}")),
    })
}

/// Cold is as verified: rows that differ in hot are deleted there, and rows that hot lacks are copied back from cold.
async fn fix_hot(
    ops: &WindowOps<'_>,
    evaluated: &EvaluatedWindow,
    diff: &RowDiff,
    options: &RepairOptions,
) -> Result<Fixed, CopyError> {
    let window = TimeRange::window(evaluated.start_ms, ops.width_ms);
    let done = format!(
        "hot: {} rows replaced, {} copied back from cold",
        diff.differing.len(),
        diff.only_cold.len()
    );
    if options.dry_run {
        return Ok((RepairFate::WouldRepair, format!("would do: {done}")));
    }
    let elsewhere = ops.pair.hot.held_outside(ops.table, window, &diff.only_cold, None).await?;
    if !elsewhere.is_empty() {
        let text = format!(
            "at least {} of the events that hot lost of this window arrived again later: they stay in their later window",
            elsewhere.len()
        );
        return Ok((RepairFate::NotRepaired, text));
    }
    ops.check_lease()?;
    ops.pair.hot.delete(ops.table, window, &diff.differing).await?;
    copy_back(ops, evaluated, &window).await?;
    // Now hot has at least what cold has; late rows beyond that are copied to cold.
    for again in ops.examine(window).await? {
        if !ops.reconcile(&again).await? {
            return Ok((RepairFate::NotRepaired, reason_of(ops, evaluated.start_ms).await?));
        }
    }
    Ok((RepairFate::Repaired, done))
}

async fn copy_back(
    ops: &WindowOps<'_>,
    evaluated: &EvaluatedWindow,
    window: &TimeRange,
) -> Result<(), CopyError> {
    let copier = Copier::new(ops.pair, ops.table, ops.context.config, Direction::ToHot);
    let tries = usize::try_from(ops.context.config.replication.retries.max(1)).unwrap_or(1);
    let first = evaluated.logged.as_ref().map_or(0, |logged| logged.logged_ms);
    // No new rows: an earlier insert had the same deduplication token, and its rows are gone since. Hence another salt each time.
    for salt in (first..).take(tries) {
        let (hot, cold) = ops.both_digests(evaluated.start_ms).await?;
        for piece in ops.pieces(*window, &cold, &hot, salt) {
            ops.check_lease()?;
            copier.copy(&piece).await?;
        }
        let (after, _) = ops.both_digests(evaluated.start_ms).await?;
        if after.rows > hot.rows {
            return Ok(());
        }
    }
    Ok(())
}
