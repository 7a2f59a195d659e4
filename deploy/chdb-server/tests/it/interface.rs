//! The interface as plain HTTP clients see it.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::server::{Answer, Server, command};

#[test]
fn ping_and_unknown_paths() {
    let Some(server) = Server::start(&[]) else { return };
    for path in ["/ping", "/replicas_status", "/"] {
        let answer = server.request("GET", path, &[], b"");
        assert_eq!((answer.status, answer.text().as_str()), (200, "Ok.\n"), "{path}");
    }
    assert_eq!(server.request("GET", "/nothing", &[], b"").status, 404);
    assert_eq!(server.request("DELETE", "/?query=SELECT+1", &[], b"").status, 405);
}

#[test]
fn errors_have_code_text_and_status() {
    let Some(server) = Server::start(&[]) else { return };
    for (parameters, query, status, code) in [
        ("", "SELECT * FROM nowhere", 404, "60"),
        ("database=nowhere", "SELECT 1", 404, "81"),
        ("nothing=1", "SELECT 1", 404, "115"),
        ("", "SELECT noSuchFunction(1)", 404, "46"),
        ("", "SELECT 1 FORMAT Nothing", 404, "73"),
        ("default_format=JSON%20x", "SELECT 1", 404, "73"),
        ("", "SELEC 1", 400, "62"),
        ("", "SELECT 1; SELECT 2", 400, "62"),
        ("", " -- nothing", 400, "62"),
        ("", "SELECT toUInt8('x')", 400, "6"),
        ("", "SELECT throwIf(1)", 500, "395"),
        ("", "SELECT 1 INTO OUTFILE 'x'", 500, "358"),
        ("session_id=s&session_check=1", "SELECT 1", 404, "372"),
        ("session_id=s", "SET max_threads = 1", 501, "48"),
        ("max_execution_time=1", "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)", 408, "159"),
    ] {
        let answer = server.post(parameters, query);
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
        assert_eq!(answer.code(), Some(code), "{query}: {}", answer.text());
        assert!(answer.text().starts_with(&format!("Code: {code}. DB::Exception: ")), "{}", answer.text());
        assert!(answer.text().contains("(version 26."), "{}", answer.text());
    }
    let written = server.request("GET", "/?query=CREATE+TABLE+t(x+UInt8)+ENGINE=Memory", &[], b"");
    assert_eq!(written.code(), Some("164"), "{}", written.text());
}

#[test]
fn queries_are_accepted_in_every_form() {
    // One thread: what stayed on its connection would meet the next query.
    let Some(server) = Server::start(&["--queries", "1"]) else { return };
    let answer = server.request("GET", "/?query=SELECT+1+AS+x&query_id=mine", &[], b"");
    assert_eq!((answer.status, answer.text().as_str()), (200, "1\n"));
    assert_eq!(answer.header("x-clickhouse-query-id"), Some("mine"));
    assert_eq!(answer.header("x-clickhouse-format"), Some("TabSeparated"));
    assert_eq!(answer.header("content-type"), Some("text/tab-separated-values; charset=UTF-8"));
    assert!(answer.header("x-clickhouse-timezone").is_some());
    assert!(answer.header("x-clickhouse-summary").unwrap().contains("\"result_rows\":\"1\""));
    assert_eq!(server.post("query=SELECT", "2").text(), "2\n");
    assert_eq!(server.post("default_format=JSONEachRow", "SELECT 3 AS x").text(), "{\"x\":3}\n");
    assert_eq!(server.post("default_format=CSV", "SELECT 'a' FORMAT TSV -- end").text(), "a\n");
    let by_header = server.request(
        "POST",
        "/",
        &[("x-clickhouse-format", "CSV"), ("x-clickhouse-database", "system")],
        b"SELECT currentDatabase()",
    );
    assert_eq!(by_header.text(), "\"system\"\n");
    assert_eq!(server.post("database=system", "SELECT currentDatabase()").text(), "system\n");
    assert_eq!(server.post("max_threads=7", "SELECT getSetting('max_threads')").text(), "7\n");
    assert_eq!(
        server.post("param_a=41&param_b=it%27s", "SELECT {a:UInt32} + 1, {b:String}").text(),
        "42\tit\\'s\n"
    );
    let form = "--b\r\ncontent-disposition: form-data; name=\"query\"\r\n\r\nSELECT {x:String}\r\n\
                --b\r\ncontent-disposition: form-data; name=\"param_x\"\r\n\r\nformed\r\n--b--\r\n";
    let headers = [("content-type", "multipart/form-data; boundary=b")];
    assert_eq!(server.request("POST", "/", &headers, form.as_bytes()).text(), "formed\n");
    // None of this stays for the next client.
    assert_eq!(server.ask("SELECT currentDatabase()"), "default");
    server.ask("SET max_threads = 77");
    server.ask("USE system");
    assert_eq!(server.ask("SELECT currentDatabase(), getSetting('max_threads') = 77"), "default\t0");
    let formats = "SELECT getSetting('output_format_parallel_formatting')";
    assert_eq!(server.ask(formats), "false");
    assert_eq!(server.post("output_format_parallel_formatting=1", formats).text(), "true\n");
    assert_eq!(server.ask("SHOW DATABASES LIKE 'sys%'"), "system");
    assert_eq!(server.ask("EXISTS TABLE system.one"), "1");
}

#[test]
fn inserts_are_accepted_in_every_form() {
    let Some(server) = Server::start(&[]) else { return };
    server.ask(
        "CREATE TABLE t (x UInt64, s String) ENGINE = MergeTree ORDER BY x \
         SETTINGS non_replicated_deduplication_window = 100",
    );
    let insert = |parameters: &str, body: &[u8]| {
        let answer = server.post(parameters, body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    };
    let written = insert("query=INSERT+INTO+t+FORMAT+CSV", b"1,url\n");
    assert!(
        written.header("x-clickhouse-summary").unwrap().contains("\"written_rows\":\"1\""),
        "{}",
        written.head
    );
    insert("", b"INSERT INTO t FORMAT TSV\n2\tbody\n");
    insert("", b"INSERT INTO t (x, s) VALUES (1 + 2, upper('expression')), (4, 'a;b')");
    insert("query=INSERT+INTO+t+FORMAT+JSONEachRow", b"{\"x\":5,\"s\":\"json\"}");
    insert("query=INSERT+INTO+t+FORMAT+RowBinary", b"\x06\0\0\0\0\0\0\0\x02\0\xff");
    insert("query=INSERT+INTO+t+FORMAT+CSV", b"");
    insert("", b"INSERT INTO t SELECT 7, 'select'");
    insert("", b"INSERT INTO t SELECT a + 1, b FROM input('a UInt64, b String') FORMAT CSV\n7,input\n");
    insert("insert_deduplication_token=k&query=INSERT+INTO+t+FORMAT+CSV", b"9,first\n");
    insert("insert_deduplication_token=k&query=INSERT+INTO+t+FORMAT+CSV", b"10,second\n");
    insert("async_insert=1&query=INSERT+INTO+{t:Identifier}+FORMAT+CSV&param_t=t", b"11,identifier\n");
    let want = "1\turl\n2\tbody\n3\tEXPRESSION\n4\ta;b\n5\tjson\n6\t\\0\u{fffd}\n\
                7\tselect\n8\tinput\n9\tfirst\n11\tidentifier";
    assert_eq!(server.ask("SELECT x, s FROM t ORDER BY x"), want);
    let broken = server.post("query=INSERT+INTO+t+FORMAT+CSV", "12,good\nbad\n");
    assert_eq!(broken.status, 400, "{}", broken.text());
    assert_eq!(server.ask("SELECT count() FROM t WHERE x = 12"), "0");
}

#[test]
fn an_interrupted_insert_leaves_nothing() {
    let Some(server) = Server::start(&[]) else { return };
    server.ask("CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x");
    let mut stream = server.send("/?query=INSERT+INTO+t+FORMAT+CSV", &[], 100, b"1\n2\n3\n");
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    drop(stream);
    assert_eq!(server.ask("SELECT count() FROM t"), "0");
}

// An insert in pieces with pauses below the limit is accepted; one that pauses longer is rejected, also
// when it sends the rest.
#[test]
fn a_client_that_pauses_too_long_is_rejected() {
    let Some(server) = Server::start(&[]) else { return };
    server.ask("CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x");
    let begin = |seconds: &str| {
        let target = format!("/?query=INSERT+INTO+t+FORMAT+CSV&http_receive_timeout={seconds}");
        server.send(&target, &[], 6, b"1\n")
    };
    let mut slow = begin("20");
    let mut stopped = begin("1");
    slow.write_all(b"2\n").unwrap();
    // The answer comes without the rest of the body.
    let began = Instant::now();
    let answer = Answer::read(&mut stopped);
    assert!(began.elapsed() < Duration::from_secs(15), "given up only after {:?}", began.elapsed());
    assert_eq!(answer.code(), Some("209"), "{}", answer.text());
    assert!(answer.text().contains("sent nothing for 1 s"), "{}", answer.text());
    let _ = stopped.write_all(b"2\n3\n");
    let _ = stopped.read_to_end(&mut Vec::new());
    assert_eq!(server.ask("SELECT count() FROM t"), "0");
    slow.write_all(b"3\n").unwrap();
    assert_eq!(Answer::read(&mut slow).status, 200);
    assert_eq!(server.ask("SELECT count(), sum(x) FROM t"), "3\t6");
}

#[test]
fn codings_are_read_and_written() {
    let Some(server) = Server::start(&[]) else { return };
    server.ask("CREATE TABLE t (x UInt64) ENGINE = Memory");
    let target = "/?query=INSERT+INTO+t+FORMAT+CSV";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"1\n").unwrap();
    let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    deflate.write_all(b"2\n").unwrap();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(b"4\n").unwrap();
    for (coding, body) in [
        ("gzip", gzip.finish().unwrap()),
        ("deflate", deflate.finish().unwrap()),
        ("zstd", zstd::encode_all(&b"3\n"[..], 0).unwrap()),
        ("lz4", lz4.finish().unwrap()),
    ] {
        let answer = server.request("POST", target, &[("content-encoding", coding)], &body);
        assert_eq!(answer.status, 200, "{coding}: {}", answer.text());
    }
    assert_eq!(server.ask("SELECT groupArray(x) FROM (SELECT x FROM t ORDER BY x)"), "[1,2,3,4]");
    let rejected = server.request("POST", target, &[("content-encoding", "br")], b"x");
    assert_eq!(rejected.status, 415);
    assert!(rejected.text().contains("allowed are gzip, deflate, lz4, zstd"), "{}", rejected.text());
    for (rows, large) in [(10, false), (2_000_000, true)] {
        let query = format!("SELECT number FROM numbers({rows}) ORDER BY number");
        let want: String = (0..rows).map(|n| format!("{n}\n")).collect();
        for coding in ["gzip", "deflate", "zstd", "lz4"] {
            let answer = server.request("POST", "/", &[("accept-encoding", coding)], query.as_bytes());
            assert_eq!(answer.header("content-encoding"), Some(coding));
            assert_eq!(answer.header("transfer-encoding").is_some(), large);
            let mut text = String::new();
            let body = answer.body.as_slice();
            match coding {
                "gzip" => flate2::read::GzDecoder::new(body).read_to_string(&mut text).unwrap(),
                "deflate" => flate2::read::ZlibDecoder::new(body).read_to_string(&mut text).unwrap(),
                "zstd" => zstd::Decoder::new(body).unwrap().read_to_string(&mut text).unwrap(),
                _ => lz4_flex::frame::FrameDecoder::new(body).read_to_string(&mut text).unwrap(),
            };
            assert!(text == want, "{coding} {rows}: {} bytes of {}", text.len(), want.len());
        }
    }
    // ClickHouse's own framing: what is read with it is written back with it.
    let framed = server.post("compress=1", "SELECT number FROM numbers(300000) FORMAT RowBinary");
    assert!(framed.header("content-encoding").is_none() && framed.body.len() < 2_400_000);
    let target = "decompress=1&query=INSERT+INTO+t+FORMAT+RowBinary";
    let back = server.post(target, &framed.body);
    assert_eq!(back.status, 200, "{}", back.text());
    assert_eq!(
        server.ask("SELECT count(), sum(x) FROM t"),
        format!("300004\t{}", 10 + 299_999 * 150_000_u64)
    );
    let damaged = server.post(target, &framed.body[..framed.body.len() - 9]);
    assert_eq!((damaged.status, server.ask("SELECT count() FROM t").as_str()), (400, "300004"));
    let off =
        server.request("POST", "/?enable_http_compression=0", &[("accept-encoding", "gzip")], b"SELECT 1");
    assert_eq!((off.header("content-encoding"), off.text().as_str()), (None, "1\n"));
}

#[test]
fn late_errors_are_not_mistaken_for_the_end() {
    let Some(server) = Server::start(&[]) else { return };
    let query = "SELECT throwIf(number = 2000000) FROM numbers(3000000)";
    let answer = server.post("", query);
    assert_eq!((answer.status, answer.complete), (200, false));
    let tag = answer.header("x-clickhouse-exception-tag").unwrap();
    assert!(answer.text().ends_with(&format!(" {tag}\r\n__exception__\r\n")));
    assert!(answer.text().contains("Code: 395. DB::Exception: "));
    let waited = server.post("wait_end_of_query=1", query);
    assert_eq!((waited.status, waited.code()), (500, Some("395")));
    let whole = server.post("wait_end_of_query=1", "SELECT number FROM numbers(1000000) ORDER BY number");
    assert_eq!((whole.status, whole.complete, whole.body.len()), (200, true, 6_888_890));
    assert!(whole.header("x-clickhouse-summary").unwrap().contains("\"result_rows\":\"1000000\""));
}

#[test]
fn other_hosts_are_rejected() {
    let Some(server) = Server::start(&[]) else { return };
    let origin = server.request("POST", "/", &[("origin", "http://evil.example")], b"SELECT 1");
    assert_eq!(origin.status, 403);
    let host = server.request("POST", "/", &[("host", "evil.example")], b"SELECT 1");
    assert_eq!(host.status, 403);
    let out = command(&server.data, "0.0.0.0:0").unwrap().output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("--allow-remote"));
}

// The same result with and without `client_protocol_version` differs by block info and one byte per
// column.
#[test]
fn native_of_a_revision_has_block_info() {
    let Some(server) = Server::start(&[]) else { return };
    let query =
        "SELECT 1 AS a, toLowCardinality('x') AS b, [(1, 'y')] AS c, toNullable(2.5) AS d FORMAT Native";
    let plain = server.post("", query).body;
    let stamped = server.post("client_protocol_version=54460", query).body;
    assert_eq!(stamped[..8], [1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0]);
    assert_eq!(stamped.len(), plain.len() + 8 + 4);
    assert_eq!(stamped[8..10], [4, 1]);
    let many = "SELECT number, toString(number), [number] FROM numbers(300000) FORMAT Native";
    assert_eq!(server.post("client_protocol_version=54460", many).status, 200);
    let rejected = server.post("client_protocol_version=54460", "SELECT 1::Dynamic FORMAT Native");
    assert_eq!(rejected.status, 501, "{}", rejected.text());
}
