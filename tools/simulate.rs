//! `graph-opt simulate`

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use graph_opt_backends::Backend;
use graph_opt_backends::cpu::{Cpu, Prepared};
use graph_opt_backends::inputs::{Extents, draw};
use graph_opt_ir::{Graph, Tensor};
use graph_opt_passes::analysis::cost;

use crate::failure::{Result, check, out, usage};
use crate::model;
use crate::opt::size;
use crate::run::{prepare_failure, run_failure};
use crate::split::{Manifest, json};

#[derive(clap::Args)]
pub struct Args {
    /// The folder that `graph-opt split` made
    folder: String,
    /// The whole model, to compare with
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Frames
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    frames: u16,
    /// Seed of random inputs
    #[arg(long, default_value_t = 0, value_name = "S")]
    seed: u64,
}

struct Stage {
    graph: Arc<Graph>,
    prepared: Prepared,
    /// Most bytes of activations of a run.
    peak: u64,
    /// Bytes that came in over a link.
    received: u64,
}

pub fn main(args: &Args) -> Result {
    let folder = Path::new(&args.folder);
    let manifest: Manifest = json(&folder.join("manifest.json"))?;
    if manifest.version != 1 || manifest.stages.len() != manifest.plan.stages.len() {
        return Err(usage(format!("{}: the manifest is of another version", folder.display())));
    }
    let mut stages = Vec::new();
    for part in &manifest.stages {
        let path = folder.join(&part.file);
        let inside = Path::new(&part.file).file_name().is_some_and(|n| n == &*part.file);
        if !inside {
            return Err(usage(format!("{:?} is not a file of the folder", part.file)));
        }
        let graph = Arc::new(model::load(&path.to_string_lossy())?);
        let prepared = Cpu::default().prepared(graph.clone()).map_err(prepare_failure)?;
        stages.push(Stage { graph, prepared, peak: 0, received: 0 });
    }
    let whole = args.model.as_deref().map(model::load).transpose()?.map(Arc::new);
    for frame in 0..args.frames {
        let seed = args.seed + u64::from(frame);
        let inputs = inputs(&manifest, &stages, whole.as_deref(), seed)?;
        let given = inputs.clone();
        let outputs = run(&manifest, &mut stages, inputs)?;
        if let Some(whole) = &whole {
            let value = |&v: &graph_opt_ir::ValueId| given.get(&*whole.value(v).name).cloned();
            let inputs: Option<Vec<Tensor>> = whole.inputs().iter().map(value).collect();
            let inputs = inputs.ok_or_else(|| usage("the model has other inputs"))?;
            let all = Cpu::default().prepare(whole.clone()).map_err(prepare_failure)?;
            let want = all.run(&inputs, whole.outputs()).map_err(run_failure)?;
            for (t, &v) in want.iter().zip(whole.outputs()) {
                let name = &*whole.value(v).name;
                if outputs.get(name) != Some(t) {
                    return Err(check(format!(
                        "frame {frame}: {name} differs from the whole model's"
                    )));
                }
            }
        }
    }
    report(&manifest, &stages, args.frames, whole.is_some())
}

/// Inputs by name.
fn inputs(
    manifest: &Manifest,
    stages: &[Stage],
    whole: Option<&Graph>,
    seed: u64,
) -> Result<HashMap<String, Tensor>> {
    let graphs: Vec<&Graph> = match whole {
        Some(w) => vec![w],
        None => stages.iter().map(|s| &*s.graph).collect(),
    };
    let mut all = HashMap::new();
    for g in graphs {
        let drawn = draw(g, &Extents::default(), seed).map_err(usage)?;
        for (&v, t) in g.inputs().iter().zip(drawn) {
            let name = g.value(v).name.to_string();
            if manifest.inputs.contains(&name) {
                all.entry(name).or_insert(t);
            }
        }
    }
    Ok(all)
}

/// Runs a frame: each stage sees what the one before sent, and nothing else.
fn run(
    manifest: &Manifest,
    stages: &mut [Stage],
    inputs: HashMap<String, Tensor>,
) -> Result<HashMap<String, Tensor>> {
    let mut sent = inputs;
    let mut before: Option<&str> = None;
    for ((part, row), stage) in manifest.stages.iter().zip(&manifest.plan.stages).zip(stages) {
        if before.is_some_and(|b| b != row.device) || (before.is_none() && row.receives_bytes > 0) {
            stage.received += sent.values().map(bytes).sum::<u64>();
        }
        before = Some(&row.device);
        let lacks = |name: &String| usage(format!("{}: nothing sends {name:?}", part.file));
        let read = |name: &String| sent.get(name).cloned().ok_or_else(|| lacks(name));
        let inputs: Vec<Tensor> = part.inputs.iter().map(read).collect::<Result<_>>()?;
        let (made, measured) = stage.prepared.run_measured(&inputs).map_err(run_failure)?;
        // What is handed on unread is held all the while.
        let handed: u64 = part
            .passes
            .iter()
            .filter(|p| !part.inputs.contains(p))
            .map(|p| sent.get(p).map_or(0, bytes))
            .sum();
        stage.peak = stage.peak.max(measured.peak + handed);
        let mut next: HashMap<String, Tensor> = HashMap::new();
        for name in &part.passes {
            next.insert(name.clone(), read(name)?);
        }
        next.extend(part.outputs.iter().cloned().zip(made));
        next.retain(|name, _| part.sends.contains(name));
        sent = next;
    }
    Ok(sent)
}

fn bytes(t: &Tensor) -> u64 {
    t.ty().bytes().unwrap_or(0)
}

fn report(manifest: &Manifest, stages: &[Stage], frames: u16, compared: bool) -> Result {
    let plan = &manifest.plan;
    let mut text = String::new();
    let mut wrong = Vec::new();
    for (i, (s, row)) in stages.iter().zip(&plan.stages).enumerate() {
        let received = s.received / u64::from(frames);
        let memory = cost(&s.graph).constant_bytes + s.peak;
        text.push_str(&format!(
            "stage {i} on {}: received {} a frame (plan {}), memory {} (plan {})\n",
            row.device,
            size(received),
            size(row.receives_bytes),
            size(memory),
            size(row.memory_bytes)
        ));
        if received != row.receives_bytes {
            wrong.push(format!("stage {i} received {received} B, planned {}", row.receives_bytes));
        }
        if memory != row.memory_bytes {
            wrong.push(format!("stage {i} took {memory} B, planned {}", row.memory_bytes));
        }
    }
    let clock = Clock::of(manifest, frames.into());
    text.push_str(&clock.chart());
    let steady = clock.interval();
    text.push_str(&format!(
        "first frame after {:.3} ms (plan {:.3}), then one every {:.3} ms (plan {:.3})\n",
        clock.done[0] * 1e3,
        plan.latency_s * 1e3,
        steady * 1e3,
        plan.interval_s * 1e3
    ));
    if compared {
        text.push_str(&format!(
            "{frames} of {frames} frames are equal to the whole model's, bit for bit\n"
        ));
    }
    out(text)?;
    if wrong.is_empty() { Ok(()) } else { Err(check(wrong.join("; "))) }
}

/// The pipeline by the plan's times. A link and a device each do one thing at a time.
struct Clock {
    /// Of each stage and frame, when computing begins and ends.
    spans: Vec<Vec<(f64, f64)>>,
    /// When each frame is out.
    done: Vec<f64>,
}

impl Clock {
    fn of(manifest: &Manifest, frames: usize) -> Self {
        let rows = &manifest.plan.stages;
        let mut spans = vec![Vec::new(); rows.len()];
        let mut done = Vec::new();
        let (mut device, mut link) = (vec![0.0f64; rows.len()], vec![0.0f64; rows.len() + 1]);
        for _ in 0..frames {
            let mut at = 0.0f64;
            for (i, row) in rows.iter().enumerate() {
                link[i] = link[i].max(at) + row.receives_s;
                let begin = link[i].max(device[i]);
                device[i] = begin + row.compute_s;
                at = device[i];
                spans[i].push((begin, at));
            }
            let last = rows.len();
            link[last] = link[last].max(at) + manifest.plan.out_s;
            done.push(link[last]);
        }
        Self { spans, done }
    }

    /// Seconds between the last two frames.
    fn interval(&self) -> f64 {
        match self.done[..] {
            [.., a, b] => b - a,
            _ => self.done.first().copied().unwrap_or(0.0),
        }
    }

    /// A line for each stage: which frame it computes when.
    fn chart(&self) -> String {
        const COLUMNS: usize = 72;
        let end = self.done.last().copied().unwrap_or(0.0).max(f64::MIN_POSITIVE);
        let column = |t: f64| ((t / end * COLUMNS as f64) as usize).min(COLUMNS - 1);
        let mut text = String::new();
        for (i, spans) in self.spans.iter().enumerate() {
            let mut line = vec!['.'; COLUMNS];
            for (frame, &(a, b)) in spans.iter().enumerate() {
                let mark = char::from(b'0' + (frame % 10) as u8);
                line[column(a)..=column(b).max(column(a))].fill(mark);
            }
            text.push_str(&format!("{i:>3} |{}|\n", line.into_iter().collect::<String>()));
        }
        text
    }
}
