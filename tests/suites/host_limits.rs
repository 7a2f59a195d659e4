//! Promise: a limit of the host is reported as one, with its remedy, and never as a fault of an adapter or a configuration.

use std::process::{Command, Output};

use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::parts;

/// Sets what systemd's `MemoryDenyWriteExecute` does (`PR_SET_MDWE`), then becomes the program.
const NO_NEW_CODE: &str = "import ctypes, os, sys\n\
                           refused = ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0)\n\
                           sys.exit('no MDWE') if refused else os.execv(sys.argv[1], sys.argv[1:])";

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[test]
fn a_limit_of_the_host_is_no_fault_of_an_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let feed = Feed::simulated("binance_spot", "127.0.0.1:9", &["BTC-USDT"]);
    let edge = Edge::prepared(folder.path(), "urls = [\"nats://127.0.0.1:9\"]", std::slice::from_ref(&feed));
    // Compiling the adapter is what needs most of the host.
    drop(std::fs::remove_dir_all(edge.folder().join("data")));
    let (binary, config) = (parts::binary("marketprism-edge"), edge.folder().join("edge.toml"));
    let [check, run] =
        ["check", "run"].map(|command| [command.into(), "--config".into(), config.clone().into_os_string()]);
    let suite = ["adapter".into(), "test".into(), feed.adapter.into_os_string()];
    let limited = |limit: &str, arguments: &[std::ffi::OsString]| {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("ulimit {limit}; exec \"$0\" \"$@\"")])
            .arg(&binary)
            .args(arguments)
            .output()
            .unwrap()
    };
    let mut python = Command::new(parts::python());
    let denied = python.args(["-c", NO_NEW_CODE]).arg(&binary).args(&check).output().unwrap();
    for (output, remedy) in [
        (limited("-v 3145728", &check), "`ulimit -v unlimited`, LimitAS=infinity of the systemd unit"),
        (limited("-n 6", &run), "LimitNOFILE= of the systemd unit"),
        (denied, "remove MemoryDenyWriteExecute= from the systemd unit"),
    ] {
        let said = text(&output);
        assert!(said.contains(remedy) && !said.contains("adapter is not"), "{said}");
        assert!(!said.contains("feed[0]"), "a key is blamed: {said}");
        assert_eq!(output.status.code(), Some(3), "{said}");
    }
    let suite = limited("-v 3145728", &suite);
    let said = text(&suite);
    assert_eq!(suite.status.code(), Some(2), "{said}");
    assert!(said.contains("limit of this host, no fault of the adapter"), "{said}");
    assert!(limited("-n 1024", &check).status.success());
}
