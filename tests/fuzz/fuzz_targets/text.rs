//! See `graph_opt_fuzz::text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| graph_opt_fuzz::text::check(bytes));
