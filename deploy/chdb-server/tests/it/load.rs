//! Many clients, sudden ends, and clients that disconnect.

use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::server::{Answer, Server, command, eventually, send};

#[test]
fn sixteen_clients_get_exact_counts() {
    let Some(mut server) = Server::start(&[]) else { return };
    server.ask("CREATE DATABASE d");
    server.ask("CREATE TABLE d.t (x UInt64, c UInt8) ENGINE = ReplacingMergeTree ORDER BY x");
    std::thread::scope(|scope| {
        for client in 0..16_u64 {
            let server = &server;
            scope.spawn(move || {
                for round in 0..10 {
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
        let sum: u128 = (0..16_u128).map(|c| (0..10_000_u128).map(|n| (c << 32) + n).sum::<u128>()).sum();
        format!("160000\t160000\t{}", sum % (1 << 64))
    });
    server.terminate();
    assert_eq!(server.exit_code(), Some(0));
}

// Four times: inserters run, the process is killed, started again, and must hold every acknowledged row.
#[test]
fn acknowledged_inserts_survive_kill_9() {
    let data = Arc::new(tempfile::tempdir().unwrap());
    let answered = AtomicU64::new(0);
    for round in 0..4_u64 {
        let Some(mut server) = Server::restart(&data, &[]) else { return };
        server.ask("CREATE TABLE IF NOT EXISTS t (x UInt64) ENGINE = MergeTree ORDER BY x");
        let rows: u64 = server.ask("SELECT uniqExact(x) FROM t").parse().unwrap();
        assert!(
            rows >= answered.load(Ordering::SeqCst),
            "{rows} of {} rows",
            answered.load(Ordering::SeqCst)
        );
        assert_eq!(rows % 100, 0, "a batch is there in part");
        let (address, password) = (server.address.clone(), server.password.clone());
        std::thread::scope(|scope| {
            for client in 0..3_u64 {
                let (address, password, answered) = (&address, &password, &answered);
                scope.spawn(move || {
                    for batch in 0.. {
                        let first = (round << 40) | (client << 32) | (batch * 100);
                        let body: String = (first..first + 100).map(|x| format!("{x}\n")).collect();
                        if !posted(address, password, &body) {
                            return;
                        }
                        answered.fetch_add(100, Ordering::SeqCst);
                    }
                });
            }
            let before = answered.load(Ordering::SeqCst);
            eventually("some inserts", || answered.load(Ordering::SeqCst) > before + 3000);
            server.process().kill();
        });
    }
}

fn posted(address: &str, password: &str, body: &str) -> bool {
    let target = "/?query=INSERT+INTO+t+FORMAT+TSV";
    let sent = send(address, "POST", target, &[("x-clickhouse-key", password)], body.len(), body.as_bytes());
    let mut answer = Vec::new();
    sent.and_then(|mut stream| stream.read_to_end(&mut answer)).is_ok() && answer.starts_with(b"HTTP/1.1 200")
}

// Disconnects while the query computes, sends, and waits; with one thread the queue shows a query left
// behind.
#[test]
fn queries_of_disconnected_clients_are_cancelled() {
    let Some(server) = Server::start(&["--queries", "3"]) else { return };
    let running = || {
        server.ask(
            "SELECT count() FROM system.processes WHERE query LIKE '%numbers(1000000000000)%' \
             AND query NOT LIKE '%processes%'",
        )
    };
    let computing = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)";
    let sending = "SELECT number FROM numbers(1000000000000)";
    for query in [computing, sending] {
        let stream = server.send("/", &[], query.len(), query.as_bytes());
        eventually("the query runs", || running() == "1");
        drop(stream);
        eventually("the query has stopped", || running() == "0");
    }
}

// One thread, one place, three clients: the last one is rejected at once.
#[test]
fn a_full_queue_is_rejected_at_once() {
    let Some(server) = Server::start(&["--queries", "1", "--waiting", "1"]) else { return };
    let long = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)";
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let stream = server.send("/", &[], long.len(), long.as_bytes());
            stream.set_nonblocking(true).unwrap();
            stream
        })
        .collect();
    let answered = || clients.iter().position(|stream| stream.peek(&mut [0]).is_ok());
    eventually("one is answered", || answered().is_some());
    let mut last = clients[answered().unwrap()].try_clone().unwrap();
    last.set_nonblocking(false).unwrap();
    let rejected = Answer::read(&mut last);
    assert_eq!(rejected.status, 503, "{}", rejected.text());
    assert_eq!(rejected.code(), Some("202"), "{}", rejected.text());
    assert!(rejected.text().contains("1 queries run and 1 wait"), "{}", rejected.text());
    drop((clients, last));
    eventually("places come back", || server.post("", "SELECT 1").text() == "1\n");
}

#[test]
fn a_second_process_names_the_first() {
    let Some(mut server) = Server::start(&[]) else { return };
    let out = command(&server.data, "127.0.0.1:0").unwrap().output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    let output = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(output.contains(&format!("is in use by process {}", server.process().pid())), "{output}");
}

#[test]
fn sigterm_drains() {
    let Some(mut server) = Server::start(&[]) else { return };
    let slow = "SELECT sleepEachRow(0.5) FROM numbers(8) SETTINGS max_block_size = 1";
    let mut stream = server.send("/", &[], slow.len(), slow.as_bytes());
    eventually("the query runs", || {
        server.ask("SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleep%'") == "1"
    });
    server.terminate();
    eventually("new connections are rejected", || TcpStream::connect(&server.address).is_err());
    let answer = Answer::read(&mut stream);
    assert_eq!((answer.status, answer.text().as_str()), (200, "0\n".repeat(8).as_str()));
    let began = Instant::now();
    assert_eq!(server.exit_code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10));
}
