//! Compares what the sink wrote down with the whole model, bit for bit; where the plan has lossy codecs,
//! with its parts in one process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::required;
use graph_opt_backends::stages::{Stages, Values};
use graph_opt_ir::Type;
use graph_opt_passes::devices::files::dataflow::WINDOW;

use crate::failure::{Result, Tone, differs, out, unsupported, usage};
use crate::folder::Folder;
use crate::frames::{self, Frames};
use crate::model;
use crate::record::{self, Line, checksum, interval};
use crate::sink::RECORD;
use crate::stage::{Engine, Stage};

#[derive(clap::Args)]
pub struct Args {
    /// The folder that `graph-opt split` made
    folder: String,
    /// The whole model
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// The folder of results
    #[arg(long, value_name = "DIR")]
    results: String,
    /// Fail unless there are so many frames a second, as a share of what the plan promises
    #[arg(long, value_name = "SHARE")]
    least_rate: Option<f64>,
    #[command(flatten)]
    frames: frames::Wanted,
    #[command(flatten)]
    engine: Engine,
    /// Frames that were under way
    #[arg(long, default_value_t = WINDOW, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
}

/// What frames are compared with.
enum Other {
    Whole(Stage),
    Parts(Box<Stages>),
}

impl Other {
    fn whose(&self) -> &'static str {
        match self {
            Self::Whole(_) => "the whole model's",
            Self::Parts(_) => "those of its parts in one process, lossy codecs included",
        }
    }
}

/// The parts in one process. Codecs are alike on all backends, results are not.
fn parts(folder: &Folder, args: &Args) -> Result<Stages> {
    if args.engine.backend != "cpu" {
        return Err(unsupported("with lossy codecs, frames are compared on the CPU backend only"));
    }
    let one = |i: usize| Ok(Arc::new(model::load(&folder.file(i).to_string_lossy())?));
    let graphs = (0..folder.manifest.stages.len()).map(one).collect::<Result<_>>()?;
    let made = Stages::new(folder.manifest.clone(), graphs, &Cpu::default());
    made.map_err(|e| usage(e.to_string()))
}

pub fn main(args: &Args) -> Result {
    let folder = Folder::open(&args.folder)?;
    let (lines, _) = record::read(&Path::new(&args.results).join(RECORD))?;
    let graph = model::load(&args.model)?;
    let value = |&v: &graph_opt_ir::ValueId| {
        (graph.value(v).name.to_string(), Some(graph.value(v).ty.clone()))
    };
    let inputs: Vec<(String, Option<Type>)> = required(&graph).iter().map(value).collect();
    let names: Vec<String> = inputs.iter().map(|i| i.0.clone()).collect();
    let frames = Frames::of(&args.frames, &folder, inputs)?;
    let plan = &folder.manifest.plan;
    let lossy = plan.codecs().keys().any(|c| !c.is_lossless());
    let mut whole = match lossy {
        true => Other::Parts(Box::new(parts(&folder, args)?)),
        false => Other::Whole(Stage::of(graph, &args.engine)?),
    };
    let mut equal = 0u64;
    for line in &lines {
        let Line::Frame { frame, outputs, .. } = line else { continue };
        let inputs = frames.frame(*frame)?;
        let inputs: Values = names.iter().cloned().zip(inputs).collect();
        let made = match &mut whole {
            Other::Whole(w) => w.run(&inputs)?,
            Other::Parts(p) => p.run(&inputs).map_err(|e| differs(e.to_string()))?,
        };
        let want: BTreeMap<String, String> = folder
            .wiring
            .sink_inputs()
            .iter()
            .map(|v| {
                let t = made.get(v);
                let t = t.ok_or_else(|| usage(format!("the model has no output {v:?}")))?;
                Ok((v.clone(), checksum(t)))
            })
            .collect::<Result<_>>()?;
        if *outputs != want {
            return Err(differs(format!("frame {frame} differs from {}", whole.whose())));
        }
        equal += 1;
    }
    let total = frames.total().unwrap_or(equal);
    let whose = whole.whose();
    let mut text = format!("{equal} of {total} frames are equal to {whose}, bit for bit\n");
    // With few frames under way, a pipeline is never full.
    let planned = plan.interval_s.max(plan.latency_s / f64::from(args.window));
    let measured = interval(&lines, args.window as usize);
    if let Some(measured) = measured {
        text.push_str(&format!(
            "a frame every {:.3} ms (plan {:.3}): {:.1} % of the planned rate\n",
            measured * 1e3,
            planned * 1e3,
            100.0 * planned / measured
        ));
    }
    out(Tone::Plain, text)?;
    if equal != total {
        return Err(differs(format!("{} frames are missing", total - equal)));
    }
    match (args.least_rate, measured) {
        (Some(least), Some(m)) if planned / m < least => {
            Err(differs(format!("slower than {:.0} % of the planned rate", least * 100.0)))
        }
        (Some(_), None) => Err(differs("there are too few frames to tell the rate")),
        _ => Ok(()),
    }
}
