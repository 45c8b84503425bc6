//! Channels that must be removed together, derived from the relations of the operators.
//!
//! A *unit* is a set of indices, over several values and axes, that only makes sense as a whole: a filter
//! of a convolution, its bias, its row of a BatchNormalization, the channel of every value between, the
//! same channel on both sides of a residual addition, and the part of the weights that reads it. Starting
//! at the output channels of a layer, every index gets a unit of its own; each node that touches a
//! labelled axis then says, by its [relations](region::relations), which indices of its operands belong
//! to which of its results. Where two units meet in one place they become one (union-find). So depthwise
//! and grouped convolutions, squeeze-and-excite, concatenations and attention heads need no patterns of
//! their own. A unit that reaches an axis which cannot lose elements (the interface of the block, an axis
//! that is normalised over) stays.
//!
//! The same closure, found from gradients rather than from relations, is the dependency graph of Fang et
//! al., *DepGraph: Towards Any Structural Pruning* (CVPR 2023).

use std::collections::{BTreeMap, BTreeSet};

use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::region::{self, Relation};
use graph_opt_ir::{DType, Def, Graph, NodeId, Op, ValueId};

/// Channels that are coupled with each other, as units that can be removed one by one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Coupled {
    /// The layer whose output channels the units start from.
    pub origin: NodeId,
    /// Number of units.
    pub units: usize,
    /// The axes that shrink when units go, in the order of values and axes.
    pub axes: Vec<CoupledAxis>,
    /// The layers that sum over the units. They are what is fitted again.
    pub readers: Vec<Reader>,
    /// Layers that sum over the units, but cannot be fitted: their weights are not constants of `f32`.
    pub unfitted: Vec<NodeId>,
}

/// An axis of a value whose indices belong to units.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoupledAxis {
    /// The value.
    pub value: ValueId,
    /// Its axis.
    pub axis: usize,
    /// For each index along the axis, its unit; `None` if the index always stays.
    pub unit: Vec<Option<usize>>,
}

/// A layer that sums over units: its result is linear in the operand that has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reader {
    /// The node.
    pub node: NodeId,
    /// Index of the operand with the units.
    pub image: usize,
    /// Axis of that operand along which the units lie.
    pub image_axis: usize,
    /// Index of the operand with the constant weights.
    pub weights: usize,
    /// Axis of the weights along which the units lie.
    pub weights_axis: usize,
}

impl Coupled {
    /// For each index along the axis, whether it stays if only these units do; `None` if the axis keeps
    /// all of its elements.
    pub fn kept(&self, value: ValueId, axis: usize, keep: &[bool]) -> Option<Vec<bool>> {
        let found = self.axes.iter().find(|a| (a.value, a.axis) == (value, axis))?;
        Some(found.unit.iter().map(|u| u.is_none_or(|u| keep[u])).collect())
    }

    /// Adds units until every axis keeps an element: `order` lists the units, the most important first.
    pub fn cover(&self, keep: &mut [bool], order: &[usize]) {
        for a in &self.axes {
            if a.unit.iter().all(|u| u.is_some_and(|u| !keep[u]))
                && let Some(&u) = order.iter().find(|&&u| a.unit.contains(&Some(u)))
            {
                keep[u] = true;
            }
        }
    }
}

/// The coupled channels inside of the graph, in the order of the layers they start from. The graph's inputs
/// and outputs keep all of their elements.
pub fn coupled(graph: &Graph) -> Vec<Coupled> {
    let mut seen: BTreeSet<(ValueId, usize)> = BTreeSet::new();
    let mut all = Vec::new();
    for id in graph.schedule() {
        for (value, axis) in made_channels(graph, id) {
            if seen.contains(&(value, axis)) {
                continue;
            }
            let mut labels = Labels::new(graph);
            labels.start(value, axis);
            labels.spread();
            seen.extend(labels.of.keys().copied());
            all.extend(labels.finish(id));
        }
    }
    all
}

/// The axes of the node's result whose elements have constant weights of their own: the output channels of
/// layers that contract a constant.
fn made_channels(graph: &Graph, id: NodeId) -> Vec<(ValueId, usize)> {
    let node = graph.node(id);
    let Some(Some(out)) = node.outputs.first().copied() else { return Vec::new() };
    let ctx = OpCtx::of(graph, id);
    let Ok(rel) = region::relations(&ctx, 0) else { return Vec::new() };
    let grouped = |a: &Relation| matches!(a, Relation::Block { partial: true, .. });
    let sums =
        rel.operands.iter().flatten().any(|r| matches!(r, Relation::Contract(_)) || grouped(r));
    if !sums {
        return Vec::new();
    }
    let mut axes = BTreeSet::new();
    for (operand, relations) in node.inputs.iter().zip(&rel.operands) {
        let contracts = |r: &Relation| matches!(r, Relation::Contract(_));
        let weights = relations.iter().any(contracts) || ctx.op.windowed().is_some();
        if weights && operand.is_some_and(|v| is_weight(graph, v)) {
            for r in relations {
                match *r {
                    Relation::Same(o) | Relation::Block { out: o, .. } => axes.insert(o),
                    _ => false,
                };
            }
        }
    }
    axes.into_iter().map(|a| (out, a)).collect()
}

/// Whether the value is a constant, also one that is dequantized first.
fn is_weight(graph: &Graph, v: ValueId) -> bool {
    match graph.value(v).def {
        Def::Const(_) => true,
        Def::Node(n, _) if matches!(graph.node(n).op, Op::DequantizeLinear(_)) => {
            graph.node(n).inputs.iter().flatten().all(|&v| graph.constant(v).is_some())
        }
        _ => false,
    }
}

/// The unit of elements that stay.
const STAYS: usize = 0;

struct Labels<'a> {
    graph: &'a Graph,
    /// The unit of each index, by value and axis.
    of: BTreeMap<(ValueId, usize), Vec<usize>>,
    /// Union-find over units: the parent of each, which is smaller or itself.
    parent: Vec<usize>,
    /// Nodes to visit, by position in the schedule.
    open: BTreeSet<(u64, NodeId)>,
}

impl<'a> Labels<'a> {
    fn new(graph: &'a Graph) -> Self {
        Self { graph, of: BTreeMap::new(), parent: vec![STAYS], open: BTreeSet::new() }
    }

    fn root(&mut self, mut u: usize) -> usize {
        while self.parent[u] != u {
            self.parent[u] = self.parent[self.parent[u]];
            u = self.parent[u];
        }
        u
    }

    fn unite(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }

    fn extent(&self, v: ValueId, axis: usize) -> Option<usize> {
        usize::try_from(self.graph.value(v).ty.dims()?.get(axis)?.known()?).ok()
    }

    /// Gives every index of the axis a unit of its own, if it has none yet; `None` if the extent is unknown.
    fn start(&mut self, v: ValueId, axis: usize) -> Option<&[usize]> {
        let n = self.extent(v, axis)?;
        if !self.of.contains_key(&(v, axis)) {
            let first = self.parent.len();
            self.parent.extend(first..first + n);
            self.of.insert((v, axis), (first..first + n).collect());
            let value = self.graph.value(v);
            let fixed = value.is_output() || !matches!(value.def, Def::Node(..) | Def::Const(_));
            if fixed {
                self.pin(v, axis);
            }
            let graph = self.graph;
            let nodes = value.uses().map(|u| u.node).chain(graph.producer(v));
            self.open.extend(nodes.map(|n| (graph.position(n), n)));
        }
        self.of.get(&(v, axis)).map(Vec::as_slice)
    }

    fn has(&self, v: ValueId, axis: usize) -> bool {
        self.of.contains_key(&(v, axis))
    }

    /// All elements of the axis stay.
    fn pin(&mut self, v: ValueId, axis: usize) {
        for u in self.of.get(&(v, axis)).cloned().unwrap_or_default() {
            self.unite(u, STAYS);
        }
    }

    /// All labelled elements of the value stay.
    fn pin_all(&mut self, v: ValueId) {
        let axes: Vec<usize> =
            self.of.range((v, 0)..=(v, usize::MAX)).map(|((_, axis), _)| *axis).collect();
        axes.into_iter().for_each(|axis| self.pin(v, axis));
    }

    /// Index `a.2 + i` of axis `a` and index `b.2 + j` of axis `b` belong together, for all pairs.
    fn couple(
        &mut self,
        a: (ValueId, usize),
        b: (ValueId, usize),
        pairs: impl Iterator<Item = (usize, usize)>,
    ) {
        if !self.has(a.0, a.1) && !self.has(b.0, b.1) {
            return;
        }
        let (Some(x), Some(y)) =
            (self.start(a.0, a.1).map(<[_]>::to_vec), self.start(b.0, b.1).map(<[_]>::to_vec))
        else {
            self.pin(a.0, a.1);
            self.pin(b.0, b.1);
            return;
        };
        for (i, j) in pairs {
            match (x.get(i), y.get(j)) {
                (Some(&u), Some(&w)) => self.unite(u, w),
                // Padding: there is no element on the other side.
                (Some(&u), None) | (None, Some(&u)) => self.unite(u, STAYS),
                (None, None) => {}
            }
        }
    }

    fn spread(&mut self) {
        while let Some((_, id)) = self.open.pop_first() {
            let node = self.graph.node(id);
            // A body may read a captured value in any way.
            node.captures.iter().for_each(|&v| self.pin_all(v));
            for (o, out) in node.outputs.iter().enumerate() {
                if let Some(out) = *out {
                    self.visit(id, o, out);
                }
            }
        }
    }

    fn visit(&mut self, id: NodeId, output: usize, out: ValueId) {
        let node = self.graph.node(id);
        let ctx = OpCtx::of(self.graph, id);
        let Ok(rel) = region::relations(&ctx, output) else {
            node.inputs.iter().flatten().for_each(|&v| self.pin_all(v));
            self.pin_all(out);
            return;
        };
        for (axis, _) in &rel.barriers {
            self.pin(out, *axis);
        }
        let mut contracted: BTreeMap<u8, (ValueId, usize)> = BTreeMap::new();
        for (operand, relations) in node.inputs.iter().zip(&rel.operands) {
            let Some(v) = *operand else { continue };
            if relations.is_empty() {
                self.pin_all(v);
            }
            for (axis, r) in relations.iter().enumerate() {
                let n = self.extent(v, axis).unwrap_or(0);
                match *r {
                    Relation::Same(o) => self.couple((v, axis), (out, o), (0..n).map(|i| (i, i))),
                    Relation::Contract(k) => match contracted.get(&k) {
                        Some(&first) => self.couple(first, (v, axis), (0..n).map(|i| (i, i))),
                        None => {
                            contracted.insert(k, (v, axis));
                        }
                    },
                    Relation::Block { out: o, outer, inner, .. } => {
                        let (outer, inner) = (outer as usize, inner as usize);
                        let pairs = (0..n).flat_map(|i| {
                            let block = i / inner * outer;
                            (block..block + outer).map(move |j| (i, j))
                        });
                        self.couple((v, axis), (out, o), pairs);
                    }
                    Relation::Affine { out: o, start, step } => {
                        let m = self.extent(out, o).unwrap_or(0) as i64;
                        let at = |j: i64| usize::try_from(start + step * j).unwrap_or(usize::MAX);
                        // Concat has other operands in the places that this one does not fill.
                        let joined = matches!(node.op, Op::Concat(_));
                        let pairs = (0..m).map(|j| (at(j), j as usize));
                        self.couple((v, axis), (out, o), pairs.filter(|&(i, _)| !joined || i < n));
                        // What a Slice leaves out has no partner, and may go.
                    }
                    Relation::Broadcast | Relation::Whole => self.pin(v, axis),
                    Relation::Window(o, _) | Relation::Transposed(o, _) => {
                        self.pin(v, axis);
                        self.pin(out, o);
                    }
                    Relation::Scaled { out: o, .. } | Relation::Bordered { out: o, .. } => {
                        self.pin(v, axis);
                        self.pin(out, o);
                    }
                }
            }
        }
    }

    /// The units with at least one reader, numbered in the order of their values.
    fn finish(mut self, origin: NodeId) -> Option<Coupled> {
        let mut number: BTreeMap<usize, usize> = BTreeMap::new();
        let mut axes = Vec::new();
        for ((value, axis), labels) in std::mem::take(&mut self.of) {
            let mut unit = Vec::with_capacity(labels.len());
            for u in labels {
                let u = self.root(u);
                let next = number.len();
                unit.push((u != STAYS).then(|| *number.entry(u).or_insert(next)));
            }
            if unit.iter().any(Option::is_some) {
                axes.push(CoupledAxis { value, axis, unit });
            }
        }
        let (readers, unfitted) = readers(self.graph, &axes);
        let units = number.len();
        // One unit alone cannot be removed, and units that nothing sums over have no effect to fit.
        let useful = units > 1 && !(readers.is_empty() && unfitted.is_empty());
        useful.then_some(Coupled { origin, units, axes, readers, unfitted })
    }
}

/// The nodes that sum over the axes: those that can be fitted again, and the others.
fn readers(graph: &Graph, axes: &[CoupledAxis]) -> (Vec<Reader>, Vec<NodeId>) {
    let labelled = |v: ValueId, axis| axes.iter().any(|a| (a.value, a.axis) == (v, axis));
    let nodes: BTreeSet<(u64, NodeId)> = axes
        .iter()
        .flat_map(|a| graph.value(a.value).uses().map(|u| (graph.position(u.node), u.node)))
        .collect();
    let (mut fitted, mut others) = (Vec::new(), Vec::new());
    for (_, id) in nodes {
        let node = graph.node(id);
        let Ok(rel) = region::relations(&OpCtx::of(graph, id), 0) else { continue };
        let mut image = None;
        let mut weights = None;
        for (i, (operand, relations)) in node.inputs.iter().zip(&rel.operands).enumerate() {
            let Some(v) = *operand else { continue };
            let at = |(a, r): (usize, &Relation)| {
                (matches!(r, Relation::Contract(_)) && labelled(v, a)).then_some(a)
            };
            let Some(axis) = relations.iter().enumerate().find_map(at) else { continue };
            if is_weight(graph, v) { weights = Some((i, v, axis)) } else { image = Some((i, axis)) }
        }
        let (Some((image, image_axis)), Some((weights, v, weights_axis))) = (image, weights) else {
            continue;
        };
        let fits = node.op.partial_sums().is_some()
            && graph.constant(v).is_some_and(|t| t.dtype() == DType::F32)
            && (graph.value(v).uses().len() == 1);
        if fits {
            fitted.push(Reader { node: id, image, image_axis, weights, weights_axis });
        } else {
            others.push(id);
        }
    }
    (fitted, others)
}
