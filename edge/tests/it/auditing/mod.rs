//! What an edge reports of a window is what the broker has of it, whatever happens meanwhile.

mod delivery;
mod edge;
mod requests;
mod windows;
