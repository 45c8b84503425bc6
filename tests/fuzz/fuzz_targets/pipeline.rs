//! See `graph_opt_fuzz::pipeline`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| graph_opt_fuzz::pipeline::check(bytes));
