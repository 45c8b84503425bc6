//! Reads the windows of a node: `auto_pad`, `output_shape` and absent attributes become pads along
//! every axis.

use super::Window;
use crate::infer::known;
use crate::op::{ConvTranspose, Op, Windowed};
use crate::op_context::{OpCtx, RuleError, fail};

/// Operand indices of the image and, if there are any, the weights of a windowed operator.
pub fn operands(op: &Op) -> (usize, Option<usize>) {
    op.windowed().map_or((0, None), |w| (w.image, w.weights))
}

/// Windows of the node, one for each spatial axis. `None` where `auto_pad` needs an extent that is
/// unknown, or where runtimes and the standard read it differently.
///
/// # Errors
/// If attributes contradict each other or the operator's definition.
pub fn resolved(ctx: &OpCtx<'_>) -> Result<Option<Vec<Window>>, RuleError> {
    let (x, w) = operands(ctx.op);
    let extents = |dims: &[crate::Dim]| -> Vec<Option<i64>> { dims.iter().map(known).collect() };
    let Some(x) = ctx.dims(x) else { return Ok(None) };
    if x.len() < 3 {
        fail!("expected an input of rank 3 or more for {}, found {}", ctx.op.name(), x.len());
    }
    let spatial = extents(&x[2..]);
    let kernel = match w.and_then(|w| ctx.dims(w)) {
        Some(w) if w.len() != x.len() => {
            fail!("expected weights of rank {}, as the input has, found {}", x.len(), w.len())
        }
        Some(w) => Some(extents(&w[2..])),
        None => None,
    };
    let all = windows(ctx.op, &spatial, kernel.as_deref())?;
    Ok(all.into_iter().collect())
}

/// Windows over spatial axes of these extents; an entry is `None` where [`resolved`] is. `kernel` are the
/// spatial extents of the weights, if the operator has weights.
///
/// # Errors
/// As [`resolved`].
pub fn windows(
    op: &Op,
    spatial: &[Option<i64>],
    kernel: Option<&[Option<i64>]>,
) -> Result<Vec<Option<Window>>, RuleError> {
    let Some(a) = op.windowed() else { fail!("{} has no windows", op.name()) };
    let axes = spatial.len();
    check(op, &a, axes)?;
    if let Some(k) = kernel
        && k.len() != axes
    {
        fail!("expected weights with {axes} spatial axes, found {}", k.len());
    }
    (0..axes)
        .map(|i| {
            let weights = kernel.and_then(|k| k[i]);
            let k = match (a.kernel_shape.map(|k| k[i]), weights) {
                (Some(k), Some(w)) if k != w => {
                    fail!("kernel_shape is {k} on spatial axis {i}, but the weights have {w}")
                }
                (Some(k), _) | (None, Some(k)) => k,
                (None, None) => return Ok(None),
            };
            let w = Window {
                kernel: k,
                stride: a.strides.map_or(1, |s| s[i]),
                dilation: a.dilations.map_or(1, |d| d[i]),
                begin: a.pads.map_or(0, |p| p[i]),
                end: a.pads.map_or(0, |p| p[axes + i]),
                ceil: a.ceil(),
                output_padding: 0,
            };
            if k.checked_mul(w.dilation).is_none() || k < 1 {
                fail!("expected a positive kernel on spatial axis {i}, found {k}");
            }
            match op {
                Op::ConvTranspose(c) => transposed(w, c, i, axes, spatial[i]),
                _ => auto_padded(w, op, &a, spatial[i]),
            }
        })
        .collect()
}

/// Refuses attributes of other lengths than `axes`, and entries that are out of range.
fn check(op: &Op, a: &Windowed<'_>, axes: usize) -> Result<(), RuleError> {
    let list = |name: &str, v: Option<&[i64]>, len: usize, least: i64| {
        if let Some(v) = v {
            if v.len() != len {
                fail!(
                    "expected {len} entries in {name} for {axes} spatial axes, found {}",
                    v.len()
                );
            }
            if let Some(bad) = v.iter().find(|&&x| x < least || x > i64::from(i32::MAX)) {
                fail!("expected {name} of {least} to 2^31-1, found {bad}");
            }
        }
        Ok(())
    };
    list("strides", a.strides, axes, 1)?;
    list("dilations", a.dilations, axes, 1)?;
    list("kernel_shape", a.kernel_shape, axes, 1)?;
    list("pads", a.pads, 2 * axes, 0)?;
    if let Op::ConvTranspose(c) = op {
        list("output_padding", c.output_padding.as_deref(), axes, 0)?;
        // It may include the batch and the channels.
        let full = c.output_shape.as_ref().is_some_and(|s| s.len() == axes + 2);
        list("output_shape", c.output_shape.as_deref(), axes + if full { 2 } else { 0 }, 0)?;
    }
    Ok(())
}

/// The window with the padding of `auto_pad` over `n` elements (ONNX, operators Conv and MaxPool).
fn auto_padded(
    mut w: Window,
    op: &Op,
    a: &Windowed<'_>,
    n: Option<i64>,
) -> Result<Option<Window>, RuleError> {
    match a.auto_pad {
        "NOTSET" | "" => {}
        "VALID" => (w.begin, w.end) = (0, 0),
        "SAME_UPPER" | "SAME_LOWER" => {
            let Some(n) = n else { return Ok(None) };
            let out = n / w.stride + i64::from(n % w.stride != 0);
            let mut total = (out - 1) * w.stride + w.extent() - n;
            match op {
                // ONNX Runtime leaves dilations out of the padding.
                _ if a.is_pool() && w.extent() > w.kernel => return Ok(None),
                // With strides beyond the kernel the standard's formula is negative. ONNX Runtime
                // crops so in these pools, refuses to in MaxPool (the reference evaluator rounds
                // otherwise), and never crops elsewhere.
                Op::LpPool(_) | Op::AveragePool(_) => {}
                Op::MaxPool(_) if total < 0 => return Ok(None),
                _ => total = total.max(0),
            }
            w.begin = match a.auto_pad {
                "SAME_UPPER" => total / 2,
                _ => (total + 1) / 2,
            };
            w.end = total - w.begin;
            w.ceil = false;
        }
        other => fail!("{}", unknown_auto_pad(other)),
    }
    Ok(Some(w))
}

fn unknown_auto_pad(found: &str) -> String {
    format!("expected auto_pad NOTSET, VALID, SAME_UPPER or SAME_LOWER, found {found:?}")
}

/// The window with the padding of a transposed convolution (ONNX, operator ConvTranspose); `None` if
/// that depends on an extent that is unknown.
fn transposed(
    mut w: Window,
    c: &ConvTranspose,
    i: usize,
    axes: usize,
    n: Option<i64>,
) -> Result<Option<Window>, RuleError> {
    w.output_padding = c.output_padding.as_ref().map_or(0, |p| p[i]);
    let shape = c.output_shape.as_ref().map(|s| s[s.len() - axes + i]);
    let target = match (c.auto_pad.as_str(), shape) {
        (_, Some(t)) => Some(t),
        ("SAME_UPPER" | "SAME_LOWER", None) => match n {
            Some(n) => n.checked_mul(w.stride),
            None => None,
        },
        ("NOTSET" | "", None) => return Ok(Some(w)),
        ("VALID", None) => {
            (w.begin, w.end) = (0, 0);
            return Ok(Some(w));
        }
        (other, None) => fail!("{}", unknown_auto_pad(other)),
    };
    let (Some(target), Some(n)) = (target, n) else { return Ok(None) };
    let full = w.stride.checked_mul(n - 1).and_then(|x| x.checked_add(w.extent()));
    let Some(total) = full.and_then(|f| f.checked_add(w.output_padding)?.checked_sub(target))
    else {
        fail!("output size overflows");
    };
    // Where output_shape exceeds what the windows write, runtimes append zeros. SAME alone appends
    // nothing: strides beyond the kernel leave the result smaller than its formula says.
    if shape.is_some() {
        w.output_padding += (-total).max(0);
    }
    let total = total.max(0);
    (w.begin, w.end) = match c.auto_pad.as_str() {
        "SAME_UPPER" => (total / 2, total - total / 2),
        _ => (total - total / 2, total / 2),
    };
    Ok(Some(w))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Span;

    fn pool(op: Op, pad: &str, n: i64, kernel: i64, stride: i64) -> Window {
        let mut op = op;
        macro_rules! set {
            ($p:expr) => {{
                $p.auto_pad = pad.into();
                $p.kernel_shape = vec![kernel];
                $p.strides = Some(vec![stride]);
            }};
        }
        match &mut op {
            Op::MaxPool(p) => set!(p),
            Op::LpPool(p) => set!(p),
            Op::AveragePool(p) => set!(p),
            other => panic!("{other:?}"),
        }
        windows(&op, &[Some(n)], None).unwrap()[0].unwrap()
    }

    fn default(name: &str) -> Op {
        let kernel = ("kernel_shape".into(), crate::op::Attr::Ints(vec![1]));
        Op::from_attrs("", name, vec![kernel]).unwrap().0
    }

    /// As ONNX Runtime 1.23 computes.
    #[test]
    fn same_crops_in_some_pools_where_strides_exceed_the_kernel() {
        for (name, pad, n, k, s, begin, end) in [
            ("LpPool", "SAME_UPPER", 8, 1, 3, 0, -1),
            ("LpPool", "SAME_UPPER", 8, 2, 4, -1, -1),
            ("LpPool", "SAME_UPPER", 10, 1, 5, -2, -2),
            ("LpPool", "SAME_LOWER", 10, 1, 5, -1, -3),
            ("AveragePool", "SAME_UPPER", 9, 1, 5, -1, -2),
            ("AveragePool", "SAME_LOWER", 8, 2, 4, 0, -2),
            ("LpPool", "SAME_LOWER", 9, 2, 4, 1, 0),
        ] {
            let w = pool(default(name), pad, n, k, s);
            assert_eq!((w.begin, w.end), (begin, end), "{name} {pad} {n} {k} {s}");
            let out = w.outputs(n).unwrap();
            assert_eq!(out, n / s + i64::from(n % s != 0));
            for o in 0..out {
                let need = w.need(Span::new(o, o + 1), n);
                assert!(need.begin >= 0 && need.end >= 0, "{need:?}");
                let lo = o * s - begin;
                let seen = Span::new(lo.clamp(0, n), (lo + k).clamp(0, n));
                assert_eq!(need.span, seen, "{name} {pad} {o}");
            }
        }
    }

    #[test]
    fn same_of_a_transposed_convolution_fills_nothing() {
        let (op, _) = Op::from_attrs("", "ConvTranspose", Vec::new()).unwrap();
        let Op::ConvTranspose(mut c) = op else { panic!() };
        (c.auto_pad, c.strides) = ("SAME_UPPER".into(), Some(vec![3]));
        let of = |c: &crate::op::ConvTranspose, k: i64| {
            windows(&c.clone().into(), &[Some(4)], Some(&[Some(k)])).map(|w| w[0].unwrap())
        };
        // As ONNX Runtime and ONNX's shape inference have it.
        assert_eq!(of(&c, 2).unwrap().transposed_outputs(4), Some(11));
        assert_eq!(of(&c, 5).unwrap().transposed_outputs(4), Some(12));
        c.output_shape = Some(vec![12]);
        assert_eq!(of(&c, 2).unwrap().transposed_outputs(4), Some(12));
        c.output_shape = Some(vec![i64::MAX]);
        assert!(of(&c, 2).unwrap_err().0.contains("output_shape"));
    }
}
