//! A line that cannot be written ends no process: the library that formats lines reports that to standard error, and panics if it cannot.

#![allow(clippy::unwrap_used)]

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use marketprism_service::init_logs;

const CHILD: &str = "MARKETPRISM_TEST_WRITES_LINES";

#[test]
fn a_log_that_cannot_be_written_ends_no_process() {
    if std::env::var_os(CHILD).is_some() {
        init_logs().unwrap();
        for number in 0..3 {
            tracing::warn!(number, "a line");
        }
        return;
    }
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    for output in [Stdio::from(full), Stdio::from(closed)] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["a_log_that_cannot_be_written_ends_no_process", "--exact", "--nocapture"]);
        let ended = child.env(CHILD, "1").stdout(Stdio::null()).stderr(output).status().unwrap();
        assert!(ended.success(), "{ended}");
    }
}
