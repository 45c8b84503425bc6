//! The spans of a group's values that each part of a grid needs, along one axis of the grid.
//!
//! Windows, pads and the rest of the region algebra keep axes apart, so a grid is the product of
//! its axes: what tile `(i, j)` needs of a value is the span of part `i` along one axis times the
//! span of part `j` along the other. This file finds the spans of one axis, walking a group's
//! relations back from its outputs (Alwani et al., "Fused-layer CNN accelerators", MICRO 2016,
//! call the recurrence the pyramid); the tiles are built, and counted, as products of them.

use graph_opt_ir::region::{Barrier, Region};
use graph_opt_ir::{NodeId, Span, ValueId};

use super::group::{GroupValue, Reads, Table};

/// What happens to overlaps of tiles along one axis.
#[derive(Clone, Copy, Debug)]
pub(super) enum Overlap<'a> {
    /// Every part computes all that it needs.
    Recompute,
    /// Every part keeps what the next one needs, too.
    Keep,
    /// Both neighbours, which are parts of the given axis, ran before and handed over what they
    /// computed.
    Between(&'a Axis),
    /// Every part computes its share of every value, and hands both neighbours what they need of it.
    Exchange,
}

/// The parts of one value along one axis of a grid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Strips {
    /// Axis of the value that the parts lie along.
    pub axis: usize,
    /// The span that each part needs, the hull over its readers; empty if none.
    pub need: Vec<Span>,
    /// The part of `need` that is computed; the rest is taken over from neighbours.
    pub computed: Vec<Span>,
    /// For an output of the group, the spans that parts contribute; together they cover the whole.
    pub share: Vec<Span>,
}

/// The parts of all values of a group along one axis of a grid, by their number in the table.
#[derive(Clone, Debug, Default)]
pub(super) struct Axis {
    pub parts: usize,
    pub values: Vec<Parts>,
    pub lengths: Vec<Lengths>,
    /// Index of the part that needs the most elements along the axis, over all values.
    pub largest: usize,
}

/// Elements of a value along the axis, summed over the parts at even and at odd positions. A value that
/// every part needs whole counts once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lengths {
    pub need: [u64; 2],
    pub computed: [u64; 2],
    /// Maximum number of elements that one part takes over.
    pub taken: u64,
}

/// The parts of a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Parts {
    /// No part needs it.
    Unread,
    /// Every part needs all of it.
    Whole,
    /// Each part needs a span.
    Strips(Strips),
}

impl Axis {
    fn measure(&mut self) {
        let mut sums = vec![0; self.parts];
        self.lengths = vec![Lengths::default(); self.values.len()];
        for (parts, l) in self.values.iter().zip(&mut self.lengths) {
            match parts {
                Parts::Unread => {}
                Parts::Whole => (l.need, l.computed) = ([1, 0], [1, 0]),
                Parts::Strips(s) => {
                    for (i, (need, computed)) in s.need.iter().zip(&s.computed).enumerate() {
                        let (n, f) = (need.len().max(0) as u64, computed.len().max(0) as u64);
                        l.need[i % 2] += n;
                        l.computed[i % 2] += f;
                        l.taken = l.taken.max(n.saturating_sub(f));
                        sums[i] += n;
                    }
                }
            }
        }
        self.largest = (0..self.parts).max_by_key(|&i| sums[i]).unwrap_or(0);
    }

    /// The spans of a value, if parts need less than the whole.
    pub fn get(&self, id: usize) -> Option<&Strips> {
        match self.values.get(id) {
            Some(Parts::Strips(s)) => Some(s),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Need {
    Nothing,
    Part(usize, Span),
    Whole,
}

const EMPTY: Span = Span { lo: 0, hi: 0 };

/// Where further outputs of a group are cut if no reader in the group determines it.
pub(super) type DefaultSplit<'a> = &'a dyn Fn(&GroupValue, usize) -> Result<Vec<Span>, Barrier>;

/// The spans of a group's values if its last output is cut along `axis` into `parts`.
///
/// # Errors
/// With the node and the reason, if a part cannot be computed exactly.
pub(super) fn along(
    table: &Table,
    outputs: &[ValueId],
    axis: usize,
    parts: &[Span],
    overlap: Overlap<'_>,
    even: DefaultSplit<'_>,
) -> Result<Axis, (NodeId, Barrier)> {
    let count = parts.len();
    let mut wants: Vec<Option<Vec<Need>>> = vec![None; table.count];
    let values = vec![Parts::Unread; table.count];
    let mut out = Axis { parts: count, values, ..Axis::default() };
    let divided = outputs.last().copied();
    for step in table.steps.iter().rev() {
        // First those that the grid or a reader divides.
        let mut results: Vec<&GroupValue> = step.results.iter().rev().collect();
        results.sort_by_key(|m| wants[m.id].is_none() && Some(m.value) != divided);
        for made in results {
            let fail = |b: Barrier| (step.node, b);
            let want = wants[made.id].take().unwrap_or_else(|| vec![Need::Nothing; count]);
            let own = if Some(made.value) == divided {
                Own::Parts(axis, parts.to_vec())
            } else if outputs.contains(&made.value) {
                match beside(made, &want, overlap, &out) {
                    None => shares(made, axis, &want, overlap, even).map_err(fail)?,
                    Some((axis, spans)) => Own::Parts(axis, spans),
                }
            } else {
                Own::Nothing
            };
            let strips = match own {
                Own::Nothing if want.iter().all(|w| *w == Need::Nothing) => continue,
                Own::Nothing => strips(&want, None, overlap, made).map_err(fail)?,
                Own::Parts(axis, spans) => {
                    strips(&want, Some((axis, spans)), overlap, made).map_err(fail)?
                }
                Own::Whole => None,
            };
            let reads = made.reads.as_ref().map_err(|b| fail(b.clone()))?;
            let mut region: Region = vec![None; made.extents.len()];
            for i in 0..count {
                if let Some(s) = &strips {
                    if s.computed[i].is_empty() {
                        continue;
                    }
                    region[s.axis] = Some(s.computed[i]);
                    let cut = made.extents[s.axis] != Some(s.computed[i].len());
                    let barrier = made.barriers.iter().find(|b| cut && b.0 == s.axis);
                    if let Some((_, why)) = barrier {
                        return Err(fail(Barrier(why.clone())));
                    }
                }
                for r in reads {
                    let slot = wants[r.id].get_or_insert_with(|| vec![Need::Nothing; count]);
                    slot[i] = join(slot[i], r, &region).map_err(fail)?;
                }
            }
            out.values[made.id] = strips.map_or(Parts::Whole, Parts::Strips);
        }
    }
    out.measure();
    Ok(out)
}

/// The hull of a need and what a region of a reader's result needs.
fn join(have: Need, read: &Reads, region: &Region) -> Result<Need, Barrier> {
    let mut part = None;
    for (a, (relation, &n)) in read.axes.iter().zip(&read.extents).enumerate() {
        let Some(span) = relation.need(region, n)? else { continue };
        if part.replace((a, span)).is_some() {
            return Err(Barrier("one axis of the grid becomes two axes here".into()));
        }
    }
    let Some((axis, span)) = part else { return Ok(Need::Whole) };
    Ok(match have {
        _ if span.is_empty() => have,
        Need::Nothing => Need::Part(axis, span),
        Need::Part(a, s) if a == axis => Need::Part(a, s.hull(span)),
        _ => Need::Whole,
    })
}

/// The spans that parts contribute of a result beside another one that the group gives, too: both come from
/// the same part of an operand.
fn beside(
    made: &GroupValue,
    want: &[Need],
    overlap: Overlap<'_>,
    done: &Axis,
) -> Option<(usize, Vec<Span>)> {
    if matches!(overlap, Overlap::Between(_)) || want.contains(&Need::Whole) {
        return None;
    }
    made.siblings.iter().find_map(|(id, axes)| {
        let strips = done.get(*id)?;
        let &(_, own) = axes.iter().find(|(theirs, _)| *theirs == strips.axis)?;
        let all = if strips.share.is_empty() { &strips.need } else { &strips.share };
        let (first, last) = (all.first()?, all.last()?);
        let whole = first.lo == 0 && Some(last.hi) == made.extents[own];
        let apart = all.windows(2).all(|w| w[0].hi == w[1].lo) && all.iter().all(|s| !s.is_empty());
        (whole && apart).then(|| (own, all.clone()))
    })
}

/// What parts contribute to an output of the group.
enum Own {
    /// It is no output.
    Nothing,
    /// A span each, along this axis.
    Parts(usize, Vec<Span>),
    /// It is computed once for all.
    Whole,
}

/// What parts contribute to a further output of the group. One that no reader in the group divides is cut
/// along the same axis as the last; if that cannot be, it is computed once.
fn shares(
    made: &GroupValue,
    axis: usize,
    want: &[Need],
    overlap: Overlap<'_>,
    even: DefaultSplit<'_>,
) -> Result<Own, Barrier> {
    if let Overlap::Between(other) = overlap {
        return Ok(match other.values.get(made.id) {
            Some(Parts::Strips(s)) => Own::Parts(s.axis, s.share.clone()),
            Some(Parts::Whole) => Own::Whole,
            _ => Own::Nothing,
        });
    }
    if want.contains(&Need::Whole) {
        return Ok(Own::Whole);
    }
    let evenly = || match even(made, want.len()) {
        Ok(spans) if divides(made, axis, &spans) => Own::Parts(axis, spans),
        _ => Own::Whole,
    };
    let parts: Vec<(usize, Span)> = want
        .iter()
        .filter_map(|w| if let Need::Part(a, s) = w { Some((*a, *s)) } else { None })
        .collect();
    let one_axis = parts.windows(2).all(|w| w[0].0 == w[1].0);
    if parts.len() < want.len() || !one_axis {
        return Ok(evenly());
    }
    let a = parts[0].0;
    let Some(n) = made.extents[a] else { return Err(Barrier("an extent is unknown".into())) };
    let mut cuts = vec![0];
    for w in parts.windows(2) {
        let (s, t) = (w[0].1, w[1].1);
        // With kept rows a part contributes all new rows; otherwise overlaps are split in the middle.
        let cut = match overlap {
            Overlap::Keep => s.hi,
            _ if t.lo < s.hi => (t.lo + s.hi).div_euclid(2),
            _ => t.lo,
        };
        cuts.push(cut.clamp(cuts[cuts.len() - 1], n));
    }
    cuts.push(n);
    if cuts.windows(2).any(|c| c[0] >= c[1]) {
        return Ok(evenly());
    }
    Ok(Own::Parts(a, cuts.windows(2).map(|c| Span::new(c[0], c[1])).collect()))
}

/// Whether the result can be cut into these parts, as far as the relations to its operands say.
fn divides(made: &GroupValue, axis: usize, spans: &[Span]) -> bool {
    let Ok(reads) = &made.reads else { return false };
    let mut region: Region = vec![None; made.extents.len()];
    made.barriers.iter().all(|b| b.0 != axis)
        && spans.iter().all(|s| {
            region[axis] = Some(*s);
            reads.iter().all(|r| {
                r.axes.iter().zip(&r.extents).all(|(rel, &n)| rel.need(&region, n).is_ok())
            })
        })
}

/// What each part needs and computes of a value; `None` if every part needs all of it.
fn strips(
    want: &[Need],
    own: Option<(usize, Vec<Span>)>,
    overlap: Overlap<'_>,
    made: &GroupValue,
) -> Result<Option<Strips>, Barrier> {
    let part = want.iter().find_map(|w| if let Need::Part(a, _) = w { Some(*a) } else { None });
    let axis = match (&own, part) {
        _ if want.contains(&Need::Whole) => return Ok(None),
        (Some((a, _)), Some(b)) if *a != b => return Ok(None),
        (Some((a, _)), _) => *a,
        (None, Some(a)) => a,
        (None, None) => return Ok(None),
    };
    let mut need = Vec::with_capacity(want.len());
    for (i, w) in want.iter().enumerate() {
        let mut s = match *w {
            Need::Part(a, _) if a != axis => return Ok(None),
            Need::Part(_, s) => s,
            _ => EMPTY,
        };
        if let Some((_, own)) = &own {
            s = if s.is_empty() { own[i] } else { s.hull(own[i]) };
        }
        need.push(s);
    }
    // What every part needs whole is computed once for all.
    if own.is_none() && need.iter().all(|s| Some(s.len()) == made.extents[axis]) {
        return Ok(None);
    }
    let computed = match overlap {
        Overlap::Recompute => need.clone(),
        Overlap::Keep => {
            let mut covered = i64::MIN;
            let mut computed = Vec::with_capacity(need.len());
            for (i, s) in need.iter().enumerate() {
                if s.is_empty() {
                    computed.push(EMPTY);
                    continue;
                }
                let before = i.checked_sub(1).map(|p| need[p]);
                let lo = s.lo.max(covered.min(s.hi));
                // What is kept comes from the part before, which must have it.
                if lo > s.lo && before.is_none_or(|b| b.lo > s.lo || b.hi < lo) {
                    return Err(Barrier("a part would need more than the one before kept".into()));
                }
                computed.push(Span::new(lo, s.hi));
                covered = covered.max(s.hi);
            }
            computed
        }
        Overlap::Exchange => exchanged(&need, own.as_ref().map(|o| &o.1[..]))?,
        Overlap::Between(other) => {
            let Some(o) = other.get(made.id) else { return Ok(None) };
            let near = |i: Option<usize>| i.and_then(|i| o.need.get(i)).filter(|s| !s.is_empty());
            let all: Vec<&Span> = o.need.iter().filter(|s| !s.is_empty()).collect();
            if all.windows(2).any(|w| w[0].lo > w[1].lo || w[0].hi > w[1].hi) {
                return Err(Barrier("parts need the same elements in another order".into()));
            }
            need.iter()
                .enumerate()
                .map(|(i, s)| {
                    if s.is_empty() {
                        return EMPTY;
                    }
                    let lo = near(i.checked_sub(1)).map_or(s.lo, |b| b.hi.clamp(s.lo, s.hi));
                    let hi = near(Some(i + 1)).map_or(s.hi, |a| a.lo.clamp(s.lo, s.hi));
                    Span::new(lo, hi.max(lo))
                })
                .collect()
        }
    };
    let share = own.map_or_else(Vec::new, |o| o.1);
    Ok(Some(Strips { axis, need, computed, share }))
}

/// Shares of a value that together cover all needs: those of an output, or up to the middle of what two
/// neighbours need.
fn exchanged(need: &[Span], own: Option<&[Span]>) -> Result<Vec<Span>, Barrier> {
    let mut computed = own.map_or_else(|| need.to_vec(), <[Span]>::to_vec);
    if own.is_none() {
        for i in 1..need.len() {
            let (a, b) = (need[i - 1], need[i]);
            if a.is_empty() || b.is_empty() || b.lo >= a.hi {
                continue;
            }
            let cut = (b.lo + a.hi).div_euclid(2);
            if cut < computed[i - 1].lo || cut > b.hi {
                return Err(Barrier("parts need the same elements in another order".into()));
            }
            (computed[i - 1].hi, computed[i].lo) = (cut, cut);
        }
    }
    for (i, n) in need.iter().enumerate().filter(|(_, n)| !n.is_empty()) {
        let near = |j: Option<usize>| j.and_then(|j| computed.get(j)).filter(|s| !s.is_empty());
        let before = near(i.checked_sub(1)).map_or(computed[i].lo, |s| s.lo);
        let after = near(Some(i + 1)).map_or(computed[i].hi, |s| s.hi);
        if n.lo < before || n.hi > after || computed[i].is_empty() {
            return Err(Barrier("a part would need more than its neighbours have".into()));
        }
    }
    Ok(computed)
}
