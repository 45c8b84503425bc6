//! What the searches share: classes of interchangeable devices, feasible ranges of units, and lower
//! bounds from a relaxation.
//!
//! - Two devices are interchangeable if costs, memory and modes are equal, nothing names one of
//!   them, and exchanging them leaves the links unchanged. Searches count used devices by class
//!   instead of enumerating them.
//! - `reach[class][i]` is the largest end of a stage that begins at unit `i`.
//! - Lower bounds come from the relaxation in which devices may be used any number of times: a
//!   shortest path over (cut, class), solved once by dynamic programming from the end of the chain.

use super::{Objective, Problem, Transfer};

/// A problem with its device classes and feasible ranges.
pub(crate) struct SearchSpace<'p, 'c> {
    pub p: &'p Problem<'c>,
    /// Devices of each class; the first one represents it.
    pub classes: Vec<Vec<usize>>,
    /// Largest end of a stage, exclusive, by class and first unit.
    pub reach: Vec<Vec<usize>>,
}

/// Cost of computing a stage in a mode: seconds and J.
#[derive(Clone, Copy)]
pub(crate) struct StageCost {
    pub mode: usize,
    pub seconds: f64,
    pub joules: f64,
}

impl<'p, 'c> SearchSpace<'p, 'c> {
    pub fn new(p: &'p Problem<'c>) -> Self {
        let mut members: Vec<Vec<usize>> = Vec::new();
        for d in 0..p.devices.len() {
            match members.iter_mut().find(|m| !p.reuse && alike(p, m[0], d)) {
                Some(m) => m.push(d),
                None => members.push(vec![d]),
            }
        }
        let reach = |m: &Vec<usize>| {
            let n = p.units();
            let mut reach = vec![0; n];
            let mut end = n;
            for i in (0..n).rev() {
                if p.pin(i).is_some_and(|d| d != m[0]) {
                    end = i;
                }
                reach[i] = end.min(i.saturating_add(p.limits.run.unwrap_or(n)));
                // One query decides whether there is any limit on memory to check.
                let too_large = |j: usize| p.costs.memory(i..j, m[0]) > p.capacity(m[0]);
                while p.capacity(m[0]) < u64::MAX && reach[i] > i && too_large(reach[i]) {
                    reach[i] -= 1;
                }
            }
            reach
        };
        let reach = members.iter().map(reach).collect();
        Self { p, classes: members, reach }
    }

    /// Modes in which a class can run units `i..j`, with their costs.
    pub fn stage_costs(
        &self,
        i: usize,
        j: usize,
        class: usize,
    ) -> impl Iterator<Item = StageCost> + use<'_> {
        let d = self.classes[class][0];
        let fits = j <= self.reach[class][i] && {
            let capacity = self.p.capacity(d);
            capacity == u64::MAX || self.p.costs.memory(i..j, d) <= capacity
        };
        let modes = if fits { self.p.devices[d].modes } else { 0 };
        (0..modes).filter_map(move |mode| {
            let seconds = self.p.costs.seconds(i..j, d, mode)?;
            let joules = self.p.costs.joules(i..j, d, mode);
            (seconds <= self.p.limit(Objective::Interval)).then_some(StageCost {
                mode,
                seconds,
                joules,
            })
        })
    }

    /// Transfer over a cut into a class, from another class or, if `from` is `None`, from the
    /// source. `None` if there is no link, or it takes longer than the interval allows.
    pub fn transfer_into(&self, cut: usize, from: Option<usize>, to: usize) -> Option<Transfer> {
        let b = self.classes[to][0];
        let t = match from {
            Some(a) if a == to && !self.p.reuse => {
                self.p.transfer(cut, Some(b), Some(*self.classes[to].get(1)?))
            }
            Some(a) => self.p.transfer(cut, Some(self.classes[a][0]), Some(b)),
            None => self.p.transfer(cut, self.p.source, Some(b)),
        };
        t.filter(|t| t.seconds <= self.p.limit(Objective::Interval))
    }

    /// Transfer from the last stage to the sink.
    pub fn transfer_out(&self, from: usize) -> Option<Transfer> {
        let t = self.p.transfer(self.p.units(), Some(self.classes[from][0]), self.p.sink);
        t.filter(|t| t.seconds <= self.p.limit(Objective::Interval))
    }

    /// Most stages of a plan.
    pub fn stages(&self) -> usize {
        let devices = if self.p.reuse { usize::MAX } else { self.p.devices.len() };
        devices.min(self.p.limits.stages.unwrap_or(usize::MAX))
    }

    /// Lower bound on the cost of the remaining stages, per cut and class of the last stage; row
    /// `classes.len()` is the start state. It relaxes the problem by letting devices be reused.
    /// Infinite where even that is infeasible.
    pub fn lower_bounds(&self, what: Relaxation) -> LowerBounds {
        let (n, k) = (self.p.units(), self.classes.len());
        let mut rest = LowerBounds { classes: k, least: vec![f64::INFINITY; (n + 1) * (k + 1)] };
        for a in 0..k {
            if let Some(t) = self.transfer_out(a) {
                rest.least[n * (k + 1) + a] = what.of_transfer(t);
            }
        }
        let mut begun = vec![f64::INFINITY; k];
        for i in (0..n).rev() {
            for (b, begun) in begun.iter_mut().enumerate() {
                *begun = f64::INFINITY;
                for j in i + 1..=self.reach[b][i] {
                    let after = rest.after(j, Some(b));
                    if after < *begun {
                        for run in self.stage_costs(i, j, b) {
                            *begun = begun.min(what.join(what.of_run(self, i, j, b, run), after));
                        }
                    }
                }
            }
            for a in (0..=k).filter(|&a| (a == k) == (i == 0)) {
                let transfer = |b: usize| {
                    let t = self.transfer_into(i, (a < k).then_some(a), b)?;
                    Some(what.join(what.of_transfer(t), begun[b]))
                };
                let least = (0..k).filter(|&b| begun[b].is_finite()).filter_map(transfer);
                rest.least[i * (k + 1) + a] = least.fold(f64::INFINITY, f64::min);
            }
        }
        rest
    }
}

/// Whether two devices are interchangeable. This is transitive, so that comparing with one device
/// of a class is enough.
fn alike(p: &Problem<'_>, a: usize, b: usize) -> bool {
    let (x, y, n) = (&p.devices[a], &p.devices[b], p.devices.len());
    let named = |d: usize| {
        p.source == Some(d) || p.sink == Some(d) || p.pins.iter().flatten().any(|&p| p == d)
    };
    let link = |from: usize, to: usize| p.links[from * n + to];
    (x.kind, x.memory, x.modes) == (y.kind, y.memory, y.modes)
        && !named(a)
        && !named(b)
        && link(a, b) == link(b, a)
        && (0..n)
            .filter(|&c| c != a && c != b)
            .all(|c| link(a, c) == link(b, c) && link(c, a) == link(c, b))
}

/// The quantity that a relaxation bounds.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Relaxation {
    Value(Objective),
    Stages,
}

impl Relaxation {
    fn join(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Value(o) => o.join(a, b),
            Self::Stages => a + b,
        }
    }

    fn of_transfer(self, t: Transfer) -> f64 {
        match self {
            Self::Value(o) => o.of_transfer(t),
            Self::Stages => 0.0,
        }
    }

    fn of_run(
        self,
        s: &SearchSpace<'_, '_>,
        i: usize,
        j: usize,
        class: usize,
        run: StageCost,
    ) -> f64 {
        match self {
            Self::Value(Objective::Memory) => s.p.costs.memory(i..j, s.classes[class][0]) as f64,
            Self::Value(o) => o.of_run(run.seconds, run.joules, 0),
            Self::Stages => 1.0,
        }
    }
}

/// Result of [`SearchSpace::lower_bounds`], by cut and class.
pub(crate) struct LowerBounds {
    classes: usize,
    least: Vec<f64>,
}

impl LowerBounds {
    pub fn after(&self, cut: usize, last: Option<usize>) -> f64 {
        self.least[cut * (self.classes + 1) + last.unwrap_or(self.classes)]
    }
}
