//! Normal forms of operators: one spelling for all that compute the same.

use super::adjust::set_windows;
use crate::Dim;
use crate::infer::known;
use crate::op::Op;
use crate::op_context::OpCtx;
use crate::window::{self, Window};

/// The normal form of the node's operator: explicit pads instead of `auto_pad` and `output_shape`; no pads of
/// 0, strides or dilations of 1; a kernel only if there are no weights. Two windowed operators over the same
/// operands compute the same if their normal forms are equal.
pub fn normal_form(ctx: &OpCtx<'_>) -> Op {
    let mut op = ctx.op.clone();
    let Ok(Some(mut windows)) = window::resolved(ctx) else { return op };
    // No attribute can express what auto_pad crops.
    if windows.iter().any(Window::crops) {
        return op;
    }
    let (x, _) = window::operands(ctx.op);
    let dims = ctx.dims(x).unwrap_or_default();
    for (w, d) in windows.iter_mut().zip(dims.iter().skip(2)) {
        if matches!(op, Op::ConvTranspose(_)) {
            // Outputs that are appended at the end and cut off again.
            let both = w.output_padding.min(w.end);
            w.output_padding -= both;
            w.end -= both;
        } else if let Some(tight) = known(d).and_then(|n| w.without_ceil(n)) {
            // Padding that no window covers, and ceil_mode that adds no window.
            *w = tight;
        }
    }
    let groups = groups(&op);
    set_windows(&mut op, &windows, groups);
    let Some(w) = op.windowed_mut() else { return op };
    for v in [w.strides, w.dilations] {
        if v.as_ref().is_some_and(|v| v.iter().all(|&x| x == 1)) {
            *v = None;
        }
    }
    if w.pads.as_ref().is_some_and(|p| p.iter().all(|&p| p == 0)) {
        *w.pads = None;
    }
    if let Some(kernel) = w.kernel_shape {
        *kernel = None;
    }
    op
}

/// What runtimes, or ONNX's own shape inference, read differently in this window over `n` elements;
/// `None` if they agree.
pub(crate) fn disputed(op: &Op, w: &Window, n: i64) -> Option<&'static str> {
    let pool = op.windowed().filter(|w| w.is_pool());
    match op {
        Op::ConvTranspose(c) if c.auto_pad.starts_with("SAME") && c.output_shape.is_none() => {
            let odd = w.transposed_outputs(n) != n.checked_mul(w.stride) || w.output_padding != 0;
            odd.then_some("SAME padding with output_padding or strides beyond the kernel")
        }
        // Where auto_pad crops, ONNX's inference rounds up with ceil_mode.
        _ => (pool.is_some_and(|p| w.leaves_out(n) || w.crops() && p.ceil()))
            .then_some("whether ceil_mode keeps a window that starts in the padding"),
    }
}

/// What runtimes read differently in a node's windows, and the node's operator in a spelling that all
/// of them read alike, if there is one.
fn dispute(ctx: &OpCtx<'_>) -> Option<(&'static str, Option<Op>)> {
    let image = ctx.op.windowed()?.image;
    let windows = window::resolved(ctx).ok()??;
    let dims = ctx.dims(image)?.get(2..)?;
    let axis = |(w, d): (Window, &Dim)| Axis {
        window: w,
        extent: known(d),
        disputed: known(d).and_then(|n| disputed(ctx.op, &w, n)),
    };
    let axes: Vec<Axis> = windows.into_iter().zip(dims).map(axis).collect();
    let why = axes.iter().find_map(|a| a.disputed)?;
    Some((why, spelled_out(ctx, &axes)))
}

/// One spatial axis of a windowed node.
struct Axis {
    window: Window,
    extent: Option<i64>,
    disputed: Option<&'static str>,
}

/// The operator with windows in which nothing is disputed.
fn spelled_out(ctx: &OpCtx<'_>, axes: &[Axis]) -> Option<Op> {
    // No attribute can express what auto_pad crops.
    if axes.iter().any(|a| a.extent.is_none() || a.window.crops()) {
        return None;
    }
    let mut windows: Vec<Window> = axes.iter().map(|a| a.window).collect();
    if ctx.op.windowed()?.is_pool() {
        // Unless padding counts in an average, it can extend to the end of the last window.
        let counts = matches!(ctx.op, Op::AveragePool(a) if a.count_include_pad != 0);
        let longer = |w: &Window, n: i64| {
            let end = (w.outputs(n)? - 1) * w.stride - w.begin + w.extent() - n;
            // ONNX Runtime refuses pools that pad as much as their kernel.
            (!counts && end < w.kernel).then_some(Window { end, ceil: false, ..*w })
        };
        let plain = |a: &Axis| {
            let (w, n) = (&a.window, a.extent?);
            w.without_ceil(n).or_else(|| longer(w, n))
        };
        // Where other axes need ceil_mode: with padding that ends at the last window, no window is
        // left out.
        let kept = |a: &Axis| match a.disputed {
            None => Some(a.window),
            Some(_) => {
                let t = a.window.without_ceil(a.extent?)?;
                let rest = (a.extent? + t.begin + t.end - t.extent()) % t.stride;
                (rest == 0).then_some(Window { ceil: true, ..t })
            }
        };
        let all: Option<Vec<Window>> = axes.iter().map(plain).collect();
        windows = all.or_else(|| axes.iter().map(kept).collect())?;
    }
    let mut op = ctx.op.clone();
    let groups = groups(&op);
    set_windows(&mut op, &windows, groups);
    Some(op)
}

/// The node's operator in a spelling that all runtimes read alike, with what they read differently now;
/// `None` if they read it alike as it is, or there is no such spelling.
pub fn settled(ctx: &OpCtx<'_>) -> Option<(Op, &'static str)> {
    let (why, op) = dispute(ctx)?;
    Some((op?, why))
}

/// What runtimes, or ONNX's own shape inference, read differently in the node's windows where no
/// spelling settles it.
pub fn unsettled(ctx: &OpCtx<'_>) -> Option<&'static str> {
    let (why, op) = dispute(ctx)?;
    op.is_none().then_some(why)
}

/// Groups of channels of a windowed operator; 1 for all others.
pub(super) fn groups(op: &Op) -> i64 {
    op.windowed().map_or(1, |w| w.groups())
}

/// Guesses the operator of which `first` and `last` are the tiles at the first and the last position of
/// a grid: it has the begin pads of the one and the end pads of the other. The caller checks the guess by
/// tiling it again.
pub fn whole_of(first: &Op, last: &Op, groups: i64) -> Op {
    let mut op = first.clone();
    let same = first.name() == last.name() && first.domain() == last.domain();
    let (true, Some(a), Some(b)) = (same, first.windowed(), last.windowed()) else { return op };
    let (p, q) = (a.pads.unwrap_or_default(), b.pads.unwrap_or_default());
    let n = p.len().max(q.len()) / 2;
    let at = |v: &[i64], i: usize| v.get(i).copied().unwrap_or(0);
    let all: Vec<i64> = (0..n).map(|i| at(p, i)).chain((n..2 * n).map(|i| at(q, i))).collect();
    let spelled = a.pads.is_some() || all.iter().any(|&p| p != 0);
    let Some(w) = op.windowed_mut() else { return op };
    *w.pads = spelled.then_some(all);
    if let Some(group) = w.group {
        *group = groups;
    }
    if let Some(ceil) = w.ceil_mode {
        *ceil = (a.ceil() || b.ceil()).into();
    }
    if let (Op::ConvTranspose(c), Op::ConvTranspose(b)) = (&mut op, last) {
        c.output_padding = b.output_padding.clone();
    }
    op
}
