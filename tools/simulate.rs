//! `graph-opt simulate`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use graph_opt_backends::Backend;
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::{Extents, draw, required};
use graph_opt_backends::stages::{Stages, StagesError, Values, take};
use graph_opt_backends::tolerance::change;
use graph_opt_ir::Graph;
use graph_opt_passes::ByteSize;
use graph_opt_passes::analysis::Interpreter;
use graph_opt_passes::devices::files::{Manifest, PartFile, PlanFile, Timeline};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::Answer;
use crate::failure::{Failure, Result, differs, name, usage};
use crate::plan::{rewritten, share, short};
use crate::report::split::{self, SpanRow};
use crate::report::{Document, Fact, Marks, ReportFile, events};
use crate::run::{prepare_failure, run_failure};
use crate::split::json;
use crate::table::rows;
use crate::{model, output};

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
    /// Most that lossy codecs of the plan may change outputs, as a share of their largest element; with
    /// --model
    #[arg(long, value_name = "SHARE", requires = "model", value_parser = share)]
    max_error: Option<f64>,
    /// Seed of random inputs
    #[arg(long, default_value_t = 0, value_name = "S")]
    seed: u64,
    /// Also write when each device and link is busy, as a trace for Perfetto or Chrome
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    report: ReportFile,
}

/// What a split model does, run in one process.
#[derive(Serialize, JsonSchema)]
pub struct Simulated {
    /// Number of frames.
    frames: u16,
    /// The parts.
    parts: Vec<Part>,
    /// Time from the first input to its output by the plan's figures, in seconds.
    latency_s: f64,
    /// Time between outputs by the plan's figures, in seconds.
    interval_s: f64,
    /// Whether all outputs have the bits of the whole model's; `null` if it was not run, or if codecs of
    /// the plan are lossy.
    equal: Option<bool>,
    /// Largest change of the outputs by lossy codecs, as a share of their largest element.
    change: Option<f64>,
}

/// What a part did.
#[derive(Serialize, JsonSchema)]
struct Part {
    /// The device.
    device: String,
    /// Bytes that it received, for a frame.
    received_bytes: u64,
    /// Bytes that it held.
    held_bytes: u64,
}

pub fn main(args: &Args) -> Result<Answer> {
    args.report.probe()?;
    if let Some(path) = &args.trace {
        output::probe(path)?;
    }
    let folder = Path::new(&args.folder);
    let manifest: Manifest = json(&folder.join("manifest.json"))?;
    manifest.check().map_err(|e| usage(format!("{}: {e}", folder.display())))?;
    let load =
        |part: &PartFile| Ok(Arc::new(model::load(&folder.join(&part.file).to_string_lossy())?));
    let graphs = manifest.stages.iter().map(load).collect::<Result<Vec<_>>>()?;
    let mut stages = Stages::new(manifest, graphs, &Cpu::default()).map_err(failure)?;
    let whole = args.model.as_deref().map(model::load).transpose()?.map(Arc::new);
    let all = whole.clone().map(|w| Cpu::default().prepare(w)).transpose();
    let all = all.map_err(prepare_failure)?;
    let lossy = stages.manifest().plan.codecs().keys().any(|c| !c.is_lossless());
    let mut error = 0.0;
    for frame in 0..args.frames {
        let given = inputs(&stages, whole.as_deref(), args.seed + u64::from(frame))?;
        let outputs = stages.run(&given).map_err(failure)?;
        if let (Some(whole), Some(all)) = (&whole, &all) {
            let inputs = take(whole, &given).map_err(usage)?;
            let want = all.run(&inputs, whole.outputs()).map_err(run_failure)?;
            for (t, &v) in want.iter().zip(whole.outputs()) {
                let name = &*whole.value(v).name;
                if let Some(o) = outputs.get(name).filter(|_| lossy) {
                    error = change(t, o).max(error);
                } else if outputs.get(name) != Some(t) {
                    return Err(differs(format!(
                        "frame {frame}: {name} differs from the whole model's"
                    )));
                }
            }
        }
    }
    let compared = match &whole {
        None => Compared::No,
        Some(_) if lossy => Compared::Close(error),
        Some(_) => Compared::Bits,
    };
    let mut answer = report(&stages, args.frames, &compared);
    let plan = &stages.manifest().plan;
    if let Some(path) = &args.trace {
        let spans = split::spans(plan, &Timeline::of(plan, args.frames.into()));
        let text = events::of_spans(&spans).text(&format!("simulate {}", args.folder));
        output::whole(path, text.as_bytes())?;
    }
    if args.report.is_some() {
        let whole = whole.map(|w| rewritten((*w).clone(), &plan.rewrite)).transpose()?;
        args.report.write(|| document(args, plan, whole.as_ref(), &compared))?;
    }
    if error > args.max_error.unwrap_or(f64::MAX) && answer.failure.is_none() {
        answer.failure = Some(differs(format!("outputs change by {error:.2e}")));
    }
    Ok(answer)
}

/// What was simulated, for a report.
fn document(args: &Args, plan: &PlanFile, whole: Option<&Graph>, compared: &Compared) -> Document {
    let mut document = Document::new(format!("simulate {}", args.folder));
    let same = match compared {
        Compared::No => "not compared".to_owned(),
        Compared::Bits => format!("the whole model's, bit for bit, in {} frames", args.frames),
        Compared::Close(e) => format!("changed by up to {:.3} % by codecs", e * 100.0),
    };
    document.facts.push(Fact::new("outputs are", same));
    document.plan(plan, args.frames.into());
    if let Some(whole) = whole {
        document.add("model", whole, &Marks::of_plan(whole, plan), &Interpreter);
    }
    document
}

fn failure(e: StagesError) -> Failure {
    match e {
        StagesError::Manifest(why) => usage(why),
        StagesError::Prepare(file, e) => {
            let f = prepare_failure(e);
            Failure { message: format!("{file}: {}", f.message), ..f }
        }
        StagesError::Run(file, e) => {
            let f = run_failure(e);
            Failure { message: format!("{file}: {}", f.message), ..f }
        }
    }
}

/// Inputs of the whole model, or else of the parts.
fn inputs(stages: &Stages, whole: Option<&Graph>, seed: u64) -> Result<Values> {
    let graphs: Vec<&Graph> = match whole {
        Some(w) => vec![w],
        None => stages.graphs().iter().map(|g| &**g).collect(),
    };
    let mut all = Values::new();
    for g in graphs {
        let drawn = draw(g, &Extents::default(), seed).map_err(usage)?;
        for (&v, t) in required(g).iter().zip(drawn) {
            let name = g.value(v).name.to_string();
            if whole.is_some() || stages.manifest().inputs.contains(&name) {
                all.entry(name).or_insert(t);
            }
        }
    }
    Ok(all)
}

/// What was found beside the whole model.
enum Compared {
    /// There was no whole model to compare with.
    No,
    /// All outputs have the same bits.
    Bits,
    /// So much of a change: the plan's codecs are lossy.
    Close(f64),
}

fn report(stages: &Stages, frames: u16, compared: &Compared) -> Answer {
    let plan = &stages.manifest().plan;
    let (mut wrong, mut parts) = (Vec::new(), Vec::new());
    let mut t = rows(&["part", "device", "received a frame", "held"]);
    for (i, row) in plan.stages.iter().enumerate() {
        let received = stages.received()[i] / u64::from(frames);
        let held = stages.held()[i];
        t.add_row([
            i.to_string(),
            row.device.clone(),
            ByteSize(received).to_string(),
            ByteSize(held).to_string(),
        ]);
        let device = row.device.clone();
        parts.push(Part { device, received_bytes: received, held_bytes: held });
        let planned: u64 = row.receives.iter().map(|r| r.sent()).sum();
        let compressed = row.receives.iter().any(|r| r.codecs.values().any(|c| c.is_lossless()));
        let most = row.receives.iter().map(|r| r.bytes).sum();
        let fits = if compressed { received <= most } else { received == planned };
        if !fits {
            wrong.push(format!("part {i} received {received} B, planned {planned}"));
        }
        if held != row.memory_bytes {
            wrong.push(format!("part {i} held {held} B, planned {}", row.memory_bytes));
        }
    }
    let mut text = format!("{t}\n");
    let timeline = Timeline::of(plan, frames.into());
    text.push_str(&chart(&split::spans(plan, &timeline)));
    text.push_str(&format!(
        "first frame after {:.3} ms (plan {:.3}), then one every {:.3} ms",
        timeline.latency() * 1e3,
        plan.latency_s * 1e3,
        timeline.interval() * 1e3,
    ));
    if plan.pipelined {
        text.push_str(&format!(" (plan {:.3})", plan.interval_s * 1e3));
    }
    text.push('\n');
    text.push_str(&match compared {
        Compared::No => String::new(),
        Compared::Bits => {
            format!("{frames} of {frames} frames are equal to the whole model's, bit for bit\n")
        }
        Compared::Close(e) => format!("lossy codecs change outputs by up to {:.3} %\n", e * 100.0),
    });
    let (equal, change) = match compared {
        Compared::No => (None, None),
        Compared::Bits => (Some(true), None),
        Compared::Close(e) => (None, Some(*e)),
    };
    let (latency_s, interval_s) = (timeline.latency(), timeline.interval());
    let result = Simulated { frames, parts, latency_s, interval_s, equal, change };
    let failure = (!wrong.is_empty()).then(|| differs(wrong.join("; ")));
    Answer { failure, ..Answer::new(result, text) }
}

/// A line for each device and each link, with the number of the frame that it works for, over an axis of
/// milliseconds.
fn chart(spans: &[SpanRow]) -> String {
    const COLUMNS: usize = 64;
    const NAME: usize = 16;
    let end = spans.iter().map(|s| s.end_s).fold(f64::MIN_POSITIVE, f64::max);
    let column = |t: f64| ((t / end * COLUMNS as f64) as usize).min(COLUMNS - 1);
    let mut rows: Vec<(bool, String, Vec<char>)> = Vec::new();
    for s in spans {
        let name = short(&name(&s.on), NAME);
        let known = rows.iter().position(|r| r.0 == s.link && r.1 == name);
        let at = known.unwrap_or_else(|| {
            rows.push((s.link, name, vec!['.'; COLUMNS]));
            rows.len() - 1
        });
        if s.end_s > s.begin_s {
            let mark = char::from(b'0' + (s.frame % 10) as u8);
            let (a, b) = (column(s.begin_s), column(s.end_s));
            rows[at].2[a..=b.max(a)].fill(mark);
        }
    }
    rows.sort_by_key(|r| r.0);
    let width = rows.iter().map(|r| r.1.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (_, name, line) in &rows {
        text.push_str(&format!("  {name:>width$} |{}|\n", line.iter().collect::<String>()));
    }
    // Begin, middle and end of the axis.
    let ms = |share: f64| format!("{:.*}", if end < 0.1 { 2 } else { 0 }, end * share * 1e3);
    let (middle, last) = (ms(0.5), ms(1.0));
    let half = COLUMNS / 2 - 1;
    let rest = COLUMNS - half - middle.len();
    text.push_str(&format!("  {:width$} 0{:>half$}{middle}{last:>rest$} ms\n", "", ""));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_links_have_names_and_an_axis() {
        let span = |on: &str, link, frame, begin_s, end_s| SpanRow {
            on: on.into(),
            link,
            stage: Some(0),
            frame,
            begin_s,
            end_s,
        };
        let text = chart(&[
            span("camera", false, 0, 0.0, 0.5),
            span("wifi", true, 0, 0.5, 0.75),
            span("box\u{1b}[2J", false, 0, 0.75, 1.0),
            span("camera", false, 1, 0.5, 1.0),
        ]);
        let lines: Vec<&str> = text.lines().collect();
        let bars = |c: char, n: usize| c.to_string().repeat(n);
        let width = "box\\u{1b}[2J".len();
        assert_eq!(
            lines[0],
            format!("  {:>width$} |{}{}|", "camera", bars('0', 32), bars('1', 32))
        );
        assert!(lines[1].starts_with("  box\\u{1b}[2J |....") && lines[1].ends_with("0000|"));
        assert!(lines[2].contains("wifi |"), "{text}");
        assert!(
            lines[3].contains(" 0 ") && lines[3].contains("500") && lines[3].ends_with("1000 ms")
        );
    }
}
