//! RNN, GRU and LSTM: the sequences of a batch are independent of each other, and so are the two directions
//! of a bidirectional one.

use super::relations::{dims, whole};
use super::{Barrier, Region, Relation, Relations, Tile, barrier};
use crate::op::Op;
use crate::op_context::OpCtx;

use Relation::{Same, Whole};

/// The axes of a result. The first result alone has one for each step.
struct Axes {
    steps: Option<usize>,
    directions: usize,
    batch: usize,
    hidden: usize,
}

/// With `layout=1` the batch comes first.
fn axes(layout: i64, output: usize) -> Axes {
    let (steps, [directions, batch, hidden]) = match (output, layout) {
        (0, 0) => (Some(0), [1, 2, 3]),
        (0, _) => (Some(1), [2, 0, 3]),
        (_, 0) => (None, [0, 1, 2]),
        _ => (None, [1, 0, 2]),
    };
    Axes { steps, directions, batch, hidden }
}

/// Applies a body to the attributes that the three have in common.
macro_rules! common {
    ($op:expr, $o:ident => $body:expr, else $other:expr) => {
        match $op {
            Op::LSTM($o) => $body,
            Op::GRU($o) => $body,
            Op::RNN($o) => $body,
            _ => $other,
        }
    };
}

pub(super) fn relations(
    ctx: &OpCtx<'_>,
    output: usize,
    rel: &mut Relations,
) -> Result<(), Barrier> {
    let name = ctx.op.name();
    let (layout, parameters) = common!(
        ctx.op,
        o => (o.layout, o.activation_alpha.is_some() || o.activation_beta.is_some()),
        else barrier!("{name} is not recurrent")
    );
    let Axes { steps, directions, batch, hidden } = axes(layout, output);
    let (batch, one) = (Same(batch), Relation::at(directions));
    let states = match layout {
        0 => [one.clone(), batch.clone(), Whole],
        _ => [batch.clone(), one.clone(), Whole],
    };
    let all: [&[Relation]; 8] = [
        if layout == 0 { &[Whole, batch.clone(), Whole] } else { &[batch.clone(), Whole, Whole] },
        &[one.clone(), Whole, Whole],
        &[one.clone(), Whole, Whole],
        &[one.clone(), Whole],
        std::slice::from_ref(&batch),
        &states,
        &states,
        &[one, Whole],
    ];
    for (i, axes) in all.into_iter().enumerate() {
        rel.operands[i] = whole(ctx, i);
        if ctx.input(i).is_some() {
            if dims(ctx, i)?.len() != axes.len() {
                barrier!("operand {i} has another rank than {}", axes.len());
            }
            rel.operands[i] = axes.to_vec();
        }
    }
    let mut bar = |axis, why: &str| rel.barriers.push((axis, format!("{name} {why}")));
    steps.into_iter().for_each(|a| bar(a, "goes through this axis step by step"));
    bar(hidden, "reads all of this axis in every step");
    if parameters {
        bar(directions, "has parameters of activations for both directions together");
    }
    Ok(())
}

/// One of two directions is an operator of that direction.
pub(super) fn adjust(
    ctx: &OpCtx<'_>,
    output: usize,
    region: &Region,
    tile: &mut Tile,
) -> Result<(), Barrier> {
    common!(&mut tile.op, o => {
        let span = region[axes(o.layout, output).directions];
        let Some(span) = span.filter(|s| s.len() == 1 && o.direction == "bidirectional") else {
            return Ok(());
        };
        o.direction = if span.lo == 0 { "forward" } else { "reverse" }.into();
        if let Some(all) = &mut o.activations {
            let each = all.len() / 2;
            *all = all.iter().skip(span.lo as usize * each).take(each).cloned().collect();
        }
    }, else barrier!("{} is not recurrent", ctx.op.name()));
    Ok(())
}
