//! Data of an engine with the databases that `init` makes, made once for each build: two hundred tests would run its eighty statements first.

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

/// As [`ClickHouse::start`], with the databases that `init` makes with the default configuration. The first test that asks makes them, the others
/// wait.
pub async fn engine(folder: &Path) -> ClickHouse {
    let central = parts::binary("marketprism-central");
    let root = central.with_file_name("laid-out");
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
    let data = folder.join("clickhouse/data");
    fs::create_dir_all(data.parent().unwrap()).unwrap();
    copy_folder(&made, &data);
    ClickHouse::start(folder).await
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
    let (broker, mut engine) = tokio::join!(Broker::start(folder.path()), ClickHouse::start(folder.path()));
    let (nats, hot) = (broker.nats(), engine.url());
    Central::prepared(folder.path(), &Settings::plain(&nats, &hot)).init().await;
    engine.stop().await;
    let partial: PathBuf = root.join("partial");
    copy_folder(&engine.data(), &partial);
    fs::rename(partial, made).unwrap();
}
