//! Why a graph cannot be split, tiled or planned.

use graph_opt_ir::ExtractError;

use crate::analysis::memory::UnknownSize;
use crate::devices::files::PlanFileError;
use crate::devices::problem::NoPlan;
use crate::{OptionError, RunError};

/// A split that is not one of the graph, or whose parts cannot be graphs of their own.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// A part receives from one that is not before it.
    #[error("{receiver} receives from part {sender} too early: it must come after it")]
    TooEarly {
        /// The part, or the sink.
        receiver: String,
        /// Part that it receives from.
        sender: usize,
    },
    /// A part receives a value from one that neither makes nor receives it.
    #[error("{receiver} receives {value} from where it is not available")]
    Unavailable {
        /// The part, or the sink.
        receiver: String,
        /// Name of the value concerned.
        value: String,
    },
    /// Two parts have the same node.
    #[error("node {0} is in two parts")]
    Repeated(String),
    /// No part has a node.
    #[error("node {0} is in no part")]
    Missing(String),
    /// A part reads a value that it neither makes nor receives.
    #[error("part {part} needs {value} for {node}, but neither makes nor receives it")]
    Unreceived {
        /// Position of the part in the split.
        part: usize,
        /// Name of the value concerned.
        value: String,
        /// The node that reads it.
        node: String,
    },
    /// The sink does not receive an output of the graph.
    #[error("no part sends the output {0} to the sink")]
    LostOutput(String),
    /// A part cannot be made a graph of its own.
    #[error("part {part} cannot be extracted: {why}")]
    Extract {
        /// Position of the part in the split.
        part: usize,
        /// Why it cannot be extracted.
        why: ExtractError,
    },
    /// A part has values of unknown size.
    #[error("part {part}: {why}")]
    Memory {
        /// Position of the part in the split.
        part: usize,
        /// Why its memory cannot be planned.
        why: UnknownSize,
    },
}

/// A profile that is not one of the model. Found by
/// [`ProfiledCosts::new`](super::ProfiledCosts::new).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("device {device}: {why}; measure the profile on this model")]
pub struct ProfileMismatch {
    /// The device of the profile.
    pub device: String,
    /// What does not match.
    pub why: Mismatch,
}

/// What a profile and a model disagree on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// A measured stretch is nowhere in the model, or its ends are ambiguous.
    #[error(
        "the profile has a stretch from {first} to {last}{}, which the model has not exactly once",
        .nodes.map_or(String::new(), |n| format!(" of {n} nodes"))
    )]
    Stretch {
        /// Label of its first node.
        first: String,
        /// Label of its last node, inclusive.
        last: String,
        /// How many nodes it has, if the profile says so.
        nodes: Option<usize>,
    },
    /// A name repeats, but not as often in the profile as in the model.
    #[error("the model has {first} to {last} {expected} times, but the profile {found} times")]
    Count {
        /// Label of the first node.
        first: String,
        /// Label of the last node, inclusive.
        last: String,
        /// Occurrences in the model.
        expected: usize,
        /// Occurrences in the profile.
        found: usize,
    },
    /// A node was not measured.
    #[error("the profile has no node {0}")]
    Node(String),
}

/// Why a tiling cannot be made. Returned by [`make_tiles`](super::tiles::make_tiles).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TilingError {
    /// There is no such tiling, such as one with a tile of no rows.
    #[error(transparent)]
    Options(#[from] OptionError),
    /// The pass was refused an edit, or failed to run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The pass left the graph as it was; its first remark, if it made any.
    #[error("the stretch cannot be tiled so: {0}")]
    Refused(String),
    /// The tiled graph has values of unknown size.
    #[error(transparent)]
    Memory(#[from] UnknownSize),
}

/// Why [`choose_plan`](super::choose_plan()) or [`pipeline`](super::pipeline()) returned no plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanningError {
    /// The planner found none.
    #[error(transparent)]
    NoPlan(#[from] NoPlan),
    /// A profile is of another model.
    #[error(transparent)]
    Profile(#[from] ProfileMismatch),
    /// The plan cannot be applied to the graph.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The plan cannot be written.
    #[error(transparent)]
    File(#[from] PlanFileError),
    /// A pass failed while the graph was rewritten to fit, which is a bug in it.
    #[error("rewriting the model to fit failed: {0}")]
    Rewriting(String),
}
