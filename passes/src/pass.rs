//! What a pass is.

use graph_opt_ir::{Edit, EditError, Editor, Graph, NodeId, Op, Tensor};
use regex::Regex;
use std::sync::Arc;

use crate::fix_dims::Symbolic;
use crate::options::{OptionError, OptionInfo, Options};
use crate::tile::Reuse;
use crate::tile::fuse_tiles::Stretch;

/// How safe a pass is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Exactness {
    /// Moves indices only: the same multiplications and additions in the same order.
    BitExact,
    /// Equal in exact arithmetic; rounding may differ.
    Reassociates,
    /// Weights are computed from others and rounded; equal but for that.
    RoundsWeights,
    /// Another function on purpose.
    Approximates,
}

impl std::fmt::Display for Exactness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BitExact => "bit-exact",
            Self::Reassociates => "reassociates",
            Self::RoundsWeights => "rounds weights",
            Self::Approximates => "approximates",
        })
    }
}

/// A registered pass: what help, parser and documentation are made from.
#[derive(Clone, Copy, Debug)]
pub struct PassInfo {
    /// Name in pipelines.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// How safe it is; with some options less.
    pub exactness: Exactness,
    /// Its options.
    pub options: &'static [OptionInfo],
    /// Makes it from its options.
    pub make: fn(&Options) -> Result<Box<dyn Pass>, OptionError>,
}

/// A pass with its options.
pub trait Pass: std::fmt::Debug + Send + Sync {
    /// Its name in pipelines.
    fn name(&self) -> &'static str;

    /// Its options, without those that are as by default: what [`PassInfo::make`] makes an equal pass
    /// of.
    fn options(&self) -> Options {
        Options::default()
    }

    /// How safe it is with these options.
    fn exactness(&self) -> Exactness;

    /// Proposes its edits of one graph: it is run on every body of control flow and on the main
    /// graph.
    ///
    /// # Errors
    /// Only for faults of the pass itself or an observer that objects; what a pass cannot do it
    /// says in a remark.
    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError>;
}

/// Why a node could not be computed on constant operands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EvaluateError(pub String);

/// Computes one node on constant operands. Backends implement it.
pub trait Evaluate {
    /// Results of the operator, or the reason why there are none. `limit` is the most bytes that
    /// the results may take.
    ///
    /// # Errors
    /// If the operator is not supported, fails on these operands, or would exceed the limit.
    fn evaluate(
        &self,
        op: &Op,
        opset: i64,
        inputs: &[Option<Arc<Tensor>>],
        outputs: usize,
        limit: u64,
    ) -> Result<Vec<Tensor>, EvaluateError>;
}

/// For hosts without an interpreter: nothing is folded.
#[derive(Clone, Copy, Debug)]
pub struct NoEvaluator;

impl Evaluate for NoEvaluator {
    fn evaluate(
        &self,
        op: &Op,
        _: i64,
        _: &[Option<Arc<Tensor>>],
        _: usize,
        _: u64,
    ) -> Result<Vec<Tensor>, EvaluateError> {
        Err(EvaluateError(format!("no evaluator for {}", op.name())))
    }
}

/// What became of a place where a pass could have done something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Outcome {
    /// It did it.
    Applied,
    /// It would have changed nothing.
    NoEffect,
    /// It cannot be done exactly.
    Blocked,
    /// There was no such place.
    NoMatch,
}

/// A figure before and after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Before the pass.
    pub before: u64,
    /// After it.
    pub after: u64,
}

/// What a remark says in figures.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum Data {
    /// Nothing beside its words.
    #[default]
    None,
    /// A node is in this many parts.
    Parts(usize),
    /// A group of nodes is in tiles.
    Tiles {
        /// Nodes of the group.
        nodes: usize,
        /// Parts along each axis of the grid.
        grid: Vec<usize>,
        /// What happens to what several tiles need.
        reuse: Reuse,
    },
    /// What a whole graph costs.
    Cost {
        /// Peak of live activations, in bytes.
        peak: Change,
        /// Multiply-accumulates.
        macs: Change,
        /// The passes that do the same by hand, in order; empty if there are none.
        by_hand: Vec<Stretch>,
    },
    /// Another order of the nodes.
    Order {
        /// Peak of live activations, in bytes.
        peak: Change,
        /// Nodes in other places.
        moved: usize,
    },
    /// The number of nodes.
    Nodes(Change),
    /// A node needs this many bytes, and is left as it is.
    Left(u64),
    /// No plan meets the goal: the least peak that was found, in bytes.
    Unmet(u64),
}

/// What a pass has to say about a place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remark {
    /// The pass.
    pub pass: String,
    /// Label of the node; empty for the graph as a whole, and for a body as a whole the way to it,
    /// `NODE/ATTRIBUTE`.
    pub node: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What was done, or why not and what would help.
    pub message: String,
    /// The same in figures, where there are any.
    pub data: Data,
}

impl std::fmt::Display for Remark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.pass)?;
        if !self.node.is_empty() {
            write!(f, " {:?}", self.node)?;
        }
        let what = match self.outcome {
            Outcome::Applied => "",
            Outcome::NoEffect => " no effect:",
            Outcome::Blocked => " not done:",
            Outcome::NoMatch => " no match:",
        };
        write!(f, ":{what} {}", self.message)
    }
}

/// What a pass works with.
pub struct PassCtx<'a, 'g> {
    /// The pass's name.
    pub pass: &'a str,
    pub(crate) editor: &'a mut Editor<'g>,
    pub(crate) remarks: &'a mut Vec<Remark>,
    pub(crate) only: Option<&'a Regex>,
    pub(crate) evaluator: &'a dyn Evaluate,
    /// Dimensions of the main graph's inputs that are not known.
    pub(crate) symbolic: &'a Symbolic,
}

impl PassCtx<'_, '_> {
    /// The graph as it is now: the main one, or a body of control flow, each of which a pass runs on
    /// by itself.
    pub fn graph(&self) -> &Graph {
        self.editor.graph()
    }

    /// Whether the pipeline lets this pass touch the node.
    pub fn selected(&self, node: NodeId) -> bool {
        self.only.is_none_or(|r| r.is_match(self.graph().label(node)))
    }

    /// Applies an edit.
    ///
    /// # Errors
    /// As [`Editor::apply`].
    pub fn apply(&mut self, edit: &Edit) -> Result<(), EditError> {
        self.editor.apply(edit).map(drop)
    }

    /// Lets the nodes run in another order.
    ///
    /// # Errors
    /// As [`Editor::reorder`].
    pub fn reorder(&mut self, origin: &str, order: &[NodeId]) -> Result<(), EditError> {
        self.editor.reorder(origin, order).map(drop)
    }

    /// Whether no more edits are wanted.
    pub fn is_done(&self) -> bool {
        self.editor.is_done()
    }

    /// Adds a remark on a node.
    pub fn remark(&mut self, node: NodeId, outcome: Outcome, message: impl Into<String>) {
        let node = self.graph().label(node).to_owned();
        self.remark_on(node, outcome, message);
    }

    /// Adds a remark on a node that may be gone, by its label.
    pub fn remark_on(
        &mut self,
        node: impl Into<String>,
        outcome: Outcome,
        message: impl Into<String>,
    ) {
        self.remark_with(node, outcome, message, Data::None);
    }

    /// The same, with figures.
    pub fn remark_with(
        &mut self,
        node: impl Into<String>,
        outcome: Outcome,
        message: impl Into<String>,
        data: Data,
    ) {
        let (pass, node, message) = (self.pass.to_owned(), node.into(), message.into());
        self.remarks.push(Remark { pass, node, outcome, message, data });
    }
}
