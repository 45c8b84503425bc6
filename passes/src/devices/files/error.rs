//! Why a plan, a manifest or a dataflow cannot be written or read.

use graph_opt_ir::names::NameError;

use crate::devices::graph::SplitError;

/// Why a plan cannot be made of a split, or applied to a graph.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanFileError {
    /// The file is of another version of the format.
    #[error("expected a plan of version 1, found version {0}; plan again")]
    Version(u32),
    /// Two devices exchange values without a link.
    #[error("no link from {from} to {to}; add one to the cluster")]
    NoLink {
        /// Name of the device that sends.
        from: String,
        /// Name of the device that receives.
        to: String,
    },
    /// A part exceeds its device.
    #[error("the part from {first} to {last} takes {needs} B, but {device} has {has} B")]
    TooLarge {
        /// Label of the part's first node.
        first: String,
        /// Label of the part's last node.
        last: String,
        /// Bytes that the device holds while the part runs.
        needs: u64,
        /// Name of the device that runs the part.
        device: String,
        /// Memory of the device in bytes.
        has: u64,
    },
    /// The model has no such node, or several.
    #[error("the plan is of another model: {0}; plan this model again")]
    Node(NameError),
    /// The model has no such value.
    #[error("the plan is of another model: there is no value {0}; plan this model again")]
    UnknownValue(String),
    /// The parts are not a split of the graph.
    #[error("the plan is of another model: {0}; plan this model again")]
    Split(#[from] SplitError),
}

/// A manifest that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The manifest, or the plan in it, is of another version of the format.
    #[error(
        "expected a manifest and a plan of version 1, found {manifest} and {plan}; split again"
    )]
    Version {
        /// Version of the manifest.
        manifest: u32,
        /// Version of its plan.
        plan: u32,
    },
    /// Files and parts of the plan differ in number.
    #[error("expected one file for each of {parts} parts, found {files}")]
    Files {
        /// Number of parts in the plan.
        parts: usize,
        /// Number of files in the manifest.
        files: usize,
    },
    /// A file name has a folder in it.
    #[error("expected the name of a file in the same folder, found {0:?}")]
    FileName(String),
    /// A codec is given for a value that stays on its device, or is not received at all.
    #[error("{receiver} has a codec for {value:?}, which crosses no link to it")]
    Codec {
        /// Device, or the sink.
        receiver: String,
        /// Name of the value concerned.
        value: String,
    },
    /// More bytes are received than sums of 64 bits can hold.
    #[error("{receiver} receives {bytes} B; expected fewer than 2^48")]
    Bytes {
        /// Device, or the sink.
        receiver: String,
        /// Bytes of one transfer.
        bytes: u64,
    },
    /// A device receives one value from one part in two forms.
    #[error("{receiver} receives {value:?} in two forms")]
    Forms {
        /// Device, or the sink.
        receiver: String,
        /// Name of the value concerned.
        value: String,
    },
    /// A part receives from one that is not before it.
    #[error("{receiver} receives from part {sender} too early: it must come after it")]
    TooEarly {
        /// File of the part, or the sink.
        receiver: String,
        /// Part that it receives from.
        sender: usize,
    },
    /// A part receives a value from one that neither makes nor receives it.
    #[error("{receiver} receives {value:?} from where it is not available")]
    Unavailable {
        /// File of the part, or the sink.
        receiver: String,
        /// Name of the value concerned.
        value: String,
    },
    /// A file reads a value that its part does not receive.
    #[error("{file} reads {value:?}, which its part does not receive")]
    Unreceived {
        /// Name of the file that reads it.
        file: String,
        /// Name of the value concerned.
        value: String,
    },
    /// The plan is empty.
    #[error("expected at least one part, found none")]
    NoParts,
    /// A part lists a received value twice.
    #[error("part {part} receives {value:?} twice")]
    Twice {
        /// Position of the part in the plan.
        part: usize,
        /// Name of the value concerned.
        value: String,
    },
    /// A part receives no value, so that no message would start it.
    #[error("part {0} receives nothing, so that nothing starts it")]
    NeverStarts(usize),
}

/// Why a dataflow cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DataflowError {
    /// The manifest contradicts itself.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// dora would not read a text as it is.
    #[error("expected text without `$`, control characters or quotes, found {0:?}; rename it")]
    Text(String),
}
