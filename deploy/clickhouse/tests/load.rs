//! Many clients, sudden ends, and clients that leave.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::{Server, command, eventually, head, library};

// Goal: sixteen clients at once, reading and writing, all get exactly what is theirs. Method: each inserts
// batches of its own key range, reads large results between, and counts its rows; the sums are compared at
// the end.
#[test]
fn sixteen_clients_get_exact_counts() {
    let Some(library) = library() else { return };
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&library, data.path(), &[]);
    server.ask("CREATE DATABASE d");
    server.ask("CREATE TABLE d.t (x UInt64, c UInt8) ENGINE = ReplacingMergeTree ORDER BY x");
    std::thread::scope(|scope| {
        for client in 0..16_u64 {
            let server = &server;
            scope.spawn(move || {
                for round in 0..20 {
                    let first = client << 32 | (round * 1000);
                    let rows: Vec<u8> = (first..first + 1000)
                        .flat_map(|x| x.to_le_bytes().into_iter().chain([u8::try_from(client).unwrap()]))
                        .collect();
                    let insert = server.post("query=INSERT+INTO+t+FORMAT+RowBinary&database=d", rows);
                    assert_eq!(insert.status, 200, "{}", insert.text());
                    let read = server.post("", "SELECT number FROM numbers(200000) FORMAT RowBinary");
                    assert_eq!((read.status, read.complete, read.body.len()), (200, true, 1_600_000));
                    let count = server.post(
                        "database=d",
                        format!("SELECT count(), uniqExact(x) FROM t WHERE c = {client}"),
                    );
                    let want = (round + 1) * 1000;
                    assert_eq!(count.text(), format!("{want}\t{want}\n"));
                }
            });
        }
    });
    assert_eq!(server.ask("SELECT count(), uniqExact(x), sum(x) FROM d.t"), {
        let sum: u128 = (0..16_u128).map(|c| (0..20_000_u128).map(|n| (c << 32) + n).sum::<u128>()).sum();
        format!("320000\t320000\t{}", sum % (1 << 64))
    });
    assert_eq!(server.stop(), Some(0));
}

// Goal: what was answered is there after kill -9, in the middle of inserts too. Method: four times: inserters
// run, the process is killed, started again, and must have every row it answered for.
#[test]
fn answered_inserts_survive_kill_9() {
    let Some(library) = library() else { return };
    let data = tempfile::tempdir().unwrap();
    let answered = AtomicU64::new(0);
    for round in 0..4_u64 {
        let server = Server::start(&library, data.path(), &[]);
        server.ask("CREATE TABLE IF NOT EXISTS t (x UInt64) ENGINE = MergeTree ORDER BY x");
        let rows: u64 = server.ask("SELECT uniqExact(x) FROM t").parse().unwrap();
        assert!(
            rows >= answered.load(Ordering::SeqCst),
            "{rows} of {} rows",
            answered.load(Ordering::SeqCst)
        );
        assert_eq!(rows % 100, 0, "a batch is there in part");
        let address = server.address.clone();
        std::thread::scope(|scope| {
            for client in 0..3_u64 {
                let (address, answered) = (&address, &answered);
                scope.spawn(move || {
                    for batch in 0.. {
                        let first = (round << 40) | (client << 32) | (batch * 100);
                        let body: String = (first..first + 100).map(|x| format!("{x}\n")).collect();
                        if !posted(address, &body) {
                            return;
                        }
                        answered.fetch_add(100, Ordering::SeqCst);
                    }
                });
            }
            let before = answered.load(Ordering::SeqCst);
            eventually("some inserts", Duration::from_secs(60), || {
                answered.load(Ordering::SeqCst) > before + 3000
            });
            server.kill();
        });
    }
}

fn posted(address: &str, body: &str) -> bool {
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return false };
    let target = "/?query=INSERT+INTO+t+FORMAT+TSV";
    let sent = stream
        .write_all(&head("POST", target, address, &[], body.len()))
        .and_then(|()| stream.write_all(body.as_bytes()));
    let mut answer = Vec::new();
    sent.and_then(|()| std::io::Read::read_to_end(&mut stream, &mut answer)).is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}

// Goal: a query ends when its client leaves: while it computes, while it sends, and while it waits in the
// queue. Method: hang up in each state and look at system.processes; with one thread the queue itself would
// show a query left behind.
#[test]
fn queries_of_clients_that_leave_are_stopped() {
    let Some(library) = library() else { return };
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&library, data.path(), &["--queries", "3"]);
    let running = || {
        server.ask(
            "SELECT count() FROM system.processes WHERE query LIKE '%numbers(1000000000000)%' \
             AND query NOT LIKE '%processes%'",
        )
    };
    let computing = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)";
    let sending = "SELECT number FROM numbers(1000000000000)";
    for query in [computing, sending] {
        let mut stream = server.connect();
        stream.write_all(&head("POST", "/", &server.address, &[], query.len())).unwrap();
        stream.write_all(query.as_bytes()).unwrap();
        eventually("the query runs", Duration::from_secs(10), || running() == "1");
        drop(stream);
        eventually("the query has stopped", Duration::from_secs(10), || running() == "0");
    }
}

// Goal: with every place taken the answer is 503 with code 202, at once, and places come back. Method: one
// thread, one place, three clients: whichever comes last is refused, then the others leave.
#[test]
fn a_full_queue_is_answered_at_once() {
    let Some(library) = library() else { return };
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&library, data.path(), &["--queries", "1", "--waiting", "1"]);
    let long = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)";
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(&head("POST", "/", &server.address, &[], long.len())).unwrap();
            stream.write_all(long.as_bytes()).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        })
        .collect();
    let answered = || clients.iter().position(|stream| stream.peek(&mut [0]).is_ok());
    eventually("one is answered", Duration::from_secs(10), || answered().is_some());
    let mut last = clients[answered().unwrap()].try_clone().unwrap();
    last.set_nonblocking(false).unwrap();
    let refused = support::Answer::read(&mut last);
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.header("x-clickhouse-exception-code").as_deref(), Some("202"), "{}", refused.text());
    assert!(refused.text().contains("1 queries run and 1 wait"), "{}", refused.text());
    drop((clients, last));
    eventually("places come back", Duration::from_secs(10), || server.post("", "SELECT 1").text() == "1\n");
}

// Goal: one process per data directory, and the second one says who has it. Method: start two.
#[test]
fn a_second_process_names_the_first() {
    let Some(library) = library() else { return };
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&library, data.path(), &[]);
    let out = command(&library, data.path(), &[]).stdout(Stdio::piped()).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains(&format!("is in use by process {}", server.pid())), "{said}");
}

// Goal: SIGTERM lets a running request end and refuses new connections. Method: a two-second query, SIGTERM
// meanwhile.
#[test]
fn sigterm_drains() {
    let Some(library) = library() else { return };
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&library, data.path(), &[]);
    let slow = "SELECT sleepEachRow(0.5) FROM numbers(4) SETTINGS max_block_size = 1";
    let mut stream = server.connect();
    stream.write_all(&head("POST", "/", &server.address, &[], slow.len())).unwrap();
    stream.write_all(slow.as_bytes()).unwrap();
    eventually("the query runs", Duration::from_secs(10), || {
        server.ask("SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleep%'") == "1"
    });
    server.signal("TERM");
    eventually("new connections are refused", Duration::from_secs(10), || {
        std::net::TcpStream::connect(&server.address).is_err()
    });
    let answer = support::Answer::read(&mut stream);
    assert_eq!((answer.status, answer.text().as_str()), (200, "0\n0\n0\n0\n"));
    let began = Instant::now();
    assert_eq!(server.wait(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10));
}
