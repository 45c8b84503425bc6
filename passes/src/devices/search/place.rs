//! Placement of a given partition on distinct devices, linked in any way, that minimizes the
//! largest load (computing of a stage, or a transfer).
//!
//! 1. The optimal value is one of the loads. For a threshold, each stage has a domain of devices (a
//!    bit set), and consecutive stages must be linked well enough.
//! 2. Domains are made arc consistent along the chain in both directions; a device that one stage
//!    must have is removed from the others; a bipartite matching (augmenting paths) checks that
//!    enough devices are left.
//! 3. What remains is decided by backtracking, smallest domain first.
//! 4. The least threshold whose domains are consistent is a lower bound. From there, thresholds are
//!    bisected; the result is optimal unless a backtracking search ended by its limit.
//!
//! SEIFER's greedy placement ([`place_greedily`]) is the baseline.

use crate::devices::problem::search_space::StageCost;
use crate::devices::problem::{Choice, Objective, Problem, Transfer};

/// Set of devices, as bits.
pub(super) type DeviceSet = u128;

/// The devices in a set, ascending.
pub(super) fn devices(mut set: DeviceSet) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let d = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (d < 128).then_some(d)
    })
}

/// A placement with its bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// Device of each stage.
    pub devices: Vec<usize>,
    /// Largest load in seconds.
    pub value: f64,
    /// Lower bound on the largest load of every placement of this partition, in seconds.
    pub bound: f64,
}

/// Loads in seconds of the stages of a partition and of the transfers between them.
pub(super) struct StageLoads {
    /// By stage and device, transfers from the source and to the sink included; infinite if the
    /// stage cannot run there.
    stage: Vec<Vec<f64>>,
    /// Row of `transfers` for the cut after each stage but the last; equal cuts share a row.
    cut_kind: Vec<usize>,
    /// By `sender * devices + receiver`; infinite without a link.
    transfers: Vec<Vec<f64>>,
    count: usize,
}

impl StageLoads {
    /// Loads of the stages between consecutive `cuts`.
    pub fn new(p: &Problem<'_>, cuts: &[usize]) -> Self {
        let (count, n) = (p.devices.len(), p.units());
        let time = |t: Option<Transfer>| t.map_or(f64::INFINITY, |t| t.seconds);
        let stage = |i: usize, j: usize, d: usize| {
            let Some((run, _)) = quickest(p, i, j, d) else { return f64::INFINITY };
            let from = if i == 0 { time(p.transfer(0, p.source, Some(d))) } else { 0.0 };
            let to = if j == n { time(p.transfer(n, Some(d), p.sink)) } else { 0.0 };
            run.max(from).max(to)
        };
        let of = |w: &[usize]| (0..count).map(|d| stage(w[0], w[1], d)).collect();
        let mut seen: Vec<usize> = Vec::new();
        let (mut cut_kind, mut transfers) = (Vec::new(), Vec::new());
        for &cut in cuts.iter().take(cuts.len() - 1).skip(1) {
            let known = seen.iter().position(|&c| p.same_cut(c, cut));
            cut_kind.push(known.unwrap_or(seen.len()));
            if known.is_none() {
                seen.push(cut);
                let share = |at: usize| time(p.transfer(cut, Some(at / count), Some(at % count)));
                transfers.push((0..count * count).map(share).collect::<Vec<f64>>());
            }
        }
        Self { stage: cuts.windows(2).map(of).collect(), cut_kind, transfers, count }
    }

    fn stages(&self) -> usize {
        self.stage.len()
    }

    fn value(&self, devices: &[usize]) -> f64 {
        let stages = devices.iter().enumerate().map(|(s, &d)| self.stage[s][d]);
        let transfers = devices.windows(2).enumerate();
        let transfers =
            transfers.map(|(s, w)| self.transfers[self.cut_kind[s]][w[0] * self.count + w[1]]);
        stages.chain(transfers).fold(0.0, f64::max)
    }

    /// All finite loads, ascending.
    fn values(&self) -> Vec<f64> {
        let off = |(at, _): &(usize, &f64)| at / self.count != at % self.count;
        let transfers =
            self.transfers.iter().flat_map(|h| h.iter().enumerate().filter(off).map(|h| *h.1));
        let mut all: Vec<f64> = self.stage.iter().flatten().copied().chain(transfers).collect();
        all.retain(|v| v.is_finite());
        all.sort_unstable_by(f64::total_cmp);
        all.dedup();
        all
    }

    /// Greedy walks to the nearest unused device, one from each device; the best of them with its
    /// value.
    pub fn greedy(&self) -> Option<(Vec<usize>, f64)> {
        let walk = |start: usize| {
            let mut walk = vec![start];
            for (s, &h) in self.cut_kind.iter().enumerate() {
                let from = walk[s] * self.count;
                let left = (0..self.count).filter(|d| !walk.contains(d));
                let fits = left.filter(|&d| self.stage[s + 1][d].is_finite());
                let next = fits.min_by(|&a, &b| {
                    self.transfers[h][from + a].total_cmp(&self.transfers[h][from + b])
                })?;
                walk.push(next);
            }
            let value = self.value(&walk);
            value.is_finite().then_some((walk, value))
        };
        (0..self.count).filter_map(walk).min_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// Seconds and mode of the quickest way to run units `i..j` on a device, if pins, memory and the
/// limits on a single stage allow it.
pub(super) fn quickest(p: &Problem<'_>, i: usize, j: usize, d: usize) -> Option<(f64, usize)> {
    let pinned = || p.pins.iter().take(j).skip(i).flatten().any(|&x| x != d);
    if j - i > p.limits.run.unwrap_or(j) || p.costs.memory(i..j, d) > p.capacity(d) || pinned() {
        return None;
    }
    let run = |mode| {
        let seconds = p.costs.seconds(i..j, d, mode)?;
        Some(StageCost { mode, seconds, joules: 0.0 })
    };
    let all = (0..p.devices[d].modes).filter_map(run);
    let least = all.min_by(|a, b| a.seconds.total_cmp(&b.seconds))?;
    (least.seconds <= p.limit(Objective::Interval)).then_some((least.seconds, least.mode))
}

/// Answer to the question whether a placement within a threshold exists.
#[derive(Debug, PartialEq)]
pub(super) enum Placing {
    Placed(Vec<usize>),
    Impossible,
    Undecided,
}

/// Constraints of one threshold.
struct Constraints<'a> {
    loads: &'a StageLoads,
    /// Receivers by row of `transfers` and sender, and senders by receiver.
    out: Vec<Vec<DeviceSet>>,
    into: Vec<Vec<DeviceSet>>,
}

impl<'a> Constraints<'a> {
    fn new(loads: &'a StageLoads, value: f64) -> Self {
        let n = loads.count;
        let mut out = Vec::new();
        let mut into = Vec::new();
        for h in &loads.transfers {
            let (mut o, mut i) = (vec![0; n], vec![0; n]);
            for at in (0..n * n).filter(|at| at / n != at % n && h[*at] <= value) {
                o[at / n] |= 1 << (at % n);
                i[at % n] |= 1 << (at / n);
            }
            out.push(o);
            into.push(i);
        }
        Self { loads, out, into }
    }

    fn domains(&self, value: f64) -> Option<Vec<DeviceSet>> {
        let set = |stage: &Vec<f64>| {
            let fits = (0..self.loads.count).filter(|&d| stage[d] <= value);
            fits.fold(0, |set, d| set | 1 << d)
        };
        let mut domains = self.loads.stage.iter().map(set).collect();
        self.consistent(&mut domains).then_some(domains)
    }

    /// Propagates the constraints; `false` if a domain becomes empty or no matching exists.
    fn consistent(&self, domains: &mut Vec<DeviceSet>) -> bool {
        let last = domains.len() - 1;
        let reached =
            |by: &[DeviceSet], from: DeviceSet| devices(from).fold(0, |set, d| set | by[d]);
        loop {
            let before = domains.clone();
            for s in 0..last {
                domains[s + 1] &= reached(&self.out[self.loads.cut_kind[s]], domains[s]);
            }
            for s in (0..last).rev() {
                domains[s] &= reached(&self.into[self.loads.cut_kind[s]], domains[s + 1]);
            }
            // A device that one stage must have is out of reach for the others.
            for s in 0..domains.len() {
                if domains[s].count_ones() == 1 {
                    let only = domains[s];
                    for (other, domain) in domains.iter_mut().enumerate() {
                        *domain &= if other == s { DeviceSet::MAX } else { !only };
                    }
                }
            }
            if domains.contains(&0) {
                return false;
            }
            if *domains == before {
                return matched(domains);
            }
        }
    }

    fn search(&self, domains: &[DeviceSet], nodes: &mut usize) -> Placing {
        let open = (0..domains.len()).filter(|&s| domains[s].count_ones() > 1);
        let Some(stage) = open.min_by_key(|&s| (domains[s].count_ones(), s)) else {
            return Placing::Placed(domains.iter().map(|d| d.trailing_zeros() as usize).collect());
        };
        // Value order: devices first that fewer other stages want.
        let wanted = |d: usize| domains.iter().filter(|set| *set >> d & 1 == 1).count();
        let mut order: Vec<usize> = devices(domains[stage]).collect();
        order.sort_by_key(|&d| (wanted(d), d));
        let mut unknown = false;
        for d in order {
            if *nodes == 0 {
                return Placing::Undecided;
            }
            *nodes -= 1;
            let mut next = domains.to_vec();
            next[stage] = 1 << d;
            if self.consistent(&mut next) {
                match self.search(&next, nodes) {
                    Placing::Impossible => {}
                    Placing::Undecided => unknown = true,
                    placed => return placed,
                }
            }
        }
        if unknown { Placing::Undecided } else { Placing::Impossible }
    }
}

/// Whether all stages can have distinct devices (bipartite matching by augmenting paths).
fn matched(domains: &[DeviceSet]) -> bool {
    fn give(
        s: usize,
        domains: &[DeviceSet],
        seen: &mut DeviceSet,
        owner: &mut [usize; 128],
    ) -> bool {
        while let Some(d) = devices(domains[s] & !*seen).next() {
            *seen |= 1 << d;
            if owner[d] == usize::MAX || give(owner[d], domains, seen, owner) {
                owner[d] = s;
                return true;
            }
        }
        false
    }
    let mut owner = [usize::MAX; 128];
    (0..domains.len()).all(|s| give(s, domains, &mut 0, &mut owner))
}

/// Decides whether a placement with loads of at most `value` exists.
pub(super) fn within(loads: &StageLoads, value: f64, nodes: &mut usize) -> Placing {
    let constraints = Constraints::new(loads, value);
    match constraints.domains(value) {
        Some(domains) => constraints.search(&domains, nodes),
        None => Placing::Impossible,
    }
}

/// The best placement with a value below `below`, and a lower bound on all placements.
pub(super) fn best(loads: &StageLoads, below: f64, nodes: usize) -> (Option<Vec<usize>>, f64) {
    let mut values = loads.values();
    values.truncate(values.partition_point(|&v| v < below));
    // Least threshold at which propagation alone finds no contradiction.
    let root = |&v: &f64| Constraints::new(loads, v).domains(v).is_none();
    let mut low = values.partition_point(root);
    let (mut high, mut proved) = (values.len(), low);
    let mut found = None;
    // Try the bound itself first: it is often attained.
    let mut at = low;
    while low < high {
        match within(loads, values[at], &mut { nodes }) {
            Placing::Placed(devices) => {
                let value = loads.value(&devices);
                high = values.partition_point(|&v| v < value);
                found = Some(devices);
            }
            none => {
                low = at + 1;
                if none == Placing::Impossible {
                    proved = proved.max(at + 1);
                }
            }
        }
        // A search that ended by its limit may have skipped a feasible threshold below `high`.
        at = low + high.saturating_sub(low) / 2;
    }
    (found, values.get(proved).copied().unwrap_or(below))
}

/// Places the stages between consecutive `cuts` (the first is 0, the last the number of units) on
/// distinct devices so that the interval is least. Each threshold gets at most `nodes` nodes of
/// backtracking. Links are treated as independent. `None` if there is no placement, or there are
/// over 128 devices.
pub fn place(p: &Problem<'_>, cuts: &[usize], nodes: usize) -> Option<Placement> {
    let s = StageLoads::new(p, cuts);
    if s.stages() > s.count || s.count > 128 {
        return None;
    }
    let greedy = s.greedy();
    let below = greedy.as_ref().map_or(f64::INFINITY, |g| g.1);
    let (found, bound) = best(&s, below, nodes);
    let devices = found.or(greedy.map(|g| g.0))?;
    let value = s.value(&devices);
    Some(Placement { devices, value, bound: bound.min(value) })
}

/// SEIFER's greedy placement: walks from each device to the nearest unused one, and keeps the best
/// walk. Nothing is proved: the bound is 0.
pub fn place_greedily(p: &Problem<'_>, cuts: &[usize]) -> Option<Placement> {
    let (devices, value) = StageLoads::new(p, cuts).greedy()?;
    Some(Placement { devices, value, bound: 0.0 })
}

/// The partition with the fewest bytes over its cuts whose every stage runs on some device, by
/// dynamic programming; ties go to longer stages at the start.
pub(crate) fn least_traffic(p: &Problem<'_>) -> Option<Vec<usize>> {
    let n = p.units();
    let mut least: Vec<Option<(u64, usize)>> = vec![None; n + 1];
    least[n] = Some((0, n));
    for i in (0..n).rev() {
        for j in i + 1..=n {
            let Some((after, _)) = least[j] else { continue };
            let bytes = after + if j < n { p.cuts[j] } else { 0 };
            let better = least[i].is_none_or(|(b, _)| bytes <= b);
            if better && (0..p.devices.len()).any(|d| quickest(p, i, j, d).is_some()) {
                least[i] = Some((bytes, j));
            }
        }
    }
    let mut cuts = vec![0];
    while let Some(&i) = cuts.last().filter(|&&i| i < n) {
        cuts.push(least[i]?.1);
    }
    Some(cuts)
}

/// The decisions of a partition and a placement, each stage in its quickest mode.
pub(super) fn choices(p: &Problem<'_>, cuts: &[usize], devices: &[usize]) -> Option<Vec<Choice>> {
    let of = |(w, &device): (&[usize], &usize)| {
        let (_, mode) = quickest(p, w[0], w[1], device)?;
        Some(Choice { units: w[0]..w[1], device, mode })
    };
    cuts.windows(2).zip(devices).map(of).collect()
}
