//! Convolutions and pools.

use super::broadcast::vector_of;
use super::{dim, known, same_dtype, typed};
use crate::op::Op;
use crate::op_context::{OpCtx, RuleError, fail};
use crate::{DType, Dim, Type, region, window};

pub(super) fn window(ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError> {
    let (x, w) = window::operands(ctx.op);
    let dtype = match ctx.op {
        Op::ConvInteger(_) => Some(DType::I32),
        Op::QLinearConv(_) => ctx.dtype(7),
        Op::Conv(_) | Op::ConvTranspose(_) => {
            same_dtype(ctx, 0..3)?;
            ctx.dtype(0).or(ctx.dtype(1))
        }
        _ => ctx.dtype(0),
    };
    let Some(dims) = ctx.dims(x) else { return Ok(vec![typed(dtype, None)]) };
    let windows = window::resolved(ctx)?;
    let channels = match w {
        None => dims[1].clone(),
        Some(w) => conv_channels(ctx, &dims[1], w)?,
    };
    let mut out = vec![dims[0].clone(), channels];
    match windows {
        None => out.extend(vec![Dim::Unknown; dims.len() - 2]),
        Some(windows) => {
            let windowed = ctx.op.windowed();
            let transposed = windowed.is_some_and(|w| w.is_transposed());
            for (w, d) in windows.iter().zip(&dims[2..]) {
                out.push(match known(d) {
                    // An unknown extent stays the same, as with 3 taps and padding 1.
                    None if !transposed
                        && w.stride == 1
                        && w.begin + w.end + 1 == w.extent() =>
                    {
                        d.clone()
                    }
                    None => Dim::Unknown,
                    // Runtimes disagree about this extent, and no other attributes settle it.
                    Some(n)
                        if region::disputed(ctx.op, w, n).is_some()
                            && region::settled(ctx).is_none() =>
                    {
                        Dim::Unknown
                    }
                    Some(n) => {
                        let o = if transposed { w.transposed_outputs(n) } else { w.outputs(n) };
                        // ONNX Runtime accepts pools whose kernel does not fit, but not convolutions.
                        if o.is_none() && windowed.is_some_and(|w| !w.is_pool()) {
                            fail!(
                                "kernel of extent {} does not fit {n} elements with padding {} and {}",
                                w.extent(),
                                w.begin,
                                w.end
                            );
                        }
                        o.map_or(Dim::Unknown, |o| dim(Some(o)))
                    }
                });
            }
        }
    }
    if let (Op::FusedConv(_), Some(z)) = (ctx.op, ctx.dims(3)) {
        let clash = z
            .iter()
            .zip(&out)
            .any(|(a, b)| matches!((known(a), known(b)), (Some(a), Some(b)) if a != b));
        if clash || z.len() != out.len() {
            fail!("expected the summand of FusedConv to have the shape of its result");
        }
    }
    let y = typed(dtype, Some(out.clone()));
    Ok(vec![y, typed(Some(DType::I64), Some(out))])
}

/// The number of output channels. Checks that groups, weights and bias agree.
fn conv_channels(ctx: &OpCtx<'_>, input: &Dim, w: usize) -> Result<Dim, RuleError> {
    let Some(windowed) = ctx.op.windowed() else { fail!("{} has no windows", ctx.op.name()) };
    let group = windowed.groups();
    if group < 1 {
        fail!("expected a group of at least 1, found {group}");
    }
    let Some(wd) = ctx.dims(w) else { return Ok(Dim::Unknown) };
    let c = known(input);
    if let Some(c) = c
        && c % group != 0
    {
        fail!("expected a multiple of {group} groups as input channels, found {c}");
    }
    let bias = match ctx.op {
        Op::Conv(_) | Op::FusedConv(_) | Op::ConvTranspose(_) => Some(2),
        Op::QLinearConv(_) => Some(8),
        _ => None,
    };
    let out = if windowed.is_transposed() {
        if let (Some(a), Some(b)) = (c, known(&wd[0]))
            && a != b
        {
            fail!("expected weights for {a} input channels, found {b}");
        }
        known(&wd[1]).and_then(|m| m.checked_mul(group))
    } else {
        if let (Some(a), Some(b)) = (c, known(&wd[1]))
            && b.checked_mul(group) != Some(a)
        {
            fail!("expected weights for {a} input channels in {group} groups, found {b} a group");
        }
        if let Some(m) = known(&wd[0])
            && m % group != 0
        {
            fail!("expected a multiple of {group} groups as output channels, found {m}");
        }
        known(&wd[0])
    };
    if let Some(b) = bias {
        vector_of(ctx, b, out, "bias")?;
    }
    Ok(dim(out))
}
