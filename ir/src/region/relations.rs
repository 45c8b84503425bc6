//! The relations of each operator: how the axes of its operands relate to the axes of its result.

use super::reshape::aligned;
use super::{Barrier, Relation, Relations, barrier};
use crate::infer::known;
use crate::op::{Class, Op};
use crate::op_context::{OpCtx, axis_of};
use crate::{Dim, layout_params, resize, window};

use Relation::{Affine, Block, Broadcast, Contract, Same, Scaled, Transposed, Whole};

/// How the axes of the node's operands relate to those of result `output`.
///
/// # Errors
/// With the reason, if the operator has no region rule, or a shape is unknown that the rule needs.
pub fn relations(ctx: &OpCtx<'_>, output: usize) -> Result<Relations, Barrier> {
    // In a body, a node may lack operands that its operator requires. Relations of those are dropped at the
    // end.
    let room = ctx.inputs.len().max(OPERANDS);
    let mut rel = Relations { operands: vec![Vec::new(); room], barriers: Vec::new() };
    if ctx.is_random() {
        barrier!("{} draws random numbers, so parts of it give other results", ctx.op.name());
    }
    if let Some(host) = ctx.op.host() {
        return host.relations(ctx, output);
    }
    if ctx.op.class() == Class::Composite
        || matches!(ctx.op, Op::Other(_)) && ctx.functions.is_some()
    {
        match (crate::definition::definition(ctx), ctx.op) {
            (Ok(None), Op::Other(o)) => {
                barrier!("{}.{} is an unknown operator", o.domain, o.op_type)
            }
            (Ok(None), op) => barrier!("{} has no region rule in this form", op.name()),
            _ => {}
        }
        return crate::definition::relations(ctx, output);
    }
    if output != 0 && !alike(ctx.op) {
        let what = if matches!(ctx.op, Op::MaxPool(_)) {
            "Indices are positions in the whole tensor".to_owned()
        } else {
            format!("result {output} has no region rule")
        };
        return Err(Barrier(what));
    }
    match ctx.op.class() {
        Class::Pointwise => pointwise(ctx, &mut rel)?,
        Class::Window => windowed(ctx, &mut rel)?,
        Class::Matmul => matmul(ctx, &mut rel)?,
        Class::Reduce => reduce(ctx, &mut rel)?,
        Class::Layout => layout(ctx, output, &mut rel)?,
        Class::Coupled | Class::Special => special(ctx, output, &mut rel)?,
        // All its elements are equal.
        Class::Source if matches!(ctx.op, Op::ConstantOfShape(_)) => {}
        Class::Source if matches!(ctx.op, Op::EyeLike(_)) => {
            super::indexed::matrices(ctx, &mut rel)?;
        }
        Class::Control => {
            barrier!("nothing is cut inside of the graphs that {} runs", ctx.op.name())
        }
        Class::Source | Class::Composite => barrier!("{} has no region rule", ctx.op.name()),
    }
    rel.operands.truncate(ctx.inputs.len());
    Ok(rel)
}

/// Whether results after the first have a region rule, too.
fn alike(op: &Op) -> bool {
    matches!(
        op,
        Op::Split(_)
            | Op::LSTM(_)
            | Op::GRU(_)
            | Op::RNN(_)
            | Op::TopK(_)
            | Op::LayerNormalization(_)
            | Op::Dropout(_)
            | Op::StringSplit(_)
    )
}

/// Largest number of operands that an operator requires.
const OPERANDS: usize = 9;

pub(super) fn dims<'a>(ctx: &'a OpCtx<'_>, i: usize) -> Result<&'a [Dim], Barrier> {
    ctx.dims(i).ok_or_else(|| Barrier(format!("the rank of operand {i} is unknown")))
}

pub(super) fn same(rank: usize) -> Vec<Relation> {
    (0..rank).map(Same).collect()
}

pub(super) fn whole(ctx: &OpCtx<'_>, i: usize) -> Vec<Relation> {
    vec![Whole; ctx.ty(i).rank().unwrap_or(0)]
}

/// Relations of an operand that is broadcast to the result.
fn broadcast(operand: &[Dim], out: &[Dim], rel: &mut Relations) -> Vec<Relation> {
    let pad = out.len() - operand.len();
    let axis = |(a, d): (usize, &Dim)| {
        let o = pad + a;
        match (d, &out[o]) {
            (Dim::Known(1), Dim::Known(1)) => Same(o),
            (Dim::Known(1), _) => Broadcast,
            (Dim::Known(m), Dim::Known(n)) if m == n => Same(o),
            (Dim::Param(m), Dim::Param(n)) if m == n => Same(o),
            (d, n) => {
                rel.barriers.push((o, format!("extent {d} may or may not broadcast to {n}")));
                Whole
            }
        }
    };
    operand.iter().enumerate().map(axis).collect()
}

fn pointwise(ctx: &OpCtx<'_>, rel: &mut Relations) -> Result<(), Barrier> {
    if matches!(ctx.op, Op::Clip(_) | Op::Dropout(_)) {
        rel.operands[0] = same(dims(ctx, 0)?.len());
        for i in 1..ctx.inputs.len() {
            rel.operands[i] = whole(ctx, i);
        }
        return Ok(());
    }
    let shapes: Vec<&[Dim]> =
        (0..ctx.inputs.len()).map(|i| dims(ctx, i)).collect::<Result<_, _>>()?;
    let out = crate::infer::broadcast(&shapes)?;
    for (i, s) in shapes.iter().enumerate() {
        rel.operands[i] = broadcast(s, &out, rel);
    }
    Ok(())
}

fn windowed(ctx: &OpCtx<'_>, rel: &mut Relations) -> Result<(), Barrier> {
    let Some(windowed) = ctx.op.windowed() else { barrier!("{} has no windows", ctx.op.name()) };
    let (x, transposed) = (windowed.image, windowed.is_transposed());
    let Some(windows) = window::resolved(ctx)? else {
        barrier!(
            "auto_pad or the kernel depends on extents that are unknown, or runtimes read auto_pad \
             differently here; write the padding out"
        )
    };
    if let Some(why) = super::unsettled(ctx) {
        barrier!("runtimes differ in {why}, and no other attributes express it");
    }
    let mut image = vec![Same(0), Same(1)];
    for (i, win) in windows.iter().enumerate() {
        image.push(match transposed {
            true => Transposed(2 + i, *win),
            false => Relation::Window(2 + i, *win),
        });
    }
    for i in 0..ctx.inputs.len() {
        rel.operands[i] = whole(ctx, i);
    }
    if let Some(w) = windowed.weights {
        let group = windowed.groups();
        let wd = dims(ctx, w)?;
        let (ins, outs) = (known(&dims(ctx, x)?[1]), known(&wd[usize::from(transposed)]));
        let mut weights = vec![Whole; wd.len()];
        if group == 1 {
            image[1] = Contract(0);
            weights[usize::from(!transposed)] = Contract(0);
            weights[usize::from(transposed)] = Same(1);
        } else if let (Some(c), Some(m)) = (ins, outs) {
            let inner = c / group;
            if transposed {
                // Weights are [C, M/group, ...]: their first axis follows the image's channels.
                let outer = m;
                image[1] = Block { out: 1, outer, inner, partial: false };
                weights[0] = Block { out: 1, outer, inner, partial: false };
            } else {
                image[1] = Block { out: 1, outer: m / group, inner, partial: true };
                weights[0] = Same(1);
            }
        } else {
            rel.barriers.push((1, "the number of channels is unknown".to_owned()));
        }
        rel.operands[w] = weights;
        // A single element applies to all channels, unless there is only one channel.
        let total = outs.map(|m| if transposed { m * group } else { m });
        for &i in windowed.per_channel {
            if let Some(d) = ctx.dims(i)
                && d.len() == 1
                && (known(&d[0]) != Some(1) || total == Some(1))
            {
                rel.operands[i] = vec![Same(1)];
            }
        }
        if matches!(ctx.op, Op::FusedConv(_)) && ctx.input(3).is_some() {
            rel.operands[3] = same(wd.len());
        }
    }
    rel.operands[x] = image;
    Ok(())
}

fn matmul(ctx: &OpCtx<'_>, rel: &mut Relations) -> Result<(), Barrier> {
    for i in 0..ctx.inputs.len() {
        rel.operands[i] = whole(ctx, i);
    }
    if let Op::Gemm(g) = ctx.op {
        let pair = |t: i64, free: usize| {
            if t != 0 { vec![Contract(0), Same(free)] } else { vec![Same(free), Contract(0)] }
        };
        rel.operands[0] = pair(g.transA, 0);
        rel.operands[1] = pair(i64::from(g.transB == 0), 1);
        let (a, b) = (dims(ctx, 0)?, dims(ctx, 1)?);
        let out = [a[usize::from(g.transA != 0)].clone(), b[usize::from(g.transB == 0)].clone()];
        if let Some(c) = ctx.dims(2) {
            rel.operands[2] = broadcast(c, &out, rel);
        }
        return Ok(());
    }
    let (x, y) = if matches!(ctx.op, Op::QLinearMatMul(_)) { (0, 3) } else { (0, 1) };
    let (a, b) = (dims(ctx, x)?, dims(ctx, y)?);
    let (p, q) = (a.len().saturating_sub(2), b.len().saturating_sub(2));
    let batch = crate::infer::broadcast(&[&a[..p], &b[..q]])?;
    let mut left = broadcast(&a[..p], &batch, rel);
    let mut right = broadcast(&b[..q], &batch, rel);
    let rows = usize::from(a.len() >= 2);
    if rows == 1 {
        left.push(Same(batch.len()));
    }
    left.push(Contract(0));
    right.push(Contract(0));
    if b.len() >= 2 {
        right.push(Same(batch.len() + rows));
    }
    rel.operands[x] = left;
    rel.operands[y] = right;
    if !matches!(ctx.op, Op::MatMul(_)) {
        let (row, rank) = (batch.len(), batch.len() + rows + usize::from(b.len() >= 2));
        // Those of the left matrix may be one for each row, those of the right one for each column.
        let (left, right): (&[usize], &[usize]) = match ctx.op {
            Op::QLinearMatMul(_) => (&[1, 2], &[4, 5]),
            _ => (&[2], &[3]),
        };
        for i in (0..ctx.inputs.len()).filter(|&i| i != x && i != y) {
            if ctx.ty(i).elements() == Some(1) || ctx.input(i).is_none() {
                continue;
            }
            let of_rows = left.contains(&i) && rows == 1;
            let of_columns = right.contains(&i) && b.len() >= 2;
            match ctx.dims(i) {
                Some([_]) if of_rows => rel.operands[i] = vec![Same(row)],
                Some([_]) if of_columns => rel.operands[i] = vec![Same(rank - 1)],
                _ => {
                    let why = format!("operand {i} is not a scalar");
                    rel.barriers.extend((0..rank).map(|o| (o, why.clone())));
                }
            }
        }
    }
    Ok(())
}

fn reduce(ctx: &OpCtx<'_>, rel: &mut Relations) -> Result<(), Barrier> {
    let rank = dims(ctx, 0)?.len();
    let r = crate::infer::reduction(ctx, rank)?;
    let Some(axes) = r.axes else { barrier!("the reduced axes are computed at run time") };
    let mut out = 0;
    for a in 0..rank {
        let reduced = axes.contains(&a);
        rel.operands[0].push(if reduced { Whole } else { Same(out) });
        out += usize::from(!reduced || r.keepdims);
    }
    for i in 1..ctx.inputs.len() {
        rel.operands[i] = whole(ctx, i);
    }
    Ok(())
}

fn layout(ctx: &OpCtx<'_>, output: usize, rel: &mut Relations) -> Result<(), Barrier> {
    let x = dims(ctx, 0)?;
    rel.operands[0] = match ctx.op {
        Op::Transpose(_) => {
            let perm = layout_params::permutation(ctx, x.len())?;
            let mut r = vec![Whole; x.len()];
            for (o, &a) in perm.iter().enumerate() {
                r[a] = Same(o);
            }
            r
        }
        Op::Slice(_) => slice(ctx, x, rel)?,
        Op::Crop(c) => {
            let border = c.border.clone().unwrap_or_default();
            let at = |i: usize| border.get(i).copied().unwrap_or(0);
            vec![
                Same(0),
                Same(1),
                Affine { out: 2, start: at(1), step: 1 },
                Affine { out: 3, start: at(0), step: 1 },
            ]
        }
        Op::Split(_) => {
            let Some((axis, sizes)) = layout_params::split_sizes(ctx)? else {
                barrier!("the sizes of Split are computed at run time")
            };
            let start = sizes[..output].iter().sum();
            let mut r = same(x.len());
            r[axis] = Affine { out: axis, start, step: 1 };
            r
        }
        Op::Pad(p) => pad(ctx, &p.mode, x.len(), rel)?,
        Op::Concat(c) => return concat(ctx, axis_of(c.axis, x.len())?, rel),
        Op::Expand(_) => {
            let Some(t) = ctx.symbolic(1) else { barrier!("the shape is computed at run time") };
            let out = crate::infer::broadcast(&[x, &t])?;
            broadcast(x, &out, rel)
        }
        Op::Tile(_) => {
            let Some(r) = ctx.ints(1) else { barrier!("the repeats are computed at run time") };
            let mut axes = same(x.len());
            for (a, _) in r.iter().enumerate().filter(|(a, n)| **n != 1 && *a < x.len()) {
                axes[a] = Broadcast;
                if known(&x[a]) != Some(1) {
                    axes[a] = Whole;
                    rel.barriers.push((a, "Tile repeats this axis".to_owned()));
                }
            }
            axes
        }
        Op::DepthToSpace(d) => {
            let mut axes = block_axes(d.blocksize, 1);
            match (&*d.mode, d.blocksize.checked_mul(d.blocksize)) {
                ("CRD", Some(inner)) => axes[1] = Block { out: 1, outer: 1, inner, partial: false },
                _ => rel.barriers.push((1, INTERLEAVED.to_owned())),
            }
            axes
        }
        Op::SpaceToDepth(d) => {
            rel.barriers.push((1, INTERLEAVED.to_owned()));
            block_axes(1, d.blocksize)
        }
        Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => {
            aligned(x, &super::result(ctx, 0)?, rel)
        }
        _ => barrier!("{} has no region rule", ctx.op.name()),
    };
    Ok(())
}

fn slice(ctx: &OpCtx<'_>, x: &[Dim], rel: &mut Relations) -> Result<Vec<Relation>, Barrier> {
    let Some(taken) = layout_params::slices(ctx)? else {
        barrier!("the slice is computed at run time")
    };
    let axis = |(o, t): (usize, &Option<layout_params::Taken>)| match t {
        Some(t) if t.start == 0 && t.step == 1 && Some(t.count) == known(&x[o]) => Same(o),
        Some(t) => Affine { out: o, start: t.start, step: t.step },
        None => Same(o),
    };
    let named = layout_params::slice_axes(ctx)?;
    for a in (0..taken.len()).filter(|&a| taken[a].is_none()) {
        if named.as_ref().is_none_or(|n| n.contains(&a)) {
            rel.barriers.push((a, format!("extent {a} of the sliced input is unknown")));
        }
    }
    Ok(taken.iter().enumerate().map(axis).collect())
}

fn pad(
    ctx: &OpCtx<'_>,
    mode: &str,
    rank: usize,
    rel: &mut Relations,
) -> Result<Vec<Relation>, Barrier> {
    let Some(pads) = layout_params::pads(ctx)? else {
        barrier!("the pads are computed at run time")
    };
    let mut r = same(rank);
    for (a, &(b, e)) in pads.iter().enumerate() {
        if (b, e) == (0, 0) {
            continue;
        }
        r[a] = match mode {
            "reflect" | "edge" if b >= 0 && e >= 0 => {
                Relation::Bordered { out: a, begin: b, mirrored: mode == "reflect" }
            }
            _ => Affine { out: a, start: -b, step: 1 },
        };
        match mode {
            "constant" => {}
            "wrap" => rel.barriers.push((a, "wrap padding reads the other border".to_owned())),
            _ if b < 0 || e < 0 => rel.barriers.push((a, format!("{mode} padding that crops"))),
            _ => {}
        }
    }
    Ok(r)
}

fn concat(ctx: &OpCtx<'_>, axis: usize, rel: &mut Relations) -> Result<(), Barrier> {
    let mut start = 0;
    for i in 0..ctx.inputs.len() {
        let d = dims(ctx, i)?;
        let mut r = same(d.len());
        r[axis] = Affine { out: axis, start: -start, step: 1 };
        rel.operands[i] = r;
        match known(&d[axis]) {
            Some(n) => start += n,
            None => rel.barriers.push((axis, format!("extent of operand {i} is unknown"))),
        }
    }
    Ok(())
}

/// Why channels of blocks are not cut.
const INTERLEAVED: &str = "its channels are interleaved with space";

/// Axes of an image whose `outer` rows and columns are made of `inner` ones; its channels stay whole.
fn block_axes(outer: i64, inner: i64) -> Vec<Relation> {
    let block = |out| Block { out, outer, inner, partial: false };
    vec![Same(0), Whole, block(2), block(3)]
}

fn special(ctx: &OpCtx<'_>, output: usize, rel: &mut Relations) -> Result<(), Barrier> {
    for i in 1..ctx.inputs.len() {
        rel.operands[i] = whole(ctx, i);
    }
    let x = dims(ctx, 0)?;
    let rank = x.len();
    rel.operands[0] = same(rank);
    let coupled = |rel: &mut Relations, axes: std::ops::Range<usize>, what: &str| {
        for a in axes {
            rel.operands[0][a] = Whole;
            rel.barriers.push((a, format!("{} {what} this axis", ctx.op.name())));
        }
    };
    match ctx.op {
        Op::BatchNormalization(b) => {
            if b.training_mode != 0 || ctx.opset < 14 && ctx.outputs > 1 {
                barrier!("BatchNormalization in training mode looks at the whole batch");
            }
            for i in 1..5 {
                rel.operands[i] = vec![Same(1)];
            }
            if b.spatial == 0 {
                barrier!("BatchNormalization with spatial=0 has a parameter for every element");
            }
        }
        Op::ImageScaler(o) => {
            let channels = x.get(1).and_then(known);
            match &o.bias {
                Some(b) if channels != Some(b.len() as i64) => {
                    rel.barriers.push((1, "it has not one bias for each channel".to_owned()));
                }
                _ => rel.operands[0].iter_mut().skip(1).take(1).for_each(|r| *r = Relation::at(1)),
            }
        }
        Op::QuantizeLinear(q) => quantized(ctx, x, q.axis, q.block_size, rel)?,
        Op::DequantizeLinear(q) => quantized(ctx, x, q.axis, q.block_size, rel)?,
        Op::Softmax(_) | Op::LogSoftmax(_) => coupled(rel, softmax_axes(ctx, rank)?, "sums over"),
        Op::Hardmax(_) => coupled(rel, softmax_axes(ctx, rank)?, "compares along"),
        Op::InstanceNormalization(_) => {
            coupled(rel, 2..rank, "averages over");
            rel.operands[1] = vec![Same(1)];
            rel.operands[2] = vec![Same(1)];
        }
        Op::LayerNormalization(l) => coupled(rel, axis_of(l.axis, rank)?..rank, "averages over"),
        Op::LpNormalization(l) => {
            let a = axis_of(l.axis, rank)?;
            coupled(rel, a..a + 1, "sums over");
        }
        Op::LRN(_) => coupled(rel, 1..2, "sums along"),
        Op::CumSum(_) => coupled(rel, cumulated(ctx, rank)?, "sums along"),
        Op::CumProd(_) => coupled(rel, cumulated(ctx, rank)?, "multiplies along"),
        Op::Compress(o) => {
            let Some(axis) = o.axis else { barrier!("Compress takes elements of all axes as one") };
            let a = axis_of(axis, rank)?;
            coupled(rel, a..a + 1, "selects along");
        }
        Op::ReverseSequence(o) => {
            let a = axis_of(o.time_axis, rank)?;
            coupled(rel, a..a + 1, "reverses parts of");
            rel.operands[1] = vec![Same(axis_of(o.batch_axis, rank)?)];
        }
        Op::TensorScatter(o) => {
            if dims(ctx, 1)?.len() != rank {
                barrier!("operand 1 has another rank");
            }
            let a = axis_of(o.axis, rank)?;
            coupled(rel, a..a + 1, "writes along");
            rel.operands[1] = rel.operands[0].clone();
            if ctx.input(2).is_some() {
                rel.operands[2] = vec![Same(0)];
            }
        }
        Op::Unique(_) => barrier!("Unique has no region rule: it compares all elements"),
        Op::MaxUnpool(_) => barrier!("Indices are positions in the whole tensor"),
        Op::NonMaxSuppression(_) => {
            barrier!("NonMaxSuppression has no region rule: boxes suppress others")
        }
        Op::Det(_) => {
            if rank < 2 {
                barrier!("the operand has no matrices");
            }
            rel.operands[0][rank - 2..].fill(Whole);
        }
        Op::GridSample(_) | Op::RoiAlign(_) | Op::DeformConv(_) | Op::Col2Im(_) => {
            sampled(ctx, rank, rel)?;
        }
        Op::DFT(_) | Op::STFT(_) | Op::TfIdfVectorizer(_) => signal(ctx, rank, rel)?,
        Op::Gather(_) | Op::GatherElements(_) | Op::GatherND(_) => {
            super::indexed::gather(ctx, rel)?;
        }
        Op::Scatter(_) | Op::ScatterElements(_) | Op::ScatterND(_) => {
            super::indexed::scatter(ctx, rel)?;
        }
        Op::OneHot(o) => super::indexed::one_hot(o.axis, rank, rel)?,
        Op::TopK(t) => {
            let a = axis_of(t.axis, rank)?;
            coupled(rel, a..a + 1, "compares along");
        }
        Op::Trilu(_) => super::indexed::matrices(ctx, rel)?,
        Op::Einsum(e) => super::einsum::relations(ctx, &e.equation, rel)?,
        Op::LSTM(_) | Op::GRU(_) | Op::RNN(_) => super::recurrent::relations(ctx, output, rel)?,
        Op::StringConcat(_) => pointwise(ctx, rel)?,
        Op::RegexFullMatch(_) => {}
        // How long the strings were split.
        Op::StringSplit(_) if output == 1 => {}
        Op::StringSplit(_) => barrier!("the string with the most parts decides on an extent"),
        Op::NonZero(_) => barrier!("how many results there are hangs on the elements"),
        Op::DynamicQuantizeLinear(_) => barrier!("its scale is that of all elements"),
        Op::Resize(_) | Op::Upsample(_) => resized(ctx, x, rel)?,
        _ => barrier!("{} has no region rule", ctx.op.name()),
    }
    Ok(())
}

/// The axis along which elements add up; any, if it is computed at run time.
fn cumulated(ctx: &OpCtx<'_>, rank: usize) -> Result<std::ops::Range<usize>, Barrier> {
    match ctx.ints(1).as_deref() {
        Some(&[axis]) => axis_of(axis, rank).map(|a| Ok(a..a + 1))?,
        _ => Ok(0..rank),
    }
}

/// The axes over which a softmax normalises.
fn softmax_axes(ctx: &OpCtx<'_>, rank: usize) -> Result<std::ops::Range<usize>, Barrier> {
    let axis = layout_params::softmax_axis(ctx).unwrap_or_default();
    if ctx.opset < 13 {
        return Ok((if axis == rank as i64 { rank } else { axis_of(axis, rank)? })..rank);
    }
    let a = axis_of(axis, rank)?;
    Ok(a..a + 1)
}

/// Scales and zero points: one for all elements, or one for each index along an axis.
fn quantized(
    ctx: &OpCtx<'_>,
    x: &[Dim],
    axis: i64,
    block_size: i64,
    rel: &mut Relations,
) -> Result<(), Barrier> {
    if block_size != 0 {
        barrier!("blocked quantization has no region rule");
    }
    for i in 1..ctx.inputs.len() {
        if ctx.ty(i).rank() != Some(1) || x.is_empty() {
            continue;
        }
        // One for all elements has no axis.
        if ctx.ty(i).elements() != Some(1) {
            rel.operands[i] = vec![Same(axis_of(axis, x.len())?)];
        }
    }
    Ok(())
}

fn resized(ctx: &OpCtx<'_>, x: &[Dim], rel: &mut Relations) -> Result<(), Barrier> {
    match resize::aligned(ctx) {
        Ok(axes) => {
            for (a, (factor, halo)) in axes.into_iter().enumerate() {
                if factor != 1 {
                    rel.operands[0][a] = Scaled { out: a, factor, halo };
                }
            }
        }
        Err(why) => {
            let out = resize::extents(ctx)?.unwrap_or_default();
            for (a, (d, o)) in x.iter().zip(&out).enumerate() {
                if d != o || known(d).is_none() {
                    rel.operands[0][a] = Whole;
                    rel.barriers.push((a, format!("{}: {why}", ctx.op.name())));
                }
            }
        }
    }
    Ok(())
}

/// Operators that read an image at places that other operands say, or write one.
fn sampled(ctx: &OpCtx<'_>, rank: usize, rel: &mut Relations) -> Result<(), Barrier> {
    let fits = match ctx.op {
        Op::Col2Im(_) => rank == 3,
        Op::RoiAlign(_) => rank == 4,
        _ => rank >= 3,
    };
    if !fits {
        barrier!("the image has rank {rank}");
    }
    rel.operands[0][2..].fill(Whole);
    let spatial = |rel: &mut Relations, axes: std::ops::Range<usize>, why: &str| {
        rel.barriers.extend(axes.map(|a| (a, format!("{} {why}", ctx.op.name()))));
    };
    match ctx.op {
        Op::GridSample(_) => {
            if dims(ctx, 1)?.len() != rank {
                barrier!("the grid has another rank");
            }
            // The grid has an axis of batches, those of the result, and one of coordinates.
            rel.operands[1] = (0..rank)
                .map(|a| match a {
                    0 => Same(0),
                    a if a + 1 == rank => Whole,
                    a => Same(a + 1),
                })
                .collect();
        }
        Op::RoiAlign(_) => {
            rel.operands[0][0] = Whole;
            rel.operands[1] = vec![Same(0), Whole];
            rel.operands[2] = vec![Same(0)];
            spatial(rel, 2..4, "divides each region into bins");
        }
        Op::DeformConv(o) => {
            rel.operands[0][1] = Whole;
            match (o.group, rel.operands[1].first_mut()) {
                (1, Some(outs)) => {
                    *outs = Same(1);
                    if ctx.input(3).is_some() {
                        rel.operands[3] = vec![Same(1)];
                    }
                }
                _ => spatial(rel, 1..2, "with groups has no region rule for channels"),
            }
            for i in [2, 4] {
                if let Some(batch) = rel.operands[i].first_mut() {
                    *batch = Same(0);
                }
            }
            spatial(rel, 2..rank, "reads anywhere");
        }
        _ => {
            let block = ctx.ints(2).and_then(|b| b.iter().try_fold(1i64, |a, &b| a.checked_mul(b)));
            match block.filter(|&b| b > 0) {
                Some(inner) => {
                    rel.operands[0][1] = Block { out: 1, outer: 1, inner, partial: false };
                }
                None => {
                    rel.operands[0][1] = Whole;
                    spatial(rel, 1..2, "has blocks that are computed at run time");
                }
            }
            let axes = dims(ctx, 1)?.first().and_then(known).filter(|n| (0..64).contains(n));
            let Some(axes) = axes else { barrier!("the rank of the image is unknown") };
            spatial(rel, 2..2 + axes as usize, "adds blocks up");
        }
    }
    Ok(())
}

/// Transforms and counts along an axis of signals.
fn signal(ctx: &OpCtx<'_>, rank: usize, rel: &mut Relations) -> Result<(), Barrier> {
    let (whole, out) = match ctx.op {
        Op::DFT(_) => match layout_params::dft_axis(ctx)? {
            Some(a) => (vec![a, rank - 1], vec![a, rank - 1]),
            None => barrier!("the axis of DFT is computed at run time"),
        },
        Op::STFT(_) if rank == 3 => (vec![1, 2], vec![1, 2, 3]),
        Op::TfIdfVectorizer(_) if rank == 2 => (vec![1], vec![1]),
        _ => barrier!("{} has no region rule for rank {rank}", ctx.op.name()),
    };
    whole.into_iter().for_each(|a| rel.operands[0][a] = Whole);
    let why = |a| (a, format!("{} runs along this axis", ctx.op.name()));
    rel.barriers.extend(out.into_iter().map(why));
    Ok(())
}
