//! Windows: kernel, stride, dilation and padding along one spatial axis, and the spans that they need.
//! [`resolved`] reads them from a node.
//!
//! Sizes come from files and may be anything: arithmetic on them is checked for overflow.

mod resolve;
mod span;

pub use resolve::{operands, resolved, windows};
pub use span::Span;

/// A window along one spatial axis of a convolution, transposed convolution or pool, after
/// `auto_pad` has been resolved against the full tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Number of taps: the kernel's extent along this axis.
    pub kernel: i64,
    /// Distance of consecutive windows (if transposed: of the outputs of consecutive inputs).
    pub stride: i64,
    /// Distance of consecutive taps.
    pub dilation: i64,
    /// Padding before the first element (if transposed: outputs cut off there). Negative where `auto_pad`
    /// crops: elements that no window covers.
    pub begin: i64,
    /// Padding after the last element (if transposed: outputs cut off there); as above.
    pub end: i64,
    /// Whether a last window that ends beyond the padding is kept (`ceil_mode` of pools).
    pub ceil: bool,
    /// Outputs appended at the end (transposed convolutions only).
    pub output_padding: i64,
}

/// What a span of outputs needs along an input axis: elements, and padding for what is outside of the
/// axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowNeed {
    /// Elements of the input; empty if the windows lie entirely in the padding.
    pub span: Span,
    /// Amount of padding before the elements.
    pub begin: i64,
    /// Amount of padding after the elements.
    pub end: i64,
    /// Whether the last window reaches beyond the padding (pools with `ceil_mode`).
    pub ceil: bool,
}

impl Window {
    /// Elements from the first tap to the last: `dilation * (kernel - 1) + 1`.
    pub fn extent(&self) -> i64 {
        self.dilation * (self.kernel - 1) + 1
    }

    /// Whether the windows leave out elements at an end, as `auto_pad` may.
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

    /// Whether `ceil_mode` would add a last window over `n` inputs that is dropped, because it would start
    /// in the padding at the end. ONNX defines this since version 22. Runtimes drop the window in all
    /// versions, but their shape inference may count it.
    pub(crate) fn leaves_out(&self, n: i64) -> bool {
        let room = n + self.begin + self.end - self.extent();
        self.ceil && self.outputs(n).is_some_and(|o| o < -(-room).div_euclid(self.stride) + 1)
    }

    /// An equivalent window over `n` inputs without `ceil_mode`, if there is one.
    pub(crate) fn without_ceil(&self, n: i64) -> Option<Self> {
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

    /// What the outputs `out` need of an axis of `n` inputs. Exact for every kernel, stride, dilation and
    /// padding.
    pub fn need(&self, out: Span, n: i64) -> WindowNeed {
        let lo = out.lo * self.stride - self.begin;
        let reach = (out.hi - 1) * self.stride - self.begin + self.extent();
        // A window that ceil_mode keeps may end beyond the padding. Elements there are ignored.
        let hi = reach.min(n + self.end);
        let mut end = (hi - n).max(0);
        // At the end of the axis the padding stays as it is if that adds no window.
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

    /// The inputs, of `n` along an axis, that contribute to the outputs `out` of a transposed convolution,
    /// and the window that computes exactly these outputs from them: its padding cuts off the surplus at
    /// both ends.
    pub(crate) fn transposed_need(&self, out: Span, n: i64) -> (Span, Self) {
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
}
