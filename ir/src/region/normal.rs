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
    if windows.iter().any(|w| w.begin < 0 || w.end < 0) {
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

/// The node's operator in a spelling that all runtimes read alike, with what they read differently;
/// `None` if it is read alike as it is.
pub fn settled(ctx: &Ctx<'_>) -> Option<(Op, &'static str)> {
    let mut windows = window::resolved(ctx).ok()??;
    let (x, _) = window::operands(ctx.op);
    let dims = ctx.dims(x)?.get(2..)?;
    let n: Vec<i64> = dims.iter().map(known).collect::<Option<_>>()?;
    let why = match ctx.op {
        Op::ConvTranspose(c) if c.auto_pad.starts_with("SAME") && c.output_shape.is_none() => {
            let fewer =
                |(w, n): (&Window, &i64)| w.transposed_outputs(*n) != n.checked_mul(w.stride);
            windows
                .iter()
                .zip(&n)
                .any(fewer)
                .then_some("SAME padding of strides beyond the kernel")?
        }
        Op::MaxPool(_) | Op::AveragePool(_) | Op::LpPool(_) => {
            windows.iter().zip(&n).any(|(w, &n)| w.leaves_out(n)).then_some(())?;
            // Elsewhere padding counts nothing, so that it can reach as far as the last window.
            let counts = matches!(ctx.op, Op::AveragePool(a) if a.count_include_pad != 0);
            let longer = |w: &Window, n: i64| {
                let end = (w.outputs(n)? - 1) * w.stride - w.begin + w.extent() - n;
                (!counts).then_some(Window { end, ceil: false, ..*w })
            };
            let spelled = |(w, &n): (&Window, &i64)| w.without_ceil(n).or_else(|| longer(w, n));
            windows = windows.iter().zip(&n).map(spelled).collect::<Option<_>>()?;
            "whether ceil_mode keeps a window that starts in the padding"
        }
        _ => return None,
    };
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
