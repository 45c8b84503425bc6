//! Guesses which part of the original a term of the candidate is. A guess may be wrong: a rule has to
//! show it.

use graph_opt_ir::op::Op;
use graph_opt_ir::region::{self, Region, Relation};
use graph_opt_ir::tensor::Data;
use graph_opt_ir::{Dim, Span, Tensor};

use super::egraph::Classes;
use super::rules::as_part;
use super::terms::{Apply, Head, TermId, Terms, compose};

/// Values of the original that the term may be a part of, with the part.
pub(crate) fn guesses(terms: &Terms, classes: &Classes, t: TermId) -> Vec<(TermId, Region)> {
    if let Head::Slice(crop) = &terms.get(t).head {
        // More was computed than is used.
        let inner = guesses_of(terms, classes, terms.get(t).children[0]);
        return inner.into_iter().map(|(y, r)| (y, compose(&r, crop))).collect();
    }
    let inner = guesses_of(terms, classes, t);
    inner.into_iter().filter(|(y, r)| is_inside(terms, *y, r)).collect()
}

fn is_inside(terms: &Terms, y: TermId, r: &Region) -> bool {
    let inside = |(axis, s): (usize, Span)| {
        terms.extent(y, axis).is_some_and(|n| Span::whole(n).contains(s))
    };
    r.iter().enumerate().filter_map(|(a, r)| r.map(|s| (a, s))).all(inside)
}

fn guesses_of(terms: &Terms, classes: &Classes, t: TermId) -> Vec<(TermId, Region)> {
    let Head::Apply(a) = &terms.get(t).head else { return Vec::new() };
    let joins = matches!(&*a.op, Op::Concat(_));
    let mut found = Vec::new();
    let mut seen = Vec::new();
    for (i, x) in terms.operands(t).into_iter().enumerate() {
        let Some(x) = x else { continue };
        for (base, _) in classes.parts(terms, x) {
            for &(y, j) in &classes.data(classes.class(base)).readers {
                let Head::Apply(b) = &terms.get(y).head else { continue };
                let alike = b.op.name() == a.op.name() && b.output == a.output;
                if !alike || (i != j && !joins) || seen.contains(&y) {
                    continue;
                }
                seen.push(y);
                if let Some(r) = region_of(terms, classes, (t, a), (y, i, j)) {
                    found.push((y, r));
                }
            }
        }
    }
    found
}

/// The part of `y` that `t` would be, from where its operands begin; operand `i` of `t` is a part
/// of operand `j` of `y`.
fn region_of(
    terms: &Terms,
    classes: &Classes,
    (t, a): (TermId, &Apply),
    (y, i, j): (TermId, usize, usize),
) -> Option<Region> {
    let (mine, whole) = (terms.ty(t).dims()?, terms.ty(y).dims()?);
    if mine.len() != whole.len() {
        return None;
    }
    let of_t = region::relations(&terms.ctx_of(t)?, a.output).ok()?;
    let of_y = region::relations(&terms.ctx_of(y)?, a.output).ok()?;
    let (operands, wholes) = (terms.operands(t), terms.operands(y));
    let pairs: Vec<(usize, usize)> = match &*a.op {
        Op::Concat(_) => vec![(i, j)],
        _ => (0..operands.len()).map(|k| (k, k)).collect(),
    };
    let mut begin: Vec<Option<i64>> = vec![None; mine.len()];
    for (p, q) in pairs {
        let (Some(x), Some(base)) = (operands[p], wholes.get(q).copied().flatten()) else {
            continue;
        };
        let (Some(rt), Some(ry)) = (of_t.operands.get(p), of_y.operands.get(q)) else { continue };
        if ry.is_empty() || rt.len() != ry.len() {
            continue;
        }
        let part = part_of(terms, classes, x, base)?;
        for (k, (mine, theirs)) in rt.iter().zip(ry).enumerate() {
            let lo = part[k].map_or(0, |s| s.lo);
            let Some((out, at)) = start(lo, part[k].is_some(), mine, theirs)? else { continue };
            if begin[out].replace(at).is_some_and(|old| old != at) {
                return None;
            }
        }
    }
    // Where an extent is symbolic, the axis is not cut.
    let one = |((m, n), b): ((&Dim, &Dim), &Option<i64>)| match (m.known(), n.known(), b) {
        (Some(m), Some(n), _) if m == n => Some(None),
        (Some(m), Some(_), Some(b)) => Some(Some(Span::new(*b, b + m as i64))),
        (Some(_), Some(_), None) => None,
        _ => Some(None),
    };
    mine.iter().zip(whole).zip(&begin).map(one).collect()
}

/// Where along an output axis a tile begins whose operand begins at `lo`: nothing, if the relation
/// does not say; `None`, if it cannot be.
fn start(lo: i64, cut: bool, mine: &Relation, theirs: &Relation) -> Option<Option<(usize, i64)>> {
    let exact = |n: i64, by: i64| (n % by == 0).then_some(n / by);
    Some(match (theirs, mine) {
        (Relation::Same(o), _) => Some((*o, lo)),
        (Relation::Window(o, w), Relation::Window(_, v)) => {
            Some((*o, exact(lo - v.begin + w.begin, w.stride)?))
        }
        (Relation::Transposed(o, w), Relation::Transposed(_, v)) => {
            Some((*o, lo * w.stride - w.begin + v.begin))
        }
        (Relation::Block { out, outer, inner, .. }, _) if cut => {
            Some((*out, exact(lo, *inner)? * outer))
        }
        (Relation::Affine { out, start, step }, Relation::Affine { start: mine, .. }) => {
            Some((*out, exact(lo + mine - start, *step)?))
        }
        (Relation::Scaled { out, factor, .. }, _) => Some((*out, lo * factor)),
        _ => None,
    })
}

/// The operand as a part of another one.
fn part_of(terms: &Terms, classes: &Classes, x: TermId, base: TermId) -> Option<Region> {
    if let (Some(part), Some(whole)) = (terms.value(x), terms.value(base)) {
        return constant_part(whole, part);
    }
    let mut all = classes.parts(terms, x);
    all.extend(as_part(terms, x));
    let found = all.into_iter().find(|(y, _)| classes.are_equal(*y, base));
    found.map(|(_, r)| r)
}

/// Where a constant stands in a larger one that has the same extents but along one axis; the first
/// place, if there are several.
fn constant_part(whole: &Tensor, part: &Tensor) -> Option<Region> {
    let (n, m) = (whole.dims(), part.dims());
    if n.len() != m.len() || whole.dtype() != part.dtype() {
        return None;
    }
    let cut: Vec<usize> = (0..n.len()).filter(|&a| n[a] != m[a]).collect();
    let &[axis] = &cut[..] else {
        return (cut.is_empty() && whole.digest() == part.digest()).then(|| vec![None; n.len()]);
    };
    let bits = whole.dtype().bits();
    if !bits.is_multiple_of(8) || m[axis] > n[axis] {
        return None;
    }
    let row = n[axis + 1..].iter().product::<u64>() as usize * bits / 8;
    let rows: usize = n[..axis].iter().product::<u64>() as usize;
    let region = |lo: u64| {
        let mut region = vec![None; n.len()];
        region[axis] = Some(Span::new(lo as i64, (lo + m[axis]) as i64));
        region
    };
    // A stretch of the whole's file needs not be read.
    if let (
        Data::External { path: p, offset: from, .. },
        Data::External { path: q, offset: to, .. },
    ) = (whole.data(), part.data())
        && rows == 1
        && row > 0
        && p == q
        && let Some(apart) = to.checked_sub(*from)
        && apart.is_multiple_of(row as u64)
        && apart / row as u64 <= n[axis] - m[axis]
    {
        return Some(region(apart / row as u64));
    }
    let (a, b) = (whole.bytes().ok()?, part.bytes().ok()?);
    let (long, short) = (n[axis] as usize * row, m[axis] as usize * row);
    let fits = |lo: usize| {
        (0..rows).all(|r| {
            let from = r * long + lo * row;
            a[from..from + short] == b[r * short..(r + 1) * short]
        })
    };
    (0..=(n[axis] - m[axis]) as usize).find(|&lo| fits(lo)).map(|lo| region(lo as u64))
}
