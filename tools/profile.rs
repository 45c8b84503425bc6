//! `graph-opt profile`

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::{Extents, draw};
use graph_opt_passes::analysis::plan;
use serde::{Deserialize, Serialize};

use crate::failure::{Result, check, out, usage};
use crate::model;
use crate::progress::Progress;
use crate::run::{prepare_failure, run_failure};

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
    /// Where to write the profile; without it, it goes to standard output
    #[arg(short, long, value_name = "FILE.json")]
    output: Option<String>,
    /// Threads
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Runs after one that warms up
    #[arg(long, default_value_t = 9, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
}

/// How long the nodes of a model take on a device.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    version: u32,
    backend: String,
    threads: u16,
    runs: u16,
    nodes: Vec<Entry>,
}

/// A node. Seconds: the median, and the distance of the quartiles.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    seconds: f64,
    spread: f64,
}

impl Profile {
    /// Seconds by the names of nodes.
    pub fn seconds(&self) -> BTreeMap<String, f64> {
        self.nodes.iter().map(|e| (e.name.clone(), e.seconds)).collect()
    }
}

/// Reads a profile: JSON, or CSV with a header and the columns `name` and `seconds`, `ms` or `us`.
pub fn read(path: &Path) -> Result<Profile> {
    let at = |e: &dyn std::fmt::Display| usage(format!("{}: {e}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| at(&e))?;
    let profile = if path.extension().is_some_and(|e| e == "csv") {
        table(&text).map_err(|e| at(&e))?
    } else {
        serde_json::from_str(&text).map_err(|e| at(&e))?
    };
    match profile.nodes.iter().find(|e| !e.seconds.is_finite() || e.seconds < 0.0) {
        Some(e) => Err(at(&format!("node {} takes {} s", e.name, e.seconds))),
        None if profile.version != 1 => Err(at(&"a profile of another version")),
        None => Ok(profile),
    }
}

fn table(text: &str) -> std::result::Result<Profile, String> {
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let header = rows.headers().map_err(|e| e.to_string())?.clone();
    let units = [("seconds", 1.0), ("ms", 1e-3), ("us", 1e-6)];
    let column = |name: &str| header.iter().position(|h| h.trim() == name);
    let name = column("name").ok_or("there is no column name")?;
    let time = units.iter().find_map(|(unit, factor)| Some((column(unit)?, *factor)));
    let (time, factor) = time.ok_or("there is no column seconds, ms or us")?;
    let mut nodes = Vec::new();
    for row in rows.records() {
        let row = row.map_err(|e| e.to_string())?;
        let cell = |i: usize| row.get(i).unwrap_or("").trim();
        let seconds: f64 =
            cell(time).parse().map_err(|_| format!("{:?} is no time", cell(time)))?;
        nodes.push(Entry { name: cell(name).into(), seconds: seconds * factor, spread: 0.0 });
    }
    Ok(Profile { version: 1, backend: "csv".into(), threads: 0, runs: 0, nodes })
}

pub fn main(args: &Args) -> Result {
    let graph = Arc::new(model::load(&args.model)?);
    let memory = plan(&graph).map_err(|e| {
        usage(format!("{e}; fix extents with graph-opt opt --dim NAME=N --fix-dims"))
    })?;
    let inputs = draw(&graph, &Extents::default(), 0).map_err(usage)?;
    let cpu = Cpu { threads: args.threads.into(), ..Cpu::default() };
    let prepared = cpu.prepared(graph.clone()).map_err(prepare_failure)?;
    let mut times = vec![Vec::new(); memory.steps.len()];
    let progress = Progress::new();
    for run in 0..=args.runs {
        progress.say(&format!("run {run} of {}", args.runs));
        let (_, measured) = prepared.run_measured(&inputs).map_err(run_failure)?;
        for (all, s) in times.iter_mut().zip(&measured.seconds).filter(|_| run > 0) {
            all.push(*s);
        }
    }
    drop(progress);
    let entry = |(n, mut all): (&graph_opt_ir::NodeId, Vec<f64>)| {
        all.sort_by(f64::total_cmp);
        let at = |share: f64| all[((all.len() - 1) as f64 * share) as usize];
        let name = graph.label(*n).to_owned();
        Entry { name, seconds: at(0.5), spread: at(0.75) - at(0.25) }
    };
    let nodes = memory.steps.iter().zip(times).map(entry).collect();
    let (threads, runs) = (args.threads, args.runs);
    let profile = Profile { version: 1, backend: "cpu".into(), threads, runs, nodes };
    let json = serde_json::to_string_pretty(&profile).map_err(|e| check(e.to_string()))?;
    match &args.output {
        Some(path) => model::whole(Path::new(path), format!("{json}\n").as_bytes()),
        None => out(format!("{json}\n")),
    }
}
