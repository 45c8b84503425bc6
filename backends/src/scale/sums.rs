//! The least-squares problem of a layer: its image in the smaller block, and what the original block
//! computes in its place.

use graph_opt_ir::{Graph, NodeId, Op, Tensor, ValueId};
use graph_opt_passes::blocks::Reader;

use super::error::ScaleError;
use super::layer::{Bias, Layer};
use super::linear::Normal;
use super::trace::Trace;

/// Fewest rows that are added for each layer, if there are as many, in multiples of its columns.
const ROWS_PER_COLUMN: usize = 8;
/// More rows are added as long as the products take no longer than this many multiplications.
const WORK: u64 = 20_000_000_000;
/// Most rows that are added.
const ROWS: usize = 1 << 17;
/// Layers of more columns are not fitted: the time grows with the cube of their number, the memory with the
/// square.
const COLUMNS: usize = 6144;
/// A row in this many is kept apart, to choose the ridge by.
const APART: usize = 4;

/// The sums of a layer over the calibration data.
#[derive(Debug)]
pub struct Sums {
    /// The layer's node in the block as it is now.
    pub reader: Reader,
    /// Sums over the rows that weights are fitted to.
    pub fitted: Normal,
    /// Sums over the rows that are kept apart.
    pub apart: Normal,
    /// The weights that the layer has now, width × outputs, row-major, the bias last.
    pub prior: Vec<f64>,
    pub(super) layer: Layer,
}

impl Sums {
    /// Columns of these channels of the image.
    pub fn columns(&self, channels: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let taps = self.layer.taps;
        channels.into_iter().flat_map(|c| c * taps..(c + 1) * taps).collect()
    }

    /// The column of the bias, if the layer can have one.
    pub fn bias(&self) -> Option<usize> {
        self.fitted.bias()
    }

    /// Number of columns for each channel of the image.
    pub fn taps(&self) -> usize {
        self.layer.taps
    }
}

/// What is added to a layer's result until the value that the original block is asked for: the other
/// operands of the additions that follow. With a residual block this is the skip connection, so that the
/// layer makes up for what the skip has lost, too.
struct Added {
    /// The last sum, in the original block.
    total: ValueId,
    /// The values that are added, in the block as it is now.
    others: Vec<ValueId>,
}

/// The sums of the layer; `None` if it cannot be fitted.
pub(super) fn sums(
    trace: &Trace<'_>,
    reader: &Reader,
    inputs: &[(Tensor, Tensor)],
) -> Result<Option<Sums>, ScaleError> {
    let graph = &trace.graph;
    let Some(layer) = Layer::of(graph, reader).filter(|l| l.columns() <= COLUMNS) else {
        return Ok(None);
    };
    let Some(added) = added(trace, &layer) else { return Ok(None) };
    let kept = trace.kept(layer.node, layer.output_axis, layer.outputs);
    let bias = layer.bias != Bias::Nowhere;
    let (columns, outputs) = (layer.columns(), layer.outputs);
    let new = || Normal::new(columns, outputs, bias);
    let (mut fitted, mut apart) = (new(), new());
    let linear = |source| ScaleError::Linear { layer: graph.label(layer.node).into(), source };
    // The same share of rows of every batch, spread evenly.
    let square = (columns as u64).pow(2).max(1);
    let most = (WORK / square).min(ROWS as u64).max((columns * ROWS_PER_COLUMN) as u64) as usize;
    let per_batch = most.div_ceil(inputs.len().max(1)).max(1);
    let mut wanted = vec![layer.image, layer.result];
    wanted.extend(&added.others);
    let now = trace.prepare()?;
    let (mut x, mut y) = (vec![0.0; columns], vec![0.0; outputs]);
    for (b, (original, current)) in inputs.iter().enumerate() {
        let target = trace.whole.run_one(original, &[added.total])?;
        let values = now.run_one(current, &wanted)?;
        let [image, result, others @ ..] = &values[..] else { continue };
        let dims = result.dims();
        let fits = |(a, (t, r)): (usize, (&u64, &u64))| a == layer.output_axis || t == r;
        let total = target[0].dims();
        if total.len() != dims.len() || !total.iter().zip(dims).enumerate().all(fits) {
            return Ok(None);
        }
        let target_extent = target[0].dims()[layer.output_axis] as usize;
        let target = floats(trace.original, added.total, &target[0])?;
        let image_values = floats(graph, layer.image, image)?;
        let others: Vec<(Vec<u64>, Vec<f32>)> = others
            .iter()
            .zip(&added.others)
            .map(|(t, &v)| Ok((strides(t.dims(), dims), floats(graph, v, t)?)))
            .collect::<Result<_, ScaleError>>()?;
        let rows = layer.rows(dims);
        let step = rows.div_ceil(per_batch).max(1);
        for (taken, row) in (b % step..rows).step_by(step).enumerate() {
            layer.row(&image_values, image.dims(), dims, row, &mut x);
            for (o, y) in y.iter_mut().enumerate() {
                let in_target = layer.result_at(dims, target_extent, row, kept[o]);
                let here = layer.result_at(dims, outputs, row, o);
                *y = target[in_target];
                for (strides, values) in &others {
                    *y -= values[broadcast_at(here, dims, strides)];
                }
            }
            let sums = if taken % APART == APART - 1 { &mut apart } else { &mut fitted };
            sums.add(&x, &y).map_err(linear)?;
        }
    }
    let prior = prior(graph, &layer, bias);
    Ok(Some(Sums { reader: *reader, fitted, apart, prior, layer }))
}

/// The additions that follow the layer, as far as each sum has one reader.
fn added(trace: &Trace<'_>, layer: &Layer) -> Option<Added> {
    let graph = &trace.graph;
    let mut at = layer.result;
    let mut total = trace.original_value(at)?;
    let mut others = Vec::new();
    loop {
        let value = graph.value(at);
        let mut uses = value.uses();
        let (Some(u), None, false) = (uses.next(), uses.next(), value.is_output()) else { break };
        let node = graph.node(u.node);
        let (Op::Add(_), [Some(a), Some(b)], [Some(sum)]) =
            (&node.op, &node.inputs[..], &node.outputs[..])
        else {
            break;
        };
        let other = if u.index == 0 { *b } else { *a };
        let same = graph.value(*sum).ty.dims() == value.ty.dims();
        if other == at || !same || depends(graph, other, layer.node) {
            break;
        }
        let Some(next) = trace.original_value(*sum) else { break };
        (at, total) = (*sum, next);
        // The bias is fitted, so its old value is no part of the target.
        if layer.bias != Bias::Added(u.node, 1 - u.index) {
            others.push(other);
        }
    }
    Some(Added { total, others })
}

/// Whether the value is computed from results of the node.
fn depends(graph: &Graph, v: ValueId, on: NodeId) -> bool {
    let mut open = vec![v];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(v) = open.pop() {
        if let Some(p) = graph.producer(v)
            && seen.insert(p)
        {
            if p == on {
                return true;
            }
            open.extend(graph.node(p).inputs.iter().flatten());
        }
    }
    false
}

fn prior(graph: &Graph, layer: &Layer, bias: bool) -> Vec<f64> {
    let node = graph.node(layer.node);
    let constant = |v: Option<ValueId>| graph.constant(v?)?.to_f32s();
    let weights = constant(node.inputs[layer.weights]).unwrap_or_default();
    let mut all = Vec::with_capacity((layer.columns() + 1) * layer.outputs);
    for c in 0..layer.columns() {
        all.extend(
            (0..layer.outputs).map(|o| f64::from(weights[layer.weight_at(c, o)]) * layer.alpha),
        );
    }
    if bias {
        let old = match layer.bias {
            Bias::Operand(i) => constant(node.inputs.get(i).copied().flatten()),
            Bias::Added(add, i) => constant(graph.node(add).inputs[i]),
            Bias::Nowhere => None,
        };
        let old = old.unwrap_or_else(|| vec![0.0; layer.outputs]);
        all.extend(old.iter().map(|&b| f64::from(b) * layer.beta));
    }
    all
}

pub(super) fn floats(graph: &Graph, v: ValueId, t: &Tensor) -> Result<Vec<f32>, ScaleError> {
    t.to_f32s().ok_or_else(|| ScaleError::Type { value: graph.value(v).name.to_string() })
}

/// Strides of a tensor of extents `dims` that is broadcast to `out`: 0 along broadcast axes.
fn strides(dims: &[u64], out: &[u64]) -> Vec<u64> {
    let mut all = vec![0; out.len()];
    let mut stride = 1;
    let pad = out.len().saturating_sub(dims.len());
    for (a, &d) in dims.iter().enumerate().rev() {
        if d != 1 {
            all[pad + a] = stride;
        }
        stride *= d;
    }
    all
}

/// Where the element that is broadcast to index `at` of a tensor of extents `out` stands.
fn broadcast_at(at: usize, out: &[u64], strides: &[u64]) -> usize {
    let (mut rest, mut index) = (at as u64, 0);
    for (n, s) in out.iter().zip(strides).rev() {
        index += rest % n * s;
        rest /= n;
    }
    index as usize
}
