//! What `Resize` and the older `Upsample` do, read from their many forms.

use crate::Dim;
use crate::infer::{dim, known};
use crate::op::Op;
use crate::op_context::{OpCtx, RuleError, axis_of, fail};

/// How many times larger the result is along each axis, or its extents.
#[derive(Clone, PartialEq, Debug)]
pub enum Target {
    /// Factors, one an axis.
    Scales(Vec<f32>),
    /// Extents, one an axis.
    Sizes(Vec<Dim>),
}

/// What the node asks for along every axis of its input; `None` if computed at run time.
///
/// # Errors
/// If factors are not positive numbers, or the lists do not fit the rank.
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
    // Version 10 of Resize has its factors where later ones have the region of interest.
    let (scales, sizes) = match ctx.op {
        Op::Resize(_) if ctx.opset >= 11 => (2, Some(3)),
        _ => (1, None),
    };
    let present = |i: usize| ctx.input(i).is_some_and(|o| o.ty.elements() != Some(0));
    if let Some(i) = sizes.filter(|&i| present(i)) {
        let Some(v) = ctx.symbolic(i) else { return Ok(None) };
        if v.len() != axes.len() {
            fail!("{} sizes for {} axes", v.len(), axes.len());
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
        fail!("{} factors for {} axes", v.len(), axes.len());
    }
    if let Some(bad) = v.iter().find(|s| !s.is_finite() || **s <= 0.0) {
        fail!("{} by a factor of {bad}", ctx.op.name());
    }
    let mut out = vec![1.0; rank];
    for (&a, s) in axes.iter().zip(v) {
        out[a] = s;
    }
    Ok(Some(Target::Scales(out)))
}

/// Extents of the result.
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

/// The whole factor by which the node enlarges each axis, where a tile of the result can be
/// computed from a part of the input with the same bits: `Some((factor, halo))`, where `halo` is
/// the number of neighbouring inputs that interpolation looks at on either side.
///
/// # Errors
/// As [`target`]; and, as the reason, what stands in the way.
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
        let (Some(a), Some(b)) = (known(a), known(b)) else { fail!("extent {i} is unknown") };
        // Coordinates follow the factor that is given, not the one of the rounded extents.
        if let Some(f) = factors.as_ref().map(|f| f[i])
            && f64::from(f) * a as f64 != b as f64
        {
            fail!("axis {i} grows by {f}, which is no whole factor");
        }
        if a == b {
            out.push((1, 0));
            continue;
        }
        if a == 0 || b % a != 0 {
            fail!("axis {i} goes from {a} to {b}, which is no whole factor");
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
