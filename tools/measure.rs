//! Measures files in an installed ONNX Runtime, in processes of their own.

use std::ffi::OsString;
use std::process::Command;

use graph_opt_backends::inputs::required;
use graph_opt_ir::{Def, Graph, Tensor, atomic};
use graph_opt_passes::ByteSize;
use graph_opt_passes::analysis::{Interpreter, MemoryModel, OnnxRuntime, UnknownSize, plan_for};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failure::{Result, internal, io, unsupported};
use crate::folder::Folder;
use crate::{model, onnxruntime, tensors};

/// The script that measures, in Python.
const SCRIPT: &str = include_str!("measure.py");

/// The session options that the memory model `onnxruntime` counts by, in Python.
pub const OPTIONS: &str = "\
options = onnxruntime.SessionOptions()
options.enable_mem_reuse = options.enable_mem_pattern = options.enable_cpu_mem_arena = False
options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
";

/// What the script prints.
#[derive(Deserialize)]
struct Printed {
    version: String,
    /// Bytes and seconds of each file.
    files: Vec<(u64, f64)>,
}

/// What a file takes.
#[derive(Serialize, JsonSchema)]
pub struct Taken {
    /// Measured peak of a run, in bytes.
    bytes: u64,
    /// Measured time of a run, in seconds.
    seconds: f64,
    /// The peak by the memory model, in bytes; `null` if sizes are unknown.
    promised_bytes: Option<u64>,
}

/// What model and result took in an installed ONNX Runtime.
#[derive(Serialize, JsonSchema)]
pub struct Measured {
    /// Version of ONNX Runtime.
    version: String,
    /// How it was run: `onnxruntime-default` or `onnxruntime`.
    runtime: String,
    /// The memory model that was promised by.
    promised_by: String,
    /// The model.
    before: Taken,
    /// The result.
    after: Taken,
}

impl Measured {
    /// The figures in two lines.
    pub fn text(&self) -> String {
        let Self { version, runtime, promised_by, before: a, after: b } = self;
        let promised = |t: &Taken| {
            t.promised_bytes.map_or_else(|| "unknown".into(), |n| ByteSize(n).to_string())
        };
        format!(
            "measured in ONNX Runtime {version} ({runtime}): {} → {}, {:.1} ms → {:.1} ms\npromised ({promised_by}): \
             {} → {}",
            ByteSize(a.bytes),
            ByteSize(b.bytes),
            a.seconds * 1e3,
            b.seconds * 1e3,
            promised(a),
            promised(b),
        )
    }
}

/// What a run takes by the memory model: for ONNX Runtime without the inputs, which are the caller's.
///
/// # Errors
/// If the size of a value is not known.
pub fn promise(graph: &Graph, model: &dyn MemoryModel) -> std::result::Result<u64, UnknownSize> {
    let peak = plan_for(graph, model)?.peak;
    let inputs = graph.inputs().iter().map(|&v| graph.value(v));
    let inputs: u64 =
        inputs.filter(|v| v.def == Def::Input(None)).filter_map(|v| v.ty.bytes()).sum();
    let lent = if model.name() == OnnxRuntime.name() { inputs } else { 0 };
    Ok(peak.saturating_sub(lent))
}

/// A folder for files to measure, removed again in all cases, an interrupt among them.
fn scratch() -> Result<Folder> {
    Folder::begin(&atomic::temporary().join(format!("graph-opt-measure-{}", atomic::process())))
}

/// Runs the script in the Python that has onnxruntime; gives its name, and what it printed.
fn python(folder: &Folder, args: &[OsString]) -> Result<(String, Vec<u8>)> {
    let script = folder.path().join("measure.py");
    std::fs::write(&script, SCRIPT).map_err(|e| io("measuring", &e))?;
    let python = onnxruntime::python();
    let mut command = Command::new(&python);
    let done = command.arg(script).args(args).output();
    let done = done.map_err(|e| unsupported(onnxruntime::unstarted(&python, &e)))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(unsupported(onnxruntime::ended(&python, &said)));
    }
    let shown = python.to_string_lossy().into_owned();
    Ok((shown, done.stdout))
}

/// How a model is run to time its kernels.
pub struct KernelRun<'a> {
    /// Graph optimization level: `disable`, `basic`, `extended` or `all`.
    pub level: &'a str,
    /// Threads of a node.
    pub threads: u16,
    /// Runs of each frame, after one that warms up.
    pub runs: u16,
}

/// Runs a graph with the inputs of each frame in ONNX Runtime, with its profiling on: the profile as ONNX Runtime writes it.
pub fn kernels(graph: &Graph, frames: &[Vec<Tensor>], run: &KernelRun<'_>) -> Result<String> {
    let folder = scratch()?;
    let path = folder.path().join("model.onnx");
    model::save(graph, &path.to_string_lossy())?;
    for (frame, inputs) in frames.iter().enumerate() {
        for (i, t) in inputs.iter().enumerate() {
            tensors::write(t, &folder.path().join(format!("{frame}-{i}.npy")))?;
        }
    }
    let KernelRun { level, threads, runs } = run;
    let mut args: Vec<OsString> = vec!["--profile".into(), path.into(), level.into()];
    args.extend([*threads, *runs].map(|n| OsString::from(n.to_string())));
    args.push(frames.len().to_string().into());
    let names = required(graph).into_iter().map(|v| graph.value(v).name.to_string());
    args.extend(names.map(OsString::from));
    let (_, stdout) = python(&folder, &args)?;
    String::from_utf8(stdout).map_err(internal)
}

/// Runs both graphs in ONNX Runtime: what they take and how long they run, beside what was promised.
pub fn measure(before: &Graph, after: &Graph, model: &dyn MemoryModel) -> Result<Measured> {
    let folder = scratch()?;
    let mut files = Vec::new();
    for (name, graph) in [("before.onnx", before), ("after.onnx", after)] {
        let path = folder.path().join(name);
        model::save(graph, &path.to_string_lossy())?;
        files.push(path);
    }
    // The interpreter's plans are executed by this tool; in ONNX Runtime people run them without options.
    let runtime = match model.name() == Interpreter.name() {
        true => "onnxruntime-default",
        false => model.name(),
    };
    let mut args = vec![OsString::from(runtime)];
    args.extend(files.into_iter().map(OsString::from));
    let (shown, stdout) = python(&folder, &args)?;
    let found: Printed = serde_json::from_slice(&stdout)
        .map_err(|e| unsupported(format!("measuring with {shown} gave no figures: {e}")))?;
    let [(a, s), (b, t)] = found.files[..] else {
        return Err(unsupported(format!("measuring with {shown}: expected two files")));
    };
    let taken = |graph, bytes, seconds| Taken {
        bytes,
        seconds,
        promised_bytes: promise(graph, model).ok(),
    };
    Ok(Measured {
        version: found.version,
        runtime: runtime.to_owned(),
        promised_by: model.name().to_owned(),
        before: taken(before, a, s),
        after: taken(after, b, t),
    })
}
