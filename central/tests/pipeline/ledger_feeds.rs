//! Problems of whole feeds in the ledger.

use marketprism_schema::FeedAudit;
use marketprism_tests::wait::eventually;

use crate::auditing::{QUICK, audit, judged, stored, tell, trades, verdict, window_before};
use crate::events::publish;
use crate::stack::Stack;

const A: &str = "BTC-USDT";

/// An edge reports a stream, then a window in which its feed does not run; both audits are published twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_does_not_run_explains_its_windows() {
    let Some(stack) = Stack::start().await else { return };
    let _central = stack.central(QUICK).await;
    let jetstream = stack.jetstream().await;
    let (before, after) = (window_before(6), window_before(5));
    let events = trades("e1", before, 0, 50);
    publish(&jetstream, events.iter().cloned()).await;
    let feed = |malformed, not_running: Option<&str>| FeedAudit {
        exchange: "sim_spot".to_owned(),
        malformed,
        not_running: not_running.map(str::to_owned),
        ..FeedAudit::default()
    };
    let mut whole = audit("e1", before, vec![stored(A, &events)]);
    whole.feeds = vec![feed(0, None), feed(2, None)];
    let mut stopped = audit("e1", after, vec![stored("ETH-USDT", &[])]);
    stopped.feeds = vec![feed(3, Some("no way to the venue"))];
    for told in [&whole, &stopped, &whole, &stopped] {
        tell(&jetstream, told).await;
    }
    let verified = judged(&stack, A, "e1", before, "verified").await;
    assert_eq!((verified.found, verified.reason.as_str()), (50, ""));
    // Until the second audit arrives, the window's edge is silent; its verdict has no explanation yet.
    let explained = "; feed sim_spot of edge e1: not running (no way to the venue), 3 malformed frames";
    eventually("an explained verdict", async || {
        let silent = verdict(&stack, A, "e1", after).await.filter(|v| v.state == "unverifiable")?;
        (silent.reason.contains("reports other streams") && silent.reason.ends_with(explained)).then_some(())
    })
    .await;
    let sql = "SELECT malformed, not_running FROM marketprism_hot.feed_audits FINAL ORDER BY window_start";
    let rows: Vec<(u64, Option<String>)> = stack.hot().query_raw(sql).fetch_all().await.unwrap();
    assert_eq!(rows, [(2, None), (3, Some("no way to the venue".to_owned()))]);
}
