//! A process of a test, and waiting for what it does.

use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(60);
/// Shortest pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// A process that ends with its value.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Asks it to end and waits for it.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal("TERM");
        wait_for("the process to end", || self.0.try_wait().unwrap())
    }

    /// Takes the processor from it, as a machine does that is suspended: it keeps its connections and hears of nothing.
    pub fn stop(&self) {
        self.signal("STOP");
    }

    /// Lets it go on where it was stopped.
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for an end by itself.
    pub fn ended(mut self) -> ExitStatus {
        wait_for("the process to end", || self.0.try_wait().unwrap())
    }
}

/// Polls until there is a value.
pub fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Polls until there is a value.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, poll: impl FnMut() -> F) -> T {
    until_within(PATIENCE, what, poll).await
}

/// Polls until there is a value; what was seen last is told when there is none.
pub async fn until_told<T, F: Future<Output = Result<T, String>>>(
    what: &str,
    mut poll: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match poll().await {
            Ok(value) => return value,
            Err(last) => assert!(Instant::now() < deadline, "waited in vain for {what}; last seen: {last}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Polls until there is a value, with another patience.
pub async fn until_within<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    what: &str,
    mut poll: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        let began = Instant::now();
        if let Some(value) = poll().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        // Looking is work for what is looked at: at most half of the time is spent on it.
        tokio::time::sleep(began.elapsed().max(LOOK)).await;
    }
}

/// A port that nobody listens at.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
