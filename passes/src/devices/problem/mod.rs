//! What is to be planned: a chain of units, devices, links, and what running units costs.

mod costs;
mod error;
mod plan;
pub(crate) mod search_space;

pub use costs::{Additive, BufferCredits};
pub use error::{NoPlan, PlanViolation, ProblemError, Reason};
pub use plan::{DevicePlan, Stage};

use std::ops::Range;

/// A device.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Name, for people.
    pub name: String,
    /// Devices of one kind have the same [`Costs`] for every run of units.
    pub kind: usize,
    /// Memory, bytes.
    pub memory: u64,
    /// How many modes (frequencies, power states) there are; at least 1.
    pub modes: usize,
}

/// A link from one device to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Bit/s.
    pub bandwidth: f64,
    /// Seconds before the first bit arrives.
    pub latency: f64,
    /// Power of sender and receiver while bits flow, W.
    pub watts: f64,
}

impl Link {
    /// A link that costs time but no energy.
    pub fn new(bandwidth: f64, latency: f64) -> Self {
        Self { bandwidth, latency, watts: 0.0 }
    }

    /// The transfer of so many bytes; of none, nothing.
    pub fn transfer(&self, bytes: u64) -> Transfer {
        self.send(Form::plain(bytes))
    }

    /// The transfer of something in a form; of no bytes, nothing.
    pub fn send(&self, form: Form) -> Transfer {
        if form.bytes == 0 {
            return Transfer::default();
        }
        let joules = self.watts * self.flow(Form::plain(form.bytes));
        Transfer { bytes: form.bytes, seconds: self.latency + self.flow(form), joules }
    }

    /// Seconds of a form without the link's latency.
    pub fn flow(&self, form: Form) -> f64 {
        form.seconds + form.bytes as f64 * 8.0 / self.bandwidth
    }
}

/// A form in which something can be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Form {
    /// Bytes that cross the link.
    pub bytes: u64,
    /// Seconds to make the form, and to make of it what it was.
    pub seconds: f64,
}

impl Form {
    /// As it is.
    pub fn plain(bytes: u64) -> Self {
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

/// What a transfer costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Transfer {
    /// Bytes that cross a link; 0 if nothing does.
    pub bytes: u64,
    /// Seconds.
    pub seconds: f64,
    /// Energy, J.
    pub joules: f64,
}

/// What running units costs. Costs of a run need not be sums over its units: a profile may have
/// measured runs.
pub trait Costs {
    /// Seconds of a run of units, or none if it cannot run there.
    fn seconds(&self, units: Range<usize>, device: usize, mode: usize) -> Option<f64>;

    /// Energy of a run of units, J.
    fn joules(&self, _units: Range<usize>, _device: usize, _mode: usize) -> f64 {
        0.0
    }

    /// Bytes that a device holds to run the units.
    fn memory(&self, _units: Range<usize>, _device: usize) -> u64 {
        0
    }
}

/// What is to be least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Objective {
    /// Seconds from a frame's input to its output: all computing and transfers.
    #[default]
    Latency,
    /// Seconds between frames in a pipeline: the longest computing of a stage or transfer, or all
    /// transfers over a medium together.
    Interval,
    /// Energy of a frame, J.
    Energy,
    /// Bytes: the most that a device holds.
    Memory,
}

impl Objective {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Latency, Self::Interval, Self::Energy, Self::Memory];

    /// Of two parts of a plan, what they come to: a sum or the larger.
    pub(crate) fn join(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Latency | Self::Energy => a + b,
            Self::Interval | Self::Memory => a.max(b),
        }
    }

    /// The share that computing has.
    pub(crate) fn of_run(self, seconds: f64, joules: f64, memory: u64) -> f64 {
        match self {
            Self::Latency | Self::Interval => seconds,
            Self::Energy => joules,
            Self::Memory => memory as f64,
        }
    }

    /// The share that a transfer has.
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

/// What a plan must keep to, besides the devices' memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Most seconds of latency.
    pub latency: Option<f64>,
    /// Most seconds between frames.
    pub interval: Option<f64>,
    /// Most energy a frame, J.
    pub energy: Option<f64>,
    /// Most bytes that any device holds.
    pub memory: Option<u64>,
    /// Most stages.
    pub stages: Option<usize>,
    /// Most units in a stage.
    pub run: Option<usize>,
    /// Whether a device that has several stages runs all of them in one mode.
    pub one_mode: bool,
}

/// A problem. Units `0..n` run in order; a stage is a run of units on a device in a mode.
#[derive(Clone)]
pub struct Problem<'a> {
    /// Bytes that cross each of the n + 1 cuts: the first is the network's input, the last its
    /// output. Several tensors are summed. Where nothing crosses, nothing is paid.
    pub cuts: Vec<u64>,
    /// Other forms in which what crosses each cut can be sent; empty if there is none for any. The one
    /// that is soonest over a link is taken.
    pub forms: Vec<Vec<Form>>,
    /// Devices.
    pub devices: Vec<Device>,
    /// Links by [sender × devices + receiver]; staying on a device is free.
    pub links: Vec<Option<Link>>,
    /// The medium that a link shares with others, by number, like links; empty if none shares any. A
    /// medium carries one transfer at a time.
    pub media: Vec<Option<usize>>,
    /// What running units costs.
    pub costs: &'a dyn Costs,
    /// Units that must be on a device; empty if none must.
    pub pins: Vec<Option<usize>>,
    /// Where the input comes from; if it is none, the input is free.
    pub source: Option<usize>,
    /// Where the output must go; if it is none, the output is free.
    pub sink: Option<usize>,
    /// Whether a device may have several stages, all of which it holds at once. A frame runs
    /// through them one after the other, so that there is no interval between frames to speak of.
    pub reuse: bool,
    /// What is to be least.
    pub objective: Objective,
    /// What a plan must keep to.
    pub limits: Limits,
}

/// A stage as a planner chooses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Units.
    pub units: Range<usize>,
    /// Device.
    pub device: usize,
    /// The device's mode.
    pub mode: usize,
}

impl Problem<'_> {
    /// How many units there are.
    pub fn units(&self) -> usize {
        self.cuts.len().saturating_sub(1)
    }

    /// The transfer over a cut, if there is a link or none is needed; `from` and `to` are none
    /// outside of the network where that is free.
    pub fn transfer(&self, cut: usize, from: Option<usize>, to: Option<usize>) -> Option<Transfer> {
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

    /// The medium of a transfer, if it shares one.
    pub(crate) fn medium(&self, from: Option<usize>, to: Option<usize>) -> Option<usize> {
        *self.media.get(from? * self.devices.len() + to?)?
    }

    /// Whether the same crosses two cuts, in the same forms.
    pub(crate) fn same_cut(&self, a: usize, b: usize) -> bool {
        (self.cuts[a], self.forms.get(a)) == (self.cuts[b], self.forms.get(b))
    }

    /// Bytes that a device may hold.
    pub fn capacity(&self, device: usize) -> u64 {
        self.devices[device].memory.min(self.limits.memory.unwrap_or(u64::MAX))
    }

    /// The limit of an objective.
    pub fn limit(&self, o: Objective) -> f64 {
        let limit = match o {
            Objective::Latency => self.limits.latency,
            Objective::Interval => self.limits.interval,
            Objective::Energy => self.limits.energy,
            Objective::Memory => self.limits.memory.map(|m| m as f64),
        };
        limit.unwrap_or(f64::INFINITY)
    }

    /// The device that a unit must be on.
    pub fn pin(&self, unit: usize) -> Option<usize> {
        self.pins.get(unit).copied().flatten()
    }

    /// Whether the parts of the problem fit together.
    ///
    /// # Errors
    /// What does not.
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
