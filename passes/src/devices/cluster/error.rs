//! Why a cluster or a profile cannot be read.

use super::codec::Codec;

/// A text that is not the quantity expected.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantityError {
    /// Not a number with a known unit.
    #[error("expected a number with one of the units {units}, found {text:?}")]
    Unit {
        /// Text that was parsed.
        text: String,
        /// Units that are known, separated by commas.
        units: String,
    },
    /// Not a size in bytes.
    #[error("{0}")]
    Bytes(String),
    /// Zero, negative, infinite or not a number.
    #[error("expected a positive number for {name}, found {found}")]
    NotPositive {
        /// Key in the file.
        name: &'static str,
        /// Number that was given.
        found: f64,
    },
    /// A power below zero, or infinite.
    #[error("expected watts of at least 0, found {0}")]
    Watts(f64),
    /// A device has no speed, or two.
    #[error("expected either macs-per-second or profile, found {0}; give one of them")]
    Speed(&'static str),
}

/// A `cluster.toml` that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// Not TOML, or other keys than expected; with the line.
    #[error("{0}")]
    Syntax(String),
    /// The file describes no device.
    #[error("expected at least one [[device]], found none")]
    NoDevices,
    /// A device is described wrongly.
    #[error("device {name}: {why}")]
    Device {
        /// Name of the device described.
        name: String,
        /// The quantity that is wrong, and how.
        why: QuantityError,
    },
    /// Two devices have the same name.
    #[error("two devices are called {0}; rename one")]
    DuplicateDevice(String),
    /// A link, the source or the sink names no device.
    #[error("there is no device {name}; expected one of {known}")]
    UnknownDevice {
        /// Name that no device has.
        name: String,
        /// Names of all devices, separated by commas.
        known: String,
    },
    /// A `[default-link]` with ends.
    #[error("default-link applies to all pairs of devices; remove `between`")]
    DefaultBetween,
    /// A `[[link]]` without ends.
    #[error("expected between = [\"A\", \"B\"] in every [[link]]")]
    NoEnds,
    /// A link is described wrongly.
    #[error("{link}: {why}")]
    Link {
        /// The link, by its ends.
        link: String,
        /// The quantity that is wrong, and how.
        why: QuantityError,
    },
}

/// Positions of nodes that make no cluster.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PositionsError {
    /// Not CSV.
    #[error("{0}")]
    Syntax(String),
    /// A column is missing from the header.
    #[error("expected a column {0} in the header, which has to have name, x and y")]
    MissingColumn(&'static str),
    /// A place is no number of metres.
    #[error("line {line}: expected metres within 100 km of the origin, found {cell:?}")]
    Place {
        /// Line of the file, from 1 on.
        line: u64,
        /// Text of the cell.
        cell: String,
    },
    /// Two nodes have no distance, and so no bandwidth.
    #[error("{0} and {1} are at the same place; move one")]
    SamePlace(String, String),
    /// There are too many nodes.
    #[error("expected at most {0} nodes")]
    TooMany(usize),
    /// The devices are no cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// A profile that cannot be read or written.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Not JSON or CSV, or other fields than expected.
    #[error("{0}")]
    Syntax(String),
    /// A profile of ONNX Runtime that was not written to its end.
    #[error("the file ends early; end the session (end_profiling) before the file is read")]
    Unfinished,
    /// A list of events without any of a node.
    #[error(
        "expected a profile of ONNX Runtime, but found no event of a node; run the model with \
         enable_profiling"
    )]
    NoKernels,
    /// The file is of another version of the format.
    #[error("expected a profile of version 1, found version {0}; measure again")]
    Version(u32),
    /// A column is missing from the header.
    #[error("expected {0} in the header, found none")]
    MissingColumn(&'static str),
    /// A column is in the header twice.
    #[error("expected one column {0}, found two")]
    DuplicateColumn(String),
    /// A quantity has columns in two units.
    #[error("expected one unit a quantity, found column {0} and another; remove one")]
    TwoUnits(&'static str),
    /// A row is wrong.
    #[error("line {line}: {why}")]
    Row {
        /// Line of the file, from 1 on.
        line: u64,
        /// The quantity that is wrong, and how.
        why: RowError,
    },
    /// A time or an energy is negative, not finite, or over 10¹².
    #[error("expected {quantity} of 0 to 1e12 for {part}, found {found}")]
    OutOfRange {
        /// The node, stretch or value.
        part: String,
        /// Quantity and unit.
        quantity: &'static str,
        /// Number that was measured.
        found: f64,
    },
    /// A value is listed twice.
    #[error("value {0} is listed twice")]
    DuplicateValue(String),
    /// A codec made nothing of a value.
    #[error("expected at least one byte of {value} as {codec}, found none")]
    NoBytes {
        /// Name of the value encoded.
        value: String,
        /// Codec that was applied.
        codec: Codec,
    },
}

/// A wrong row of a profile in CSV.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// A cell holds no number.
    #[error("expected a number for {column}, found {cell:?}")]
    Number {
        /// What the column holds.
        column: &'static str,
        /// Text of the cell.
        cell: String,
    },
    /// The time is missing.
    #[error("expected a time, found an empty cell")]
    NoTime,
    /// Neither a node nor a stretch is named.
    #[error("expected a name, or a first and a last node, found neither")]
    NoName,
    /// Both a node and a stretch are named.
    #[error("expected a name, or a first and a last node, found both")]
    TwoNames,
}
