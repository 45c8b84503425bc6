//! A pass of your own, in a pipeline with those of graph-opt: divisions by a power of two become multiplications.
//!
//!     cargo run --example custom_pass
//!
//! A pass proposes edits, which the driver checks and applies; what it cannot do, it says in a remark. See
//! docs/adding-a-pass.md.
#![allow(clippy::print_stdout)] // An example.

use std::error::Error;
use std::sync::Arc;

use graph_opt_backends::compare::{Compare, Summary};
use graph_opt_backends::cpu::Cpu;
use graph_opt_ir::text::parse;
use graph_opt_ir::{DType, Edit, EditError, Graph, NodeId, Op, Ref, Tensor, op};
use graph_opt_passes::{
    Exactness, OptionError, Options, Outcome, Pass, PassCtx, PassInfo, Pipeline, Runner,
};

/// What parser and help know of the pass.
static INFO: PassInfo = PassInfo {
    name: "multiply",
    summary: "divisions by a power of two as multiplications, which many processors do faster",
    exactness: Exactness::BitExact,
    options: &[],
    make,
};

fn make(_: &Options) -> Result<Box<dyn Pass>, OptionError> {
    Ok(Box::new(Multiply))
}

/// `x / 2^n` is `x * 2^-n`, to the last bit: both are the exact quotient, rounded once.
#[derive(Debug)]
struct Multiply;

impl Pass for Multiply {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn exactness(&self) -> Exactness {
        INFO.exactness
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        let nodes: Vec<NodeId> = cx.graph().schedule().collect();
        for id in nodes {
            // `only(REGEX)(…)` leaves nodes out, and a bisection stops early.
            if !cx.selected(id) || cx.is_done() || !matches!(cx.graph().node(id).op, Op::Div(_)) {
                continue;
            }
            match edit(cx, id) {
                Ok(edit) => {
                    // The label, before the node is gone.
                    cx.remark(id, Outcome::Applied, "multiplies by the reciprocal");
                    cx.apply(&edit)?;
                }
                Err(why) => cx.remark(id, Outcome::Blocked, why),
            }
        }
        Ok(())
    }
}

/// The multiplication in the place of a division, or why there is none.
fn edit(cx: &PassCtx<'_, '_>, id: NodeId) -> Result<Edit, &'static str> {
    let graph = cx.graph();
    let node = graph.node(id);
    let ([Some(x), Some(by)], [Some(y)]) = (&node.inputs[..], &node.outputs[..]) else {
        return Err("an operand is missing");
    };
    let by = cx.constant(*by).ok_or("the divisor is not constant")?;
    let divisors =
        by.to_f32s().filter(|_| by.dtype() == DType::F32).ok_or("it is not of floats")?;
    let reciprocals: Vec<f32> = divisors.iter().map(|d| d.recip()).collect();
    let exact = |f: &f32| f.is_normal() && f.to_bits() << 9 == 0;
    if !divisors.iter().chain(&reciprocals).all(exact) {
        return Err("the divisor is no power of two");
    }
    let tensor = Tensor::f32s(by.dims(), &reciprocals).map_err(|_| "it cannot be written")?;

    let mut edit = Edit::new(format!("{} {}", INFO.name, graph.label(id)));
    let by = edit.constant("reciprocal", tensor);
    let product = edit.node(
        graph.label(id),
        op::Mul { axis: None, broadcast: 0 },
        vec![Some(Ref::Value(*x)), Some(by)],
        &[id],
    );
    edit.define(graph, *y, product);
    edit.removes.push(id);
    Ok(edit)
}

/// Runs the pass.
///
/// # Errors
/// If it does not work.
pub fn main() -> Result<(), Box<dyn Error>> {
    let graph = parse(
        "graph @main(%x: f32[2,3]) -> (%y) opset 17 {
           %four = const [4]  : f32[1]
           %ten = const [10]  : f32[1]
           %a = Div %x, %four : f32[2,3] ; quarter
           %b = Div %a, %ten  : f32[2,3] ; tenth
           %y = Relu %b       : f32[2,3] ; relu
         }",
    )?;
    // Its name stands in pipelines beside those that graph-opt has.
    let pipeline = Pipeline::parse_with("multiply,simplify", &[&INFO])?;
    let mut rewritten = graph.clone();
    let report = Runner::default().run(&mut rewritten, &pipeline)?;
    report.remarks.iter().for_each(|r| println!("{r}"));
    let count = |g: &Graph, name| g.schedule().filter(|&n| g.node(n).op.name() == name).count();
    assert_eq!((count(&rewritten, "Mul"), count(&rewritten, "Div")), (1, 1));
    assert_eq!(report.exactness, Exactness::BitExact);
    assert!(report.remarks.iter().any(|r| r.node == "tenth" && r.outcome == Outcome::Blocked));

    // The promise is kept: equal over the finite field, and bit for bit.
    let cpu = Cpu::default();
    let compare = Compare { backends: vec![&cpu], ..Compare::default() };
    let found = compare.run(&Arc::new(graph), &Arc::new(rewritten))?;
    println!("{:?}", found.outputs[0].verdicts);
    assert_eq!(found.outputs[0].summary, Summary::Exact);
    Ok(())
}
