//! Lines for the edge's log, the only import of an adapter.

/// Level of a line.
pub use crate::bindings::marketprism::adapter::log::Level;

/// Writes a line. In a native build it goes to [`captured`], for tests.
pub fn log(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::marketprism::adapter::log::log(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    LINES.with_borrow_mut(|lines| {
        if lines.len() < LINES_MAX {
            lines.push((level, message.to_owned()));
        }
    });
}

/// For the development of an adapter.
pub fn debug(message: &str) {
    log(Level::Debug, message);
}

/// Normal operation.
pub fn info(message: &str) {
    log(Level::Info, message);
}

/// Unusual, without loss.
pub fn warn(message: &str) {
    log(Level::Warn, message);
}

/// Bounds the memory of a native run that never reads its lines.
#[cfg(not(target_arch = "wasm32"))]
const LINES_MAX: usize = 1000;

#[cfg(not(target_arch = "wasm32"))]
thread_local! {
    static LINES: std::cell::RefCell<Vec<(Level, String)>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// The lines that this thread wrote since the last call (the first 1000).
#[cfg(not(target_arch = "wasm32"))]
pub fn captured() -> Vec<(Level, String)> {
    LINES.take()
}
