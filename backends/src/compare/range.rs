//! Interval analysis: bounds of each value that hold for all inputs. Outcomes outside of them cannot
//! occur, and runs need not reach them: a Relu of a Sigmoid never cuts anything off.

use std::collections::HashMap;

use graph_opt_ir::{DType, Def, Graph, Node, Op, ValueId};

use super::places::doubles;
use crate::outcomes::{Kind, kind};

/// Least and greatest number that a value may have, in exact arithmetic.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Interval {
    pub lo: f64,
    pub hi: f64,
}

/// Nodes that are followed back.
const DEPTH: usize = 64;

impl Interval {
    fn new(lo: f64, hi: f64) -> Self {
        Self { lo, hi }
    }

    fn exactly(x: f64) -> Self {
        Self::new(x, x)
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

    fn negative(self) -> Self {
        Self::new(-self.hi, -self.lo)
    }

    /// Of products, which may be rounded.
    fn times(self, o: Self) -> Self {
        // Endpoints may be infinite, but the numbers between them are finite: 0 times any is 0.
        let product = |x: f64, y: f64| if x == 0.0 || y == 0.0 { 0.0 } else { x * y };
        let ends = [(self.lo, o.lo), (self.lo, o.hi), (self.hi, o.lo), (self.hi, o.hi)];
        let all = ends.map(|(x, y)| product(x, y));
        let (lo, hi) =
            (all.into_iter().fold(all[0], f64::min), all.into_iter().fold(all[0], f64::max));
        Self::new(lo - lo.abs() * 1e-6, hi + hi.abs() * 1e-6)
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
        Some(DType::Bool) => return Interval::new(0.0, 1.0),
        _ => f64::INFINITY,
    };
    Interval::new(-most, most)
}

/// Ranges of the values of a graph.
pub(super) struct Ranges<'g> {
    graph: &'g Graph,
    known: HashMap<ValueId, Interval>,
}

impl<'g> Ranges<'g> {
    pub fn new(graph: &'g Graph) -> Self {
        Self { graph, known: HashMap::new() }
    }

    /// The finite numbers that the value may have.
    pub fn of(&mut self, v: ValueId) -> Interval {
        self.follow(v, DEPTH)
    }

    fn follow(&mut self, v: ValueId, depth: usize) -> Interval {
        if let Some(&r) = self.known.get(&v) {
            return r;
        }
        let any = any(self.graph, v);
        let r = self.by_node(v, any, depth);
        let r = Interval::new(r.lo.clamp(any.lo, any.hi), r.hi.clamp(any.lo, any.hi));
        self.known.insert(v, r);
        r
    }

    fn by_node(&mut self, v: ValueId, any: Interval, depth: usize) -> Interval {
        let graph = self.graph;
        if graph.constant(v).is_some() {
            return constant(graph, v).unwrap_or(any);
        }
        let (node, result) = match graph.value(v).def {
            Def::Node(n, i) if depth > 0 => (graph.node(n), i),
            _ => return any,
        };
        let all: Vec<Option<Interval>> =
            node.inputs.iter().map(|v| v.map(|v| self.follow(v, depth - 1))).collect();
        let of = |i: usize| all.get(i).copied().flatten().unwrap_or(any);
        let operands = || all.iter().copied().flatten();
        let zero = Interval::exactly(0.0);
        // Whole numbers wrap around.
        let float = graph.value(v).ty.dtype().is_some_and(|t| t.is_float());
        use Op::*;
        match &node.op {
            Sigmoid(_) | HardSigmoid(_) | Softmax(_) => Interval::new(0.0, 1.0),
            Tanh(_) | Erf(_) | Sin(_) | Cos(_) | Softsign(_) => Interval::new(-1.0, 1.0),
            Exp(_) | Softplus(_) | Sqrt(_) => Interval::new(0.0, any.hi),
            LSTM(o) if o.activations.is_none() && result < 2 => Interval::new(-1.0, 1.0),
            RNN(o) if o.activations.is_none() => Interval::new(-1.0, 1.0),
            Elu(o) if o.alpha >= 0.0 => {
                Interval::new(of(0).lo.max(-f64::from(o.alpha)), of(0).hi.max(0.0))
            }
            Abs(_) if float => {
                let x = of(0);
                let lo = if x.lo > 0.0 { x.lo } else { (-x.hi).max(0.0) };
                Interval::new(lo, x.hi.max(-x.lo))
            }
            Relu(_) => of(0).largest(zero),
            HardSwish(_) => Interval::new(-0.375, of(0).hi.max(0.0)),
            Clip(o) => {
                let bound = |i: usize, attr: Option<f32>| {
                    let given = all.get(i).copied().flatten();
                    given.or_else(|| attr.map(|x| Interval::exactly(x.into())))
                };
                let x = bound(1, o.min).map_or(of(0), |b| of(0).largest(b));
                bound(2, o.max).map_or(x, |b| x.least(b))
            }
            Max(_) => operands().reduce(Interval::largest).unwrap_or(any),
            Min(_) => operands().reduce(Interval::least).unwrap_or(any),
            Add(_) if float => of(0).plus(of(1)),
            Sub(_) if float => of(0).plus(of(1).negative()),
            Neg(_) if float => of(0).negative(),
            Mul(_) if float && node.inputs.first() == node.inputs.get(1) => {
                of(0).times(of(0)).largest(zero)
            }
            Mul(_) if float => of(0).times(of(1)),
            Div(_) if float && of(0).lo >= 0.0 && of(1).lo >= 0.0 => Interval::new(0.0, any.hi),
            Shape(_) | Size(_) => Interval::new(0.0, any.hi),
            DequantizeLinear(_) => self.dequantized(node, &all).unwrap_or(any),
            Conv(_) | ConvTranspose(_) | MatMul(_) | Gemm(_) => {
                // Where the operand has no bounds, neither has the result.
                let bounded = of(0).lo > any.lo && of(0).hi < any.hi;
                bounded.then(|| self.weighted(node, &all)).flatten().unwrap_or(any)
            }
            Identity(_) | Reshape(_) | Flatten(_) | Squeeze(_) | Unsqueeze(_) | Transpose(_)
            | Slice(_) | Split(_) | Expand(_) | Tile(_) | GlobalMaxPool(_)
            | GlobalAveragePool(_) | ReduceMean(_) | ReduceMax(_) | ReduceMin(_) | Gather(_) => {
                of(0)
            }
            MaxPool(_) if result == 0 => of(0),
            // Padding may be counted.
            AveragePool(_) => of(0).hull(zero),
            Concat(_) => operands().reduce(Interval::hull).unwrap_or(any),
            Where(_) => of(1).hull(of(2)),
            LayerNormalization(o) => self.normalized(node, o.axis, &all).unwrap_or(any),
            op @ (Equal(_) | Less(_) | LessOrEqual(_) | Greater(_) | GreaterOrEqual(_)) => {
                let truth = |bit| f64::from(u8::from(!impossible(op, &all, bit)));
                Interval::new(1.0 - truth(0), truth(1))
            }
            _ => any,
        }
    }

    /// The largest of n numbers with mean 0 and variance 1 is the root of n - 1.
    fn normalized(&self, node: &Node, axis: i64, all: &[Option<Interval>]) -> Option<Interval> {
        let dims = self.graph.value(node.inputs[0]?).ty.dims()?;
        let axis = graph_opt_ir::op_context::axis_of(axis, dims.len()).ok()?;
        let n = dims[axis..].iter().try_fold(1, |n, d| Some(n * d.known()?))?;
        let most = (n as f64).sqrt();
        let y = Interval::new(-most, most).times(all.get(1).copied().flatten()?);
        Some(match all.get(2).copied().flatten() {
            Some(bias) => y.plus(bias),
            None => y,
        })
    }

    /// Range of a convolution or matrix product with constant weights. Terms may be missing, because
    /// windows reach into the padding.
    fn weighted(&self, node: &Node, all: &[Option<Interval>]) -> Option<Interval> {
        let w = node.inputs.get(1).copied().flatten()?;
        let dims = self.graph.constant(w)?.dims().to_vec();
        let (weights, x) = (numbers(self.graph, w)?, all.first().copied().flatten()?);
        // Elements of a sum are those whose output channel is the same.
        let (outer, inner) = match &node.op {
            Op::Conv(_) => (1, dims[1..].iter().product::<u64>()),
            Op::ConvTranspose(_) => (dims[0], dims[2..].iter().product()),
            Op::MatMul(_) if dims.len() == 2 => (dims[0], 1),
            Op::Gemm(o) if o.transB == 0 => (dims[0], 1),
            Op::Gemm(_) => (1, dims[1]),
            _ => return None,
        };
        let channels = (weights.len() as u64 / (outer * inner).max(1)).max(1);
        let mut sums = vec![Interval::exactly(0.0); channels as usize];
        for (i, &w) in weights.iter().enumerate() {
            let sum = &mut sums[(i as u64 / inner.max(1) % channels) as usize];
            let term = Interval::exactly(w).times(x).hull(Interval::exactly(0.0));
            *sum = sum.plus(term);
        }
        let (alpha, beta) = match &node.op {
            Op::Gemm(o) => (o.alpha.into(), o.beta.into()),
            _ => (1.0, 1.0),
        };
        let sum = sums.into_iter().reduce(Interval::hull)?.times(Interval::exactly(alpha));
        Some(match all.get(2).copied().flatten() {
            Some(bias) => sum.plus(bias.times(Interval::exactly(beta))),
            None => sum,
        })
    }

    /// Of whole numbers of few bits, by constant scales.
    fn dequantized(&self, node: &Node, all: &[Option<Interval>]) -> Option<Interval> {
        let ends = match self.graph.value(node.inputs[0]?).ty.dtype()? {
            DType::U8 => Interval::new(0.0, 255.0),
            DType::I8 => Interval::new(-128.0, 127.0),
            _ => return None,
        };
        let zero = all.get(2).copied().flatten().unwrap_or(Interval::exactly(0.0));
        let scale = constant(self.graph, node.inputs.get(1).copied().flatten()?)?;
        Some(ends.plus(zero.negative()).times(scale))
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
        return doubles(&t);
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
    match kind(op) {
        Some(Kind::Bounds(Some(b), None)) => {
            if bit == 0 {
                x.lo >= b
            } else {
                x.hi <= b
            }
        }
        Some(Kind::Bounds(lo, hi)) => between(lo.map(Interval::exactly), hi.map(Interval::exactly)),
        Some(Kind::Clip(min, max)) => {
            let bound = |i: usize, attr: Option<f32>| {
                at(i).or_else(|| attr.map(|b| Interval::exactly(b.into())))
            };
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
        Some(Kind::Truths(_)) => at(bit / 2).is_none_or(|t| match bit % 2 {
            0 => t.lo >= 1.0,
            _ => t.hi <= 0.0,
        }),
        _ => false,
    }
}
