//! What the tests share.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use graph_opt_backends::compare::{Compare, Report, Verdict};
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::{Extents, draw};
use graph_opt_backends::{Backend, Executable, Folder};
use graph_opt_ir::{Editor, Graph, NodeId, Span, ValueId, infer, onnx, text};
use graph_opt_passes::analysis::plan;
use graph_opt_passes::{Pipeline, Remark, Runner};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use regex::Regex;
use similar::{Algorithm, DiffTag};

/// A file or folder of the material in `../shared`. Where there is no such material, tests of it are
/// skipped, unless `GRAPH_OPT_REQUIRE_SHARED` is 1; where there is, a missing part of it fails.
pub fn shared(what: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let required = std::env::var("GRAPH_OPT_REQUIRE_SHARED").is_ok_and(|v| v == "1");
    if !required && !root.exists() {
        eprintln!("SKIPPED: {} is not there", root.display());
        return None;
    }
    let path = root.join(what);
    assert!(path.exists(), "{} is not there", path.display());
    Some(path)
}

/// Runs a pipeline with constant folding.
pub fn optimise(graph: &Graph, pipeline: &str) -> (Graph, Vec<Remark>) {
    let mut out = graph.clone();
    let pipeline = Pipeline::parse(pipeline).unwrap();
    let report = Runner::default().evaluator(&Folder).run(&mut out, &pipeline).unwrap();
    (out, report.remarks)
}

/// Compares over the field and on the interpreter.
pub fn compare(a: &Graph, b: &Graph) -> Report {
    let cpu = Cpu::default();
    compare_on(a, b, &[&cpu])
}

/// Compares over the field and on these backends.
pub fn compare_on(a: &Graph, b: &Graph, backends: &[&dyn Backend]) -> Report {
    let c = Compare { backends: backends.to_vec(), seed: 7, ..Compare::default() };
    c.run(&Arc::new(a.clone()), &Arc::new(b.clone())).unwrap()
}

/// Whether both give the same bits on the interpreter, which holds what the memory plan says, if no node runs
/// other graphs.
pub fn same_run(a: &Graph, b: &Graph) -> bool {
    // What whole numbers are used as may look otherwise in the other graph.
    let inputs = draw(a, &Extents::default(), 3).unwrap();
    let run = |g: &Graph| {
        let g = Arc::new(g.clone());
        let cpu = Cpu::default().prepared(g.clone()).unwrap();
        if g.schedule().any(|n| !g.node(n).op.bodies().is_empty()) {
            return cpu.run(&inputs, g.outputs()).unwrap();
        }
        let (out, measured) = cpu.run_measured(&inputs).unwrap();
        assert_eq!(measured.by_step, plan(&g).unwrap().timeline);
        out
    };
    run(a) == run(b)
}

/// The graph with its nodes in another order that they can run in.
pub fn shuffled(graph: &Graph, seed: u64) -> Graph {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let mut left: Vec<NodeId> = graph.schedule().collect();
    let mut ran = vec![false; graph.node_bound()];
    let mut order = Vec::new();
    while !left.is_empty() {
        let waits = |v: &ValueId| graph.producer(*v).is_some_and(|p| !ran[p.index()]);
        let reads =
            |n: NodeId| graph.node(n).inputs.iter().flatten().chain(&graph.node(n).captures);
        let ready: Vec<usize> = (0..left.len()).filter(|&i| !reads(left[i]).any(waits)).collect();
        let next = left.remove(ready[below(ready.len())]);
        ran[next.index()] = true;
        order.push(next);
    }
    let mut out = graph.clone();
    Editor::new(&mut out).reorder("shuffle", &order).unwrap();
    out
}

/// Whether every output is identical, or exact in the field and equal in its bits on the CPU.
pub fn is_bit_exact(r: &Report) -> bool {
    r.outputs.iter().all(|o| {
        o.verdicts == [Verdict::Identical]
            || matches!(&o.verdicts[..], [Verdict::Exact(_), Verdict::BitExact(..), ..])
    })
}

/// Whether every output is exact in the field and equal in its bits on the CPU, perhaps but for runs with
/// infinities, NaN and the like.
pub fn is_bit_exact_if_finite(r: &Report) -> bool {
    let ran = |v: &Verdict| matches!(v, Verdict::BitExact(..) | Verdict::Finite(..));
    r.outputs.iter().all(|o| matches!(&o.verdicts[..], [Verdict::Exact(_), on, ..] if ran(on)))
}

/// Whether every output is close on the interpreter, or better.
pub fn is_close(a: &Graph, b: &Graph) -> bool {
    let cpu = Cpu::default();
    let c = Compare { exact: false, backends: vec![&cpu], seed: 7, ..Compare::default() };
    c.run(&Arc::new(a.clone()), &Arc::new(b.clone())).unwrap().is_equal()
}

/// How many nodes have this operator.
pub fn count(g: &Graph, op: &str) -> usize {
    g.schedule().filter(|&n| g.node(n).op.name() == op).count()
}

/// Loads a model and infers its types.
pub fn load(path: &std::path::Path) -> Graph {
    let onnx::Imported { mut graph, declared, .. } = onnx::load(path).unwrap();
    infer::infer_graph(&mut graph, &declared).unwrap();
    graph
}

/// The wgpu backend, if this machine has an adapter; a missing one fails where it is required.
#[cfg(feature = "wgpu")]
pub fn wgpu() -> Option<graph_opt_backends::wgpu::Wgpu> {
    match graph_opt_backends::wgpu::Wgpu::new() {
        Ok(w) => Some(w),
        Err(e) => {
            let required = std::env::var("GRAPH_OPT_REQUIRE_ADAPTER").is_ok_and(|v| v == "1");
            assert!(!required, "no wgpu adapter: {e}");
            eprintln!("SKIPPED: no wgpu adapter: {e}");
            None
        }
    }
}

/// Where and how insta writes a snapshot that is described so.
pub fn snapshots(description: impl Into<String>) -> insta::Settings {
    let mut s = insta::Settings::clone_current();
    s.set_snapshot_path("../snapshots");
    s.set_prepend_module_to_snapshot(false);
    s.set_description(description);
    s
}

/// The lines of a graph's IR text as a snapshot has them: no alignment, no comment that repeats the
/// value's name, 8 digits of digests.
fn ir_lines(g: &Graph) -> Vec<String> {
    let (spaces, digest) = (Regex::new(" {2,}").unwrap(), Regex::new("#([0-9a-f]{8})[0-9a-f]+"));
    let digest = digest.unwrap();
    let short = |line: &str| {
        let line = spaces.replace_all(line.trim(), " ");
        let line = digest.replace_all(&line, "#$1").into_owned();
        let value = line.strip_prefix('%').and_then(|l| l.split_once(" = "));
        match (value, line.rsplit_once(" ; ")) {
            (Some((value, _)), Some((rest, label)))
                if value.strip_suffix("_out").unwrap_or(value) == label =>
            {
                rest.to_owned()
            }
            _ => line,
        }
    };
    text::print(g).lines().map(short).collect()
}

/// What `after` has in other lines of IR text than `before`: lines with `-` and `+`, and how many
/// nodes between them are the same.
pub fn ir_diff(before: &Graph, after: &Graph) -> String {
    let [mut old, mut new] = [before, after].map(ir_lines);
    // Constants stand before their first reader: one that only moved is no difference.
    let constant = |l: &&String| l.contains(" = const ");
    let both: HashSet<String> =
        old.iter().filter(constant).filter(|l| new.contains(l)).cloned().collect();
    old.retain(|l| !both.contains(l));
    new.retain(|l| !both.contains(l));
    let mut text = String::new();
    let mut same = 0;
    let unchanged = |text: &mut String, same: &mut usize| {
        if *same > 0 {
            let nodes = if *same == 1 { "node" } else { "nodes" };
            writeln!(text, "… {same} unchanged {nodes} …").unwrap();
        }
        *same = 0;
    };
    for op in similar::capture_diff_slices(Algorithm::Patience, &old, &new) {
        let (tag, a, b) = op.as_tag_tuple();
        if tag == DiffTag::Equal {
            same += old[a].iter().filter(|l| l.starts_with('%')).count();
            continue;
        }
        unchanged(&mut text, &mut same);
        old[a].iter().for_each(|l| writeln!(text, "- {l}").unwrap());
        new[b].iter().for_each(|l| writeln!(text, "+ {l}").unwrap());
    }
    unchanged(&mut text, &mut same);
    text
}

/// Checks random cases, the same ones in every run: as many as `PROPTEST_CASES` says, or `quick`.
/// Gives their number.
pub fn random_cases<S: Strategy>(
    quick: u32,
    cases: &S,
    check: impl Fn(S::Value) -> Result<(), TestCaseError>,
) -> u32 {
    let count = std::env::var("PROPTEST_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(quick);
    let config = Config {
        cases: count,
        max_global_rejects: u32::MAX,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng).run(cases, check).unwrap_or_else(|e| panic!("{e}"));
    count
}

/// Numbers that a random case is made of, taken one by one, over and over.
pub struct Draws<'a>(std::iter::Cycle<std::slice::Iter<'a, u8>>);

impl<'a> Draws<'a> {
    /// From these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.iter().cycle())
    }

    /// A number below `n`; 0 below 1.
    pub fn below(&mut self, n: u64) -> u64 {
        u64::from(*self.0.next().unwrap()) % n.max(1)
    }

    /// A part of an axis of `n` elements, or all of it.
    pub fn span(&mut self, n: u64) -> Option<Span> {
        let lo = self.below(n);
        let len = 1 + self.below(n - lo);
        (self.below(4) > 0).then(|| Span::new(lo as i64, (lo + len) as i64))
    }
}
