//! Label-setting search, exact for every objective and limit, and for the Pareto front.
//!
//! A label is a partial plan for a prefix of the units. It is dropped if another label with the
//! same cut, device class and used devices is at least as good in every objective that counts (it
//! is dominated).
//!
//! 1. Labels are taken from a priority queue by the lower bound of their completion
//!    ([`SearchSpace::lower_bounds`]), as in A*. The bound is admissible, so the first complete
//!    label is optimal.
//! 2. Each label is extended by every feasible stage; dominated successors are dropped.
//! 3. If the effort ends first, the bound of the next label bounds every plan not yet found.
//!
//! Without reuse, the used devices are counted by class, as in PipeEdge's dynamic program over
//! device types. With reuse it is a shortest path over (cut, device, mode), the setting of DIME.
//! With two objectives it computes the whole front (E. Q. V. Martins, On a multicriteria shortest
//! path problem, European Journal of Operational Research 16, 1984).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::devices::problem::search_space::{LowerBounds, Relaxation, SearchSpace, StageCost};
use crate::devices::problem::{Choice, Objective};

/// Relative tolerance where sums are compared that were added up in different orders.
const ROOM: f64 = 1e-9;

/// Up to this many classes, labels that used different numbers of devices are compared for
/// dominance.
const FEW: usize = 4;

/// Result of a search.
pub(super) struct LabelPlans {
    /// Plans that are not dominated, by the first objective ascending.
    pub plans: Vec<Vec<Choice>>,
    /// Lower bound on the first objective of every other plan.
    pub bound: f64,
    /// Whether the search ended by itself, and not by its effort.
    pub complete: bool,
}

/// Position of one class in [`Label::used`].
#[derive(Clone, Copy)]
struct BitField {
    shift: u32,
    bits: u32,
}

struct Label {
    cut: usize,
    last: Option<usize>,
    used: u128,
    totals: [f64; 4],
    stages: usize,
    /// Bytes held by the devices whose memory can run out, by place.
    held: Box<[u64]>,
    from: usize,
    mode: usize,
    dominated: bool,
}

pub(super) struct LabelSearch<'s, 'p, 'c> {
    s: &'s SearchSpace<'p, 'c>,
    keys: &'s [Objective],
    /// Objectives that decide dominance, with their bounds: those minimized, and limited sums. A
    /// limit on a maximum is checked stage by stage.
    counts: Vec<(Objective, LowerBounds)>,
    stages: LowerBounds,
    /// Position in `used` of the devices used of a class or, where a device keeps to one mode, of
    /// that mode + 1.
    fields: Vec<BitField>,
    /// Place in `held` of devices whose stages together can exceed the memory.
    tight: Vec<Option<usize>>,
    all: Vec<Label>,
    known: HashMap<(usize, Option<usize>, u128), Vec<usize>>,
}

impl<'s, 'p, 'c> LabelSearch<'s, 'p, 'c> {
    /// Prepares a search that minimizes one objective, or finds the front of two. `None` if the
    /// used devices need more than 128 bits.
    pub fn new(s: &'s SearchSpace<'p, 'c>, keys: &'s [Objective]) -> Option<Self> {
        let p = s.p;
        let sums = [Objective::Latency, Objective::Energy];
        let limited = |o: &Objective| sums.contains(o) && p.limit(*o).is_finite();
        let counts = Objective::ALL.into_iter().filter(|o| keys.contains(o) || limited(o));
        let counts = counts.map(|o| (o, s.lower_bounds(Relaxation::Value(o)))).collect();
        let mut bits = 0;
        let mut fields = Vec::new();
        for m in &s.classes {
            let modes = if p.limits.one_mode { p.devices[m[0]].modes } else { 0 };
            let most = if p.reuse { modes } else { m.len() };
            let field = BitField { shift: bits, bits: most.checked_ilog2().map_or(0, |b| b + 1) };
            bits += field.bits;
            fields.push(field);
        }
        let all = keys.contains(&Objective::Memory);
        let mut places = 0;
        let mut tight = Vec::new();
        for d in 0..p.devices.len() {
            let is = p.reuse && (all || p.most_held(d) > p.capacity(d));
            tight.push(is.then_some(places));
            places += usize::from(is);
        }
        let stages = s.lower_bounds(Relaxation::Stages);
        let mut search =
            Self { s, keys, counts, stages, fields, tight, all: Vec::new(), known: HashMap::new() };
        search.clear();
        (bits <= 128).then_some(search)
    }

    fn clear(&mut self) {
        let places = self.tight.iter().flatten().count();
        self.known.clear();
        self.all = vec![Label {
            cut: 0,
            last: None,
            used: 0,
            totals: [0.0; 4],
            stages: 0,
            held: vec![0; places].into(),
            from: usize::MAX,
            mode: 0,
            dominated: false,
        }];
    }

    /// Lower bound on an objective of every completion of a label; `None` if it breaks the limit.
    fn least(&self, l: &Label, o: Objective, rest: &LowerBounds) -> Option<f64> {
        let least = o.join(l.totals[o as usize], rest.after(l.cut, l.last));
        let limit = self.s.p.limit(o);
        let done = l.cut == self.s.p.units();
        let room = if done { 0.0 } else { ROOM * limit };
        // With an infinite limit the tolerance would be infinite or not a number.
        (least.is_finite() && (limit.is_infinite() || least <= limit + room)).then_some(least)
    }

    /// Lower bounds on the objectives minimized; `None` if no completion keeps all limits.
    fn keys(&self, l: &Label) -> Option<[f64; 2]> {
        let mut found = [0.0; 2];
        for (o, rest) in &self.counts {
            let least = self.least(l, *o, rest)?;
            if let Some(at) = self.keys.iter().position(|k| k == o) {
                found[at] = least;
            }
        }
        let stages = l.stages as f64 + self.stages.after(l.cut, l.last);
        (stages <= self.s.stages() as f64).then_some(found)
    }

    /// Calls `take` with each label that extends a label by one stage.
    fn follow(&self, at: usize, mut take: impl FnMut(Label)) {
        let (l, s) = (&self.all[at], self.s);
        for class in 0..s.classes.len() {
            if !s.p.reuse && self.used(l, class) == s.classes[class].len() {
                continue;
            }
            let Some(t) = s.transfer_into(l.cut, l.last, class) else { continue };
            let mut base = l.totals;
            for o in Objective::ALL {
                base[o as usize] = o.join(base[o as usize], o.of_transfer(t));
            }
            for j in l.cut + 1..=s.reach[class][l.cut] {
                if !self.stages.after(j, Some(class)).is_finite() {
                    continue;
                }
                for run in s.stage_costs(l.cut, j, class) {
                    if let Some(next) = self.step(at, base, class, j, run) {
                        take(next);
                    }
                }
            }
        }
    }

    fn step(
        &self,
        at: usize,
        base: [f64; 4],
        class: usize,
        j: usize,
        run: StageCost,
    ) -> Option<Label> {
        let (l, p) = (&self.all[at], self.s.p);
        let device = self.s.classes[class][0];
        let mut used = l.used;
        if !p.reuse {
            used += 1 << self.fields[class].shift;
        } else if p.limits.one_mode {
            let (kept, chosen) = (self.used(l, class), run.mode + 1);
            if kept != 0 && kept != chosen {
                return None;
            }
            used |= (chosen as u128) << self.fields[class].shift;
        }
        let needed = self.tight[device].is_some() || self.keys.contains(&Objective::Memory);
        let mut memory = if needed { p.costs.memory(l.cut..j, device) } else { 0 };
        let mut held = l.held.clone();
        if let Some(place) = self.tight[device] {
            held[place] += memory;
            memory = held[place];
            if memory > p.capacity(device) {
                return None;
            }
        }
        let mut totals = base;
        for o in Objective::ALL {
            totals[o as usize] =
                o.join(totals[o as usize], o.of_run(run.seconds, run.joules, memory));
        }
        Some(Label {
            cut: j,
            last: Some(class),
            used,
            totals,
            stages: l.stages + 1,
            held,
            from: at,
            mode: run.mode,
            dominated: false,
        })
    }

    /// Field of a class in the label's `used`.
    fn used(&self, l: &Label, class: usize) -> usize {
        let BitField { shift, bits } = self.fields[class];
        ((l.used >> shift) & ((1 << bits) - 1)) as usize
    }

    /// Whether `a` is at least as good as `b` in everything that counts.
    fn dominates(&self, a: &Label, b: &Label) -> bool {
        let total =
            |(o, _): &(Objective, LowerBounds)| a.totals[*o as usize] <= b.totals[*o as usize];
        let stages = !self.s.p.reuse || self.s.p.limits.stages.is_none() || a.stages <= b.stages;
        let fewer = |c: usize| self.used(a, c) <= self.used(b, c);
        let fewer = a.used == b.used || (0..self.s.classes.len()).all(fewer);
        stages
            && fewer
            && self.counts.iter().all(total)
            && a.held.iter().zip(&b.held).all(|(a, b)| a <= b)
    }

    /// Adds a label unless it is dominated; returns its number.
    fn keep(&mut self, l: Label) -> Option<usize> {
        // With few classes, a label may be dominated by one that used fewer devices.
        let few = !self.s.p.reuse && self.s.classes.len() <= FEW;
        let key = (l.cut, l.last, if few { 0 } else { l.used });
        let mut others = self.known.remove(&key).unwrap_or_default();
        let new = self.all.len();
        let dominated = others.iter().any(|&o| self.dominates(&self.all[o], &l));
        if !dominated {
            others.retain(|&o| {
                let worse = self.dominates(&l, &self.all[o]);
                self.all[o].dominated |= worse;
                !worse
            });
            others.push(new);
            self.all.push(l);
        }
        self.known.insert(key, others);
        (!dominated).then_some(new)
    }

    /// The plan of a label. Devices of a class are taken in order.
    fn plan(&self, mut at: usize) -> Vec<Choice> {
        let mut back = Vec::new();
        while let Some(class) = self.all[at].last {
            let (l, from) = (&self.all[at], self.all[at].from);
            back.push((self.all[from].cut..l.cut, class, l.mode));
            at = from;
        }
        let mut turn = vec![0; self.s.classes.len()];
        let choice = |(units, class, mode): (_, usize, _)| {
            let device = self.s.classes[class][turn[class]];
            turn[class] += usize::from(!self.s.p.reuse);
            Choice { units, device, mode }
        };
        back.into_iter().rev().map(choice).collect()
    }

    /// Beam search by the first objective: follows at most `width` labels at every cut.
    pub fn beam(&mut self, width: usize) -> Option<Vec<Choice>> {
        let n = self.s.p.units();
        let mut at_cut: Vec<Vec<(u64, usize)>> = vec![Vec::new(); n + 1];
        at_cut[0].push((0, 0));
        for cut in 0..n {
            let mut here = std::mem::take(&mut at_cut[cut]);
            here.retain(|&(_, l)| !self.all[l].dominated);
            for &(_, l) in here.iter().take(width) {
                let mut next = Vec::new();
                self.follow(l, |l| next.extend(self.keys(&l).map(|k| (k[0].to_bits(), l))));
                for (key, l) in next {
                    let there = &mut at_cut[l.cut];
                    // The beam is full of better labels.
                    let full = there.len() >= width && there[width - 1].0 <= key;
                    if !full && let Some(at) = self.keep(l) {
                        let place = there.partition_point(|t| *t < (key, at));
                        there.insert(place, (key, at));
                    }
                }
            }
        }
        at_cut[n].retain(|&(_, l)| !self.all[l].dominated);
        let best = at_cut[n].iter().min().map(|&(_, l)| self.plan(l));
        self.clear();
        best
    }

    /// Runs the search. Only plans with a first objective below `below` are of interest, and at
    /// most `effort` labels are created.
    pub fn run(&mut self, below: f64, effort: usize) -> LabelPlans {
        let n = self.s.p.units();
        let mut done: Vec<([f64; 2], usize)> = Vec::new();
        let mut queue = BinaryHeap::new();
        let first = self.keys(&self.all[0]);
        if let Some(k) = first {
            queue.push(Reverse((k[0].to_bits(), k[1].to_bits(), n, 0)));
        }
        // Values are not negative, so that their bit patterns are in the same order.
        while let Some(Reverse((k0, k1, _, at))) = queue.pop() {
            let k = [f64::from_bits(k0), f64::from_bits(k1)];
            if k[0] >= below || (self.keys.len() == 1 && !done.is_empty()) {
                break;
            }
            if self.all[at].dominated || done.iter().any(|(d, _)| d[0] <= k[0] && d[1] <= k[1]) {
                continue;
            }
            if self.all[at].cut == n {
                done.push((k, at));
                continue;
            }
            if self.all.len() > effort {
                let plans = done.iter().map(|&(_, at)| self.plan(at)).collect();
                return LabelPlans { plans, bound: k[0], complete: false };
            }
            let mut next = Vec::new();
            self.follow(at, |l| next.push(l));
            for l in next {
                let (Some(k), cut) = (self.keys(&l), l.cut) else { continue };
                if k[0] < below
                    && let Some(new) = self.keep(l)
                {
                    queue.push(Reverse((k[0].to_bits(), k[1].to_bits(), n - cut, new)));
                }
            }
        }
        let bound = done.first().map_or(below, |(k, _)| k[0]);
        let plans = done.iter().map(|&(_, at)| self.plan(at)).collect();
        LabelPlans { plans, bound, complete: true }
    }
}
