//! `hide-extents`: the places where Slices cut are computed at run time, so that ONNX Runtime knows no
//! extents of what is computed from them.
//!
//! Before:
//! ```text
//! graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
//!   %s = Slice %x [2: 4..12]                    : f32[1,3,8,16]
//!   %y = Relu %s                                : f32[1,3,8,16]
//! }
//! ```
//! After:
//! ```text
//! graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
//!   %q = const [4]                              : i32[1]
//!   %one = const 1                              : f32[]
//!   %ends = const [12]                          : i64[1]
//!   %axes = const [2]                           : i64[1]
//!   %f = DequantizeLinear %q, %one              : f32[1]
//!   %from = Cast %f {to=7}                      : i64[1]
//!   %s = Slice %x, %from, %ends, %axes          : f32[1,3,8,16]
//!   %y = Relu %s                                : f32[1,3,8,16]
//! }
//! ```
//!
//! With its default options ONNX Runtime gives the buffer of a dead value to the next one of the same
//! known extents, and holds it in between. Tiles have the same extents over and over, so that it holds
//! a buffer for nearly every node. It folds Casts of constants, but no DequantizeLinear; here, the
//! extents are known all the same ([`graph_opt_ir::op_context`]).

use graph_opt_ir::op::Op;
use graph_opt_ir::{DType, Edit, EditError, Graph, NodeId, Tensor, ValueId, op};

use crate::options::{OptionError, Options};
use crate::pass::{Exactness, Outcome, Pass, PassCtx, PassInfo};
use crate::units::count;

/// Its entry in the registry.
pub(crate) const INFO: PassInfo = PassInfo {
    name: "hide-extents",
    summary: "Slices cut where ONNX Runtime cannot see it, so that it holds no buffers for tiles to come",
    exactness: Exactness::BitExact,
    options: &[],
    make,
};

fn make(_: &Options) -> Result<Box<dyn Pass>, OptionError> {
    Ok(Box::new(HideExtents))
}

/// The pass `hide-extents`, which hides extents from ONNX Runtime.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HideExtents;

impl Pass for HideExtents {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn exactness(&self) -> Exactness {
        INFO.exactness
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        match edit(cx.graph()) {
            Some(edit) => {
                let n = edit.replaces.len();
                cx.apply(&edit)?;
                cx.remark_on("", Outcome::Applied, format!("{} of Slices", count(n, "position")));
            }
            None => cx.remark_on("", Outcome::NoMatch, "no Slice cuts at constant positions"),
        }
        Ok(())
    }
}

/// Largest whole number that a 32-bit float and its neighbours represent exactly.
const EXACT: i64 = 1 << 24;

/// The edit that hides where Slices begin to cut; `None` if none cuts at constant positions.
pub(super) fn edit(graph: &Graph) -> Option<Edit> {
    // Operators of this form since version 10.
    if graph.opset() < 10 {
        return None;
    }
    let mut hidden: Vec<(ValueId, Vec<i64>)> = Vec::new();
    let mut first: Option<NodeId> = None;
    for id in graph.schedule() {
        let node = graph.node(id);
        let (Op::Slice(_), Some(&Some(from))) = (&node.op, node.inputs.get(1)) else { continue };
        if hidden.iter().any(|h| h.0 == from) {
            continue;
        }
        let value = graph.value(from);
        let places = |u: graph_opt_ir::Use| {
            matches!(graph.node(u.node).op, Op::Slice(_)) && (1..4).contains(&u.index)
        };
        let Some(t) = value.constant().filter(|t| t.dtype() == DType::I64) else { continue };
        let Some(ints) = t.to_i64s().filter(|all| all.iter().all(|n| (0..EXACT).contains(n)))
        else {
            continue;
        };
        if value.uses().all(places) && !value.is_output() {
            first = first.or(Some(id));
            hidden.push((from, ints));
        }
    }
    let mut edit = Edit::new("hide-extents");
    edit.before = Some(first?);
    let one = edit.constant("hide/one", Tensor::f32s(&[], &[1.0]).ok()?);
    for (from, ints) in hidden {
        let name = graph.value(from).name.to_string();
        let bytes = ints.iter().flat_map(|&n| (n as i32).to_le_bytes()).collect();
        let whole = Tensor::from_bytes(DType::I32, vec![ints.len() as u64], bytes).ok()?;
        let whole = edit.constant(&format!("{name}/whole"), whole);
        let dequantize = op::DequantizeLinear { axis: 1, block_size: 0, output_dtype: 0 };
        let float =
            edit.node(format!("{name}/float"), dequantize, vec![Some(whole), Some(one)], &[]);
        let to = DType::I64.to_onnx().into();
        let cast = op::Cast { to, saturate: 1, round_mode: "up".into() };
        let back = edit.node(format!("{name}/back"), cast, vec![Some(float)], &[]);
        edit.replaces.push((from, back));
    }
    Some(edit)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use graph_opt_ir::text;

    use super::*;
    use crate::Runner;
    use crate::pipeline::Pipeline;

    #[test]
    fn types_stay_and_are_inferred_again() {
        let mut graph = text::parse(
            "graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
               %V = const random(1)              : f32[8,3,3,3]
               %a = Conv %x, %V {pads=[1,1,1,1]} : f32[1,8,16,16] ; conv1
               %y = Relu %a                      : f32[1,8,16,16] ; relu
             }",
        )
        .unwrap();
        let before = graph.clone();
        let pipeline = Pipeline::parse("fuse-tiles{grid=2 to=relu},hide-extents").unwrap();
        Runner::default().run(&mut graph, &pipeline).unwrap();
        assert!(graph.schedule().any(|n| matches!(graph.node(n).op, Op::DequantizeLinear(_))));
        let types = graph_opt_ir::infer::follow(&graph, None);
        for (v, value) in graph.values() {
            assert_eq!(types[v.index()], value.ty, "{}", value.name);
        }
        #[cfg(feature = "eqsat")]
        crate::eqsat::prove::prove(&before, &graph).unwrap();
        let _ = before;
    }
}
