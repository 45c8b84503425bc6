//! What a planner answers: a plan with its proof, or why there is none.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use super::{Choice, Objective, Problem, Transfer};

/// A stage of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Units.
    pub units: Range<usize>,
    /// Device.
    pub device: usize,
    /// The device's mode.
    pub mode: usize,
    /// Seconds of computing.
    pub seconds: f64,
    /// Energy of computing, J.
    pub joules: f64,
    /// Bytes that it holds.
    pub memory: u64,
    /// What comes in from the stage before, or from the source.
    pub transfer: Transfer,
}

/// A plan that keeps to all limits.
#[derive(Clone, Debug, PartialEq)]
pub struct DevicePlan {
    /// Stages, in order.
    pub stages: Vec<Stage>,
    /// What goes out to the sink.
    pub out: Transfer,
    /// Latency, interval, energy and memory, as in [`Objective::ALL`]: s, s, J, bytes.
    pub totals: [f64; 4],
    /// The objective's value.
    pub value: f64,
    /// No plan has a lower value than this.
    pub bound: f64,
}

impl DevicePlan {
    /// How far the value may be from the least, as a share of it.
    pub fn gap(&self) -> f64 {
        if self.value <= self.bound { 0.0 } else { (self.value - self.bound) / self.value }
    }

    /// Whether it is proved that no plan is better, but for rounding.
    pub fn proved(&self) -> bool {
        self.gap() <= 1e-9
    }

    /// What was chosen.
    pub fn choices(&self) -> Vec<Choice> {
        let of = |s: &Stage| Choice { units: s.units.clone(), device: s.device, mode: s.mode };
        self.stages.iter().map(of).collect()
    }

    /// A total.
    pub fn total(&self, o: Objective) -> f64 {
        self.totals[o as usize]
    }
}

/// Why there is no plan, and what would have to give.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// A unit alone does not run on any device that it may be on.
    Unit(usize),
    /// A unit alone needs more bytes than every device has on which it may be.
    TooLarge {
        /// The unit.
        unit: usize,
        /// Bytes that it needs on the device where it needs least.
        needs: u64,
        /// The most that such a device has.
        has: u64,
    },
    /// The constants are more bytes than all devices have together.
    Weights {
        /// Bytes of the constants, each once.
        needs: u64,
        /// Bytes that the devices have.
        has: u64,
    },
    /// With the devices as they are, no plan fits; if each had at least this many bytes, one would;
    /// with fewer none was found (and, unless the effort was short, there is none).
    Capacity(u64),
    /// There are too few devices, or stages are too few: so many would do, were devices of each
    /// kind at hand without end.
    Stages {
        /// Stages that are needed.
        needs: usize,
        /// Stages that there may be.
        has: usize,
    },
    /// A limit is too low: this is the least that plans reach which keep to the others.
    Limit {
        /// What is limited.
        what: Objective,
        /// Its limit.
        limit: f64,
        /// The least that can be reached.
        least: f64,
    },
    /// Links, pins, source and sink leave no way through the devices, whatever their memory.
    NoWay,
    /// That was not found within the effort allowed.
    Unclear,
}

impl Reason {
    /// As text, units called by these names.
    fn describe(&self, unit: &dyn Fn(usize) -> String) -> String {
        match self {
            Self::Unit(u) => format!("{} runs on no device that it may be on", unit(*u)),
            Self::TooLarge { unit: u, needs, has } => {
                let u = unit(*u);
                format!("{u} needs {needs} B, and no device it may be on has over {has}")
            }
            Self::Weights { needs, has } => format!(
                "the weights are {needs} B, and all devices together have {has} B: they need \
                 more memory, or the model fewer or smaller weights"
            ),
            Self::Capacity(c) => format!("it would fit if every device had at least {c} B"),
            Self::Stages { needs, has } => format!("{needs} stages are needed, {has} possible"),
            Self::Limit { what, limit, least } => {
                format!("{what:?} is limited to {limit:.6e}, but at least {least:.6e}")
            }
            Self::NoWay => "links, pins, source and sink leave no way".into(),
            Self::Unclear => "what would have to give was not found".into(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(&|u| format!("unit {u}")))
    }
}

/// There is no plan to give.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NoPlan {
    /// The problem makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It is proved that there is none.
    #[error("{}", self.describe(&|u| format!("unit {u}")))]
    Infeasible(Vec<Reason>),
    /// None was found within the effort allowed; were there one, it would have at least this value.
    #[error("none was found within the effort allowed; one would have a value of at least {0:.6e}")]
    NotFound(f64),
}

/// Most reasons that are describe one by one.
const MAX_REASONS: usize = 4;

impl NoPlan {
    /// As text, units called by these names.
    pub fn describe(&self, unit: &dyn Fn(usize) -> String) -> String {
        match self {
            Self::Infeasible(reasons) => {
                let mut all: Vec<String> =
                    reasons.iter().take(MAX_REASONS).map(|r| r.describe(unit)).collect();
                if reasons.len() > MAX_REASONS {
                    all.push(format!("and {} more such reasons", reasons.len() - MAX_REASONS));
                }
                format!("there is no plan: {}", all.join("; "))
            }
            other => other.to_string(),
        }
    }
}

impl Problem<'_> {
    /// Costs a plan and checks every rule; its bound is left at 0. All planners' plans pass here.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn judge(&self, choices: &[Choice]) -> Result<DevicePlan, String> {
        let mut stages = Vec::with_capacity(choices.len());
        let mut totals = [0.0; 4];
        let mut held = vec![0; self.devices.len()];
        let (mut at, mut last) = (0, self.source);
        let add = |totals: &mut [f64; 4], o: Objective, x: f64| {
            totals[o as usize] = o.join(totals[o as usize], x);
        };
        let mut busy: BTreeMap<usize, f64> = BTreeMap::new();
        let mut carry = |totals: &mut [f64; 4], over: Option<usize>, seconds: f64| {
            if let Some(m) = over {
                let all = busy.entry(m).or_default();
                *all += seconds;
                add(totals, Objective::Interval, *all);
            }
        };
        for c in choices {
            let (units, d) = (c.units.clone(), c.device);
            if units.start != at || units.is_empty() || units.end > self.units() {
                return Err(format!("stage {units:?} does not follow unit {at}"));
            }
            if let Some(u) = units.clone().find(|&u| self.pin(u).is_some_and(|p| p != d)) {
                return Err(format!("unit {u} is pinned elsewhere"));
            }
            if self.limits.run.is_some_and(|r| units.len() > r) {
                return Err(format!("stage {units:?} is too long"));
            }
            let transfer = self.transfer(at, last, Some(d));
            let over = self.medium(last, Some(d));
            let transfer = transfer.ok_or_else(|| format!("no link into stage {units:?}"))?;
            let seconds = self.costs.seconds(units.clone(), d, c.mode);
            let seconds = seconds.ok_or_else(|| format!("stage {units:?} does not run"))?;
            let joules = self.costs.joules(units.clone(), d, c.mode);
            let memory = self.costs.memory(units.clone(), d);
            let mut before = stages.iter().filter(|s: &&Stage| s.device == d);
            if !self.reuse && before.clone().next().is_some() {
                return Err(format!("device {d} has two stages"));
            }
            if self.limits.one_mode && before.any(|s| s.mode != c.mode) {
                return Err(format!("device {d} has stages in two modes"));
            }
            held[d] += memory;
            if held[d] > self.capacity(d) {
                return Err(format!("device {d} holds {} B", held[d]));
            }
            carry(&mut totals, over, transfer.seconds);
            for o in Objective::ALL {
                add(&mut totals, o, o.of_transfer(transfer));
                add(&mut totals, o, o.of_run(seconds, joules, held[d]));
            }
            (at, last) = (units.end, Some(d));
            let mode = c.mode;
            stages.push(Stage { units, device: d, mode, seconds, joules, memory, transfer });
        }
        if at != self.units() {
            return Err(format!("units from {at} on are in no stage"));
        }
        if self.limits.stages.is_some_and(|s| stages.len() > s) {
            return Err("there are too many stages".into());
        }
        let out = self.transfer(at, last, self.sink).ok_or("no link to the sink")?;
        carry(&mut totals, self.medium(last, self.sink), out.seconds);
        for o in Objective::ALL {
            add(&mut totals, o, o.of_transfer(out));
            if totals[o as usize] > self.limit(o) {
                return Err(format!("{o:?} is over its limit"));
            }
        }
        Ok(DevicePlan { stages, out, totals, value: totals[self.objective as usize], bound: 0.0 })
    }
}
