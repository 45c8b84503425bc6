//! An operator of your own in a model: with its shape rule, its region rule and its kernel, it is tiled, fused and
//! compared as those of ONNX.
//!
//!     cargo run --example custom_operator
//!
//! See docs/adding-an-operator.md.
#![allow(clippy::print_stdout)] // An example.

use std::error::Error;
use std::sync::Arc;

use graph_opt_backends::compare::{Compare, Verdict};
use graph_opt_backends::cpu::Cpu;
use graph_opt_ir::op::{Attrs, Operator, adopt};
use graph_opt_ir::op_context::{OpCtx, RuleError};
use graph_opt_ir::region::{Barrier, Relation, Relations};
use graph_opt_ir::text::parse;
use graph_opt_ir::{Graph, Tensor, Type};
use graph_opt_passes::{Pipeline, Runner};

/// `acme.Gate`: the first operand, `[N,C,H,W]`, times the second, `[C]`, along the channels.
#[derive(Debug)]
struct Gate;

impl Operator for Gate {
    fn domain(&self) -> &'static str {
        "acme"
    }

    fn name(&self) -> &'static str {
        "Gate"
    }

    /// The shape rule. A type that is not known yet is no error.
    fn infer(&self, ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError> {
        match (ctx.ty(0).rank(), ctx.ty(1).rank()) {
            (None | Some(4), None | Some(1)) => Ok(vec![ctx.ty(0).clone()]),
            _ => Err(RuleError(format!(
                "Gate takes [N,C,H,W] and [C], found {} and {}",
                ctx.ty(0),
                ctx.ty(1)
            ))),
        }
    }

    /// The region rule: index i of the result needs index i of the first operand, on all four axes; the only axis of
    /// the second goes with the result's axis 1. As no relation is a window, a tile has the node's attributes.
    fn relations(&self, _: &OpCtx<'_>, _: usize) -> Result<Relations, Barrier> {
        let same = (0..4).map(Relation::Same).collect();
        Ok(Relations { operands: vec![same, vec![Relation::Same(1)]], barriers: Vec::new() })
    }

    /// By default, operators may give something else in every run, and are not cut.
    fn is_random(&self) -> bool {
        false
    }

    /// The kernel, with which the interpreter runs and compares models.
    fn evaluate(
        &self,
        _: &Attrs,
        inputs: &[Option<Tensor>],
    ) -> Option<Result<Vec<Tensor>, String>> {
        let [Some(x), Some(gates)] = inputs else {
            return Some(Err("Gate has two operands".into()));
        };
        let (values, gates) = (x.to_f32s()?, gates.to_f32s()?);
        let plane = (x.dims()[2] * x.dims()[3]) as usize;
        let gated = values.iter().enumerate().map(|(i, v)| v * gates[i / plane % gates.len()]);
        let result = Tensor::f32s(x.dims(), &gated.collect::<Vec<f32>>());
        Some(result.map(|t| vec![t]).map_err(|e| e.to_string()))
    }
}

/// Tiles through the operator.
///
/// # Errors
/// If it does not work.
pub fn main() -> Result<(), Box<dyn Error>> {
    // Any model will do; `onnx::load` gives one of a file.
    let mut graph = parse(
        "graph @main(%x: f32[1,4,32,32], %s: f32[4]) -> (%y) opset 17, acme 1 {
           %w = const random(1)                : f32[4,4,3,3]
           %a = Conv %x, %w {pads=[1,1,1,1]}   : ? ; first
           %b = acme::Gate %a, %s              : ? ; gate
           %y = Conv %b, %w {pads=[1,1,1,1]}   : ? ; last
         }",
    )?;
    let pipeline = Pipeline::parse("fuse-tiles{from=first to=last grid=4 axes=h}")?;

    // Nobody has said yet what a Gate is, so nothing is tiled through it.
    let report = Runner::default().run(&mut graph.clone(), &pipeline)?;
    report.remarks.iter().for_each(|r| println!("without a definition: {r}"));
    assert_eq!(report.edits, 0);

    assert_eq!(adopt(&mut graph, &[Arc::new(Gate)])?, 1);
    let mut tiled = graph.clone();
    let report = Runner::default().run(&mut tiled, &pipeline)?;
    report.remarks.iter().for_each(|r| println!("with one: {r}"));
    let gates = |g: &Graph| g.schedule().filter(|&n| g.node(n).op.name() == "Gate").count();
    assert_eq!((gates(&graph), gates(&tiled)), (1, 4));

    // The interpreter runs the kernel, so the two can be compared.
    let cpu = Cpu::default();
    let compare = Compare { backends: vec![&cpu], ..Compare::default() };
    let found = compare.run(&Arc::new(graph), &Arc::new(tiled))?;
    println!("{:?}", found.outputs[0].verdicts);
    assert!(found.outputs[0].verdicts.iter().any(|v| matches!(v, Verdict::BitExact(..))));
    Ok(())
}
