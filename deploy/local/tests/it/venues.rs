//! Proxies of the environment between the probes and the venues.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::Command;

use marketprism_local::Client;

const VENUE: &str = "http://venue.invalid/";

/// Runs in a process of its own, whose environment names a proxy.
#[tokio::test]
#[ignore = "started by the test below"]
async fn asks_a_venue_that_only_the_proxy_knows() {
    assert_eq!(Client::for_venues().unwrap().get(VENUE).await.unwrap().status, 204);
    assert!(Client::new().unwrap().get(VENUE).await.is_err(), "a local part was asked through the proxy");
}

#[test]
fn venues_are_probed_through_the_proxy_of_the_environment() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = proxy.local_addr().unwrap().to_string();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = proxy.accept().unwrap();
        let mut first = String::new();
        BufReader::new(&stream).read_line(&mut first).unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        first
    });
    let test = "venues::asks_a_venue_that_only_the_proxy_knows";
    let asked = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored"])
        .env("http_proxy", &address)
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stdout));
    assert_eq!(serving.join().unwrap(), format!("GET {VENUE} HTTP/1.1\r\n"));
}
