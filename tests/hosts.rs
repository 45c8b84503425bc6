//! Operators that a host compiler defines: tiled, fused and run as those of the table.

use std::sync::Arc;

use graph_opt_backends::compare::{Compare, Verdict};
use graph_opt_backends::cpu::Cpu;
use graph_opt_ir::op::{Attr, Attrs, Operator, adopt};
use graph_opt_ir::op_context::{OpCtx, RuleError};
use graph_opt_ir::region::{Barrier, Region, Relation, Relations};
use graph_opt_ir::text::parse;
use graph_opt_ir::window::Window;
use graph_opt_ir::{Graph, Tensor, Type};

use crate::support::{count, optimise};

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

    fn infer(&self, ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError> {
        match (ctx.dims(0), ctx.dims(1)) {
            (Some(x), Some(g)) if x.len() != 4 || g.len() != 1 => {
                Err(RuleError("Gate takes [N,C,H,W] and [C]".into()))
            }
            _ => Ok(vec![ctx.ty(0).clone()]),
        }
    }

    fn relations(&self, _: &OpCtx<'_>, _: usize) -> Result<Relations, Barrier> {
        let same = (0..4).map(Relation::Same).collect();
        Ok(Relations { operands: vec![same, vec![Relation::Same(1)]], barriers: Vec::new() })
    }

    fn is_random(&self) -> bool {
        false
    }

    fn evaluate(
        &self,
        _: &Attrs,
        inputs: &[Option<Tensor>],
    ) -> Option<Result<Vec<Tensor>, String>> {
        let run = || {
            let [Some(x), Some(g)] = inputs else { return Err("Gate has two operands".to_owned()) };
            let (values, gates) =
                (x.to_f32s().ok_or("no floats")?, g.to_f32s().ok_or("no floats")?);
            let plane = (x.dims()[2] * x.dims()[3]) as usize;
            let of = |(i, v): (usize, &f32)| v * gates[i / plane % gates.len()];
            let out: Vec<f32> = values.iter().enumerate().map(of).collect();
            Tensor::f32s(x.dims(), &out).map(|t| vec![t]).map_err(|e| e.to_string())
        };
        Some(run())
    }
}

/// Sums over windows of two rows, and what it states may be wrong.
#[derive(Debug)]
struct Pairs {
    relations: Vec<Vec<Relation>>,
    random: bool,
    tiles: bool,
}

impl Operator for Pairs {
    fn domain(&self) -> &'static str {
        "acme"
    }

    fn name(&self) -> &'static str {
        "Pairs"
    }

    fn infer(&self, ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError> {
        let Some(d) = ctx.ty(0).extents() else { return Ok(vec![Type::Unknown]) };
        let dims = [d[0], d[1], d[2] - 1, d[3]].map(graph_opt_ir::Dim::Known);
        Ok(vec![Type::with_dims(graph_opt_ir::DType::F32, dims.to_vec())])
    }

    fn relations(&self, _: &OpCtx<'_>, _: usize) -> Result<Relations, Barrier> {
        Ok(Relations { operands: self.relations.clone(), barriers: Vec::new() })
    }

    fn on_region(&self, _: &OpCtx<'_>, _: usize, _: &Region) -> Result<Option<Attrs>, Barrier> {
        Ok(self.tiles.then(|| vec![("tile".into(), Attr::Int(1))]))
    }

    fn is_random(&self) -> bool {
        self.random
    }

    fn evaluate(
        &self,
        _: &Attrs,
        inputs: &[Option<Tensor>],
    ) -> Option<Result<Vec<Tensor>, String>> {
        let x = inputs[0].as_ref()?;
        let (v, d) = (x.to_f32s()?, x.dims());
        let (row, rows) = (d[3] as usize, d[2] as usize);
        let sums = v
            .chunks(row * rows)
            .flat_map(|p| (0..row * (rows - 1)).map(move |i| p[i] + p[i + row]));
        let out: Vec<f32> = sums.collect();
        Some(
            Tensor::f32s(&[d[0], d[1], d[2] - 1, d[3]], &out)
                .map(|t| vec![t])
                .map_err(|e| e.to_string()),
        )
    }
}

fn model(body: &str) -> Graph {
    parse(&format!(
        "graph @g(%x: f32[1,4,9,8], %s: f32[4]) -> (%y) opset 17, acme 1 {{
           %w = const random(1) : f32[4,4,3,3]
           %a = Conv %x, %w {{pads=[1,1,1,1]}} : ?
           {body}
           %y = Conv %b, %w {{pads=[1,1,1,1]}} : ?
         }}"
    ))
    .unwrap()
}

fn adopted(body: &str, host: Arc<dyn Operator>) -> Graph {
    let mut g = model(body);
    assert_eq!(adopt(&mut g, &[host]).unwrap(), 1);
    g
}

/// Whether the two give the same bits, and the field says nothing wrong.
fn same(a: &Graph, b: &Graph) -> bool {
    let cpu = Cpu::default();
    let c = Compare { backends: vec![&cpu], ..Compare::default() };
    let report = c.run(&Arc::new(a.clone()), &Arc::new(b.clone())).unwrap();
    report.outputs.iter().all(|o| {
        assert!(!o.verdicts.iter().any(|v| matches!(v, Verdict::Differs(..))), "{o:?}");
        o.verdicts.iter().any(|v| matches!(v, Verdict::BitExact(..)))
    })
}

#[test]
fn operators_of_a_host_are_tiled_and_run() {
    let body = "%b = acme::Gate %a, %s : ?";
    let g = adopted(body, Arc::new(Gate));
    assert_eq!(g.value(g.outputs()[0]).ty.to_string(), "f32[1,4,9,8]");
    for pipeline in [
        "fuse-tiles{from=a to=y grid=3 axes=h}",
        "fuse-tiles{from=a to=y grid=2x2 axes=hxw reuse=rows}",
        "fuse-tiles{from=b to=b grid=2 axes=c}",
    ] {
        let (out, remarks) = optimise(&g, pipeline);
        assert!(count(&out, "Gate") > 1, "{pipeline}: {remarks:?}");
        assert!(same(&g, &out), "{pipeline}");
    }
    // What no host defines is opaque.
    let (out, remarks) = optimise(&model(body), "fuse-tiles{from=a to=y grid=3 axes=h}");
    assert_eq!(out.edits(), 0, "{remarks:?}");
}

#[test]
fn what_a_host_states_wrong_or_leaves_out_is_a_barrier() {
    let window = || {
        let w = Window {
            kernel: 2,
            stride: 1,
            dilation: 1,
            begin: 0,
            end: 0,
            ceil: false,
            output_padding: 0,
        };
        vec![vec![Relation::Same(0), Relation::Same(1), Relation::Window(2, w), Relation::Same(3)]]
    };
    let pipeline = "fuse-tiles{from=a to=y grid=2 axes=h}";
    let pairs = |relations, random, tiles| {
        let g = adopted("%b = acme::Pairs %a : ?", Arc::new(Pairs { relations, random, tiles }));
        let (out, remarks) = optimise(&g, pipeline);
        (same(&g, &out), out.edits(), format!("{remarks:?}"))
    };
    let (equal, edits, _) = pairs(window(), false, true);
    assert_eq!((equal, edits), (true, 1));
    for (relations, random, tiles, why) in [
        (window(), true, true, "other results"),
        (window(), false, false, "does not define attributes for a region"),
        (Vec::new(), false, true, "expected relations of 1 operands"),
        (
            vec![vec![Relation::Same(0)]],
            false,
            true,
            "expected a relation for each axis of operand 0",
        ),
        (vec![vec![Relation::Same(9); 4]], false, true, "found 9"),
    ] {
        let (_, edits, said) = pairs(relations, random, tiles);
        assert_eq!(edits, 0, "{why}");
        assert!(said.contains(why), "{why}: {said}");
    }
}
