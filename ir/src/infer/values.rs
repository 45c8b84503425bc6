//! Shape inference over a whole graph, with symbolic evaluation of small integer tensors.

use super::{dim, known, misc::shape_range};
use crate::graph::{Def, Graph, Node};
use crate::layout_params;
use crate::op::{Class, Op};
use crate::op_context::{OpCtx, Operand, RuleError};
use crate::{DType, Dim, NodeId, Type, ValueId};

/// Largest number of elements of a tensor that is evaluated.
const LIMIT: usize = 64;

/// A node contradicts its operator's definition, or the element type that the file declares for its
/// result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("node {label:?} ({op}): {reason}")]
#[non_exhaustive]
pub struct InferError {
    /// [Label](Graph::label) of the node.
    pub label: String,
    /// Name of its operator.
    pub op: String,
    /// The contradiction: what was expected, and what was found.
    pub reason: String,
}

/// Infers the types of all results in place. `declared` are the types that a file declares for values. They
/// complete inferred types that are partly unknown. A declared element type that contradicts the inferred
/// one is an error; declared extents that contradict the inferred ones are ignored, because such files
/// exist.
///
/// Returns the values whose declared extents were ignored.
///
/// # Errors
/// At the first node whose operands contradict its operator's definition.
pub fn infer_graph(
    graph: &mut Graph,
    declared: &[(ValueId, Type)],
) -> Result<Vec<ValueId>, InferError> {
    infer_at(graph, declared, 0)
}

/// [`infer_graph`] for a graph at this depth of nesting.
pub(super) fn infer_at(
    graph: &mut Graph,
    declared: &[(ValueId, Type)],
    depth: usize,
) -> Result<Vec<ValueId>, InferError> {
    infer_seeded(graph, declared, depth, &[])
}

/// [`infer_at`], where these values are known to have these elements.
pub(crate) fn infer_seeded(
    graph: &mut Graph,
    declared: &[(ValueId, Type)],
    depth: usize,
    seeds: &[(ValueId, Vec<Dim>)],
) -> Result<Vec<ValueId>, InferError> {
    let mut hints = vec![None; graph.value_bound()];
    for (v, ty) in declared {
        hints[v.index()] = Some(ty);
    }
    let mut wrong = Vec::new();
    let mut values: Vec<Option<Vec<Dim>>> = vec![None; graph.value_bound()];
    for (v, elements) in seeds {
        values[v.index()] = Some(elements.clone());
    }
    let order: Vec<NodeId> = graph.schedule().collect();
    for id in order {
        super::bodies::infer(graph, id, depth + 1);
        let error = |graph: &Graph, reason: String| InferError {
            label: graph.label(id).to_owned(),
            op: graph.node(id).op.name().to_owned(),
            reason,
        };
        let types = {
            let ctx = context(graph, id, &values);
            let types = super::infer(&ctx).map_err(|e: RuleError| error(graph, e.0))?;
            let result = symbolic(&ctx, &types);
            let first = graph.node(id).outputs.first().copied().flatten();
            if let (Some(v), Some(s)) = (first, result) {
                values[v.index()] = Some(s);
            }
            types
        };
        let outputs = graph.node(id).outputs.clone();
        for (v, ty) in outputs.into_iter().zip(types) {
            let Some(v) = v else { continue };
            let ty = match hints[v.index()] {
                None => ty,
                Some(hint) => match ty.meet(hint) {
                    Some(t) => t,
                    None if ty.dtype() != hint.dtype() => {
                        let name = &graph.value(v).name;
                        let reason = format!("{name:?} is declared {hint}, but is {ty}");
                        return Err(error(graph, reason));
                    }
                    None => {
                        wrong.push(v);
                        ty
                    }
                },
            };
            graph.value_mut(v).ty = ty;
        }
    }
    Ok(wrong)
}

/// Infers all types again. Types stay at least as precise as they are.
pub(crate) fn refine(graph: &mut Graph) -> Result<(), InferError> {
    let of_node = |v: &crate::Value| matches!(v.def, crate::Def::Node(..));
    let known: Vec<(ValueId, Type)> =
        graph.values().filter(|(_, v)| of_node(v)).map(|(id, v)| (id, v.ty.clone())).collect();
    infer_graph(graph, &known).map(drop)
}

/// Types that follow from the types of the graph's inputs and constants, one for each value; types that
/// the file declares for other values are not used. For a body, `outer` gives the types of captured values,
/// and the types of its inputs are unknown.
pub fn follow(graph: &Graph, outer: Option<&dyn Fn(&str) -> Type>) -> Vec<Type> {
    follow_with(graph, outer, &|_| Type::Unknown)
}

/// [`follow`], where the results of nodes without a shape rule have the types of `claimed`.
pub fn follow_with(
    graph: &Graph,
    outer: Option<&dyn Fn(&str) -> Type>,
    claimed: &dyn Fn(ValueId) -> Type,
) -> Vec<Type> {
    let mut types = vec![Type::Unknown; graph.value_bound()];
    for (id, v) in graph.values() {
        types[id.index()] = match (&v.def, outer) {
            (Def::Outer, Some(outer)) => outer(&v.name),
            (Def::Input(_), None) | (Def::Const(_) | Def::Sparse(_), _) => v.ty.clone(),
            _ => Type::Unknown,
        };
    }
    let mut values: Vec<Option<Vec<Dim>>> = vec![None; graph.value_bound()];
    for id in graph.schedule() {
        let node = graph.node(id);
        if node.op.class() == Class::Control || matches!(node.op, Op::Other(_)) {
            node.outputs.iter().flatten().for_each(|&v| types[v.index()] = claimed(v));
            continue;
        }
        let found = {
            let mut ctx = OpCtx::with(graph, id, &|v| &types[v.index()]);
            add_values(&mut ctx, node, &values);
            let Ok(found) = super::infer(&ctx) else { continue };
            if let Some(Some(v)) = node.outputs.first() {
                values[v.index()] = symbolic(&ctx, &found);
            }
            found
        };
        for (v, ty) in node.outputs.iter().zip(found) {
            if let Some(v) = v {
                types[v.index()] = ty;
            }
        }
    }
    types
}

fn context<'a>(graph: &'a Graph, id: NodeId, values: &[Option<Vec<Dim>>]) -> OpCtx<'a> {
    let mut ctx = OpCtx::of(graph, id);
    add_values(&mut ctx, graph.node(id), values);
    ctx
}

fn add_values(ctx: &mut OpCtx<'_>, node: &Node, values: &[Option<Vec<Dim>>]) {
    for (o, v) in ctx.inputs.iter_mut().zip(&node.inputs) {
        if let (Some(Operand { dims, .. }), Some(v)) = (o, v)
            && let Some(known) = &values[v.index()]
        {
            *dims = Some(known.clone());
        }
    }
}

/// Elements of every small integer value that is computed from shapes and constants; `None` for other
/// values.
pub fn symbolic_values(graph: &Graph) -> Vec<Option<Vec<Dim>>> {
    let mut values: Vec<Option<Vec<Dim>>> = vec![None; graph.value_bound()];
    for id in graph.schedule() {
        let node = graph.node(id);
        let Some(Some(v)) = node.outputs.first() else { continue };
        let ctx = context(graph, id, &values);
        values[v.index()] = symbolic(&ctx, std::slice::from_ref(&graph.value(*v).ty));
    }
    values
}

/// Most nodes that are followed for one value.
const FOLLOWED: usize = 64;

/// Elements of a small integer value that is computed from shapes and constants; `None` for other values.
pub(crate) fn elements(graph: &Graph, v: ValueId) -> Option<Vec<Dim>> {
    elements_within(graph, v, &mut { FOLLOWED })
}

fn elements_within(graph: &Graph, v: ValueId, left: &mut usize) -> Option<Vec<Dim>> {
    let ty = &graph.value(v).ty;
    let Def::Node(id, 0) = graph.value(v).def else { return None };
    if !ty.dtype().is_some_and(DType::is_int) || ty.rank().is_none_or(|r| r > 1) {
        return None;
    }
    *left = left.checked_sub(1)?;
    let mut ctx = OpCtx::of(graph, id);
    if !matches!(ctx.op, Op::Shape(_) | Op::Size(_)) {
        for (o, v) in ctx.inputs.iter_mut().zip(&graph.node(id).inputs) {
            if let (Some(Operand { value: None, dims: dims @ None, .. }), Some(v)) = (o, v) {
                *dims = elements_within(graph, *v, left);
            }
        }
    }
    symbolic(&ctx, std::slice::from_ref(ty))
}

/// Elements of the node's first result as dimensions, if it is computed from shapes.
fn symbolic(ctx: &OpCtx<'_>, types: &[Type]) -> Option<Vec<Dim>> {
    let out = match ctx.op {
        Op::Shape(s) => {
            let x = ctx.dims(0)?;
            return Some(x[shape_range(x.len(), s.start, s.end)].to_vec());
        }
        Op::Size(_) => return ctx.ty(0).elements().map(|n| vec![Dim::Known(n)]),
        _ => types.first()?,
    };
    if !matches!(out.dtype(), Some(DType::I64 | DType::I32)) || out.rank().is_none_or(|r| r > 1) {
        return None;
    }
    let result = match ctx.op {
        Op::Identity(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Reshape(_) | Op::Flatten(_) => {
            ctx.symbolic(0)?
        }
        Op::Cast(_) if ctx.dtype(0).is_some_and(DType::is_int) => ctx.symbolic(0)?,
        Op::Concat(_) => {
            // The shape operand of a Reshape may contain -1, which stands for an unknown extent.
            let unsigned = |n: &i64| u64::try_from(*n).map_or(Dim::Unknown, Dim::Known);
            let signed = |i: usize| Some(ctx.ints(i)?.iter().map(unsigned).collect());
            let part = |i: usize| ctx.symbolic(i).or_else(|| signed(i));
            let parts: Option<Vec<Vec<Dim>>> = (0..ctx.inputs.len()).map(part).collect();
            parts?.concat()
        }
        // Of all elements, as there is one axis at most.
        Op::ReduceProd(_) if out.elements() == Some(1) => {
            let product = |all: u64, d: &Dim| all.checked_mul(d.known()?);
            let all = ctx.symbolic(0)?.iter().try_fold(1, product)?;
            vec![Dim::Known(all)]
        }
        Op::Gather(_) => {
            let x = ctx.symbolic(0)?;
            let n = x.len() as i64;
            let pick =
                |&i: &i64| x.get(usize::try_from(if i < 0 { i + n } else { i }).ok()?).cloned();
            ctx.ints(1)?.iter().map(pick).collect::<Option<_>>()?
        }
        Op::Slice(_) => {
            let x = ctx.symbolic(0)?;
            let taken = layout_params::slices(ctx).ok()??;
            let [Some(t)] = taken[..] else { return None };
            let at = |i: i64| x.get(usize::try_from(t.start + i * t.step).ok()?).cloned();
            (0..t.count).map(at).collect::<Option<_>>()?
        }
        Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) => arithmetic(ctx)?,
        _ => return None,
    };
    (result.len() <= LIMIT).then_some(result)
}

fn arithmetic(ctx: &OpCtx<'_>) -> Option<Vec<Dim>> {
    let (a, b) = (ctx.symbolic(0)?, ctx.symbolic(1)?);
    let n = a.len().max(b.len());
    if (a.len() != n && a.len() != 1) || (b.len() != n && b.len() != 1) {
        return None;
    }
    let apply = |x: &Dim, y: &Dim| {
        let unit = |d: &Dim| known(d) == Some(1);
        match (ctx.op, known(x), known(y)) {
            (Op::Mul(_), ..) if unit(x) => y.clone(),
            (Op::Mul(_) | Op::Div(_), ..) if unit(y) => x.clone(),
            (Op::Add(_), Some(x), Some(y)) => dim(x.checked_add(y)),
            (Op::Sub(_), Some(x), Some(y)) => dim(x.checked_sub(y)),
            (Op::Mul(_), Some(x), Some(y)) => dim(x.checked_mul(y)),
            (Op::Div(_), Some(x), Some(y)) => dim(x.checked_div(y)),
            _ => Dim::Unknown,
        }
    };
    let at = |v: &[Dim], i: usize| v[if v.len() == 1 { 0 } else { i }].clone();
    Some((0..n).map(|i| apply(&at(&a, i), &at(&b, i))).collect())
}
