//! Why a problem is malformed, a plan invalid, or no plan available.

use std::fmt;
use std::ops::Range;

use super::Objective;
use crate::{ByteSize, count};

/// A [`Problem`](super::Problem) that contradicts itself. Found by [`Problem::check`](super::Problem::check).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemError {
    /// The chain is empty.
    #[error("expected at least one unit, found none")]
    NoUnits,
    /// The cluster is empty.
    #[error("expected at least one device, found none")]
    NoDevices,
    /// A list has the wrong length.
    #[error("expected {expected} entries in `{list}`, found {found}")]
    Length {
        /// Field of [`Problem`](super::Problem).
        list: &'static str,
        /// Required number of entries.
        expected: usize,
        /// Actual number of entries.
        found: usize,
    },
    /// A link has an impossible bandwidth, latency or power.
    #[error("expected links of positive bandwidth and non-negative latency and power")]
    Link,
    /// A form has no bytes or a negative time.
    #[error("expected forms of at least one byte and non-negative coding time")]
    Form,
    /// A device cannot run at all.
    #[error("expected at least one mode for device {0}, found none")]
    NoMode(usize),
    /// A pin, the source or the sink is a number beyond the devices.
    #[error("`{field}` names device {device}, but there are only {devices} devices")]
    UnknownDevice {
        /// Field of [`Problem`](super::Problem).
        field: &'static str,
        /// Number that is out of range.
        device: usize,
        /// How many devices there are.
        devices: usize,
    },
    /// The interval is an objective or limited although devices are reused.
    #[error(
        "devices with several stages have no interval between frames; drop the reuse of devices, \
         or plan for another objective without an interval limit"
    )]
    IntervalWithReuse,
    /// The interval matters, links share a medium, and the planner asked for cannot handle that.
    #[error(
        "this planner cannot keep an interval over links that share a medium; drop the interval \
         limit"
    )]
    SharedMedium,
    /// The set of used devices does not fit 128 bits.
    #[error("too many different devices for an exact search; expected at most 128 bits of usage")]
    TooManyDevices,
}

/// The rule that a plan breaks. Found by [`Problem::judge`](super::Problem::judge).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanViolation {
    /// Stages overlap, leave a gap or are empty.
    #[error("expected a stage that begins at unit {expected}, found units {units:?}")]
    Order {
        /// First unit not yet in a stage.
        expected: usize,
        /// Units of the stage.
        units: Range<usize>,
    },
    /// A unit is not on its pinned device.
    #[error("unit {unit} is pinned to device {pin}, but placed on device {device}")]
    Pinned {
        /// Number of the unit concerned.
        unit: usize,
        /// Device to which it is pinned.
        pin: usize,
        /// Device of the stage.
        device: usize,
    },
    /// A stage has too many units.
    #[error("units {units:?} are more than the {limit} units allowed in a stage")]
    TooLong {
        /// Units of the stage.
        units: Range<usize>,
        /// Most units in a stage.
        limit: usize,
    },
    /// Two consecutive stages, the source or the sink are not linked.
    #[error("no link carries cut {cut}")]
    NoLink {
        /// Number of the cut before the stage.
        cut: usize,
    },
    /// The device cannot run the units in the mode.
    #[error("device {device} cannot run units {units:?}")]
    CannotRun {
        /// Units of the stage.
        units: Range<usize>,
        /// Number of the device concerned.
        device: usize,
    },
    /// A device has two stages, although devices are not reused.
    #[error("device {0} has two stages")]
    DeviceTwice(usize),
    /// A device runs its stages in different modes, although it must keep to one.
    #[error("device {0} has stages in two modes")]
    TwoModes(usize),
    /// The stages of a device do not fit it.
    #[error("device {device} holds {held} B, more than its {capacity} B")]
    Memory {
        /// Number of the device concerned.
        device: usize,
        /// Bytes of all its stages.
        held: u64,
        /// Bytes that it may hold.
        capacity: u64,
    },
    /// The last stages are missing.
    #[error("units from {0} on are in no stage")]
    Incomplete(usize),
    /// There are too many stages.
    #[error("expected at most {limit} stages, found {found}")]
    TooManyStages {
        /// Largest number of stages allowed.
        limit: usize,
        /// Stages of the plan.
        found: usize,
    },
    /// A total exceeds its limit.
    #[error("{objective} is {value:.6e}, over its limit of {limit:.6e}")]
    OverLimit {
        /// Objective that is limited.
        objective: Objective,
        /// Its total: s, s, J or bytes.
        value: f64,
        /// Limit that was exceeded.
        limit: f64,
    },
}

/// A cause of infeasibility, and the change that would remove it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// No device allowed for a unit can run it.
    Unit(usize),
    /// Every stage with a unit exceeds every device allowed for it.
    TooLarge {
        /// Number of the unit concerned.
        unit: usize,
        /// Bytes that the smallest stage with it needs, on the device where it needs least.
        needs: u64,
        /// Most bytes of such a device.
        has: u64,
    },
    /// The constants exceed the memory of all devices together.
    Weights {
        /// Bytes of the constants, each counted once.
        needs: u64,
        /// Bytes of all devices.
        has: u64,
    },
    /// The least capacity, in bytes, that would make the problem feasible if every device had it.
    /// An upper bound if the search ran out of effort.
    Capacity(u64),
    /// There are too few devices, or the limit on stages is too low.
    Stages {
        /// Fewest stages of a plan that may use as many devices of each kind as it likes.
        needs: usize,
        /// Largest number of stages allowed.
        has: usize,
    },
    /// A limit is below what the other limits allow.
    Limit {
        /// Objective that is limited.
        objective: Objective,
        /// Its limit: s, s, J or bytes.
        limit: f64,
        /// Lower bound on what plans reach that keep to the other limits.
        least: f64,
    },
    /// Links, pins, source and sink exclude every plan, even with unlimited memory.
    NoRoute,
    /// The effort ran out before a cause was found.
    Unclear,
}

impl Reason {
    /// Whether more memory could remove the cause.
    pub fn is_of_memory(&self) -> bool {
        matches!(
            self,
            Self::TooLarge { .. } | Self::Weights { .. } | Self::Capacity(_) | Self::Stages { .. }
        )
    }

    /// Whether another is the same about another unit.
    fn is_like(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Unit(_), Self::Unit(_)) | (Self::TooLarge { .. }, Self::TooLarge { .. })
        )
    }

    /// The reason as text; `unit` names units.
    fn describe(&self, unit: &dyn Fn(usize) -> String) -> String {
        match self {
            Self::Unit(u) => format!("no device allowed for {} can run it", unit(*u)),
            Self::TooLarge { unit: u, needs, has } => format!(
                "{} needs {}, more than the {} of a device",
                unit(*u),
                ByteSize(*needs),
                ByteSize(*has)
            ),
            Self::Weights { needs, has } => format!(
                "weights take {}, but all devices together have {}",
                ByteSize(*needs),
                ByteSize(*has)
            ),
            Self::Capacity(bytes) => {
                format!("whole layers need {} on every device", ByteSize(*bytes))
            }
            Self::Stages { needs, has } => {
                format!("at least {} are needed, and {has} possible", count(*needs, "stage"))
            }
            Self::Limit { objective, limit, least } => format!(
                "{objective} is at least {}, over the limit of {}",
                objective.amount(*least),
                objective.amount(*limit)
            ),
            Self::NoRoute => "links, pins, source and sink exclude every plan".into(),
            Self::Unclear => "the search ended before it found a cause; allow more effort".into(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(&|u| format!("unit {u}")))
    }
}

/// Why a planner returned no plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NoPlan {
    /// The problem is malformed.
    #[error(transparent)]
    Invalid(#[from] ProblemError),
    /// A planner returned a plan that breaks a rule: a defect of the planner.
    #[error("internal error: a planner returned an invalid plan: {0}")]
    Violation(#[from] PlanViolation),
    /// The integer programming solver failed.
    #[error("the integer programming solver failed: {0}")]
    Solver(String),
    /// It is proved that no plan exists.
    #[error("{}", self.describe(&|u| format!("unit {u}")))]
    Infeasible(Vec<Reason>),
    /// The effort ran out before a plan was found. The number is a lower bound on the value of any
    /// plan: s, s, J or bytes.
    #[error("no plan was found within the search effort; any plan has a value of at least {0:.6e}")]
    NotFound(f64),
}

/// Most lines of reasons.
const MAX_REASONS: usize = 2;

impl NoPlan {
    /// The error as text, of at most three lines; `unit` names units. Of causes of a kind, only the
    /// largest is shown.
    pub fn describe(&self, unit: &dyn Fn(usize) -> String) -> String {
        let Self::Infeasible(reasons) = self else { return self.to_string() };
        let size = |r: &Reason| match r {
            Reason::TooLarge { needs, .. } => *needs,
            _ => 0,
        };
        let mut kinds: Vec<(&Reason, usize)> = Vec::new();
        for r in reasons {
            match kinds.iter_mut().find(|(k, _)| k.is_like(r)) {
                Some((k, more)) => {
                    *more += 1;
                    if size(r) > size(k) {
                        *k = r;
                    }
                }
                None => kinds.push((r, 0)),
            }
        }
        let several = kinds.len() > 1;
        let line = |(r, more): &(&Reason, usize)| match if several { 0 } else { *more } {
            0 => r.describe(unit),
            1 => format!("{}\nanother node is like it", r.describe(unit)),
            n => format!("{}\n{n} other nodes are like it", r.describe(unit)),
        };
        let lines: Vec<String> = kinds.iter().take(MAX_REASONS).map(line).collect();
        format!("no plan: {}", lines.join("\n"))
    }
}
