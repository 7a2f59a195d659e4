//! A central that is suspended for longer than its leases, and resumed in the middle of its work.

use std::cell::Cell;
use std::time::Instant;

use marketprism_tests::broker::free_port;
use marketprism_tests::link::Link;
use marketprism_tests::process::Process;
use marketprism_tests::wait::{eventually, until};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::events::{book, now_us, publish};
use crate::ingest::all_acknowledged;
use crate::sharing::{Pair, TAKEOVER, has_no_error};
use crate::stack::Stack;
use crate::two_sides::{MINUTE_MS, QUICK, TwoSides, minutes_ago};

const STREAM: &str = "ORDERBOOK_SNAP";

/// Suspends a process when so many bytes have passed the link, in the middle of sending; then the link passes what had been sent.
async fn stop_in_the_middle(link: &Link, bytes: u64, process: &Process, begin: impl AsyncFnOnce()) {
    link.shut_after(bytes);
    begin().await;
    eventually("bytes on their way", || async { link.is_shut().then_some(()) }).await;
    process.suspend();
    link.open();
}

/// The loss of the lease is logged, and no error.
fn says_what_happened(log: &str, lease: &str) {
    let lost = |line: &&str| {
        line.contains(lease)
            && (line.contains("could not be renewed in time") || line.contains("another process has"))
    };
    assert!(log.lines().any(|line| lost(&line)), "it did not notice the loss of {lease}: {log}");
    has_no_error(log);
}

/// SIGSTOP at a seeded point of the bytes sent to ClickHouse, SIGCONT when the other central has stored everything; two rounds.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_central_doubles_nothing() {
    const BOOKS: u64 = 800;
    const SEED: u64 = 20_261_125;
    let Some(stack) = Stack::start().await else { return };
    let pair = Pair::start_linked(&stack, "[batch]\norderbooks = 200\nmax_age_ms = 200\n").await;
    let mut random = StdRng::seed_from_u64(SEED);
    let (base, jetstream) = (now_us(), stack.jetstream().await);
    for round in 0..2 {
        let stopped = pair.holder_of(STREAM).unwrap();
        let (known, all) = (round * BOOKS, (round + 1) * BOOKS);
        let logged = pair.log(stopped).len();
        let [_, to_clickhouse] = pair.links(stopped);
        let process = pair.central(stopped);
        let bytes = random.random_range(100_000..4_500_000);
        let (sender, numbers) = (jetstream.clone(), known..all);
        let publisher =
            tokio::spawn(async move { publish(&sender, numbers.map(|n| book(n, 200, base))).await });
        stop_in_the_middle(to_clickhouse, bytes, process, async || {}).await;
        let since = Instant::now();
        let rows = async || {
            let (rows, distinct) = stack.counts("orderbooks").await?;
            assert_eq!(rows, distinct, "round {round}: an event shows twice");
            Some(rows)
        };
        // Seen late, the other one may have stored the rest already: what counts is what was there before.
        let before = Cell::new(known);
        until("the takeover", TAKEOVER, async || {
            let found = rows().await?;
            if pair.holds(1 - stopped, STREAM) {
                return Some(());
            }
            before.set(found);
            None
        })
        .await;
        let before = before.get();
        eprintln!(
            "round {round}: stopped after {bytes} bytes, {before} of {all} rows when the other one takes over"
        );
        assert!(before < all, "it was stopped too late to leave anything to the other one");
        eventually("a book of the other one", async || rows().await.filter(|rows| *rows > before)).await;
        assert!(since.elapsed() < TAKEOVER, "{:?}", since.elapsed());
        publisher.await.unwrap();
        stack.holds_once("orderbooks", all).await;

        process.resume();
        eventually("it to notice", async || {
            rows().await?;
            pair.log(stopped)[logged..].contains("this central no longer owns the stream").then_some(())
        })
        .await;
        pair.is_shared().await;
        stack.holds_once("orderbooks", all).await;
        says_what_happened(&pair.log(stopped)[logged..], &format!("ingest-{STREAM}"));
    }
    all_acknowledged(&stack, STREAM, 2 * BOOKS).await;
    stack.holds_once("orderbooks", 2 * BOOKS).await;
    assert_eq!(stack.copies().await, Some(0), "a message that is delivered again is no copy");
}

/// A central with a link to cold.
struct Copying {
    process: Process,
    port: u16,
    link: Link,
}

impl Copying {
    async fn start(sides: &TwoSides, name: &str) -> Self {
        let port = free_port();
        let config = sides.stack.configure_as(name, port, &sides.settings);
        let link = sides.stack.cold_link().await;
        Stack::lead_through(&config, &link);
        Self { process: sides.stack.run(&config), port, link }
    }

    fn is_active(&self) -> bool {
        let is = |(_, metrics): (u16, String)| {
            metrics.lines().any(|line| line == "marketprism_cold_replicator_is_active 1")
        };
        Stack::get_at(self.port, "/metrics").is_some_and(is)
    }
}

/// SIGSTOP at a seeded point of the bytes sent to cold; late rows arrive in the same windows; SIGCONT; two rounds.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_replicator_doubles_nothing() {
    const SEED: u64 = 20_261_126;
    /// Windows per round.
    const WINDOWS: i64 = 3;
    const ROWS: u64 = 60_000;
    const LATE: u64 = 300;
    let settings = format!("{QUICK}compression = \"none\"\n");
    let Some(sides) = TwoSides::on_two_engines(&settings).await else { return };
    let mut random = StdRng::seed_from_u64(SEED);
    let first_ms = minutes_ago(60);
    let both = [Copying::start(&sides, "central-0").await, Copying::start(&sides, "central-1").await];
    let mut all = 0;
    for round in 0..2 {
        let holder = eventually("one to copy", async || both.iter().position(Copying::is_active)).await;
        let (stopped, other) = (&both[holder], &both[1 - holder]);
        let logged = stopped.process.output().len();
        let start_ms = first_ms + round * WINDOWS * MINUTE_MS;
        let bytes = random.random_range(100_000..4_800_000);
        let begin = async || sides.trades(all..all + ROWS, start_ms, ROWS / 3).await;
        stop_in_the_middle(&stopped.link, bytes, &stopped.process, begin).await;
        let since = Instant::now();
        all += ROWS;
        let (rows, distinct) = eventually("cold", async || sides.cold_counts("trades").await).await;
        assert_eq!(rows, distinct, "round {round}: doubled");
        eprintln!("round {round}: stopped after {bytes} bytes, {rows} of {all} rows in cold");
        assert!(rows < all, "it was stopped too late to leave anything to the other one");
        eventually("the other one to copy", async || other.is_active().then_some(())).await;
        assert!(since.elapsed() < TAKEOVER, "{:?}", since.elapsed());
        sides.trades(all..all + LATE, start_ms, LATE / 3).await;
        all += LATE;
        sides.cold_holds_once("trades", all).await;

        stopped.process.resume();
        eventually("it to notice", async || {
            let (rows, distinct) = sides.cold_counts("trades").await?;
            assert_eq!((rows, distinct), (all, all), "round {round}: after it went on");
            stopped.process.output()[logged..].contains("no longer replicates hot to cold").then_some(())
        })
        .await;
        sides.windows_are("trades", &[("verified", u64::try_from((round + 1) * WINDOWS).unwrap())]).await;
        sides.cold_holds_once("trades", all).await;
        says_what_happened(&stopped.process.output()[logged..], "replicator");
    }
    sides.are_the_same("trades").await;
}
