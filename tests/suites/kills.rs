//! Promise: an edge that is killed at any point of its life, by power cuts too, loses nothing that it had journaled, and the report names
//! exactly the rest. A few of the points of `make soak KILLS=200`.

use std::process::Command;
use std::time::Duration;

use marketprism_tests::parts;
use marketprism_tests::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_killed_at_seeded_points_loses_nothing_journaled_and_the_report_names_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(parts::binary("marketprism-chaos"));
    command.args(["kills", "--seed", "7", "--kills", "5"]).env("TMPDIR", folder.path());
    let mut kills = Process::start("kills", &mut command, folder.path());
    let status = kills.ended(Duration::from_secs(200)).await;
    assert!(status.success(), "{}", kills.output());
}
