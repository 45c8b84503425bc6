//! Passes: their interface, and what they return.

use graph_opt_ir::{Edit, EditError, Editor, Graph, NodeId, Op, Tensor, ValueId};
use regex::Regex;
use std::sync::Arc;

use crate::assume::{Assumed, SizedGraph};
use crate::fix_dims::Symbolic;
use crate::options::{OptionError, OptionInfo, Options};
use crate::tile::fuse_tiles::Stretch;
use crate::tile::planner::TiledGroup;

/// How results of a rewritten graph may differ from those of the original.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Exactness {
    /// The same multiplications and additions in the same order; only indices change.
    BitExact,
    /// Equal in exact arithmetic; rounding may differ.
    Reassociates,
    /// Weights are computed from other weights, and rounded.
    RoundsWeights,
    /// A different function, intentionally.
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

/// The description of a pass, from which help, parser and documentation are made.
#[derive(Clone, Copy, Debug)]
pub struct PassInfo {
    /// Name of the pass in pipelines.
    pub name: &'static str,
    /// What the pass does, in one line.
    pub summary: &'static str,
    /// Exactness with the default options.
    pub exactness: Exactness,
    /// The options that the pass takes.
    pub options: &'static [OptionInfo],
    /// Makes the pass from its options.
    pub make: fn(&Options) -> Result<Box<dyn Pass>, OptionError>,
}

/// A pass with its options.
pub trait Pass: std::fmt::Debug + Send + Sync {
    /// Name of the pass in pipelines.
    fn name(&self) -> &'static str;

    /// The options from which [`PassInfo::make`] makes an equal pass; those with default values are
    /// left out.
    fn options(&self) -> Options {
        Options::default()
    }

    /// Exactness with these options.
    fn exactness(&self) -> Exactness;

    /// Whether it also runs on the bodies of the model's functions, where only types are known that hold for
    /// every call.
    fn in_functions(&self) -> bool {
        false
    }

    /// Rewrites one graph. A pass is run on every body of control flow, and on the main graph.
    ///
    /// # Errors
    /// If an edit is refused, which is a bug of the pass, or an observer stops the run. What a pass
    /// cannot do is a remark, not an error.
    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError>;
}

/// Why a node could not be computed on constant operands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EvaluateError(pub String);

/// Computes one node on constant operands. Backends implement it.
pub trait Evaluate {
    /// Computes the results of the operator, which may take at most `limit` bytes.
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

/// The evaluator of hosts without an interpreter: no constants are folded.
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

/// The outcome of a pass at one candidate site.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Outcome {
    /// The site was rewritten.
    Applied,
    /// A rewrite would change nothing, or gain nothing.
    NoEffect,
    /// A rewrite is not possible, or would not be exact.
    Blocked,
    /// The graph has no candidate site.
    NoMatch,
}

/// A figure before and after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// The figure before the pass.
    pub before: u64,
    /// The figure after the pass.
    pub after: u64,
}

/// A group of nodes that a pass tiled, by the nodes and values of the graph before the pass.
/// [`survey`](crate::tile::survey) says what each tile of it needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tiled {
    /// The nodes, the grid, and what becomes of overlaps.
    pub group: TiledGroup,
    /// The body that they are in, as `NODE/ATTRIBUTE` from the outside in; empty for the main graph.
    pub scope: Vec<String>,
}

/// The figures of a remark.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum Data {
    /// A remark without figures.
    #[default]
    None,
    /// A node was cut.
    Parts {
        /// Number of parts.
        parts: usize,
        /// The parts as tiles of a group; `None` for partial sums.
        tiled: Option<Tiled>,
    },
    /// A group of nodes was tiled.
    Tiles(Tiled),
    /// The cost of the whole graph.
    Cost {
        /// Peak of live activations, in bytes.
        peak: Change,
        /// Multiply-accumulates of the graph.
        macs: Change,
        /// Passes without a planner that make the same graph, in order; empty if a group cannot be named.
        by_hand: Vec<Stretch>,
    },
    /// The nodes were reordered.
    Order {
        /// Peak of live activations, in bytes.
        peak: Change,
        /// Number of nodes at other positions.
        moved: usize,
    },
    /// The number of nodes changed.
    Nodes(Change),
    /// A node exceeds the budget with this many bytes, and was left as it is.
    Left(u64),
    /// No plan meets the goal.
    Unmet {
        /// The smallest peak that was found, in bytes.
        least: u64,
        /// The node that sets this peak, and why no group contains it.
        why: String,
    },
}

/// The report of a pass about one candidate site, or about a graph.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remark {
    /// Name of the pass.
    pub pass: String,
    /// Label of the node; empty for a remark about the main graph, `NODE/ATTRIBUTE` for one about a
    /// body.
    pub node: String,
    /// Whether the site was rewritten.
    pub outcome: Outcome,
    /// What was done, or why it was not and what would help.
    pub message: String,
    /// The figures of the message.
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

/// The context of one run of a pass on one graph: the graph, edits and remarks.
pub struct PassCtx<'a, 'g> {
    /// Name of the running pass, for remarks.
    pub pass: &'a str,
    pub(crate) editor: &'a mut Editor<'g>,
    pub(crate) remarks: &'a mut Vec<Remark>,
    pub(crate) only: Option<&'a Regex>,
    pub(crate) evaluator: &'a dyn Evaluate,
    pub(crate) assumed: &'a Assumed,
    /// Symbolic dimensions of the main graph's inputs.
    pub(crate) symbolic: &'a Symbolic,
}

impl PassCtx<'_, '_> {
    /// The graph as it is now: the main one, or a body of control flow, each of which a pass runs on
    /// by itself.
    pub fn graph(&self) -> &Graph {
        self.editor.graph()
    }

    /// The value's elements, if it is a constant of the graph or, in a body, of a graph around it.
    pub fn constant(&self, v: ValueId) -> Option<Arc<Tensor>> {
        self.editor.constant(v)
    }

    /// The graph with the extents that are assumed for symbolic dimensions: the same nodes and values, for
    /// what depends on sizes. Bodies are as they are.
    pub fn sized(&self) -> SizedGraph<'_> {
        let graph = self.graph();
        if !self.editor.scope().is_empty() {
            return SizedGraph::of(graph);
        }
        // Extents that contradict the graph leave sizes unknown, and the pass says which.
        self.assumed.sized(graph, self.evaluator).unwrap_or_else(|_| SizedGraph::of(graph))
    }

    /// Whether the graph is the body of a function: it has no constants but as nodes.
    pub fn is_function(&self) -> bool {
        self.editor.is_function()
    }

    /// Whether the pass may rewrite the node; `only` in the pipeline restricts it.
    pub fn selected(&self, node: NodeId) -> bool {
        self.only.is_none_or(|r| r.is_match(self.graph().label(node)))
    }

    /// The group as what was tiled here.
    pub(crate) fn tiled(&self, group: TiledGroup) -> Tiled {
        Tiled { group, scope: self.editor.scope().to_vec() }
    }

    /// Applies an edit.
    ///
    /// # Errors
    /// As [`Editor::apply`].
    pub fn apply(&mut self, edit: &Edit) -> Result<(), EditError> {
        self.editor.apply(edit).map(drop)
    }

    /// Reorders the schedule.
    ///
    /// # Errors
    /// As [`Editor::reorder`].
    pub fn reorder(&mut self, origin: &str, order: &[NodeId]) -> Result<(), EditError> {
        self.editor.reorder(origin, order).map(drop)
    }

    /// Whether the edit limit is reached, so that the pass should return.
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

    /// As [`remark_on`](Self::remark_on), with figures.
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
