//! Driftless keeps dbt models fresh: it tails Postgres and MySQL, maintains every model of a dbt project
//! incrementally, and commits each to an Apache Iceberg table. What it publishes at a source position
//! equals what a full recompute would give there.
//!
//! Read the modules in this order and you have walked with one change from its source to its readers.

pub mod error;
pub mod row;
pub mod source;
pub mod project;
pub mod plan;
pub mod state;
pub mod flow;
pub mod commit;
pub mod daemon;
pub mod cli;
pub mod world;
