//! No target: writes seeds into the folder that `SEEDS` names. See `graph_opt_fuzz::seeds`.
#![no_main]
#![allow(unreachable_code)]

libfuzzer_sys::fuzz_target!(
    init: {
        let out = std::env::var_os("SEEDS").expect("SEEDS names the folder to write into");
        graph_opt_fuzz::seeds::write(out.into()).expect("seeds are written");
        std::process::exit(0)
    },
    |_bytes: &[u8]| {}
);
