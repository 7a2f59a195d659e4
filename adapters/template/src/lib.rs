//! A small complete adapter, made to be copied: trades and order books of an invented venue (`template_spot`).
//!
//! An author fills four functions, each in the file of its name: [`describe`](describe::describe),
//! [`instruments`](instruments::instruments), [`plan`](plan::plan) and [`normalize`](normalize::normalize). `VENUE.md` names the
//! source of every rule.

mod adapter;
mod describe;
mod instruments;
mod normalize;
mod plan;

pub use adapter::{Functions, Template};

marketprism_adapter_sdk::export_adapter!(Template);
