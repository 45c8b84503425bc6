//! Relations of operators that read or write where indices say, and of those that look at diagonals.

use super::relations::{dims, same};
use super::{Barrier, Need, Region, Relation, Relations, Tile, barrier};
use crate::infer::known;
use crate::op::Op;
use crate::op_context::{OpCtx, axis_of};
use crate::tensor::Tensor;
use crate::{DType, Dim};

use Relation::{Same, Whole};

/// Gather, GatherElements and GatherND: what indices select is needed whole; axes of the indices, and axes
/// of the data that they do not select from, are those of the result.
pub(super) fn gather(ctx: &OpCtx<'_>, rel: &mut Relations) -> Result<(), Barrier> {
    let (rank, indices) = (dims(ctx, 0)?.len(), dims(ctx, 1)?);
    match ctx.op {
        Op::Gather(g) => {
            let a = axis_of(g.axis, rank)?;
            rel.operands[0] = (0..rank)
                .map(|d| match d.cmp(&a) {
                    std::cmp::Ordering::Less => Same(d),
                    std::cmp::Ordering::Equal => Whole,
                    std::cmp::Ordering::Greater => Same(d - 1 + indices.len()),
                })
                .collect();
            rel.operands[1] = (a..a + indices.len()).map(Same).collect();
        }
        Op::GatherElements(g) => {
            let a = axis_of(g.axis, rank)?;
            if indices.len() != rank {
                barrier!("the indices have another rank");
            }
            rel.operands[0][a] = Whole;
            rel.operands[1] = same(rank);
        }
        Op::GatherND(g) => {
            let (batch, selected) = selected(indices, g.batch_dims, rank)?;
            let rest = indices.len() - 1;
            rel.operands[0] = (0..rank)
                .map(|d| match d {
                    d if d < batch => Same(d),
                    d if d < batch + selected => Whole,
                    d => Same(rest + d - batch - selected),
                })
                .collect();
            rel.operands[1] = same(rest);
            rel.operands[1].push(Whole);
        }
        _ => barrier!("{} has no region rule", ctx.op.name()),
    }
    Ok(())
}

/// The number of leading axes that data and indices share, and of those after them that the last axis of the
/// indices selects from.
fn selected(indices: &[Dim], batch: i64, rank: usize) -> Result<(usize, usize), Barrier> {
    let last = indices.last().and_then(known).and_then(|n| usize::try_from(n).ok());
    let Some(selected) = last else { barrier!("how many axes the indices select from is unknown") };
    let batch = usize::try_from(batch).unwrap_or(usize::MAX);
    if batch >= indices.len() || batch.saturating_add(selected) > rank {
        barrier!("the indices select from more axes than there are");
    }
    Ok((batch, selected))
}

/// ScatterElements and ScatterND: along the axes that the indices select from anything may be written.
pub(super) fn scatter(ctx: &OpCtx<'_>, rel: &mut Relations) -> Result<(), Barrier> {
    let (x, indices, updates) = (dims(ctx, 0)?, dims(ctx, 1)?, dims(ctx, 2)?);
    let rank = x.len();
    let anywhere = |rel: &mut Relations, a: usize| {
        rel.operands[0][a] = Whole;
        rel.barriers.push((a, format!("{} writes anywhere along this axis", ctx.op.name())));
    };
    let axis = match ctx.op {
        Op::Scatter(o) => o.axis,
        Op::ScatterElements(o) => o.axis,
        _ => {
            let (_, selected) = selected(indices, 0, rank)?;
            let rest = indices.len() - 1;
            if updates.len() != rest + rank - selected {
                barrier!("the updates have another rank");
            }
            rel.operands[2] = (0..updates.len())
                .map(|a| if a < rest { Whole } else { Same(a - rest + selected) })
                .collect();
            (0..selected).for_each(|a| anywhere(rel, a));
            return Ok(());
        }
    };
    let axis = axis_of(axis, rank)?;
    if indices.len() != rank || updates.len() != rank {
        barrier!("indices or updates have another rank");
    }
    for a in 0..rank {
        let alike = |d: &Dim| *d == x[a] && *d != Dim::Unknown;
        if a == axis {
            anywhere(rel, a);
        } else if alike(&indices[a]) && alike(&updates[a]) {
            (rel.operands[1][a], rel.operands[2][a]) = (Same(a), Same(a));
        } else {
            rel.operands[0][a] = Whole;
            rel.barriers.push((a, "only a part of this axis is written".to_owned()));
        }
    }
    Ok(())
}

/// OneHot: the axes of the indices are those of the result but for the new one.
pub(super) fn one_hot(axis: i64, rank: usize, rel: &mut Relations) -> Result<(), Barrier> {
    let new = axis_of(axis, rank + 1)?;
    rel.operands[0] = (0..rank).map(|d| Same(if d < new { d } else { d + 1 })).collect();
    rel.barriers.push((new, "OneHot counts along this axis from 0".to_owned()));
    Ok(())
}

/// Trilu and EyeLike: where a part begins decides on where the diagonal crosses it.
pub(super) fn matrices(ctx: &OpCtx<'_>, rel: &mut Relations) -> Result<(), Barrier> {
    let rank = dims(ctx, 0)?.len();
    let Some(rows) = rank.checked_sub(2) else { barrier!("the operand has no matrices") };
    rel.operands[0] = same(rank);
    rel.operands[0][rows..].iter_mut().zip(rows..).for_each(|(r, a)| *r = Relation::at(a));
    if diagonal_of(ctx).is_none() {
        let why = "which diagonal it is, is computed at run time";
        rel.barriers.extend([rows, rows + 1].map(|a| (a, why.to_owned())));
    }
    Ok(())
}

/// The diagonal: by how much its column exceeds its row.
fn diagonal_of(ctx: &OpCtx<'_>) -> Option<i64> {
    match ctx.op {
        Op::EyeLike(e) => Some(e.k),
        _ if ctx.input(1).is_none() => Some(0),
        _ => match ctx.ints(1)?[..] {
            [k] => Some(k),
            _ => None,
        },
    }
}

/// Moves the diagonal by the row and the column where the part begins.
pub(super) fn diagonal(ctx: &OpCtx<'_>, region: &Region, tile: &mut Tile) -> Result<(), Barrier> {
    let Some(rows) = region.len().checked_sub(2) else { return Ok(()) };
    let from = |a: usize| region[a].map_or(0, |s| s.lo);
    let (row, column) = (from(rows), from(rows + 1));
    // Else it stays, also where it is computed at run time.
    if row == column {
        return Ok(());
    }
    let Some(k) = diagonal_of(ctx) else { barrier!("the diagonal is unknown") };
    let k = k.saturating_add(row).saturating_sub(column);
    match &mut tile.op {
        Op::EyeLike(e) => e.k = k,
        _ => {
            let k = Tensor::from_bytes(DType::I64, Vec::new(), k.to_le_bytes().to_vec());
            let k = k.map_err(|e| Barrier(e.to_string()))?;
            tile.needs.truncate(1);
            tile.needs.push(Need::Instead(k));
        }
    }
    Ok(())
}
