//! The command line of graph-opt: one file a subcommand.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
// A program's answers go to standard output, everything else to standard error.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod bisect;
mod blocks;
mod dataset;
mod diff;
mod energy;
mod explain;
mod failure;
mod folder;
mod inspect;
mod judge;
mod library;
mod measure;
mod model;
mod npy;
mod opt;
mod passes;
mod plan;
mod plot;
mod print;
mod profile;
mod progress;
mod reduce;
mod repro;
mod rewrite;
mod run;
mod scale;
mod serve;
mod simulate;
mod split;
mod tensors;
mod triton;
mod verify;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Rewrites ONNX graphs so that networks fit the memory of the machine, and shows that the answer
/// is the same.
///
/// MODEL is a .onnx file, a .gir file, "-" for standard input, or zoo:NAME for a network that
/// graph-opt builds itself ("zoo:" lists them).
///
/// Exit codes: 0 done; 1 a check failed; 2 wrong usage or unreadable input; 3 unsupported.
#[derive(Parser)]
#[command(name = "graph-opt", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Rewrites a model with a pipeline of passes
    Opt(opt::Args),
    /// Compares two models: identical, exact, bit-exact, close, or where they differ
    Verify(verify::Args),
    /// Runs a model
    Run(run::Args),
    /// Times a model on the CPU backend
    Bench(bench::Args),
    /// Lists the blocks of a model, and makes smaller variants of them
    Blocks(blocks::Args),
    /// Chooses a variant of each block under limits of memory, size and time
    Scale(scale::Args),
    /// Shows operators, MACs, parameters, peak memory, and what cannot be tiled and why
    Inspect(inspect::Args),
    /// Prints a model as IR text
    Print(print::Args),
    /// Shows how two models differ, as IR text
    Diff(diff::Args),
    /// Shows what each pass did, or why it did not
    Explain(explain::Args),
    /// Finds the first edit after which the models differ
    Bisect(bisect::Args),
    /// Finds the smallest model on which a command still fails
    ///
    /// The command is run by the shell on parts of the model, written as ONNX files: exit code 0
    /// means that it works, any other that it fails. Let it fail for one reason only, such as a
    /// certain message, or another fault may be found than the one that is looked for. Values that
    /// are cut off become inputs of the same type.
    Reduce(reduce::Args),
    /// Runs a reproducer of an internal error again: 0 the error is gone, 1 it is not
    Repro(repro::Args),
    /// Measures how long nodes, and stretches of nodes, take on this machine
    Profile(profile::Args),
    /// Plans which nodes run on which device of a cluster, with a proven bound
    Plan(plan::Args),
    /// Cuts a model into the stages of a plan: an ONNX file each, and a manifest
    Split(split::Args),
    /// Runs all stages of a split model in one process: what crosses, what each holds, and when
    Simulate(simulate::Args),
    /// Runs the stages over machines, on dora-rs: the program graph-opt-worker
    #[command(disable_help_flag = true)]
    Worker(worker::Args),
    /// Lists the passes and their options
    Passes(passes::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Opt(a) => opt::main(a),
        Command::Verify(a) => verify::main(&a),
        Command::Run(a) => run::main(&a),
        Command::Bench(a) => bench::main(&a),
        Command::Blocks(a) => blocks::main(&a),
        Command::Scale(a) => scale::main(&a),
        Command::Inspect(a) => inspect::main(&a),
        Command::Print(a) => print::main(&a),
        Command::Diff(a) => diff::main(&a),
        Command::Explain(a) => explain::main(&a),
        Command::Bisect(a) => bisect::main(&a),
        Command::Reduce(a) => reduce::main(&a),
        Command::Repro(a) => repro::main(&a),
        Command::Profile(a) => profile::main(&a),
        Command::Plan(a) => plan::main(&a),
        Command::Split(a) => split::main(&a),
        Command::Simulate(a) => simulate::main(&a),
        Command::Worker(a) => worker::main(&a),
        Command::Passes(a) => passes::main(&a),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(f) => {
            if !f.message.is_empty() {
                failure::say(format!("error: {}", f.message));
            }
            ExitCode::from(f.code)
        }
    }
}
