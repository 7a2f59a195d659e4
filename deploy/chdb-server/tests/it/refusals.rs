//! Refusals: each has a code and a text of ClickHouse and is counted by its reason. Addresses as long as ClickHouse takes them; pages of
//! allowed origins.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::server::{Answer, Server};

const ADDRESS_BYTES: usize = 1 << 20;

fn raw(server: &Server, request: &str) -> Answer {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    Answer::read(&mut stream)
}

#[test]
fn every_refusal_has_a_code_and_is_counted_by_its_reason() {
    let Some(server) = Server::start(&[]) else { return };
    let get =
        |target: &str, headers: &str| format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
    let many: String = (0..300).map(|number| format!("x-{number}: y\r\n")).collect();
    let large = format!("x: {}\r\n", "y".repeat(300_000));
    for (request, status, code) in [
        (get(&format!("/{}", "a".repeat(ADDRESS_BYTES)), ""), 414, "1000"),
        (get(&format!("/{}", "a".repeat(5 * ADDRESS_BYTES)), ""), 414, "1000"),
        (get("/", &many), 431, "1000"),
        (get("/", &large), 431, "1000"),
        ("hello\r\n\r\n".to_owned(), 400, "1000"),
        ("PRI * HTTP/2.0\r\n\r\n".to_owned(), 400, "1000"),
        (get("/", "content-length: 1\r\ntransfer-encoding: chunked\r\n"), 400, "1000"),
        (get("/", "origin: http://other.example\r\nconnection: close\r\n"), 403, "497"),
        (get("/play", "connection: close\r\n"), 404, "36"),
        ("PUT / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".to_owned(), 405, "1"),
        (get("/?query=SELECT+1", "connection: close\r\n"), 401, "516"),
    ] {
        let answer = raw(&server, &request);
        assert_eq!((answer.status, answer.code()), (status, Some(code)), "{}", answer.text());
        let text = answer.text();
        assert!(
            text.starts_with(&format!("Code: {code}. DB::Exception: ")) && text.contains("(version "),
            "{text}"
        );
    }
    assert_ne!(server.post("", "SELEC 1").status, 200);
    let counts = server.anonymous("GET", "/metrics", &[], b"").text();
    for (reason, count) in [
        ("address", 2),
        ("headers", 2),
        ("request", 3),
        ("page", 1),
        ("path", 1),
        ("method", 1),
        ("login", 1),
        ("statement", 1),
        ("full", 0),
        ("head_timeout", 0),
    ] {
        let line = format!("marketprism_clickhouse_refused_requests_total{{reason=\"{reason}\"}} {count}\n");
        assert!(counts.contains(&line), "{line}: {counts}");
    }
}

#[test]
fn an_address_may_be_as_long_as_clickhouse_takes_it() {
    let Some(server) = Server::start(&[]) else { return };
    let start = "/?max_query_size=3000000&query=SELECT+length('";
    let letters = ADDRESS_BYTES - start.len() - "')".len();
    let long = format!("{start}{}')", "a".repeat(letters));
    let key = format!("host: localhost\r\nx-clickhouse-key: {}\r\n", server.password);
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // Both at once on one connection: the second follows the first.
    let body = "SELECT 'second'";
    let requests = format!(
        "GET {long} HTTP/1.1\r\n{key}\r\nPOST / HTTP/1.1\r\n{key}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(requests.as_bytes()).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert!(answers.find(&format!("\n{letters}\n")) < answers.find("\nsecond\n"), "{answers}");
}

#[test]
fn a_page_of_an_allowed_origin_asks_first_and_reads_the_answer() {
    let page = "https://grafana.example";
    let Some(server) = Server::start(&["--allow-origin", page]) else { return };
    let site = ("sec-fetch-site", "cross-site");
    let preflight = [site, ("access-control-request-method", "POST")];
    let asked = |origin| {
        server.anonymous("OPTIONS", "/?query=x", &[&preflight[..], &[("origin", origin)]].concat(), b"")
    };
    let allowed = asked(page);
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (204, Some(page)));
    assert!(allowed.header("access-control-allow-methods").unwrap().contains("POST"));
    assert!(allowed.header("access-control-allow-headers").unwrap().contains("x-clickhouse-key"));
    let answer = server.request("POST", "/", &[site, ("origin", page)], b"SELECT 1");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(page)));
    assert!(answer.header("access-control-expose-headers").unwrap().contains("x-clickhouse-exception-code"));
    assert!(answer.head.to_lowercase().contains("vary: origin"), "{}", answer.head);
    let other = asked("https://other.example");
    assert_eq!(
        (other.status, other.code(), other.header("access-control-allow-origin")),
        (403, Some("497"), None)
    );
    let simple = server.request("GET", "/?query=SELECT+1", &[site], b"");
    assert_eq!(simple.status, 403, "without an origin");
}
