//! The operators whose shape rules are their own.

use super::broadcast::vector_of;
use super::sequences;
use super::{branches, dim, dtype_attr, known, same_dtype, same_type, shape_text, typed};
use crate::layout_params;
use crate::op::Op;
use crate::op_context::{OpCtx, RuleError, axis_of, fail};
use crate::{DType, Dim, Type};

pub(super) fn misc(ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError> {
    let x = ctx.dims(0);
    let like = |dtype: Option<DType>| vec![typed(dtype, x.map(<[Dim]>::to_vec))];
    Ok(match ctx.op {
        Op::BatchNormalization(_) => batch_norm(ctx)?,
        Op::InstanceNormalization(_) => instance_norm(ctx)?,
        Op::LayerNormalization(l) => layer_norm(ctx, l.axis)?,
        Op::Softmax(_) | Op::LogSoftmax(_) | Op::Hardmax(_) => {
            axis_checked(ctx, layout_params::softmax_axis(ctx).unwrap_or_default())?
        }
        Op::LpNormalization(l) => axis_checked(ctx, l.axis)?,
        Op::Trilu(_) | Op::LRN(_) | Op::CumSum(_) | Op::CumProd(_) | Op::ImageScaler(_) => {
            vec![ctx.ty(0).clone()]
        }
        Op::ScatterElements(_) | Op::ScatterND(_) | Op::Scatter(_) => vec![ctx.ty(0).clone()],
        Op::TensorScatter(_)
        | Op::Compress(_)
        | Op::ReverseSequence(_)
        | Op::Unique(_)
        | Op::MaxUnpool(_)
        | Op::Col2Im(_)
        | Op::Det(_)
        | Op::GridSample(_)
        | Op::RoiAlign(_)
        | Op::NonMaxSuppression(_)
        | Op::DeformConv(_) => super::picks::picks(ctx)?,
        Op::DFT(_)
        | Op::STFT(_)
        | Op::MelWeightMatrix(_)
        | Op::HannWindow(_)
        | Op::HammingWindow(_)
        | Op::BlackmanWindow(_)
        | Op::TfIdfVectorizer(_) => super::signals::signals(ctx)?,
        Op::RandomUniform(_)
        | Op::RandomNormal(_)
        | Op::RandomUniformLike(_)
        | Op::RandomNormalLike(_)
        | Op::Bernoulli(_)
        | Op::Multinomial(_) => super::signals::drawn(ctx)?,
        Op::QuantizeLinear(q) => like(match (ctx.dtype(2), q.output_dtype) {
            (Some(d), _) => Some(d),
            (None, 0) if ctx.input(2).is_some() => None,
            (None, 0) => Some(DType::U8),
            (None, d) => Some(dtype_attr(d)?),
        }),
        Op::DequantizeLinear(q) => {
            same_dtype(ctx, [0, 2])?;
            like(match q.output_dtype {
                0 => ctx.dtype(1),
                d => Some(dtype_attr(d)?),
            })
        }
        Op::DynamicQuantizeLinear(_) => {
            let mut types = like(Some(DType::U8));
            types.extend([Type::tensor(DType::F32, &[]), Type::tensor(DType::U8, &[])]);
            types
        }
        // Values of other kinds are among the node's extra attributes, and not read.
        Op::Constant(c) => {
            vec![crate::graph::constant_value(c).map_or(Type::Unknown, |t| t.ty())]
        }
        Op::ConstantOfShape(c) => {
            let dtype = c.value.as_ref().map_or(DType::F32, |t| t.dtype());
            vec![typed(Some(dtype), shape_operand(ctx, 0)?)]
        }
        Op::Shape(s) => {
            let n = x.map(|x| shape_range(x.len(), s.start, s.end).len() as u64);
            vec![Type::with_dims(DType::I64, vec![n.map_or(Dim::Unknown, Dim::Known)])]
        }
        Op::Size(_) => vec![Type::tensor(DType::I64, &[])],
        Op::Range(_) => {
            same_dtype(ctx, 0..3)?;
            let n = match (
                ctx.ints(0).as_deref(),
                ctx.symbolic(1).as_deref(),
                ctx.ints(2).as_deref(),
            ) {
                (Some([0]), Some([n @ Dim::Param(_)]), Some([1])) => n.clone(),
                _ => dim(range_len(ctx)?),
            };
            vec![typed(ctx.dtype(0), Some(vec![n]))]
        }
        Op::EyeLike(e) => like(match e.dtype {
            Some(d) => Some(dtype_attr(d)?),
            None => ctx.dtype(0),
        }),
        Op::NonZero(_) => {
            let rank = x.map_or(Dim::Unknown, |x| Dim::Known(x.len() as u64));
            vec![Type::with_dims(DType::I64, vec![rank, Dim::Unknown])]
        }
        Op::OneHot(o) => one_hot(ctx, o.axis)?,
        Op::TopK(t) => top_k(ctx, t)?,
        Op::Gather(g) => gather(ctx, g.axis)?,
        Op::GatherElements(_) => vec![same_type(ctx, ctx.dims(1).map(<[Dim]>::to_vec))],
        Op::GatherND(g) => gather_nd(ctx, g.batch_dims)?,
        Op::Resize(_) | Op::Upsample(_) => vec![same_type(ctx, crate::resize::extents(ctx)?)],
        Op::LSTM(l) => rnn(ctx, 4, l.hidden_size, &l.direction, l.layout)?,
        Op::GRU(l) => rnn(ctx, 3, l.hidden_size, &l.direction, l.layout)?,
        Op::RNN(l) => rnn(ctx, 1, l.hidden_size, &l.direction, l.layout)?,
        Op::Einsum(e) => vec![same_type(ctx, einsum(ctx, &e.equation)?)],
        Op::StringConcat(_) => {
            let dims = x.zip(ctx.dims(1)).map(|(x, y)| super::broadcast(&[x, y])).transpose()?;
            vec![typed(Some(DType::String), dims)]
        }
        Op::StringSplit(_) => {
            let parts = x.map(|x| x.iter().cloned().chain([Dim::Unknown]).collect());
            let counts = x.map(<[Dim]>::to_vec);
            vec![typed(Some(DType::String), parts), typed(Some(DType::I64), counts)]
        }
        Op::StringNormalizer(_) => {
            let rest = |x: &[Dim]| vec![Dim::Known(1); x.len().saturating_sub(1).min(1)];
            let dims = x.map(|x| rest(x).into_iter().chain([Dim::Unknown]).collect());
            vec![typed(Some(DType::String), dims)]
        }
        Op::RegexFullMatch(_) => like(Some(DType::Bool)),
        Op::SequenceEmpty(_)
        | Op::SequenceConstruct(_)
        | Op::SequenceInsert(_)
        | Op::SequenceErase(_)
        | Op::SequenceAt(_)
        | Op::SequenceLength(_)
        | Op::SplitToSequence(_)
        | Op::ConcatFromSequence(_)
        | Op::Optional(_)
        | Op::OptionalHasElement(_)
        | Op::OptionalGetElement(_) => sequences::sequences(ctx)?,
        Op::If(i) => branches(ctx, i),
        Op::Loop(l) => loop_types(ctx, &l.body.0),
        Op::Scan(s) if ctx.opset >= 9 => scan_types(ctx, s),
        Op::SequenceMap(s) => {
            let outs = s.body.0.outputs().iter();
            outs.map(|&v| Type::sequence(s.body.0.value(v).ty.without_extents())).collect()
        }
        _ => vec![Type::Unknown; ctx.outputs],
    })
}

/// Type of an operator that normalises along an axis: that of its input.
fn axis_checked(ctx: &OpCtx<'_>, axis: i64) -> Result<Vec<Type>, RuleError> {
    if let Some(rank) = ctx.ty(0).rank().filter(|&r| r > 0) {
        // Before version 13 the axis may be one past the last.
        if !(ctx.opset < 13 && axis == rank as i64) {
            axis_of(axis, rank)?;
        }
    }
    Ok(vec![ctx.ty(0).clone()])
}

fn batch_norm(ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError> {
    let c = match ctx.dims(0) {
        Some(x) if x.len() >= 2 => known(&x[1]),
        Some(_) => Some(1),
        None => None,
    };
    for (i, what) in [(1, "scale"), (2, "B"), (3, "mean"), (4, "variance")] {
        vector_of(ctx, i, c, what)?;
    }
    let stat = ctx.ty(3).clone();
    Ok(vec![ctx.ty(0).clone(), stat.clone(), stat.clone(), stat.clone(), stat])
}

fn instance_norm(ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError> {
    let c = ctx.dims(0).and_then(|x| x.get(1)).and_then(known);
    vector_of(ctx, 1, c, "scale")?;
    vector_of(ctx, 2, c, "bias")?;
    Ok(vec![ctx.ty(0).clone()])
}

/// The normalised input, mean and inverse standard deviation.
fn layer_norm(ctx: &OpCtx<'_>, axis: i64) -> Result<Vec<Type>, RuleError> {
    let stats = match ctx.dims(0) {
        Some(x) => {
            let a = axis_of(axis, x.len())?;
            let one = |(i, d): (usize, &Dim)| if i < a { d.clone() } else { Dim::Known(1) };
            Some(x.iter().enumerate().map(one).collect())
        }
        None => None,
    };
    let stat = typed(Some(DType::F32), stats);
    Ok(vec![ctx.ty(0).clone(), stat.clone(), stat])
}

fn one_hot(ctx: &OpCtx<'_>, axis: i64) -> Result<Vec<Type>, RuleError> {
    let depth = ctx.ints(1).and_then(|d| d.first().copied());
    let dims = match ctx.dims(0) {
        None => None,
        Some(x) => {
            let mut out = x.to_vec();
            out.insert(axis_of(axis, x.len() + 1)?, dim(depth));
            Some(out)
        }
    };
    Ok(vec![typed(ctx.dtype(2), dims)])
}

/// Types of the values and of the indices.
fn top_k(ctx: &OpCtx<'_>, t: &crate::op::TopK) -> Result<Vec<Type>, RuleError> {
    let k = t.k.or_else(|| ctx.ints(1).and_then(|k| k.first().copied()));
    let dims = match ctx.dims(0) {
        None => None,
        Some(x) => {
            let mut out = x.to_vec();
            let a = axis_of(t.axis, x.len())?;
            if let (Some(k), Some(n)) = (k, known(&x[a]))
                && !(0..=n).contains(&k)
            {
                fail!("expected k of 0 to {n}, the extent of axis {a}, found {k}");
            }
            out[a] = dim(k);
            Some(out)
        }
    };
    Ok(vec![same_type(ctx, dims.clone()), typed(Some(DType::I64), dims)])
}

/// The axes whose extents `Shape` returns, for its start and end.
pub(crate) fn shape_range(rank: usize, start: i64, end: Option<i64>) -> std::ops::Range<usize> {
    let r = rank as i64;
    let clamp = |x: i64| (if x < 0 { x.saturating_add(r) } else { x }).clamp(0, r) as usize;
    let (s, e) = (clamp(start), end.map_or(rank, clamp));
    s..e.max(s)
}

fn shape_operand(ctx: &OpCtx<'_>, i: usize) -> Result<Option<Vec<Dim>>, RuleError> {
    if let Some(v) = ctx.ints(i)
        && v.iter().any(|&n| n < 0)
    {
        fail!("expected extents of at least 0, found {v:?}");
    }
    Ok(ctx.symbolic(i).or_else(|| match ctx.dims(i) {
        Some([n]) => known(n).filter(|&n| n < 64).map(|n| vec![Dim::Unknown; n as usize]),
        _ => None,
    }))
}

fn range_len(ctx: &OpCtx<'_>) -> Result<Option<i64>, RuleError> {
    let one = |i: usize| -> Option<f64> {
        let v = ctx.ints(i).and_then(|v| v.first().map(|&x| x as f64));
        v.or_else(|| ctx.floats(i).and_then(|v| v.first().map(|&x| f64::from(x))))
    };
    let (Some(a), Some(b), Some(d)) = (one(0), one(1), one(2)) else { return Ok(None) };
    if d == 0.0 {
        fail!("expected a step other than 0 for Range, found 0");
    }
    let n = ((b - a) / d).ceil().max(0.0);
    if !n.is_finite() || n >= 9.0e18 {
        fail!("expected a Range of fewer than 9e18 elements, found {n}");
    }
    Ok(Some(n as i64))
}

fn gather(ctx: &OpCtx<'_>, axis: i64) -> Result<Vec<Type>, RuleError> {
    let (Some(x), Some(i)) = (ctx.dims(0), ctx.dims(1)) else {
        return Ok(vec![same_type(ctx, None)]);
    };
    if x.is_empty() {
        fail!("expected an input with axes for Gather, found a scalar");
    }
    let a = axis_of(axis, x.len())?;
    let mut out = x[..a].to_vec();
    out.extend_from_slice(i);
    out.extend_from_slice(&x[a + 1..]);
    Ok(vec![same_type(ctx, Some(out))])
}

fn gather_nd(ctx: &OpCtx<'_>, batch: i64) -> Result<Vec<Type>, RuleError> {
    let (Some(x), Some(i)) = (ctx.dims(0), ctx.dims(1)) else {
        return Ok(vec![same_type(ctx, None)]);
    };
    let last = i.last().and_then(known);
    let (Some(n), Ok(b)) = (last, usize::try_from(batch)) else {
        return Ok(vec![same_type(ctx, None)]);
    };
    let skip = usize::try_from(n).ok().and_then(|n| n.checked_add(b)).unwrap_or(usize::MAX);
    if skip > x.len() || i.is_empty() {
        fail!("expected indices of at most rank {} for GatherND, found {}", x.len(), shape_text(i));
    }
    let mut out = i[..i.len() - 1].to_vec();
    out.extend_from_slice(&x[skip..]);
    Ok(vec![same_type(ctx, Some(out))])
}

fn rnn(
    ctx: &OpCtx<'_>,
    gates: i64,
    hidden: Option<i64>,
    direction: &str,
    layout: i64,
) -> Result<Vec<Type>, RuleError> {
    for (i, name) in ["X", "W", "R"].into_iter().enumerate() {
        if ctx.dims(i).is_some_and(|d| d.len() != 3) {
            fail!("expected 3 axes of {name}, found {}", ctx.ty(i));
        }
    }
    let directions = Dim::Known(if direction == "bidirectional" { 2 } else { 1 });
    let from_r = ctx.dims(2).and_then(|r| r.get(1)).and_then(known).map(|n| n / gates);
    let h = dim(hidden.or(from_r));
    let Some([a, b, _]) = ctx.dims(0) else { return Ok(vec![Type::Unknown; ctx.outputs]) };
    let (y, state) = if layout == 0 {
        (vec![a.clone(), directions.clone(), b.clone(), h.clone()], vec![directions, b.clone(), h])
    } else {
        (vec![a.clone(), b.clone(), directions.clone(), h.clone()], vec![a.clone(), directions, h])
    };
    let state = same_type(ctx, Some(state));
    Ok(vec![same_type(ctx, Some(y)), state.clone(), state])
}

/// The letters of each operand and of the result of an Einsum without an ellipsis.
pub(crate) fn einsum_terms(equation: &str) -> Result<(Vec<Vec<char>>, Vec<char>), RuleError> {
    let eq: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (terms, result) = match eq.split_once("->") {
        Some((t, r)) => (t, Some(r)),
        None => (eq.as_str(), None),
    };
    let letters = |t: &str| -> Result<Vec<char>, RuleError> {
        if !t.chars().all(|c| c.is_ascii_alphabetic()) {
            fail!("Einsum {equation:?}: expected letters and at most one ellipsis, found {t:?}");
        }
        Ok(t.chars().collect())
    };
    let terms = terms.split(',').map(letters).collect::<Result<Vec<_>, _>>()?;
    let result = match result {
        Some(r) => letters(r)?,
        None => {
            // Those that occur once, in the order of the alphabet.
            let all: Vec<char> = terms.concat();
            let mut once = all.clone();
            once.retain(|c| all.iter().filter(|d| *d == c).count() == 1);
            once.sort_unstable();
            once
        }
    };
    Ok((terms, result))
}

/// Extents of an Einsum result; `None` with an ellipsis.
fn einsum(ctx: &OpCtx<'_>, equation: &str) -> Result<Option<Vec<Dim>>, RuleError> {
    if equation.contains("...") {
        // Of each term one ellipsis, and letters beside it.
        einsum_terms(&without_ellipses(equation))?;
        return Ok(None);
    }
    let (terms, result) = einsum_terms(equation)?;
    if terms.len() != ctx.inputs.len() {
        fail!("Einsum {equation:?}: expected {} operands, found {}", terms.len(), ctx.inputs.len());
    }
    let mut extent: std::collections::BTreeMap<char, Dim> = std::collections::BTreeMap::new();
    for (i, t) in terms.iter().enumerate() {
        let Some(x) = ctx.dims(i) else { return Ok(None) };
        if t.len() != x.len() {
            let t: String = t.iter().collect();
            fail!(
                "Einsum {equation:?}: expected one axis for each of {t:?}, found {}",
                shape_text(x)
            );
        }
        for (&c, d) in t.iter().zip(x) {
            match extent.get(&c).and_then(known).zip(known(d)) {
                Some((a, b)) if a != b && a != 1 && b != 1 => {
                    fail!("Einsum {equation:?}: expected equal extents for {c}, found {a} and {b}")
                }
                Some((1, _)) | None => drop(extent.insert(c, d.clone())),
                Some(_) => {}
            }
        }
    }
    let dims: Option<Vec<Dim>> = result.iter().map(|c| extent.get(c).cloned()).collect();
    match dims {
        Some(d) => Ok(Some(d)),
        None => fail!("Einsum {equation:?} names an axis that no operand has"),
    }
}

/// The equation without the ellipses that its terms may have, one each.
fn without_ellipses(equation: &str) -> String {
    let without = |t: &str| t.replacen("...", "", 1);
    let sides = equation.split("->").map(|side| side.split(',').map(without).collect::<Vec<_>>());
    sides.map(|terms| terms.join(",")).collect::<Vec<_>>().join("->")
}

/// Types of the results of a Loop. A state has the type that the body gives it, without its extents if
/// they differ from the initial value's.
fn loop_types(ctx: &OpCtx<'_>, body: &crate::Graph) -> Vec<Type> {
    let states = ctx.inputs.len().saturating_sub(2);
    let turns = turns(ctx, body);
    let outs = body.outputs().iter().skip(1).enumerate();
    outs.map(|(i, &v)| {
        let ty = &body.value(v).ty;
        if i < states { state_type(ctx.ty(i + 2), ty) } else { stacked(ty, 0, turns.clone()) }
    })
    .collect()
}

/// How often a Loop turns, if that is its count: its condition is true before the first turn, and stays as
/// it is.
fn turns(ctx: &OpCtx<'_>, body: &crate::Graph) -> Dim {
    let count = match ctx.symbolic(0).as_deref() {
        Some([n]) if *n != Dim::Known(0) => n.clone(),
        _ => return Dim::Unknown,
    };
    let holds = |t: &crate::Tensor| t.bytes().is_ok_and(|b| b.first() == Some(&1));
    let starts = ctx.input(1).is_none_or(|c| c.value.as_ref().is_some_and(|t| holds(t)));
    let mut v = body.outputs().first().copied();
    for _ in 0..8 {
        let Some(condition) = v else { return Dim::Unknown };
        if body.inputs().get(1) == Some(&condition) {
            return if starts { count } else { Dim::Unknown };
        }
        if let Some(t) = body.constant(condition) {
            return if starts && holds(&t) { count } else { Dim::Unknown };
        }
        let node = body.producer(condition).map(|n| body.node(n));
        v = node.filter(|n| matches!(n.op, Op::Identity(_))).and_then(|n| n.inputs[0]);
    }
    Dim::Unknown
}

/// Type of a state after any number of turns.
fn state_type(initial: &Type, ty: &Type) -> Type {
    match (initial, ty) {
        (a, b) if a.inner().or(b.inner()).is_some() => {
            a.without_extents().join(&b.without_extents())
        }
        (a, b) if a == b => b.clone(),
        _ => typed(ty.dtype().or(initial.dtype()), None),
    }
}

/// Type of values of this type along a new axis.
fn stacked(ty: &Type, axis: i64, n: Dim) -> Type {
    let dims = ty.dims().and_then(|d| {
        let mut all = d.to_vec();
        all.insert(axis_of(axis, d.len() + 1).ok()?, n);
        Some(all)
    });
    typed(ty.dtype(), dims)
}

/// How many of the operands of a Scan are states.
pub(super) fn carried(s: &crate::op::Scan, operands: usize) -> usize {
    let scanned = usize::try_from(s.num_scan_inputs).unwrap_or(usize::MAX);
    operands.saturating_sub(scanned)
}

/// Number `i` of the attribute's numbers, or 0.
pub(super) fn nth(all: &Option<Vec<i64>>, i: usize) -> i64 {
    all.as_ref().and_then(|v| v.get(i)).copied().unwrap_or(0)
}

/// Types of the results of a Scan: as of a Loop of as many turns as the extent of what is scanned.
fn scan_types(ctx: &OpCtx<'_>, s: &crate::op::Scan) -> Vec<Type> {
    let states = carried(s, ctx.inputs.len());
    let along = |x: &[Dim]| x.get(axis_of(nth(&s.scan_input_axes, 0), x.len()).ok()?).cloned();
    let turns = ctx.dims(states).and_then(along).unwrap_or(Dim::Unknown);
    let outs = s.body.0.outputs().iter().enumerate();
    outs.map(|(i, &v)| match &s.body.0.value(v).ty {
        ty if i < states => state_type(ctx.ty(i), ty),
        ty => stacked(ty, nth(&s.scan_output_axes, i - states), turns.clone()),
    })
    .collect()
}
