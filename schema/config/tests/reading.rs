//! A configuration is read whole: every error in one message, each with path, value and the values allowed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::PathBuf;

use marketprism_config::{Document, MaskedUrl, Nats, Secret, environment, key_reference};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

fn document(text: &str, variables: &[(&str, &str)]) -> Document {
    let variables: Vec<(String, String)> =
        variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Document::parse("test.toml", text, PathBuf::new(), variables.into_iter()).unwrap()
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
struct Sample {
    http: Http,
    #[schemars(extend("x-required" = true))]
    feed: Vec<Feed>,
    nats: Nats,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Http {
    listen: String,
    /// Most of them.
    #[schemars(range(min = 1, max = 5))]
    limit: u32,
    #[schemars(extend("x-file" = true))]
    ca: Option<PathBuf>,
    #[schemars(extend("x-required" = true))]
    name: String,
    is_on: bool,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: "here".into(), limit: 3, ca: None, name: String::new(), is_on: false }
    }
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Feed {
    #[schemars(range(min = 1, max = 5_000))]
    depth: u32,
    form: Form,
    #[schemars(extend("uniqueItems" = true))]
    symbols: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Form {
    #[default]
    Json,
    Protobuf,
}

#[test]
fn every_error_is_named_in_one_message_and_wrong_values_read_as_defaults() {
    let document = document(
        "[http]\nlisten = 8\nlissten = \"x\"\nlimit = 7\nca = \"no/such/file.pem\"\n[[feed]]\ndepth = \"deep\"\nform = \"xml\"\n\
         symbols = [\"A\", \"A\"]\n[other]\n",
        &[("MARKETPRISM_HTTP__SPEED", "1"), ("MARKETPRISM_HTTP__LIMIT", "eleven")],
    );
    let (sample, problems) = document.read::<Sample>();
    assert_eq!((sample.http.listen.as_str(), sample.http.limit, sample.feed[0].depth), ("here", 3, 0));
    let message = problems.finish().unwrap_err().to_string();
    let mut lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines.remove(0), "configuration test.toml has 10 errors:");
    for expected in [
        "http.listen: is of type integer: 8 (allowed: a text)",
        "MARKETPRISM_HTTP__LIMIT: is \"eleven\" (allowed: a whole number from 1 to 5)",
        "http.ca: \"no/such/file.pem\": No such file or directory (os error 2) (allowed: a readable file)",
        "http.name: is missing (allowed: a text)",
        "feed[0].depth: is of type string: \"deep\" (allowed: a whole number from 1 to 5000)",
        "feed[0].form: is \"xml\" (allowed: json, protobuf)",
        "feed[0].symbols: names \"A\" twice (allowed: each once)",
        "unknown key `http.lissten` (did you mean `listen`?)",
        "unknown key `other` (allowed: feed, http, nats)",
        "MARKETPRISM_HTTP__SPEED: overrides \"http.speed\", which is no key of this configuration",
    ] {
        assert!(lines.iter().any(|line| line.trim() == expected), "{expected}\n{message}");
    }
}

#[test]
fn the_environment_wins_over_the_file_with_the_key_s_type_also_in_a_list_of_tables() {
    let document = document(
        "[http]\nname = \"file\"\nlimit = 1\n[[feed]]\ndepth = 1\nsymbols = [\"X\"]\n",
        &[
            ("MARKETPRISM_HTTP__LIMIT", "2"),
            ("MARKETPRISM_HTTP__IS_ON", "true"),
            ("MARKETPRISM_HTTP__NAME", "7"),
            ("MARKETPRISM_FEED__0__SYMBOLS", "P, Q"),
            ("MARKETPRISM_FEED__0__FORM", "protobuf"),
            ("MARKETPRISM_OTHER", "not an override: no double underscore"),
        ],
    );
    let (sample, problems) = document.read::<Sample>();
    problems.finish().unwrap();
    assert_eq!((sample.http.limit, sample.http.is_on, sample.http.name.as_str()), (2, true, "7"));
    assert_eq!((&sample.feed[0].form, sample.feed[0].depth), (&Form::Protobuf, 1));
    assert_eq!(sample.feed[0].symbols, ["P", "Q"]);
}

#[test]
fn the_key_reference_has_each_key_with_default_range_and_meaning() {
    let text = key_reference::<Sample>();
    for row in [
        "| `http.limit` | 3 | a whole number from 1 to 5 | Most of them. |",
        "| `http.name` | required | a text |  |",
        "| `[[feed]] form` | `json` | json, protobuf |  |",
        "| `nats.password_file` | none | a readable file | Password of the user. |",
    ] {
        assert!(text.contains(row), "{row}\n{text}");
    }
}

fn nats(text: &str, variables: &[(&str, &str)]) -> Result<Nats, String> {
    let text = format!("{text}\n[http]\nname = \"x\"\n[[feed]]\ndepth = 1\n");
    let document = document(&text, variables);
    let (Sample { mut nats, .. }, mut problems) = document.read();
    nats.check(&mut problems);
    problems.finish().map(|()| nats).map_err(|error| error.to_string())
}

#[test]
fn secrets_come_from_files_or_the_environment_and_never_show() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter2\n").unwrap();
    let good = nats(&format!("[nats]\nuser = \"u\"\npassword_file = {:?}\n", file.path()), &[]).unwrap();
    assert_eq!(good.password.as_ref().map(Secret::reveal), Some("hunter2"));
    assert!(!format!("{good:?}").contains("hunter2"));
    // A Secret of Kubernetes that was made with `echo` ends with a line.
    for value in ["hunter2", "hunter2\n", "hunter2\r\n"] {
        let token = nats("", &[("MARKETPRISM_NATS__TOKEN", value)]).unwrap();
        assert_eq!(token.token.as_ref().map(Secret::reveal), Some("hunter2"));
    }
    let message = nats("[nats]\nuser = \"u\"\npassword = \"hunter2\"\n", &[]).unwrap_err();
    assert!(message.contains("nats.password: is a secret") && !message.contains("hunter2"), "{message}");
}

/// Compose files pass variables on that nobody set.
#[test]
fn an_empty_variable_replaces_no_number_flag_file_or_secret() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter2").unwrap();
    let text = format!(
        "[http]\nname = \"x\"\nlimit = 5\nis_on = true\nca = {0:?}\nlisten = \"there\"\n[[feed]]\ndepth = 1\nsymbols = [\"A\"]\n\
         [nats]\nuser = \"u\"\npassword_file = {0:?}\n",
        file.path()
    );
    let empty = [
        "HTTP__LIMIT",
        "HTTP__IS_ON",
        "HTTP__CA",
        "HTTP__LISTEN",
        "FEED__0__SYMBOLS",
        "NATS__PASSWORD",
        "NATS__TOKEN",
    ];
    let names: Vec<String> = empty.iter().map(|name| format!("MARKETPRISM_{name}")).collect();
    let variables: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let document = document(&text, &variables);
    let (Sample { http, feed, nats }, problems) = document.read();
    problems.finish().unwrap();
    assert_eq!((http.limit, http.is_on, http.ca.as_deref()), (5, true, Some(file.path())));
    assert_eq!((nats.password.as_ref().map(Secret::reveal), nats.token), (Some("hunter2"), None));
    assert_eq!((http.listen.as_str(), feed[0].symbols.len()), ("", 0), "a text and a list can be taken away");
}

#[test]
fn an_empty_variable_hides_no_variable_of_the_earlier_system_and_is_the_place_of_no_error() {
    let number = |limit: &str| {
        let document = document("", &[("MARKETPRISM_HTTP__LIMIT", limit), ("COLLECTOR_MEMORY_MB", "7")]);
        let (_, mut problems) = document.read::<Sample>();
        problems.predecessor_number("COLLECTOR_MEMORY_MB", "http.limit", 0..=9)
    };
    assert_eq!([number(""), number("5")], [Some(7), None]);
    let wrong = document("[http]\nlimit = 999\n", &[("MARKETPRISM_HTTP__LIMIT", "")]);
    let error = wrong.read::<Sample>().1.finish().unwrap_err().to_string();
    assert!(error.contains("http.limit: is 999") && !error.contains("HTTP__LIMIT"), "{error}");
}

#[test]
fn the_broker_address_has_one_order_and_its_password_does_not_show() {
    let urls = |variables: &[(&str, &str)]| {
        nats("[nats]\nurls = [\"nats://file:1\"]\n", variables).unwrap().addresses().join(",")
    };
    assert_eq!(urls(&[]), "nats://file:1");
    assert_eq!(urls(&[("NATS_URL", "nats://b:2")]), "nats://b:2");
    assert_eq!(urls(&[("NATS_URL", "nats://b:2"), ("MARKETPRISM_NATS_URL", "nats://c:3")]), "nats://c:3");
    let masked = nats("[nats]\nurls = [\"nats://u:hunter2@h:1\"]\n", &[]).unwrap();
    assert_eq!((masked.shown_urls().as_str(), masked.user.as_deref()), ("nats://h:1", Some("u")));
    assert_eq!(masked.password.as_ref().map(Secret::reveal), Some("hunter2"));
    let token = nats("[nats]\nurls = [\"nats://hunter2@a:1\", \"nats://hunter2@b:1\"]\n", &[]).unwrap();
    assert_eq!(token.token.as_ref().map(Secret::reveal), Some("hunter2"));
    for (text, what) in [
        ("urls = [\"nats://u:hunter2@a:1\", \"nats://u:hunter3@b:1\"]", "several users or passwords"),
        ("urls = [\"nats://u:hunter2@a:1\"]\nnkey_file = \"/dev/null\"", "regular file"),
    ] {
        let message = nats(&format!("[nats]\n{text}\n"), &[]).unwrap_err();
        assert!(message.contains(what) && !message.contains("hunter"), "{message}");
    }
    let variable = [("MARKETPRISM_NATS__TOKEN", "hunter2")];
    let both = nats("[nats]\nurls = [\"nats://u:hunter2@a:1\"]\n", &variable).unwrap_err();
    assert!(both.contains("nats.urls: holds a user or token beside"), "{both}");
    assert!(!format!("{masked:?}{}", serde_json::to_string(&masked).unwrap()).contains("hunter2"));
}

#[test]
fn no_error_of_a_configuration_shows_a_secret() {
    for text in [
        "[nats]\nurls = [\"ftp://u:hunter2@h:1\"]\n",
        "[nats]\nurls = [\"u:hunter2@h:port\"]\n",
        "[nats]\nurls = \"nats://u:hunter2@h:1\"\n",
        "[nats]\nurls = [7, \"nats://u:hunter2@h:1\"]\n",
        "[nats]\nuser = \"u\"\npassword = \"hunter2\"\n",
        "[nats]\ntoken = [\"hunter2\"]\n",
    ] {
        let message = nats(text, &[]).unwrap_err();
        assert!(message.contains("nats.") && !message.contains("hunter2"), "{message}");
    }
    let message = nats("", &[("NATS_URL", "ftp://u:hunter2@h:1")]).unwrap_err();
    assert!(message.contains("NATS_URL: ") && !message.contains("hunter2"), "{message}");
    let broken = "[nats]\n# \u{e4}\npassword = \"hunter2\n";
    let error = Document::parse("test.toml", broken, PathBuf::new(), std::iter::empty()).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("line 3, column 20") && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_mistake_that_two_rules_meet_is_told_once() {
    let document = document("", &[]);
    let (_, mut problems) = document.read::<Sample>();
    problems.report("nats.user", "is odd", "another");
    problems.report("nats.user", "is odd", "another");
    assert_eq!(problems.finish().unwrap_err().to_string().matches("is odd").count(), 1);
}

#[test]
fn a_pipe_or_device_is_refused_wherever_a_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let refusal = "is a pipe or device, allowed is a regular file";
    for key in ["ca_file", "creds_file", "token_file"] {
        let message = nats(&format!("[nats]\n{key} = {pipe:?}\n"), &[]).unwrap_err();
        assert_eq!(message.matches(refusal).count(), 1, "{message}");
    }
    for path in [pipe.as_path(), std::path::Path::new("/dev/zero")] {
        let message = Document::load(path).unwrap_err().to_string();
        assert!(message.contains(refusal), "{message}");
    }
}

#[test]
fn a_variable_that_is_not_utf8_is_an_error_only_where_it_is_ours() {
    let raw = |bytes: &[u8]| std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec());
    let read = |name: &[u8], value: &[u8]| {
        environment([(raw(name), raw(value)), ("PATH".into(), "/bin".into())].into_iter())
    };
    for (name, value) in [(b"FOO".as_slice(), b"\xa3".as_slice()), (b"F\xa3O", b"x")] {
        assert_eq!(read(name, value).unwrap().into_keys().collect::<Vec<_>>(), ["PATH"]);
    }
    for name in ["MARKETPRISM_NATS__URLS", "NATS_URL", "HTTPS_PROXY", "no_proxy"] {
        let refusal = read(name.as_bytes(), b"\xa3").unwrap_err().to_string();
        assert!(refusal.contains(&format!("{name}: is not UTF-8 (allowed: text in UTF-8)")), "{refusal}");
    }
}

#[test]
fn a_variable_of_the_earlier_system_wins_over_the_file_and_loses_to_ours_and_its_errors_name_it() {
    let text = "[nats]\nurls = [\"nats://file:1\"]\n[[feed]]\n[http]\nname = \"x\"\n";
    let urls = |variables: &[(&str, &str)]| {
        let document = document(text, variables);
        let (mut sample, mut problems) = document.read::<Sample>();
        sample.nats.check(&mut problems);
        problems.finish().map(|()| sample.nats.shown_urls()).map_err(|error| error.to_string())
    };
    let servers = ("MARKETPRISM_NATS_SERVERS", "nats://a:1,nats://b:2");
    assert_eq!(urls(&[]).unwrap(), "nats://file:1");
    assert_eq!(urls(&[servers]).unwrap(), "nats://a:1,nats://b:2");
    assert_eq!(urls(&[servers, ("NATS_URL", "nats://c:3")]).unwrap(), "nats://c:3");
    assert_eq!(urls(&[servers, ("MARKETPRISM_NATS__URLS", "nats://d:4")]).unwrap(), "nats://d:4");
    let error = urls(&[("MARKETPRISM_NATS_SERVERS", "nats://a:port")]).unwrap_err();
    assert!(error.contains("\n  MARKETPRISM_NATS_SERVERS: \"nats://a:port\": "), "{error}");

    let document = document(text, &[("METRICS_PORT", "65536")]);
    let (_, mut problems) = document.read::<Sample>();
    assert_eq!(problems.predecessor_port("METRICS_PORT", "http.listen"), None);
    let error = problems.finish().unwrap_err().to_string();
    let expected = "METRICS_PORT: is \"65536\" (allowed: a whole number from 1 to 65535)";
    assert!(error.contains(expected), "{error}");
}

/// Kubernetes sets `METRICS_PORT` for a service `metrics`, and operators write an address where a host belongs.
#[test]
fn a_port_that_kubernetes_sets_for_a_service_is_not_ours_and_a_host_is_a_host_alone() {
    for link in ["tcp://10.0.0.1:9090", "udp://10.0.0.1:53"] {
        let document = document("", &[("METRICS_PORT", link)]);
        let mut problems = document.read::<Nats>().1;
        assert_eq!(problems.predecessor_port("METRICS_PORT", "http.listen"), None);
        problems.finish().unwrap();
    }
    let host = |host: &str| {
        let document = document("", &[("MARKETPRISM_CLICKHOUSE_HOST", host)]);
        let mut problems = document.read::<Nats>().1;
        let mut url = MaskedUrl::from("http://127.0.0.1:8123");
        problems.predecessor_host("MARKETPRISM_CLICKHOUSE_HOST", "clickhouse.url", &mut url);
        problems.finish().map(|()| url.to_string()).map_err(|error| error.to_string())
    };
    assert_eq!(host("db.internal").unwrap(), "http://db.internal:8123");
    assert_eq!(host("[::1]").unwrap(), "http://[::1]:8123");
    for wrong in ["http://db", "tcp://db:9000", "db:8123", "::1", "u@db", "db/x", "db?x"] {
        let error = host(wrong).unwrap_err();
        assert!(
            error.contains("MARKETPRISM_CLICKHOUSE_HOST: is") && error.contains("a host name"),
            "{error}"
        );
    }
}

#[test]
fn an_address_of_the_broker_that_reaches_nothing_is_refused_under_the_name_that_gave_it() {
    let of = |list: &str| nats("", &[("NATS_URL", list)]).map(|nats| nats.addresses().join(" "));
    assert_eq!(of("nats://a:1, tls://b:2,").unwrap(), "nats://a:1 tls://b:2");
    assert_eq!(of("localhost").unwrap(), "localhost");
    for (wrong, what) in [
        (" , ", "NATS_URL: is empty"),
        ("ws://h:80", "scheme \"ws\""),
        ("nats://", "no host"),
        ("nats://h:0", "port 0"),
        ("http://h:4222", "invalid scheme"),
    ] {
        let error = of(wrong).unwrap_err();
        assert!(error.contains("NATS_URL: ") && error.contains(what), "{wrong}: {error}");
    }
    assert!(nats("[nats]\nurls = [\"\"]\n", &[]).unwrap_err().contains("nats.urls: \"\": no host"));
}
