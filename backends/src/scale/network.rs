//! Variants in their network: one in the place of a block, or several fitted in order.

use std::sync::Arc;

use graph_opt_ir::{Graph, Tensor, ValueId};
use graph_opt_passes::blocks::{Block, splice};

use super::error::ScaleError;
use super::variant::{Maker, Variant};
use crate::Executable;
use crate::cpu::Cpu;

/// What a network computes for some values over batches of inputs: an entry for each batch, with the values in
/// the order of `wanted`.
///
/// # Errors
/// If the network cannot be prepared or run.
pub fn values(
    graph: &Graph,
    batches: &[Vec<Tensor>],
    wanted: &[ValueId],
) -> Result<Vec<Vec<Tensor>>, ScaleError> {
    let prepared = Cpu::default().prepared(Arc::new(graph.clone()))?;
    batches.iter().map(|b| Ok(prepared.run(b, wanted)?)).collect()
}

/// The value over batches, an entry for each.
fn value(graph: &Graph, batches: &[Vec<Tensor>], v: ValueId) -> Result<Vec<Tensor>, ScaleError> {
    if let Some(i) = graph.inputs().iter().position(|&w| w == v) {
        return Ok(batches.iter().filter_map(|b| b.get(i).cloned()).collect());
    }
    Ok(values(graph, batches, &[v])?.into_iter().flatten().collect())
}

/// Variants of one block at each of these sparsities, fitted by themselves: on what the original network
/// gives the block.
///
/// # Errors
/// As [`Maker::variant`].
pub fn variants(
    graph: &Graph,
    block: &Block,
    sparsities: &[f64],
    maker: &Maker<'_>,
    batches: &[Vec<Tensor>],
) -> Result<Vec<Variant>, ScaleError> {
    let part = block.part(graph)?;
    let inputs = value(graph, batches, block.input)?;
    let inputs: Vec<(Tensor, Tensor)> = inputs.into_iter().map(|t| (t.clone(), t)).collect();
    sparsities.iter().map(|&s| maker.variant(&part, s, &inputs)).collect()
}

/// The network with a variant of each block at its sparsity, fitted block by block in order: on what the
/// blocks before it, which are smaller already, give it. `None` leaves a block as it is. Returns the network,
/// and the variants.
///
/// # Errors
/// As [`Maker::variant`], and if there are not as many sparsities as blocks.
pub fn in_order(
    graph: &Graph,
    blocks: &[Block],
    sparsities: &[Option<f64>],
    maker: &Maker<'_>,
    batches: &[Vec<Tensor>],
) -> Result<(Graph, Vec<Option<Variant>>), ScaleError> {
    if sparsities.len() != blocks.len() {
        return Err(ScaleError::Count { expected: blocks.len(), found: sparsities.len() });
    }
    let mut smaller = graph.clone();
    let mut made = Vec::with_capacity(blocks.len());
    for (block, sparsity) in blocks.iter().zip(sparsities) {
        let Some(sparsity) = *sparsity else {
            made.push(None);
            continue;
        };
        let original = value(graph, batches, block.input)?;
        let now = value(&smaller, batches, block.input)?;
        let inputs: Vec<(Tensor, Tensor)> = original.into_iter().zip(now).collect();
        let variant = maker.variant(&block.part(graph)?, sparsity, &inputs)?;
        splice(&mut smaller, block, &variant.graph)?;
        made.push(Some(variant));
    }
    Ok((smaller, made))
}
