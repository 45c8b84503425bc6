//! Windows: kernel, stride, dilation and padding along one spatial axis, and where they come from.
//!
//! All arithmetic is over `i64` with checks, as sizes in files are anybody's.

use crate::op::Op;
use crate::rule::{Ctx, RuleError, fail};

/// A half-open range of indices along one axis.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Span {
    /// First index.
    pub lo: i64,
    /// One past the last index.
    pub hi: i64,
}

impl Span {
    /// `[lo, hi)`.
    pub fn new(lo: i64, hi: i64) -> Self {
        Self { lo, hi }
    }

    /// `[0, n)`.
    pub fn whole(n: i64) -> Self {
        Self { lo: 0, hi: n }
    }

    /// Number of indices; 0 if `hi <= lo`.
    pub fn len(self) -> i64 {
        (self.hi - self.lo).max(0)
    }

    /// Whether it holds no index.
    pub fn is_empty(self) -> bool {
        self.hi <= self.lo
    }

    /// The smallest span that contains both; an empty one counts for nothing.
    pub fn hull(self, other: Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => Self { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) },
        }
    }

    /// Whether `other` lies within.
    pub fn contains(self, other: Self) -> bool {
        other.is_empty() || (self.lo <= other.lo && other.hi <= self.hi)
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..{}", self.lo, self.hi)
    }
}

/// A window along one spatial axis of a convolution, transposed convolution or pool, after
/// `auto_pad` has been resolved against the full tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Number of taps.
    pub kernel: i64,
    /// Distance of neighbouring windows (of neighbouring inputs, if transposed).
    pub stride: i64,
    /// Distance of neighbouring taps.
    pub dilation: i64,
    /// Padding before the first element (if transposed: outputs cut off there). Below 0, where
    /// `auto_pad` crops, elements that no window sees.
    pub begin: i64,
    /// Padding after the last element (if transposed: outputs cut off there); as above.
    pub end: i64,
    /// Whether a last window that only starts inside is kept (pools).
    pub ceil: bool,
    /// Outputs added at the end (transposed only).
    pub output_padding: i64,
}

/// What a span of outputs needs of an input axis: elements, and the padding that stands in for
/// what lies outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowNeed {
    /// Elements of the input; empty if the windows lie entirely in the padding.
    pub span: Span,
    /// Padding before them.
    pub begin: i64,
    /// Padding after them.
    pub end: i64,
    /// Whether the last window reaches beyond the padding (pools with `ceil_mode`).
    pub ceil: bool,
}

impl Window {
    /// Elements from the first tap to the last: `dilation * (kernel - 1) + 1`.
    pub fn extent(&self) -> i64 {
        self.dilation * (self.kernel - 1) + 1
    }

    /// Whether `auto_pad` leaves out elements at an end.
    pub fn crops(&self) -> bool {
        self.begin < 0 || self.end < 0
    }

    /// Output extent for `n` inputs; `None` if no window fits or a size overflows.
    ///
    /// ONNX, operators Conv and MaxPool: `floor((n + pads - extent) / stride) + 1`, or `ceil` with
    /// the last window dropped if it would start in the padding at the end.
    pub fn outputs(&self, n: i64) -> Option<i64> {
        let room = n.checked_add(self.begin)?.checked_add(self.end)?.checked_sub(self.extent())?;
        if !self.ceil {
            return (room >= 0).then(|| room / self.stride + 1);
        }
        // A window may reach beyond the padding, but must start before it.
        let most = -(-room).div_euclid(self.stride) + 1;
        let inside = (n + self.begin - 1).div_euclid(self.stride) + 1;
        Some(most.min(inside)).filter(|&o| o >= 1)
    }

    /// Whether over `n` inputs a last window is left out because it would start in the padding at
    /// the end. The standard says so since version 22 only; runtimes compute so in all versions,
    /// but their shape inference may count that window.
    pub fn leaves_out(&self, n: i64) -> bool {
        let room = n + self.begin + self.end - self.extent();
        self.ceil && self.outputs(n).is_some_and(|o| o < -(-room).div_euclid(self.stride) + 1)
    }

    /// The window without `ceil_mode` that sees just the same of `n` inputs, if there is one.
    pub fn without_ceil(&self, n: i64) -> Option<Self> {
        let out = self.outputs(n)?;
        let reach = (out - 1) * self.stride - self.begin + self.extent();
        let tight = Self { end: (reach - n).max(0), ceil: false, ..*self };
        (tight.end <= self.end && tight.outputs(n) == Some(out)).then_some(tight)
    }

    /// Output extent of a transposed convolution for `n` inputs.
    pub fn transposed_outputs(&self, n: i64) -> Option<i64> {
        let full = self.stride.checked_mul(n.checked_sub(1)?)?.checked_add(self.extent())?;
        let out = full.checked_add(self.output_padding)?.checked_sub(self.begin)?;
        out.checked_sub(self.end).filter(|&o| n == 0 || o > 0)
    }

    /// What the outputs `out` need of an axis of `n` inputs: section 1 of the design. Exact for
    /// every kernel, stride, dilation and padding.
    pub fn need(&self, out: Span, n: i64) -> WindowNeed {
        let lo = out.lo * self.stride - self.begin;
        let reach = (out.hi - 1) * self.stride - self.begin + self.extent();
        // A window that ceil_mode keeps may reach beyond the padding; what is there is not padding.
        let hi = reach.min(n + self.end);
        let mut end = (hi - n).max(0);
        // Padding at the true border that no window reaches stays where it makes no difference.
        if !self.ceil && hi >= n && self.end - end < self.stride {
            end = self.end;
        }
        WindowNeed {
            span: Span::new(lo.clamp(0, n), hi.clamp(0, n)),
            begin: (-lo).max(0),
            end,
            ceil: reach > hi,
        }
    }

    /// What the outputs `out` of a transposed convolution need of an axis of `n` inputs, and the
    /// window that gives exactly these outputs from exactly those inputs: all contributing inputs,
    /// with the surplus at both ends cut off by the padding.
    pub fn transposed_need(&self, out: Span, n: i64) -> (Span, Self) {
        // In coordinates without padding, input i writes [i*s, i*s + extent).
        let (a, b) = (out.lo + self.begin, out.hi + self.begin);
        let first = (a - self.extent() + 1).div_euclid(self.stride)
            + i64::from((a - self.extent() + 1).rem_euclid(self.stride) != 0);
        // With gaps between the kernels the first contributing input may start after `a`.
        let lo = first.min(a.div_euclid(self.stride)).clamp(0, (n - 1).max(0));
        let hi = ((b - 1).div_euclid(self.stride) + 1).clamp(lo + 1, n.max(lo + 1));
        let written = (hi - 1) * self.stride + self.extent();
        let window = Self {
            begin: a - lo * self.stride,
            end: (written - b).max(0),
            output_padding: (b - written).max(0),
            ..*self
        };
        (Span::new(lo, hi), window)
    }
}

/// Windows of a convolution or pool over spatial axes of these extents; `None` where `auto_pad`
/// needs an extent that is unknown, or where runtimes and the standard read it differently.
/// `kernel` are the spatial extents of the weights, if it has weights.
///
/// # Errors
/// If attributes contradict each other or the operator's definition.
pub fn windows(
    op: &Op,
    spatial: &[Option<i64>],
    kernel: Option<&[Option<i64>]>,
) -> Result<Vec<Option<Window>>, RuleError> {
    let Some(a) = op.windowed() else { fail!("{} has no windows", op.name()) };
    let axes = spatial.len();
    let check = |name: &str, v: Option<&[i64]>, len: usize, least: i64| {
        if let Some(v) = v {
            if v.len() != len {
                fail!("{name} has {} entries for {axes} spatial axes", v.len());
            }
            if let Some(bad) = v.iter().find(|&&x| x < least || x > i64::from(i32::MAX)) {
                fail!("{name} contains {bad}, which is out of range");
            }
        }
        Ok(())
    };
    check("strides", a.strides, axes, 1)?;
    check("dilations", a.dilations, axes, 1)?;
    check("kernel_shape", a.kernel_shape, axes, 1)?;
    check("pads", a.pads, 2 * axes, 0)?;
    if let Some(k) = kernel
        && k.len() != axes
    {
        fail!("weights have {} spatial axes, the input {axes}", k.len());
    }
    let shape_len = |c: &crate::op::ConvTranspose| c.output_shape.as_ref().map_or(0, Vec::len);
    let transpose = match op {
        Op::ConvTranspose(c) => Some(c),
        _ => None,
    };
    if let Some(c) = transpose {
        check("output_padding", c.output_padding.as_deref(), axes, 0)?;
        if let Some(s) = &c.output_shape
            && s.len() != axes
            && s.len() != axes + 2
        {
            fail!("output_shape has {} entries for {axes} spatial axes", s.len());
        }
        check("output_shape", c.output_shape.as_deref(), shape_len(c), 0)?;
    }
    (0..axes)
        .map(|i| {
            let weights = kernel.and_then(|k| k[i]);
            let k = match (a.kernel_shape.map(|k| k[i]), weights) {
                (Some(k), Some(w)) if k != w => {
                    fail!("kernel_shape says {k} on spatial axis {i}, the weights have {w}")
                }
                (Some(k), _) | (None, Some(k)) => k,
                (None, None) => return Ok(None),
            };
            let mut w = Window {
                kernel: k,
                stride: a.strides.map_or(1, |s| s[i]),
                dilation: a.dilations.map_or(1, |d| d[i]),
                begin: a.pads.map_or(0, |p| p[i]),
                end: a.pads.map_or(0, |p| p[axes + i]),
                ceil: a.ceil(),
                output_padding: 0,
            };
            if k.checked_mul(w.dilation).is_none() || k < 1 {
                fail!("kernel of {k} on spatial axis {i}");
            }
            let n = spatial[i];
            match transpose {
                Some(c) => return transposed(w, c, i, axes, n),
                None => match a.auto_pad {
                    "NOTSET" | "" => {}
                    "VALID" => (w.begin, w.end) = (0, 0),
                    "SAME_UPPER" | "SAME_LOWER" => {
                        let Some(n) = n else { return Ok(None) };
                        let out = n / w.stride + i64::from(n % w.stride != 0);
                        let mut total = (out - 1) * w.stride + w.extent() - n;
                        match op {
                            // ONNX Runtime leaves dilations out of the padding.
                            _ if a.is_pool() && w.extent() > w.kernel => return Ok(None),
                            // With strides beyond the kernel the standard's formula is negative.
                            // ONNX Runtime crops so in these pools, refuses to in MaxPool (the
                            // reference evaluator rounds otherwise), and never crops elsewhere.
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
                    other => fail!("auto_pad is {other:?}"),
                },
            }
            Ok(Some(w))
        })
        .collect()
}

/// The window with the padding of a transposed convolution (ONNX, operator ConvTranspose); `None` if
/// that depends on an extent that is unknown.
fn transposed(
    mut w: Window,
    c: &crate::op::ConvTranspose,
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
        (other, None) => fail!("auto_pad is {other:?}"),
    };
    let (Some(target), Some(n)) = (target, n) else { return Ok(None) };
    let full = w.stride.checked_mul(n - 1).and_then(|x| x.checked_add(w.extent()));
    let Some(total) = full.and_then(|f| f.checked_add(w.output_padding)?.checked_sub(target))
    else {
        fail!("output size overflows");
    };
    // A shape larger than what is written is filled at the end, as runtimes do. SAME alone fills
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

/// Windows of the node, all of them resolved; `None` as in [`windows`].
///
/// # Errors
/// As [`windows`].
pub fn resolved(ctx: &Ctx<'_>) -> Result<Option<Vec<Window>>, RuleError> {
    let (x, w) = operands(ctx.op);
    let known = |dims: &[crate::Dim]| -> Vec<Option<i64>> {
        dims.iter().map(|d| d.known().and_then(|n| i64::try_from(n).ok())).collect()
    };
    let Some(x) = ctx.dims(x) else { return Ok(None) };
    if x.len() < 3 {
        fail!("{} needs at least one spatial axis, its input has rank {}", ctx.op.name(), x.len());
    }
    let spatial = known(&x[2..]);
    let kernel = match w.and_then(|w| ctx.dims(w)) {
        Some(w) if w.len() != x.len() => {
            fail!("weights have rank {}, the input rank {}", w.len(), x.len())
        }
        Some(w) => Some(known(&w[2..])),
        None => None,
    };
    let all = windows(ctx.op, &spatial, kernel.as_deref())?;
    Ok(all.into_iter().collect())
}

/// Operand indices of the image and, if there are any, the weights of a windowed operator.
pub fn operands(op: &Op) -> (usize, Option<usize>) {
    op.windowed().map_or((0, None), |w| (w.image, w.weights))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn w(kernel: i64, stride: i64, dilation: i64, begin: i64, end: i64) -> Window {
        Window { kernel, stride, dilation, begin, end, ceil: false, output_padding: 0 }
    }

    /// Counts windows one by one.
    fn brute(w: &Window, n: i64) -> i64 {
        (0..).take_while(|o| o * w.stride + w.extent() <= n + w.begin + w.end).count() as i64
    }

    #[test]
    fn extents_agree_with_counting() {
        for (k, s, d, b, e) in [(3, 1, 1, 0, 0), (3, 2, 1, 1, 1), (5, 3, 2, 2, 0), (1, 3, 1, 0, 4)]
        {
            for n in 9..30 {
                let w = w(k, s, d, b, e);
                assert_eq!(w.outputs(n), Some(brute(&w, n)), "{w:?} over {n}");
            }
        }
    }

    #[test]
    fn the_rule_of_thumb_about_borders_is_wrong() {
        // 7 taps, padding 3, tiles of 2 rows: the second tile touches no border and still pads.
        let n = w(7, 1, 1, 3, 3).need(Span::new(2, 4), 16);
        assert_eq!((n.span, n.begin, n.end), (Span::new(0, 7), 1, 0));
    }

    #[test]
    fn windows_in_the_padding_need_nothing() {
        let n = w(1, 1, 1, 4, 0).need(Span::new(0, 2), 5);
        assert!(n.span.is_empty());
        assert_eq!(n.begin, 4);
    }

    #[test]
    fn transposed_tiles_give_exactly_their_outputs() {
        for (k, s, d, b, e, op) in [
            (3, 2, 1, 1, 1, 1),
            (2, 2, 1, 0, 0, 0),
            (4, 2, 1, 1, 1, 0),
            (2, 4, 1, 1, 0, 1),
            (3, 1, 2, 2, 0, 0),
        ] {
            let w = Window { output_padding: op, ..w(k, s, d, b, e) };
            let n = 7;
            let out = w.transposed_outputs(n).unwrap();
            for lo in 0..out {
                for hi in lo + 1..=out {
                    let (span, t) = w.transposed_need(Span::new(lo, hi), n);
                    assert!(t.begin >= 0 && t.end >= 0 && t.output_padding >= 0, "{t:?}");
                    assert_eq!(t.transposed_outputs(span.len()), Some(hi - lo), "{w:?} {lo}..{hi}");
                    // Every contributing input is inside.
                    for i in 0..n {
                        let writes = i * s - b..i * s - b + w.extent();
                        let taps = writes.step_by(d as usize);
                        if taps.into_iter().any(|o| lo <= o && o < hi) {
                            assert!(span.lo <= i && i < span.hi, "{w:?} {lo}..{hi} misses {i}");
                        }
                    }
                }
            }
        }
    }

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
    fn windows_that_are_left_out_can_be_spelled_without_ceil() {
        let mut left_out = 0;
        for (k, s, b, e) in (1..4).flat_map(|k| {
            (1..4).flat_map(move |s| (0..k).flat_map(move |b| (0..k).map(move |e| (k, s, b, e))))
        }) {
            for n in 1..12 {
                let w = Window { ceil: true, ..w(k, s, 1, b, e) };
                if n + b + e < k || !w.leaves_out(n) {
                    continue;
                }
                left_out += 1;
                let plain = w.without_ceil(n).unwrap();
                assert_eq!((plain.outputs(n), plain.ceil), (w.outputs(n), false), "{w:?} {n}");
                assert!(plain.end <= w.end);
            }
        }
        assert!(left_out > 50, "{left_out}");
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
