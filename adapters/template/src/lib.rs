//! A small complete adapter, made to be copied: trades and order books of an invented venue (`template_spot`).
//!
//! An author fills four functions, each in the file of its name: [`describe`](describe::describe),
//! [`instruments`](instruments::instruments), [`plan`](plan::plan) and [`normalize`](normalize::normalize). `adapter.rs` joins
//! them to the contract and `object.rs` reads JSON; both can stay as they are. `VENUE.md` names the source of every rule.

mod adapter;
mod describe;
mod instruments;
mod normalize;
mod object;
mod plan;

pub use adapter::Template;

marketprism_adapter_sdk::export_adapter!(Template);
