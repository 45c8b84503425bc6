//! Integration tests: the whole of graph-opt on small graphs, random graphs, real models and
//! hostile files. One binary, so that it is linked once.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)] // Tests.

mod assumed;
mod blocks;
mod bodies;
mod budgets;
mod bugs;
mod cli;
mod cli_devices;
mod dags;
mod dead_channels;
mod definitions;
mod devices;
mod devices_dime;
mod devices_large;
mod devices_seifer;
mod devices_seifer_memory;
mod devices_snapshots;
mod devices_tiles;
mod eqsat;
mod faults;
mod filetests;
mod found_files;
mod found_identity;
mod found_verdicts;
mod found_windows;
mod fused;
mod golden;
mod hostile;
mod hosts;
mod large;
mod models;
mod msf;
mod mutants;
mod operators;
mod outcomes;
mod peers_faults;
mod pictures;
mod proofs;
mod properties;
mod rules;
mod schedule;
mod snapshots;
mod support;
mod tutorial;
mod values;
