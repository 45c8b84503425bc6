//! `graph-opt verify`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use graph_opt_backends::Backend;
use graph_opt_backends::compare::{Compare, Incomparable, Spared};
use graph_opt_backends::cpu::Cpu;
use graph_opt_ir::{Graph, Tensor};
use graph_opt_passes::analysis::Interpreter;
use graph_opt_passes::eqsat::check as certificate;

use crate::answer::Answer;
use crate::dims::Dims;
use crate::failure::{Failure, Result, differs, say, undecided, usage};
use crate::inputs::Inputs;
use crate::onnxruntime::OnnxRuntime;
use crate::progress::Progress;
use crate::report::proof::{HeatMap, ProofPicture, heat_maps};
use crate::report::{Document, Marks, ReportFile};
use crate::verdict::{CheckedProof, Comparison};
use crate::{input, model, output, tensors};

/// Options that all checks share.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Comparison")]
pub struct Checks {
    /// Fewest runs on different inputs; small models get more
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub runs: u16,
    /// Seed of random inputs
    #[arg(long, default_value_t = 0, value_name = "S")]
    pub seed: u64,
    #[command(flatten)]
    pub dims: Dims,
    #[command(flatten)]
    pub inputs: Inputs,
}

/// By which rungs of the ladder.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Comparison")]
pub struct How {
    /// How: prove (for all inputs and weights), exact (finite field), run (bits on the backends), or
    /// all of them. By default, a proof is looked for, and the models run only if there is none
    #[arg(long, value_delimiter = ',', value_name = "HOW", value_parser = ["all", "prove", "exact", "run"])]
    by: Vec<String>,
    /// Backends to run on, also where there is a proof [default: cpu, where there is none]. onnxruntime is
    /// the one of the Python that GRAPH_OPT_PYTHON names, or python3, with all its optimizations
    #[arg(long, value_delimiter = ',', value_name = "NAME", value_parser = BACKENDS)]
    backend: Vec<String>,
}

impl How {
    /// By proof, and by runs where there is none; in any case on these backends.
    pub fn on(backends: &[String]) -> Self {
        Self { by: Vec::new(), backend: backends.to_vec() }
    }

    fn by(&self, how: &str) -> bool {
        self.by.is_empty() || self.by.iter().any(|b| b == how || b == "all")
    }

    /// Which runs a proof makes superfluous: those that were not asked for.
    pub fn spared(&self) -> Spared {
        match (self.by.is_empty(), self.backend.is_empty()) {
            (true, true) => Spared::Runs,
            (true, false) => Spared::Field,
            (false, _) => Spared::Nothing,
        }
    }

    fn backends(&self) -> Vec<&str> {
        match &self.backend[..] {
            [] => vec!["cpu"],
            all => all.iter().map(String::as_str).collect(),
        }
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
    #[arg(long, value_name = "FILE", conflicts_with_all = ["proof", "by", "backend", "inputs", "report"])]
    check_proof: Option<PathBuf>,
    #[command(flatten)]
    report: ReportFile,
    #[command(flatten)]
    checks: Checks,
}

pub fn main(args: &Args) -> Result<Answer> {
    if args.a == "-" && args.b == "-" {
        return Err(usage("standard input can be one of the models only, not both"));
    }
    if let Some(path) = &args.proof {
        output::probe(path)?;
    }
    args.report.probe()?;
    let a = Arc::new(model::load(&args.a)?);
    let b = Arc::new(model::load(&args.b)?);
    if let Some(path) = &args.check_proof {
        return check_proof(path, &a, &b);
    }
    let mut how = args.how.clone();
    if args.proof.is_some() && !how.by.is_empty() {
        how.by.push("prove".into());
    }
    let Compared { found: report, certificate, heat } = compare(&a, &b, &how, &args.checks)?;
    args.report.write(|| {
        let mut document = Document::new(format!("verify {} {}", args.a, args.b));
        let sized = |g: &Graph| args.checks.dims.sized(g).ok().map(|s| s.graph.into_owned());
        let (p, q) = (sized(&a), sized(&b));
        let (p, q) = (p.as_ref().unwrap_or(&a), q.as_ref().unwrap_or(&b));
        let compared_with = |other| Marks { other: Some(other), ..Marks::default() };
        document.add("original", p, &compared_with(q), &Interpreter);
        document.add("other", q, &compared_with(p), &Interpreter);
        document.proof = certificate.as_deref().map(ProofPicture::of);
        document.heat = heat;
        document.verdict = Some(report.clone());
        document
    })?;
    if let Some(path) = &args.proof {
        match &certificate {
            Some(text) => output::whole(path, text.as_bytes())?,
            None => say("there is no proof to write"),
        }
    }
    let (text, tone, failure) = (report.text(), report.tone(), report.failure());
    Ok(Answer { failure, tone, ..Answer::new(report, text) })
}

/// Checks a certificate against both models.
fn check_proof(path: &Path, a: &Graph, b: &Graph) -> Result<Answer> {
    let file = path.display();
    let text = input::text(path)?;
    let checked = certificate::check(&text, a, b)
        .map_err(|e| undecided(format!("{file} does not prove that the models are equal: {e}")))?;
    let exact = if checked.reassociates { " in exact arithmetic" } else { "" };
    let given = match &checked.assumes[..] {
        [] => String::new(),
        names => format!(", if {} have the shapes that the original declares", names.join(", ")),
    };
    let text = format!(
        "the proof holds, in {} steps: the models are equal{exact}{given}\n",
        checked.steps
    );
    let certificate::Checked { steps, reassociates, assumes, .. } = checked;
    Ok(Answer::new(CheckedProof { proved: true, steps, reassociates, assumes }, text))
}

/// What a comparison found, for people and for reports.
pub struct Compared {
    /// The verdicts.
    pub found: Comparison,
    /// The certificate of a proof, if one was found.
    pub certificate: Option<String>,
    /// Where the models differ.
    pub heat: Vec<HeatMap>,
}

/// Runs the ladder over two models.
pub fn compare(a: &Arc<Graph>, b: &Arc<Graph>, how: &How, checks: &Checks) -> Result<Compared> {
    let start = Instant::now();
    let mut report = with_compare(a, b, how, checks, |c| c.run(a, b).map_err(incomparable))?;
    let certificate = report.certificate.take();
    let found = Comparison::of(&report, start.elapsed().as_secs_f64());
    Ok(Compared { found, certificate, heat: heat_maps(&report) })
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
    for name in how.backends().into_iter().filter(|_| how.by("run")) {
        made.push(backend(name)?);
    }
    let extents = checks.dims.extents();
    let given = checks.inputs.read(a, &extents)?;
    let inputs: Option<Vec<Tensor>> = match &given[..] {
        [] => None,
        given => Some(tensors::inputs(b, given, &extents, checks.seed)?),
    };
    let progress = Progress::new();
    let say = |what: &str| progress.say(&format!("comparing on {what}"));
    f(Compare {
        prove: how.by("prove"),
        spared: how.spared(),
        exact: how.by("exact"),
        backends: made.iter().map(|b| &**b).collect(),
        runs: checks.runs.into(),
        seed: checks.seed,
        extents,
        inputs,
        progress: Some(&say),
        cpu: cpu(),
        ..Compare::default()
    })
}

/// The interpreter for runs of which there are few: it keeps no more than this of large external weights,
/// and reads the others when nodes need them.
fn cpu() -> Cpu {
    Cpu { keep: 512 << 20, ..Cpu::default() }
}

/// Names of backends.
pub const BACKENDS: [&str; 3] = ["cpu", "wgpu", "onnxruntime"];

/// The backend of this name. One that this machine lacks says so when it prepares a graph.
pub fn backend(name: &str) -> Result<Box<dyn Backend>> {
    match name {
        "cpu" => Ok(Box::new(cpu())),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(match graph_opt_backends::wgpu::Wgpu::new() {
            Ok(w) => Box::new(w),
            Err(e) => {
                say(format!("wgpu: {e}"));
                Box::new(Missing(e.to_string()))
            }
        }),
        "onnxruntime" => Ok(Box::new(OnnxRuntime { level: "all".into(), threads: 0 })),
        other => Err(usage(format!("no backend {other:?} in this build"))),
    }
}

/// A backend that this machine lacks.
#[cfg(feature = "wgpu")]
struct Missing(String);

#[cfg(feature = "wgpu")]
impl Backend for Missing {
    fn name(&self) -> &str {
        "wgpu"
    }

    fn prepare(
        &self,
        _: Arc<Graph>,
    ) -> std::result::Result<
        Box<dyn graph_opt_backends::Executable>,
        graph_opt_backends::PrepareError,
    > {
        Err(graph_opt_backends::PrepareError::Other(self.0.clone()))
    }
}
