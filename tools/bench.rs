//! `graph-opt bench`

use std::sync::Arc;
use std::time::Instant;

use graph_opt_backends::Backend;
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::draw;

use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::Answer;
use crate::dims::Dims;
use crate::failure::{Result, usage};
use crate::model;
use crate::run::{prepare_failure, run_failure};

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
    /// Threads
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Runs after one that warms up
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    #[command(flatten)]
    dims: Dims,
}

/// How long a model takes.
#[derive(Serialize, JsonSchema)]
pub struct Times {
    /// Median, in seconds.
    median_s: f64,
    /// Least, in seconds.
    min_s: f64,
    /// Most, in seconds.
    max_s: f64,
    /// Number of runs, without the one that warms up.
    runs: usize,
    /// Number of threads.
    threads: u16,
}

pub fn main(args: &Args) -> Result<Answer> {
    let graph = Arc::new(model::load(&args.model)?);
    let inputs = draw(&graph, &args.dims.extents(), 0).map_err(usage)?;
    let cpu = Cpu { threads: args.threads.into(), ..Cpu::default() };
    let executable = cpu.prepare(graph.clone()).map_err(prepare_failure)?;
    let mut times = Vec::new();
    for _ in 0..=args.runs {
        let start = Instant::now();
        executable.run(&inputs, graph.outputs()).map_err(run_failure)?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.remove(0);
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let (min, max) = (times[0], times[times.len() - 1]);
    let text = format!(
        "{:.2} ms (median of {}, {:.2} to {:.2})\n",
        median * 1e3,
        times.len(),
        min * 1e3,
        max * 1e3
    );
    let (runs, threads) = (times.len(), args.threads);
    Ok(Answer::new(Times { median_s: median, min_s: min, max_s: max, runs, threads }, text))
}
