//! Operators that only move elements, as what they say of each element of the result: where it comes from.

use crate::layout_params;
use crate::op::Op;
use crate::op_context::{OpCtx, axis_of};

/// Elements in row-major order by where they come from, with the extents.
pub struct Moved {
    /// The extents of the result.
    pub dims: Vec<usize>,
    /// For each element of the result its position among the elements of all operands that hold data, one operand
    /// after another.
    pub from: Vec<usize>,
}

/// Where the elements of the result come from, if the operator only moves elements of operands of these extents, and
/// gives at most `most` elements. `extents(i)` are those of an operand, `ctx.ints(i)` the elements of others.
pub fn moved(
    ctx: &OpCtx<'_>,
    extents: &dyn Fn(usize) -> Option<Vec<usize>>,
    result: Option<Vec<usize>>,
    most: usize,
) -> Option<Moved> {
    let whole = |i: usize| Moved::whole(extents(i)?, 0);
    let found = match ctx.op {
        Op::Identity(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Reshape(_) | Op::Flatten(_) => {
            let x = whole(0)?;
            // Without extents of the result, the order is known alone.
            let dims = result.unwrap_or_else(|| vec![x.from.len()]);
            (dims.iter().product::<usize>() == x.from.len()).then_some(Moved { dims, ..x })?
        }
        Op::Transpose(_) => {
            let x = whole(0)?;
            let perm = layout_params::permutation(ctx, x.dims.len()).ok()?;
            let dims: Vec<usize> = perm.iter().map(|&p| x.dims[p]).collect();
            let strides: Vec<usize> = perm.iter().map(|&p| x.inner(p)).collect();
            Moved { from: strided(&dims, &strides), dims }
        }
        Op::Expand(_) => {
            let (x, dims) = (whole(0)?, result?);
            let skipped = dims.len().checked_sub(x.dims.len())?;
            let stride = |a: usize| match a.checked_sub(skipped) {
                Some(a) if x.dims[a] != 1 => x.inner(a),
                _ => 0,
            };
            let fits = (skipped..dims.len()).all(|a| [1, dims[a]].contains(&x.dims[a - skipped]));
            let small = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))? <= most;
            if !fits || !small {
                return None;
            }
            let strides: Vec<usize> = (0..dims.len()).map(stride).collect();
            Moved { from: strided(&dims, &strides), dims }
        }
        Op::Gather(g) => {
            let x = whole(0)?;
            let axis = axis_of(g.axis, x.dims.len()).ok()?;
            let n = x.dims[axis] as i64;
            let at = |&i: &i64| usize::try_from(if i < 0 { i + n } else { i }).ok();
            let indices: Vec<usize> = ctx.ints(1)?.iter().map(at).collect::<Option<_>>()?;
            let own = extents(1)?;
            let mut taken = x.taken(axis, &indices, most)?;
            taken.dims.splice(axis..=axis, own);
            taken
        }
        Op::Slice(_) => {
            let taken = layout_params::slices(ctx).ok()??;
            let along = |x: Moved, (axis, t): (usize, &Option<layout_params::Taken>)| {
                let t = t.as_ref()?;
                let at = |i: i64| usize::try_from(t.start + i * t.step).ok();
                x.taken(axis, &(0..t.count).map(at).collect::<Option<Vec<_>>>()?, most)
            };
            taken.iter().enumerate().try_fold(whole(0)?, along)?
        }
        Op::Concat(c) => {
            let mut parts: Vec<Moved> = Vec::with_capacity(ctx.inputs.len());
            let mut base = 0;
            for i in 0..ctx.inputs.len() {
                let part = Moved::whole(extents(i)?, base)?;
                base += part.from.len();
                parts.push(part);
            }
            joined(&parts, axis_of(c.axis, parts.first()?.dims.len()).ok()?)?
        }
        _ => return None,
    };
    (found.from.len() <= most).then_some(found)
}

impl Moved {
    /// All elements of an operand, whose first one has this position.
    fn whole(dims: Vec<usize>, base: usize) -> Option<Self> {
        let n = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        Some(Self { dims, from: (base..base.checked_add(n)?).collect() })
    }

    /// Elements of a stretch of one index along the axis.
    fn inner(&self, axis: usize) -> usize {
        self.dims[axis + 1..].iter().product()
    }

    /// What has these indices along an axis, in this order; `None` if one lies outside.
    fn taken(self, axis: usize, indices: &[usize], most: usize) -> Option<Self> {
        let (n, inner) = (*self.dims.get(axis)?, self.inner(axis));
        let outer = self.dims[..axis].iter().product::<usize>();
        let large =
            indices.len().checked_mul(outer)?.checked_mul(inner)? > most.max(self.from.len());
        if large || indices.iter().any(|&i| i >= n) {
            return None;
        }
        let stretch = |o: usize, i: usize| &self.from[(o * n + i) * inner..][..inner];
        let rows = (0..outer).flat_map(|o| indices.iter().flat_map(move |&i| stretch(o, i)));
        let from = rows.copied().collect();
        let mut dims = self.dims.clone();
        dims[axis] = indices.len();
        Some(Self { dims, from })
    }
}

/// The positions of the elements of a result with these distances along its axes.
fn strided(dims: &[usize], strides: &[usize]) -> Vec<usize> {
    let one = |mut i: usize| {
        let mut at = 0;
        for (&d, stride) in dims.iter().zip(strides).rev() {
            at += i % d * stride;
            i /= d;
        }
        at
    };
    (0..dims.iter().product()).map(one).collect()
}

/// Concat of the parts along an axis; `None` if other extents differ.
fn joined(parts: &[Moved], axis: usize) -> Option<Moved> {
    let others = |p: &Moved| [&p.dims[..axis], &p.dims[axis + 1..]].concat();
    if !parts.iter().all(|p| p.dims.len() > axis && others(p) == others(&parts[0])) {
        return None;
    }
    let outer = parts[0].dims[..axis].iter().product::<usize>();
    let row = |p: &Moved| p.dims[axis] * p.inner(axis);
    let rows = |o: usize| parts.iter().flat_map(move |p| p.from[o * row(p)..][..row(p)].iter());
    let mut dims = parts[0].dims.clone();
    dims[axis] = parts.iter().map(|p| p.dims[axis]).sum();
    Some(Moved { dims, from: (0..outer).flat_map(rows).copied().collect() })
}
