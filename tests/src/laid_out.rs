//! Data of engines with the databases that `init` makes, made once for each build: two hundred tests would run its eighty statements first.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::broker::{Broker, copy_folder};
use crate::central::{Central, Settings};
use crate::clickhouse::ClickHouse;
use crate::parts;

/// Lines of a configuration with one of these make other tables.
const OF_LAYOUTS: [&str; 3] = ["_days", "_database", "cluster"];

/// The databases of this configuration are those of the default one.
pub fn is_default(configuration: &str) -> bool {
    !OF_LAYOUTS.iter().any(|part| configuration.contains(part))
}

/// Folders of the data: hot and cold on one engine, and on an engine each.
const BOTH: &str = "both";
const HOT: &str = "hot";
const COLD: &str = "cold";

/// As [`ClickHouse::start`], with the databases that `init` makes with the default configuration. The first test that asks makes them, the others
/// wait.
pub async fn engine(folder: &Path) -> ClickHouse {
    with(BOTH, folder, "clickhouse").await
}

/// As [`engine`], with the hot database alone.
pub async fn hot_engine(folder: &Path) -> ClickHouse {
    with(HOT, folder, "clickhouse").await
}

/// As [`ClickHouse::named`], with the cold database alone.
pub async fn cold_engine(folder: &Path, name: &str) -> ClickHouse {
    with(COLD, folder, name).await
}

async fn with(databases: &str, folder: &Path, name: &str) -> ClickHouse {
    let central = parts::binary("marketprism-central");
    let root = central.with_file_name("laid-out-databases");
    fs::create_dir_all(&root).unwrap();
    let made = root.join(name_of(&central));
    if !made.exists() {
        let lock = File::create(root.join("lock")).unwrap();
        let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await.unwrap().unwrap();
        if !made.exists() {
            make(&root, &made).await;
        }
        drop(lock);
    }
    let data = folder.join(name).join("data");
    fs::create_dir_all(data.parent().unwrap()).unwrap();
    copy_folder(&made.join(databases), &data);
    ClickHouse::named(folder, name).await
}

/// Another binary or engine may make other tables.
fn name_of(central: &Path) -> String {
    let about = fs::metadata(central).unwrap();
    let changed = about.modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
    let library = parts::clickhouse_library();
    let version = library.parent().and_then(Path::file_name).unwrap().to_string_lossy().into_owned();
    format!("{version}-{}-{}", about.len(), changed.as_nanos())
}

async fn make(root: &Path, made: &Path) {
    for earlier in fs::read_dir(root).unwrap() {
        let earlier = earlier.unwrap();
        let about = earlier.metadata().unwrap();
        // Tests of another build may run beside.
        let is_old = about.modified().unwrap().elapsed().unwrap_or_default() > Duration::from_secs(3600);
        if about.is_dir() && is_old {
            fs::remove_dir_all(earlier.path()).unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let start = |name| ClickHouse::named(folder.path(), name);
    let (broker, both, hot, cold) =
        tokio::join!(Broker::start(folder.path()), start(BOTH), start(HOT), start(COLD));
    let nats = broker.nats();
    for (hot, cold) in [(both.url(), None), (hot.url(), Some(cold.url()))] {
        let settings = Settings { cold: cold.as_deref(), ..Settings::plain(&nats, &hot) };
        Central::prepared(folder.path(), &settings).init().await;
    }
    let partial: PathBuf = root.join("partial");
    fs::create_dir_all(&partial).unwrap();
    for (name, mut engine) in [(BOTH, both), (HOT, hot), (COLD, cold)] {
        engine.stop().await;
        copy_folder(&engine.data(), &partial.join(name));
    }
    fs::rename(partial, made).unwrap();
}
