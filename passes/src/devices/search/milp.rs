//! Integer programming, as an independent check of the other planners on small problems.
//!
//! Variables: a binary `on` for each (units, device, mode), a flow in [0, 1] for each (cut, sender,
//! receiver), one for the maximum, and a binary for each device and mode that stages keep to.
//! Constraints: exactly one stage begins at unit 0; at each cut and device, stages that end or
//! begin equal the flow out or in; devices, memory and limits are rows. O(units² · devices · modes)
//! binary variables; solved by microlp.

use good_lp::solvers::microlp::microlp;
use good_lp::{
    Constraint, Expression, ProblemVariables, ResolutionError, Solution, SolutionStatus,
    SolverModel, Variable, variable, variables,
};

use super::judged;
use crate::devices::problem::{Choice, Device, DevicePlan, NoPlan, Objective, Problem, Transfer};

/// A candidate stage.
struct Arc {
    choice: Choice,
    seconds: f64,
    joules: f64,
    memory: f64,
    on: Variable,
}

/// A candidate transfer.
struct Hop {
    cut: usize,
    from: Option<usize>,
    to: Option<usize>,
    transfer: Transfer,
    /// Medium that it shares with others.
    medium: Option<usize>,
    on: Variable,
}

/// The variables of a problem, in the order of the solver.
struct Program<'p, 'c> {
    p: &'p Problem<'c>,
    arcs: Vec<Arc>,
    hops: Vec<Hop>,
    /// The objective, if it is a maximum.
    most: Variable,
    /// For `one_mode`: the mode that each device keeps to.
    kept: Vec<Vec<Variable>>,
}

/// An optimal plan, or `None` if none exists.
///
/// # Errors
/// [`NoPlan::Invalid`] if the problem is malformed, [`NoPlan::Solver`] if the solver fails,
/// [`NoPlan::NotFound`] if it does not prove its answer.
pub fn milp(p: &Problem<'_>) -> Result<Option<DevicePlan>, NoPlan> {
    p.check()?;
    let mut vars = variables!();
    let arcs = arcs(p, &mut vars);
    let hops = hops(p, &mut vars);
    let most = vars.add(variable().min(0));
    let mut modes = |d: &Device| (0..d.modes).map(|_| vars.add(variable().binary())).collect();
    let kept: Vec<Vec<Variable>> = match p.limits.one_mode {
        true => p.devices.iter().map(&mut modes).collect(),
        false => Vec::new(),
    };
    let program = Program { p, arcs, hops, most, kept };
    let goal = if program.is_sum() { program.sum(p.objective) } else { most.into() };
    let mut model = vars.minimise(goal).using(microlp);
    let rows = [program.flow(), program.devices(), program.maxima(), program.limits()];
    for row in rows.into_iter().flatten() {
        model.add_constraint(row);
    }
    let solution = match model.solve() {
        Ok(s) if matches!(s.status(), SolutionStatus::Optimal) => s,
        Ok(_) => return Err(NoPlan::NotFound(0.0)),
        Err(ResolutionError::Infeasible) => return Ok(None),
        Err(e) => return Err(NoPlan::Solver(e.to_string())),
    };
    let on = program.arcs.iter().filter(|a| solution.value(a.on) > 0.5);
    let mut choices: Vec<Choice> = on.map(|a| a.choice.clone()).collect();
    choices.sort_by_key(|c| c.units.start);
    judged(p, &choices, f64::INFINITY).map(Some)
}

/// Stages that fit their device and keep pins and the limits on a single stage.
fn arcs(p: &Problem<'_>, vars: &mut ProblemVariables) -> Vec<Arc> {
    let n = p.units();
    let mut arcs = Vec::new();
    for device in 0..p.devices.len() {
        for i in 0..n {
            for j in i + 1..=n.min(i.saturating_add(p.limits.run.unwrap_or(n))) {
                let memory = p.costs.memory(i..j, device);
                let away = (i..j).any(|u| p.pin(u).is_some_and(|pin| pin != device));
                if away || memory > p.capacity(device) {
                    continue;
                }
                for mode in 0..p.devices[device].modes {
                    let Some(seconds) = p.costs.seconds(i..j, device, mode) else { continue };
                    if seconds <= p.limit(Objective::Interval) {
                        let joules = p.costs.joules(i..j, device, mode);
                        let choice = Choice { units: i..j, device, mode };
                        let on = vars.add(variable().binary());
                        arcs.push(Arc { choice, seconds, joules, memory: memory as f64, on });
                    }
                }
            }
        }
    }
    arcs
}

/// Transfers over each cut between all devices that have a link, and with the source and the sink.
fn hops(p: &Problem<'_>, vars: &mut ProblemVariables) -> Vec<Hop> {
    let n = p.units();
    let mut hops = Vec::new();
    let all = || (0..p.devices.len()).map(Some);
    for cut in 0..=n {
        let (senders, receivers): (Vec<_>, Vec<_>) = match cut {
            0 => (vec![None], all().collect()),
            c if c == n => (all().collect(), vec![None]),
            _ => (all().collect(), all().collect()),
        };
        for &from in &senders {
            for &to in &receivers {
                let (a, b) = (
                    from.or(if cut == 0 { p.source } else { None }),
                    to.or(if cut == n { p.sink } else { None }),
                );
                let again = cut > 0 && cut < n && from == to && !p.reuse;
                let Some(transfer) = p.transfer(cut, a, b).filter(|_| !again) else { continue };
                if transfer.seconds <= p.limit(Objective::Interval) {
                    let on = vars.add(variable().min(0).max(1));
                    let medium = p.medium(a, b);
                    hops.push(Hop { cut, from, to, transfer, medium, on });
                }
            }
        }
    }
    hops
}

impl Program<'_, '_> {
    /// Whether the objective is a sum, and not a maximum.
    fn is_sum(&self) -> bool {
        matches!(self.p.objective, Objective::Latency | Objective::Energy)
    }

    /// A sum objective over all stages and transfers chosen.
    fn sum(&self, o: Objective) -> Expression {
        let runs = self.arcs.iter().map(|a| o.of_run(a.seconds, a.joules, 0) * a.on);
        runs.chain(self.hops.iter().map(|h| o.of_transfer(h.transfer) * h.on)).sum()
    }

    /// How many of these stages are chosen.
    fn chosen(&self, keep: &dyn Fn(&Arc) -> bool) -> Expression {
        self.arcs.iter().filter(|a| keep(a)).map(|a| a.on).sum()
    }

    /// One path from the source to the sink: what ends at a cut and device flows out of it, and what
    /// flows in begins there.
    fn flow(&self) -> Vec<Constraint> {
        let n = self.p.units();
        let flow = |keep: &dyn Fn(&Hop) -> bool| -> Expression {
            self.hops.iter().filter(|h| keep(h)).map(|h| h.on).sum()
        };
        let mut rows = vec![self.chosen(&|a| a.choice.units.start == 0).eq(1)];
        for cut in 0..=n {
            for d in 0..self.p.devices.len() {
                let begins = self.chosen(&|a| a.choice.units.start == cut && a.choice.device == d);
                let ends = self.chosen(&|a| a.choice.units.end == cut && a.choice.device == d);
                if cut < n {
                    rows.push(begins.eq(flow(&|h| h.cut == cut && h.to == Some(d))));
                }
                if cut > 0 {
                    rows.push(ends.eq(flow(&|h| h.cut == cut && h.from == Some(d))));
                }
            }
        }
        rows
    }

    /// What each device may do: one stage, or stages that fit together; one mode.
    fn devices(&self) -> Vec<Constraint> {
        let mut rows = Vec::new();
        for (d, modes) in self.kept.iter().enumerate() {
            let all: Expression = modes.iter().sum();
            rows.push(all.leq(1));
            for a in self.arcs.iter().filter(|a| a.choice.device == d) {
                rows.push(Expression::from(a.on).leq(modes[a.choice.mode]));
            }
        }
        for d in 0..self.p.devices.len() {
            if !self.p.reuse {
                rows.push(self.chosen(&|a| a.choice.device == d).leq(1));
            } else if self.p.capacity(d) < u64::MAX {
                rows.push(self.on_device(d, &|a| a.memory).leq(self.p.capacity(d) as f64));
            }
        }
        rows
    }

    fn on_device(&self, d: usize, share: &dyn Fn(&Arc) -> f64) -> Expression {
        self.arcs.iter().filter(|a| a.choice.device == d).map(|a| share(a) * a.on).sum()
    }

    /// A maximum is at least the load of each device, cut and medium.
    fn maxima(&self) -> Vec<Constraint> {
        let mut rows = Vec::new();
        if !self.is_sum() {
            let share = |a: &Arc| match self.p.objective {
                Objective::Memory => a.memory,
                _ => a.seconds,
            };
            let devices = 0..self.p.devices.len();
            rows.extend(devices.map(|d| self.on_device(d, &share).leq(self.most)));
        }
        if self.p.objective == Objective::Interval {
            for cut in 0..=self.p.units() {
                rows.push(self.carried(&|h| h.cut == cut).leq(self.most));
            }
            rows.extend(
                self.media().map(|m| self.carried(&|h| h.medium == Some(m)).leq(self.most)),
            );
        }
        rows
    }

    /// Limits on sums, on media and on the number of stages. Those on single stages and transfers
    /// are kept by the choice of variables.
    fn limits(&self) -> Vec<Constraint> {
        let mut rows = Vec::new();
        let interval = self.p.limit(Objective::Interval);
        if interval.is_finite() {
            rows.extend(self.media().map(|m| self.carried(&|h| h.medium == Some(m)).leq(interval)));
        }
        for o in [Objective::Latency, Objective::Energy] {
            if self.p.limit(o).is_finite() {
                rows.push(self.sum(o).leq(self.p.limit(o)));
            }
        }
        if let Some(stages) = self.p.limits.stages {
            rows.push(self.chosen(&|_| true).leq(stages as f64));
        }
        rows
    }

    /// Seconds of these transfers.
    fn carried(&self, keep: &dyn Fn(&Hop) -> bool) -> Expression {
        self.hops.iter().filter(|h| keep(h)).map(|h| h.transfer.seconds * h.on).sum()
    }

    /// The media, by number.
    fn media(&self) -> std::ops::Range<usize> {
        self.p.media.iter().flatten().max().map_or(0..0, |m| 0..m + 1)
    }
}
