//! Proxies of sockets and requests: well-behaved ones, and some that are not.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::SinkExt;
use marketprism_config::{MaskedUrl, Secret};
use marketprism_socket::{
    Budgets, Proxy, ProxyRules, ProxyVariables, RequestFailure, SocketCounter, SocketOptions, http_client,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{connection, plan, request};
use crate::tls::{authority, trusting};
use crate::venue::{
    Server, answer, eventually, quick, read_head, read_to_end, refusing, start_with, stop, until_frame,
};

/// Timeout of a proxy that answers.
const LONG: Duration = Duration::from_secs(60);

/// As some proxies look for it, letter by letter.
const LOGIN: &str = "\r\nProxy-Authorization: Basic YW5uOnNlY3JldA==\r\n";

fn rules(address: &str) -> ProxyRules {
    ProxyRules::One(Proxy::new(&MaskedUrl::from(address), None, "feed[0].proxy").unwrap())
}

fn with_login(address: &str) -> ProxyRules {
    let login = Some(("ann".to_owned(), Some(Secret::new("secret".to_owned()))));
    ProxyRules::One(Proxy::new(&MaskedUrl::from(address), login, "feed[0].proxy").unwrap())
}

fn behind(proxy: ProxyRules) -> SocketOptions {
    SocketOptions { proxy, request_tries: 1, ..quick() }
}

/// Answers requests, and websockets with one frame; `/` of a request's head is what it was sent.
async fn venue() -> Server {
    Server::tcp(|mut stream, _| async move {
        let mut start = [0; 7];
        while stream.peek(&mut start).await.unwrap() < start.len() {}
        if start == *b"GET /ws" {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            socket.send(Message::text("frame")).await.unwrap();
            return read_to_end(&mut socket).await;
        }
        let head = read_head(&mut stream).await;
        stream.write_all(&answer("200 OK", "", head.lines().next().unwrap())).await.unwrap();
    })
    .await
}

/// Reads CONNECT or a whole address, notes the head, and serves it whatever the name is: by `venue`.
async fn http_proxy(venue: String, heads: Arc<Mutex<Vec<String>>>) -> Server {
    Server::tcp(move |mut near, _| {
        let (venue, heads) = (venue.clone(), Arc::clone(&heads));
        async move {
            let head = read_head(&mut near).await;
            heads.lock().unwrap().push(head.clone());
            if !head.contains(LOGIN) {
                let refusal = answer("407 Log in", "proxy-authenticate: Basic realm=x\r\n", "");
                return near.write_all(&refusal).await.unwrap();
            }
            let mut far = TcpStream::connect(venue).await.unwrap();
            if head.starts_with("CONNECT ") {
                near.write_all(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n").await.unwrap();
            } else {
                far.write_all(head.as_bytes()).await.unwrap();
            }
            let _ = copy_bidirectional(&mut near, &mut far).await;
        }
    })
    .await
}

/// A SOCKS 5 proxy with a log-in that sends every target to `venue`. Notes the requests.
async fn socks_proxy(venue: String, asked: Arc<Mutex<Vec<Vec<u8>>>>) -> Server {
    Server::tcp(move |mut near, _| {
        let (venue, asked) = (venue.clone(), Arc::clone(&asked));
        async move {
            let mut bytes = [0; 4];
            near.read_exact(&mut bytes).await.unwrap();
            assert_eq!(bytes, [5, 2, 0, 2]);
            near.write_all(&[5, 2]).await.unwrap();
            let mut login = [0; 12];
            near.read_exact(&mut login).await.unwrap();
            assert_eq!(&login, b"\x01\x03ann\x06secret");
            near.write_all(&[1, 0]).await.unwrap();
            let mut request = vec![0; 512];
            let length = near.read(&mut request).await.unwrap();
            request.truncate(length);
            asked.lock().unwrap().push(request);
            let mut far = TcpStream::connect(venue).await.unwrap();
            // The bound address as a name.
            near.write_all(b"\x05\x00\x00\x03\x02me\x00\x01").await.unwrap();
            let _ = copy_bidirectional(&mut near, &mut far).await;
        }
    })
    .await
}

/// A frame of a websocket and an answer, both of `venue.invalid`, a name that only the proxy knows.
async fn reaches(options: SocketOptions, ws: &str, rest: &str) -> String {
    let (sockets, mut inputs) = start_with(&plan(vec![connection(ws.to_owned())]), options.clone(), 8);
    assert_eq!(until_frame(&mut inputs).await.data.as_ref(), b"frame");
    stop(sockets, &mut inputs).await;
    let client = http_client(&options).unwrap();
    let body = client.fetch(&Budgets::new(), &request(rest.to_owned())).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn sockets_are_tunnelled_and_plain_requests_forwarded() {
    let (venue, heads) = (venue().await, Arc::new(Mutex::new(Vec::new())));
    let proxy = http_proxy(venue.address.clone(), Arc::clone(&heads)).await;
    let rules = with_login(&format!("http://{}", proxy.address));
    let seen = reaches(behind(rules), "ws://venue.invalid:81/ws", "http://venue.invalid/a?b=1").await;
    assert_eq!(seen, "GET http://venue.invalid/a?b=1 HTTP/1.1");
    let heads = heads.lock().unwrap();
    let tunnel = "CONNECT venue.invalid:81 HTTP/1.1\r\nHost: venue.invalid:81\r\n";
    assert!(heads[0].starts_with(tunnel) && heads[1].contains("Proxy-Authorization: Basic "), "{heads:?}");
}

#[tokio::test]
async fn tls_is_tunnelled_and_the_proxy_sees_no_request() {
    let (pem, config) = authority();
    let acceptor = TlsAcceptor::from(config);
    let venue = Server::tcp(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            read_head(&mut stream).await;
            stream.write_all(&answer("200 OK", "", "private")).await.unwrap();
        }
    })
    .await;
    let heads = Arc::new(Mutex::new(Vec::new()));
    let proxy = http_proxy(venue.address.clone(), Arc::clone(&heads)).await;
    let (_dir, options) = trusting(&pem);
    let address = format!("http://ann:secret@{}", proxy.address);
    let value_of = |name: &str| (name == "HTTPS_PROXY").then_some(address.as_str());
    let variables = ProxyVariables::read(value_of, |_, what| panic!("{what}"));
    let options = SocketOptions { proxy: ProxyRules::Variables(Box::new(variables)), ..options };
    let client = http_client(&options).unwrap();
    let answered = client.fetch(&Budgets::new(), &request("https://localhost/a".to_owned())).await.unwrap();
    assert_eq!(answered.as_ref(), b"private");
    let heads = heads.lock().unwrap();
    assert!(heads.len() == 1 && heads[0].starts_with("CONNECT localhost:443 "), "{heads:?}");
}

#[tokio::test]
async fn a_proxy_may_speak_tls_itself() {
    let (pem, config) = authority();
    let acceptor = TlsAcceptor::from(config);
    let venue = venue().await;
    let address = venue.address.clone();
    let proxy = Server::tcp(move |stream, _| {
        let (acceptor, address) = (acceptor.clone(), address.clone());
        async move {
            let mut near = acceptor.accept(stream).await.unwrap();
            read_head(&mut near).await;
            let mut far = TcpStream::connect(address).await.unwrap();
            near.write_all(b"HTTP/1.0 200\r\n\r\n").await.unwrap();
            let _ = copy_bidirectional(&mut near, &mut far).await;
        }
    })
    .await;
    let (_dir, trusting) = trusting(&pem);
    let options = SocketOptions { proxy: rules(&format!("https://{}", proxy.address)), ..trusting };
    let connection = connection("ws://venue.invalid/ws".to_owned());
    let (sockets, mut inputs) = start_with(&plan(vec![connection]), options, 8);
    assert_eq!(until_frame(&mut inputs).await.data.as_ref(), b"frame");
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn socks_proxies_get_the_name_or_the_address() {
    let (venue, asked) = (venue().await, Arc::new(Mutex::new(Vec::new())));
    let proxy = socks_proxy(venue.address.clone(), Arc::clone(&asked)).await;
    let named = with_login(&format!("socks5h://{}", proxy.address));
    let seen = reaches(behind(named), "ws://venue.invalid/ws", "http://venue.invalid/a").await;
    assert_eq!(seen, "GET /a HTTP/1.1", "nobody forwards");
    let resolved = with_login(&format!("socks5://{}", proxy.address));
    reaches(behind(resolved), "ws://127.0.0.2:81/ws", "http://[::1]:82/a").await;
    let asked = asked.lock().unwrap();
    let name = b"\x05\x01\x00\x03\x0dvenue.invalid\x00\x50";
    let v6 = [&[5, 1, 0, 4][..], &[0; 15], &[1, 0, 82]].concat();
    let wanted = [name.to_vec(), name.to_vec(), b"\x05\x01\x00\x01\x7f\x00\x00\x02\x00\x51".to_vec(), v6];
    assert_eq!(*asked, wanted);
}

/// Failures of a socket and of a request through a proxy that answers with `bytes`.
/// After the bytes it closes the connection, or says no more until the other side does.
async fn failures(
    scheme: &str,
    login: bool,
    bytes: &'static [u8],
    hangs: bool,
    proxy_timeout: Duration,
) -> [String; 2] {
    let proxy = Server::tcp(move |mut stream, _| async move {
        let mut asked = [0; 512];
        let _ = stream.read(&mut asked).await;
        let _ = stream.write_all(bytes).await;
        if hangs {
            while stream.read(&mut asked).await.is_ok_and(|length| length > 0) {}
        }
    })
    .await;
    let address = format!("{scheme}://{}", proxy.address);
    let rules = if login { with_login(&address) } else { rules(&address) };
    let shown = if login { address.replace("://", "://***@") } else { address };
    let options = SocketOptions { proxy_timeout, ..behind(rules) };
    let connection = connection("wss://venue.invalid/ws".to_owned());
    let (sockets, mut inputs) = start_with(&plan(vec![connection]), options.clone(), 8);
    eventually("a failure", || sockets.counters()[SocketCounter::ConnectFailedProxy] > 0).await;
    let socket = sockets.status().remove(0).last_error.unwrap();
    stop(sockets, &mut inputs).await;
    let request = request("https://venue.invalid/a".to_owned());
    let failure = http_client(&options).unwrap().fetch(&Budgets::new(), &request).await.unwrap_err();
    assert_eq!(failure.label(), "proxy", "{failure}");
    [socket, failure.to_string()].map(|text| {
        let named = format!("cannot connect to venue.invalid:443 through proxy {shown}: ");
        text.strip_prefix(&named).unwrap_or_else(|| panic!("{text} does not begin with {named}")).to_owned()
    })
}

#[tokio::test]
async fn each_refusal_of_a_proxy_is_reported_with_proxy_and_target() {
    let cases: [(&str, bool, &[u8], &str); 17] = [
        ("http", false, b"HTTP/1.1 407 Log in\r\n\r\n", "status 407: the proxy wants a user and password"),
        ("http", true, b"HTTP/1.1 407 Log in\r\n\r\n", "status 407: the proxy refuses the user or password"),
        (
            "http",
            true,
            b"HTTP/1.1 407 x\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate: NTLM\r\n\r\n",
            "a log-in by Negotiate, NTLM; supported is Basic",
        ),
        ("http", false, b"HTTP/1.1 403 Filtered\r\n\r\n<html>", "refused CONNECT: status 403 Filtered"),
        ("http", false, b"HTTP/1.0 503\r\n\r\n", "refused CONNECT: status 503"),
        ("http", false, b"", "closed the connection without an answer"),
        ("http", false, b"HTTP/1.1 200 OK\r\nx: ", "closed the connection inside its answer"),
        ("http", false, b"SSH-2.0-OpenSSH_9\r\n", "the proxy's answer is no HTTP: \"SSH-2.0-OpenSSH_9\""),
        ("http", false, b"HTTP/1.1 twohundred\r\n\r\n", "is no HTTP"),
        ("http", false, b"HTTP/1.1 200 OK\r\n\r\nhello", "sent data before the target was asked"),
        ("socks5h", false, b"\x05\xff", "the proxy wants a user and password"),
        ("socks5h", true, b"\x05\xff", "takes no log-in by user and password"),
        ("socks5h", true, b"\x05\x02\x01\x01", "the proxy refuses the user or password"),
        ("socks5h", false, b"\x05\x00\x05\x02\x00\x01", "code 2, not allowed by its rules"),
        ("socks5h", false, b"\x05\x00\x05\x05\x00\x01", "code 5, connection refused by the target"),
        ("socks5h", false, b"HTTP/1.1 400 Bad Request\r\n", "is it an HTTP proxy?"),
        ("socks5h", false, b"\x05", "closed the connection inside the SOCKS handshake"),
    ];
    for (scheme, login, bytes, wanted) in cases {
        for text in failures(scheme, login, bytes, false, LONG).await {
            assert!(text.contains(wanted), "{text:?} does not contain {wanted:?}");
        }
    }
}

#[tokio::test]
async fn a_proxy_without_an_answer_is_given_up_and_named() {
    for scheme in ["http", "socks5h"] {
        // It must pass, and the connect before it must not take all of it.
        for text in failures(scheme, false, b"", true, Duration::from_secs(1)).await {
            assert_eq!(text, "the proxy gave no answer within 1000 ms");
        }
    }
    let mut endless = vec![b'x'; 64 << 10];
    endless.splice(..15, *b"HTTP/1.1 200 x\n");
    let head: &'static [u8] = endless.leak();
    for text in failures("http", false, head, true, LONG).await {
        assert_eq!(text, "the head of the proxy's answer is larger than 16384 bytes");
    }
    let (_bound, closed) = refusing();
    let client = http_client(&behind(rules(&format!("socks5://{closed}")))).unwrap();
    let failure =
        client.fetch(&Budgets::new(), &request("https://127.0.0.1:9/".to_owned())).await.unwrap_err();
    let text = failure.to_string();
    assert!(text.contains(&format!("cannot reach the proxy: {closed}: Connection refused")), "{text}");
}

#[tokio::test]
async fn a_refused_login_of_a_forwarded_request_is_no_answer_of_the_venue() {
    let proxy = http_proxy("127.0.0.1:9".to_owned(), Arc::default()).await;
    let options = SocketOptions { request_tries: 4, ..behind(rules(&format!("http://{}", proxy.address))) };
    let client = http_client(&options).unwrap();
    let failure =
        client.fetch(&Budgets::new(), &request("http://venue.invalid/".to_owned())).await.unwrap_err();
    assert_eq!((failure.label(), proxy.accepted()), ("proxy", 1), "{failure}");
    assert!(failure.to_string().contains("status 407"), "{failure}");
}

#[tokio::test]
async fn connections_start_from_the_local_address() {
    let peers = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&peers);
    let server = Server::tcp(move |mut stream, _| {
        keep.lock().unwrap().push(stream.peer_addr().unwrap().ip().to_string());
        async move {
            read_head(&mut stream).await;
            stream.write_all(&answer("200 OK", "", "")).await.unwrap();
        }
    })
    .await;
    let fetch = async |local: &str, url: String| {
        let options =
            SocketOptions { local_address: Some(local.parse().unwrap()), request_tries: 1, ..quick() };
        http_client(&options).unwrap().fetch(&Budgets::new(), &request(url)).await
    };
    fetch("127.0.0.5", server.http("/")).await.unwrap();
    assert_eq!(*peers.lock().unwrap(), ["127.0.0.5"]);
    for (local, wanted) in [
        ("::1", "no IPv6 address, as the local address ::1 needs"),
        ("192.0.2.1", "local address 192.0.2.1: "),
    ] {
        let failure = fetch(local, server.http("/")).await.unwrap_err();
        assert!(failure.to_string().contains(wanted), "{failure}");
    }
}

#[tokio::test]
async fn a_request_that_ends_while_it_connects_names_the_step() {
    let proxy = Server::tcp(|mut stream, _| async move {
        let mut asked = [0; 512];
        while stream.read(&mut asked).await.is_ok_and(|length| length > 0) {}
    })
    .await;
    let client = http_client(&behind(rules(&format!("socks5h://{}", proxy.address)))).unwrap();
    let mut late = request("https://venue.invalid/".to_owned());
    late.timeout_ms = 1_000;
    let failure = client.fetch(&Budgets::new(), &late).await.unwrap_err();
    let wanted = format!(
        "cannot connect to venue.invalid:443 through proxy socks5h://{}: not done within 1000 ms",
        proxy.address
    );
    assert_eq!(failure.to_string(), wanted);
}

#[tokio::test]
async fn the_most_specific_failure_of_several_tries_is_reported() {
    let server = Server::tcp(|mut stream, number| async move {
        read_head(&mut stream).await;
        if number == 1 {
            stream.write_all(&answer("503 Down", "", "maintenance until noon")).await.unwrap();
        }
    })
    .await;
    let failure =
        http_client(&quick()).unwrap().fetch(&Budgets::new(), &request(server.http("/"))).await.unwrap_err();
    assert_eq!(server.accepted(), 4);
    assert!(matches!(&failure, RequestFailure::Status { status: 503, .. }), "{failure}");
}

#[tokio::test]
async fn odd_targets_give_errors_that_name_them() {
    let proxy = Server::tcp(|mut stream, _| async move {
        let mut greeting = [0; 3];
        stream.read_exact(&mut greeting).await.unwrap();
        stream.write_all(&[5, 0]).await.unwrap();
        let mut request = [0; 512];
        if stream.read(&mut request).await.is_ok_and(|length| length > 0) {
            stream.write_all(&[5, 4, 0, 1]).await.unwrap();
        }
    })
    .await;
    let client = http_client(&behind(rules(&format!("socks5h://{}", proxy.address)))).unwrap();
    let long = format!("http://{}/", vec!["a".repeat(60); 5].join("."));
    for (url, wanted) in [
        ("http://a..b/", "host unreachable"),
        ("http://xn--80ak6aa92e.example:0/", "xn--80ak6aa92e.example:0 through"),
        ("https://\u{430}\u{44f}.example/%zz?a={b}|c^", "xn--80a6d.example:443 through"),
        ("http://[::ffff:1.2.3.4]/", "[::ffff:102:304]:80 through"),
        ("http://h:65536/", "invalid port number"),
        ("http://[fe80::1%25eth0]/", "invalid IPv6 address"),
        (long.as_str(), "longer than SOCKS allows"),
    ] {
        let failure = client.fetch(&Budgets::new(), &request(url.to_owned())).await.unwrap_err();
        assert!(failure.to_string().contains(wanted), "{url}: {failure}");
    }
}
