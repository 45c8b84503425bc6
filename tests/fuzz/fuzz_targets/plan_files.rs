//! See `graph_opt_fuzz::plan_files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| graph_opt_fuzz::plan_files::check(bytes));
