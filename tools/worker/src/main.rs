//! Runs the stages of a split model over machines, as nodes of the distributed engine dora-rs 1.1.
//!
//! A program of its own, so that nothing else of graph-opt depends on the engine. `README.md` beside
//! it says how a cluster is started.

// A program's answers go to standard output, everything else to standard error.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod check;
mod device;
mod folder;
mod frames;
mod key;
mod port;
mod protocol;
mod record;
mod sink;
mod source;
mod stage;
mod start;

// The same files as the main tool's.
#[allow(dead_code)]
#[path = "../../failure.rs"]
mod failure;
#[allow(dead_code)]
#[path = "../../host.rs"]
mod host;
#[allow(dead_code)]
#[path = "../../input.rs"]
mod input;
#[allow(dead_code)]
#[path = "../../model.rs"]
mod model;
#[allow(dead_code)]
#[path = "../../npy.rs"]
mod npy;
#[allow(dead_code)]
#[path = "../../onnxruntime.rs"]
mod onnxruntime;
#[allow(dead_code)]
#[path = "../../output.rs"]
mod output;
#[allow(dead_code)]
#[path = "../../tensors.rs"]
mod tensors;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use graph_opt_passes::devices::files::dataflow::WINDOW;

/// Runs the stages of a split model over machines, on dora-rs 1.1.
///
/// Exit codes: 0 done; 1 a check failed; 2 wrong usage or unreadable input; 3 unsupported.
#[derive(Parser)]
#[command(name = "graph-opt-worker", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A node: runs the parts of a device
    Device(device::Args),
    /// A node: sends frames
    Source(source::Args),
    /// A node: takes results
    Sink(sink::Args),
    /// Writes dataflow.yml beside the manifest, for `dora start`
    Dataflow(start::Write),
    /// Starts the dataflow on a coordinator and watches it to its end
    Start(start::Args),
    /// Compares the results with the whole model, bit for bit, and the rate with the plan
    Check(check::Args),
}

/// How tensors travel.
#[derive(clap::Args, Clone, Debug)]
struct Link {
    /// Most frames under way
    #[arg(long, default_value_t = WINDOW, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    window: u32,
    /// Most bytes of a message; larger tensors are cut up
    #[arg(long, default_value_t = protocol::wire::LIMIT as u32, value_name = "BYTES",
          value_parser = clap::value_parser!(u32).range(1..=protocol::wire::LIMIT as i64))]
    message: u32,
    /// The file with the key of the dataflow, alike on all its machines: only who has it is heard
    /// [default: worker.key in the folder]
    #[arg(long, value_name = "FILE")]
    key: Option<String>,
}

impl Link {
    fn limit(&self) -> usize {
        self.message as usize
    }

    /// What is known of a value of this type before it comes.
    fn expected(&self, ty: Option<&graph_opt_ir::Type>) -> protocol::wire::Expected {
        protocol::wire::Expected::of(ty, self.limit())
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Device(a) => device::main(&a),
        Command::Source(a) => source::main(&a),
        Command::Sink(a) => sink::main(&a),
        Command::Dataflow(a) => start::write_only(&a),
        Command::Start(a) => start::main(&a),
        Command::Check(a) => check::main(&a),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(f) => {
            if !f.message.is_empty() {
                eprintln!("error: {}", f.message);
            }
            ExitCode::from(f.kind.code())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
