//! Lines for the edge's log: the one thing that an adapter may import.

/// How important a line is.
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

/// Writes a line that only matters while an adapter is developed.
pub fn debug(message: &str) {
    log(Level::Debug, message);
}

/// Writes a line about the normal course.
pub fn info(message: &str) {
    log(Level::Info, message);
}

/// Writes a line about something unusual through which nothing is lost.
pub fn warn(message: &str) {
    log(Level::Warn, message);
}

/// Enough for a test; a native run that never asks for its lines stays small.
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
