//! The nodes that a session executes, after all of ONNX Runtime's optimisations of the graph.
//!
//! Convolutions take over the normalisation and the activation after them. Convolutions and pools of
//! 32-bit floats compute in blocks of channels (NCHWc), whose number is rounded up; nodes between them that
//! can do so stay in blocks, and others are given a reordered copy. The order is that of a depth-first
//! search from the last nodes backwards, which visits the operand of the newest node first; what
//! optimisations made counts as newer than the nodes of the file.

use std::collections::{HashMap, HashSet};

use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::{DType, Graph, NodeId, Op, ValueId, window};

use super::super::{MemoryModel, OnnxRuntime, UnknownSize, needed};

/// Channels of one block on x86 with AVX2.
pub(super) const NARROW: u64 = 8;
/// Channels of one block on x86 with AVX-512.
pub(super) const WIDE: u64 = 16;
/// Numbers of channels that convolutions in blocks accept are multiples of this.
const ALIGNED: u64 = 4;

/// A value of a session.
pub(super) struct Tensor {
    pub bytes: u64,
    /// Extents, if ONNX Runtime knows them before it runs.
    pub extents: Option<Vec<u64>>,
    pub storage: Storage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    /// An input, or a constant.
    Given,
    /// An output, which the caller gets.
    Output,
    Buffer,
}

/// A node of a session.
pub(super) struct Step {
    /// The node of the graph, the first one if several are fused.
    pub node: NodeId,
    pub reads: Vec<usize>,
    pub makes: Vec<usize>,
    /// Values that the first result may overwrite.
    pub over: Vec<usize>,
    /// Whether the first result is a view of the first operand.
    pub view: bool,
    /// Bytes that the kernel takes while it runs.
    pub workspace: u64,
    /// Which of two nodes is newer: those of the file, fused convolutions, fused products with a sigmoid, those in
    /// blocks, and copies from blocks, one after the other.
    age: (u8, usize),
}

/// What a session executes.
pub(super) struct Fused {
    /// In the order of execution.
    pub steps: Vec<Step>,
    pub tensors: Vec<Tensor>,
}

/// Nodes that were fused, before layouts are chosen.
struct Unit {
    node: NodeId,
    reads: Vec<ValueId>,
    makes: Vec<ValueId>,
    kind: Kind,
    age: (u8, usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Conv { activated: bool },
    Pool,
    GlobalPool,
    Sum,
    Product,
    Activation,
    Other,
}

/// A value in blocks of channels.
#[derive(Clone, Copy)]
struct Blocked {
    tensor: usize,
    channels: u64,
    /// The values that its batch, height and width are those of.
    like: [ValueId; 3],
    /// The convolution that can still take over what follows.
    open: Option<usize>,
}

/// Depth-first, from the nodes without readers backwards; operands of newer nodes first.
fn order(ages: &[(u8, usize)], operands: &[Vec<usize>]) -> Vec<usize> {
    let mut read = vec![false; ages.len()];
    operands.iter().flatten().for_each(|&o| read[o] = true);
    let mut stack: Vec<(usize, bool)> =
        (0..ages.len()).filter(|&i| !read[i]).map(|i| (i, false)).collect();
    stack.sort_by_key(|s| ages[s.0]);
    let (mut seen, mut found) = (vec![false; ages.len()], Vec::with_capacity(ages.len()));
    while let Some((at, done)) = stack.pop() {
        if done {
            found.push(at);
        } else if !std::mem::replace(&mut seen[at], true) {
            stack.push((at, true));
            let mut next: Vec<usize> = operands[at].iter().copied().filter(|&o| !seen[o]).collect();
            next.sort_by_key(|&o| ages[o]);
            stack.extend(next.into_iter().map(|o| (o, false)));
        }
    }
    found
}

/// The positions of the operands' producers.
fn producers<K: std::hash::Hash + Eq + Copy>(all: &[(&[K], &[K])]) -> Vec<Vec<usize>> {
    let makers = all.iter().enumerate().flat_map(|(i, u)| u.1.iter().map(move |&v| (v, i)));
    let of: HashMap<K, usize> = makers.collect();
    all.iter().map(|u| u.0.iter().filter_map(|v| of.get(v).copied()).collect()).collect()
}

/// Whether sessions of this graph may be different for blocks of [`NARROW`] and of [`WIDE`].
pub(super) fn block_matters(graph: &Graph) -> bool {
    let uneven = graph.values().any(|(v, value)| {
        let Some(&[_, channels, _, _]) = value.ty.extents().as_deref() else { return false };
        // Few channels of an input are read as they are; those of a constant are the operands of its filters.
        let given = graph.producer(v).is_none() || graph.constant(v).is_some();
        !channels.is_multiple_of(WIDE) && (!given || channels >= NARROW)
    });
    // Groups are in blocks where their own channels fill them.
    let grouped = |n: NodeId| match &graph.node(n).op {
        Op::Conv(c) => c.group > 1,
        Op::FusedConv(c) => c.group > 1,
        _ => false,
    };
    uneven || graph.schedule().any(grouped)
}

/// What a session of this graph executes, with so many channels in a block.
///
/// # Errors
/// If the size of a value is not known.
pub(super) fn of(graph: &Graph, block: u64) -> Result<Fused, UnknownSize> {
    let (units, known) = units(graph);
    let all: Vec<(&[ValueId], &[ValueId])> =
        units.iter().map(|u| (&u.reads[..], &u.makes[..])).collect();
    let ages: Vec<(u8, usize)> = units.iter().map(|u| u.age).collect();
    let order_before = order(&ages, &producers(&all));
    let mut b = Layout {
        graph,
        block,
        known: &known,
        tensors: Vec::new(),
        steps: Vec::new(),
        plain: HashMap::new(),
        blocked: HashMap::new(),
        inward: HashMap::new(),
        outward: Vec::new(),
        readers: HashMap::new(),
    };
    for u in &units {
        for v in &u.reads {
            *b.readers.entry(*v).or_default() += 1;
        }
    }
    for i in order_before {
        b.unit(&units[i])?;
    }
    b.finish()?;
    let Layout { steps, tensors, .. } = b;
    let all: Vec<(&[usize], &[usize])> =
        steps.iter().map(|s| (&s.reads[..], &s.makes[..])).collect();
    let ages: Vec<(u8, usize)> = steps.iter().map(|s| s.age).collect();
    let places = order(&ages, &producers(&all));
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    let steps = places.into_iter().filter_map(|i| steps[i].take()).collect();
    Ok(Fused { steps, tensors })
}

/// The only reader of a value that is no output.
fn only_reader(graph: &Graph, v: ValueId) -> Option<NodeId> {
    let value = graph.value(v);
    let mut uses = value.uses();
    let first = uses.next()?;
    (uses.next().is_none() && !value.is_output()).then_some(first.node)
}

fn result(graph: &Graph, id: NodeId) -> Option<ValueId> {
    match graph.node(id).outputs[..] {
        [Some(v), ..] => Some(v),
        _ => None,
    }
}

/// Nodes with what they take over, in the order of the file; and whether ONNX Runtime knows the extents of
/// each value.
fn units(graph: &Graph) -> (Vec<Unit>, Vec<bool>) {
    let run = needed(graph, graph.outputs());
    let mut constant: Vec<bool> = vec![false; graph.value_bound()];
    for (v, value) in graph.values() {
        use graph_opt_ir::Def::{Const, Sparse};
        constant[v.index()] =
            matches!(value.def, Const(_) | Sparse(_)) || graph.constant(v).is_some();
    }
    let mut known: Vec<bool> = vec![true; graph.value_bound()];
    let mut gone: HashSet<NodeId> = HashSet::new();
    let mut all = Vec::new();
    let schedule: Vec<NodeId> = graph.schedule().filter(|n| run[n.index()]).collect();
    let positions: HashMap<NodeId, usize> =
        schedule.iter().enumerate().map(|(i, &n)| (n, i)).collect();
    for (position, &id) in schedule.iter().enumerate() {
        let node = graph.node(id);
        let reads = || node.inputs.iter().flatten().chain(&node.captures).copied();
        let sure = extents_known(graph, id, &constant, &known);
        node.outputs.iter().flatten().for_each(|v| known[v.index()] = sure);
        let shape =
            matches!(node.op, Op::Shape(_) | Op::Size(_)) && reads().all(|v| known[v.index()]);
        let folds = !matches!(node.op, Op::DequantizeLinear(_))
            && node.captures.is_empty()
            && !OpCtx::of(graph, id).is_random()
            && (reads().all(|v| constant[v.index()]) || shape);
        if folds {
            node.outputs.iter().flatten().for_each(|v| constant[v.index()] = true);
        }
        if folds || gone.contains(&id) {
            continue;
        }
        let mut unit = Unit {
            node: id,
            reads: reads().filter(|v| !constant[v.index()]).collect(),
            makes: node.outputs.iter().flatten().copied().collect(),
            kind: kind(&node.op),
            age: (0, position),
        };
        if let (Kind::Conv { .. }, Some(v)) = (unit.kind, result(graph, id)) {
            let (last, taken) = taken_over(graph, id, v);
            if last != v {
                unit.makes = vec![last];
            }
            if let Some(last) = taken.iter().find(|&&n| activates(graph, n)) {
                unit.kind = Kind::Conv { activated: true };
                unit.age = (1, positions[last]);
            }
            gone.extend(taken);
        } else if let Some((product, y)) = gelu(graph, id) {
            unit.makes = vec![y];
            unit.age = (2, positions[&product]);
            gone.insert(product);
        }
        all.push(unit);
    }
    // Nodes are fused in the order of the graph before that.
    let ages: Vec<(u8, usize)> = all.iter().map(|u| (0, u.age.1)).collect();
    let ends: Vec<(&[ValueId], &[ValueId])> =
        all.iter().map(|u| (&u.reads[..], &u.makes[..])).collect();
    for (rank, at) in order(&ages, &producers(&ends)).into_iter().enumerate() {
        if all[at].age.0 > 0 {
            all[at].age.1 = rank;
        }
    }
    (all, known)
}

fn kind(op: &Op) -> Kind {
    match op {
        Op::Conv(_) => Kind::Conv { activated: false },
        Op::FusedConv(c) => Kind::Conv { activated: !c.activation.is_empty() },
        Op::MaxPool(_) | Op::AveragePool(_) => Kind::Pool,
        Op::GlobalAveragePool(_) | Op::GlobalMaxPool(_) => Kind::GlobalPool,
        Op::Add(_) | Op::Sum(_) => Kind::Sum,
        Op::Mul(_) => Kind::Product,
        Op::Relu(_) | Op::Sigmoid(_) | Op::Tanh(_) => Kind::Activation,
        _ => Kind::Other,
    }
}

/// Whether ONNX Runtime knows the extents of the node's results before it runs.
fn extents_known(graph: &Graph, id: NodeId, constant: &[bool], known: &[bool]) -> bool {
    let node = graph.node(id);
    let is_constant = |v: &ValueId| constant[v.index()];
    let of = |i: usize| node.inputs.get(i).copied().flatten();
    match &node.op {
        Op::Shape(_) | Op::Size(_) => true,
        Op::Reshape(_) => {
            let whole = of(1).and_then(|v| graph.constant(v)).and_then(|t| t.to_i64s());
            let fixed = whole.is_some_and(|all| all.iter().all(|&n| n > 0));
            fixed
                || of(0).is_some_and(|v| known[v.index()])
                    && of(1).as_ref().is_some_and(is_constant)
        }
        Op::Slice(_) | Op::Expand(_) | Op::Tile(_) | Op::Pad(_) | Op::Resize(_) => {
            let rest = node.inputs.iter().skip(1).flatten();
            of(0).is_some_and(|v| known[v.index()]) && rest.clone().all(is_constant)
        }
        Op::Cast(_) | Op::DequantizeLinear(_) => of(0).is_none_or(|v| known[v.index()]),
        _ => node.inputs.iter().flatten().all(|v| is_constant(v) || known[v.index()]),
    }
}

fn activates(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let bounds = || node.inputs.iter().skip(1).flatten().all(|&v| graph.constant(v).is_some());
    match &node.op {
        Op::Relu(_) | Op::LeakyRelu(_) | Op::Sigmoid(_) | Op::Tanh(_) | Op::HardSigmoid(_) => true,
        Op::Clip(_) => bounds(),
        _ => false,
    }
}

/// The last of the nodes that a convolution takes over, by its result, and all of them.
fn taken_over(graph: &Graph, id: NodeId, v: ValueId) -> (ValueId, Vec<NodeId>) {
    let (mut last, mut taken) = (v, Vec::new());
    if matches!(graph.node(id).op, Op::FusedConv(_)) {
        return (last, taken);
    }
    let channels = graph.value(v).ty.extents().and_then(|x| x.get(1).copied());
    while let Some(next) = only_reader(graph, last) {
        let node = graph.node(next);
        let rest = node.inputs.iter().flatten().filter(|&&x| x != last);
        let constants: Option<Vec<_>> = rest.map(|&x| graph.constant(x)).collect();
        let per_channel = constants.as_ref().is_some_and(|all| {
            let [one] = &all[..] else { return false };
            one.dims().len() >= 3 && one.dims().iter().copied().max() == channels
        });
        let folds = match node.op {
            Op::BatchNormalization(_) => constants.is_some() && node.inputs[0] == Some(last),
            Op::Add(_) | Op::Mul(_) => per_channel,
            _ => false,
        };
        let activates = activates(graph, next) && node.inputs[0] == Some(last);
        let Some(y) = result(graph, next).filter(|_| folds || activates) else { break };
        last = y;
        taken.push(next);
        if activates {
            break;
        }
    }
    (last, taken)
}

/// For a Sigmoid, the product with its operand, and the result of that.
fn gelu(graph: &Graph, id: NodeId) -> Option<(NodeId, ValueId)> {
    let node = graph.node(id);
    let (Op::Sigmoid(_), Some(x)) = (&node.op, node.inputs[0]) else { return None };
    let s = result(graph, id)?;
    let product = only_reader(graph, s)?;
    let other = graph.node(product);
    let pair = [Some(x), Some(s)];
    let both = other.inputs[..] == pair || other.inputs[..] == [Some(s), Some(x)];
    (matches!(other.op, Op::Mul(_)) && both).then_some((product, result(graph, product)?))
}

struct Layout<'g> {
    graph: &'g Graph,
    /// Channels of one block.
    block: u64,
    known: &'g [bool],
    tensors: Vec<Tensor>,
    steps: Vec<Step>,
    plain: HashMap<ValueId, usize>,
    blocked: HashMap<ValueId, Blocked>,
    /// Copies in blocks of values that are not.
    inward: HashMap<ValueId, usize>,
    /// Values in blocks that others read plain: both, with the node that makes them.
    outward: Vec<(usize, usize, NodeId)>,
    /// How many operands read each value.
    readers: HashMap<ValueId, usize>,
}

impl Layout<'_> {
    fn tensor(&mut self, v: ValueId) -> Result<usize, UnknownSize> {
        if let Some(&t) = self.plain.get(&v) {
            return Ok(t);
        }
        let value = self.graph.value(v);
        let bytes = value.ty.bytes().ok_or_else(|| UnknownSize::of(value))?;
        let storage = match self.graph.producer(v) {
            None => Storage::Given,
            Some(_) if value.is_output() => Storage::Output,
            Some(_) => Storage::Buffer,
        };
        let extents = value.ty.extents().filter(|_| self.known[v.index()]);
        self.tensors.push(Tensor { bytes, extents, storage });
        self.plain.insert(v, self.tensors.len() - 1);
        Ok(self.tensors.len() - 1)
    }

    /// A value as it is in the file.
    fn read(&mut self, v: ValueId) -> Result<usize, UnknownSize> {
        let is_new = !self.plain.contains_key(&v);
        let t = self.tensor(v)?;
        if let (Some(b), true) = (self.blocked.get(&v), is_new) {
            let node = self.graph.producer(v).unwrap_or(self.steps[0].node);
            self.outward.push((b.tensor, t, node));
        }
        Ok(t)
    }

    /// A new value in blocks.
    fn block(&mut self, v: ValueId) -> Result<(usize, u64), UnknownSize> {
        let value = self.graph.value(v);
        let mut dims = value.ty.extents().ok_or_else(|| UnknownSize::of(value))?;
        let channels = dims.get(1).copied().unwrap_or(1);
        if let Some(c) = dims.get_mut(1) {
            *c = c.next_multiple_of(self.block);
        }
        let bytes = 4 * dims.iter().product::<u64>();
        let extents = Some(dims).filter(|_| self.known[v.index()]);
        self.tensors.push(Tensor { bytes, extents, storage: Storage::Buffer });
        Ok((self.tensors.len() - 1, channels))
    }

    fn push(
        &mut self,
        node: NodeId,
        reads: Vec<usize>,
        makes: Vec<usize>,
        age: (u8, usize),
    ) -> usize {
        let (over, view) = (Vec::new(), false);
        self.steps.push(Step { node, reads, makes, over, view, workspace: 0, age });
        self.steps.len() - 1
    }

    /// The age of a node that the choice of layouts makes.
    fn newer(&self) -> (u8, usize) {
        (3, self.steps.len())
    }

    /// The value in blocks, as a copy if it is not.
    fn read_blocked(&mut self, v: ValueId, node: NodeId) -> Result<usize, UnknownSize> {
        if let Some(b) = self.blocked.get(&v) {
            return Ok(b.tensor);
        }
        if let Some(&t) = self.inward.get(&v) {
            return Ok(t);
        }
        let from = self.tensor(v)?;
        let (to, _) = self.block(v)?;
        let age = self.newer();
        self.push(node, vec![from], vec![to], age);
        self.inward.insert(v, to);
        Ok(to)
    }

    fn unit(&mut self, u: &Unit) -> Result<(), UnknownSize> {
        if self.in_blocks(u)? {
            return Ok(());
        }
        let graph = self.graph;
        let reads = u.reads.iter().map(|&v| self.read(v)).collect::<Result<Vec<_>, _>>()?;
        let makes = u.makes.iter().map(|&v| self.tensor(v)).collect::<Result<Vec<_>, _>>()?;
        let op = &graph.node(u.node).op;
        let step = self.push(u.node, reads.clone(), makes, u.age);
        let s = &mut self.steps[step];
        let aliased = |o: &Op| {
            matches!(o, Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_))
                || OpCtx::of(graph, u.node).is_identity(0)
        };
        s.view = aliased(op) && !reads.is_empty();
        s.over = match op {
            Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) => {
                reads.iter().copied().take(2).collect()
            }
            Op::FusedConv(_) => reads.get(1).copied().into_iter().collect(),
            _ if overwrites(op) && u.age.0 == 0 => reads.iter().copied().take(1).collect(),
            _ => Vec::new(),
        };
        s.workspace = match op {
            Op::ConvTranspose(_) => columns(graph, u.node),
            _ => OnnxRuntime.workspace(graph, u.node),
        };
        Ok(())
    }

    /// Adds the node if it computes in blocks.
    fn in_blocks(&mut self, u: &Unit) -> Result<bool, UnknownSize> {
        let (&[y], graph) = (&u.makes[..], self.graph) else { return Ok(false) };
        let Some(&x) = u.reads.first() else { return Ok(false) };
        let all: Option<Vec<Blocked>> =
            u.reads.iter().map(|v| self.blocked.get(v).copied()).collect();
        let op = &graph.node(u.node).op;
        let newer = self.newer();
        let step = match (u.kind, all) {
            (Kind::Conv { activated }, _) => {
                let Some(direct) = conv(graph, u.node, self.block) else { return Ok(false) };
                let mut reads = Vec::new();
                for (i, &v) in u.reads.iter().enumerate() {
                    reads.push(if direct && i == 0 {
                        self.read(v)?
                    } else {
                        self.read_blocked(v, u.node)?
                    });
                }
                let over = reads.get(1).copied().into_iter().collect();
                let (tensor, channels) = self.block(y)?;
                let age = self.newer();
                let step = self.push(u.node, reads, vec![tensor], age);
                self.steps[step].over = over;
                let single = self.readers.get(&y) == Some(&1) && !graph.value(y).is_output();
                let open = (single && !activated && u.reads.len() == 1).then_some(step);
                let like = self.like(u.node, x, y);
                self.blocked.insert(y, Blocked { tensor, channels, like, open });
                return Ok(true);
            }
            (Kind::Pool, _) if pools(graph, u.node, self.block) => {
                let read = self.read_blocked(x, u.node)?;
                let (tensor, _) = self.block(y)?;
                let age = self.newer();
                self.push(u.node, vec![read], vec![tensor], age)
            }
            (Kind::GlobalPool, Some(all)) => {
                let (tensor, _) = self.block(y)?;
                self.push(u.node, vec![all[0].tensor], vec![tensor], newer)
            }
            (Kind::Sum | Kind::Product, Some(all)) if all.len() == 2 => {
                if all[0].channels != all[1].channels {
                    return Ok(false);
                }
                let extents = |i: usize| self.tensors[all[i].tensor].extents.as_ref();
                let known = extents(0).is_some() && extents(0) == extents(1);
                let same = known || all[0].like == all[1].like;
                if !same && u.kind == Kind::Product {
                    return Ok(false);
                }
                if let (true, Kind::Sum, Some(i)) =
                    (same, u.kind, all.iter().position(|b| self.takes_summand(b)))
                {
                    let (conv, other) = (all[i], all[1 - i].tensor);
                    let at = conv.open.unwrap_or_default();
                    self.steps[at].reads.push(other);
                    self.steps[at].over = vec![other];
                    let single = self.readers.get(&y) == Some(&1) && !graph.value(y).is_output();
                    let open = conv.open.filter(|_| single);
                    self.blocked.insert(y, Blocked { open, ..conv });
                    return Ok(true);
                }
                let (tensor, _) = self.block(y)?;
                let reads: Vec<usize> = all.iter().map(|b| b.tensor).collect();
                let step = self.push(u.node, reads.clone(), vec![tensor], u.age);
                self.steps[step].over = if same { reads } else { Vec::new() };
                step
            }
            (Kind::Activation, Some(all)) => {
                if u.age.0 == 0 && all[0].open.is_some() {
                    self.blocked.insert(y, Blocked { open: None, ..all[0] });
                    return Ok(true);
                }
                let (tensor, _) = self.block(y)?;
                let step = self.push(u.node, vec![all[0].tensor], vec![tensor], u.age);
                // A product with the own sigmoid keeps its operand.
                if u.age.0 == 0 {
                    self.steps[step].over = vec![all[0].tensor];
                }
                step
            }
            (Kind::Other, Some(all)) => {
                let aligned = || all.iter().all(|b| b.channels.is_multiple_of(self.block));
                let age = match op {
                    Op::Concat(c) if c.axis == 1 && aligned() => u.age,
                    Op::Resize(_) | Op::Upsample(_) if repeats(graph, u.node) => newer,
                    _ => return Ok(false),
                };
                let (tensor, _) = self.block(y)?;
                self.push(u.node, all.iter().map(|b| b.tensor).collect(), vec![tensor], age)
            }
            _ => return Ok(false),
        };
        let tensor = self.steps[step].makes[0];
        let channels = graph.value(y).ty.extents().and_then(|d| d.get(1).copied()).unwrap_or(1);
        let like = match (u.kind, self.blocked.get(&x)) {
            (Kind::Pool, _) => self.like(u.node, x, y),
            (Kind::Sum | Kind::Product | Kind::Activation, Some(b)) => b.like,
            (Kind::Other, Some(b)) if matches!(op, Op::Concat(_)) => b.like,
            _ => [y; 3],
        };
        self.blocked.insert(y, Blocked { tensor, channels, like, open: None });
        Ok(true)
    }

    /// The values that the extents of a convolution's or a pool's result are those of.
    fn like(&self, node: NodeId, x: ValueId, y: ValueId) -> [ValueId; 3] {
        let Some(b) = self.blocked.get(&x) else { return [y; 3] };
        let windows = window::resolved(&OpCtx::of(self.graph, node)).ok().flatten();
        let keeps = |axis: usize| {
            let window = windows.as_ref().and_then(|w| w.get(axis));
            window.is_some_and(|w| w.stride == 1 && w.begin + w.end + 1 == w.extent())
        };
        let of = |axis: usize| if keeps(axis) { b.like[axis + 1] } else { y };
        [b.like[0], of(0), of(1)]
    }

    /// Whether the value is that of a convolution that can add another value to its result.
    fn takes_summand(&self, b: &Blocked) -> bool {
        b.open.is_some_and(|step| self.steps[step].reads.len() == 1)
    }

    /// Adds the copies that are not in blocks.
    fn finish(&mut self) -> Result<(), UnknownSize> {
        let outputs: Vec<ValueId> = self.graph.outputs().to_vec();
        for v in outputs {
            if self.blocked.contains_key(&v) {
                self.read(v)?;
            }
        }
        for (i, (from, to, node)) in std::mem::take(&mut self.outward).into_iter().enumerate() {
            self.push(node, vec![from], vec![to], (4, i));
        }
        Ok(())
    }
}

/// Elementwise operators whose result may take over the operand's buffer.
fn overwrites(op: &Op) -> bool {
    matches!(
        op,
        Op::Relu(_)
            | Op::LeakyRelu(_)
            | Op::Clip(_)
            | Op::Sigmoid(_)
            | Op::HardSigmoid(_)
            | Op::Tanh(_)
            | Op::Elu(_)
            | Op::Exp(_)
            | Op::Log(_)
            | Op::Sqrt(_)
            | Op::Reciprocal(_)
            | Op::Abs(_)
            | Op::Neg(_)
            | Op::Floor(_)
            | Op::Ceil(_)
    )
}

/// Bytes of the columns of a transposed convolution, as large as what each of its pixels adds to.
fn columns(graph: &Graph, id: NodeId) -> u64 {
    let node = graph.node(id);
    let of =
        |i: usize| node.inputs.get(i).copied().flatten().and_then(|v| graph.value(v).ty.extents());
    match (of(0), of(1)) {
        (Some(x), Some(w)) => {
            4 * w.iter().skip(1).product::<u64>() * x.iter().skip(2).product::<u64>()
        }
        _ => 0,
    }
}

fn is_f32(graph: &Graph, v: ValueId) -> bool {
    let ty = &graph.value(v).ty;
    ty.dtype() == Some(DType::F32) && ty.rank() == Some(4)
}

/// Whether a convolution that computes in blocks reads its operand plain; `None` if it does not.
fn conv(graph: &Graph, id: NodeId, block: u64) -> Option<bool> {
    let node = graph.node(id);
    let group = match &node.op {
        Op::Conv(c) => c.group,
        Op::FusedConv(c) => c.group,
        _ => return None,
    };
    let group = u64::try_from(group).ok()?;
    let &[Some(x), Some(w), ..] = &node.inputs[..] else { return None };
    if let Some(Some(b)) = node.inputs.get(2) {
        graph.constant(*b)?;
    }
    graph.constant(w)?;
    if !is_f32(graph, x) || !is_f32(graph, w) {
        return None;
    }
    let w = graph.value(w).ty.extents()?;
    let (out, inner) = (w[0], w[1]);
    if group > 1 {
        let depthwise = inner == 1 && out == group;
        let whole = inner.is_multiple_of(block) && (out / group).is_multiple_of(block);
        return (out.is_multiple_of(ALIGNED) && (depthwise || whole)).then_some(false);
    }
    match inner {
        i if i < block => Some(true),
        i => i.is_multiple_of(ALIGNED).then_some(false),
    }
}

fn pools(graph: &Graph, id: NodeId, block: u64) -> bool {
    let node = graph.node(id);
    let &[Some(x), ..] = &node.inputs[..] else { return false };
    let channels = graph.value(x).ty.extents().and_then(|d| d.get(1).copied());
    is_f32(graph, x)
        && node.outputs.iter().flatten().count() == 1
        && channels.is_some_and(|c| c.is_multiple_of(block))
}

/// Whether a Resize repeats pixels a whole number of times.
fn repeats(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let nearest = match &node.op {
        Op::Upsample(u) => u.mode == "nearest",
        Op::Resize(r) => {
            r.mode == "nearest"
                && r.nearest_mode == "floor"
                && r.coordinate_transformation_mode.as_deref() == Some("asymmetric")
        }
        _ => false,
    };
    let extents = |v: Option<ValueId>| v.and_then(|v| graph.value(v).ty.extents());
    let (x, y) = (extents(node.inputs[0]), extents(result(graph, id)));
    let whole = |(x, y): (Vec<u64>, Vec<u64>)| {
        x.len() == 4 && x.iter().zip(&y).all(|(a, b)| *a > 0 && b.is_multiple_of(*a))
    };
    nearest && x.zip(y).is_some_and(whole)
}
