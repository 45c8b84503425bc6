//! What a planner answers: a plan with its proof, or why there is none.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Choice, Objective, PlanViolation, Problem, Transfer};

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

impl Problem<'_> {
    /// Costs a plan and checks every rule; its bound is left at 0. All planners' plans pass here.
    ///
    /// # Errors
    /// The rule that is broken.
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

    /// Costs of a stage, and the rules that it can break by itself, after a stage on `last` that
    /// ends before unit `at`.
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
