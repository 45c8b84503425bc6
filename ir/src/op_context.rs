//! The context of one node for the rules of its operator, [`crate::infer`] and [`crate::region`]: its
//! attributes, the types of its operands and the elements of constant ones.

use std::sync::Arc;

use crate::graph::Functions;
use crate::op::Op;
use crate::tensor::Tensor;
use crate::{DType, Dim, Graph, NodeId, Type, ValueId};

/// One operand of a node, as far as it is known.
#[derive(Clone, Debug)]
pub struct Operand<'a> {
    /// Type, perhaps with unknown extents.
    pub ty: &'a Type,
    /// Elements, if it is a constant.
    pub value: Option<Arc<Tensor>>,
    /// Elements as dimensions, if it is an integer tensor that is computed from shapes.
    pub dims: Option<Vec<Dim>>,
}

/// A node and its operands, for the rules of its operator.
#[derive(Clone, Debug)]
pub struct OpCtx<'a> {
    /// Operator with its attributes.
    pub op: &'a Op,
    /// Version of the operator set of the operator's domain.
    pub opset: i64,
    /// Version of ONNX's own operator set, in which a [definition](crate::definition) is written.
    pub onnx: i64,
    /// The functions of the model; `None` if the operator is looked at without a model.
    pub functions: Option<&'a Arc<Functions>>,
    /// Operands; `None` where an optional one is absent.
    pub inputs: Vec<Option<Operand<'a>>>,
    /// Number of results of the node.
    pub outputs: usize,
}

/// A node contradicts its operator's definition.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct RuleError(pub String);

/// Shorthand for an error with a formatted message.
macro_rules! fail {
    ($($arg:tt)*) => { return Err($crate::op_context::RuleError(format!($($arg)*))) };
}
pub(crate) use fail;

impl<'a> OpCtx<'a> {
    /// The context of a node of the graph.
    pub fn of(graph: &'a Graph, node: NodeId) -> Self {
        Self::with(graph, node, &|v| &graph.value(v).ty)
    }

    /// The context of a node of the graph, with the elements of operands that are computed from shapes.
    pub fn followed(graph: &'a Graph, node: NodeId) -> Self {
        let mut ctx = Self::of(graph, node);
        for (o, v) in ctx.inputs.iter_mut().zip(&graph.node(node).inputs) {
            if let (Some(Operand { value: None, dims: dims @ None, .. }), Some(v)) = (o, v) {
                *dims = crate::infer::elements(graph, *v);
            }
        }
        // The extents of a result are the target that made it, but 0, which stands for another number.
        let made = graph.node(node).outputs.first().copied().flatten();
        let known = || Some(graph.value(made?).ty.dims()?.to_vec());
        let number = |d: &Dim| d.known().is_some_and(|n| n > 0);
        if let (Op::Reshape(_), Some(Some(Operand { value: None, dims: dims @ None, .. }))) =
            (ctx.op, ctx.inputs.get_mut(1))
        {
            *dims = known().filter(|d| d.iter().all(number));
        }
        ctx
    }

    /// The context of a node of the graph, if its values had these types.
    pub fn with(graph: &'a Graph, node: NodeId, ty: &dyn Fn(ValueId) -> &'a Type) -> Self {
        let n = graph.node(node);
        let hidden = |v| {
            let all = dequantized(graph, v)?;
            Some(all.iter().map(|&n| Dim::Known(n as u64)).collect())
        };
        let operand = |v: &Option<ValueId>| {
            v.map(|v| Operand { ty: ty(v), value: graph.constant(v), dims: hidden(v) })
        };
        Self {
            op: &n.op,
            opset: graph.opsets.get(n.op.domain()).copied().unwrap_or(1),
            onnx: graph.opset(),
            functions: Some(&graph.functions),
            inputs: n.inputs.iter().map(operand).collect(),
            outputs: n.outputs.len(),
        }
    }

    /// Operand `i`; `None` if it is absent.
    pub fn input(&self, i: usize) -> Option<&Operand<'a>> {
        self.inputs.get(i)?.as_ref()
    }

    /// Type of operand `i`; `Unknown` if it is absent.
    pub fn ty(&self, i: usize) -> &Type {
        self.input(i).map_or(&Type::Unknown, |o| o.ty)
    }

    /// Element type of operand `i`, if known.
    pub fn dtype(&self, i: usize) -> Option<DType> {
        self.ty(i).dtype()
    }

    /// Extents of operand `i`, if its rank is known.
    pub fn dims(&self, i: usize) -> Option<&[Dim]> {
        self.ty(i).dims()
    }

    /// Elements of operand `i`, if it is an integer tensor and all of them are known.
    pub fn ints(&self, i: usize) -> Option<Vec<i64>> {
        let o = self.input(i)?;
        if let Some(t) = &o.value {
            return t.to_i64s();
        }
        let known = |d: &Dim| d.known().and_then(|n| i64::try_from(n).ok());
        o.dims.as_ref()?.iter().map(known).collect()
    }

    /// Elements of operand `i` as dimensions, if it is an integer tensor that is constant or computed
    /// from shapes.
    pub(crate) fn symbolic(&self, i: usize) -> Option<Vec<Dim>> {
        let o = self.input(i)?;
        if let Some(d) = &o.dims {
            return Some(d.clone());
        }
        let t = o.value.as_ref()?;
        t.to_i64s()?.into_iter().map(|n| u64::try_from(n).ok().map(Dim::Known)).collect()
    }

    /// Whether running the node twice on the same inputs may give two results, so that it must be
    /// neither folded, merged, duplicated nor cut.
    pub fn is_random(&self) -> bool {
        self.op.host().is_some_and(|h| h.0.is_random())
            || self.op.is_random()
            || matches!(self.op, Op::Dropout(_)) && !self.is_identity(0)
    }

    /// Whether result `output` always equals operand 0.
    pub fn is_identity(&self, output: usize) -> bool {
        output == 0
            && match self.op {
                Op::Identity(_) | Op::Transfer(_) => true,
                // Since version 12 it drops elements only if its third operand is true.
                Op::Dropout(_) if self.opset >= 12 => self.input(2).is_none_or(|training| {
                    let value = training.value.as_ref().and_then(|t| t.bytes().ok());
                    value.is_some_and(|t| t.iter().all(|&b| b == 0))
                }),
                Op::Dropout(_) => true,
                _ => false,
            }
    }

    /// Elements of operand `i`, if it is a constant of a floating-point type.
    pub fn floats(&self, i: usize) -> Option<Vec<f32>> {
        self.input(i)?.value.as_ref()?.to_f32s()
    }
}

/// Whole numbers that a Cast makes of constant integers dequantized with a scale of 1. ONNX Runtime does
/// not fold a DequantizeLinear, so that files hide extents from it in this way.
pub fn dequantized(graph: &Graph, v: ValueId) -> Option<Vec<i64>> {
    let cast = graph.node(graph.producer(v)?);
    let (Op::Cast(c), &[Some(x)]) = (&cast.op, &cast.inputs[..]) else { return None };
    let made = graph.node(graph.producer(x)?);
    let (Op::DequantizeLinear(_), &[Some(whole), Some(scale)]) = (&made.op, &made.inputs[..])
    else {
        return None;
    };
    let (whole, scale) = (graph.constant(whole)?, graph.constant(scale)?);
    let to_i64 = c.to == i64::from(DType::I64.to_onnx());
    // A half would round them.
    let single = graph.value(x).ty.dtype() == Some(DType::F32);
    let one = single && scale.dtype() == DType::F32 && scale.to_f32s()? == [1.0];
    // Those that a 32-bit float represents exactly.
    let exact = |n: &i64| (0..1 << 24).contains(n);
    let ints = whole.to_i64s().filter(|all| all.iter().all(exact))?;
    (to_i64 && one && whole.dims().len() == 1).then_some(ints)
}

/// The axis as an index below `rank`. Negative axes count from the end.
///
/// # Errors
/// If the axis is not in `-rank..rank`.
pub fn axis_of(axis: i64, rank: usize) -> Result<usize, RuleError> {
    let r = rank as i64;
    if axis < -r || axis >= r {
        fail!("expected an axis of {} to {}, found {axis}", -r, r - 1);
    }
    Ok(if axis < 0 { (axis + r) as usize } else { axis as usize })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::dequantized;
    use crate::text::parse;

    /// A half between constant and Cast would round whole numbers above 2048.
    #[test]
    fn whole_numbers_are_known_through_single_floats_only() {
        let found = |output_dtype: u8, float: &str| {
            let graph = parse(&format!(
                "graph @g(%x: f32[9]) -> (%y) opset 21 {{
                   %q = const [2049] : i32[1]
                   %one = const 1    : f32[]
                   %f = DequantizeLinear %q, %one {{output_dtype={output_dtype}}} : {float}[1]
                   %y = Cast %f {{to=7}} : i64[1]
                 }}"
            ));
            let graph = graph.unwrap();
            dequantized(&graph, graph.outputs()[0])
        };
        assert_eq!(found(1, "f32"), Some(vec![2049]));
        assert_eq!(found(10, "f16"), None);
    }
}
