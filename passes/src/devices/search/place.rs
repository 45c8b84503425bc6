//! Placing a given partition on distinct devices, any of them differing and linked in any way, so
//! that the largest share (of a stage's computing, or of a transfer) is least.
//!
//! By threshold: with a value given, stages have domains of devices, and neighbours must be linked
//! well enough. Domains are bit sets; they are made consistent along the chain in both directions,
//! what one stage must have is taken from the others, and a matching shows whether enough devices
//! are left. What remains is searched, the smallest domain first. The least value at which the root
//! is consistent is a bound; from there, values are tried by bisection, so that the answer is proved
//! unless a search ended by its limit.
//!
//! SEIFER's placement (greedy walks) is beside it, as what it must not be worse than.

use crate::devices::problem::search_space::StageCost;
use crate::devices::problem::{Choice, Objective, Problem, Transfer};

/// Devices as bits.
pub(super) type DeviceSet = u128;

/// The devices in a set, ascending.
pub(super) fn devices(mut set: DeviceSet) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let d = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (d < 128).then_some(d)
    })
}

/// A placement.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// The device of each stage.
    pub devices: Vec<usize>,
    /// The largest share, s.
    pub value: f64,
    /// No placement of the same partition has a lower one.
    pub bound: f64,
}

/// StageLoads of stages and of the transfers between them.
pub(super) struct StageLoads {
    /// By stage and device, transfers from the source and to the sink included; infinite where a
    /// stage cannot be.
    stage: Vec<Vec<f64>>,
    /// Which of `transfers` is between a stage and the next.
    cut_kind: Vec<usize>,
    /// By sender × devices + receiver; infinite without a link.
    transfers: Vec<Vec<f64>>,
    count: usize,
}

impl StageLoads {
    /// StageLoads of stages that begin and end at these cuts, from the first to the last.
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

    /// All shares, ascending.
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

    /// Walks to the nearest device that is left, one from every start; the best of them.
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

/// Seconds and mode of the quickest way to run units on a device, if they fit and may be there, and
/// the limits of a single stage are kept.
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

/// What a search came to.
#[derive(Debug, PartialEq)]
pub(super) enum Placing {
    Placed(Vec<usize>),
    Impossible,
    Undecided,
}

/// A threshold's constraints.
struct Constraints<'a> {
    shares: &'a StageLoads,
    /// Receivers by kind of cut_kind and sender, and senders by receiver.
    out: Vec<Vec<DeviceSet>>,
    into: Vec<Vec<DeviceSet>>,
}

impl<'a> Constraints<'a> {
    fn new(shares: &'a StageLoads, value: f64) -> Self {
        let n = shares.count;
        let mut out = Vec::new();
        let mut into = Vec::new();
        for h in &shares.transfers {
            let (mut o, mut i) = (vec![0; n], vec![0; n]);
            for at in (0..n * n).filter(|at| at / n != at % n && h[*at] <= value) {
                o[at / n] |= 1 << (at % n);
                i[at % n] |= 1 << (at / n);
            }
            out.push(o);
            into.push(i);
        }
        Self { shares, out, into }
    }

    fn domains(&self, value: f64) -> Option<Vec<DeviceSet>> {
        let set = |stage: &Vec<f64>| {
            let fits = (0..self.shares.count).filter(|&d| stage[d] <= value);
            fits.fold(0, |set, d| set | 1 << d)
        };
        let mut domains = self.shares.stage.iter().map(set).collect();
        self.consistent(&mut domains).then_some(domains)
    }

    /// Takes from domains what cannot be; whether anything can be left.
    fn consistent(&self, domains: &mut Vec<DeviceSet>) -> bool {
        let last = domains.len() - 1;
        let reached =
            |by: &[DeviceSet], from: DeviceSet| devices(from).fold(0, |set, d| set | by[d]);
        loop {
            let before = domains.clone();
            for s in 0..last {
                domains[s + 1] &= reached(&self.out[self.shares.cut_kind[s]], domains[s]);
            }
            for s in (0..last).rev() {
                domains[s] &= reached(&self.into[self.shares.cut_kind[s]], domains[s + 1]);
            }
            // What one stage must have, no other can.
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
        // Devices first that fewer other stages could have.
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

/// Whether every stage can have a device of its own (augmenting paths).
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

/// A placement within a value, or a proof that there is none.
pub(super) fn within(shares: &StageLoads, value: f64, nodes: &mut usize) -> Placing {
    let constraints = Constraints::new(shares, value);
    match constraints.domains(value) {
        Some(domains) => constraints.search(&domains, nodes),
        None => Placing::Impossible,
    }
}

/// The best placement with a share below `below`; and what no placement is under.
pub(super) fn best(shares: &StageLoads, below: f64, nodes: usize) -> (Option<Vec<usize>>, f64) {
    let mut values = shares.values();
    values.truncate(values.partition_point(|&v| v < below));
    // The least value at which the root is consistent.
    let root = |&v: &f64| Constraints::new(shares, v).domains(v).is_none();
    let mut low = values.partition_point(root);
    let (mut high, mut proved) = (values.len(), low);
    let mut found = None;
    // First the bound itself, which is often reached.
    let mut at = low;
    while low < high {
        match within(shares, values[at], &mut { nodes }) {
            Placing::Placed(devices) => {
                let value = shares.value(&devices);
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
        // A search that was cut short may have passed by what another found.
        at = low + high.saturating_sub(low) / 2;
    }
    (found, values.get(proved).copied().unwrap_or(below))
}

/// Places stages that begin and end at these cuts (the first 0, the last the number of units) on
/// distinct devices, for the least interval; searching at most so many nodes for each value that is
/// tried. Every link counts as one of its own. None if there is no placement, or more devices than 128.
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

/// SEIFER's greedy placement: from every device, walks to the nearest one left; the best walk. Its
/// bound is 0: nothing is proved.
pub fn place_greedily(p: &Problem<'_>, cuts: &[usize]) -> Option<Placement> {
    let (devices, value) = StageLoads::new(p, cuts).greedy()?;
    Some(Placement { devices, value, bound: 0.0 })
}

/// The partition with the least sum of bytes over its cuts whose every stage runs on some device;
/// of several, the one whose stages are longest from the first on.
pub fn least_traffic(p: &Problem<'_>) -> Option<Vec<usize>> {
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

/// Choices for a partition and a placement, each in its quickest mode.
pub(super) fn choices(p: &Problem<'_>, cuts: &[usize], devices: &[usize]) -> Option<Vec<Choice>> {
    let of = |(w, &device): (&[usize], &usize)| {
        let (_, mode) = quickest(p, w[0], w[1], device)?;
        Some(Choice { units: w[0]..w[1], device, mode })
    };
    cuts.windows(2).zip(devices).map(of).collect()
}
