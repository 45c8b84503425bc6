//! The command line of graph-opt.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    graph_opt::main()
}
