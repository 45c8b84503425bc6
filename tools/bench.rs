//! `graph-opt bench`

use std::sync::Arc;
use std::time::Instant;

use graph_opt_backends::Backend;
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::{Extents, draw};

use crate::failure::{Result, out, usage};
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
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn main(args: &Args) -> Result {
    let graph = Arc::new(model::load(&args.model)?);
    let inputs = draw(&graph, &Extents::default(), 0).map_err(usage)?;
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
    if args.json {
        let json = serde_json::json!({
            "median_s": median, "min_s": min, "max_s": max, "runs": times.len(), "threads": args.threads,
        });
        return out(format!("{json}\n"));
    }
    out(format!(
        "{:.2} ms (median of {}, {:.2} to {:.2})\n",
        median * 1e3,
        times.len(),
        min * 1e3,
        max * 1e3
    ))
}
