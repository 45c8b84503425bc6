//! Samples for every row of the table of operators, and what each operator must have: a shape
//! rule, regions, kernels, facts. What is missing is a red test, and no silent default.

mod composites;
mod samples;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use graph_opt_backends::cpu::{Cpu, FieldTensor, run_field};
use graph_opt_backends::inputs::{Extents, draw, draw_one};
use graph_opt_backends::{Executable, RunError};
use graph_opt_ir::op::{Class, TABLE};
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::region::{self, Relation};
use graph_opt_ir::tensor::Data;
use graph_opt_ir::{DType, Datum, Editor, Graph, NodeId, Span, Tensor, Type, infer, text};
use graph_opt_passes::Outcome;
use graph_opt_passes::tile::{Grid, Group, Reuse, build};
use proptest::prelude::*;

use crate::support::{Draws, optimise, random_cases, same_run};
use samples::samples;

/// Which parts of a sample's result can be computed from parts of its operands.
#[derive(Clone, Copy, Debug)]
enum Regions {
    /// Parts along these axes: all that can be cut, of those that have two parts.
    Cut(&'static [usize]),
    /// None; these words are in the reason.
    Barred(&'static str),
}

/// How the wgpu backend runs a sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gpu {
    /// Without bringing an operand from the device to the host.
    Device,
    /// On the host, for want of a kernel.
    Host,
    /// Not at all; these words are in the reason.
    No(&'static str),
}

/// One node with typed operands, as text.
#[derive(Clone, Debug)]
struct Sample {
    opset: i64,
    inputs: String,
    constants: String,
    /// The node with the types of its results. Those that have names are the graph's outputs.
    node: String,
    regions: Regions,
    gpu: Gpu,
}

/// A sample as a graph.
struct Built {
    graph: Graph,
    node: NodeId,
    /// Which result is the graph's first output.
    output: usize,
}

impl Sample {
    fn opset(self, opset: i64) -> Self {
        Self { opset, ..self }
    }

    fn with(self, constants: &str) -> Self {
        Self { constants: constants.into(), ..self }
    }

    fn gpu(self, gpu: Gpu) -> Self {
        Self { gpu, ..self }
    }

    fn build(&self) -> Built {
        let (results, _) = self.node.split_once(" = ").unwrap();
        let results: Vec<&str> = results.split(", ").collect();
        let named: Vec<&str> = results.iter().copied().filter(|r| *r != "_").collect();
        let text = format!(
            "graph @sample({}) -> ({}) opset {}, com.microsoft 1 {{\n{}\n{}\n}}",
            self.inputs,
            named.join(", "),
            self.opset,
            self.constants,
            self.node
        );
        let graph = text::parse(&text).unwrap_or_else(|e| panic!("{e} in\n{text}"));
        let node = graph.producer(graph.outputs()[0]).unwrap();
        let output = results.iter().position(|r| *r == named[0]).unwrap();
        Built { graph, node, output }
    }
}

impl Built {
    fn ctx(&self) -> OpCtx<'_> {
        OpCtx::of(&self.graph, self.node)
    }

    /// Random inputs: floats in [-1, 3), so that functions see both sides of their poles.
    fn inputs(&self) -> Vec<Datum> {
        // What indexes an axis has to be inside of it.
        let drawn = draw(&self.graph, &Extents::default(), 3).ok();
        let all = self.graph.inputs().iter().map(|&v| self.graph.value(v)).enumerate();
        all.map(|(i, v)| match &drawn {
            Some(d) if v.ty.dtype() != Some(DType::F32) => d[i].clone().into(),
            _ => Self::input(&v.name, &v.ty, i),
        })
        .collect()
    }

    fn input(name: &str, ty: &Type, i: usize) -> Datum {
        if let Type::Sequence(t) = ty {
            let one = |j| Self::input(name, t, 7 * i + j).tensor().cloned().unwrap();
            return Datum::Sequence((0..3).map(one).collect());
        }
        if let Type::Optional(t) = ty {
            return Self::input(name, t, i);
        }
        if ty.dtype() == Some(DType::String) {
            let n = ty.elements().unwrap() as usize;
            let all = (0..n).map(|j| format!("a{j} {i}").into_bytes()).collect();
            let data = Data::Strings(Arc::new(all));
            return Tensor::new(DType::String, ty.extents().unwrap(), data).unwrap().into();
        }
        let t = draw_one(name, ty, &Extents::default(), 3, i).unwrap();
        let wider = |t: Tensor| match t.dtype() {
            DType::F32 => {
                let v: Vec<f32> = t.to_f32s().unwrap().iter().map(|x| x * 4.0 - 1.0).collect();
                Tensor::f32s(t.dims(), &v).unwrap()
            }
            _ => t,
        };
        wider(t).into()
    }

    fn run(&self, inputs: &[Datum]) -> Result<Vec<Datum>, String> {
        let prepared = Cpu::default().prepared(Arc::new(self.graph.clone()));
        let prepared = prepared.map_err(|e| e.to_string())?;
        prepared.run_data(inputs, self.graph.outputs()).map_err(|e| e.to_string())
    }

    /// Axes of the first output that can be cut into two parts: axis, extent, and the distance at
    /// which cuts must lie.
    fn axes(&self) -> Result<Vec<(usize, i64, i64)>, String> {
        let rel = region::relations(&self.ctx(), self.output).map_err(|b| b.0)?;
        let ty = &self.graph.value(self.graph.outputs()[0]).ty;
        let dims = ty.extents().ok_or("the extents are unknown")?;
        let free = |a: &usize| rel.barriers.iter().all(|b| b.0 != *a);
        let axes =
            (0..dims.len()).filter(free).map(|a| (a, dims[a] as i64, region::alignment(&rel, a)));
        let axes: Vec<_> = axes.filter(|&(_, n, align)| n > align).collect();
        match (&axes[..], rel.barriers.first()) {
            ([], Some((_, why))) => Err(why.clone()),
            _ => Ok(axes),
        }
    }
}

/// Runs the check on every sample, and fails with all that it finds.
fn each(check: impl Fn(&Sample, &Built) -> Result<(), String>) {
    let mut failures = Vec::new();
    for s in samples() {
        if let Err(why) = check(&s, &s.build()) {
            failures.push(format!("{}: {why}", s.node));
        }
    }
    assert!(failures.is_empty(), "{} samples fail:\n{}", failures.len(), failures.join("\n"));
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

#[test]
fn every_row_has_a_sample() {
    let sampled: BTreeSet<(String, String)> = samples()
        .iter()
        .map(|s| {
            let b = s.build();
            let op = &b.graph.node(b.node).op;
            (op.domain().to_owned(), op.name().to_owned())
        })
        .collect();
    let lacks = |(domain, name, _): &&(&str, &str, Class)| {
        !sampled.contains(&((*domain).to_owned(), (*name).to_owned()))
    };
    let missing: Vec<&str> = TABLE.iter().filter(lacks).map(|row| row.1).collect();
    assert!(missing.is_empty(), "tests/operators/samples.rs has no sample of {missing:?}");
    assert_eq!(sampled.len(), TABLE.len(), "samples of what is in no row");
}

#[test]
fn inference_gives_the_types_of_the_samples() {
    each(|_, b| {
        let inferred = infer::infer(&b.ctx()).map_err(|e| e.to_string())?;
        for (v, ty) in b.graph.node(b.node).outputs.iter().zip(inferred) {
            let Some(v) = v else { continue };
            let want: &Type = &b.graph.value(*v).ty;
            ensure(*want == ty, || format!("inferred {ty}, expected {want}"))?;
        }
        Ok(())
    });
}

/// Parts of the axes that can be cut: a few, or all.
fn grid(d: &mut Draws<'_>, axes: &[(usize, i64, i64)]) -> Grid {
    let first = d.below(axes.len() as u64) as usize;
    let mut cut = Vec::new();
    for (i, &(axis, n, align)) in axes.iter().enumerate() {
        if i != first && d.below(3) > 0 {
            continue;
        }
        // Cuts elsewhere must be refused, or be right.
        let unit = if d.below(4) == 0 { 1 } else { align };
        let mut cuts = vec![0, n];
        cuts.extend((0..2).map(|_| unit * (1 + d.below((n / unit - 1) as u64) as i64)));
        cuts.sort_unstable();
        cuts.dedup();
        cut.push((axis, cuts.windows(2).map(|c| Span::new(c[0], c[1])).collect()));
    }
    Grid { axes: cut }
}

/// Results over the field; `None` if the operator has no meaning there.
fn over_field(g: &Graph) -> Result<Option<Vec<FieldTensor>>, String> {
    fn undefined(e: &RunError) -> bool {
        match e {
            RunError::Node { source, .. } => undefined(source),
            e => matches!(e, RunError::NotInField(_)),
        }
    }
    match run_field(g, 5, &[], g.outputs(), &Cpu::default()) {
        Ok(all) => Ok(Some(all)),
        Err(e) if undefined(&e) => Ok(None),
        Err(e) => Err(e.to_string()),
    }
}

const REGIONS: u64 = 100;

#[test]
fn regions_are_what_the_relations_say() {
    let counts: RefCell<BTreeMap<String, u64>> = RefCell::default();
    each(|s, b| {
        let axes = match (b.axes(), s.regions) {
            (Err(why), Regions::Barred(words)) => {
                return ensure(why.contains(words), || format!("{why:?} instead of {words:?}"));
            }
            (Err(why), Regions::Cut(_)) => return Err(why),
            (Ok(axes), Regions::Barred(_)) => return Err(format!("can be cut along {axes:?}")),
            (Ok(axes), Regions::Cut(want)) => {
                let have: Vec<usize> = axes.iter().map(|a| a.0).collect();
                ensure(have == want, || format!("axes {have:?} can be cut instead of {want:?}"))?;
                axes
            }
        };
        let g = &b.graph;
        let whole = over_field(g)?;
        let float = g.inputs().iter().any(|&v| g.value(v).ty.dtype() == Some(DType::F32));
        // Its first step makes whole numbers of floats.
        let rounds = g.node(b.node).op.name() == "DynamicQuantizeMatMul";
        ensure(whole.is_some() || !float || rounds, || "no run over the field".into())?;
        let (done, cut) = (Cell::new(0), RefCell::new(BTreeSet::new()));
        let mut group = Group::of(g, vec![b.node]);
        // A grid divides the last output.
        group.outputs.sort_by_key(|v| *v == g.outputs()[0]);
        let drawable = draw(g, &Extents::default(), 3).is_ok();
        let inputs = b.inputs();
        let outputs = b.run(&inputs)?;
        let cases = random_cases(60, &prop::collection::vec(any::<u8>(), 24), |bytes| {
            let grid = grid(&mut Draws::new(&bytes), &axes);
            let built = build::tile_group(g, &group, &grid, Reuse::Recompute, "sample");
            let Ok(edit) = built else { return Ok(()) };
            let mut tiled = g.clone();
            Editor::new(&mut tiled).apply(&edit).unwrap();
            let same = whole.is_none() || over_field(&tiled).is_ok_and(|t| t == whole);
            prop_assert!(same, "differs over the field:\n{}", text::print(&tiled));
            // Strings are not drawn.
            let same = match drawable {
                true => same_run(g, &tiled),
                false => {
                    let ready = Cpu::default().prepared(Arc::new(tiled.clone())).unwrap();
                    ready.run_data(&inputs, tiled.outputs()).unwrap() == outputs
                }
            };
            prop_assert!(same, "differs in bits:\n{}", text::print(&tiled));
            done.set(done.get() + grid.len() as u64);
            cut.borrow_mut().extend(grid.axes.iter().map(|a| a.0));
            Ok(())
        });
        let op = g.node(b.node).op.name().to_owned();
        *counts.borrow_mut().entry(op).or_default() += done.get();
        let cut: Vec<usize> = cut.into_inner().into_iter().collect();
        ensure(cases < 60 || done.get() >= REGIONS && cut.len() == axes.len(), || {
            format!("only {} regions, along axes {cut:?}, were checked", done.get())
        })
    });
    let counts = counts.into_inner();
    println!("regions checked: {counts:?}");
    assert!(counts.len() > 100, "only {} operators were cut", counts.len());
}

#[test]
fn every_backend_runs_or_says_why_not() {
    #[cfg(feature = "wgpu")]
    let wgpu = crate::support::wgpu();
    each(|s, b| {
        let inputs = b.inputs();
        let want = b.run(&inputs)?;
        for (t, &v) in want.iter().zip(b.graph.outputs()) {
            let ty = &b.graph.value(v).ty;
            ensure(t.is_of(ty), || format!("a result of {}, not {ty}", t.ty()))?;
        }
        #[cfg(feature = "wgpu")]
        if let Some(w) = &wgpu {
            on_wgpu(w, s, b, &inputs, &want)?;
        }
        Ok(())
    });
}

#[cfg(feature = "wgpu")]
fn on_wgpu(
    w: &graph_opt_backends::wgpu::Wgpu,
    s: &Sample,
    b: &Built,
    inputs: &[Datum],
    want: &[Datum],
) -> Result<(), String> {
    use graph_opt_backends::tolerance;
    let compiled = match (w.compile(Arc::new(b.graph.clone())), s.gpu) {
        (Ok(c), _) => c,
        (Err(e), Gpu::No(words)) if e.to_string().contains(words) => return Ok(()),
        (Err(e), _) => return Err(e.to_string()),
    };
    let got = compiled.run_data(inputs, b.graph.outputs()).map_err(|e| e.to_string())?;
    let gpu = if compiled.fallbacks().is_empty() { Gpu::Device } else { Gpu::Host };
    ensure(gpu == s.gpu, || format!("runs on {gpu:?} instead of {:?}", s.gpu))?;
    for (a, b) in want.iter().zip(&got) {
        ensure(a.ty() == b.ty(), || format!("a result of {} instead of {}", b.ty(), a.ty()))?;
        let change = match (a, b) {
            (Datum::Tensor(a), Datum::Tensor(b)) => tolerance::change(a, b),
            _ => return Err("a result that is no tensor".into()),
        };
        ensure(change <= tolerance::CLOSE, || format!("results differ by {change:e}"))?;
    }
    Ok(())
}

/// What an operator is said to be gives the same bits as the operator.
#[test]
fn definitions_run_as_their_operators() {
    let moved = Cell::new(0);
    each(|_, b| {
        let op = &b.graph.node(b.node).op;
        if op.class() != Class::Composite {
            return Ok(());
        }
        let (t, _) = optimise(&b.graph, "inline-functions{operators=yes}");
        moved.set(moved.get() + 1);
        let left = t.schedule().find(|&n| t.node(n).op.class() == Class::Composite);
        ensure(left.is_none(), || text::print(&t))?;
        ensure(same_run(&b.graph, &t), || text::print(&t))?;
        let proof = graph_opt_passes::eqsat::prove::prove(&b.graph, &t);
        ensure(proof.is_ok(), || format!("{:?}", proof.err()))
    });
    assert!(moved.get() >= 50, "{}", moved.get());
}

/// Parts of the contracted axes that add up, of every operator of which that is said.
#[test]
fn partial_sums_add_up() {
    let (stated, summed) = (RefCell::new(BTreeSet::new()), RefCell::new(BTreeSet::new()));
    each(|_, b| {
        let op = &b.graph.node(b.node).op;
        let (t, remarks) = optimise(&b.graph, "tile-conv{axis=c-in parts=2}");
        let applied = remarks.iter().any(|r| r.outcome == Outcome::Applied);
        if op.partial_sums().is_none() {
            return ensure(!applied, || "cut though its parts do not add up".into());
        }
        stated.borrow_mut().insert(op.name().to_owned());
        if !applied {
            return Ok(());
        }
        summed.borrow_mut().insert(op.name().to_owned());
        ensure(over_field(&b.graph)? == over_field(&t)?, || text::print(&t))
    });
    let (stated, summed) = (stated.into_inner(), summed.into_inner());
    assert_eq!(
        stated, summed,
        "operators whose partial sums are stated, and those that were summed"
    );
    assert_eq!(summed.len(), 6, "{summed:?}");
}

#[test]
fn other_facts_hold() {
    let same = RefCell::new(BTreeSet::new());
    each(|_, b| {
        let (ctx, op) = (b.ctx(), &b.graph.node(b.node).op);
        ensure(op.windowed().is_some() == (op.class() == Class::Window), || "windowed".into())?;
        if let Some(w) = op.windowed().filter(|_| b.output == 0) {
            let rel = region::relations(&ctx, 0).map_err(|b| b.0)?;
            let slides =
                |r: &Relation| matches!(r, Relation::Window(..) | Relation::Transposed(..));
            let images: Vec<usize> =
                (0..rel.operands.len()).filter(|&i| rel.operands[i].iter().any(slides)).collect();
            ensure(images == [w.image], || format!("windows slide over operands {images:?}"))?;
        }
        ensure(ctx.is_random() == op.is_random(), || "it draws only with other operands".into())?;
        if ctx.is_identity(b.output) {
            same.borrow_mut().insert(op.name().to_owned());
            let inputs = b.inputs();
            ensure(b.run(&inputs)?[0] == inputs[0], || "not its operand".into())?;
        }
        Ok(())
    });
    assert_eq!(same.into_inner().len(), 3);
}
