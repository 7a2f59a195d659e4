//! A configuration is refused with every error at once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use marketprism_adapter_host::fixtures::{FixtureKind, component};
use marketprism_config::{Document, check_readme};
use marketprism_edge::config::{Adapters, Config, ConfigDifference, ConfigFile, KeyChange};
use marketprism_schema::RECEIVED_BEHIND_MAX;

pub fn read(text: &str, dir: &Path, variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let document = Document::parse("edge.toml", text, dir.to_owned(), variables).unwrap();
    Config::read(&document, &mut Adapters::default()).map_err(|error| error.to_string())
}

pub fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("good.wasm"), component(FixtureKind::WellBehaved)).unwrap();
    std::fs::write(dir.path().join("newer.wasm"), component(FixtureKind::Contract("2.0.0"))).unwrap();
    std::fs::write(dir.path().join("garbage.wasm"), b"garbage").unwrap();
    dir
}

pub fn good(dir: &Path) -> String {
    format!(
        "[edge]\nname = \"edge-1\"\nregion = \"here\"\ndata_dir = {:?}\n\
         [[feed]]\nexchange = \"sim_hostile\"\nadapter = {:?}\nsymbols = [\"BTC-USDT\"]\ndata_types = [\"trade\"]\n",
        dir.join("data"),
        dir.join("good.wasm"),
    )
}

#[test]
fn a_small_configuration_is_enough_and_has_the_documented_defaults() {
    let dir = folder();
    let config = read(&good(dir.path()), dir.path(), &[]).unwrap();
    assert_eq!((config.name.as_str(), config.region.as_str()), ("edge-1", "here"));
    assert_eq!(config.http.listen.port(), 8087);
    assert_eq!(config.http.metrics_listen.port(), 9093);
    assert_eq!(config.publisher.in_flight_messages, 4_096);
    assert_eq!(config.publisher.queue_bytes, 64 << 20);
    assert_eq!(config.sandbox.call_deadline.as_millis(), 100);
    assert_eq!((config.feeds[0].depth, config.feeds[0].publish_interval.as_millis()), (None, 100));
}

#[test]
fn a_reload_applies_limits_and_leaves_places_to_a_restart() {
    let dir = folder();
    let with = |text: &str| read(&format!("{}{text}", good(dir.path())), dir.path(), &[]).unwrap();
    let old = with("");
    let new = with(
        "[publisher]\nack_timeout_ms = 900\nqueue_max_bytes = 20000000\n[journal]\nmax_bytes = 20000000\ndir = \"/elsewhere\"\n\
         [selfcare]\nmemory_mb = 5\n[adapters]\nprobation_ms = 7\nwatch_dir = \"/new\"\n[audit]\nwindow_seconds = 30\n\
         [mirror_to_core]\nsubjects = [\"trade.>\"]\n[log]\nfilter = \"debug\"\n",
    );
    let difference = ConfigDifference::new(&old, &new);
    let keys = |changes: &[KeyChange]| -> BTreeSet<String> {
        changes.iter().map(|change| change.key.clone()).collect()
    };
    let applied = [
        "adapters.probation_ms",
        "journal.max_bytes",
        "log.filter",
        "mirror_to_core.subjects",
        "publisher.ack_timeout_ms",
        "publisher.queue_max_bytes",
        "selfcare.memory_mb",
    ];
    assert_eq!(keys(&difference.applied), applied.map(str::to_owned).into());
    let restart = ["adapters.watch_dir", "audit.window_seconds", "journal.dir"];
    assert_eq!(keys(&difference.needs_restart), restart.map(str::to_owned).into());
    let runs = old.updated_to(new.clone());
    assert_eq!((runs.publisher, runs.selfcare), (new.publisher, new.selfcare));
    assert_eq!((runs.journal.max_bytes, &runs.journal.dir), (20_000_000, &old.journal.dir));
    assert_eq!(runs.adapters.probation.as_millis(), 7);
    assert_eq!((&runs.adapters.watch_dir, &runs.audit), (&None, &old.audit));
    assert!(ConfigDifference::new(&runs, &old.updated_to(new.clone())).is_empty());
    let left = ConfigDifference::new(&runs, &new);
    // The subjects of the mirror were, each time: nothing had taken them.
    assert_eq!(keys(&left.applied), BTreeSet::new(), "said to be applied");
    assert_eq!(keys(&left.needs_restart), restart.map(str::to_owned).into());
}

/// The broker would acknowledge what central puts into the dead letters, and the journal would delete it.
#[test]
fn the_journal_keeps_no_event_for_so_long_that_central_refuses_it() {
    let dir = folder();
    let with = |key: &str, seconds: u64| {
        read(&format!("{}[journal]\n{key} = {seconds}\n", good(dir.path())), dir.path(), &[])
    };
    let most = RECEIVED_BEHIND_MAX.as_secs() - 3_600;
    for key in ["max_age_seconds", "keep_confirmed_seconds"] {
        with(key, most).unwrap();
        let refused = with(key, most + 1).unwrap_err();
        assert!(refused.contains(key) && refused.contains("169200"), "{refused}");
    }
}

#[test]
fn the_environment_overrides_the_file() {
    let dir = folder();
    let variables = [
        ("MARKETPRISM_NATS_URL", "nats://broker:1"),
        ("NATS_URL", "nats://other:1"),
        ("MARKETPRISM_EDGE__NAME", "edge-2"),
        ("MARKETPRISM_FEED__0__SYMBOLS", "A-B, C-D"),
    ];
    let config = read(&good(dir.path()), dir.path(), &variables).unwrap();
    assert_eq!(config.nats.addresses(), ["nats://broker:1"]);
    assert_eq!(config.name, "edge-2");
    assert_eq!(config.feeds[0].symbols, ["A-B", "C-D"]);
}

#[test]
fn ports_of_the_earlier_system_win_over_the_file_and_lose_to_ours() {
    let dir = folder();
    let text = format!("{}[http]\nlisten = \"127.0.0.2:1\"\n", good(dir.path()));
    let earlier = [("HEALTH_CHECK_PORT", "18087"), ("METRICS_PORT", "9092")];
    let http = read(&text, dir.path(), &earlier).unwrap().http;
    assert_eq!((http.listen.to_string().as_str(), http.metrics_listen.port()), ("127.0.0.2:18087", 9092));
    let ours =
        [("MARKETPRISM_HTTP__LISTEN", "127.0.0.3:3"), ("MARKETPRISM_HTTP__METRICS_LISTEN", "127.0.0.3:4")];
    let http = read(&text, dir.path(), &[earlier, ours].concat()).unwrap().http;
    assert_eq!((http.listen.to_string().as_str(), http.metrics_listen.port()), ("127.0.0.3:3", 4));
    let error = read(&text, dir.path(), &[("HEALTH_CHECK_PORT", "http")]).unwrap_err();
    assert!(
        error.contains("HEALTH_CHECK_PORT: is \"http\" (allowed: a whole number from 1 to 65535)"),
        "{error}"
    );
}

/// It was read once everything had started, so that `check` did not see a wrong one.
#[test]
fn the_grace_time_of_health_is_read_with_the_configuration() {
    let dir = folder();
    let grace = |value: &str| {
        let read = read(&good(dir.path()), dir.path(), &[("HEALTH_GRACE_SECONDS", value)]);
        read.map(|config| config.http.health_grace.as_secs())
    };
    assert_eq!([grace(""), grace("0"), grace("600")], [Ok(120), Ok(0), Ok(600)]);
    let error = grace("2m").unwrap_err();
    assert!(
        error.contains("HEALTH_GRACE_SECONDS: is \"2m\" (allowed: a whole number from 0 to 86400)"),
        "{error}"
    );
}

#[test]
fn two_listeners_of_one_port_are_refused_where_one_would_take_the_other_s() {
    let dir = folder();
    let listen = |one: &str, other: &str| {
        let text = format!("{}[http]\nlisten = {one:?}\nmetrics_listen = {other:?}\n", good(dir.path()));
        read(&text, dir.path(), &[])
    };
    for (one, other) in [
        ("0.0.0.0:9093", "127.0.0.1:9093"),
        ("127.0.0.1:9093", "0.0.0.0:9093"),
        ("[::]:9093", "127.0.0.1:9093"),
        ("[::1]:9093", "[::]:9093"),
        ("0.0.0.0:9093", "[::]:9093"),
        ("127.0.0.1:9093", "[::ffff:127.0.0.1]:9093"),
    ] {
        let error = listen(one, other).unwrap_err();
        assert!(
            error.contains(&format!("http.metrics_listen: is {other}")) && error.contains(one),
            "{error}"
        );
    }
    for (one, other) in [
        ("0.0.0.0:9093", "[::1]:9093"),
        ("127.0.0.1:9093", "127.0.0.2:9093"),
        ("[::]:9092", "0.0.0.0:9093"),
        ("[::]:0", "[::]:0"),
    ] {
        listen(one, other).unwrap();
    }
}

#[test]
fn every_error_is_listed_at_once() {
    let dir = folder();
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    let text = format!(
        "[edge]\nname = \"Edge 1\"\nregin = \"here\"\ndata_dir = {data:?}\n\
         [publisher]\nmax_in_flight_messages = \"many\"\nack_timeout_ms = 1\n\
         [http]\nlisten = \"nowhere\"\n[mirror_to_core]\nsubjects = [\"trade.>\", \"trades.>\"]\n\
         [[feed]]\nexchange = \"sim_hostile\"\nadapter = {good:?}\nsymbols = [\"BTC-USDT\", \"BTC-USDT\"]\n\
         data_types = [\"trade\", \"orderbok\", \"volatility_index\"]\nmarket_types = [\"options\"]\n\
         [feed.endpoints]\nwss = \"ws://x\"\n\
         [[feed]]\nexchange = \"sim_hostile\"\nadapter = {good:?}\nsymbols = [\"BTC-USDT\"]\ndata_types = [\"trade\"]\n\
         [[feed]]\nexchange = \"elsewhere\"\nadapter = {good:?}\nsymbols = []\ndata_types = [\"trade\"]\n\
         [[feed]]\nexchange = \"x\"\nadapter = {missing:?}\nsymbols = [\"A-B\"]\ndata_types = [\"trade\"]\n\
         [[feed]]\nexchange = \"x\"\nadapter = {newer:?}\nsymbols = [\"C-D\"]\ndata_types = [\"trade\"]\n\
         [[feed]]\nexchange = \"x\"\nadapter = {garbage:?}\nsymbols = [\"E-F\"]\ndepth = 0\n",
        data = path("data"),
        good = path("good.wasm"),
        missing = path("missing.wasm"),
        newer = path("newer.wasm"),
        garbage = path("garbage.wasm"),
    );
    let message = read(&text, dir.path(), &[("MARKETPRISM_EDGE__COLOUR", "red")]).unwrap_err();
    for part in [
        "edge.name: is \"Edge 1\"",
        "edge.region: is missing",
        "unknown key `edge.regin` (did you mean `region`?)",
        "publisher.max_in_flight_messages: is of type string",
        "publisher.ack_timeout_ms: is 1 (allowed: a whole number from 100 to 120000)",
        "http.listen: \"nowhere\"",
        "mirror_to_core.subjects[1]: is \"trades.>\" (allowed: up to four tokens type.exchange.market_type.symbol",
        "feed[0].symbols: names \"BTC-USDT\" twice",
        "feed[0].data_types: names \"orderbok\"",
        "feed[0].data_types: \"volatility_index\" is unsupported: sim_hostile does not offer it (allowed: trade)",
        "feed[0].data_types: \"trade\" is unsupported: sim_hostile does not offer it for market types options \
         (allowed: market_types spot)",
        "feed[0].market_types: \"options\" is not offered for sim_hostile",
        "feed[0].endpoints: \"wss\" is no endpoint of sim_hostile (allowed: ws)",
        "feed[1].symbols: \"BTC-USDT\" is collected by feed[0] already",
        "feed[2].symbols: is missing or empty",
        "feed[2].exchange: \"elsewhere\" is not served by sim-hostile@",
        "feed[3].adapter: ",
        "missing.wasm",
        "feed[4].adapter: ",
        "adapter targets contract 2.0.0, this edge supports 1.x",
        "feed[5].adapter: ",
        "is not a WebAssembly component",
        "feed[5].data_types: is missing or empty",
        "feed[5].depth: is 0 ",
        "MARKETPRISM_EDGE__COLOUR: overrides",
    ] {
        assert!(message.contains(part), "{part:?} is not in:\n{message}");
    }
}

#[test]
fn symbols_and_endpoints_that_cannot_be_are_refused_once_each_and_without_their_secrets() {
    let dir = folder();
    let with = |symbols: &str, endpoint: &str| {
        let text = good(dir.path()).replace("[\"BTC-USDT\"]", symbols);
        read(&format!("{text}\n[feed.endpoints]\nws = {endpoint:?}\n"), dir.path(), &[])
    };
    let legal =
        "[\"BTC-USDT\", \"kBTC-USDe\", \"MATIC-USDC-251226-1d02-P\", \"BTC\", \"\u{5e01}\u{5b89}-USDT\"]";
    let config = with(legal, "wss://u:hunter2@127.0.0.1:9/x?token=hunter3").unwrap();
    assert!(!format!("{config:?}").contains("hunter"));
    for symbol in [
        "",
        " ",
        "btc/usdt",
        "btc-usdt",
        "A.B>*",
        "BTC-",
        "-",
        "BTC USDT",
        "BTC\u{7}",
        "A_B",
        &"A".repeat(65),
    ] {
        let error = with(&format!("[{symbol:?}]").replace("\\u{7}", "\\u0007"), "ws://h").unwrap_err();
        assert_eq!(error.matches("feed[0].symbols: ").count(), 1, "{error}");
        assert!(error.contains(" has 1 error:"), "{error}");
    }
    for url in [
        "http://u:hunter2@h",
        "ftp://hunter2@h",
        "ws://",
        "ws:///x",
        "u:hunter2@h:1",
        "",
        "wss://u:hunter2@h :1",
    ] {
        let error = with("[\"BTC-USDT\"]", url).unwrap_err();
        assert!(
            error.contains("feed[0].endpoints.ws: ")
                && error.contains("wss://host[:port] or ws://host[:port]"),
            "{error}"
        );
        assert!(error.contains(" has 1 error:") && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_ranking_needs_a_measure_a_number_a_pattern_and_a_venue_that_gives_it() {
    let dir = folder();
    for (symbols, top, refused) in [
        ("*-USDT", "by = \"volume_24h\"", "feed[0].top: has `by` without `count` (allowed: both, such as"),
        ("*-USDT", "count = 5", "feed[0].top: has `count` without `by`"),
        ("*-USDT", "by = \"price\", count = 5", "feed[0].top.by: is \"price\" (allowed: volume_24h)"),
        (
            "*-USDT",
            "by = \"volume_24h\", count = 0",
            "feed[0].top.count: is 0 (allowed: a whole number from 1 to",
        ),
        ("*-USDT", "by = \"volume_24h\", counts = 5", "unknown key `feed[0].top.counts`"),
        ("A-USDT", "by = \"volume_24h\", count = 5", "feed[0].top: ranks nothing: `symbols` has names only"),
        ("*-USDT", "by = \"volume_24h\", count = 5", "feed[0].top.by: \"volume_24h\" is unsupported"),
    ] {
        let text = good(dir.path()).replace("[\"BTC-USDT\"]", &format!("[{symbols:?}]"));
        let error = read(&format!("{text}top = {{ {top} }}\n"), dir.path(), &[]).unwrap_err();
        assert!(error.contains(refused), "{top}: {error}");
    }
}

#[test]
fn patterns_are_refused_where_they_overlap_exclude_nothing_or_are_too_many() {
    let dir = folder();
    let two = |first: &str, second: &str| {
        let one = good(dir.path());
        let feed = one.split_once("[[feed]]").unwrap().1.replace("[\"BTC-USDT\"]", second);
        read(&format!("{}[[feed]]{feed}", one.replace("[\"BTC-USDT\"]", first)), dir.path(), &[])
    };
    let apart = two("[\"BTC-*\", \"ETH-*\"]\nexclude = [\"*-USDT\"]", "[\"*-USDT\", \"XRP-USD\"]").unwrap();
    assert!(
        apart.feeds[0].selection().includes("ETH-USDC") && !apart.feeds[0].selection().includes("ETH-USDT")
    );
    let many = format!("{:?}", (0..65).map(|number| format!("A{number}-*")).collect::<Vec<_>>());
    for (first, second, part) in [
        (
            "[\"BTC-*\"]",
            "[\"*-USDT\"]",
            "feed[1].symbols: \"*-USDT\" is collected by feed[0] already as \"BTC-*\"",
        ),
        (
            "[\"BTC-*\"]",
            "[\"BTC-EUR\"]",
            "feed[1].symbols: \"BTC-EUR\" is collected by feed[0] already as \"BTC-*\"",
        ),
        (
            "[\"B-*\"]\nexclude = [\"C-*\"]",
            "[\"X\"]",
            "feed[0].exclude: \"C-*\" is in no pattern of `symbols`",
        ),
        (
            "[\"B-C\", \"D-*\"]\nexclude = [\"*-C\"]",
            "[\"X\"]",
            "feed[0].exclude: \"*-C\" excludes all of \"B-C\"",
        ),
        (&many, "[\"X\"]", "feed[0].symbols: has 65 patterns (allowed: at most 64 patterns a feed)"),
    ] {
        let error = two(first, second).unwrap_err();
        assert!(error.contains(part) && error.contains(" has 1 error:"), "{part} is not in {error}");
    }
}

#[test]
fn a_component_that_is_a_pipe_or_endless_is_refused_at_once() {
    let dir = folder();
    let pipe = dir.path().join("pipe.wasm");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [pipe.as_path(), Path::new("/dev/zero"), dir.path()] {
        let error = Adapters::default().load(path, None).unwrap_err();
        assert_eq!(error.matches("allowed is a regular file").count(), 1, "{error}");
    }
}

#[test]
fn the_key_table_of_the_readme_is_generated_from_the_types() {
    check_readme::<ConfigFile>(&Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
}

#[test]
fn a_feeds_proxy_wins_over_that_of_all_feeds_and_both_over_the_environment() {
    let dir = folder();
    std::fs::write(dir.path().join("password"), "hidden\n").unwrap();
    let way = |keys: &str, table: &str, variables: &[(&str, &str)]| {
        let text = format!("{}{keys}\n{table}", good(dir.path()));
        let config = read(&text, dir.path(), variables)?;
        let egress = &config.feeds[0].egress;
        assert!(!format!("{config:?}").contains("hidden"));
        let route = egress.proxy.route(&"wss://venue.example".parse().unwrap()).to_string();
        Ok::<_, String>((route, egress.local_address.map(|local| local.to_string())))
    };
    let environment = [("HTTPS_PROXY", "env:3128"), ("NO_PROXY", ".internal")];
    let table = "[network]\nproxy = \"socks5h://all\"\nlocal_address = \"127.0.0.1\"";
    let keys = "proxy = \"http://own:1\"\nproxy_user = \"u\"\nproxy_password_file = \"password\"";
    let password = [("MARKETPRISM_FEED__0__PROXY_PASSWORD", "hidden")];
    for (keys, table, variables, wanted, local) in [
        ("", "", &[][..], "directly", None),
        ("", "", &environment, "through proxy http://env:3128 (HTTPS_PROXY)", None),
        ("", table, &environment, "through proxy socks5h://all:1080 (network.proxy)", Some("127.0.0.1")),
        (keys, table, &environment, "through proxy http://***@own:1 (feed[0].proxy)", Some("127.0.0.1")),
        (&keys[..40], "", &password, "through proxy http://***@own:1 (feed[0].proxy)", None),
        ("proxy = \"direct\"\nlocal_address = \"::1\"", table, &environment, "directly", Some("::1")),
    ] {
        let wanted = Ok((wanted.to_owned(), local.map(str::to_owned)));
        assert_eq!(way(keys, table, variables), wanted, "{keys} {table} {variables:?}");
    }
    for (keys, variables, wanted) in [
        ("proxy = \"ftp://u:hidden@h\"", &[][..], "feed[0].proxy: \"ftp://***@h\": scheme \"ftp\""),
        ("proxy_user = \"u\"", &[], "feed[0].proxy: is missing"),
        ("proxy = \"http://h\"\nproxy_password_file = \"password\"", &[], "feed[0].proxy_user: is missing"),
        ("local_address = \"eth0\"", &[], "feed[0].local_address: is \"eth0\" (allowed: an IP address)"),
        ("", &[("ALL_PROXY", "socks4://u:hidden@h")], "ALL_PROXY: \"socks4://***@h\": scheme \"socks4\""),
    ] {
        let error = way(keys, "", variables).unwrap_err();
        assert!(error.contains(wanted) && !error.contains("hidden"), "{error} does not contain {wanted}");
    }
}

#[test]
fn self_care_has_the_defaults_and_the_variables_of_the_earlier_system() {
    let dir = folder();
    let config = read(&good(dir.path()), dir.path(), &[]).unwrap();
    let care = config.selfcare;
    assert_eq!((care.auto_restart, care.memory_mb, care.cpu_percent), (false, 800, 90));
    assert_eq!((care.max_uptime_hours, care.monitor_interval.as_secs()), (24, 60));
    assert_eq!((care.restart_cooldown.as_secs(), config.allow_multiple), (300, false));
    let variables = [
        ("AUTO_RESTART_ON_HEALTH_CRITICAL", "1"),
        ("COLLECTOR_MEMORY_MB", "600"),
        ("COLLECTOR_CPU_THRESHOLD", "80"),
        ("COLLECTOR_MON_INTERVAL", "5"),
        ("COLLECTOR_MAX_UPTIME_H", "12"),
        ("COLLECTOR_RESTART_COOLDOWN", "10"),
        ("ALLOW_MULTIPLE", "1"),
        ("MARKETPRISM_SELFCARE__CPU_PERCENT", "70"),
    ];
    let config = read(&good(dir.path()), dir.path(), &variables).unwrap();
    let care = config.selfcare;
    assert_eq!((care.auto_restart, care.memory_mb, care.cpu_percent), (true, 600, 70), "ours wins");
    assert_eq!((care.max_uptime_hours, care.monitor_interval.as_secs()), (12, 5));
    assert_eq!((care.restart_cooldown.as_secs(), config.allow_multiple), (10, true));
    let wrong = [("COLLECTOR_MEMORY_MB", "much"), ("ALLOW_MULTIPLE", "yes"), ("COLLECTOR_MON_INTERVAL", "0")];
    let error = read(&good(dir.path()), dir.path(), &wrong).unwrap_err();
    for expected in [
        "COLLECTOR_MEMORY_MB: is \"much\" (allowed: a whole number from 0 to 1048576)",
        "ALLOW_MULTIPLE: is \"yes\" (allowed: 1, 0, true or false)",
        "COLLECTOR_MON_INTERVAL: is \"0\" (allowed: a whole number from 1 to 3600)",
    ] {
        assert!(error.contains(expected), "{expected}\n{error}");
    }
}
