//! Parameters of `Resize` and the older `Upsample`, read from attributes or operands as their version has
//! them.

use crate::Dim;
use crate::infer::{dim, known};
use crate::op::Op;
use crate::op_context::{OpCtx, RuleError, axis_of, fail};

/// The size of the result, as the node gives it.
#[derive(Clone, PartialEq, Debug)]
pub enum Target {
    /// The factor of the extent along each axis.
    Scales(Vec<f32>),
    /// The extent of the result along each axis.
    Sizes(Vec<Dim>),
}

/// The size that the node asks for, along every axis of its input; `None` if it is computed at run time.
///
/// # Errors
/// If a factor is not a positive number, or a list does not match the rank.
pub fn target(ctx: &OpCtx<'_>) -> Result<Option<Target>, RuleError> {
    let Some(x) = ctx.dims(0) else { return Ok(None) };
    let rank = x.len();
    let axes: Vec<usize> = match ctx.op {
        Op::Resize(r) => match &r.axes {
            Some(a) => a.iter().map(|&a| axis_of(a, rank)).collect::<Result<_, _>>()?,
            None => (0..rank).collect(),
        },
        _ => (0..rank).collect(),
    };
    // In version 10 of Resize, operand 1 is the factors; later it is the region of interest.
    let (scales, sizes) = match ctx.op {
        Op::Resize(_) if ctx.opset >= 11 => (2, Some(3)),
        _ => (1, None),
    };
    let present = |i: usize| ctx.input(i).is_some_and(|o| o.ty.elements() != Some(0));
    if let Some(i) = sizes.filter(|&i| present(i)) {
        let Some(v) = ctx.symbolic(i) else { return Ok(None) };
        if v.len() != axes.len() {
            fail!("expected {} sizes, found {}", axes.len(), v.len());
        }
        let stretch = !matches!(ctx.op, Op::Resize(r) if r.keep_aspect_ratio_policy != "stretch");
        let mut out = x.to_vec();
        for (&a, d) in axes.iter().zip(v) {
            out[a] = if stretch { d } else { Dim::Unknown };
        }
        return Ok(Some(Target::Sizes(out)));
    }
    let given = match ctx.op {
        Op::Upsample(u) if u.scales.is_some() => u.scales.clone(),
        _ => ctx.floats(scales),
    };
    let Some(v) = given else { return Ok(None) };
    if v.len() != axes.len() {
        fail!("expected {} factors, found {}", axes.len(), v.len());
    }
    if let Some(bad) = v.iter().find(|s| !s.is_finite() || **s <= 0.0) {
        fail!("expected positive factors for {}, found {bad}", ctx.op.name());
    }
    let mut out = vec![1.0; rank];
    for (&a, s) in axes.iter().zip(v) {
        out[a] = s;
    }
    Ok(Some(Target::Scales(out)))
}

/// Extents of the result, as far as they are known; `None` if the rank is unknown.
///
/// # Errors
/// As [`target`].
pub fn extents(ctx: &OpCtx<'_>) -> Result<Option<Vec<Dim>>, RuleError> {
    let Some(x) = ctx.dims(0) else { return Ok(None) };
    Ok(Some(match target(ctx)? {
        None => vec![Dim::Unknown; x.len()],
        Some(Target::Sizes(d)) => d,
        Some(Target::Scales(s)) => x
            .iter()
            .zip(s)
            .map(|(d, s)| match known(d) {
                _ if s == 1.0 => d.clone(),
                Some(n) => dim(Some((n as f64 * f64::from(s)).floor() as i64)),
                None => Dim::Unknown,
            })
            .collect(),
    }))
}

/// The integer factor by which the node enlarges each axis, and the halo: the number of neighbouring inputs
/// on either side that interpolation reads. With these, a tile of the result can be computed from a part of
/// the input with the same bits.
///
/// # Errors
/// As [`target`]; or if tiles would not have the same bits, with the reason.
pub(crate) fn aligned(ctx: &OpCtx<'_>) -> Result<Vec<(i64, i64)>, RuleError> {
    let Some(x) = ctx.dims(0) else { fail!("the rank is unknown") };
    let extents = extents(ctx)?.unwrap_or_default();
    let (mode, coordinates, nearest, ok) = match ctx.op {
        Op::Upsample(u) => (u.mode.as_str(), "asymmetric", "floor", true),
        Op::Resize(r) if ctx.opset < 11 => (r.mode.as_str(), "asymmetric", "floor", true),
        Op::Resize(r) => (
            r.mode.as_str(),
            r.coordinate_transformation_mode.as_deref().unwrap_or("half_pixel"),
            r.nearest_mode.as_str(),
            r.antialias == 0 && r.exclude_outside == 0,
        ),
        _ => fail!("{} does not resize", ctx.op.name()),
    };
    if !ok {
        fail!("antialias and exclude_outside depend on the border");
    }
    let factors = match target(ctx)? {
        Some(Target::Scales(s)) => Some(s),
        _ => None,
    };
    let mut out = Vec::new();
    for (i, (a, b)) in x.iter().zip(&extents).enumerate() {
        // A symbolic extent, such as the batch, stays what it is.
        if factors.as_ref().is_some_and(|f| f[i] == 1.0) {
            out.push((1, 0));
            continue;
        }
        let (Some(a), Some(b)) = (known(a), known(b)) else { fail!("extent {i} is unknown") };
        // Coordinates follow the factor that is given, not the one of the rounded extents.
        if let Some(f) = factors.as_ref().map(|f| f[i])
            && f64::from(f) * a as f64 != b as f64
        {
            fail!("axis {i} grows by {f}, which is not a whole factor");
        }
        if a == b {
            out.push((1, 0));
            continue;
        }
        if a == 0 || b % a != 0 {
            fail!("axis {i} grows from {a} to {b}, which is not a whole factor");
        }
        let f = b / a;
        let half = matches!(coordinates, "half_pixel" | "pytorch_half_pixel");
        match (mode, coordinates) {
            ("nearest", "asymmetric") if nearest == "floor" => out.push((f, 0)),
            // Powers of two are exact in binary, so that a shifted coordinate rounds the same.
            ("nearest", _) if (half || coordinates == "asymmetric") && f.count_ones() == 1 => {
                out.push((f, 1));
            }
            ("linear", _) if (half || coordinates == "asymmetric") && f.count_ones() == 1 => {
                out.push((f, 1));
            }
            ("cubic", _) if (half || coordinates == "asymmetric") && f.count_ones() == 1 => {
                out.push((f, 2));
            }
            _ => fail!("{mode} with {coordinates} by {f} depends on the whole axis"),
        }
    }
    Ok(out)
}
