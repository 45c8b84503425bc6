//! Plans, and the one place that costs and checks them.
//!
//! [`Problem::judge`] evaluates a sequence of stages from the definition of the problem. Every
//! planner passes its result through it, so that all report the same value for the same plan, and a
//! defect of a planner becomes an error instead of a wrong plan.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Choice, Objective, PlanViolation, Problem, Transfer};

/// A stage with its costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Units of the stage.
    pub units: Range<usize>,
    /// Device that runs it.
    pub device: usize,
    /// Mode of the device.
    pub mode: usize,
    /// Seconds of computing.
    pub seconds: f64,
    /// Energy of computing in J.
    pub joules: f64,
    /// Bytes that the device holds for it.
    pub memory: u64,
    /// Transfer from the stage before, or from the source.
    pub transfer: Transfer,
}

/// A plan that keeps all limits, and a bound that says how good it is.
#[derive(Clone, Debug, PartialEq)]
pub struct DevicePlan {
    /// Stages in the order of the chain.
    pub stages: Vec<Stage>,
    /// Transfer to the sink.
    pub out: Transfer,
    /// Latency (s), interval (s), energy (J) and memory (bytes), in the order of
    /// [`Objective::ALL`].
    pub totals: [f64; 4],
    /// Value of the objective: s, s, J or bytes.
    pub value: f64,
    /// Lower bound on the value of every plan.
    pub bound: f64,
}

impl DevicePlan {
    /// Relative distance between value and bound, from 0 to 1.
    pub fn gap(&self) -> f64 {
        if self.value <= self.bound { 0.0 } else { (self.value - self.bound) / self.value }
    }

    /// Whether the plan is proved optimal, up to rounding (a gap of at most 1e-9).
    pub fn proved(&self) -> bool {
        self.gap() <= 1e-9
    }

    /// The decisions behind the plan.
    pub(crate) fn choices(&self) -> Vec<Choice> {
        let of = |s: &Stage| Choice { units: s.units.clone(), device: s.device, mode: s.mode };
        self.stages.iter().map(of).collect()
    }

    /// Total of one objective: s, s, J or bytes.
    pub fn total(&self, o: Objective) -> f64 {
        self.totals[o as usize]
    }
}

impl Problem<'_> {
    /// Costs a plan and checks every rule. The bound of the result is 0.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn judge(&self, choices: &[Choice]) -> Result<DevicePlan, PlanViolation> {
        let mut stages: Vec<Stage> = Vec::with_capacity(choices.len());
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
            let stage = self.stage(c, at, last)?;
            let d = c.device;
            let mut before = stages.iter().filter(|s| s.device == d);
            if !self.reuse && before.clone().next().is_some() {
                return Err(PlanViolation::DeviceTwice(d));
            }
            if self.limits.one_mode && before.any(|s| s.mode != c.mode) {
                return Err(PlanViolation::TwoModes(d));
            }
            held[d] += stage.memory;
            let (held, capacity) = (held[d], self.capacity(d));
            if held > capacity {
                return Err(PlanViolation::Memory { device: d, held, capacity });
            }
            carry(&mut totals, self.medium(last, Some(d)), stage.transfer.seconds);
            for o in Objective::ALL {
                add(&mut totals, o, o.of_transfer(stage.transfer));
                add(&mut totals, o, o.of_run(stage.seconds, stage.joules, held));
            }
            (at, last) = (stage.units.end, Some(d));
            stages.push(stage);
        }
        if at != self.units() {
            return Err(PlanViolation::Incomplete(at));
        }
        if let Some(limit) = self.limits.stages.filter(|s| stages.len() > *s) {
            return Err(PlanViolation::TooManyStages { limit, found: stages.len() });
        }
        let out = self.transfer(at, last, self.sink).ok_or(PlanViolation::NoLink { cut: at })?;
        carry(&mut totals, self.medium(last, self.sink), out.seconds);
        for o in Objective::ALL {
            add(&mut totals, o, o.of_transfer(out));
            let (value, limit) = (totals[o as usize], self.limit(o));
            if value > limit {
                return Err(PlanViolation::OverLimit { objective: o, value, limit });
            }
        }
        let value = totals[self.objective as usize];
        Ok(DevicePlan { stages, out, totals, value, bound: 0.0 })
    }

    /// Costs one stage and checks the rules that concern it alone. The stage before is on `last`
    /// and ends before unit `at`.
    fn stage(&self, c: &Choice, at: usize, last: Option<usize>) -> Result<Stage, PlanViolation> {
        let (units, device, mode) = (c.units.clone(), c.device, c.mode);
        if units.start != at || units.is_empty() || units.end > self.units() {
            return Err(PlanViolation::Order { expected: at, units });
        }
        let away = |u: usize| self.pin(u).filter(|p| *p != device).map(|pin| (u, pin));
        if let Some((unit, pin)) = units.clone().find_map(away) {
            return Err(PlanViolation::Pinned { unit, pin, device });
        }
        if let Some(limit) = self.limits.run.filter(|r| units.len() > *r) {
            return Err(PlanViolation::TooLong { units, limit });
        }
        let transfer = self.transfer(at, last, Some(device));
        let transfer = transfer.ok_or(PlanViolation::NoLink { cut: at })?;
        let Some(seconds) = self.costs.seconds(units.clone(), device, mode) else {
            return Err(PlanViolation::CannotRun { units, device });
        };
        let joules = self.costs.joules(units.clone(), device, mode);
        let memory = self.costs.memory(units.clone(), device);
        Ok(Stage { units, device, mode, seconds, joules, memory, transfer })
    }
}
