//! The report: findings, pages, commands, failures of its sources.

mod completeness;
mod rules;
mod seed;
mod verify;
mod web;
