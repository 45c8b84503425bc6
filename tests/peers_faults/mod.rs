//! The faults that users of other optimisers reported as silent miscompiles or broken models, each
//! as models that would show it. `simplify` must keep every bit, `-O` may round where it says so,
//! and a rewriting that is right must have been made: a pass that does nothing proves nothing.

mod files;
mod folding;
mod fusing;
mod layout;
mod pairs;
mod pooling;
mod shapes;
mod whole;

use std::collections::BTreeMap;
use std::sync::Arc;

use graph_opt_backends::compare::{Compare, Report, Verdict};
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::{Extents, draw};
use graph_opt_backends::{Backend, Folder};
use graph_opt_ir::verify::verify;
use graph_opt_ir::{Graph, Tensor, text};
use graph_opt_passes::registry::OPTIMISE;
use graph_opt_passes::{Exactness, Pipeline, Runner};

/// A model, and the operators that are left of it, in the order in which they run.
#[derive(Clone, Copy)]
struct Row {
    /// What it shows.
    what: &'static str,
    /// Its inputs, outputs and nodes.
    model: &'static str,
    /// What `simplify` leaves.
    simplified: &'static str,
    /// What `-O` leaves.
    optimised: &'static str,
}

/// A row.
const fn row(
    what: &'static str,
    model: &'static str,
    simplified: &'static str,
    optimised: &'static str,
) -> Row {
    Row { what, model, simplified, optimised }
}

/// The graph `(inputs) -> (outputs) opset N { … }`.
fn parse(model: &str) -> Graph {
    text::parse(&format!("graph @g{model}")).unwrap_or_else(|e| panic!("{e}\n{model}"))
}

/// Extents of symbolic dimensions, all different, so that no two can be mistaken.
fn extents() -> Extents {
    let named = [("N", 5), ("M", 7), ("K", 3), ("?", 2)];
    Extents(named.into_iter().map(|(n, e)| (n.to_owned(), e)).collect::<BTreeMap<_, _>>())
}

/// Inputs of both signs.
fn inputs(g: &Graph) -> Vec<Tensor> {
    let signed = |t: Tensor| match t.dtype() {
        graph_opt_ir::DType::F32 => {
            let v: Vec<f32> = t.to_f32s().unwrap().iter().map(|x| 2.0 * x - 1.0).collect();
            Tensor::f32s(t.dims(), &v).unwrap()
        }
        _ => t,
    };
    draw(g, &extents(), 11).unwrap().into_iter().map(signed).collect()
}

/// Compares on these inputs, over the field and on the interpreter.
fn judged_on(a: &Graph, b: &Graph, inputs: Vec<Tensor>) -> Report {
    let cpu = Cpu::default();
    let c = Compare {
        backends: vec![&cpu],
        seed: 7,
        extents: extents(),
        inputs: Some(inputs),
        ..Compare::default()
    };
    c.run(&Arc::new(a.clone()), &Arc::new(b.clone())).unwrap()
}

fn judged(a: &Graph, b: &Graph) -> Report {
    judged_on(a, b, inputs(a))
}

/// Whether every output has the same bits on the interpreter, and the field knows no better.
fn has_same_bits(r: &Report) -> bool {
    let ran = |v: &Verdict| matches!(v, Verdict::Identical | Verdict::BitExact(..));
    !r.differs() && r.outputs.iter().all(|o| o.verdicts.iter().any(ran))
}

/// Whether every output is close on the interpreter. The field tells folded weights apart.
fn is_near(r: &Report) -> bool {
    let near =
        |v: &Verdict| matches!(v, Verdict::Identical | Verdict::BitExact(..) | Verdict::Close(..));
    r.outputs.iter().all(|o| o.verdicts.last().is_some_and(near))
}

/// Runs a pipeline, verified after each pass, and says how exact it was.
fn run(g: &Graph, pipeline: &str) -> (Graph, Exactness, Vec<String>) {
    let mut t = g.clone();
    let pipeline = Pipeline::parse(pipeline).unwrap();
    let report = Runner::default().evaluator(&Folder).run(&mut t, &pipeline).unwrap();
    verify(&t).unwrap();
    (t, report.exactness, report.remarks.iter().map(ToString::to_string).collect())
}

/// What the interpreter gives.
fn outputs(g: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    let g = Arc::new(g.clone());
    Cpu::default().prepare(g.clone()).unwrap().run(inputs, g.outputs()).unwrap()
}

/// Names of the operators, in the order in which they run.
fn ops(g: &Graph) -> String {
    g.schedule().map(|n| g.node(n).op.name()).collect::<Vec<_>>().join(" ")
}

/// Checks every row, and tells of all that are wrong.
fn check(rows: &[Row]) {
    let mut wrong = Vec::new();
    for r in rows {
        let g = parse(r.model);
        for (pipeline, want) in [("simplify", r.simplified), (OPTIMISE, r.optimised)] {
            let (t, exactness, remarks) = run(&g, pipeline);
            let report = judged(&g, &t);
            let right = match exactness {
                Exactness::BitExact => has_same_bits(&report),
                _ => is_near(&report),
            };
            if !right {
                wrong.push(format!("{}: {pipeline}: {report:?}", r.what));
            }
            if ops(&t) != want {
                let said = remarks.join("\n  ");
                let got = ops(&t);
                wrong.push(format!("{}: {pipeline}: {got:?}, not {want:?}\n  {said}", r.what));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
