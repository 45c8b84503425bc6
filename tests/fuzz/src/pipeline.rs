//! Bytes as a pipeline, and perhaps a graph that it runs on.

use std::cell::OnceCell;
use std::sync::{Arc, OnceLock};

use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::{Extents, draw, required};
use graph_opt_backends::tolerance::{change, difference};
use graph_opt_backends::{Backend, Folder};
use graph_opt_ir::{DType, Dim, Graph, Op, Tensor, Type, text};
use graph_opt_passes::analysis::cost;
use graph_opt_passes::{Exactness, Pipeline, RunError, Runner};

use crate::read::{reread, sound, survives_onnx};
use crate::text::read;

/// Graphs that every pipeline runs on: a residual block, a quantized convolution, attention, and bodies.
const GRAPHS: [&str; 4] = [
    include_str!("graphs/residual.gir"),
    include_str!("graphs/quantized.gir"),
    include_str!("graphs/attention.gir"),
    include_str!("graphs/control.gir"),
];

/// Most edits of one run, as pipelines such as `fixpoint(tile-conv{…},untile)` never end by themselves.
const EDITS: usize = 100;
/// Most multiply-accumulates of a graph that is run.
const MACS: u64 = 50_000;
/// Most bytes that a run may hold at once.
const BYTES: u64 = 8 << 20;

/// Reads the text as a pipeline, up to a line that begins a graph. A pipeline that is accepted prints as
/// text that makes the same passes; it runs on the graph, or else on those built in. What comes out
/// passes the verifier, survives ONNX, and computes what the original does: the same bits where the passes
/// say so.
pub fn check(bytes: &[u8]) {
    let Ok(input) = std::str::from_utf8(bytes) else { return };
    let (pipeline, graph) = match input.find("graph @") {
        Some(at) => (&input[..at], Some(&input[at..])),
        None => (input, None),
    };
    let Ok(pipeline) = Pipeline::parse(pipeline.trim_start_matches("// pipeline:").trim()) else {
        return;
    };
    let printed = pipeline.to_string();
    let again = Pipeline::parse(&printed).unwrap_or_else(|e| panic!("{printed}: {e}"));
    assert_eq!(again.to_string(), printed);
    assert_eq!(format!("{again:?}"), format!("{pipeline:?}"));
    match graph {
        Some(text) => read(text).into_iter().for_each(|g| keeps(&pipeline, g)),
        None => built_in().iter().for_each(|case| run(&pipeline, case)),
    }
}

/// Asserts that the pipeline keeps what a graph computes, if passes over it do not take long.
pub fn keeps(pipeline: &Pipeline, graph: Graph) {
    if is_small(&graph) {
        run(pipeline, &Case::new(graph, false));
    }
}

/// A graph with inputs, and what it computes from them; `None` if it does not run.
struct Case {
    graph: Graph,
    runs: Option<Vec<(Vec<Tensor>, Vec<Tensor>)>>,
    /// Whether the graph survives ONNX, which forbids some of what a text may say.
    is_onnx: bool,
}

impl Case {
    /// Graphs with loops run only if that is said: a text may ask for any number of turns.
    fn new(graph: Graph, loops: bool) -> Self {
        let runs = (0..2).map(|seed| {
            let inputs = draw(&graph, &extents(&graph), seed).ok()?;
            let outputs = outputs(&graph, &inputs)?;
            Some((inputs, outputs))
        });
        let runs = if can_run(&graph, loops) { runs.collect() } else { None };
        let is_onnx = reread(&graph).is_ok();
        Self { graph, runs, is_onnx }
    }
}

fn built_in() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        let case = |text: &&str| {
            let case = Case::new(text::parse(text).expect("it is ours"), true);
            assert!(case.runs.is_some(), "a graph that is built in does not run:\n{text}");
            case
        };
        GRAPHS.iter().map(case).collect()
    })
}

fn run(pipeline: &Pipeline, case: &Case) {
    let mut out = case.graph.clone();
    let runner = Runner::default().evaluator(&Folder).stop_after(EDITS);
    let report = match runner.run(&mut out, pipeline) {
        Ok(report) => report,
        // The model is at fault.
        Err(
            RunError::Contradiction { .. }
            | RunError::Unsettled { .. }
            | RunError::UnknownName { .. },
        ) => return,
        Err(e) => panic!("{pipeline}: {e}\n{}", text::print(&case.graph)),
    };
    sound(&out);
    if report.edits == 0 {
        return;
    }
    if case.is_onnx {
        survives_onnx(&out);
    }
    if types(&out) != types(&case.graph) {
        // `fix-dims` wrote extents into the inputs.
        return;
    }
    for (inputs, want) in case.runs.iter().flatten() {
        let got = outputs(&out, inputs);
        let Some(got) = got else {
            panic!("{pipeline}: it does not run any more\n{}", text::print(&out));
        };
        let nudged = OnceCell::new();
        let nudged = || nudged.get_or_init(|| outputs(&case.graph, &nudge(inputs)));
        let same = |i: usize| match report.exactness {
            Exactness::BitExact => is_same(&want[i], &got[i]),
            _ => {
                let one = || nudged().as_ref().map_or(0.0, |n| change(&want[i], &n[i]));
                is_close(&want[i], &got[i]) || change(&want[i], &got[i]) <= 10.0 * one()
            }
        };
        assert!(
            want.len() == got.len() && (0..want.len()).all(same),
            "{pipeline}: {} but outputs differ\n{}\n{}",
            report.exactness,
            text::print(&case.graph),
            text::print(&out)
        );
    }
}

/// Types of what a run is given.
fn types(graph: &Graph) -> Vec<&Type> {
    required(graph).into_iter().map(|v| &graph.value(v).ty).collect()
}

fn outputs(graph: &Graph, inputs: &[Tensor]) -> Option<Vec<Tensor>> {
    let cpu = Cpu { threads: 1, max_bytes: BYTES, ..Cpu::default() };
    let run = cpu.prepare(Arc::new(graph.clone())).ok()?;
    run.run(inputs, graph.outputs()).ok()
}

/// Whether the elements have the same bits, whatever NaN carries.
fn is_same(a: &Tensor, b: &Tensor) -> bool {
    let floats = || Some(difference(&a.to_f32s()?, &b.to_f32s()?));
    a == b || a.ty() == b.ty() && floats().is_some_and(|d| d.first.is_none())
}

/// Whether what sums in another order, or weights that are rounded, make of an output is close.
fn is_close(a: &Tensor, b: &Tensor) -> bool {
    let finite = |t: &Tensor| t.to_f32s().is_none_or(|v| v.iter().all(|x| x.abs() < 1e30));
    // A number that is rounded to the other side is one step of a quantized output away.
    let small = matches!(a.dtype(), DType::U8 | DType::I8);
    !finite(a) || small || change(a, b) <= 1e-3
}

/// The inputs, moved by about eight units in the last place: what that does to outputs, rounding may do, too. After a
/// Tan, for one, it may be anything.
fn nudge(inputs: &[Tensor]) -> Vec<Tensor> {
    let one = |t: &Tensor| match t.to_f32s() {
        Some(v) if t.dtype() == DType::F32 => {
            let bytes = v.iter().flat_map(|x| (x * (1.0 + 1e-6)).to_le_bytes()).collect();
            Tensor::from_bytes(DType::F32, t.dims().to_vec(), bytes).expect("the same size")
        }
        _ => t.clone(),
    };
    inputs.iter().map(one).collect()
}

/// Extents for symbolic dimensions, small ones.
fn extents(graph: &Graph) -> Extents {
    let mut all = Extents::default();
    for &v in graph.inputs() {
        for d in graph.value(v).ty.dims().into_iter().flatten() {
            if let Dim::Param(name) = d {
                all.0.insert(name.to_string(), 2);
            }
        }
    }
    all.0.insert("?".into(), 2);
    all
}

/// Whether passes over the graph do not take long.
fn is_small(graph: &Graph) -> bool {
    let elements = |t: &Type| -> u64 {
        let dims = t.dims().into_iter().flatten();
        dims.map(|d| d.known().unwrap_or(1)).fold(1, u64::saturating_mul)
    };
    let all = graph.values().map(|(_, v)| elements(&v.ty)).fold(0, u64::saturating_add);
    graph.len() <= 64 && all <= 20_000
}

/// Whether the graph runs within milliseconds.
fn can_run(graph: &Graph, loops: bool) -> bool {
    let has_loop = graph.any_node(&mut |g, n| matches!(g.node(n).op, Op::Loop(_)));
    (loops || !has_loop) && cost(graph).macs <= MACS
}
