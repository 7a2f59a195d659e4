//! The statements of `deploy/OPERATIONS.md` back a database up and put it back.

use std::path::Path;
use std::process::Command;

use marketprism_tests::parts;
use marketprism_tests::process::run;
use marketprism_tests::stack::Stack;
use marketprism_tests::wait::PATIENCE;

use super::{deploy, text};

/// The embedded server refuses backups, its engine does not. The engine may fail while the process ends, so that is not waited for.
const ENGINE: &str = r#"
import ctypes, os, sys
library, config, data, *statements = sys.argv[1:]
engine = ctypes.CDLL(library)
engine.chdb_connect.restype = ctypes.POINTER(ctypes.c_void_p)
engine.chdb_query.restype = ctypes.c_void_p
engine.chdb_query.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
engine.chdb_result_error.restype = ctypes.c_char_p
engine.chdb_result_error.argtypes = [ctypes.c_void_p]
arguments = [b"clickhouse", b"--path=" + data.encode(), b"--config-file=" + config.encode()]
connection = engine.chdb_connect(len(arguments), (ctypes.c_char_p * len(arguments))(*arguments))
failed = 0
for statement in statements:
    error = engine.chdb_result_error(engine.chdb_query(connection[0], statement.encode(), b"TSV"))
    if error:
        failed = 1
        print(statement, error.decode(), file=sys.stderr, flush=True)
os._exit(failed)
"#;

fn execute(config: &Path, data: &Path, statements: &[&str]) {
    let mut engine = Command::new(parts::python());
    run(engine.args(["-c", ENGINE]).arg(parts::clickhouse_library()).arg(config).arg(data).args(statements));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statements_of_the_page_put_a_database_back() {
    let page = text(&deploy("OPERATIONS.md"));
    let statements =
        page.lines().filter_map(|line| line.strip_prefix("clickhouse-client --query \"")?.strip_suffix('"'));
    let statements: Vec<&str> = statements.filter(|one| one.contains("marketprism_hot")).collect();
    let [backup, rename, restore] = statements[..] else { panic!("{statements:?}") };
    let mut stack = Stack::start().await;
    let folder = stack.folder.path().to_owned();
    let (backups, config) = (folder.join("backups"), folder.join("config.xml"));
    std::fs::create_dir(&backups).unwrap();
    let from = page.find("<clickhouse>").unwrap();
    let end = from + page[from..].find("</clickhouse>").unwrap();
    let shipped = format!("{}</clickhouse>", &page[from..end]);
    std::fs::write(&config, shipped.replace("/var/backups/clickhouse/", &format!("{}/", backups.display())))
        .unwrap();

    // A row before the backup, and one after it.
    stack.central.process().terminate(PATIENCE).await;
    let insert = "INSERT INTO marketprism_hot.dead_letters (created_at, payload) VALUES (now64(3), 'x')";
    let data = folder.join("clickhouse/data/engine");
    stack.clickhouse.text(insert).await.unwrap();
    stack.clickhouse.stop().await;
    execute(&config, &data, &[backup, insert, rename, restore]);
    stack.clickhouse.restart().await;
    let tables = async |database: &str| {
        let query =
            format!("SELECT name, engine FROM system.tables WHERE database = '{database}' ORDER BY name");
        stack.clickhouse.rows(&query).await.unwrap()
    };
    let (restored, before) = (tables("marketprism_hot").await, tables("marketprism_hot_before").await);
    assert!(restored.len() > 20, "{restored:?}");
    assert_eq!(restored, before);
    for (database, rows) in [("marketprism_hot", 1), ("marketprism_hot_before", 2)] {
        let count = stack.clickhouse.number(&format!("SELECT count() FROM {database}.dead_letters")).await;
        assert_eq!(count.unwrap(), rows, "{database}");
    }
    stack.central.restart().await;
}
