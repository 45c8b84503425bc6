//! What a backend is: it prepares a graph once and then runs it any number of times.

use std::fmt;
use std::sync::Arc;

use graph_opt_ir::tensor::TensorError;
use graph_opt_ir::{Datum, Graph, Tensor, ValueId};

use crate::watch::Watch;

/// Something that executes graphs.
pub trait Backend {
    /// Name for messages and options, such as `cpu`.
    fn name(&self) -> &str;

    /// Makes the graph ready to run.
    ///
    /// # Errors
    /// If it contains something that the backend cannot run; the error lists all of it.
    fn prepare(&self, graph: Arc<Graph>) -> Result<Box<dyn Executable>, PrepareError>;
}

/// A graph that is ready to run.
pub trait Executable {
    /// Runs the graph and gives the wanted values, in that order. `inputs` are either all of
    /// [`Graph::inputs`], or only those without a default, in their order.
    ///
    /// # Errors
    /// If the inputs do not fit the graph, an operator rejects its operands, or the limits of the
    /// backend would be exceeded.
    fn run(&self, inputs: &[Tensor], wanted: &[ValueId]) -> Result<Vec<Tensor>, RunError>;

    /// As [`Executable::run`], of sequences and optionals, too, if the backend has them.
    ///
    /// # Errors
    /// As [`Executable::run`].
    fn run_data(&self, inputs: &[Datum], wanted: &[ValueId]) -> Result<Vec<Datum>, RunError> {
        let out = self.run(&tensors(inputs.to_vec())?, wanted)?;
        Ok(data(&out))
    }

    /// As [`Executable::run`], telling what is reached if the backend can.
    ///
    /// # Errors
    /// As [`Executable::run`].
    fn run_watched(
        &self,
        inputs: &[Tensor],
        wanted: &[ValueId],
        _: &Watch,
    ) -> Result<Vec<Tensor>, RunError> {
        self.run(inputs, wanted)
    }

    /// Whether it tells what is reached, and treats NaN and infinities the same in every run.
    fn watches(&self) -> bool {
        false
    }
}

/// Tensors as they are, and nothing else.
pub(crate) fn tensors(all: Vec<Datum>) -> Result<Vec<Tensor>, RunError> {
    let one = |d: Datum| match d {
        Datum::Tensor(t) => Ok(t),
        other => Err(RunError::Unsupported(format!("a value of type {}", other.ty()))),
    };
    all.into_iter().map(one).collect()
}

pub(crate) fn data(all: &[Tensor]) -> Vec<Datum> {
    all.iter().cloned().map(Datum::Tensor).collect()
}

/// A node that a backend cannot run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsupported {
    /// Label of the node.
    pub node: String,
    /// Its operator, with the domain if it is not ONNX's own.
    pub operator: String,
    /// Why it cannot run.
    pub why: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.node, self.operator, self.why)
    }
}

/// A graph cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Nodes that the backend cannot run: all of them.
    #[error("{} cannot run:{}", if .0.len() == 1 { "1 node".into() } else { format!("{} nodes", .0.len()) }, list(.0))]
    Unsupported(Vec<Unsupported>),
    /// A constant cannot be read.
    #[error("constant {name}: {source}")]
    Constant {
        /// Name of the value.
        name: String,
        /// Why the constant could not be read.
        source: TensorError,
    },
    /// Anything else, such as a device that is missing.
    #[error("{0}")]
    Other(String),
}

fn list(all: &[Unsupported]) -> String {
    all.iter().map(|u| format!("\n  {u}")).collect()
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A kernel failed, at this node.
    #[error("{node} ({operator}): {source}")]
    Node {
        /// Label of the node.
        node: String,
        /// Name of the node's operator.
        operator: String,
        /// The error of the kernel.
        source: Box<RunError>,
    },
    /// Operands or attributes contradict the operator's definition.
    #[error("{0}")]
    Invalid(String),
    /// Valid, but not implemented here.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// A tensor would exceed the memory limit of the run.
    #[error("a {what} of {elements} elements exceeds what is left of the limit, {left} bytes")]
    TooLarge {
        /// What it was for.
        what: &'static str,
        /// Its number of elements, saturated.
        elements: u64,
        /// Bytes that were left of the limit.
        left: u64,
    },
    /// The operation has no meaning in the finite field.
    #[error("not defined in the finite field: {0}")]
    NotInField(String),
    /// An input given to the run does not fit the graph.
    #[error("input {name}: {why}")]
    Input {
        /// Name of the input.
        name: String,
        /// What was expected of the input, and what was given.
        why: String,
    },
    /// A tensor's elements cannot be had.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl From<graph_opt_ir::op_context::RuleError> for RunError {
    fn from(e: graph_opt_ir::op_context::RuleError) -> Self {
        Self::Invalid(e.0)
    }
}
