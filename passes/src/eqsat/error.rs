//! Why there is no proof, or a certificate is none.

use graph_opt_ir::Type;

/// Why two models are not shown to be equal.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EqualityError {
    /// The models have different numbers of inputs or outputs.
    #[error("the graphs have different numbers of inputs or outputs")]
    Counts,
    /// An input has different types.
    #[error("input {name} is {original} in one and {other} in the other")]
    Input {
        /// Name of the input.
        name: String,
        /// Its type in the original.
        original: Type,
        /// Its type in the other model.
        other: Type,
    },
    /// An output could not be read as a term.
    #[error("an output has no term")]
    NoTerm,
    /// No rules make the values of an output equal.
    #[error("output {0} is not shown to be equal to its counterpart")]
    Output(String),
    /// A proof may assume shapes that the original declares, but not others.
    #[error("the shape {0} is declared by the other model only")]
    Shape(Type),
}

/// Why no proof was found; that the models differ does not follow.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoProof {
    /// The outputs are not shown to be equal.
    #[error("{why}{}", .unmatched.as_ref().map_or(String::new(), |n| format!("; {n} is the first of no known part")))]
    Equality {
        /// What is not equal.
        why: EqualityError,
        /// The first node whose result is not a part of any value of the other model: its operator and
        /// label.
        unmatched: Option<String>,
    },
    /// Rules made unequal terms equal, which is an error in a rule.
    #[error("a rule is wrong: {0}")]
    UnsoundRule(String),
    /// The certificate could not be written.
    #[error("the proof cannot be written: {0}")]
    Unwritable(String),
    /// The check of the certificate, which shares no code with the search, failed.
    #[error("internal error: the proof failed its independent check: {0}")]
    Check(#[from] CertificateError),
}

impl From<EqualityError> for NoProof {
    fn from(why: EqualityError) -> Self {
        Self::Equality { why, unmatched: None }
    }
}

/// Why a certificate does not prove that two models are equal.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The text is not a certificate.
    #[error("expected the line {:?} first", super::check::HEADER)]
    Header,
    /// A line is not a step of a proof.
    #[error("line {number}: {reason}")]
    Step {
        /// Number of the line, from 1.
        number: usize,
        /// Why the step does not follow.
        reason: String,
    },
    /// The models do not match, or the steps do not make their outputs equal.
    #[error(transparent)]
    Equality(#[from] EqualityError),
}

/// Why a term has no graph that computes it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct WriteError(pub(super) String);
