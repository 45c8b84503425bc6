//! See `graph_opt_fuzz::import`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| graph_opt_fuzz::import::check(bytes));
