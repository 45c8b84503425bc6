//! The command line of graph-opt, one file a subcommand; and its commands for other programs ([`call`]).
#![forbid(unsafe_code)]
#![warn(missing_docs)]
// A program's answers go to standard output, everything else to standard error.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod answer;
mod bench;
mod bisect;
mod blocks;
mod budget;
mod check;
mod cluster;
mod completions;
mod cpufreq;
mod dataset;
mod diff;
mod dims;
mod energy;
mod explain;
mod failure;
mod folder;
mod guard;
mod help;
mod host;
mod input;
mod inputs;
mod inspect;
mod judge;
mod library;
mod log;
mod man;
mod measure;
mod model;
mod npy;
mod onnxruntime;
mod opt;
mod output;
mod passes;
mod pictures;
mod plan;
mod plot;
mod print;
mod profile;
mod progress;
mod reduce;
mod report;
mod repro;
mod rewrite;
mod run;
mod scale;
mod serve;
mod simulate;
mod split;
mod table;
mod tensors;
mod top;
mod triton;
mod verdict;
mod verify;
mod version;
mod view;
mod worker;
mod workshop;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use graph_opt_ir::Tensor;
use graph_opt_ir::tensor::bytes_read;

use crate::answer::{Answer, Envelope};
use crate::failure::{Failure, Tone};
use crate::host::Host;

pub use failure::Kind;
pub use host::{MEMORY, Models};

/// Rewrites ONNX graphs so that networks fit the memory of the machine, and shows that the answer
/// is the same.
///
/// MODEL is a .onnx file, a .gir file, "-" for standard input, or zoo:NAME for a network that
/// graph-opt builds itself ("zoo:" lists them).
///
/// Exit codes: 0 done; 1 models or results differ, or an error was reproduced; 2 wrong usage, or
/// input that cannot be read; 3 not supported; 4 a limit cannot be met: it does not fit, or there is
/// no plan; 5 undecided; 6 output cannot be written; 70 internal error; 130 interrupted.
#[derive(Parser)]
#[command(name = "graph-opt", version, long_version = version::long(), propagate_version = true)]
#[command(max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON object to standard output, errors included; docs/schema.json describes it
    #[arg(long, global = true)]
    json: bool,
    /// Show more: every remark, operators that changed, what `reduce --check` prints
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    verbose: bool,
    /// Show answers and errors only
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Rewrites a model with a pipeline of passes
    Opt(opt::Args),
    /// Compares two models: identical, exact, bit-exact, close, or where they differ
    Verify(verify::Args),
    /// Checks that models keep the budgets and equalities of a file, for CI
    Check(check::Args),
    /// Runs a model
    Run(run::Args),
    /// Times a model on the CPU backend
    Bench(bench::Args),
    /// Lists the blocks of a model, and makes smaller variants of them
    Blocks(blocks::Args),
    /// Chooses a variant of each block under limits of memory, size and time
    Scale(scale::Args),
    /// Shows a model as a page with its graph and its memory, or as SVG, DOT or JSON for Model Explorer
    View(view::Args),
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
    /// Measures links between machines, or makes a cluster from positions of nodes
    Cluster(cluster::Args),
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
    /// Prints completions of commands and options for a shell
    Completions(completions::Args),
    /// Writes the man pages
    Man(man::Args),
}

/// The command line.
fn command() -> clap::Command {
    help::with_help(Cli::command())
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let parsed = command().try_get_matches().and_then(|m| Cli::from_arg_matches(&m));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(e) if e.use_stderr() && std::env::args().any(|a| a == "--json") => {
            return end(true, String::new(), Err(failure::usage(e)));
        }
        Err(e) => e.exit(),
    };
    failure::QUIET.store(cli.quiet, Ordering::Relaxed);
    log::start();
    let name = cli.command.name();
    let command = || {
        guard::on_interrupt()?;
        let answer = run(cli.command, cli.json, cli.verbose);
        tracing::info!("{} bytes of external data read", bytes_read());
        answer
    };
    end(cli.json, name, guard::guarded(Path::new(""), command))
}

/// What a command came to.
pub struct Called {
    /// The exit code that the command line would have.
    pub exit: u8,
    /// The envelope of `--json`.
    pub envelope: String,
    /// The answer as text; without one, empty.
    pub text: String,
    /// Why the command failed, in words; empty if it did not.
    pub error: String,
    /// What the command line would print to standard error, besides the error.
    pub said: String,
    /// The models that the command wrote.
    pub written: Models,
}

/// Runs a command as the command line does, in this process: `words` without the program's name. Models may be
/// named [`memory:…`](MEMORY): those that are read are in `models`, those that are written are in the answer.
/// `progress` is told what is being done. Nothing is printed; a panic within graph-opt becomes an error with exit code 70.
pub fn call(words: &[String], models: Models, progress: Option<Rc<dyn Fn(&str)>>) -> Called {
    let host = Host { models, progress, ..Host::default() };
    let words = std::iter::once("graph-opt").chain(words.iter().map(String::as_str));
    let words: Vec<OsString> = words.map(OsString::from).collect();
    let (ended, host) = host::within(host, || {
        let parsed = command().try_get_matches_from(words);
        match parsed.and_then(|m| Cli::from_arg_matches(&m)) {
            Ok(cli) => {
                let name = cli.command.name();
                let command = || run(cli.command, true, cli.verbose);
                Ended::of(name, guard::guarded(&graph_opt_ir::atomic::temporary(), command))
            }
            // Help, or the version, which was asked for.
            Err(e) if !e.use_stderr() => Ended::of(String::new(), Err(Failure::new(Kind::Done, e))),
            Err(e) => Ended::of(String::new(), Err(failure::usage(e))),
        }
    });
    let exit = ended.exit();
    let text = ended.answer.as_ref().map(|a| a.text.clone()).unwrap_or_default();
    // Where everything was said, the text says it.
    let failed =
        ended.failure.as_ref().map(|f| if f.message.is_empty() { &text } else { &f.message });
    let error = failed.cloned().unwrap_or_default();
    let envelope = ended.envelope().unwrap_or_else(|f| f.message);
    Called { exit, envelope, text, error, said: host.said, written: host.written }
}

/// Runs a model on the reference interpreter, on these inputs, which must be all that it takes; gives its outputs by
/// name. As in [`call`], the model may be one of `models`.
///
/// # Errors
/// An exit code, as the command line would have it, and why.
pub fn run_on(
    model: &str,
    models: Models,
    inputs: &[(String, Tensor)],
    threads: usize,
) -> Result<Vec<(String, Tensor)>, (u8, String)> {
    let host = Host { models, ..Host::default() };
    let run = || run::on(&model::load(model)?, inputs, threads);
    let (outputs, _) =
        host::within(host, || guard::guarded(&graph_opt_ir::atomic::temporary(), run));
    outputs.map_err(|f| (f.kind.code(), f.message))
}

/// How a command ended.
struct Ended {
    command: String,
    answer: Option<Answer>,
    failure: Option<Failure>,
}

impl Ended {
    fn of(command: String, ended: failure::Result<Answer>) -> Self {
        let (answer, failure) = match ended {
            Ok(mut answer) => {
                let failure = answer.failure.take();
                (Some(answer), failure)
            }
            // A list that was asked for instead of an answer.
            Err(f) if f.kind == Kind::Done => (Some(Answer::text(f.message)), None),
            Err(f) => (None, Some(f)),
        };
        Self { command, answer, failure }
    }

    fn exit(&self) -> u8 {
        self.failure.as_ref().map_or(0, |f| f.kind.code())
    }

    /// As JSON.
    fn envelope(self) -> failure::Result<String> {
        let result = self.answer.map(|a| a.result);
        let envelope = Envelope::new(self.command, result, self.failure.as_ref());
        serde_json::to_string_pretty(&envelope).map_err(failure::internal)
    }
}

/// Says how a command ended, and gives its exit code.
fn end(json: bool, command: String, ended: failure::Result<Answer>) -> ExitCode {
    let mut ended = Ended::of(command, ended);
    let mut failure = ended.failure.take();
    let text = if json {
        ended.failure = failure.take();
        failure = ended.failure.as_ref().map(|f| Failure::new(f.kind, &f.message));
        ended.envelope().map(|s| (Tone::Plain, s + "\n"))
    } else {
        Ok(ended.answer.map(|a| (a.tone, a.text)).unwrap_or_default())
    };
    if let Err(f) = text.and_then(|(tone, text)| failure::out(tone, text)) {
        failure = Some(f);
    }
    let Some(f) = failure else { return ExitCode::SUCCESS };
    if !f.message.is_empty() && !json {
        failure::told_in(Tone::Bad, format!("error: {}\n", f.message));
    }
    ExitCode::from(f.kind.code())
}

impl Command {
    /// Its name on the command line.
    fn name(&self) -> String {
        match self {
            Self::Opt(_) => "opt",
            Self::Verify(_) => "verify",
            Self::Check(_) => "check",
            Self::Run(_) => "run",
            Self::Bench(_) => "bench",
            Self::Blocks(_) => "blocks",
            Self::Scale(_) => "scale",
            Self::View(_) => "view",
            Self::Inspect(_) => "inspect",
            Self::Print(_) => "print",
            Self::Diff(_) => "diff",
            Self::Explain(_) => "explain",
            Self::Bisect(_) => "bisect",
            Self::Reduce(_) => "reduce",
            Self::Repro(_) => "repro",
            Self::Profile(_) => "profile",
            Self::Cluster(_) => "cluster",
            Self::Plan(_) => "plan",
            Self::Split(_) => "split",
            Self::Simulate(_) => "simulate",
            Self::Worker(_) => "worker",
            Self::Passes(_) => "passes",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
        }
        .into()
    }
}

fn run(command: Command, json: bool, verbose: bool) -> failure::Result<Answer> {
    match command {
        Command::Opt(a) => opt::main(a, json, verbose),
        Command::Verify(a) => verify::main(&a),
        Command::Check(a) => check::main(&a),
        Command::Run(a) => run::main(&a),
        Command::Bench(a) => bench::main(&a),
        Command::Blocks(a) => blocks::main(&a),
        Command::Scale(a) => scale::main(&a, json),
        Command::View(a) => view::main(&a),
        Command::Inspect(a) => inspect::main(&a),
        Command::Print(a) => print::main(&a),
        Command::Diff(a) => diff::main(&a),
        Command::Explain(a) => explain::main(&a),
        Command::Bisect(a) => bisect::main(&a),
        Command::Reduce(a) => reduce::main(&a, json, verbose),
        Command::Repro(a) => repro::main(&a),
        Command::Profile(a) => profile::main(&a),
        Command::Cluster(a) => cluster::main(&a),
        Command::Plan(a) => plan::main(&a),
        Command::Split(a) => split::main(&a),
        Command::Simulate(a) => simulate::main(&a),
        Command::Worker(a) => worker::main(&a).map(|()| Answer::text(String::new())),
        Command::Passes(a) => passes::main(&a),
        Command::Completions(a) => completions::main(&a),
        Command::Man(a) => man::main(&a),
    }
}
