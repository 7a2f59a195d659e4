//! The audit of a window equals the broker's data of the window, whatever happens meanwhile.

mod delistings;
mod delivery;
pub mod setup;
mod stops;
mod terms;
mod windows;
