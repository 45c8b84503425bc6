//! Partition and placement at once, on distinct devices linked in any way, for the least interval.
//!
//! Bisects on the interval. For each candidate value it decides whether some partition and
//! placement keep every stage and every transfer within it:
//!
//! 1. Relaxation: let devices be reused. If no walk through (cut, device) stays within the value,
//!    the answer is no.
//! 2. Relaxation: if the walk needs more stages than there are devices, the answer is no.
//! 3. Heuristic: place the partition whose cuts have the most usable links ([`super::place()`]). If
//!    that succeeds, the answer is yes.
//! 4. Otherwise branch and bound over stages, with the relaxation as the bound and a table of
//!    failed states (cut, last device, used devices).
//!
//! The least value that the relaxations cannot exclude is the lower bound.

use std::collections::HashSet;

use super::place::{self, DeviceSet, Placing, StageLoads, devices};
use crate::devices::problem::{Choice, Objective, Problem};

/// The loads of a problem, by device, cut and pair of devices.
pub(super) struct JointSearch<'p, 'c> {
    p: &'p Problem<'c>,
    n: usize,
    count: usize,
    /// Kind of each device; devices of equal kind have equal loads for every range.
    kind: Vec<usize>,
    /// Seconds by kind, first unit and length - 1; infinite if the range cannot run.
    runs: Vec<Vec<Vec<f64>>>,
    /// Row of `transfers` for each cut, and seconds by `sender * devices + receiver`.
    cut_kind: Vec<usize>,
    transfers: Vec<Vec<f64>>,
    /// Seconds from the source and to the sink, by device.
    ends: [Vec<f64>; 2],
}

/// The relaxation in which devices may be reused, for one value.
struct WalkRelaxation {
    /// Usable receivers by row of `transfers` and sender.
    out: Vec<Vec<DeviceSet>>,
    /// Fewest stages to the end from a stage that begins at a cut on a device.
    fewest: Vec<Vec<usize>>,
    /// Devices that the first stage may use.
    first: DeviceSet,
}

const NEVER: usize = usize::MAX / 2;

impl<'p, 'c> JointSearch<'p, 'c> {
    /// Whether this planner applies: the interval is minimized, no sum is limited, devices are not
    /// reused, and there are at most 128.
    pub fn applies(p: &Problem<'_>) -> bool {
        let sums = p.limits.latency.is_some() || p.limits.energy.is_some();
        p.objective == Objective::Interval && !sums && !p.reuse && p.devices.len() <= 128
    }

    pub fn new(p: &'p Problem<'c>) -> Self {
        let (n, count) = (p.units(), p.devices.len());
        let mut kinds: Vec<usize> = Vec::new();
        let mut kind = Vec::new();
        let named = |d: usize| p.pins.iter().flatten().any(|&x| x == d);
        for (d, device) in p.devices.iter().enumerate() {
            let same = |&k: &usize| {
                let other = &p.devices[k];
                (other.kind, other.memory, other.modes)
                    == (device.kind, device.memory, device.modes)
                    && !named(d)
                    && !named(k)
            };
            let known = kinds.iter().position(same);
            kind.push(known.unwrap_or(kinds.len()));
            if known.is_none() {
                kinds.push(d);
            }
        }
        let run = |d: usize, i: usize, j: usize| {
            place::quickest(p, i, j, d).map_or(f64::INFINITY, |r| r.0)
        };
        let from = |d: usize, i: usize| (i + 1..=n).map(|j| run(d, i, j)).collect();
        let runs = kinds.iter().map(|&d| (0..n).map(|i| from(d, i)).collect()).collect();
        let limit = p.limit(Objective::Interval);
        let time = |cut, from, to| {
            let t = p.transfer(cut, from, to).map_or(f64::INFINITY, |t| t.seconds);
            if t <= limit { t } else { f64::INFINITY }
        };
        let mut seen: Vec<usize> = Vec::new();
        let (mut cut_kind, mut transfers) = (vec![0], Vec::new());
        for cut in 1..n {
            let known = seen.iter().position(|&c| p.same_cut(c, cut));
            cut_kind.push(known.unwrap_or(seen.len()));
            if known.is_none() {
                seen.push(cut);
                let share = |at: usize| time(cut, Some(at / count), Some(at % count));
                transfers.push((0..count * count).map(share).collect::<Vec<f64>>());
            }
        }
        let source = (0..count).map(|d| time(0, p.source, Some(d))).collect();
        let sink = (0..count).map(|d| time(n, Some(d), p.sink)).collect();
        Self { p, n, count, kind, runs, cut_kind, transfers, ends: [source, sink] }
    }

    fn run(&self, d: usize, i: usize, j: usize) -> f64 {
        self.runs[self.kind[d]][i][j - i - 1]
    }

    fn stages(&self) -> usize {
        self.count.min(self.p.limits.stages.unwrap_or(usize::MAX))
    }

    /// All loads below a value, ascending.
    fn values(&self, below: f64) -> Vec<f64> {
        let runs = self.runs.iter().flatten().flatten();
        let off = |(at, _): &(usize, &f64)| at / self.count != at % self.count;
        let transfers =
            self.transfers.iter().flat_map(|h| h.iter().enumerate().filter(off).map(|h| h.1));
        let all = runs.chain(transfers).chain(self.ends.iter().flatten());
        let mut all: Vec<f64> = all.copied().filter(|&v| v < below).collect();
        all.sort_unstable_by(f64::total_cmp);
        all.dedup();
        all
    }

    fn walk(&self, value: f64) -> WalkRelaxation {
        let (n, count) = (self.n, self.count);
        let receivers = |h: &Vec<f64>, a: usize| {
            let linked = |b: &usize| a != *b && h[a * count + b] <= value;
            (0..count).filter(linked).fold(0, |set: DeviceSet, b| set | 1 << b)
        };
        let out: Vec<Vec<DeviceSet>> =
            self.transfers.iter().map(|h| (0..count).map(|a| receivers(h, a)).collect()).collect();
        let mut fewest = vec![vec![NEVER; count]; n];
        // Fewest stages after one that ends at a cut on a device.
        let mut after = vec![vec![NEVER; count]; n + 1];
        for (d, after) in after[n].iter_mut().enumerate() {
            *after = if self.ends[1][d] <= value { 0 } else { NEVER };
        }
        for i in (0..n).rev() {
            for d in 0..count {
                let runs = self.runs[self.kind[d]][i].iter().zip(&after[i + 1..]);
                let ways = runs.filter(|(r, _)| **r <= value).map(|(_, after)| after[d]);
                fewest[i][d] = ways.min().unwrap_or(NEVER).saturating_add(1).min(NEVER);
            }
            if i > 0 {
                for d in 0..count {
                    let next = devices(out[self.cut_kind[i]][d]).map(|b| fewest[i][b]);
                    after[i][d] = next.min().unwrap_or(NEVER);
                }
            }
        }
        let start = |d: &usize| self.ends[0][*d] <= value && fewest[0][*d] <= self.stages();
        let first = (0..count).filter(start).fold(0, |set, d| set | 1 << d);
        WalkRelaxation { out, fewest, first }
    }

    /// The partition whose cuts have the most usable links: least sum of -log(usable share) plus
    /// `each` per stage.
    fn roomiest(&self, walk: &WalkRelaxation, value: f64, each: f64) -> Option<Vec<usize>> {
        let n = self.n;
        let pairs = (self.count * self.count.saturating_sub(1)).max(1) as f64;
        let linked = |sets: &Vec<DeviceSet>| sets.iter().map(|s| s.count_ones()).sum::<u32>();
        let weights: Vec<f64> =
            walk.out.iter().map(|sets| each - (f64::from(linked(sets)) / pairs).ln()).collect();
        let mut least = vec![(f64::INFINITY, n); n + 1];
        least[n].0 = 0.0;
        for i in (0..n).rev() {
            for j in i + 1..=n {
                let cost = least[j].0 + if j < n { weights[self.cut_kind[j]] } else { 0.0 };
                let runs = || self.runs.iter().any(|kind| kind[i][j - i - 1] <= value);
                if cost < least[i].0 && runs() {
                    least[i] = (cost, j);
                }
            }
        }
        let mut cuts = vec![0];
        while let Some(&i) = cuts.last().filter(|&&i| i < n) {
            if least[i].0.is_infinite() {
                return None;
            }
            cuts.push(least[i].1);
        }
        (cuts.len() - 1 <= self.stages()).then_some(cuts)
    }

    /// Decides whether a plan within `value` exists, and returns it.
    fn within(&self, value: f64, nodes: usize) -> (Placing, Option<Vec<Choice>>) {
        let walk = self.walk(value);
        if walk.first == 0 {
            return (Placing::Impossible, None);
        }
        for each in [0.01, 1.0] {
            let Some(cuts) = self.roomiest(&walk, value, each) else { continue };
            let loads = StageLoads::new(self.p, &cuts);
            if let Placing::Placed(d) = place::within(&loads, value, &mut (nodes / 100)) {
                let choices = place::choices(self.p, &cuts, &d);
                return (Placing::Placed(d), choices);
            }
        }
        let mut search = BranchAndBound { joint: self, walk, value, nodes, failed: HashSet::new() };
        let mut way = Vec::new();
        match search.go(0, None, 0, &mut way) {
            Some(true) => {
                let mut cuts: Vec<usize> = way.iter().map(|w| w.0).collect();
                cuts.push(self.n);
                let placed: Vec<usize> = way.iter().map(|w| w.1).collect();
                let choices = place::choices(self.p, &cuts, &placed);
                (Placing::Placed(placed), choices)
            }
            Some(false) => (Placing::Impossible, None),
            None => (Placing::Undecided, None),
        }
    }

    /// The best plan with a value below `below`, and a lower bound of at most `below` on all plans.
    pub fn best(&self, below: f64, nodes: usize) -> (Option<Vec<Choice>>, f64) {
        let values = self.values(below);
        let mut low = values.partition_point(|&v| self.walk(v).first == 0);
        let (mut high, mut proved, mut found) = (values.len(), low, None);
        let mut at = low;
        while low < high {
            let (answer, choices) = self.within(values[at], nodes);
            match choices {
                Some(c) => {
                    let judged = self.p.judge(&c).map_or(values[at], |plan| plan.value);
                    high = values.partition_point(|&v| v < judged.min(values[at]));
                    found = Some(c);
                }
                None => {
                    low = at + 1;
                    if answer == Placing::Impossible {
                        proved = proved.max(at + 1);
                    }
                }
            }
            // A search that ended by its limit may have skipped a feasible value below `high`.
            at = low + high.saturating_sub(low) / 2;
        }
        (found, values.get(proved).copied().unwrap_or(below))
    }
}

/// Branch and bound for one value.
struct BranchAndBound<'j, 'p, 'c> {
    joint: &'j JointSearch<'p, 'c>,
    walk: WalkRelaxation,
    value: f64,
    nodes: usize,
    /// States without a completion: cut, last device, used devices.
    failed: HashSet<(usize, usize, DeviceSet)>,
}

impl BranchAndBound<'_, '_, '_> {
    /// Whether the units from `cut` on can be placed; `None` if the limit on nodes was reached.
    fn go(
        &mut self,
        cut: usize,
        last: Option<usize>,
        used: DeviceSet,
        way: &mut Vec<(usize, usize)>,
    ) -> Option<bool> {
        let j = self.joint;
        if cut == j.n {
            return Some(true);
        }
        let key = (cut, last.unwrap_or(usize::MAX), used);
        if self.failed.contains(&key) {
            return Some(false);
        }
        let from = match last {
            Some(d) => self.walk.out[j.cut_kind[cut]][d] & !used,
            None => self.walk.first,
        };
        let left = j.stages() - used.count_ones() as usize;
        // Candidates: fewest stages to follow, receivers left, device, end of the stage.
        let mut next = Vec::new();
        for d in devices(from).filter(|&d| self.walk.fewest[cut][d] <= left) {
            let unused = !used & !(1 << d);
            for end in (cut + 1..=j.n).filter(|&end| j.run(d, cut, end) <= self.value) {
                if end == j.n {
                    if j.ends[1][d] <= self.value {
                        next.push((0, 0, d, end));
                    }
                    continue;
                }
                let ways = self.walk.out[j.cut_kind[end]][d] & unused;
                let fewest = devices(ways).map(|b| self.walk.fewest[end][b]).min();
                if let Some(fewest) = fewest.filter(|&f| f < left) {
                    // Most constrained first.
                    next.push((fewest, ways.count_ones(), d, end));
                }
            }
        }
        next.sort_unstable_by_key(|&(fewest, ways, d, end)| (fewest, ways, j.n - end, d));
        let mut unknown = false;
        for (_, _, d, end) in next {
            if self.nodes == 0 {
                return None;
            }
            self.nodes -= 1;
            way.push((cut, d));
            match self.go(end, Some(d), used | 1 << d, way) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => unknown = true,
            }
            way.pop();
        }
        if unknown {
            return None;
        }
        self.failed.insert(key);
        Some(false)
    }
}
