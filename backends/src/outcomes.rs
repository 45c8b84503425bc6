//! Operators that compute differently on either side of a bound, and which of these outcomes the
//! operands of a run have. Runs that never leave one side of a bound say nothing about the other.
//! Infinities and NaN do not count, as operators treat them differently from all other numbers.

use std::collections::btree_map::Entry;

use graph_opt_ir::{DType, Op};

use crate::cpu::Key;
use crate::cpu::arena::Elements;
use crate::cpu::array::{Array, Buf};
use crate::cpu::ops::binary::{broadcast, spread};
use crate::cpu::small;

/// What tells the outcomes of an operator apart.
pub(crate) enum Kind {
    /// The first operand is below, between or above the bounds, of which there is at least one.
    Bounds(Option<f64>, Option<f64>),
    /// As `Bounds`, by operands 1 and 2, each of which may be missing.
    Clip(Option<f32>, Option<f32>),
    /// Truth values of the first so many operands.
    Truths(usize),
    /// Whether a comparison of two operands holds.
    Order(fn(f64, f64) -> bool),
    /// Which operand is strictly the greatest, if `true`, or the least.
    Best(bool),
    /// Whether two elements have different results.
    Levels,
}

/// What tells the operator's outcomes apart; `None` if it has one only, or none that runs can miss.
pub(crate) fn kind(op: &Op) -> Option<Kind> {
    use Op::*;
    let at = |b: f64| Some(Kind::Bounds(Some(b), None));
    match op {
        Relu(_) | LeakyRelu(_) | PRelu(_) | Elu(_) | Selu(_) | Celu(_) | Abs(_) | Sign(_) => {
            at(0.0)
        }
        ThresholdedRelu(o) => at(o.alpha.into()),
        HardSigmoid(o) if o.alpha != 0.0 => {
            let at = |y: f64| (y - f64::from(o.beta)) / f64::from(o.alpha);
            Some(Kind::Bounds(Some(at(0.0).min(at(1.0))), Some(at(0.0).max(at(1.0)))))
        }
        HardSwish(_) => Some(Kind::Bounds(Some(-3.0), Some(3.0))),
        Clip(o) => Some(Kind::Clip(o.min, o.max)),
        Where(_) | Not(_) => Some(Kind::Truths(1)),
        And(_) | Or(_) | Xor(_) => Some(Kind::Truths(2)),
        Equal(_) => Some(Kind::Order(|x, y| x == y)),
        Less(_) => Some(Kind::Order(|x, y| x < y)),
        LessOrEqual(_) => Some(Kind::Order(|x, y| x <= y)),
        Greater(_) => Some(Kind::Order(|x, y| x > y)),
        GreaterOrEqual(_) => Some(Kind::Order(|x, y| x >= y)),
        Max(_) => Some(Kind::Best(true)),
        Min(_) => Some(Kind::Best(false)),
        Floor(_) | Ceil(_) | Round(_) | QuantizeLinear(_) => Some(Kind::Levels),
        Cast(o) => match DType::from_onnx(o.to)? {
            t if t.is_float() || t == DType::Bool => None,
            t => small::bounds(t)
                .map_or(Some(Kind::Levels), |(lo, hi)| Some(Kind::Bounds(Some(lo), Some(hi)))),
        },
        _ => None,
    }
}

/// Outcomes of one operator that are told apart, at most.
const MOST: usize = 30;

impl Kind {
    /// What the operands of each outcome are; the i-th is that of bit i.
    pub fn names(&self, operands: usize) -> Vec<String> {
        match self {
            Self::Bounds(Some(lo), None) => {
                vec![format!("an operand below {lo}"), format!("an operand above {lo}")]
            }
            Self::Bounds(..) | Self::Clip(..) => [
                "an operand below its lower bound",
                "an operand between its bounds",
                "an operand above its upper bound",
            ]
            .map(String::from)
            .to_vec(),
            Self::Truths(n) => (0..*n)
                .flat_map(|i| [false, true].map(|t| format!("a value of operand {i} that is {t}")))
                .collect(),
            Self::Order(_) => [false, true].map(|t| format!("operands for which it is {t}")).into(),
            Self::Best(greatest) => {
                let what = if *greatest { "greatest" } else { "least" };
                let one = |i| format!("operands of which number {i} is the {what}");
                (0..operands.min(MOST)).map(one).collect()
            }
            Self::Levels => vec!["operands of which it makes two different numbers".into()],
        }
    }
}

fn digest(s: &[u8]) -> u32 {
    s.iter().fold(s.len() as u32, |h, &b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

/// Elements as the real numbers by which they are compared.
fn reals(a: &Array, key: Key<'_>) -> Vec<f64> {
    let a = a.clone().contiguous();
    match &a.data {
        Buf::List(v) => v.iter().flat_map(|i| &i.0).flat_map(|a| reals(a, key)).collect(),
        // Strings that differ are different numbers, but for chance.
        Buf::Str(v) => v.iter().map(|s| f64::from(digest(s))).collect(),
        Buf::Bool(v) => v.iter().map(|&x| f64::from(u8::from(x))).collect(),
        Buf::U8(_) if !a.is_computable() => small::decoded(&a).unwrap_or_default(),
        _ => a.reals(key).unwrap_or_default(),
    }
}

/// As [`reals`], without infinities and NaN.
fn finite(a: &Array, key: Key<'_>) -> Vec<f64> {
    reals(a, key).into_iter().filter(|x| x.is_finite()).collect()
}

/// The elements of each operand, broadcast against each other; `None` if they do not broadcast or
/// are no numbers.
fn together(operands: &[&Array], key: Key<'_>) -> Option<Vec<Vec<f64>>> {
    let dims = operands.iter().try_fold(vec![], |d, a| broadcast(&d, &a.dims)).ok()?;
    let one = |a: &&Array| {
        let v = reals(a, key);
        if v.len() != a.len() || a.dims == dims {
            return (v.len() == a.len()).then_some(v);
        }
        let steps: Vec<isize> = spread(&a.dims, &dims).into_iter().map(|s| s as isize).collect();
        let mut all = Elements::from(vec![0.0; dims.iter().product()]);
        all.gather(&dims, &Elements::from(v), &steps, 0);
        Some(all.to_vec())
    };
    operands.iter().map(one).collect()
}

/// Whether the array has two different numbers, or one other than the first of all runs.
pub(crate) fn varies<K: Ord>(a: &Array, key: Key<'_>, first: Entry<'_, K, f64>) -> bool {
    let v = finite(a, key);
    let Some(&one) = v.first() else { return false };
    let one = *first.or_insert(one);
    v.iter().any(|&x| x != one)
}

/// The outcomes that these operands have, a bit each. `first` keeps the first result of operators
/// that are told apart by results, from run to run.
pub(crate) fn shown(
    op: &Op,
    operands: &[Option<Array>],
    key: Key<'_>,
    first: &mut Option<f64>,
) -> u32 {
    let Some(kind) = kind(op) else { return 0 };
    let at = |i: usize| operands.get(i).and_then(Option::as_ref);
    let Some(x) = at(0) else { return 0 };
    let bit = |i: usize| 1u32 << i;
    let any = |v: &[f64], f: &dyn Fn(f64) -> bool, i: usize| {
        if v.iter().any(|&x| f(x)) { bit(i) } else { 0 }
    };
    match kind {
        Kind::Bounds(lo, hi) => {
            let (v, lo, hi) = match gate(op, x, key) {
                Some(v) => (v, Some(0.0), Some(1.0)),
                None => (finite(x, key), lo, hi),
            };
            match (lo, hi) {
                (Some(b), None) => any(&v, &|x| x < b, 0) | any(&v, &|x| x > b, 1),
                _ => between(&v, lo, hi),
            }
        }
        Kind::Clip(min, max) => {
            let bound = |i: usize, attr: Option<f32>| match at(i) {
                Some(b) => reals(b, key).first().copied(),
                None => attr.map(f64::from),
            };
            between(&finite(x, key), bound(1, min), bound(2, max))
        }
        Kind::Truths(n) => (0..n)
            .map(|i| {
                let v = at(i).map(|a| reals(a, key)).unwrap_or_default();
                any(&v, &|x| x == 0.0, 2 * i) | any(&v, &|x| x != 0.0, 2 * i + 1)
            })
            .fold(0, |a, b| a | b),
        Kind::Order(holds) => {
            let all: Vec<&Array> = operands.iter().flatten().collect();
            let Some([x, y]) = together(&all, key).and_then(|v| <[_; 2]>::try_from(v).ok()) else {
                return 0;
            };
            let numbers = x.iter().zip(&y).filter(|(x, y)| x.is_finite() && y.is_finite());
            numbers.fold(0, |b, (&x, &y)| b | bit(usize::from(holds(x, y))))
        }
        Kind::Best(greatest) => {
            let all: Vec<&Array> = operands.iter().flatten().collect();
            let Some(v) = together(&all, key) else { return 0 };
            let beats = |x: f64, y: f64| x.is_finite() && if greatest { x > y } else { x < y };
            let wins = |i: usize, at: usize| {
                v.iter().enumerate().all(|(j, o)| j == i || beats(v[i][at], o[at]))
            };
            let one = |i: usize| {
                let won = (0..v[i].len()).any(|at| wins(i, at));
                if won { bit(i) } else { 0 }
            };
            (0..v.len().min(MOST)).map(one).fold(0, |a, b| a | b)
        }
        Kind::Levels => u32::from(has_levels(op, (x, at(1)), key, first)),
    }
}

/// In the field, what HardSigmoid and HardSwish compare with 0 and 1: a product of the operand.
fn gate(op: &Op, x: &Array, key: Key<'_>) -> Option<Vec<f64>> {
    let (alpha, beta) = match op {
        Op::HardSigmoid(o) => (o.alpha.into(), o.beta.into()),
        Op::HardSwish(_) => (f64::from(1.0f32 / 6.0), 0.5),
        _ => return None,
    };
    let Buf::Field(v) = &x.clone().contiguous().data else { return None };
    let (alpha, beta) = (key.embed(alpha), key.embed(beta));
    Some(v.iter().map(|x| key.real(x.mul(alpha).add(beta))).collect())
}

/// Whether the operator rounds two elements to different results, of this run or of the first.
fn has_levels(
    op: &Op,
    (x, scale): (&Array, Option<&Array>),
    key: Key<'_>,
    first: &mut Option<f64>,
) -> bool {
    let scale = match op {
        Op::QuantizeLinear(_) => scale.map(|s| reals(s, key)),
        _ => None,
    };
    // Where there is a scale for each channel, it counts as 1.
    let scale = scale.and_then(|s| <[f64; 1]>::try_from(s).ok()).map_or(1.0, |[s]| s);
    let level = |x: f64| match op {
        Op::Floor(_) => x.floor(),
        Op::Ceil(_) => x.ceil(),
        Op::Cast(_) => x.trunc(),
        // To floats, too: this asks for more.
        _ => (x / scale).round_ties_even(),
    };
    let mut results = finite(x, key).into_iter().map(level);
    let Some(one) = (*first).or_else(|| results.next()) else { return false };
    *first = Some(one);
    results.any(|x| x != one)
}

/// Bits of elements below, between and above the bounds, of which each may be missing.
fn between(v: &[f64], lo: Option<f64>, hi: Option<f64>) -> u32 {
    let below = |x: f64| lo.is_some_and(|b| x < b);
    let above = |x: f64| hi.is_some_and(|b| x > b);
    v.iter().fold(0, |b, &x| {
        b | if below(x) {
            1
        } else if above(x) {
            4
        } else {
            2
        }
    })
}
