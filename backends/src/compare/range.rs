//! Between which numbers a value lies whatever the inputs, so that runs are not asked for what
//! cannot be: a Relu of a Sigmoid never cuts anything off.

use graph_opt_ir::{DType, Def, Graph, Op, ValueId};

use crate::outcomes::{Kind, kind};

/// Least and greatest number that a value may have, in exact arithmetic.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Interval {
    pub lo: f64,
    pub hi: f64,
}

/// Nodes that are followed back.
const DEPTH: usize = 12;

impl Interval {
    fn new(lo: f64, hi: f64) -> Self {
        Self { lo, hi }
    }

    fn hull(self, o: Self) -> Self {
        Self::new(self.lo.min(o.lo), self.hi.max(o.hi))
    }

    fn largest(self, o: Self) -> Self {
        Self::new(self.lo.max(o.lo), self.hi.max(o.hi))
    }

    fn least(self, o: Self) -> Self {
        Self::new(self.lo.min(o.lo), self.hi.min(o.hi))
    }

    /// Of sums, which may be rounded.
    fn plus(self, o: Self) -> Self {
        let (lo, hi) = (self.lo + o.lo, self.hi + o.hi);
        Self::new(lo - lo.abs() * 1e-6, hi + hi.abs() * 1e-6)
    }
}

/// The range of the finite numbers of the value's type.
fn any(graph: &Graph, v: ValueId) -> Interval {
    let most = match graph.value(v).ty.dtype() {
        Some(t) if t.is_float() && t != DType::F64 => f32::MAX.into(),
        _ => f64::INFINITY,
    };
    Interval::new(-most, most)
}

/// The range of the value.
pub(super) fn range(graph: &Graph, v: ValueId) -> Interval {
    follow(graph, v, DEPTH)
}

/// The finite numbers that the value may have, followed back through so many nodes.
fn follow(graph: &Graph, v: ValueId, depth: usize) -> Interval {
    let any = any(graph, v);
    let found = by_node(graph, v, any, depth);
    Interval::new(found.lo.clamp(any.lo, any.hi), found.hi.clamp(any.lo, any.hi))
}

fn by_node(graph: &Graph, v: ValueId, any: Interval, depth: usize) -> Interval {
    let (node, result) = match graph.value(v).def {
        Def::Const(_) => return constant(graph, v).unwrap_or(any),
        Def::Node(n, i) if depth > 0 => (graph.node(n), i),
        _ => return any,
    };
    let of = |i: usize| match node.inputs.get(i) {
        Some(&Some(v)) => follow(graph, v, depth - 1),
        _ => any,
    };
    let operands = || node.inputs.iter().flatten().map(|&v| follow(graph, v, depth - 1));
    let zero = Interval::new(0.0, 0.0);
    // Whole numbers wrap around.
    let float = graph.value(v).ty.dtype().is_some_and(|t| t.is_float());
    use Op::*;
    match &node.op {
        Sigmoid(_) | HardSigmoid(_) | Softmax(_) => Interval::new(0.0, 1.0),
        Tanh(_) | Erf(_) | Sin(_) | Cos(_) | Softsign(_) => Interval::new(-1.0, 1.0),
        Exp(_) | Softplus(_) | Sqrt(_) => Interval::new(0.0, any.hi),
        Abs(_) if float => {
            let x = of(0);
            let lo = if x.lo > 0.0 { x.lo } else { (-x.hi).max(0.0) };
            Interval::new(lo, x.hi.max(-x.lo))
        }
        Relu(_) => of(0).largest(zero),
        Clip(o) => {
            let bound = |i: usize, attr: Option<f32>| match node.inputs.get(i) {
                Some(&Some(v)) => Some(follow(graph, v, depth - 1)),
                _ => attr.map(|x| Interval::new(x.into(), x.into())),
            };
            let x = bound(1, o.min).map_or(of(0), |b| of(0).largest(b));
            bound(2, o.max).map_or(x, |b| x.least(b))
        }
        Max(_) => operands().reduce(Interval::largest).unwrap_or(any),
        Min(_) => operands().reduce(Interval::least).unwrap_or(any),
        Add(_) if float => of(0).plus(of(1)),
        Neg(_) if float => Interval::new(-of(0).hi, -of(0).lo),
        Mul(_) if float && node.inputs.first() == node.inputs.get(1) => Interval::new(0.0, any.hi),
        Mul(_) | Div(_) if float && of(0).lo >= 0.0 && of(1).lo >= 0.0 => {
            Interval::new(0.0, any.hi)
        }
        Shape(_) | Size(_) => Interval::new(0.0, any.hi),
        Identity(_) | Reshape(_) | Flatten(_) | Squeeze(_) | Unsqueeze(_) | Transpose(_)
        | Slice(_) | Split(_) | Expand(_) | Tile(_) | GlobalMaxPool(_) | GlobalAveragePool(_)
        | ReduceMean(_) | ReduceMax(_) | ReduceMin(_) | Gather(_) => of(0),
        MaxPool(_) if result == 0 => of(0),
        // Padding may be counted.
        AveragePool(_) => of(0).hull(zero),
        Concat(_) => operands().reduce(Interval::hull).unwrap_or(any),
        Where(_) => of(1).hull(of(2)),
        _ => any,
    }
}

fn constant(graph: &Graph, v: ValueId) -> Option<Interval> {
    let v = numbers(graph, v)?;
    if v.is_empty() || v.iter().any(|x| x.is_nan()) {
        return None;
    }
    Some(v.iter().fold(Interval::new(v[0], v[0]), |r, &x| r.hull(Interval::new(x, x))))
}

/// Elements of a constant of numbers.
pub(super) fn numbers(graph: &Graph, v: ValueId) -> Option<Vec<f64>> {
    let t = graph.constant(v)?;
    if t.dtype().is_float() {
        return Some(t.to_f32s()?.into_iter().map(f64::from).collect());
    }
    Some(t.to_i64s()?.into_iter().map(|x| x as f64).collect())
}

/// Whether no operands in these ranges have the outcome of this bit.
pub(super) fn impossible(op: &Op, operands: &[Option<Interval>], bit: usize) -> bool {
    let at = |i: usize| operands.get(i).copied().flatten();
    let Some(x) = at(0) else { return true };
    let between = |lo: Option<Interval>, hi: Option<Interval>| match bit {
        0 => lo.is_none_or(|b| x.lo >= b.hi),
        2 => hi.is_none_or(|b| x.hi <= b.lo),
        _ => lo.is_some_and(|b| x.hi < b.lo) || hi.is_some_and(|b| x.lo > b.hi),
    };
    let exactly = |b: f64| Interval::new(b, b);
    match kind(op) {
        Some(Kind::Bounds(Some(b), None)) => {
            if bit == 0 {
                x.lo >= b
            } else {
                x.hi <= b
            }
        }
        Some(Kind::Bounds(lo, hi)) => between(lo.map(exactly), hi.map(exactly)),
        Some(Kind::Clip(min, max)) => {
            let bound =
                |i: usize, attr: Option<f32>| at(i).or_else(|| attr.map(|b| exactly(b.into())));
            between(bound(1, min), bound(2, max))
        }
        Some(Kind::Order(holds)) => {
            let Some(y) = at(1) else { return true };
            let apart = x.hi < y.lo || x.lo > y.hi;
            let alone = x.lo == x.hi && y.lo == y.hi;
            // Apart, all pairs compare as any does.
            (apart || alone) && holds(x.lo.max(-1e300), y.lo.max(-1e300)) != (bit == 1)
        }
        Some(Kind::Best(greatest)) => {
            let Some(own) = at(bit) else { return true };
            let others = operands.iter().enumerate().filter(|(j, _)| *j != bit);
            let mut others = others.filter_map(|(_, r)| *r);
            others.any(|o| if greatest { own.hi <= o.lo } else { own.lo >= o.hi })
        }
        Some(Kind::Levels) => x.lo == x.hi,
        _ => false,
    }
}
