//! The planning problem: a chain of units, devices, links, and the costs of running units.
//!
//! Units `0..n` run in order. Cut `i` lies before unit `i`; cuts 0 and `n` are the network's input
//! and output. A stage is a consecutive range of units on one device in one mode. A plan is a
//! sequence of stages that covers the chain, and costs what its stages and the transfers over the
//! cuts between them cost.
//!
//! Nothing here knows graphs or files: [`Costs`] is a trait, and units, devices and modes are
//! numbers. Times are in seconds, energies in joules, sizes in bytes, bandwidths in bit/s.

mod costs;
mod error;
mod plan;
pub(crate) mod search_space;

pub use costs::Additive;
#[cfg(feature = "cluster")]
pub(crate) use costs::BufferCredits;
pub use error::{NoPlan, PlanViolation, ProblemError, Reason};
pub use plan::{DevicePlan, Stage};

use std::ops::Range;

/// A device, as planners see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Name, for messages only.
    pub name: String,
    /// Devices of equal kind have equal [`Costs`] for every range of units.
    pub kind: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// Number of modes (frequencies, power states), at least 1.
    pub modes: usize,
}

/// A directed link between two devices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Bandwidth in bit/s.
    pub bandwidth: f64,
    /// Seconds before the first bit arrives.
    pub latency: f64,
    /// Power of sender and receiver together while bits flow, in W.
    pub watts: f64,
}

impl Link {
    /// A link of `bandwidth` bit/s and `latency` seconds whose transfers cost no energy.
    pub fn new(bandwidth: f64, latency: f64) -> Self {
        Self { bandwidth, latency, watts: 0.0 }
    }

    /// Cost of sending `bytes` as they are. Zero bytes cost zero.
    pub fn transfer(&self, bytes: u64) -> Transfer {
        self.send(Form::plain(bytes))
    }

    /// Cost of sending in this form. Zero bytes cost zero.
    pub(crate) fn send(&self, form: Form) -> Transfer {
        if form.bytes == 0 {
            return Transfer::default();
        }
        let joules = self.watts * self.flow(Form::plain(form.bytes));
        Transfer { bytes: form.bytes, seconds: self.latency + self.flow(form), joules }
    }

    /// Seconds that a form takes, coding included and the link's latency excluded.
    pub(crate) fn flow(&self, form: Form) -> f64 {
        form.seconds + form.bytes as f64 * 8.0 / self.bandwidth
    }
}

/// An encoded form in which data can be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Form {
    /// Bytes that cross the link.
    pub bytes: u64,
    /// Seconds of encoding and decoding together.
    pub seconds: f64,
}

impl Form {
    /// The data itself, without coding.
    pub(crate) fn plain(bytes: u64) -> Self {
        Self { bytes, seconds: 0.0 }
    }
}

impl std::iter::Sum for Form {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        let add =
            |a: Self, b: Self| Self { bytes: a.bytes + b.bytes, seconds: a.seconds + b.seconds };
        all.fold(Self::default(), add)
    }
}

/// Cost of a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Transfer {
    /// Bytes that cross the link; 0 if no link is used.
    pub bytes: u64,
    /// Duration in seconds, coding included.
    pub seconds: f64,
    /// Energy in J.
    pub joules: f64,
}

/// Costs of running a range of units as one stage. They need not be sums over units: a profile may
/// have measured whole ranges.
pub trait Costs {
    /// Seconds of the range, or `None` if the device cannot run it in this mode.
    fn seconds(&self, units: Range<usize>, device: usize, mode: usize) -> Option<f64>;

    /// Energy of the range in J.
    fn joules(&self, _units: Range<usize>, _device: usize, _mode: usize) -> f64 {
        0.0
    }

    /// Bytes that the device holds while it runs the range: constants and the peak of the
    /// activations.
    fn memory(&self, _units: Range<usize>, _device: usize) -> u64 {
        0
    }
}

/// The quantity to minimize.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Objective {
    /// Seconds from a frame's input to its output: all computing and all transfers.
    #[default]
    Latency,
    /// Seconds between frames of a full pipeline: the longest stage or transfer, where all
    /// transfers over one medium count as one.
    Interval,
    /// Energy of a frame in J.
    Energy,
    /// Bytes of the device that holds most.
    Memory,
}

impl Objective {
    /// All objectives, in the order of [`DevicePlan::totals`].
    pub const ALL: [Self; 4] = [Self::Latency, Self::Interval, Self::Energy, Self::Memory];

    /// An amount of it with its unit.
    ///
    /// ```
    /// use graph_opt_passes::devices::Objective;
    ///
    /// assert_eq!(Objective::Latency.amount(0.0125), "12.500 ms");
    /// assert_eq!(Objective::Memory.amount(1536.0), "1.50 KiB");
    /// ```
    pub fn amount(self, value: f64) -> String {
        match self {
            Self::Latency | Self::Interval => format!("{:.3} ms", value * 1e3),
            Self::Energy => format!("{value:.4} J"),
            Self::Memory => crate::ByteSize(value as u64).to_string(),
        }
    }

    /// Combines the costs of two parts of a plan: the sum for latency and energy, the maximum for
    /// interval and memory.
    pub(crate) fn join(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Latency | Self::Energy => a + b,
            Self::Interval | Self::Memory => a.max(b),
        }
    }

    /// Contribution of a stage that takes `seconds` and `joules` on a device that then holds
    /// `memory` bytes.
    pub(crate) fn of_run(self, seconds: f64, joules: f64, memory: u64) -> f64 {
        match self {
            Self::Latency | Self::Interval => seconds,
            Self::Energy => joules,
            Self::Memory => memory as f64,
        }
    }

    /// Contribution of a transfer.
    pub(crate) fn of_transfer(self, t: Transfer) -> f64 {
        match self {
            Self::Latency | Self::Interval => t.seconds,
            Self::Energy => t.joules,
            Self::Memory => 0.0,
        }
    }
}

impl std::fmt::Display for Objective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Latency => "latency",
            Self::Interval => "interval",
            Self::Energy => "energy",
            Self::Memory => "memory",
        })
    }
}

/// Upper limits on a plan, besides each device's memory. `None` is unlimited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Latency in seconds.
    pub latency: Option<f64>,
    /// Interval between frames in seconds.
    pub interval: Option<f64>,
    /// Energy a frame in J.
    pub energy: Option<f64>,
    /// Bytes that any device holds.
    pub memory: Option<u64>,
    /// Number of stages.
    pub stages: Option<usize>,
    /// Number of units in a stage.
    pub run: Option<usize>,
    /// Whether a device with several stages must run all of them in one mode.
    pub one_mode: bool,
}

/// A planning problem: run a chain of units on devices.
///
/// Units `0..n` run in order. Cut `i` lies before unit `i`; cuts 0 and `n` are the network's input
/// and output. A stage is a consecutive range of units on one device in one mode; a plan is a
/// sequence of stages that covers the chain.
#[derive(Clone)]
pub struct Problem<'a> {
    /// Bytes that cross each of the n + 1 cuts, all tensors together. A cut that nothing crosses
    /// costs nothing.
    pub cuts: Vec<u64>,
    /// Alternative forms of what crosses each cut; empty if there are none. A transfer uses the
    /// form that arrives first over its link.
    pub forms: Vec<Vec<Form>>,
    /// Devices, numbered by position.
    pub devices: Vec<Device>,
    /// Links, indexed by `sender * devices + receiver`; `None` if there is no link. Staying on a
    /// device is free.
    pub links: Vec<Option<Link>>,
    /// Shared medium of each link, indexed like `links`; empty if all links are independent. A
    /// medium carries one transfer at a time.
    pub media: Vec<Option<usize>>,
    /// Costs of running units.
    pub costs: &'a dyn Costs,
    /// Required device of each unit; empty if no unit is pinned.
    pub pins: Vec<Option<usize>>,
    /// Device that holds the network's input; `None` if the input is free everywhere.
    pub source: Option<usize>,
    /// Device that must get the network's output; `None` if the output may stay anywhere.
    pub sink: Option<usize>,
    /// Whether a device may have several stages. It then holds all of them at once, and frames are
    /// not pipelined, so that no interval is defined.
    pub reuse: bool,
    /// Quantity to minimize.
    pub objective: Objective,
    /// Limits that every plan must keep.
    pub limits: Limits,
}

/// The decision for one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Units of the stage.
    pub units: Range<usize>,
    /// Device that runs it.
    pub device: usize,
    /// Mode of the device.
    pub mode: usize,
}

impl Problem<'_> {
    /// Number of units.
    pub(crate) fn units(&self) -> usize {
        self.cuts.len().saturating_sub(1)
    }

    /// Cost of the transfer over a cut, or `None` if it needs a link that does not exist. A missing
    /// end is free: the source of cut 0, or the sink of the last cut.
    pub(crate) fn transfer(
        &self,
        cut: usize,
        from: Option<usize>,
        to: Option<usize>,
    ) -> Option<Transfer> {
        match (from, to) {
            (Some(a), Some(b)) if a != b && self.cuts[cut] > 0 => {
                let link = self.links[a * self.devices.len() + b]?;
                let forms = self.forms.get(cut).into_iter().flatten();
                let plain = Form::plain(self.cuts[cut]);
                let sooner = |best: Form, &form: &Form| {
                    if link.flow(form) < link.flow(best) { form } else { best }
                };
                Some(link.send(forms.fold(plain, sooner)))
            }
            _ => Some(Transfer::default()),
        }
    }

    /// Medium that the link between two devices shares with others, if any.
    pub(crate) fn medium(&self, from: Option<usize>, to: Option<usize>) -> Option<usize> {
        *self.media.get(from? * self.devices.len() + to?)?
    }

    /// Whether the same bytes in the same forms cross two cuts.
    pub(crate) fn same_cut(&self, a: usize, b: usize) -> bool {
        (self.cuts[a], self.forms.get(a)) == (self.cuts[b], self.forms.get(b))
    }

    /// Bytes that a device may hold: its memory, or the limit if that is lower.
    pub(crate) fn capacity(&self, device: usize) -> u64 {
        self.devices[device].memory.min(self.limits.memory.unwrap_or(u64::MAX))
    }

    /// Upper bound on the bytes that a device could be asked to hold: the largest sum over disjoint
    /// stages, by dynamic programming.
    pub(crate) fn most_held(&self, device: usize) -> u64 {
        let n = self.units();
        let mut most = vec![0u64; n + 1];
        for j in 1..=n {
            let of = |i: usize| most[i].saturating_add(self.costs.memory(i..j, device));
            most[j] = (0..j).map(of).fold(most[j - 1], u64::max);
        }
        most[n]
    }

    /// Limit of an objective; infinite if there is none.
    pub(crate) fn limit(&self, o: Objective) -> f64 {
        let limit = match o {
            Objective::Latency => self.limits.latency,
            Objective::Interval => self.limits.interval,
            Objective::Energy => self.limits.energy,
            Objective::Memory => self.limits.memory.map(|m| m as f64),
        };
        limit.unwrap_or(f64::INFINITY)
    }

    /// Device to which a unit is pinned.
    pub(crate) fn pin(&self, unit: usize) -> Option<usize> {
        self.pins.get(unit).copied().flatten()
    }

    /// Checks that the fields are consistent.
    ///
    /// # Errors
    /// The first inconsistency found.
    pub fn check(&self) -> Result<(), ProblemError> {
        let (n, d) = (self.units(), self.devices.len());
        if n == 0 {
            return Err(ProblemError::NoUnits);
        }
        if d == 0 {
            return Err(ProblemError::NoDevices);
        }
        let lengths = [
            ("links", d * d, Some(self.links.len())),
            ("media", d * d, Some(self.media.len()).filter(|l| *l > 0)),
            ("pins", n, Some(self.pins.len()).filter(|l| *l > 0)),
            ("forms", n + 1, Some(self.forms.len()).filter(|l| *l > 0)),
        ];
        for (list, expected, found) in lengths {
            if let Some(found) = found.filter(|f| *f != expected) {
                return Err(ProblemError::Length { list, expected, found });
            }
        }
        let good = |l: &Link| l.bandwidth > 0.0 && l.latency >= 0.0 && l.watts >= 0.0;
        if !self.links.iter().flatten().all(good) {
            return Err(ProblemError::Link);
        }
        let sent = |f: &Form| f.bytes > 0 && f.seconds >= 0.0;
        if !self.forms.iter().flatten().all(sent) {
            return Err(ProblemError::Form);
        }
        if let Some(device) = self.devices.iter().position(|d| d.modes == 0) {
            return Err(ProblemError::NoMode(device));
        }
        let pins = self.pins.iter().flatten().map(|&p| ("pins", p));
        let ends = [("source", self.source), ("sink", self.sink)];
        let ends = ends.into_iter().filter_map(|(field, at)| Some((field, at?)));
        if let Some((field, device)) = pins.chain(ends).find(|(_, at)| *at >= d) {
            return Err(ProblemError::UnknownDevice { field, device, devices: d });
        }
        let timed = self.objective == Objective::Interval || self.limits.interval.is_some();
        if self.reuse && timed {
            return Err(ProblemError::IntervalWithReuse);
        }
        Ok(())
    }
}
