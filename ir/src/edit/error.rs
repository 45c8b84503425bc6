//! Why edits are refused.

use crate::Type;
use crate::op_context::RuleError;

/// An edit that was not applied. The graph is unchanged, unless an observer refused the edit after it
/// was applied ([`EditFault::Refused`]).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{origin}: {fault}")]
#[non_exhaustive]
pub struct EditError {
    /// The [origin](super::Edit::origin) of the edit.
    pub origin: String,
    /// The rule that the edit breaks.
    pub fault: EditFault,
}

/// What is wrong with an edit.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EditFault {
    /// The edit refers to a node, a value, a new result or a new constant that does not exist.
    #[error("refers to a node or value that is not in the graph")]
    Dangling,
    /// A new node contradicts its operator's definition.
    #[error("new node {node:?}: {reason}")]
    Rule {
        /// The requested name of the new node.
        node: String,
        /// What the shape rule reports.
        reason: RuleError,
    },
    /// A replacement has another type than the value it replaces.
    #[error("{value:?} must keep the type {old}, but its replacement has type {new}")]
    Type {
        /// The name of the value.
        value: String,
        /// The value's type.
        old: Type,
        /// The type of the replacement.
        new: Type,
    },
    /// A node would run before a producer of its operands.
    #[error("{value:?} would be read before it is computed")]
    Order {
        /// The name of the value.
        value: String,
    },
    /// The producer of a value is removed, but the value is still read or an output, and nothing
    /// replaces it.
    #[error("{value:?} would lose its definition; replace it, or keep the node that computes it")]
    Undefined {
        /// The name of the value.
        value: String,
    },
    /// A value is replaced while its producer stays, or is replaced twice.
    #[error("{value:?} would have two definitions; remove the node that computes it")]
    Twice {
        /// The name of the value.
        value: String,
    },
    /// A new order of the nodes omits a node, or lists it twice.
    #[error("the new order must list every node exactly once; {node:?} is missing or repeated")]
    Permutation {
        /// The label of the node.
        node: String,
    },
    /// A value that must keep its name is replaced by one that must keep its own.
    #[error("{value:?} and its replacement must both keep their names; replace it by a copy")]
    Names {
        /// The name of the value.
        value: String,
    },
    /// The limit of edits is reached, or an observer refused the result.
    #[error("{0}")]
    Refused(String),
}

impl EditFault {
    /// The error of an edit with this origin.
    pub(super) fn of(self, origin: &str) -> EditError {
        EditError { origin: origin.to_owned(), fault: self }
    }
}
