//! `graph-opt check`: models keep the budgets and the equalities that a file states, for CI.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use graph_opt_backends::Folder;
use graph_opt_backends::compare::Compare;
use graph_opt_ir::Graph;
use graph_opt_passes::analysis::{MemoryModel, OnnxRuntimeDefault, cost, model_named, plan_for};
use graph_opt_passes::{Assumed, ByteSize, SizedGraph, bytes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::dims;
use crate::failure::{Failure, Kind, Result, Tone, does_not_fit, name, undecided, usage};
use crate::progress::Progress;
use crate::table::scaled;
use crate::verdict::{Comparison, Decision, EqualFor};
use crate::verify::{How, incomparable};
use crate::{input, model};

#[derive(clap::Args)]
pub struct Args {
    /// What is to hold, of which models
    #[arg(default_value = "graph-opt.toml", value_name = "FILE.toml")]
    file: PathBuf,
}

/// The file: what is to hold of each model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectations {
    model: Vec<Expected>,
}

/// What is to hold of a model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Expected {
    /// The model, relative to the folder of the file.
    path: String,
    /// Extents of symbolic dimensions.
    #[serde(default)]
    dims: BTreeMap<String, u64>,
    /// Most bytes of activations.
    memory: Option<Size>,
    /// The runtime of `memory`; by default, a session of ONNX Runtime without options.
    runtime: Option<String>,
    /// Most bytes of weights.
    weights: Option<Size>,
    /// Most multiply-accumulates.
    macs: Option<u64>,
    /// Most nodes.
    nodes: Option<usize>,
    /// The model that it is to be equal to, relative to the folder of the file.
    equals: Option<String>,
    /// How equal: for all inputs, in all runs, or up to rounding.
    #[serde(default)]
    equality: Equality,
}

/// A size as people write it.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "toml::Value")]
struct Size(u64);

impl TryFrom<toml::Value> for Size {
    type Error = String;

    fn try_from(v: toml::Value) -> std::result::Result<Self, String> {
        match v {
            toml::Value::String(s) => bytes(&s).map(Self).map_err(|e| e.to_string()),
            toml::Value::Integer(n) => u64::try_from(n).map(Self).map_err(|e| e.to_string()),
            other => Err(format!("expected a size such as \"8MiB\", found {other:?}")),
        }
    }
}

/// The weakest equality that is enough.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Equality {
    /// By a proof.
    AllInputs,
    /// The same bits or the same field elements in all runs.
    #[default]
    Runs,
    /// Close in floating point.
    Rounding,
}

/// What was checked.
#[derive(Serialize, JsonSchema)]
pub struct Checked {
    /// One for each limit and each equality.
    checks: Vec<Check>,
    /// Number of those that hold.
    hold: usize,
}

/// One limit or equality.
#[derive(Serialize, JsonSchema)]
struct Check {
    /// The model, as the file names it.
    model: String,
    /// `memory`, `weights`, `macs`, `nodes` or `equals`.
    what: &'static str,
    /// What was expected, as text.
    expected: String,
    /// What was found, as text.
    found: String,
    /// The expected number; `null` for an equality.
    limit: Option<u64>,
    /// The number that was found; `null` for an equality, or if it is not known.
    value: Option<u64>,
    /// The comparison; `null` for a limit.
    comparison: Option<Comparison>,
    /// How it ended: `done` if it holds.
    outcome: Kind,
}

pub fn main(args: &Args) -> Result<Answer> {
    let text = input::text(&args.file)?;
    let at = |e: &dyn std::fmt::Display| usage(format!("{}: {e}", args.file.display()));
    let file: Expectations = toml::from_str(&text).map_err(|e| at(&e))?;
    let folder = args.file.parent().unwrap_or(Path::new(""));
    let progress = Progress::new();
    let mut checks = Vec::new();
    for expected in &file.model {
        progress.say(&format!("checking {}", expected.path));
        let before = checks.len();
        expected.check(folder, &mut checks).map_err(|f| {
            Failure::new(
                f.kind,
                format!("{}: {}: {}", args.file.display(), expected.path, f.message),
            )
        })?;
        if checks.len() == before {
            return Err(at(&format_args!("{} has neither a limit nor an equality", expected.path)));
        }
    }
    drop(progress);
    let mut lines = String::new();
    let mut last = "";
    for c in &checks {
        if c.model != last {
            lines.push_str(&format!("{}\n", name(&c.model)));
            last = &c.model;
        }
        let mark = if c.outcome == Kind::Done { "ok" } else { "FAILS" };
        lines
            .push_str(&format!("  {mark:<6}{:<8} {} (expected {})\n", c.what, c.found, c.expected));
    }
    let hold = checks.iter().filter(|c| c.outcome == Kind::Done).count();
    let all = checks.len();
    let (tone, head) = match hold == all {
        true => (Tone::Good, format!("all {all} checks hold")),
        false => (Tone::Bad, format!("{} of {all} checks fail", all - hold)),
    };
    // A difference outweighs a budget, and that what is undecided.
    let failing = |kind| checks.iter().any(|c| c.outcome == kind);
    let failure = if failing(Kind::Differs) {
        Some(Failure::new(Kind::Differs, "a model differs from what it is to equal"))
    } else if failing(Kind::DoesNotFit) {
        Some(does_not_fit("a limit is exceeded"))
    } else if failing(Kind::Undecided) {
        Some(undecided("a limit or an equality could not be decided"))
    } else {
        None
    };
    let text = format!("{head}\n{lines}");
    Ok(Answer { failure, tone, ..Answer::new(Checked { checks, hold }, text) })
}

impl Expected {
    fn check(&self, folder: &Path, checks: &mut Vec<Check>) -> Result {
        let load = |name: &str| match name.starts_with("zoo:") {
            true => model::load(name),
            false => model::load(&folder.join(name).to_string_lossy()),
        };
        let runtime: Arc<dyn MemoryModel> = match &self.runtime {
            None => Arc::new(OnnxRuntimeDefault),
            Some(name) => model_named(name).map_err(usage)?,
        };
        let graph = load(&self.path)?;
        let extents: Vec<(String, u64)> = self.dims.clone().into_iter().collect();
        let assumed = Assumed::new(extents);
        let sized = assumed.sized(&graph, &Folder).map_err(usage)?;
        let mut limit = |what, limit: u64, value: std::result::Result<u64, String>, unit: Unit| {
            let outcome = match &value {
                Ok(v) if *v <= limit => Kind::Done,
                Ok(_) => Kind::DoesNotFit,
                Err(_) => Kind::Undecided,
            };
            checks.push(Check {
                model: self.path.clone(),
                what,
                expected: format!("at most {}", unit.text(limit)),
                found: value.as_ref().map_or_else(String::clone, |v| unit.text(*v)),
                limit: Some(limit),
                value: value.ok(),
                comparison: None,
                outcome,
            });
        };
        let c = cost(&sized.graph);
        if let Some(Size(most)) = self.memory {
            limit("memory", most, peak(&sized, &*runtime), Unit::Bytes);
        }
        if let Some(Size(most)) = self.weights {
            limit("weights", most, Ok(c.constant_bytes), Unit::Bytes);
        }
        if let Some(most) = self.macs {
            let known = c.unknown_macs == 0;
            let macs = known.then_some(c.macs).ok_or_else(|| dims::unknown(&sized.graph));
            limit("macs", most, macs, Unit::Count);
        }
        if let Some(most) = self.nodes {
            limit("nodes", most as u64, Ok(c.nodes as u64), Unit::Count);
        }
        if let Some(other) = &self.equals {
            checks.push(self.equal(Arc::new(load(other)?), Arc::new(graph.clone()), other)?);
        }
        Ok(())
    }

    /// Whether the model is as equal to the original as it is to be.
    fn equal(&self, original: Arc<Graph>, graph: Arc<Graph>, name: &str) -> Result<Check> {
        let start = Instant::now();
        let cpu = graph_opt_backends::cpu::Cpu::default();
        let extents = graph_opt_backends::inputs::Extents(self.dims.clone());
        let how = How::on(&[]);
        let compare = Compare {
            prove: true,
            spared: how.spared(),
            backends: vec![&cpu],
            extents,
            ..Compare::default()
        };
        let report = compare.run(&original, &graph).map_err(incomparable)?;
        let found = Comparison::of(&report, start.elapsed().as_secs_f64());
        let enough = |e: EqualFor| match self.equality {
            Equality::AllInputs => e == EqualFor::AllInputs,
            Equality::Runs => e != EqualFor::RunsUpToRounding,
            Equality::Rounding => true,
        };
        let outcome = match found.verdict {
            Decision::Differs => Kind::Differs,
            Decision::Undecided => Kind::Undecided,
            Decision::Equal if found.outputs.iter().all(|o| o.equal_for.is_some_and(enough)) => {
                Kind::Done
            }
            Decision::Equal => Kind::Undecided,
        };
        let how = match self.equality {
            Equality::AllInputs => "for all inputs",
            Equality::Runs => "in all runs",
            Equality::Rounding => "up to rounding",
        };
        let head = found.text();
        let head = head.lines().next().unwrap_or_default();
        Ok(Check {
            model: self.path.clone(),
            what: "equals",
            expected: format!("{name} {how}"),
            found: head.split(" (").next().unwrap_or(head).to_owned(),
            limit: None,
            value: None,
            comparison: Some(found),
            outcome,
        })
    }
}

/// Peak of the activations in bytes, or why it is not known.
fn peak(sized: &SizedGraph<'_>, runtime: &dyn MemoryModel) -> std::result::Result<u64, String> {
    let plan = plan_for(&sized.graph, runtime);
    plan.map(|p| p.peak).map_err(|_| dims::unknown(&sized.graph))
}

/// The unit of a limit.
enum Unit {
    Bytes,
    Count,
}

impl Unit {
    fn text(&self, n: u64) -> String {
        match self {
            Self::Bytes => ByteSize(n).to_string(),
            Self::Count => scaled(n),
        }
    }
}
