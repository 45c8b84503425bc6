//! Relations of reshapes. Where a run of input axes and a run of output axes have the same number of
//! elements, the first axes of both runs correspond block by block.

use super::{Relation, Relations};
use crate::Dim;
use crate::infer::known;

/// Relations of the axes of `x`, reshaped to `out`. Axes inside a run cannot be cut.
pub(super) fn aligned(x: &[Dim], out: &[Dim], rel: &mut Relations) -> Vec<Relation> {
    let mut axes = vec![Relation::Whole; x.len()];
    let (mut i, mut o) = (0, 0);
    while i < x.len() || o < out.len() {
        let (i0, o0) = (i, o);
        // An axis of equal extent, or of the same symbolic extent, corresponds to itself, if all extents
        // before it matched.
        if i < x.len() && o < out.len() && x[i] == out[o] && !matches!(x[i], Dim::Unknown) {
            axes[i] = Relation::Same(o);
            (i, o) = (i + 1, o + 1);
            continue;
        }
        let (mut p, mut q) = (1i64, 1i64);
        let next = |d: &[Dim], at: &mut usize, product: &mut i64| -> bool {
            let Some(n) = d.get(*at).and_then(known) else { return false };
            *at += 1;
            *product = product.saturating_mul(n.max(1));
            true
        };
        let mut ok = true;
        while ok && (p != q || (i, o) == (i0, o0)) {
            ok = if p <= q && i < x.len() {
                next(x, &mut i, &mut p)
            } else if o < out.len() {
                next(out, &mut o, &mut q)
            } else if i < x.len() {
                next(x, &mut i, &mut p)
            } else {
                false
            };
        }
        // Unit axes at the end of a run belong to it.
        while p == q && i < x.len() && known(&x[i]) == Some(1) && x.get(i) != out.get(o) {
            i += 1;
        }
        while p == q && o < out.len() && known(&out[o]) == Some(1) && x.get(i) != out.get(o) {
            o += 1;
        }
        if !ok || p != q {
            // The remaining axes cannot be aligned, and must stay whole.
            for a in o0..out.len() {
                rel.barriers.push((a, "Reshape mixes this axis with others".to_owned()));
            }
            return axes;
        }
        run(x, out, (i0, i), (o0, o), &mut axes, rel);
    }
    axes
}

/// A run of input axes that holds the same elements as a run of output axes.
fn run(
    x: &[Dim],
    out: &[Dim],
    (i0, i1): (usize, usize),
    (o0, o1): (usize, usize),
    axes: &mut [Relation],
    rel: &mut Relations,
) {
    let first = |d: &[Dim], a: usize, b: usize| (a..b).find(|&k| known(&d[k]) != Some(1));
    let (Some(a), Some(b)) = (first(x, i0, i1), first(out, o0, o1)) else { return };
    let rest = |d: &[Dim], from: usize, to: usize| -> i64 {
        d[from..to].iter().filter_map(known).product()
    };
    let (inner, outer) = (rest(x, a + 1, i1), rest(out, b + 1, o1));
    axes[a] = if inner == outer {
        Relation::Same(b)
    } else if inner > outer && inner % outer == 0 {
        Relation::Block { out: b, outer: inner / outer, inner: 1, partial: false }
    } else if outer % inner == 0 {
        Relation::Block { out: b, outer: 1, inner: outer / inner, partial: false }
    } else {
        rel.barriers.push((b, "Reshape mixes this axis with others".to_owned()));
        Relation::Whole
    };
    for (o, d) in out.iter().enumerate().take(o1).skip(b + 1) {
        if known(d) != Some(1) {
            rel.barriers.push((o, "Reshape splits or merges this axis inside another".to_owned()));
        }
    }
}
