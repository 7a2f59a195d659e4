//! The report: findings, pages, commands, failures of its sources.

mod completeness;
mod engine;
mod rules;
mod seed;
mod verify;
mod web;
