//! The rewrite rules, each a function from a left side to a right side. They are few because rule
//! `part-of-result` asks the operator's region rule how a part of a result is computed.

use std::sync::Arc;

use graph_opt_ir::op::Op;
use graph_opt_ir::op_context::axis_of;
use graph_opt_ir::region::{self, Need, Region, Relation};
use graph_opt_ir::{Span, Tensor, Type, op};

use super::terms::{Apply, Head, TermId, Terms};
use crate::tile::slices::join_tensors;

/// A rewrite rule on terms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Rule {
    /// A part of a part is a part.
    PartOfPart,
    /// A part of what an operator computes is the operator over parts of its operands, as its
    /// region rule says.
    PartOfResult,
    /// A Concat of neighbouring parts is a part.
    JoinedParts,
    /// A Concat of an operator over neighbouring parts is the operator over the whole.
    WholeOfTiles,
    /// A Concat of Concats along the same axis is one.
    FlatConcat,
    /// A sum of results over parts of a contraction is the result over the whole.
    SumOfParts,
}

/// The description of a rule.
pub struct Row {
    /// The rule that is described.
    pub rule: Rule,
    /// Name of the rule in certificates and documentation.
    pub name: &'static str,
    /// The equation, left side = right side.
    pub says: &'static str,
    /// Whether rounding may differ between the sides.
    pub reassociates: bool,
}

/// Descriptions of all rules.
pub const TABLE: &[Row] = &[
    row(Rule::PartOfPart),
    row(Rule::PartOfResult),
    row(Rule::JoinedParts),
    row(Rule::WholeOfTiles),
    row(Rule::FlatConcat),
    row(Rule::SumOfParts),
];

const fn row(rule: Rule) -> Row {
    let (name, says) = match rule {
        Rule::PartOfPart => ("part-of-part", "Slice[r](Slice[s](x)) = Slice[s+r](x)"),
        Rule::PartOfResult => ("part-of-result", "Slice[r](f(x, …)) = f'(Slice[need(r)](x), …)"),
        Rule::JoinedParts => {
            ("joined-parts", "Concat(Slice[r](x), Slice[s](x), …) = Slice[r+s+…](x)")
        }
        Rule::WholeOfTiles => {
            ("whole-of-tiles", "Concat(f'(Slice[r](x)), f''(Slice[s](x)), …) = f(x)")
        }
        Rule::FlatConcat => ("flat-concat", "Concat(x, Concat(y, z)) = Concat(x, y, z)"),
        Rule::SumOfParts => ("sum-of-parts", "f(x[r], w[r]) + f(x[s], w[s]) = f(x, w)"),
    };
    Row { rule, name, says, reassociates: matches!(rule, Rule::SumOfParts) }
}

impl Rule {
    /// The row of the table that describes the rule.
    pub const fn row(self) -> Row {
        row(self)
    }

    /// The right side that is equal to this left side; `None` if the rule does not apply.
    pub fn apply(self, terms: &mut Terms, left: TermId) -> Option<TermId> {
        match self {
            Self::PartOfPart => part_of_part(terms, left),
            Self::PartOfResult => part_of_result(terms, left),
            Self::JoinedParts => joined_parts(terms, left),
            Self::WholeOfTiles => whole_of_tiles(terms, left),
            Self::FlatConcat => flat_concat(terms, left),
            Self::SumOfParts => sum_of_parts(terms, left),
        }
    }
}

fn sliced(terms: &Terms, t: TermId) -> Option<(TermId, &Region)> {
    let term = terms.get(t);
    match &term.head {
        Head::Slice(r) => Some((term.children[0], r)),
        _ => None,
    }
}

/// The term as a part of another one, or as the whole of itself if it is not a Slice.
pub(crate) fn as_part(terms: &Terms, t: TermId) -> Option<(TermId, Region)> {
    match sliced(terms, t) {
        Some((x, r)) => Some((x, r.clone())),
        None => Some((t, vec![None; terms.ty(t).rank()?])),
    }
}

fn part_of_part(terms: &mut Terms, left: TermId) -> Option<TermId> {
    let (x, r) = sliced(terms, left)?;
    let r = r.clone();
    terms.slice(x, r).filter(|&t| t != left)
}

fn part_of_result(terms: &mut Terms, left: TermId) -> Option<TermId> {
    let (y, r) = sliced(terms, left)?;
    let r = r.clone();
    let Head::Apply(Apply { opset, output, outputs, .. }) = terms.get(y).head.clone() else {
        return None;
    };
    let operands = terms.operands(y);
    let ctx = terms.ctx_of(y)?;
    let tile = region::tile(&ctx, output, &r).ok()?;
    let which = region::operands_of(&ctx, &tile);
    let mut inputs = Vec::with_capacity(tile.needs.len());
    for (i, need) in which.into_iter().zip(&tile.needs) {
        let x = i.and_then(|i| operands.get(i).copied().flatten());
        inputs.push(match (x, need) {
            (_, Need::Instead(t)) => Some(terms.constant(&Arc::new(t.clone()))),
            (_, Need::Nothing) | (None, _) => None,
            (Some(x), Need::Region(r)) => Some(terms.slice(x, r.clone())?),
            (Some(x), Need::Zeros(_, extents)) => Some(zeros(terms, x, extents, opset)?),
        });
    }
    let result = terms.apply(&tile.op, opset, &inputs, (tile.output, outputs), &Type::Unknown);
    let result = match &tile.op {
        // Only a part of what it was.
        Op::Identity(_) => inputs.first().copied().flatten(),
        _ => result,
    }?;
    if tile.computes == r {
        return Some(result);
    }
    // More than was asked for.
    let crop = r.iter().zip(&tile.computes).map(|(r, c)| match (r, c) {
        (Some(r), Some(c)) => Some(Span::new(r.lo - c.lo, r.hi - c.lo)),
        (r, _) => *r,
    });
    terms.slice(result, crop.collect())
}

fn zeros(terms: &mut Terms, like: TermId, extents: &[i64], opset: i64) -> Option<TermId> {
    let dtype = terms.ty(like).dtype()?;
    let bytes = dtype.bytes_of(1)?;
    let zero = Tensor::from_bytes(dtype, vec![1], vec![0; bytes as usize]).ok()?;
    let shape = terms.constant(&Arc::new(Tensor::i64s(extents)));
    let op = op::ConstantOfShape { value: Some(Arc::new(zero)) };
    terms.apply(&op.into(), opset, &[Some(shape)], (0, 1), &Type::Unknown)
}

fn joined_parts(terms: &mut Terms, left: TermId) -> Option<TermId> {
    let Head::Apply(Apply { op, .. }) = &terms.get(left).head else { return None };
    let Op::Concat(c) = &**op else { return None };
    let axis = axis_of(c.axis, terms.ty(left).rank()?).ok()?;
    let children = terms.get(left).children.clone();
    let (base, mut hull) = as_part(terms, *children.first()?)?;
    let n = terms.extent(base, axis)?;
    for &child in &children[1..] {
        let (x, r) = as_part(terms, child)?;
        let same = r.iter().zip(&hull).enumerate().all(|(a, (r, h))| a == axis || r == h);
        let end = hull[axis]?;
        let next = r[axis]?;
        if x != base || !same || end.hi != next.lo {
            return None;
        }
        hull[axis] = Some(Span::new(end.lo, next.hi));
    }
    hull[axis] = hull[axis].filter(|s| *s != Span::whole(n));
    terms.slice(base, hull)
}

fn whole_of_tiles(terms: &mut Terms, left: TermId) -> Option<TermId> {
    let Head::Apply(Apply { op, .. }) = &terms.get(left).head else { return None };
    let Op::Concat(c) = &**op else { return None };
    let axis = axis_of(c.axis, terms.ty(left).rank()?).ok()?;
    // Strides may leave rows at the end that no tile reads, but the whole has.
    joined_tiles(terms, left, axis, true).or_else(|| joined_tiles(terms, left, axis, false))
}

/// The operator over what its tiles are parts of, or (not `entire`) over just what they read of it.
fn joined_tiles(terms: &mut Terms, left: TermId, axis: usize, entire: bool) -> Option<TermId> {
    let tiles = terms.get(left).children.clone();
    let heads: Option<Vec<Apply>> = tiles
        .iter()
        .map(|&t| match &terms.get(t).head {
            Head::Apply(a) => Some(a.clone()),
            _ => None,
        })
        .collect();
    let heads = heads?;
    let (first, last) = (heads.first()?, heads.last()?);
    let alike = |a: &Apply| {
        a.op.name() == first.op.name()
            && (a.opset, a.output, &a.present) == (first.opset, first.output, &first.present)
    };
    if matches!(&*first.op, Op::Concat(_)) || !heads.iter().all(alike) {
        return None;
    }
    let operands: Vec<Vec<Option<TermId>>> = tiles.iter().map(|&t| terms.operands(t)).collect();
    let rel = region::relations(&terms.ctx_of(tiles[0])?, first.output).ok()?;
    let length = |&t: &TermId| terms.extent(t, axis).map(|n| n as u64);
    let lengths: Vec<u64> = tiles.iter().map(length).collect::<Option<_>>()?;
    let mut inputs = Vec::new();
    let mut grouped = false;
    for i in 0..first.present.len() {
        let all: Option<Vec<TermId>> = operands.iter().map(|o| o[i]).collect();
        let Some(all) = all else {
            inputs.push(None);
            continue;
        };
        let (whole, along_channels) =
            joined_operand(terms, &all, rel.operands.get(i)?, axis, &lengths, entire)?;
        grouped |= along_channels;
        inputs.push(Some(whole));
    }
    let group = |a: &Apply| a.op.windowed().map_or(1, |w| w.groups());
    let groups = if grouped { heads.iter().map(group).sum() } else { group(first) };
    let whole = region::whole_of(&first.op, &last.op, groups);
    let ty = Type::Unknown;
    let whole = terms.apply(&whole, first.opset, &inputs, (first.output, first.outputs), &ty)?;
    // A guess so far: it must give back every tile, and nothing else.
    let rank = terms.ty(left).rank()?;
    if terms.ty(whole).rank()? != rank
        || terms.extent(whole, axis)? as u64
            != lengths.iter().try_fold(0u64, |sum, n| sum.checked_add(*n))?
    {
        return None;
    }
    let mut lo = 0;
    for (&t, &n) in tiles.iter().zip(&lengths) {
        let n = n as i64;
        let mut region = vec![None; rank];
        region[axis] = Some(Span::new(lo, lo + n));
        lo += n;
        let part = terms.raw_slice(whole, region)?;
        if part_of_result(terms, part)? != t {
            return None;
        }
    }
    Some(whole)
}

/// The operand of the whole, given one operand of every tile: constants joined, the common operand, or
/// what all of them are parts of. Also whether the tiles read different channels of it.
fn joined_operand(
    terms: &mut Terms,
    all: &[TermId],
    relations: &[Relation],
    axis: usize,
    lengths: &[u64],
    entire: bool,
) -> Option<(TermId, bool)> {
    let constants: Option<Vec<Arc<Tensor>>> =
        all.iter().map(|&t| terms.value(t).cloned()).collect();
    if let Some(parts) = constants {
        // Constants that are cut along with the tiles are joined, even if they happen to be equal.
        let cut = relations.iter().position(|r| *r == Relation::Same(axis));
        let own = |p: &Arc<Tensor>, n: u64| cut.is_some_and(|c| p.dims().get(c) == Some(&n));
        if parts.iter().zip(lengths).all(|(p, n)| own(p, *n)) {
            let whole = join_tensors(&parts, cut?).ok()?;
            return Some((terms.constant(&Arc::new(whole)), false));
        }
        return all.iter().all(|t| *t == all[0]).then_some((all[0], false));
    }
    let (base, mut hull) = as_part(terms, all[0])?;
    let mut along_channels = false;
    for &t in &all[1..] {
        let (x, r) = as_part(terms, t)?;
        if x != base {
            return None;
        }
        along_channels |= r.get(1) != hull.get(1);
        hull = region::hull(&hull, &r);
    }
    for (h, r) in hull.iter_mut().zip(relations) {
        if entire && matches!(r, Relation::Window(..)) {
            *h = None;
        }
    }
    Some((terms.slice(base, hull)?, along_channels))
}

fn flat_concat(terms: &mut Terms, left: TermId) -> Option<TermId> {
    let Head::Apply(a) = terms.get(left).head.clone() else { return None };
    let Op::Concat(c) = &*a.op else { return None };
    let mut flat = Vec::new();
    for &x in &terms.get(left).children {
        match &terms.get(x).head {
            Head::Apply(b) if matches!(&*b.op, Op::Concat(d) if d.axis == c.axis) => {
                flat.extend(terms.get(x).children.iter().map(|&y| Some(y)));
            }
            _ => flat.push(Some(x)),
        }
    }
    let ty = terms.ty(left).clone();
    terms.apply(&a.op, a.opset, &flat, (0, 1), &ty).filter(|&t| t != left)
}

/// Terms of a sum, from the left.
fn summands(terms: &Terms, t: TermId, out: &mut Vec<TermId>) {
    if let Head::Apply(a) = &terms.get(t).head
        && matches!(&*a.op, Op::Add(_) | Op::Sum(_))
    {
        terms.get(t).children.iter().for_each(|&c| summands(terms, c, out));
        return;
    }
    out.push(t);
}

fn sum_of_parts(terms: &mut Terms, left: TermId) -> Option<TermId> {
    let mut parts = Vec::new();
    summands(terms, left, &mut parts);
    if parts.len() < 2 {
        return None;
    }
    let first = *parts.first()?;
    let Head::Apply(a) = terms.get(first).head.clone() else { return None };
    let all: Vec<Vec<Option<TermId>>> = parts.iter().map(|&p| terms.operands(p)).collect();
    for &p in &parts[1..] {
        let Head::Apply(b) = &terms.get(p).head else { return None };
        if b.op != a.op || b.opset != a.opset {
            return None;
        }
    }
    let ctx = terms.ctx_of(first)?;
    let rel = region::relations(&ctx, a.output).ok()?;
    // A bias counts once.
    let biased = |o: &Vec<Option<TermId>>| o.iter().skip(2).any(Option::is_some);
    if all.iter().filter(|o| biased(o)).count() > 1 {
        return None;
    }
    let mut inputs = all.iter().find(|o| biased(o)).unwrap_or(&all[0]).clone();
    // Operands beside the two factors that are not added, such as zero points, belong to all parts.
    let addend = a.op.partial_sums()?.addend;
    let other = |(i, o): (usize, &Option<TermId>)| i >= 2 && o.is_some() && Some(i) != addend;
    if all.iter().any(|o| o.iter().enumerate().any(other)) {
        return None;
    }
    for i in 0..2 {
        let contracted = |r: &Relation| matches!(r, Relation::Contract(_));
        let axis = rel.operands.get(i)?.iter().position(contracted)?;
        let constants: Option<Vec<Arc<Tensor>>> =
            all.iter().map(|o| terms.value(o.get(i).copied().flatten()?).cloned()).collect();
        if let Some(parts) = constants {
            let whole = join_tensors(&parts, axis).ok()?;
            inputs[i] = Some(terms.constant(&Arc::new(whole)));
            continue;
        }
        let (base, mut hull) = as_part(terms, all[0][i]?)?;
        let whole = terms.extent(base, axis)?;
        for operands in &all[1..] {
            let (x, r) = as_part(terms, operands.get(i).copied().flatten()?)?;
            let (end, next) = (hull[axis]?, r[axis]?);
            let same = r.iter().zip(&hull).enumerate().all(|(k, (r, h))| k == axis || r == h);
            if x != base || !same || end.hi != next.lo {
                return None;
            }
            hull[axis] = Some(Span::new(end.lo, next.hi));
        }
        if hull[axis] != Some(Span::whole(whole)) {
            return None;
        }
        hull[axis] = None;
        inputs[i] = Some(terms.slice(base, hull)?);
    }
    terms.apply(&a.op, a.opset, &inputs, (a.output, a.outputs), &Type::Unknown)
}
