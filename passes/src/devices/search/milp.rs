//! Integer programming, as an independent check of the other planners on small problems.
//!
//! Variables: a binary `on` for each (units, device, mode), a flow in [0, 1] for each (cut, sender,
//! receiver), one for the maximum, and a binary for each device and mode that stages keep to.
//! Constraints: exactly one stage begins at unit 0; at each cut and device, stages that end or
//! begin equal the flow out or in; devices, memory and limits are rows. O(units² · devices · modes)
//! binary variables; solved by microlp.

use good_lp::solvers::microlp::microlp;
use good_lp::{
    Expression, ResolutionError, Solution, SolutionStatus, SolverModel, Variable, variable,
    variables,
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

/// An optimal plan, or `None` if none exists.
///
/// # Errors
/// [`NoPlan::Invalid`] if the problem is malformed, [`NoPlan::Solver`] if the solver fails,
/// [`NoPlan::NotFound`] if it does not prove its answer.
pub fn milp(p: &Problem<'_>) -> Result<Option<DevicePlan>, NoPlan> {
    p.check()?;
    let (n, count) = (p.units(), p.devices.len());
    let mut vars = variables!();
    let mut arcs = Vec::new();
    for device in 0..count {
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
    let mut hops = Vec::new();
    let all = || (0..count).map(Some);
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
    let sum = |o: Objective| -> Expression {
        let runs = arcs.iter().map(|a| o.of_run(a.seconds, a.joules, 0) * a.on);
        runs.chain(hops.iter().map(|h| o.of_transfer(h.transfer) * h.on)).sum()
    };
    let sums = matches!(p.objective, Objective::Latency | Objective::Energy);
    let most = vars.add(variable().min(0));
    // For `one_mode`: the mode that each device keeps to.
    let mut modes = |d: &Device| (0..d.modes).map(|_| vars.add(variable().binary())).collect();
    let kept: Vec<Vec<Variable>> = match p.limits.one_mode {
        true => p.devices.iter().map(&mut modes).collect(),
        false => Vec::new(),
    };
    let goal: Expression = if sums { sum(p.objective) } else { most.into() };
    let mut model = vars.minimise(goal).using(microlp);
    let chosen = |keep: &dyn Fn(&Arc) -> bool| -> Expression {
        arcs.iter().filter(|a| keep(a)).map(|a| a.on).sum()
    };
    let flow = |keep: &dyn Fn(&Hop) -> bool| -> Expression {
        hops.iter().filter(|h| keep(h)).map(|h| h.on).sum()
    };
    model.add_constraint(chosen(&|a| a.choice.units.start == 0).eq(1));
    for cut in 0..=n {
        for d in 0..count {
            let begins = chosen(&|a| a.choice.units.start == cut && a.choice.device == d);
            let ends = chosen(&|a| a.choice.units.end == cut && a.choice.device == d);
            if cut < n {
                model.add_constraint(begins.eq(flow(&|h| h.cut == cut && h.to == Some(d))));
            }
            if cut > 0 {
                model.add_constraint(ends.eq(flow(&|h| h.cut == cut && h.from == Some(d))));
            }
        }
    }
    if p.limits.one_mode {
        for (d, modes) in kept.iter().enumerate() {
            let all: Expression = modes.iter().sum();
            model.add_constraint(all.leq(1));
            for a in arcs.iter().filter(|a| a.choice.device == d) {
                model.add_constraint(Expression::from(a.on).leq(modes[a.choice.mode]));
            }
        }
    }
    for d in 0..count {
        let of = |share: &dyn Fn(&Arc) -> f64| -> Expression {
            arcs.iter().filter(|a| a.choice.device == d).map(|a| share(a) * a.on).sum()
        };
        if !p.reuse {
            model.add_constraint(chosen(&|a| a.choice.device == d).leq(1));
        } else if p.capacity(d) < u64::MAX {
            model.add_constraint(of(&|a| a.memory).leq(p.capacity(d) as f64));
        }
        if !sums {
            let share = |a: &Arc| match p.objective {
                Objective::Memory => a.memory,
                _ => a.seconds,
            };
            model.add_constraint(of(&share).leq(most));
        }
    }
    if p.objective == Objective::Interval {
        for cut in 0..=n {
            let here = hops.iter().filter(|h| h.cut == cut);
            let share: Expression = here.map(|h| h.transfer.seconds * h.on).sum();
            model.add_constraint(share.leq(most));
        }
    }
    for m in p.media.iter().flatten().max().map_or(0..0, |m| 0..m + 1) {
        let over = hops.iter().filter(|h| h.medium == Some(m));
        let carried: Expression = over.map(|h| h.transfer.seconds * h.on).sum();
        if p.objective == Objective::Interval {
            model.add_constraint(carried.clone().leq(most));
        }
        if p.limit(Objective::Interval).is_finite() {
            model.add_constraint(carried.leq(p.limit(Objective::Interval)));
        }
    }
    for o in [Objective::Latency, Objective::Energy] {
        if p.limit(o).is_finite() {
            model.add_constraint(sum(o).leq(p.limit(o)));
        }
    }
    if let Some(stages) = p.limits.stages {
        model.add_constraint(chosen(&|_| true).leq(stages as f64));
    }
    let solution = match model.solve() {
        Ok(s) if matches!(s.status(), SolutionStatus::Optimal) => s,
        Ok(_) => return Err(NoPlan::NotFound(0.0)),
        Err(ResolutionError::Infeasible) => return Ok(None),
        Err(e) => return Err(NoPlan::Solver(e.to_string())),
    };
    let on = arcs.iter().filter(|a| solution.value(a.on) > 0.5);
    let mut choices: Vec<Choice> = on.map(|a| a.choice.clone()).collect();
    choices.sort_by_key(|c| c.units.start);
    judged(p, &choices, f64::INFINITY).map(Some)
}
