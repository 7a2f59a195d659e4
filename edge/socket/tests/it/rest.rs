//! Reactions to a venue's answers.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use marketprism_adapter_host::contract::Method;
use marketprism_socket::{
    BudgetError, Budgets, RequestFailure, RestClient, SocketCounter, SocketOptions, http_client,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::plans::{charged_request, request};
use crate::venue::{Server, answer, most_within, quick, refusing};

const NOW: Duration = Duration::ZERO;

fn client() -> RestClient {
    http_client(&quick()).unwrap()
}

#[tokio::test]
async fn a_request_arrives_as_the_plan_says() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&heads);
    let server = Server::rest(move |_, head| {
        keep.lock().unwrap().push(head.to_owned());
        (NOW, answer("200 OK", "", "[1]"))
    })
    .await;
    let mut post = request(server.http("/info?limit=5"));
    post.method = Method::Post;
    post.body = Some(b"{}".to_vec());
    post.headers = vec![("X-Time-Unit".to_owned(), "MICROSECOND".to_owned())];
    assert_eq!(client().fetch(&Budgets::new(), &post).await.unwrap().as_ref(), b"[1]");
    let head = heads.lock().unwrap().concat();
    assert!(head.starts_with("POST /info?limit=5 HTTP/1.1\r\n"), "{head}");
    for wanted in ["X-Time-Unit: MICROSECOND\r\n", "Content-Length: 2\r\n", "User-Agent: marketprism/"] {
        assert!(head.contains(wanted), "{wanted} is missing in {head}");
    }
}

#[tokio::test]
async fn a_429_blocks_the_whole_budget() {
    let start = Instant::now();
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&arrivals);
    let server = Server::rest(move |number, _| {
        keep.lock().unwrap().push(start.elapsed());
        let refusal = answer("429 Too Many Requests", "retry-after: 2\r\n", "slow down");
        (NOW, if number == 1 { refusal } else { answer("200 OK", "", "ok") })
    })
    .await;
    let (client, budgets) = (client(), Budgets::new());
    budgets.define("weight", 100, Duration::from_secs(60));
    let first = charged_request(server.http("/a"), "weight", 1);
    let mut tasks = JoinSet::new();
    let fetch_in = |tasks: &mut JoinSet<_>| {
        let (client, budgets, request) = (client.clone(), budgets.clone(), first.clone());
        tasks.spawn(async move { client.fetch(&budgets, &request).await.unwrap() });
    };
    fetch_in(&mut tasks);
    crate::venue::eventually("the refusal", || client.counters()[SocketCounter::RateLimited] == 1).await;
    for _ in 0..4 {
        fetch_in(&mut tasks);
    }
    while let Some(done) = tasks.join_next().await {
        assert_eq!(done.unwrap().as_ref(), b"ok");
    }
    let arrivals = arrivals.lock().unwrap();
    assert_eq!(arrivals.len(), 6);
    // The refusal was known after its request had arrived, and from then on two seconds must pass. The timer counts milliseconds.
    let blocked_until = arrivals[0] + Duration::from_millis(1_995);
    let early = arrivals.iter().skip(1).filter(|at| **at < blocked_until).count();
    assert_eq!(early, 0, "{arrivals:?}, blocked until {blocked_until:?}");
}

#[tokio::test]
async fn a_redirection_is_not_followed_and_names_its_target_without_secrets() {
    let server = Server::rest(|_, _| {
        let target = "location: https://ann:secret@new.example/v6?limit=5\r\n";
        (NOW, answer("301 Moved Permanently", target, "moved"))
    })
    .await;
    let refused = client().fetch(&Budgets::new(), &request(server.http("/a"))).await.unwrap_err().to_string();
    assert!(refused.starts_with("status 301: redirected to https://"), "{refused}");
    assert!(refused.contains("new.example/v6?limit=5: configure that address; moved"), "{refused}");
    assert!(!refused.contains("secret"), "{refused}");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_418_blocks_the_group_for_two_minutes() {
    let server = Server::rest(|_, _| (NOW, answer("418 I'm a teapot", "", "banned"))).await;
    let mut options = quick();
    options.budget_wait_max = Duration::from_secs(1);
    let (client, budgets) = (http_client(&options).unwrap(), Budgets::new());
    let first = charged_request(server.http("/a"), "weight", 1);
    for _ in 0..2 {
        let Err(RequestFailure::Budget(BudgetError::Blocked { budget, remaining })) =
            client.fetch(&budgets, &first).await
        else {
            panic!("not blocked")
        };
        assert_eq!(budget, "weight");
        assert!(
            remaining > Duration::from_secs(115) && remaining <= Duration::from_secs(120),
            "{remaining:?}"
        );
    }
    assert_eq!(server.accepted(), 1);
    assert_eq!(client.counters()[SocketCounter::Banned], 1);
}

#[tokio::test]
async fn a_503_that_names_a_time_blocks_the_whole_budget() {
    for (header, least) in [("retry-after: 1\r\n", 995), ("", 0)] {
        let start = Instant::now();
        // Of the refused request and of the other one.
        let arrivals = Arc::new(Mutex::new([Duration::ZERO; 2]));
        let keep = Arc::clone(&arrivals);
        let server = Server::rest(move |number, head| {
            if number == 1 || head.contains("/other") {
                keep.lock().unwrap()[usize::from(number > 1)] = start.elapsed();
            }
            let status = if number == 1 { "503 Service Unavailable" } else { "200 OK" };
            (NOW, answer(status, if number == 1 { header } else { "" }, "maintenance"))
        })
        .await;
        let (client, budgets) = (client(), Budgets::new());
        budgets.define("weight", 100, Duration::from_secs(60));
        let with_charge = |path: &str| charged_request(server.http(path), "weight", 1);
        let first = with_charge("/down");
        let (mine, shared) = (client.clone(), budgets.clone());
        let refused = tokio::spawn(async move { mine.fetch(&shared, &first).await });
        crate::venue::eventually("the refusal", || client.counters()[SocketCounter::VenueErrors] == 1).await;
        client.fetch(&budgets, &with_charge("/other")).await.unwrap();
        let [refused_at, arrived] = *arrivals.lock().unwrap();
        assert!(
            arrived >= refused_at + Duration::from_millis(least),
            "{arrived:?}, refused at {refused_at:?}"
        );
        // Without the named time it would be two minutes.
        assert!(start.elapsed() < Duration::from_secs(60));
        refused.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_block_holds_for_requests_without_budget() {
    let server = Server::rest(|_, _| (NOW, answer("418 I'm a teapot", "retry-after: 60\r\n", ""))).await;
    let mut options = quick();
    options.budget_wait_max = Duration::from_secs(1);
    let (client, budgets) = (http_client(&options).unwrap(), Budgets::new());
    for path in ["/a", "/b"] {
        let failure = client.fetch(&budgets, &request(server.http(path))).await.unwrap_err();
        assert_eq!(failure.label(), "budget");
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn only_passing_failures_are_tried_again() {
    for (status, requests, label) in [
        ("503 Service Unavailable", 4, "venue_error"),
        ("500 Internal Server Error", 4, "venue_error"),
        ("400 Bad Request", 1, "refused"),
        ("403 Forbidden", 1, "forbidden"),
        ("302 Found", 1, "refused"),
    ] {
        let server = Server::rest(move |_, _| (NOW, answer(status, "location: /elsewhere\r\n", "no"))).await;
        let failure = client().fetch(&Budgets::new(), &request(server.http("/a"))).await.unwrap_err();
        assert_eq!((failure.label(), server.accepted()), (label, requests), "{status}: {failure}");
        assert!(failure.to_string().contains(" no"), "{failure}");
    }
}

#[tokio::test]
async fn large_answers_are_refused() {
    let mut options = quick();
    options.body_max_bytes = 1000;
    let client = http_client(&options).unwrap();
    let long = "x".repeat(1001);
    for bytes in [
        answer("200 OK", "", &long),
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{long}").into_bytes(),
    ] {
        let server = Server::rest(move |_, _| (NOW, bytes.clone())).await;
        let failure = client.fetch(&Budgets::new(), &request(server.http("/a"))).await.unwrap_err();
        assert_eq!(failure, RequestFailure::TooLarge { limit: 1000 });
        assert_eq!(server.accepted(), 1);
    }
    assert_eq!(client.counters()[SocketCounter::DiscardedAnswerTooLarge], 2);
}

#[tokio::test]
async fn packed_answers_are_unpacked_within_the_limit() {
    let packed = |text: &[u8]| {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(text).unwrap();
        packer.finish().unwrap()
    };
    let limit = quick().body_max_bytes;
    let whole = packed(b"[1]");
    for (encoding, body, wanted) in [
        ("gzip", whole.clone(), Ok("[1]")),
        ("GZIP", whole.clone(), Ok("[1]")),
        ("identity", b"[2]".to_vec(), Ok("[2]")),
        ("gzip", whole[..whole.len() - 9].to_vec(), Err("connection lost: ")),
        ("gzip", b"[3]".to_vec(), Err("connection lost: ")),
        ("br", b"[4]".to_vec(), Err("connection lost: content-encoding \"br\", asked for: gzip")),
        ("gzip", packed(&vec![0; limit + 1]), Err("response is larger than")),
    ] {
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {length}\r\n\r\n");
        let bytes = [head.as_bytes(), &body].concat();
        let server = Server::rest(move |_, head| {
            assert!(head.contains("Accept-Encoding: gzip\r\n"), "{head}");
            (NOW, bytes.clone())
        })
        .await;
        let options = SocketOptions { request_tries: 1, ..quick() };
        let client = http_client(&options).unwrap();
        match (client.fetch(&Budgets::new(), &request(server.http("/a"))).await, wanted) {
            (Ok(body), Ok(wanted)) => assert_eq!(body.as_ref(), wanted.as_bytes()),
            (Err(failure), Err(wanted)) => assert!(failure.to_string().starts_with(wanted), "{failure}"),
            (got, wanted) => panic!("{encoding}: {got:?}, wanted {wanted:?}"),
        }
    }
}

#[tokio::test]
async fn a_user_in_an_address_becomes_a_header() {
    let server = Server::rest(|_, head| {
        let login = head.contains("Authorization: Basic YW5uOnBAc3M=\r\n");
        assert!(login && !head.contains('@'), "{head}");
        (NOW, answer("200 OK", "", ""))
    })
    .await;
    let url = server.http("/a").replace("://", "://ann:p%40ss@");
    client().fetch(&Budgets::new(), &request(url)).await.unwrap();
}

#[tokio::test]
async fn slow_and_broken_answers_are_distinguished() {
    let mut options = quick();
    options.request_tries = 1;
    let client = http_client(&options).unwrap();
    let slow = Server::rest(|_, _| (Duration::from_secs(600), Vec::new())).await;
    let mut late = request(slow.http("/a"));
    // The connect must not take all of it.
    late.timeout_ms = 1_000;
    let failure = client.fetch(&Budgets::new(), &late).await.unwrap_err();
    assert_eq!(failure, RequestFailure::Timeout(Duration::from_secs(1)));
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n123".to_vec();
    let cut = Server::rest(move |_, _| (NOW, half.clone())).await;
    assert_eq!(
        client.fetch(&Budgets::new(), &request(cut.http("/a"))).await.unwrap_err().label(),
        "transport"
    );
    let (_bound, closed) = refusing();
    let failure = client.fetch(&Budgets::new(), &request(format!("http://{closed}/a"))).await.unwrap_err();
    assert_eq!(failure.label(), "connect", "{failure}");
}

#[tokio::test]
async fn the_budget_is_exact_at_the_venue() {
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&arrivals);
    let server = Server::rest(move |number, _| {
        keep.lock().unwrap().push(Instant::now());
        (Duration::from_millis(number as u64 % 7), answer("200 OK", "", "ok"))
    })
    .await;
    let client = http_client(&SocketOptions::default()).unwrap();
    let budgets = Budgets::new();
    let window = Duration::from_millis(300);
    budgets.define("weight", 10, window);
    let mut tasks = JoinSet::new();
    for _ in 0..40 {
        let request = charged_request(server.http("/a"), "weight", 2);
        let (client, budgets) = (client.clone(), budgets.clone());
        tasks.spawn(async move { client.fetch(&budgets, &request).await.unwrap() });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let arrivals = arrivals.lock().unwrap();
    assert_eq!(arrivals.len(), 40);
    let most = most_within(&arrivals, window);
    assert!(most <= 5, "{most} requests of weight 2 in a window of 10");
}
