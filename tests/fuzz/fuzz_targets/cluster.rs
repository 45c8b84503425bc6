//! See `graph_opt_fuzz::cluster`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| graph_opt_fuzz::cluster::check(bytes));
