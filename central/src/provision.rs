//! Provisioning at start, for as long as it takes. Hot and cold apart: messages are taken in while the cold server is away.

use marketprism_schema::DatabaseKind;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::context::CentralContext;
use crate::init;
use crate::limits;

/// Name of the health entry of one database.
pub const fn part(side: DatabaseKind) -> &'static str {
    match side {
        DatabaseKind::Hot => "layout",
        DatabaseKind::Cold => "cold layout",
    }
}

/// Provisions one database, waiting for broker and ClickHouse. Returns early on `stop`. Fails on a difference that cannot be
/// changed in place, or a database of another program version: waiting does not help.
pub async fn provision(
    shared: &CentralContext,
    side: DatabaseKind,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut backoff = limits::BACKOFF;
    let sides = [side];
    while !stop.is_cancelled() {
        let tried = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            tried = init::ensure(&shared.config, &shared.broker, &shared.leases, &sides, false) => tried,
        };
        match tried {
            Ok(report) => {
                report.refuse_immutable()?;
                for (what, difference) in report.differences() {
                    tracing::warn!(what, %difference, "differs from the configuration; run `init --apply` to change it");
                }
                shared.status.clear(part(side));
                return Ok(());
            }
            Err(error) => {
                let (side, reason) = (part(side), format!("{error:#}"));
                tracing::warn!(side, reason, "cannot provision streams and tables yet; retrying");
                shared.status.fail(side, reason);
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(backoff.pause()) => {}
        }
    }
    Ok(())
}
