//! Reproducers: files that let an internal error come again.
//!
//! ```text
//! // graph-opt reproducer
//! // version: 0.1.0
//! // pipeline: simplify,tile-conv{axis=h parts=4}
//! // seed: 0
//! // verify-each: false
//! // verify: false
//! // error: tile-conv broke the graph: …
//! graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
//!   …
//! ```
//!
//! Large constants stand as random ones, which is enough for almost every fault of a pass. Where it
//! is not, or where the text cannot hold the graph, `// model: FILE` names the model, which lies
//! beside. Before a file is written, it is run: what it says does happen, unless a `// note:` says
//! otherwise (an error of another backend, or of inputs that the user gave).

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use graph_opt_ir::text::{Constants, parse, print};
use graph_opt_ir::verify::verify;
use graph_opt_ir::{DType, Graph, Tensor, atomic};
use graph_opt_passes::{Assumed, PassInfo, Pipeline, Report, RunError, Runner};

use crate::Folder;
use crate::compare::Compare;
use crate::cpu::Cpu;

/// First line of every file.
const TITLE: &str = "// graph-opt reproducer";

/// Most elements of a constant that is written in full.
const FULL: usize = 4096;

/// An internal error: a bug in a pass, of which the user's model is not the cause.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A pass proposed an edit that would break the graph, or broke it.
    Run(RunError),
    /// A pass panicked, with this message.
    Panic(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(e) => e.fmt(f),
            Self::Panic(why) => write!(f, "panic: {why}"),
        }
    }
}

impl std::error::Error for Fault {}

/// Runs a pipeline; a panic in it is a fault, too.
///
/// # Errors
/// If the pipeline breaks off; the graph may then be half rewritten.
pub fn caught(runner: Runner<'_>, graph: &mut Graph, pipeline: &Pipeline) -> Result<Report, Fault> {
    no_panic(|| runner.run(graph, pipeline))?.map_err(Fault::Run)
}

/// Calls `f`; what it was changing when it panics is of no use any more.
///
/// # Errors
/// If it panics.
pub fn no_panic<T>(f: impl FnOnce() -> T) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Fault::Panic(text.unwrap_or_else(|| "of unknown kind".into()))
    })
}

/// A run that a reproducer repeats.
#[derive(Clone, Debug)]
pub struct Case {
    /// The pipeline that failed.
    pub pipeline: Pipeline,
    /// Seed of the run, and of constants that stand as random ones.
    pub seed: u64,
    /// Whether invariants are verified after each edit.
    pub verify_each: bool,
    /// Where the run was to stop.
    pub stop_after: Option<usize>,
    /// Whether the result is compared with the original, over the field and on the interpreter.
    pub verify: bool,
    /// Extents that passes assume for symbolic dimensions.
    pub assumed: Assumed,
}

impl Case {
    /// Runs the case.
    ///
    /// # Errors
    /// The fault, if there is one.
    pub fn run(&self, graph: &Graph) -> Result<Report, Fault> {
        let runner = self.set(Runner::default().evaluator(&Folder));
        let mut out = graph.clone();
        let report = caught(runner, &mut out, &self.pipeline)?;
        if self.verify {
            let cpu = Cpu::default();
            let compare = Compare { backends: vec![&cpu], seed: self.seed, ..Compare::default() };
            // Only whether it comes to an end: that models differ, verdicts say.
            no_panic(|| compare.run(&Arc::new(graph.clone()), &Arc::new(out)).map(drop).ok())?;
        }
        Ok(report)
    }

    /// Lets the runner stop and verify as the case says.
    pub fn set<'a>(&self, runner: Runner<'a>) -> Runner<'a> {
        let mut runner = runner.assume(self.assumed.clone());
        if let Some(n) = self.stop_after {
            runner = runner.stop_after(n);
        }
        if self.verify_each {
            let check = |g: &Graph, _: &_| verify(g).map_err(|v| v[0].to_string());
            runner = runner.observe(Box::new(check));
        }
        runner
    }

    fn header(&self, fault: &str, model: Option<&str>) -> String {
        let mut lines = vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("pipeline", line(&self.pipeline)),
            ("seed", self.seed.to_string()),
            ("verify-each", self.verify_each.to_string()),
            ("verify", self.verify.to_string()),
        ];
        lines.extend(self.stop_after.map(|n| ("stop-after", n.to_string())));
        let dims = self.assumed.dims().iter();
        lines.extend(dims.map(|(name, n)| ("dim", line(&format_args!("{name}={n}")))));
        lines.push(("error", fault.to_owned()));
        lines.extend(model.map(|m| ("model", m.to_owned())));
        let lines: String = lines.iter().map(|(k, v)| format!("// {k}: {v}\n")).collect();
        format!("{TITLE}\n{lines}")
    }
}

/// On one line, as a header has it.
fn line(what: &dyn fmt::Display) -> String {
    what.to_string().replace(['\n', '\r'], " ").trim().to_owned()
}

/// A reproducer that was read.
#[derive(Clone, Debug)]
pub struct Reproducer {
    /// Version of graph-opt that wrote it.
    pub version: String,
    /// The run that ended with the error.
    pub case: Case,
    /// The error that it ended with.
    pub error: String,
    /// The graph that it began with.
    pub graph: Graph,
}

impl Reproducer {
    /// Runs it: the error that came, if one did, and whether it is the same.
    pub fn run(&self) -> Option<(Fault, bool)> {
        let fault = self.case.run(&self.graph).err()?;
        let same = line(&fault) == self.error;
        Some((fault, same))
    }
}

/// Writes a reproducer of the fault that the case ends with on this graph, named after its content,
/// into the folder: complete or not at all. `save` writes a model, for where the text is not enough.
/// Gives its path.
///
/// # Errors
/// If a file cannot be written.
pub fn write(
    case: &Case,
    graph: &Graph,
    fault: &Fault,
    dir: &Path,
    save: &dyn Fn(&Graph, &Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let fault = line(fault);
    let text = format!("{}{}", case.header(&fault, None), alone(graph, case.seed));
    let path = dir.join(format!("graph-opt-repro-{:016x}.txt", hash(&text)));
    if parse(&text).is_ok_and(|g| case.run(&g).is_err_and(|e| line(&e) == fault)) {
        whole(&path, &text)?;
        return Ok(path);
    }
    let model = path.with_extension("onnx");
    save(graph, &model)?;
    let name = model.file_name().unwrap_or_default().to_string_lossy();
    let again = case.run(graph).is_err_and(|e| line(&e) == fault);
    let note = if again { "" } else { "// note: the error did not come again at once\n" };
    // The text is for the eye.
    let text = format!("{}{note}{}", case.header(&fault, Some(&name)), print(graph));
    whole(&path, &text)?;
    Ok(path)
}

/// Reads a reproducer. Its pipeline may name these passes besides those of the registry; `load`
/// reads the model that lies beside it, if one does.
///
/// # Errors
/// If it is none, or its model cannot be read.
pub fn read(
    path: &Path,
    own: &[&'static PassInfo],
    load: &dyn Fn(&Path) -> Result<Graph, String>,
) -> Result<Reproducer, String> {
    let at = |e: &dyn fmt::Display| format!("{}: {e}", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| at(&e))?;
    let mut lines = text.lines();
    if lines.next() != Some(TITLE) {
        return Err(at(&format_args!("no reproducer: its first line is not {TITLE:?}")));
    }
    let header: Vec<(&str, &str)> =
        lines.map_while(|l| l.strip_prefix("//")?.split_once(':')).collect();
    let find = |key: &str| header.iter().find(|(k, _)| k.trim() == key).map(|(_, v)| v.trim());
    let need = |key: &str| find(key).ok_or_else(|| at(&format_args!("its header has no {key}")));
    let number = |key: &str, v: &str| {
        v.parse::<u64>().map_err(|_| at(&format_args!("{key} is no number: {v:?}")))
    };
    let pipeline = need("pipeline")?;
    let dims = header.iter().filter(|(k, _)| k.trim() == "dim").map(|(_, v)| {
        let (name, n) = v.trim().rsplit_once('=').unwrap_or((v, ""));
        number("dim", n).map(|n| (name.to_owned(), n))
    });
    let case = Case {
        pipeline: Pipeline::parse_with(pipeline, own).map_err(|e| at(&e))?,
        seed: number("seed", need("seed")?)?,
        verify_each: find("verify-each") == Some("true"),
        verify: find("verify") == Some("true"),
        stop_after: match find("stop-after") {
            Some(n) => Some(number("stop-after", n)? as usize),
            None => None,
        },
        assumed: Assumed::new(dims.collect::<Result<_, _>>()?),
    };
    let graph = match find("model") {
        None => parse(&text).map_err(|e| at(&e))?,
        Some(name) if Path::new(name).file_name() == Some(name.as_ref()) => {
            load(&path.with_file_name(name))?
        }
        Some(name) => {
            return Err(at(&format_args!("{name:?} is not the name of a file beside it")));
        }
    };
    let (version, error) = (need("version")?.to_owned(), need("error")?.to_owned());
    Ok(Reproducer { version, case, error, graph })
}

/// The graph as text that parses by itself, as far as that goes: constants too large for a line of
/// the text form stand in full if they are whole numbers, which may be shapes, else as random ones.
fn alone(graph: &Graph, seed: u64) -> String {
    let mut text = print(graph);
    for (i, t) in Constants::of(graph).tensors().into_iter().enumerate() {
        let name = format!("#{:032x}", t.content_hash());
        if !text.contains(&name) {
            continue;
        }
        let numbers = (t.len() <= FULL).then(|| t.to_i64s()).flatten();
        let spelled = match numbers {
            Some(v) => {
                let v: Vec<String> = v.iter().map(ToString::to_string).collect();
                format!("[{}]", v.join(","))
            }
            None => format!("random({})", seed.wrapping_add(i as u64) >> 1),
        };
        text = text.replace(&name, &spelled);
    }
    text
}

fn hash(text: &str) -> u64 {
    let bytes = text.as_bytes().to_vec();
    let tensor = Tensor::from_bytes(DType::U8, vec![bytes.len() as u64], bytes);
    tensor.map_or(0, |t| t.content_hash() as u64)
}

fn whole(path: &Path, text: &str) -> Result<(), String> {
    let written = atomic::write(path, |out| out.write_all(text.as_bytes()));
    written.map_err(|e| format!("{}: {e}", path.display()))
}
