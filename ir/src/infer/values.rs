//! Shape inference over a whole graph, with symbolic evaluation of small integer tensors.

use super::declared::complete;
use super::{dim, known, misc::shape_range, moved};
use crate::graph::{Def, Graph, Node};
use crate::op::{Class, Op};
use crate::op_context::{OpCtx, Operand, RuleError};
use crate::{DType, Dim, NodeId, Tensor, Type, ValueId};

/// Largest number of elements of a tensor that is evaluated.
const LIMIT: usize = 64;
/// Largest number of elements of the operand of a Gather, Slice or Transpose that is evaluated.
const TABLE: u64 = 4096;

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
/// complete inferred types that are partly unknown, except by extents that may differ from run to run: those of
/// operators with a shape rule that depend on free extents, on a branch, or on elements. A declared element type that
/// contradicts the inferred one is an error; declared extents that contradict the inferred ones are ignored, because
/// such files exist.
///
/// Returns the values whose declared extents were ignored.
///
/// # Errors
/// At the first node whose operands contradict its operator's definition.
pub fn infer_graph(
    graph: &mut Graph,
    declared: &[(ValueId, Type)],
) -> Result<Vec<ValueId>, InferError> {
    infer_from(graph, &Given { declared, ..Given::default() }, 0)
}

/// What is given of the results of a graph.
#[derive(Default)]
pub(crate) struct Given<'a> {
    /// Types that hold.
    pub known: &'a [(ValueId, Type)],
    /// Types that a file declares.
    pub declared: &'a [(ValueId, Type)],
    /// Elements.
    pub elements: &'a [(ValueId, Vec<Dim>)],
}

/// [`infer_graph`] for a graph at this depth of nesting.
pub(crate) fn infer_from(
    graph: &mut Graph,
    given: &Given<'_>,
    depth: usize,
) -> Result<Vec<ValueId>, InferError> {
    let bound = graph.value_bound();
    let (known, declared) = (by_value(given.known, bound), by_value(given.declared, bound));
    let mut wrong = Vec::new();
    let mut values: Vec<Option<Vec<Dim>>> = vec![None; graph.value_bound()];
    for (v, elements) in given.elements {
        values[v.index()] = Some(elements.clone());
    }
    let order: Vec<NodeId> = graph.schedule().collect();
    for id in order {
        let only = super::bodies::infer(graph, id, depth + 1);
        let error = |reason: String| InferError {
            label: graph.label(id).to_owned(),
            op: graph.node(id).op.name().to_owned(),
            reason,
        };
        // A body runs only if an If in it does; a model may have nodes that never run.
        let only = match only {
            Err(e) if depth > 0 => return Err(error(e.0)),
            only => only.unwrap_or_default(),
        };
        let ctx = context(graph, id, &values);
        let types = super::infer(&ctx).map_err(|e: RuleError| error(e.0))?;
        let types = only.unwrap_or(types);
        let elements = symbolic(&ctx, &types);
        let outputs = &graph.node(id).outputs;
        let mut results: Vec<(ValueId, Type)> = Vec::with_capacity(outputs.len());
        for (v, mut ty) in outputs.iter().zip(types) {
            let Some(v) = *v else { continue };
            for (given, holds) in [(known[v.index()], true), (declared[v.index()], false)] {
                let Some(given) = given else { continue };
                let both = if holds { ty.meet(given) } else { complete(&ctx, &ty, given) };
                match both {
                    Some(t) => ty = t,
                    None if ty.dtype() != given.dtype() => {
                        let name = &graph.value(v).name;
                        return Err(error(format!("{name:?} is declared {given}, but is {ty}")));
                    }
                    None => wrong.push(v),
                }
            }
            results.push((v, ty));
        }
        if let (Some(Some(v)), Some(s)) = (outputs.first(), elements) {
            values[v.index()] = Some(s);
        }
        for (v, ty) in results {
            graph.value_mut(v).ty = ty;
        }
    }
    Ok(wrong)
}

fn by_value(types: &[(ValueId, Type)], bound: usize) -> Vec<Option<&Type>> {
    let mut all = vec![None; bound];
    types.iter().for_each(|(v, ty)| all[v.index()] = Some(ty));
    all
}

/// Infers all types again. Types stay at least as precise as they are.
pub(crate) fn refine(graph: &mut Graph) -> Result<(), InferError> {
    let of_node = |v: &crate::Value| matches!(v.def, crate::Def::Node(..));
    let known: Vec<(ValueId, Type)> =
        graph.values().filter(|(_, v)| of_node(v)).map(|(id, v)| (id, v.ty.clone())).collect();
    infer_from(graph, &Given { known: &known, ..Given::default() }, 0).map(drop)
}

/// Types that follow from the types of the graph's inputs and constants, one for each value; types that
/// the file declares for other values are not used. For a body, `outer` gives the types of captured values,
/// and the types of its inputs are unknown.
pub fn follow(graph: &Graph, outer: Option<&dyn Fn(&str) -> Type>) -> Vec<Type> {
    follow_with(graph, outer, &|_| Type::Unknown).types
}

/// What follows for the values of a graph, by their index.
pub struct Followed {
    /// Types.
    pub types: Vec<Type>,
    /// Elements of small results that are computed from shapes and constants: whole numbers, and floats that are some.
    pub elements: Vec<Option<Vec<Dim>>>,
}

impl Followed {
    /// The value of a result, if all elements are known.
    pub fn tensor(&self, v: ValueId) -> Option<Tensor> {
        tensor_of(&self.types[v.index()], self.elements[v.index()].as_ref()?)
    }
}

/// The tensor of this type with these elements; `None` if one is not a known number, or the type has others.
pub fn tensor_of(ty: &Type, elements: &[Dim]) -> Option<Tensor> {
    let all = elements.iter().map(known).collect::<Option<Vec<i64>>>()?;
    let dtype = ty.dtype()?;
    let bytes = match dtype {
        DType::I64 => all.iter().flat_map(|n| n.to_le_bytes()).collect(),
        DType::I32 => all.iter().flat_map(|&n| (n as i32).to_le_bytes()).collect(),
        DType::F32 => all.iter().flat_map(|&n| (n as f32).to_le_bytes()).collect(),
        DType::F64 => all.iter().flat_map(|&n| (n as f64).to_le_bytes()).collect(),
        DType::Bool => all.iter().map(|&n| n as u8).collect(),
        _ => return None,
    };
    Tensor::from_bytes(dtype, ty.extents()?, bytes).ok()
}

/// [`follow`], where the results of nodes without a shape rule have the types of `claimed`.
pub fn follow_with(
    graph: &Graph,
    outer: Option<&dyn Fn(&str) -> Type>,
    claimed: &dyn Fn(ValueId) -> Type,
) -> Followed {
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
    Followed { types, elements: values }
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
    if !ty.dtype().is_some_and(DType::is_int) {
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

/// Elements of the node's first result as dimensions, if it is computed from shapes and constants.
fn symbolic(ctx: &OpCtx<'_>, types: &[Type]) -> Option<Vec<Dim>> {
    let out = match ctx.op {
        Op::Shape(s) => {
            let x = ctx.dims(0)?;
            return Some(x[shape_range(x.len(), s.start, s.end)].to_vec());
        }
        Op::Size(_) => return ctx.ty(0).elements().map(|n| vec![Dim::Known(n)]),
        _ => types.first()?,
    };
    let dtype = out.dtype()?;
    let most = match dtype {
        DType::I64 => i64::MAX as u64,
        DType::I32 => i32::MAX as u64,
        DType::F32 => 1 << f32::MANTISSA_DIGITS,
        DType::F64 => 1 << f64::MANTISSA_DIGITS,
        DType::Bool => 1,
        _ => return None,
    };
    let result = match ctx.op {
        Op::Identity(_)
        | Op::Squeeze(_)
        | Op::Unsqueeze(_)
        | Op::Reshape(_)
        | Op::Flatten(_)
        | Op::Transpose(_)
        | Op::Expand(_)
        | Op::Gather(_)
        | Op::Slice(_)
        | Op::Concat(_) => moved_elements(ctx, out)?,
        Op::Cast(_) if dtype == DType::Bool => {
            let truth = |d: &Dim| d.known().map_or(Dim::Unknown, |n| u64::from(n != 0).into());
            ctx.symbolic(0)?.iter().map(truth).collect()
        }
        Op::Cast(_) => ctx.symbolic(0)?,
        Op::Not(_) => {
            let not = |d: &Dim| d.known().map_or(Dim::Unknown, |n| u64::from(n == 0).into());
            ctx.symbolic(0)?.iter().map(not).collect()
        }
        Op::Equal(_)
        | Op::Less(_)
        | Op::Greater(_)
        | Op::LessOrEqual(_)
        | Op::GreaterOrEqual(_)
            if out.rank()? <= 1 =>
        {
            by_element(ctx, |x, y| {
                let (Some(x), Some(y)) = (x.known(), y.known()) else { return Dim::Unknown };
                let truth = match ctx.op {
                    Op::Equal(_) => x == y,
                    Op::Less(_) => x < y,
                    Op::Greater(_) => x > y,
                    Op::LessOrEqual(_) => x <= y,
                    _ => x >= y,
                };
                u64::from(truth).into()
            })?
        }
        // Of floats, only those are known that are moved.
        _ if !dtype.is_int() => return None,
        Op::ConstantOfShape(c) => {
            let n = usize::try_from(out.elements()?).ok().filter(|n| *n <= LIMIT)?;
            let value = u64::try_from(*c.value.as_ref()?.to_i64s()?.first()?).ok()?;
            vec![Dim::Known(value); n]
        }
        // Of all elements, as there is one axis at most.
        Op::ReduceProd(_) | Op::ReduceSum(_) | Op::ReduceMax(_) | Op::ReduceMin(_)
            if out.elements() == Some(1) && ctx.ty(0).rank().is_some_and(|r| r <= 1) =>
        {
            let all: Vec<u64> = ctx.symbolic(0)?.iter().map(Dim::known).collect::<Option<_>>()?;
            let one = match ctx.op {
                Op::ReduceProd(_) => all.iter().try_fold(1, |p: u64, n| p.checked_mul(*n))?,
                Op::ReduceSum(_) => all.iter().try_fold(0, |s: u64, n| s.checked_add(*n))?,
                Op::ReduceMax(_) => *all.iter().max()?,
                _ => *all.iter().min()?,
            };
            vec![Dim::Known(one)]
        }
        Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) if out.rank()? <= 1 => arithmetic(ctx)?,
        _ => return None,
    };
    // A larger whole number wraps around, or rounds.
    let fits = result.iter().all(|d| d.known().is_none_or(|n| n <= most));
    (fits && result.len() <= LIMIT).then_some(result)
}

/// The elements of the result of an operator that only moves them.
fn moved_elements(ctx: &OpCtx<'_>, out: &Type) -> Option<Vec<Dim>> {
    let data = if matches!(ctx.op, Op::Concat(_)) { ctx.inputs.len() } else { 1 };
    let parts: Vec<Vec<Dim>> = (0..data).map(|i| operand(ctx, i)).collect::<Option<_>>()?;
    let whole = |dims: Vec<u64>| dims.into_iter().map(|n| usize::try_from(n).ok()).collect();
    let extents = |i: usize| -> Option<Vec<usize>> {
        let found: Option<Vec<usize>> = match parts.get(i) {
            Some(all) if ctx.ty(i).rank() == Some(1) => Some(vec![all.len()]),
            _ => whole(ctx.ty(i).extents()?),
        };
        let count = |d: &Vec<usize>| {
            parts.get(i).is_none_or(|all| d.iter().product::<usize>() == all.len())
        };
        found.filter(count)
    };
    let result = out.extents().and_then(whole);
    let all = parts.concat();
    let from = moved(ctx, &extents, result, LIMIT)?.from;
    Some(from.into_iter().map(|i| all[i].clone()).collect())
}

/// The elements of an operand. In those of a Concat, constants may contain -1, which stands for an unknown extent in
/// the shape operand of a Reshape.
fn operand(ctx: &OpCtx<'_>, i: usize) -> Option<Vec<Dim>> {
    if ctx.ty(i).elements().is_some_and(|n| n > TABLE) {
        return None;
    }
    let unsigned = |n: &i64| u64::try_from(*n).map_or(Dim::Unknown, Dim::Known);
    let signed = || Some(ctx.ints(i)?.iter().map(unsigned).collect());
    ctx.symbolic(i).or_else(|| signed().filter(|_| matches!(ctx.op, Op::Concat(_))))
}

/// What the function gives of the elements of two operands of at most one axis, which are broadcast.
fn by_element(ctx: &OpCtx<'_>, f: impl Fn(&Dim, &Dim) -> Dim) -> Option<Vec<Dim>> {
    let (a, b) = (ctx.symbolic(0)?, ctx.symbolic(1)?);
    let n = a.len().max(b.len());
    if (a.len() != n && a.len() != 1) || (b.len() != n && b.len() != 1) {
        return None;
    }
    let at = |v: &[Dim], i: usize| v[if v.len() == 1 { 0 } else { i }].clone();
    Some((0..n).map(|i| f(&at(&a, i), &at(&b, i))).collect())
}

fn arithmetic(ctx: &OpCtx<'_>) -> Option<Vec<Dim>> {
    by_element(ctx, |x, y| {
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
    })
}
