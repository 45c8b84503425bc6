//! One spelling for operators that say the same.

use super::adjust::set_windows;
use super::relations::group;
use crate::infer::known;
use crate::op::Op;
use crate::rule::Ctx;
use crate::window::{self, Window};

/// The node's operator with its windows written out: no `auto_pad`, no `output_shape`, no zero
/// pads, no strides or dilations of 1, the kernel only where there are no weights. Two windowed
/// operators over the same operands compute the same if these are equal.
pub fn normal_form(ctx: &Ctx<'_>) -> Op {
    let mut op = ctx.op.clone();
    let Ok(Some(mut windows)) = window::resolved(ctx) else { return op };
    // What auto_pad crops, no attribute can say.
    if windows.iter().any(Window::crops) {
        return op;
    }
    let (x, _) = window::operands(ctx.op);
    let dims = ctx.dims(x).unwrap_or_default();
    for (w, d) in windows.iter_mut().zip(dims.iter().skip(2)) {
        if matches!(op, Op::ConvTranspose(_)) {
            // Outputs added at the end and cut off again.
            let both = w.output_padding.min(w.end);
            w.output_padding -= both;
            w.end -= both;
        } else if let Some(tight) = known(d).and_then(|n| w.without_ceil(n)) {
            // Padding that no window reaches, and ceil_mode that keeps no window.
            *w = tight;
        }
    }
    let groups = group(&op);
    set_windows(&mut op, &windows, groups);
    let ones = |v: &mut Option<Vec<i64>>| {
        if v.as_ref().is_some_and(|v| v.iter().all(|&x| x == 1)) {
            *v = None;
        }
    };
    macro_rules! tidy {
        ($c:expr) => {{
            ones(&mut $c.strides);
            ones(&mut $c.dilations);
            if $c.pads.as_ref().is_some_and(|p| p.iter().all(|&p| p == 0)) {
                $c.pads = None;
            }
        }};
    }
    match &mut op {
        Op::Conv(c) => {
            tidy!(c);
            c.kernel_shape = None;
        }
        Op::FusedConv(c) => {
            tidy!(c);
            c.kernel_shape = None;
        }
        Op::ConvInteger(c) => {
            tidy!(c);
            c.kernel_shape = None;
        }
        Op::QLinearConv(c) => {
            tidy!(c);
            c.kernel_shape = None;
        }
        Op::ConvTranspose(c) => {
            tidy!(c);
            c.kernel_shape = None;
        }
        Op::MaxPool(c) => tidy!(c),
        Op::AveragePool(c) => tidy!(c),
        Op::LpPool(c) => tidy!(c),
        _ => {}
    }
    op
}

fn ceil_mode(op: &Op) -> bool {
    match op {
        Op::MaxPool(p) => p.ceil_mode != 0,
        Op::AveragePool(p) => p.ceil_mode != 0,
        Op::LpPool(p) => p.ceil_mode != 0,
        _ => false,
    }
}

/// What runtimes, or ONNX's own shape inference, read differently of this window over `n` elements.
pub(crate) fn disputed(op: &Op, w: &Window, n: i64) -> Option<&'static str> {
    match op {
        Op::ConvTranspose(c) if c.auto_pad.starts_with("SAME") && c.output_shape.is_none() => {
            let odd = w.transposed_outputs(n) != n.checked_mul(w.stride) || w.output_padding != 0;
            odd.then_some("SAME padding with output_padding or strides beyond the kernel")
        }
        // Where auto_pad crops, ONNX's inference rounds up with ceil_mode.
        Op::MaxPool(_) | Op::AveragePool(_) | Op::LpPool(_) => (w.leaves_out(n)
            || w.crops() && ceil_mode(op))
        .then_some("whether ceil_mode keeps a window that starts in the padding"),
        _ => None,
    }
}

/// The node's operator in a spelling that all runtimes read alike, with what they read differently;
/// `None` if it is read alike as it is, or there is no such spelling.
pub fn settled(ctx: &Ctx<'_>) -> Option<(Op, &'static str)> {
    let mut windows = window::resolved(ctx).ok()??;
    let (x, _) = window::operands(ctx.op);
    let dims = ctx.dims(x)?.get(2..)?;
    let n: Vec<i64> = dims.iter().map(known).collect::<Option<_>>()?;
    let why = windows.iter().zip(&n).find_map(|(w, &n)| disputed(ctx.op, w, n))?;
    // What auto_pad crops, no attribute can say.
    if windows.iter().any(Window::crops) {
        return None;
    }
    if !matches!(ctx.op, Op::ConvTranspose(_)) {
        // Elsewhere padding counts nothing, so that it can reach as far as the last window.
        let counts = matches!(ctx.op, Op::AveragePool(a) if a.count_include_pad != 0);
        let longer = |w: &Window, n: i64| {
            let end = (w.outputs(n)? - 1) * w.stride - w.begin + w.extent() - n;
            // ONNX Runtime loads no pool that pads as much as its kernel.
            (!counts && end < w.kernel).then_some(Window { end, ceil: false, ..*w })
        };
        let plain = |(w, &n): (&Window, &i64)| w.without_ceil(n).or_else(|| longer(w, n));
        // Where other axes need ceil_mode, padding that ends with the last window leaves nothing out.
        let kept = |(w, &n): (&Window, &i64)| match disputed(ctx.op, w, n) {
            None => Some(*w),
            Some(_) => w
                .without_ceil(n)
                .filter(|t| (n + t.begin + t.end - t.extent()) % t.stride == 0)
                .map(|t| Window { ceil: true, ..t }),
        };
        let axes = || windows.iter().zip(&n);
        let all = axes().map(plain).collect::<Option<Vec<_>>>();
        windows = all.or_else(|| axes().map(kept).collect())?;
    }
    let mut op = ctx.op.clone();
    let groups = group(&op);
    set_windows(&mut op, &windows, groups);
    Some((op, why))
}

/// The whole operator of which these are tiles, row by row over a grid, for an image of `channels`
/// and weights of `per_group` channels a group. A guess, to be checked by tiling it again.
pub fn whole_of(first: &Op, last: &Op, groups: i64) -> Op {
    let mut op = first.clone();
    macro_rules! join {
        ($a:expr, $b:expr, $c:expr) => {{
            let none = Vec::new();
            let (p, q) = ($a.pads.as_ref().unwrap_or(&none), $b.pads.as_ref().unwrap_or(&none));
            let n = p.len().max(q.len()) / 2;
            let at = |v: &Vec<i64>, i: usize| v.get(i).copied().unwrap_or(0);
            let all: Vec<i64> =
                (0..n).map(|i| at(p, i)).chain((n..2 * n).map(|i| at(q, i))).collect();
            let spelled = $a.pads.is_some() || all.iter().any(|&p| p != 0);
            $c.pads = spelled.then_some(all);
        }};
    }
    macro_rules! grouped {
        ($a:expr, $b:expr, $c:expr) => {{
            join!($a, $b, $c);
            $c.group = groups;
        }};
    }
    macro_rules! pooled {
        ($a:expr, $b:expr, $c:expr) => {{
            join!($a, $b, $c);
            $c.ceil_mode = $a.ceil_mode.max($b.ceil_mode);
        }};
    }
    match (first, last, &mut op) {
        (Op::Conv(a), Op::Conv(b), Op::Conv(c)) => grouped!(a, b, c),
        (Op::FusedConv(a), Op::FusedConv(b), Op::FusedConv(c)) => grouped!(a, b, c),
        (Op::ConvInteger(a), Op::ConvInteger(b), Op::ConvInteger(c)) => grouped!(a, b, c),
        (Op::QLinearConv(a), Op::QLinearConv(b), Op::QLinearConv(c)) => grouped!(a, b, c),
        (Op::ConvTranspose(a), Op::ConvTranspose(b), Op::ConvTranspose(c)) => {
            grouped!(a, b, c);
            c.output_padding = b.output_padding.clone();
        }
        (Op::MaxPool(a), Op::MaxPool(b), Op::MaxPool(c)) => pooled!(a, b, c),
        (Op::AveragePool(a), Op::AveragePool(b), Op::AveragePool(c)) => pooled!(a, b, c),
        (Op::LpPool(a), Op::LpPool(b), Op::LpPool(c)) => pooled!(a, b, c),
        _ => {}
    }
    op
}
