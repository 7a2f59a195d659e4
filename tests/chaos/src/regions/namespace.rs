//! A network namespace of this machine, and work inside it: connections, listeners and child processes are those of the namespace.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

/// Before the process id of the run.
const PREFIX: &str = "marketprism-";

/// Removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: Arc<File>,
    runtime: Option<Runtime>,
}

impl Namespace {
    pub fn create(name: &str) -> Self {
        let name = format!("{PREFIX}{}-{name}", std::process::id());
        ip(&["netns", "add", &name]).unwrap();
        ip(&["-n", &name, "link", "set", "lo", "up"]).unwrap();
        let file = Arc::new(File::open(format!("/run/netns/{name}")).unwrap());
        let entered = Arc::clone(&file);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .on_thread_start(move || enter(&entered))
            .build()
            .unwrap();
        Self { name, file, runtime: Some(runtime) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does the work on a thread inside; tasks that it spawns go on there.
    pub fn run<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        let runtime = self.runtime.as_ref().unwrap();
        std::thread::scope(|scope| {
            let done = scope.spawn(|| {
                enter(&self.file);
                runtime.block_on(work())
            });
            done.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its tasks must not keep the caller, which may be a panic.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        if let Err(error) = ip(&["netns", "del", &self.name]) {
            println!("namespace {} stays: {error}", self.name);
        }
    }
}

/// Removes namespaces of runs that were killed.
pub fn remove_abandoned() {
    for line in ip(&["netns", "list"]).unwrap_or_default().lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let run = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if run.is_some_and(|run| !std::path::Path::new("/proc").join(run).exists()) {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

/// Joins two namespaces by a pair of devices with these addresses.
pub fn join(ends: [(&Namespace, &str, &str); 2]) {
    let [(near, near_device, near_address), (far, far_device, far_address)] = ends;
    let pair = ["type", "veth", "peer", "name", far_device, "netns", far.name()];
    ip(&[&["link", "add", near_device, "netns", near.name()][..], &pair].concat()).unwrap();
    address(near, near_device, near_address, far_address);
    address(far, far_device, far_address, near_address);
}

/// Gives a device of a namespace its address and that of its other end.
pub fn address(namespace: &Namespace, device: &str, own: &str, peer: &str) {
    ip(&["-n", namespace.name(), "addr", "add", own, "peer", peer, "dev", device]).unwrap();
    ip(&["-n", namespace.name(), "link", "set", device, "up"]).unwrap();
}

/// Output of `ip`, or what it says instead.
pub fn ip(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("ip: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("ip {}: {}", arguments.join(" "), text(&output.stderr)))
    }
}

/// Moves the calling thread.
fn enter(file: &File) {
    // SAFETY: the descriptor is open, and the call touches no memory of this process.
    #[allow(unsafe_code)]
    let status = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(status, 0, "setns: {}", std::io::Error::last_os_error());
}
