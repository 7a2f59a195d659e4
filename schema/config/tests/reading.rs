//! Configuration is read whole: every error in one message, each with path, value and what was allowed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::PathBuf;

use marketprism_config::{ConfigError, Document, Nats, NatsAuthentication, Problem};

fn document(text: &str, variables: &[(&str, &str)]) -> Document {
    let variables: Vec<(String, String)> =
        variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Document::parse("test.toml", text, PathBuf::new(), variables.into_iter()).unwrap()
}

fn problems(document: Document) -> Vec<Problem> {
    match document.finish() {
        Ok(()) => Vec::new(),
        Err(ConfigError::Invalid { problems, .. }) => problems,
        Err(other) => panic!("{other}"),
    }
}

/// Goal: one run of a reader names every unknown key, wrong type, value out of range and missing file. Method: a file with one of
/// each, and the whole message.
#[test]
fn every_error_is_named_in_one_message() {
    let document = document(
        "[http]\nlisten = 8\nlissten = \"x\"\nlimit = 7\nca = \"no/such/file.pem\"\n[[feed]]\ndepth = \"deep\"\n",
        &[("MARKETPRISM_HTTP__SPEED", "1"), ("MARKETPRISM_HTTP__LIMIT", "eleven")],
    );
    {
        let root = document.root();
        let http = root.section("http");
        assert_eq!(http.text("listen"), None);
        assert_eq!(http.integer_or("limit", 3, 1..=5), 3);
        assert_eq!(http.existing_file("ca"), None);
        let _ = http.required_text("name");
        for feed in root.sections("feed") {
            assert_eq!(feed.integer_or("depth", 400, 1..=5000), 400);
        }
    }
    let message = document.finish().unwrap_err().to_string();
    let expected = "configuration test.toml has 7 errors:
  http.listen: is of type integer: 8 (allowed: a text)
  MARKETPRISM_HTTP__LIMIT: is \"eleven\" (allowed: a whole number from 1 to 5)
  http.ca: \"no/such/file.pem\": No such file or directory (os error 2) (allowed: a readable file)
  http.name: is missing (allowed: a text)
  feed[0].depth: is of type string: \"deep\" (allowed: a whole number from 1 to 5000)
  http.lissten: is no known key (allowed: ca, limit, listen, name)
  MARKETPRISM_HTTP__SPEED: overrides \"http.speed\", which is no key of this configuration";
    assert_eq!(message, expected);
}

/// Goal: the environment overrides any value, with its type, also in a list of tables.
#[test]
fn the_environment_wins_over_the_file() {
    let document = document(
        "[a]\nn = 1\nb = false\nt = \"file\"\nl = [\"x\"]\n[[f]]\nn = 1\n",
        &[
            ("MARKETPRISM_A__N", "2"),
            ("MARKETPRISM_A__B", "true"),
            ("MARKETPRISM_A__T", "7"),
            ("MARKETPRISM_A__L", "p, q"),
            ("MARKETPRISM_F__0__N", "3"),
            ("MARKETPRISM_OTHER", "not an override: no double underscore"),
        ],
    );
    {
        let root = document.root();
        let a = root.section("a");
        assert_eq!(a.integer_or("n", 0, 0..=9), 2);
        assert!(a.boolean_or("b", false));
        assert_eq!(a.text("t").as_deref(), Some("7"));
        assert_eq!(a.texts("l"), Some(vec!["p".to_owned(), "q".to_owned()]));
        assert_eq!(root.sections("f")[0].integer_or("n", 0, 0..=9), 3);
    }
    assert_eq!(problems(document), Vec::new());
}

/// Goal: secrets come from files or the environment, never from the configuration, and never show.
#[test]
fn secrets_stay_out_of_configuration_and_output() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter2\n").unwrap();
    let text = format!("[nats]\nuser = \"u\"\npassword_file = {:?}\n", file.path());
    let good = document(&text, &[]);
    let nats = Nats::read(&good.root().section("nats"));
    assert!(
        matches!(&nats.authentication, NatsAuthentication::UserPassword(u, p) if u == "u" && p.reveal() == "hunter2")
    );
    assert!(!format!("{nats:?}").contains("hunter2"));

    let inline = document("[nats]\nuser = \"u\"\npassword = \"hunter2\"\n", &[]);
    let _ = Nats::read(&inline.root().section("nats"));
    let message = inline.finish().unwrap_err().to_string();
    assert!(message.contains("nats.password: is a secret") && !message.contains("hunter2"), "{message}");
}

/// Goal: the documented order of the broker's address holds, and an address's password does not show.
#[test]
fn the_broker_address_has_one_order() {
    let urls = |variables: &[(&str, &str)]| {
        let document = document("[nats]\nurls = [\"nats://file:1\"]\n", variables);
        let nats = Nats::read(&document.root().section("nats"));
        document.finish().unwrap();
        nats.urls.join(",")
    };
    assert_eq!(urls(&[]), "nats://file:1");
    assert_eq!(urls(&[("NATS_URL", "nats://b:2")]), "nats://b:2");
    assert_eq!(urls(&[("NATS_URL", "nats://b:2"), ("MARKETPRISM_NATS_URL", "nats://c:3")]), "nats://c:3");
    let masked = document("[nats]\nurls = [\"nats://u:hunter2@h:1\"]\n", &[]);
    assert_eq!(Nats::read(&masked.root().section("nats")).shown_urls(), "nats://u:***@h:1");
}
