//! `graph-opt verify`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use graph_opt_backends::compare::{Compare, Incomparable, Output, Report, Verdict};
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::Extents;
use graph_opt_backends::{Backend, PrepareError};
use graph_opt_ir::{Graph, Tensor};
use graph_opt_passes::eqsat::check as certificate;

use crate::failure::{Failure, Result, differs, out, say, undecided, usage};
use crate::progress::Progress;
use crate::{input, model, output, tensors};

/// Options that all checks share.
#[derive(clap::Args, Clone, Debug)]
pub struct Checks {
    /// Fewest runs on different inputs; small models get more
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub runs: u16,
    /// Seed of random inputs
    #[arg(long, default_value_t = 0, value_name = "S")]
    pub seed: u64,
    /// Extent of a symbolic dimension, such as height=480, to check on; "?" stands for dimensions
    /// without a name
    #[arg(long = "dim", value_name = "NAME=N", value_parser = tensors::parse_dim)]
    pub dims: Vec<(String, u64)>,
    /// Inputs to run on: a folder of NAME.npy or NAME.pb files, or a .npz file
    #[arg(long, value_name = "DIR|FILE.npz")]
    pub inputs: Option<PathBuf>,
}

/// By which rungs of the ladder.
#[derive(clap::Args, Clone)]
pub struct How {
    /// How: prove (for all inputs and weights), exact (finite field), run (bits on the backends)
    #[arg(long, value_delimiter = ',', default_value = "prove,exact,run", value_name = "HOW", value_parser = ["prove", "exact", "run"])]
    by: Vec<String>,
    /// Backends to run on
    #[arg(long, value_delimiter = ',', default_value = "cpu", value_name = "NAME", value_parser = ["cpu", "wgpu"])]
    backend: Vec<String>,
}

impl How {
    /// By proof, over the field and on these backends.
    pub fn all(backends: &[String]) -> Self {
        let by = ["prove", "exact", "run"].map(str::to_owned).to_vec();
        Self { by, backend: backends.to_vec() }
    }

    fn by(&self, how: &str) -> bool {
        self.by.iter().any(|b| b == how)
    }
}

#[derive(clap::Args)]
pub struct Args {
    /// The original
    a: String,
    /// The rewritten model
    b: String,
    #[command(flatten)]
    how: How,
    /// Where to write the proof's steps
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// Check a proof that was written before, instead of looking for one: no search, no run
    #[arg(long, value_name = "FILE", conflicts_with_all = ["proof", "by", "backend", "inputs"])]
    check_proof: Option<PathBuf>,
    /// Print the verdicts as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    checks: Checks,
}

pub fn main(args: &Args) -> Result {
    if args.a == "-" && args.b == "-" {
        return Err(usage("standard input can be one of the models only, not both"));
    }
    if let Some(path) = &args.proof {
        output::probe(path)?;
    }
    let a = Arc::new(model::load(&args.a)?);
    let b = Arc::new(model::load(&args.b)?);
    if let Some(path) = &args.check_proof {
        return check_proof(path, &a, &b, args.json);
    }
    let mut how = args.how.clone();
    if args.proof.is_some() {
        how.by.push("prove".into());
    }
    let report = compare(&a, &b, &how, &args.checks)?;
    if let Some(path) = &args.proof {
        match &report.certificate {
            Some(text) => output::whole(path, text.as_bytes())?,
            None => say("there is no proof to write"),
        }
    }
    if args.json {
        let outputs: Vec<_> = report
            .outputs
            .iter()
            .map(|o| {
                let verdicts: Vec<String> = o.verdicts.iter().map(ToString::to_string).collect();
                serde_json::json!({
                    "output": o.name, "verdicts": verdicts, "verdict": o.summary.to_string(),
                })
            })
            .collect();
        out(format!(
            "{}\n",
            serde_json::json!({
                "equal": report.is_equal(), "outputs": outputs, "notes": report.notes,
            })
        ))?;
    } else {
        out(text(&report))?;
    }
    judge(&report)
}

/// Checks a certificate against both models.
fn check_proof(path: &Path, a: &Graph, b: &Graph, json: bool) -> Result {
    let file = path.display();
    let text = input::text(path)?;
    let checked = certificate::check(&text, a, b)
        .map_err(|e| undecided(format!("{file} does not prove that the models are equal: {e}")))?;
    if json {
        return out(format!(
            "{}\n",
            serde_json::json!({
                "proved": true,
                "steps": checked.steps,
                "reassociates": checked.reassociates,
                "assumes": checked.assumes,
            })
        ));
    }
    let exact = if checked.reassociates { " in exact arithmetic" } else { "" };
    let given = match &checked.assumes[..] {
        [] => String::new(),
        names => format!(", if {} have the shapes that the original declares", names.join(", ")),
    };
    out(format!(
        "the proof holds, in {} steps: the models are equal{exact}{given}\n",
        checked.steps
    ))
}

/// Runs the ladder over two models.
pub fn compare(a: &Arc<Graph>, b: &Arc<Graph>, how: &How, checks: &Checks) -> Result<Report> {
    with_compare(a, b, how, checks, |c| c.run(a, b).map_err(incomparable))
}

/// Models that cannot be compared.
pub fn incomparable(e: Incomparable) -> Failure {
    match e {
        Incomparable::Signature(_) => differs(e),
        Incomparable::Inputs(_) => usage(e),
    }
}

/// Calls `f` with what compares graphs with `a` as the options say. In `b`, extents may be fixed.
pub fn with_compare<T>(
    a: &Graph,
    b: &Graph,
    how: &How,
    checks: &Checks,
    f: impl FnOnce(Compare<'_>) -> Result<T>,
) -> Result<T> {
    let mut made: Vec<Box<dyn Backend>> = Vec::new();
    for name in how.backend.iter().filter(|_| how.by("run")) {
        made.push(backend(name)?);
    }
    let extents = Extents(checks.dims.iter().cloned().collect());
    let inputs: Option<Vec<Tensor>> = match &checks.inputs {
        None => None,
        Some(path) => {
            let given = tensors::read_all(path, a)?;
            if given.is_empty() {
                return Err(usage(format!("{}: no input of the model is there", path.display())));
            }
            Some(tensors::inputs(b, &given, &extents, checks.seed)?)
        }
    };
    let progress = Progress::new();
    let say = |what: &str| progress.say(&format!("comparing on {what}"));
    f(Compare {
        prove: how.by("prove"),
        exact: how.by("exact"),
        backends: made.iter().map(|b| &**b).collect(),
        runs: checks.runs.into(),
        seed: checks.seed,
        extents,
        inputs,
        progress: Some(&say),
        ..Compare::default()
    })
}

/// The backend of this name. One that this machine lacks says so when it prepares a graph.
pub fn backend(name: &str) -> Result<Box<dyn Backend>> {
    match name {
        "cpu" => Ok(Box::new(Cpu::default())),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(match graph_opt_backends::wgpu::Wgpu::new() {
            Ok(w) => Box::new(w),
            Err(e) => {
                say(format!("wgpu: {e}"));
                Box::new(Missing(e.to_string()))
            }
        }),
        other => Err(usage(format!("no backend {other:?} in this build"))),
    }
}

/// A backend that this machine lacks.
struct Missing(String);

impl Backend for Missing {
    fn name(&self) -> &str {
        "wgpu"
    }

    fn prepare(
        &self,
        _: Arc<Graph>,
    ) -> std::result::Result<Box<dyn graph_opt_backends::Executable>, PrepareError> {
        Err(PrepareError::Other(self.0.clone()))
    }
}

/// One line an output, or one for all where all have the same verdicts. Where rungs disagree, the
/// one verdict that follows from them is said as well.
pub fn text(report: &Report) -> String {
    let line = |o: &Output| {
        let mut s = o.verdicts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let differs = o.verdicts.iter().any(|v| matches!(v, Verdict::Differs(..)));
        if differs && o.summary.is_equal() {
            s.push_str(&format!("; so {}", o.summary));
        }
        s
    };
    let lines: Vec<String> = report.outputs.iter().map(line).collect();
    let mut s = all_lines(report, &lines);
    for n in &report.notes {
        s.push_str(&format!("note: {n}\n"));
    }
    s
}

fn all_lines(report: &Report, lines: &[String]) -> String {
    match lines {
        [first, rest @ ..] if rest.iter().all(|l| l == first) => {
            let n = lines.len();
            let outputs = if n == 1 { "output".to_owned() } else { format!("all {n} outputs") };
            format!("{outputs}: {first}\n")
        }
        _ => report.outputs.iter().zip(lines).map(|(o, l)| format!("{}: {l}\n", o.name)).collect(),
    }
}

/// Failure unless every output is known to be equal.
pub fn judge(report: &Report) -> Result {
    if report.differs() {
        return Err(differs("the models differ"));
    }
    if !report.is_equal() {
        return Err(undecided("it could not be decided whether the models are equal"));
    }
    Ok(())
}
