//! Clocks that jump.

use std::path::{Path, PathBuf};

use marketprism_tests::wait::eventually;

use crate::copies::confirmed;
use crate::events::{now_us, publish, trade};
use crate::two_sides::{MINUTE_MS, QUICK, TwoSides, minutes_ago};

/// Debian's package `libfaketime`.
const FAKETIME: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

fn faketime() -> Option<&'static str> {
    FAKETIME.into_iter().find(|library| Path::new(library).exists())
}

/// The variables with which a process reads its wall clock's offset from a file, and a function that writes it. Its monotonic clock stays.
fn clock_of(offset: &Path, library: &str) -> Vec<(&'static str, PathBuf)> {
    set(offset, "+0");
    vec![
        ("LD_PRELOAD", library.into()),
        ("FAKETIME_TIMESTAMP_FILE", offset.into()),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ("DONT_FAKE_MONOTONIC", "1".into()),
    ]
}

/// Renamed into place: central reads the file at any time.
fn set(offset: &Path, text: &str) {
    let written = offset.with_extension("new");
    std::fs::write(&written, text).unwrap();
    std::fs::rename(written, offset).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_central_whose_clock_is_a_day_ahead_for_a_while_copies_nothing_then_and_all_afterwards() {
    const PART: u64 = 1_000;
    let Some(library) = faketime() else {
        eprintln!("SKIPPED: libfaketime is missing; `apt-get install libfaketime` installs it");
        return;
    };
    let settings = format!("{QUICK}window_seconds = 1\n[batch]\nmax_age_ms = 50\n");
    let Some(sides) = TwoSides::on_one_engine(&settings).await else { return };
    let (base, jetstream) = (now_us(), sides.stack.jetstream().await);
    let offset = sides.stack.write("offset", "");
    let central = sides.stack.run_with(&sides.stack.configure(&settings), &clock_of(&offset, library));
    let store = async |from: u64| {
        publish(&jetstream, (from..from + PART).map(|n| trade(n, base))).await;
        confirmed(&sides.stack, from + PART).await;
    };
    store(0).await;
    sides.cold_holds_once("trades", PART).await;

    set(&offset, "+1d");
    let reason = eventually("health names the clocks", async || {
        let (_, text) = sides.stack.get("/health").ok_or("no answer")?;
        if text.contains("clocks differ") { Ok(text) } else { Err(text) }
    })
    .await;
    assert!(reason.contains("hot is -86") && reason.contains("nothing is copied to cold"), "{reason}");
    store(PART).await;
    // Messages are stored all the same.
    sides.stack.is_ready().await;
    sides.stack.metrics_contain("marketprism_central_clock_ahead_seconds{side=\"hot\"} -86").await;
    eventually("copying to be refused", async || {
        let log = central.output();
        let refused =
            log.lines().any(|line| line.contains("copying to cold failed") && line.contains("clocks differ"));
        if refused { Ok(()) } else { Err(log) }
    })
    .await;

    set(&offset, "+0");
    store(2 * PART).await;
    sides.cold_holds_once("trades", 3 * PART).await;
    sides.stack.is_ready().await;
    sides.are_the_same("trades").await;
    let ahead = "SELECT assumeNotNull((SELECT count() FROM marketprism_hot.trades WHERE created_at > now64(3) + 60) + \
                 (SELECT count() FROM marketprism_cold.window_log WHERE window_start > now64(3) + 60) + \
                 (SELECT count() FROM marketprism_cold.watermarks WHERE upto > now64(3) + 60))";
    assert_eq!(sides.stack.number(ahead).await, Some(0), "rows, windows and watermarks of tomorrow");
}

/// Written by a central whose servers' clocks were ahead with its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_watermark_beyond_the_clock_goes_back_and_copying_goes_on() {
    let Some(sides) = TwoSides::on_one_engine(QUICK).await else { return };
    let first_ms = minutes_ago(10);
    sides.trades(0..2_000, first_ms, 1_000).await;
    let mut central = sides.replicate();
    sides.cold_holds_once("trades", 2_000).await;
    central.kill();
    sides
        .in_cold(
            "INSERT INTO marketprism_cold.watermarks SELECT 'trades', now64(3) + toIntervalDay(1), now64(3), 'copying', \
             now64(3) + toIntervalDay(1)",
        )
        .await;
    // Without a recheck nothing else would find them.
    let settings = QUICK.replace("recheck_seconds = 1\n", "");
    let central = sides.stack.run(&sides.stack.configure(&settings));
    sides.trades(2_000..4_000, first_ms + 3 * MINUTE_MS, 1_000).await;
    sides.cold_holds_once("trades", 4_000).await;
    sides.windows_are("trades", &[("verified", 4)]).await;
    assert!(central.output().contains("beyond the clock of the servers"), "{}", central.output());
}
