//! What can go wrong in scaling blocks.

use graph_opt_ir::{EditError, ExtractError};
use graph_opt_passes::blocks::{CutError, SpliceError};

use super::linear;
use crate::{PrepareError, RunError};

/// Why a variant could not be made or measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScaleError {
    /// The block cannot be taken out of the network.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// Channels cannot be removed.
    #[error(transparent)]
    Cut(#[from] CutError),
    /// A variant does not fit into the network.
    #[error(transparent)]
    Splice(#[from] SpliceError),
    /// A graph cannot be prepared.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A least-squares problem could not be solved.
    #[error("{layer:?}: {source}")]
    Linear {
        /// Label of the layer.
        layer: String,
        /// Why not.
        source: linear::Error,
    },
    /// New weights were refused, which is a bug.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The calibration data has no samples.
    #[error("expected calibration data with at least one sample, found none")]
    NoData,
    /// The index is not one of a block.
    #[error("expected a block below {count}, found {block}")]
    Block {
        /// The index that was given.
        block: usize,
        /// Number of blocks.
        count: usize,
    },
    /// A variant has other inputs or outputs than its block.
    #[error("the variant of block {block} has another interface than the block")]
    Interface {
        /// Index of the block.
        block: usize,
    },
    /// There is not one sparsity for each block.
    #[error("expected {expected} sparsities, one for each block, found {found}")]
    Count {
        /// Number of blocks.
        expected: usize,
        /// Number of sparsities.
        found: usize,
    },
    /// The sparsity is not a share.
    #[error("expected a sparsity from 0 to below 1, found {0}")]
    Sparsity(f64),
    /// The data of a value is not what the fit needs.
    #[error("{value:?} has elements that are not f32")]
    Type {
        /// Name of the value.
        value: String,
    },
}
