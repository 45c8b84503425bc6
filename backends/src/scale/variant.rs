//! Makes a variant of a block: removes units, and fits what is left to what the block computed before.

use graph_opt_ir::{Graph, Tensor};
use graph_opt_passes::blocks::{Coupled, CutError, coupled};

use super::error::ScaleError;
use super::layer::Bias;
use super::linear::{self, Factor};
use super::select::{Selector, Site};
use super::sums::{Sums, floats, sums};
use super::trace::Trace;

/// A smaller block.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The smaller block, with the interface of the original one.
    pub graph: Graph,
    /// For each set of coupled channels, how many units it has left.
    pub units: Vec<usize>,
    /// Labels of the layers that were fitted again, with the share of their variance that is lost.
    pub fitted: Vec<(String, f64)>,
    /// Labels of the layers that read removed channels but could not be fitted.
    pub unfitted: Vec<String>,
}

/// What fits the weights of a layer to its sums.
pub trait Refitter {
    /// Name, for reports.
    fn name(&self) -> &'static str;

    /// The new weights of a layer, width × outputs, row-major, the bias last; `None` to leave them.
    ///
    /// # Errors
    /// If the sums cannot be solved.
    fn refit(&self, sums: &Sums) -> Result<Option<Vec<f64>>, linear::Error>;
}

/// Leaves the weights as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unchanged;

impl Refitter for Unchanged {
    fn name(&self) -> &'static str {
        "unchanged"
    }

    fn refit(&self, _: &Sums) -> Result<Option<Vec<f64>>, linear::Error> {
        Ok(None)
    }
}

/// Ridge least squares towards the old weights. The ridge is the one that predicts rows best that are kept
/// apart; the weights are then fitted to all rows.
#[derive(Clone, Debug)]
pub struct Ridge {
    /// Ridges to try, relative to the mean of the Gram's diagonal.
    pub ridges: Vec<f64>,
}

impl Default for Ridge {
    fn default() -> Self {
        Self { ridges: vec![1e-6, 1e-4, 1e-3, 1e-2, 1e-1] }
    }
}

impl Refitter for Ridge {
    fn name(&self) -> &'static str {
        "ridge"
    }

    fn refit(&self, sums: &Sums) -> Result<Option<Vec<f64>>, linear::Error> {
        let all: Vec<usize> = (0..sums.fitted.width()).collect();
        let mut best: Option<(f64, f64)> = None;
        for &ridge in &self.ridges {
            let fit = sums.fitted.solve(&all, ridge, Some(&sums.prior))?;
            let loss = match sums.apart.samples() {
                0 => fit.residual,
                _ => sums.apart.residual_of(&all, &fit.weights)?,
            };
            if best.is_none_or(|(least, _)| loss < least) {
                best = Some((loss, ridge));
            }
        }
        let Some((_, ridge)) = best else { return Ok(None) };
        let mut whole = sums.fitted.clone();
        whole.merge(&sums.apart)?;
        Ok(Some(whole.solve(&all, ridge, Some(&sums.prior))?.weights))
    }
}

/// Makes variants of a block.
#[derive(Clone, Copy)]
pub struct Maker<'a> {
    /// Chooses the units that stay.
    pub selector: &'a dyn Selector,
    /// Fits the layers that read them.
    pub refitter: &'a dyn Refitter,
}

impl Maker<'_> {
    /// The block without a share `sparsity` of the units of each set of coupled channels. At sparsity 0 only
    /// those units go that are dead or depend linearly on others over the calibration data.
    ///
    /// `inputs` are pairs of what the original block reads and what the variant will read, which is the same
    /// unless blocks before it are smaller already. Sets are taken in the order of the schedule, and each
    /// layer is fitted to what the original computes in its place, so that later layers make up for what
    /// earlier ones have lost.
    ///
    /// # Errors
    /// If there is no data, the sparsity is not in 0..1, or the block cannot be cut or run.
    pub fn variant(
        &self,
        block: &Graph,
        sparsity: f64,
        inputs: &[(Tensor, Tensor)],
    ) -> Result<Variant, ScaleError> {
        if !(0.0..1.0).contains(&sparsity) {
            return Err(ScaleError::Sparsity(sparsity));
        }
        if inputs.is_empty() {
            return Err(ScaleError::NoData);
        }
        let mut trace = Trace::new(block)?;
        let mut made =
            Variant { graph: block.clone(), units: vec![], fitted: vec![], unfitted: vec![] };
        for first in coupled(block) {
            let Some(origin) = trace.now(first.origin) else { continue };
            let Some(group) = coupled(&trace.graph).into_iter().find(|c| c.origin == origin) else {
                continue;
            };
            let keep = self.keep(&trace, &group, sparsity, inputs)?;
            made.units.push(keep.iter().filter(|&&k| k).count());
            if keep.iter().all(|&k| k) {
                continue;
            }
            let readers: Vec<_> = group
                .readers
                .iter()
                .map(|r| r.node)
                .chain(group.unfitted.iter().copied())
                .filter_map(|n| trace.was(n))
                .collect();
            match trace.cut(&group, &keep) {
                Err(ScaleError::Cut(CutError::Node { node, .. })) => {
                    made.units.pop();
                    made.units.push(group.units);
                    made.unfitted.push(node);
                    continue;
                }
                done => done?,
            }
            for original in readers {
                self.refit(&mut trace, original, inputs, &mut made)?;
            }
        }
        made.graph = trace.graph;
        Ok(made)
    }

    /// Which units stay.
    fn keep(
        &self,
        trace: &Trace<'_>,
        group: &Coupled,
        sparsity: f64,
        inputs: &[(Tensor, Tensor)],
    ) -> Result<Vec<bool>, ScaleError> {
        let count = ((group.units as f64) * (1.0 - sparsity)).round().max(1.0) as usize;
        if count == group.units {
            let mut keep = vec![true; group.units];
            redundant(trace, group, inputs)?.into_iter().for_each(|u| keep[u] = false);
            group.cover(&mut keep, &Vec::from_iter(0..group.units));
            return Ok(keep);
        }
        let mut all = Vec::new();
        for r in &group.readers {
            all.extend(sums(trace, r, inputs)?);
        }
        let site = Site { graph: &trace.graph, coupled: group, sums: &all };
        let mut keep = vec![false; group.units];
        let chosen = self.selector.select(&site, count)?;
        chosen.iter().for_each(|&u| keep[u] = true);
        group.cover(&mut keep, &Vec::from_iter(0..group.units));
        Ok(keep)
    }

    fn refit(
        &self,
        trace: &mut Trace<'_>,
        original: graph_opt_ir::NodeId,
        inputs: &[(Tensor, Tensor)],
        made: &mut Variant,
    ) -> Result<(), ScaleError> {
        let Some(node) = trace.now(original) else { return Ok(()) };
        let label = trace.graph.label(node).to_owned();
        let sums = match trace.reader(original) {
            Some(r) => sums(trace, &r, inputs)?,
            None => None,
        };
        let Some(sums) = sums else {
            made.unfitted.push(label);
            return Ok(());
        };
        let linear = |source| ScaleError::Linear { layer: label.clone(), source };
        let Some(weights) = self.refitter.refit(&sums).map_err(linear)? else { return Ok(()) };
        let all: Vec<usize> = (0..sums.fitted.width()).collect();
        let lost = sums.fitted.residual_of(&all, &weights).map_err(linear)?;
        let spread = sums.fitted.spread();
        made.fitted.push((label, if spread > 0.0 { lost / spread } else { 0.0 }));
        write(trace, &sums, &weights)
    }
}

/// Writes fitted weights into the block.
fn write(trace: &mut Trace<'_>, sums: &Sums, fitted: &[f64]) -> Result<(), ScaleError> {
    let layer = &sums.layer;
    let graph = &trace.graph;
    let node = graph.node(layer.node);
    let old = node.inputs[layer.weights].and_then(|v| graph.constant(v));
    let Some(old) = old else { return Ok(()) };
    let mut weights = vec![0.0f32; old.len()];
    for c in 0..layer.columns() {
        for o in 0..layer.outputs {
            weights[layer.weight_at(c, o)] = (fitted[c * layer.outputs + o] / layer.alpha) as f32;
        }
    }
    let tensor = |dims: &[u64], values: &[f32]| {
        Tensor::f32s(dims, values).map_err(|e| ScaleError::Run(e.into()))
    };
    let mut operands = vec![(layer.weights, tensor(old.dims(), &weights)?)];
    let bias: Vec<f32> =
        fitted[layer.columns() * layer.outputs..].iter().map(|b| (b / layer.beta) as f32).collect();
    let dims = [layer.outputs as u64];
    match layer.bias {
        Bias::Operand(i) => operands.push((i, tensor(&dims, &bias)?)),
        Bias::Added(add, i) => trace.set(add, vec![(i, tensor(&dims, &bias)?)])?,
        Bias::Nowhere => {}
    }
    trace.set(layer.node, operands)
}

/// Units whose channels are dead, or depend linearly on others, over the calibration data: pivoted QR with a
/// relative pivot below this.
const DEPENDENT: f64 = 1e-6;

/// Units that others replace exactly, if all readers read them from one value.
fn redundant(
    trace: &Trace<'_>,
    group: &Coupled,
    inputs: &[(Tensor, Tensor)],
) -> Result<Vec<usize>, ScaleError> {
    let mut all = Vec::new();
    for r in &group.readers {
        let Some(layer) = super::layer::Layer::of(&trace.graph, r) else { return Ok(Vec::new()) };
        all.push((layer, r.image_axis));
    }
    let Some((layer, axis)) = all.first() else { return Ok(Vec::new()) };
    if !group.unfitted.is_empty() || all.iter().any(|(l, a)| (l.image, a) != (layer.image, axis)) {
        return Ok(Vec::new());
    }
    let units = group.axes.iter().find(|a| (a.value, a.axis) == (layer.image, *axis));
    let Some(units) = units.map(|a| &a.unit) else { return Ok(Vec::new()) };
    // Heads and groups have several channels a unit: those have no one channel that could replace them.
    let single: Option<Vec<usize>> = units.iter().copied().collect();
    let Some(single) = single.filter(|s| s.len() == group.units) else { return Ok(Vec::new()) };
    let padded = layer.pads();
    let mut factor = Factor::new(group.units);
    let run = trace.prepare()?;
    let linear =
        |source| ScaleError::Linear { layer: trace.graph.label(group.origin).into(), source };
    let most = (group.units * 16).max(8192).div_ceil(inputs.len());
    for (_, current) in inputs {
        let values = run.run_one(current, &[layer.image])?;
        let (image, dims) = (floats(&trace.graph, layer.image, &values[0])?, values[0].dims());
        let inner: usize = dims[*axis + 1..].iter().map(|&d| d as usize).product();
        let rows = image.len() / group.units.max(1);
        let step = rows.div_ceil(most).max(1);
        let mut row = vec![0.0; group.units];
        for r in (0..rows).step_by(step) {
            let start = r / inner * group.units * inner + r % inner;
            for (c, &u) in single.iter().enumerate() {
                row[u] = image[start + c * inner];
            }
            factor.add(&row).map_err(linear)?;
        }
    }
    if factor.samples() <= group.units as u64 + 1 {
        return Ok(Vec::new());
    }
    let found = factor.dependent(DEPENDENT).map_err(linear)?;
    // In zero padding a constant is not what it is elsewhere.
    let exact = |d: &linear::Dependency| !padded || d.constant == 0.0;
    Ok(found.into_iter().filter(exact).map(|d| d.unit).collect())
}
