//! Adjusts a node's operator, so that it computes a region from the parts of its operands.

use super::{Barrier, Need, Part, Region, Relation, Relations, Tile, barrier, extents, result};
use crate::infer::known;
use crate::op::{self, Op};
use crate::op_context::{OpCtx, axis_of};
use crate::tensor::Tensor;
use crate::window::{self, Span, Window};
use crate::{Dim, infer, layout_params};

/// The tile for a region, from the part of each operand that the relations yield.
pub(super) fn adjust(
    ctx: &OpCtx<'_>,
    output: usize,
    region: &Region,
    rel: &Relations,
    parts: Vec<Part>,
) -> Result<Tile, Barrier> {
    let mut needs: Vec<Need> = Vec::with_capacity(parts.len());
    for (i, p) in parts.iter().enumerate() {
        needs.push(match ctx.input(i) {
            None => Need::Nothing,
            Some(_) if p.nothing => Need::Nothing,
            Some(o) if rel.operands[i].is_empty() => {
                Need::Region(vec![None; o.ty.rank().unwrap_or(0)])
            }
            Some(_) => Need::Region(p.spans.clone()),
        });
    }
    let mut tile = Tile { op: ctx.op.clone(), needs, computes: region.clone(), output };
    match ctx.op {
        Op::Split(_) if parts[0].nothing => barrier!("the result is empty"),
        Op::Split(_) => {
            tile.op = op::Identity {}.into();
            tile.needs.truncate(1);
            tile.output = 0;
        }
        _ if region.iter().all(Option::is_none) => {}
        Op::Other(op::Other { host: Some(host), .. }) => {
            tile.op = host.on_region(ctx, output, region, rel)?;
        }
        op if op.windowed().is_some() => windowed(ctx, region, rel, &parts, &mut tile)?,
        Op::Slice(_) => slice(ctx, region, &parts, &mut tile)?,
        Op::Crop(_) => {
            tile.op = op::Identity {}.into();
            tile.needs.truncate(1);
        }
        Op::Concat(_) => {
            tile.needs.retain(|n| *n != Need::Nothing);
            if tile.needs.len() == 1 {
                tile.op = op::Identity {}.into();
            }
        }
        Op::Pad(_) => pad(ctx, region, rel, &parts, &mut tile)?,
        Op::Reshape(_) => reshape(ctx, output, region, &mut tile)?,
        Op::Squeeze(s) if s.axes.is_none() && ctx.input(1).is_none() => {
            // Without axes it would also drop an axis that the cut made 1 long.
            let x = ctx.dims(0).unwrap_or_default();
            let units = (0..x.len()).filter(|&a| known(&x[a]) == Some(1));
            let axes: Vec<i64> = units.map(|a| a as i64).collect();
            if ctx.opset < 13 {
                tile.op = op::Squeeze { axes: Some(axes) }.into();
            } else {
                tile.needs.truncate(1);
                tile.needs.push(Need::Instead(Tensor::i64s(&axes)));
            }
        }
        Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => {}
        Op::Expand(_) => {
            let target = ctx.symbolic(1).unwrap_or_default();
            let x = ctx.dims(0).unwrap_or_default();
            let out = infer::broadcast(&[x, &target])?;
            // 1 leaves an extent as it is, so that a symbolic one need not be known.
            let first = out.len() - x.len();
            let kept = |o: usize| o >= first && x[o - first] == out[o] && out[o] != Dim::Unknown;
            let extent = |(o, e): (usize, Option<i64>)| match e {
                Some(e) => Ok(e),
                None if kept(o) => Ok(1),
                None => Err(Barrier(format!("extent {o} of the result is unknown"))),
            };
            let extents = extents(region, &out).into_iter().enumerate();
            let shape: Vec<i64> = extents.map(extent).collect::<Result<_, _>>()?;
            tile.needs[1] = Need::Instead(Tensor::i64s(&shape));
        }
        Op::ConstantOfShape(_) => {
            let Some(dims) = ctx.symbolic(0) else { barrier!("the shape is unknown") };
            tile.needs[0] = Need::Instead(shape_of(region, &dims)?);
            if extents(region, &dims).contains(&None) {
                barrier!("an extent of the result is unknown");
            }
        }
        Op::Resize(_) | Op::Upsample(_) => resize(ctx, region, rel, &parts, &mut tile)?,
        Op::ImageScaler(_) => {
            if let (Op::ImageScaler(o), Some(s)) = (&mut tile.op, region[1])
                && let Some(all) = &mut o.bias
            {
                *all = all.iter().skip(s.lo as usize).take(s.len() as usize).copied().collect();
            }
        }
        Op::Tile(_) => repeats(ctx, region, rel, &mut tile),
        Op::LSTM(_) | Op::GRU(_) | Op::RNN(_) => {
            super::recurrent::adjust(ctx, output, region, &mut tile)?;
        }
        Op::Trilu(_) | Op::EyeLike(_) => super::indexed::diagonal(ctx, region, &mut tile)?,
        _ => {}
    }
    Ok(tile)
}

/// Repeats of an axis of extent 1 are as many as there are elements.
fn repeats(ctx: &OpCtx<'_>, region: &Region, rel: &Relations, tile: &mut Tile) {
    let mut new = ctx.ints(1).unwrap_or_default();
    for (a, n) in new.iter_mut().enumerate() {
        if let (Relation::Broadcast, Some(s)) = (&rel.operands[0][a], region[a]) {
            *n = s.len();
        }
    }
    tile.needs[1] = Need::Instead(Tensor::i64s(&new));
}

/// The extents of this region as a constant. One extent may be unknown, and becomes -1.
fn shape_of(region: &Region, dims: &[Dim]) -> Result<Tensor, Barrier> {
    let e = extents(region, dims);
    if e.iter().filter(|e| e.is_none()).count() > 1 {
        barrier!("more than one extent of the result is unknown");
    }
    Ok(Tensor::i64s(&e.iter().map(|e| e.unwrap_or(-1)).collect::<Vec<_>>()))
}

fn windowed(
    ctx: &OpCtx<'_>,
    region: &Region,
    rel: &Relations,
    parts: &[Part],
    tile: &mut Tile,
) -> Result<(), Barrier> {
    let (x, _) = window::operands(ctx.op);
    let windows: Vec<Window> = parts[x].windows.iter().skip(2).filter_map(|w| *w).collect();
    let mut groups = super::normal::groups(ctx.op);
    if let Some(r) = region[1]
        && let Relation::Block { outer, .. } = rel.operands[x][1]
    {
        groups = if r.len() % outer == 0 && r.lo % outer == 0 { r.len() / outer } else { 1 };
    }
    set_windows(&mut tile.op, &windows, groups);
    if !parts[x].hollow.is_empty() {
        let zero_padded = matches!(ctx.op, Op::Conv(_) | Op::FusedConv(_));
        if !zero_padded {
            barrier!("windows lie entirely in the padding");
        }
        // The windows cover only padding: zeros replace both the input and the padding.
        let mut hollow = windows;
        let mut spans = parts[x].spans.clone();
        let mut want = vec![-1; spans.len()];
        for &(a, n) in &parts[x].hollow {
            (hollow[a - 2].begin, hollow[a - 2].end) = (0, 0);
            spans[a] = None;
            want[a] = n;
        }
        set_windows(&mut tile.op, &hollow, groups);
        for (a, w) in want.iter_mut().enumerate().filter(|(_, w)| **w < 0) {
            let n = spans[a].map(Span::len).or_else(|| known(&ctx.dims(x)?[a]));
            *w = n.ok_or_else(|| Barrier(format!("extent {a} is unknown")))?;
        }
        tile.needs[x] = Need::Zeros(spans, want);
    }
    Ok(())
}

/// Replaces the windows of the operator by explicit ones.
pub(super) fn set_windows(op: &mut Op, windows: &[Window], groups: i64) {
    if let Op::ConvTranspose(c) = op {
        c.output_shape = None;
        let extra: Vec<i64> = windows.iter().map(|w| w.output_padding).collect();
        c.output_padding = extra.iter().any(|&p| p != 0).then_some(extra);
    }
    let Some(w) = op.windowed_mut() else { return };
    *w.auto_pad = "NOTSET".into();
    let begins = windows.iter().map(|w| w.begin);
    let pads: Vec<i64> = begins.chain(windows.iter().map(|w| w.end)).collect();
    // Explicit pads stay explicit, even if they are zero.
    let spelled = w.pads.is_some() || pads.iter().any(|&p| p != 0);
    *w.pads = spelled.then_some(pads);
    if let Some(group) = w.group {
        *group = groups;
    }
    if let Some(ceil) = w.ceil_mode {
        *ceil = windows.iter().any(|w| w.ceil).into();
    }
}

fn slice(ctx: &OpCtx<'_>, region: &Region, parts: &[Part], tile: &mut Tile) -> Result<(), Barrier> {
    let taken = layout_params::slices(ctx)?.unwrap_or_default();
    let steps: Vec<i64> = taken.iter().map(|t| t.map_or(1, |t| t.step)).collect();
    // Axes that are not cut are sliced as before. Axes that are cut keep their steps.
    let mut new: Vec<(i64, i64, i64, i64)> = Vec::new();
    for (a, t) in taken.iter().enumerate() {
        let Some(t) = t else {
            // An axis of unknown extent stays whole, with the bounds that it has.
            new.extend(
                layout_params::slice_bounds(ctx)?.into_iter().flatten().filter(|b| b.0 == a as i64),
            );
            continue;
        };
        let cut = parts[0].spans[a];
        match (region[a], cut) {
            (Some(_), _) if steps[a] == 1 => {}
            (Some(r), cut) => {
                let lo = cut.map_or(0, |c| c.lo);
                let first = t.start + t.step * r.lo - lo;
                let end = first + t.step * (r.len() - 1) + t.step.signum();
                new.push((a as i64, first, if end < 0 { i64::MIN } else { end }, t.step));
            }
            (None, _)
                if t.start == 0
                    && t.step == 1
                    && known(&ctx.dims(0).unwrap_or_default()[a]) == Some(t.count) => {}
            (None, cut) => {
                let lo = cut.map_or(0, |c| c.lo);
                let first = t.start - lo;
                let end = first + t.step * (t.count - 1) + t.step.signum();
                new.push((a as i64, first, if end < 0 { i64::MIN } else { end }, t.step));
            }
        }
    }
    if new.is_empty() {
        tile.op = op::Identity {}.into();
        tile.needs.truncate(1);
        return Ok(());
    }
    let list = |f: fn(&(i64, i64, i64, i64)) -> i64| new.iter().map(f).collect::<Vec<_>>();
    if ctx.opset < 10 {
        tile.op = op::Slice {
            starts: Some(list(|s| s.1)),
            ends: Some(list(|s| s.2)),
            axes: Some(list(|s| s.0)),
        }
        .into();
    } else {
        let all = [list(|s| s.1), list(|s| s.2), list(|s| s.0), list(|s| s.3)];
        tile.needs.truncate(1);
        tile.needs.extend(all.iter().map(|v| Need::Instead(Tensor::i64s(v))));
    }
    Ok(())
}

fn pad(
    ctx: &OpCtx<'_>,
    region: &Region,
    rel: &Relations,
    parts: &[Part],
    tile: &mut Tile,
) -> Result<(), Barrier> {
    if parts[0].nothing {
        barrier!("the tile lies entirely in the padding");
    }
    let old = layout_params::pads(ctx)?.unwrap_or_default();
    let dims = ctx.dims(0).unwrap_or_default();
    let mut new = old.clone();
    for (a, r) in region.iter().enumerate() {
        let (Some(r), (b, _)) = (r, old[a]) else { continue };
        let n = known(&dims[a]).unwrap_or(0);
        let span = parts[0].spans[a].unwrap_or(Span::whole(n));
        if matches!(rel.operands[0][a], Relation::Bordered { .. }) {
            let (before, after) = ((b - r.lo).max(0), (r.hi - b - n).max(0));
            new[a] = (before, after);
            let all = Span::new(span.lo + b - before, span.hi + b + after);
            tile.computes[a] = Some(all);
            continue;
        }
        // Output index i is input index i - b.
        new[a] = (span.lo - (r.lo - b), (r.hi - b) - span.hi);
    }
    if new.iter().all(|p| *p == (0, 0)) {
        tile.op = op::Identity {}.into();
        tile.needs.truncate(1);
        return Ok(());
    }
    let flat: Vec<i64> = new.iter().map(|p| p.0).chain(new.iter().map(|p| p.1)).collect();
    match &mut tile.op {
        Op::Pad(p) if p.pads.is_some() => p.pads = Some(flat),
        _ => {
            tile.needs[1] = Need::Instead(Tensor::i64s(&flat));
            // The pads cover all axes now, so the operand with the axes goes.
            tile.needs.truncate(3);
        }
    }
    Ok(())
}

fn reshape(
    ctx: &OpCtx<'_>,
    output: usize,
    region: &Region,
    tile: &mut Tile,
) -> Result<(), Barrier> {
    tile.needs[1] = Need::Instead(shape_of(region, &result(ctx, output)?)?);
    Ok(())
}

fn resize(
    ctx: &OpCtx<'_>,
    region: &Region,
    rel: &Relations,
    parts: &[Part],
    tile: &mut Tile,
) -> Result<(), Barrier> {
    let dims = ctx.dims(0).unwrap_or_default();
    let out = result(ctx, 0)?;
    let mut sizes = Vec::new();
    for (a, r) in region.iter().enumerate() {
        // Along axes that stay whole, any scale is possible, also of a symbolic extent.
        if r.is_none() {
            sizes.push(known(&out[a]));
            continue;
        }
        let Some(n) = known(&dims[a]) else { barrier!("extent {a} is unknown") };
        let span = parts[0].spans[a].unwrap_or(Span::whole(n));
        let factor = match rel.operands[0][a] {
            Relation::Scaled { factor, .. } => factor,
            _ => 1,
        };
        let all = Span::new(span.lo * factor, span.hi * factor);
        tile.computes[a] = (all != Span::whole(n * factor)).then_some(all);
        sizes.push(Some(all.len()));
    }
    // Explicit sizes are those of the whole result; factors are valid for every tile.
    if let Op::Resize(r) = &mut tile.op
        && ctx.opset >= 11
        && ctx.input(3).is_some()
    {
        let axes = r.axes.clone();
        let whole = |(a, n): (usize, Option<i64>)| {
            n.ok_or_else(|| Barrier(format!("extent {a} is unknown, and sizes are given")))
        };
        let sizes: Vec<i64> = sizes.into_iter().enumerate().map(whole).collect::<Result<_, _>>()?;
        let named = match axes {
            None => sizes,
            Some(axes) => axes
                .iter()
                .map(|&a| axis_of(a, dims.len()).map(|a| sizes[a]))
                .collect::<Result<_, _>>()?,
        };
        tile.needs[3] = Need::Instead(Tensor::i64s(&named));
    }
    Ok(())
}
