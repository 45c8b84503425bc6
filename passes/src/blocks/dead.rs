//! `drop-dead-channels`: channels that are zero for every input go, with all that reads only them.
//!
//! Before:
//! ```text
//! graph @main(%x: f32[1,1,4,4]) -> (%y) opset 13 {
//!   %w = const [1,0,2]                            : f32[3,1,1,1]
//!   %b = const [1,-3,0]                           : f32[3]
//!   %c = Conv %x, %w, %b                          : f32[1,3,4,4]
//!   %r = Relu %c                                  : f32[1,3,4,4]
//!   %v = const [1,2,3,4,5,6]                      : f32[2,3,1,1]
//!   %y = Conv %r, %v {pads=[1,1,1,1]}             : f32[1,2,6,6]
//! }
//! ```
//! After:
//! ```text
//! graph @main(%x: f32[1,1,4,4]) -> (%y) opset 13 {
//!   %w = const [1,2]                              : f32[2,1,1,1]
//!   %b = const [1,0]                              : f32[2]
//!   %c = Conv %x, %w, %b                          : f32[1,2,4,4]
//!   %r = Relu %c                                  : f32[1,2,4,4]
//!   %v = const [1,3,4,6]                          : f32[2,2,1,1]
//!   %y = Conv %r, %v {pads=[1,1,1,1]}             : f32[1,2,6,6]
//! }
//! ```
//!
//! Which channels are constant is computed with the evaluator from the weights alone (see `constant.rs`), so
//! that without one the pass does nothing. Which channels go together, [`coupled`](super::coupled()) says: a
//! channel of a residual addition stays if one side of it is alive, and a grouped convolution loses groups as
//! a whole. Inputs and outputs of the graph keep their channels, and every axis keeps an element.
//!
//! # Exactness
//! A dead channel adds a product with a factor of zero to sums that start at +0, and no such sum becomes -0:
//! where numbers are finite, no bit changes. Weights that are multiplied by a dead channel are checked to be
//! finite. Activations are not: where a filter of zeros reads an infinity or NaN, its channel was NaN, and is
//! gone. So the pass is not `BitExact`, and `verify` reports that the models are equal "but for infinities,
//! NaN, …" if it finds such an input. A sum that starts at another number, as some runtimes start at the
//! first product or at the bias, may also differ in the sign of a zero.
//!
//! # Other constants
//! With `constants=yes`, channels that are constant but not zero go as well, where each layer that sums over
//! them adds the same number at every position (so not over zero padding) and has a constant bias, or room for
//! one: Conv, ConvTranspose, Gemm, and MatMul with an Add after it. The new bias is computed in `f64` and
//! rounded once. Channels that are multiplied by weights of zero only go, too, whatever they are.

use std::collections::{BTreeMap, BTreeSet};

use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::region::{self, Relation};
use graph_opt_ir::{DType, EditError, Graph, NodeId, Op, Tensor, ValueId};

use super::constant::{Constant, Constants, Terms, summed, zeros};
use super::coupled::{Coupled, coupled};
use super::cut::{Instead, cutting, indices};
use crate::fuse::only_producer;
use crate::options::{OptionError, OptionInfo, Options};
use crate::pass::{Exactness, Outcome, Pass, PassCtx, PassInfo};
use crate::simplify::attempt;
use crate::tile::slices::gather_tensor;
use crate::units::count;

/// Its entry in the registry.
pub(crate) const INFO: PassInfo = PassInfo {
    name: "drop-dead-channels",
    summary: "channels that are zero whatever the input is, with the weights that make and read them",
    exactness: Exactness::Reassociates,
    options: &[OptionInfo {
        name: "constants",
        value: "yes",
        help: "also channels that are another constant, which goes into the bias of what reads them, and \
               channels that are multiplied by zeros only (default no)",
    }],
    make,
};

fn make(o: &Options) -> Result<Box<dyn Pass>, OptionError> {
    let constants = o.choice("constants", &[("yes", true), ("no", false)])?;
    Ok(Box::new(DropDeadChannels::default().constants(constants.unwrap_or(false))))
}

/// The pass `drop-dead-channels`, which removes channels that are constant for every input.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DropDeadChannels {
    constants: bool,
}

impl DropDeadChannels {
    /// Whether channels go that are constant but not zero, and those that are multiplied by zeros only.
    #[must_use]
    pub fn constants(mut self, constants: bool) -> Self {
        self.constants = constants;
        self
    }
}

impl Pass for DropDeadChannels {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn options(&self) -> Options {
        let options = Options::default();
        if self.constants { options.with("constants", "yes") } else { options }
    }

    fn exactness(&self) -> Exactness {
        if self.constants { Exactness::RoundsWeights } else { Exactness::Reassociates }
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        let mut any = false;
        loop {
            let mut blocked = Vec::new();
            let removals = self.removals(cx, &mut blocked);
            let mut changed = false;
            for r in &removals {
                if cx.is_done() {
                    return Ok(());
                }
                // An edit before may have replaced a part of it. The next round looks at it again.
                if !r.is_there(cx.graph()) {
                    continue;
                }
                let label = cx.graph().label(r.coupled.origin).to_owned();
                match cutting(cx.graph(), &r.coupled, &r.keep, r.instead.clone(), INFO.name) {
                    Err(e) => blocked.push((label, e.to_string())),
                    Ok(edit) => {
                        if attempt(cx, &edit)? > 0 {
                            changed = true;
                            cx.remark_on(label, Outcome::Applied, &*r.message);
                        }
                    }
                }
            }
            if changed {
                // Without these channels, more of the graph may be without effect.
                any = true;
                continue;
            }
            if !any && blocked.is_empty() {
                cx.remark_on("", Outcome::NoMatch, "no channel is known to be dead");
            }
            for (label, why) in blocked {
                cx.remark_on(label, Outcome::Blocked, why);
            }
            return Ok(());
        }
    }
}

/// Units that can go.
struct Removal {
    coupled: Coupled,
    /// For each unit, whether it stays.
    keep: Vec<bool>,
    /// The biases that take over what the units add.
    instead: Instead,
    /// What is done, for the remark.
    message: String,
}

impl Removal {
    /// Whether the graph still has all that it is about.
    fn is_there(&self, graph: &Graph) -> bool {
        self.coupled.axes.iter().all(|a| graph.get_value(a.value).is_some())
            && self.instead.keys().all(|k| graph.get_node(k.0).is_some())
            && graph.get_node(self.coupled.origin).is_some()
    }
}

impl DropDeadChannels {
    /// What can go, and for layers with constant channels that stay, why they do.
    fn removals(&self, cx: &PassCtx<'_, '_>, blocked: &mut Vec<(String, String)>) -> Vec<Removal> {
        let graph = cx.graph();
        let groups = coupled(graph);
        let axes = groups.iter().flat_map(|c| c.axes.iter().map(|a| (a.value, a.axis))).collect();
        let constants = Constants::of(graph, cx.evaluator, &axes);
        if constants.is_empty() && !self.constants {
            return Vec::new();
        }
        let mut all = Vec::new();
        for coupled in groups.into_iter().filter(|c| cx.selected(c.origin)) {
            let endings = Endings::of(graph, &constants, &coupled, self.constants);
            let mut keep: Vec<bool> =
                (0..coupled.units).map(|u| endings.terms(u).is_none()).collect();
            let order: Vec<usize> = (0..coupled.units).collect();
            coupled.cover(&mut keep, &order);
            let stays = (0..coupled.units).filter(|&u| keep[u] && endings.is_constant(u)).count();
            if stays > 0 {
                let what = count(stays, "channel");
                let why = match self.constants {
                    _ if stays == coupled.units => "one has to stay",
                    true => {
                        "what reads them pads with zeros, has no constant bias, or sums in another \
                         type than f32"
                    }
                    false => "constants=yes removes those that are not zero, where a bias has room",
                };
                let why = format!("{what} constant, but kept: {why}");
                blocked.push((graph.label(coupled.origin).to_owned(), why));
            }
            if keep.iter().all(|&k| k) {
                continue;
            }
            let Some(instead) = endings.biases(&coupled, &keep) else {
                let why = "the bias that takes over a constant channel would not be finite";
                blocked.push((graph.label(coupled.origin).to_owned(), why.to_owned()));
                continue;
            };
            let gone = keep.iter().filter(|k| !**k).count();
            let mut message = format!("{gone} of {} removed", count(coupled.units, "channel"));
            if !instead.is_empty() {
                message += &format!(", into the bias of {}", count(instead.len(), "layer"));
            }
            all.push(Removal { coupled, keep, instead, message });
        }
        all
    }
}

/// A layer that sums over units.
struct Ending {
    node: NodeId,
    /// What it sums products of, with the axes.
    factors: [(ValueId, usize); 2],
    /// What they are.
    kinds: [Kind; 2],
    /// For each index along the axes, its unit.
    unit: Vec<Option<usize>>,
}

/// A factor of the products that a layer sums.
enum Kind {
    /// It is the result of a node.
    Computed,
    /// It is a constant, and zero at these indices.
    Weights(Vec<bool>),
    /// It is a constant with infinities or NaN, so that 0 times it is not 0.
    Infinite,
}

impl Kind {
    fn of(graph: &Graph, v: ValueId, axis: usize) -> Self {
        match graph.constant(v) {
            None => Self::Computed,
            Some(t) => zeros(&t, axis).map_or(Self::Infinite, Self::Weights),
        }
    }
}

/// What a unit adds to the sums of one layer: a number for each of the layer's own channels.
struct Term {
    ending: usize,
    sums: Vec<f64>,
}

/// Where units end: in layers that sum over them.
struct Endings<'a> {
    graph: &'a Graph,
    all: Vec<Ending>,
    /// For each unit, what it adds to sums; `None` if it stays.
    terms: Vec<Option<Vec<Term>>>,
    /// For each unit, whether its channels are constant where they are summed over.
    constant: Vec<bool>,
}

impl<'a> Endings<'a> {
    fn of(graph: &'a Graph, constants: &Constants<'_>, coupled: &Coupled, others: bool) -> Self {
        let (all, mut stays) = endings(graph, coupled);
        let mut terms: Vec<Option<Vec<Term>>> = Vec::new();
        let mut constant = Vec::new();
        for (u, stays) in stays.iter_mut().enumerate() {
            let here = || all.iter().enumerate().filter(|(_, e)| e.unit.contains(&Some(u)));
            // What nothing sums over is not read at all, which is not looked for here.
            *stays |= here().next().is_none();
            let mut known = !*stays;
            let mut of_unit = Vec::new();
            for (i, e) in here() {
                let left: Vec<usize> = (0..e.unit.len())
                    .filter(|&k| e.unit[k] == Some(u) && !e.is_nothing(constants, k, others))
                    .collect();
                if left.is_empty() {
                    continue;
                }
                known &= left.iter().all(|&k| e.is_constant(constants, k));
                let sums = match others && known && !*stays {
                    true => e.sums(graph, constants, &left),
                    false => None,
                };
                match sums {
                    Some(sums) => of_unit.push(Term { ending: i, sums }),
                    None => *stays = true,
                }
            }
            constant.push(known);
            terms.push((!*stays).then_some(of_unit));
        }
        Self { graph, all, terms, constant }
    }

    /// What the unit adds to the layers that sum over it; `None` if it stays.
    fn terms(&self, unit: usize) -> Option<&[Term]> {
        self.terms[unit].as_deref()
    }

    fn is_constant(&self, unit: usize) -> bool {
        self.constant[unit]
    }

    /// The biases of the layers, with what the units that go added to their sums; `None` if a bias would
    /// not be finite.
    fn biases(&self, coupled: &Coupled, keep: &[bool]) -> Option<Instead> {
        let mut sums: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for t in (0..keep.len()).filter(|&u| !keep[u]).filter_map(|u| self.terms(u)).flatten() {
            let all = sums.entry(t.ending).or_insert_with(|| vec![0.0; t.sums.len()]);
            all.iter_mut().zip(&t.sums).for_each(|(a, t)| *a += t);
        }
        let mut instead = Instead::new();
        for (ending, sums) in sums {
            let bias = self.all[ending].bias(self.graph)?;
            instead.insert(bias.at, bias.plus(self.graph, coupled, keep, &sums)?);
        }
        Some(instead)
    }
}

/// The layers that sum over the units, and for each unit whether it stays because one of them is not
/// understood.
fn endings(graph: &Graph, coupled: &Coupled) -> (Vec<Ending>, Vec<bool>) {
    let unit = |v: ValueId, axis| coupled.axes.iter().find(|a| (a.value, a.axis) == (v, axis));
    let mut stays = vec![false; coupled.units];
    let mut all = Vec::new();
    let nodes: BTreeSet<NodeId> =
        coupled.axes.iter().flat_map(|a| graph.value(a.value).uses().map(|u| u.node)).collect();
    for id in nodes {
        let node = graph.node(id);
        // Where there are no relations, no axis has units.
        let Ok(rel) = region::relations(&OpCtx::of(graph, id), 0) else { continue };
        let factors: Vec<(ValueId, usize)> =
            summed(&rel).filter_map(|(i, axis)| Some((node.inputs[i]?, axis))).collect();
        let Some(axis) = factors.iter().find_map(|f| unit(f.0, f.1)) else { continue };
        let float = |v: ValueId| graph.value(v).ty.dtype() == Some(DType::F32);
        match <[_; 2]>::try_from(factors) {
            Ok(factors)
                if node.op.partial_sums().is_some() && factors.iter().all(|f| float(f.0)) =>
            {
                let kinds = factors.map(|(v, axis)| Kind::of(graph, v, axis));
                all.push(Ending { node: id, factors, kinds, unit: axis.unit.clone() });
            }
            _ => axis.unit.iter().flatten().for_each(|&u| stays[u] = true),
        }
    }
    (all, stays)
}

impl Ending {
    /// Whether the products at this index are zero: a channel that is zero times finite weights, or, with
    /// `others`, anything times weights that are zero.
    fn is_nothing(&self, constants: &Constants<'_>, index: usize, others: bool) -> bool {
        [(0, 1), (1, 0)].into_iter().any(|(one, other)| {
            let zero = match &self.kinds[one] {
                Kind::Computed => {
                    let (v, axis) = self.factors[one];
                    constants.at(v, axis, index).is_some_and(Constant::is_zero)
                }
                Kind::Weights(zeros) => others && zeros[index],
                Kind::Infinite => false,
            };
            zero && !matches!(self.kinds[other], Kind::Infinite)
        })
    }

    /// Whether the products at this index are those of a constant channel and weights.
    fn is_constant(&self, constants: &Constants<'_>, index: usize) -> bool {
        [(0, 1), (1, 0)].into_iter().any(|(one, other)| {
            let (v, axis) = self.factors[one];
            matches!((&self.kinds[one], &self.kinds[other]), (Kind::Computed, Kind::Weights(_)))
                && constants.at(v, axis, index).is_some()
        })
    }

    /// What the products at these indices add to each of the layer's channels; `None` if they add other
    /// numbers at other positions, or no bias can take them over.
    fn sums(
        &self,
        graph: &Graph,
        constants: &Constants<'_>,
        indices: &[usize],
    ) -> Option<Vec<f64>> {
        let bias = self.bias(graph)?;
        let ctx = OpCtx::of(graph, self.node);
        let rel = region::relations(&ctx, 0).ok()?;
        let region = constants.one_of_many(self.node, &rel, bias.result.0)?;
        let sums = constants.compute(&ctx, self.node, 0, &region, Terms::At(indices))?;
        (sums.dims().get(bias.result.1) == Some(&bias.channels)).then_some(())?;
        let channel = |c: u64| {
            let part = gather_tensor(&sums, bias.result.1, &[c as usize]).ok()?;
            Constant::of(&part)?.number().map(f64::from)
        };
        (0..bias.channels).map(channel).collect()
    }

    /// The constant that is added to each of the layer's channels.
    fn bias(&self, graph: &Graph) -> Option<Bias> {
        let node = graph.node(self.node);
        let [Some(out)] = node.outputs[..] else { return None };
        let rel = region::relations(&OpCtx::of(graph, self.node), 0).ok()?;
        let weights = self.kinds.iter().position(|k| matches!(k, Kind::Weights(_)))?;
        let weights = node.inputs.iter().position(|v| *v == Some(self.factors[weights].0))?;
        let made = rel.operands[weights].iter().filter_map(Relation::output);
        let [axis] = made.collect::<Vec<_>>()[..] else { return None };
        let dims = graph.value(out).ty.dims()?;
        let channels = dims.get(axis)?.known()?;
        let third = || node.inputs.get(2).copied().flatten();
        let (at, old) = match &node.op {
            Op::Conv(_) | Op::ConvTranspose(_) if axis == 1 => ((self.node, 2), third()),
            Op::Gemm(g) if axis == 1 && g.beta == 1.0 && graph.opset() >= 7 => {
                ((self.node, 2), third())
            }
            Op::MatMul(_) if axis + 1 == dims.len() && graph.opset() >= 7 => {
                let reader = graph.value(out).uses().next()?.node;
                only_producer(graph, out)?;
                let operands = &graph.node(reader).inputs;
                let i = operands.iter().position(|v| *v != Some(out))?;
                matches!(graph.node(reader).op, Op::Add(_)).then_some(((reader, i), operands[i]))?
            }
            _ => return None,
        };
        let shape = match old {
            None if matches!(node.op, Op::MatMul(_)) => return None,
            None => vec![channels],
            Some(old) => {
                let old = graph.constant(old).filter(|t| t.dtype() == DType::F32)?;
                let by_channel = old.dims().last() == Some(&channels)
                    && old.len() as u64 == channels
                    && old.dims().len() <= dims.len();
                by_channel.then(|| old.dims().to_vec())?
            }
        };
        Some(Bias { at, old, result: (out, axis), channels, shape })
    }
}

/// The bias of a layer, or room for one.
struct Bias {
    /// The node that has it as an operand, and the operand's index.
    at: (NodeId, usize),
    /// The constant that it is.
    old: Option<ValueId>,
    /// The layer's result, and the axis of its channels.
    result: (ValueId, usize),
    /// Number of channels.
    channels: u64,
    /// Extents of the bias: 1 but for the last, which are the channels.
    shape: Vec<u64>,
}

impl Bias {
    /// The bias with a number for each channel added to it, of the channels that stay; `None` if a number
    /// is not finite.
    fn plus(
        &self,
        graph: &Graph,
        coupled: &Coupled,
        keep: &[bool],
        sums: &[f64],
    ) -> Option<Tensor> {
        let old = match self.old {
            Some(v) => graph.constant(v)?.to_f32s()?,
            None => vec![0.0; sums.len()],
        };
        let new: Vec<f32> = old.iter().zip(sums).map(|(b, s)| (f64::from(*b) + s) as f32).collect();
        if !new.iter().all(|x| x.is_finite()) {
            return None;
        }
        let new = Tensor::f32s(&self.shape, &new).ok()?;
        match coupled.kept(self.result.0, self.result.1, keep) {
            Some(stays) => gather_tensor(&new, self.shape.len() - 1, &indices(&stays)).ok(),
            None => Some(new),
        }
    }
}
