//! The report: what it says, to whom, and that nothing makes it fail.

mod rules;
mod seed;
mod web;
