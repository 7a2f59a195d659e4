//! Versions of instruments on both sides: each side gets the rows that it lacks or holds in an earlier state. So a side that was put back to an
//! earlier state, or emptied, gets its rows again.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::queries::{CopyError, Endpoint, HotCold};
use super::table_states::{SharedStates, TableVersion};
use super::window_ops::CopyContext;
use crate::limits;
use crate::sql::quote;
use crate::storage::{always, bounded, limited, without_views};

/// Also its label among the tables.
pub const INSTRUMENTS: &str = "instruments";

/// Identity of a row within its exchange.
const KEY: &str = "sipHash64(market_type, symbol, version)";

#[derive(Debug, Clone, PartialEq, Eq, clickhouse::Row, Deserialize)]
struct ExchangeDigest {
    name: String,
    rows: u64,
    hash: u64,
}

/// Newest change of each row, nanoseconds, by identity.
type RowStates = BTreeMap<u64, i64>;

/// Copies until `stop`, or until another central wants the lease. Failures are retried.
pub async fn copy_instruments(
    context: CopyContext<'_>,
    states: &SharedStates,
    mut pair: Option<HotCold>,
    stop: &CancellationToken,
) {
    let (mut is_failing, mut equal) = (false, None);
    let interval = context.config.replication.interval;
    let mut pause = interval;
    while !stop.is_cancelled() && !context.is_wanted() {
        let result = equalize(context, states, &mut pair, &mut equal).await;
        if result.is_err() {
            pair = None;
        }
        if !matches!(result, Err(CopyError::LeaseLost)) {
            context.show_failing(INSTRUMENTS, result.as_ref().err().map(ToString::to_string));
        }
        // Terms seldom change.
        let is_quiet = matches!(result, Ok(false));
        pause = if is_quiet { (pause * 2).min(interval * limits::QUIET_ROUNDS) } else { interval };
        match result {
            // It may be renewed late: its end stops this task.
            Err(CopyError::LeaseLost) => {}
            Err(error) if !std::mem::replace(&mut is_failing, true) => {
                tracing::warn!(%error, "copying versions of instruments failed; retrying, nothing is lost");
            }
            Err(error) => tracing::debug!(%error, "copying versions of instruments still fails"),
            Ok(_) if std::mem::take(&mut is_failing) => {
                tracing::info!("copying versions of instruments resumed");
            }
            Ok(_) => {}
        }
        context.rest(pause, stop).await;
    }
}

/// True if any row was copied. `equal`: states with which both sides had the same rows.
async fn equalize(
    context: CopyContext<'_>,
    states: &SharedStates,
    pair: &mut Option<HotCold>,
    equal: &mut Option<[TableVersion; 2]>,
) -> Result<bool, CopyError> {
    let pair = match pair {
        Some(pair) => pair,
        None => pair.insert(HotCold::connect(context.config).await?),
    };
    // Without an answer they are compared.
    let asked = states.fresh(pair, INSTRUMENTS).await;
    let asked = asked.inspect_err(|error| tracing::debug!(%error, "the states of instruments are unknown"));
    let states = asked.unwrap_or_default();
    if states.is_some() && states == *equal {
        return Ok(false);
    }
    *equal = None;
    let HotCold { hot, cold, .. } = pair;
    let (of_hot, of_cold) = try_join(hot.exchange_digests(), cold.exchange_digests()).await?;
    let differing = of_hot.symmetric_difference(&of_cold);
    let exchanges: BTreeSet<&str> = differing.map(|(name, ..)| name.as_str()).collect();
    for exchange in &exchanges {
        let (in_hot, in_cold) = try_join(hot.row_states(exchange), cold.row_states(exchange)).await?;
        copy(context, (hot, cold), exchange, &newer(&in_hot, &in_cold)).await?;
        copy(context, (cold, hot), exchange, &newer(&in_cold, &in_hot)).await?;
    }
    *equal = states.filter(|_| exchanges.is_empty());
    Ok(!exchanges.is_empty())
}

/// Rows of `from` that `to` lacks or has in an earlier state.
fn newer(from: &RowStates, to: &RowStates) -> Vec<u64> {
    let is_newer = |(key, state): &(&u64, &i64)| to.get(key).is_none_or(|other| other < state);
    from.iter().filter(is_newer).map(|(key, _)| *key).collect()
}

async fn copy(
    context: CopyContext<'_>,
    (from, to): (&Endpoint, &Endpoint),
    exchange: &str,
    keys: &[u64],
) -> Result<(), CopyError> {
    for keys in keys.chunks(limits::INSTRUMENTS_A_QUERY) {
        context.check_lease()?;
        let listed: Vec<String> = keys.iter().map(u64::to_string).collect();
        let select = format!(
            "SELECT * FROM {} FINAL WHERE exchange = {} AND {KEY} IN ({})",
            from.table(INSTRUMENTS),
            quote(exchange),
            listed.join(",")
        );
        let piped = async {
            let mut rows = from.query(&select).fetch_bytes("Native")?;
            let insert = format!("INSERT INTO {} FORMAT Native", to.table(INSTRUMENTS));
            // A repeated row replaces itself, and both sides are compared again.
            let insert = limited(&to.storage.client, to.limit).insert_formatted_with(insert);
            let mut insert = always()
                .into_iter()
                .chain(without_views())
                .fold(insert, |insert, (name, value)| insert.with_setting(name, value))
                .with_setting("async_insert", "0")
                .with_setting("input_format_skip_unknown_fields", "0")
                .with_setting("wait_end_of_query", "1");
            while let Some(bytes) = rows.next().await? {
                insert.send(bytes).await?;
            }
            insert.end().await
        };
        bounded(from.limit.max(to.limit), piped).await.map_err(|error| to.failed(error))?;
        let rows = u64::try_from(keys.len()).unwrap_or(u64::MAX);
        context.metrics.rows.with_label_values(&[INSTRUMENTS]).inc_by(rows);
    }
    Ok(())
}

impl Endpoint {
    async fn exchange_digests(&self) -> Result<BTreeSet<(String, u64, u64)>, CopyError> {
        let sql = format!(
            "SELECT toString(exchange) AS name, count() AS rows, \
             groupBitXor(sipHash64(market_type, symbol, version, updated_at)) AS hash FROM {} FINAL GROUP BY exchange",
            self.table(INSTRUMENTS)
        );
        let digests = self.ask(self.query(&sql).fetch_all::<ExchangeDigest>()).await?;
        Ok(digests.into_iter().map(|digest| (digest.name, digest.rows, digest.hash)).collect())
    }

    async fn row_states(&self, exchange: &str) -> Result<RowStates, CopyError> {
        let sql = format!(
            "SELECT {KEY} AS key, toUnixTimestamp64Nano(updated_at) AS updated_ns FROM {} FINAL WHERE exchange = {}",
            self.table(INSTRUMENTS),
            quote(exchange)
        );
        let rows = self.ask(self.query(&sql).fetch_all::<(u64, i64)>()).await?;
        Ok(rows.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_gets_what_it_lacks_or_has_in_an_earlier_state() {
        let hot = RowStates::from([(1, 10), (2, 20), (3, 30)]);
        let cold = RowStates::from([(1, 10), (2, 21), (4, 40)]);
        assert_eq!((newer(&hot, &cold), newer(&cold, &hot)), (vec![3], vec![2, 4]));
    }
}
