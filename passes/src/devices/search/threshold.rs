//! Minimizes a maximum (interval or memory) over devices of few classes, exactly.
//!
//! 1. The optimal value is one of the loads of single stages and transfers. Bisect over them.
//! 2. For a threshold, decide reachability: state = (devices used of each class, class of the last
//!    stage), value = the set of cuts that can be reached, as a bit set. Extending a state is a
//!    union of bit sets, O(n²/64) per state.
//! 3. Read the stages of the least feasible threshold back from the states.
//!
//! With one class this is the min-max partition by dynamic programming, O(n² log n) for each number
//! of stages; with several classes it is the setting of PipeEdge (Y. Hu et al., PipeEdge: Pipeline
//! Parallelism for Large-Scale Model Inference on Heterogeneous Edge Devices, DSD 2022).

use crate::devices::problem::search_space::SearchSpace;
use crate::devices::problem::{Choice, Objective, Transfer};

/// Most word operations to decide one threshold.
const WORK: f64 = 1e9;

/// Most words in all bit sets: 256 MiB.
const WORDS: f64 = 3.2e7;

/// Whether this planner applies: devices are not reused, the objective is a maximum, no sum is
/// limited, and the states are few enough.
pub(super) fn applies(s: &SearchSpace<'_, '_>) -> bool {
    let p = s.p;
    let largest = matches!(p.objective, Objective::Interval | Objective::Memory);
    let sums = p.limits.latency.is_some() || p.limits.energy.is_some();
    let sets = s.classes.iter().map(|m| (m.len() + 1) as f64).product::<f64>();
    let n = p.units() as f64;
    let states = sets * s.classes.len() as f64;
    let fits = states * (n * n / 64.0 + n) <= WORK && states * (n / 64.0 + 4.0) <= WORDS;
    largest && !sums && !p.reuse && fits
}

/// Set of cuts, as bits.
type Cuts = Vec<u64>;

fn cuts(all: &Cuts) -> impl Iterator<Item = usize> + '_ {
    all.iter().enumerate().flat_map(|(w, &word)| {
        let mut left = word;
        std::iter::from_fn(move || {
            let bit = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (bit < 64).then_some(w * 64 + bit)
        })
    })
}

struct Loads<'s, 'p, 'c> {
    s: &'s SearchSpace<'p, 'c>,
    /// Load and mode of the best stage, by class, first unit, and length - 1.
    runs: Vec<Vec<Vec<(f64, usize)>>>,
    /// Load of a transfer, by `sender * classes + receiver` and inner cut.
    transfers: Vec<Vec<f64>>,
    /// Loads of the transfers from the source and to the sink, by class.
    ends: [Vec<f64>; 2],
}

impl<'s, 'p, 'c> Loads<'s, 'p, 'c> {
    fn new(s: &'s SearchSpace<'p, 'c>) -> Self {
        let (o, n, k) = (s.p.objective, s.p.units(), s.classes.len());
        let run = |class: usize, i: usize, j: usize| {
            let memory = match o {
                Objective::Memory => s.p.costs.memory(i..j, s.classes[class][0]),
                _ => 0,
            };
            let all =
                s.stage_costs(i, j, class).map(|r| (o.of_run(r.seconds, r.joules, memory), r.mode));
            all.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::INFINITY, 0))
        };
        let from = |c: usize, i: usize| (i + 1..=s.reach[c][i]).map(|j| run(c, i, j)).collect();
        let share = |t: Option<Transfer>| t.map_or(f64::INFINITY, |t| o.of_transfer(t));
        let transfer = |at: usize| {
            let of = |cut| share(s.transfer_into(cut, Some(at / k), at % k));
            (0..n).map(|cut| if cut == 0 { f64::INFINITY } else { of(cut) }).collect()
        };
        Self {
            s,
            runs: (0..k).map(|c| (0..n).map(|i| from(c, i)).collect()).collect(),
            transfers: (0..k * k).map(transfer).collect(),
            ends: [
                (0..k).map(|c| share(s.transfer_into(0, None, c))).collect(),
                (0..k).map(|c| share(s.transfer_out(c))).collect(),
            ],
        }
    }

    fn values(&self) -> Vec<f64> {
        let runs = self.runs.iter().flatten().flatten().map(|r| r.0);
        let others = self.transfers.iter().chain(&self.ends).flatten().copied();
        let mut all: Vec<f64> = runs.chain(others).filter(|v| v.is_finite()).collect();
        all.sort_unstable_by(f64::total_cmp);
        all.dedup();
        all
    }

    /// Stages (first unit, end, class) whose loads are all at most `value`, if there are any.
    fn within(&self, value: f64) -> Option<Vec<(usize, usize, usize)>> {
        let (s, n, k) = (self.s, self.s.p.units(), self.s.classes.len());
        let words = n / 64 + 1;
        let bits = |all: &mut dyn Iterator<Item = usize>| {
            let mut set: Cuts = vec![0; words];
            all.for_each(|cut| set[cut / 64] |= 1 << (cut % 64));
            set
        };
        let ends_of = |runs: &Vec<(f64, usize)>, i: usize| {
            let fits = runs.iter().enumerate().filter(|(_, r)| r.0 <= value);
            bits(&mut fits.map(|(at, _)| i + 1 + at))
        };
        let ends: Vec<Vec<Cuts>> = self
            .runs
            .iter()
            .map(|runs| runs.iter().enumerate().map(|(i, r)| ends_of(r, i)).collect())
            .collect();
        let linked = |transfer: &Vec<f64>| bits(&mut (0..n).filter(|&cut| transfer[cut] <= value));
        let linked: Vec<Cuts> = self.transfers.iter().map(linked).collect();
        // Numbers of used devices by class, in mixed radix: using one more device gives a larger
        // number.
        let mut stride = vec![1; k + 1];
        for c in 0..k {
            stride[c + 1] = stride[c] * (s.classes[c].len() + 1);
        }
        let used = |set: usize, c: usize| set / stride[c] % (s.classes[c].len() + 1);
        let mut reached: Vec<Option<Cuts>> = vec![None; stride[k] * k];
        // Cuts at which a stage on a class may begin, for a set of used devices.
        let starts = |reached: &[Option<Cuts>], set: usize, c: usize| {
            let mut starts: Cuts = vec![0; words];
            if set == 0 {
                starts[0] = u64::from(self.ends[0][c] <= value);
            }
            for last in 0..k {
                if let Some(cuts) = &reached[set * k + last] {
                    for (to, (a, b)) in
                        starts.iter_mut().zip(cuts.iter().zip(&linked[last * k + c]))
                    {
                        *to |= a & b;
                    }
                }
            }
            starts
        };
        for set in 0..stride[k] {
            let stages: usize = (0..k).map(|c| used(set, c)).sum();
            for c in (0..k).filter(|&c| used(set, c) < s.classes[c].len()) {
                if stages >= s.stages() {
                    continue;
                }
                let mut next: Cuts = vec![0; words];
                for i in cuts(&starts(&reached, set, c)) {
                    next.iter_mut().zip(&ends[c][i]).for_each(|(to, e)| *to |= e);
                }
                if next.iter().any(|&w| w != 0) {
                    let done = next[n / 64] >> (n % 64) & 1 == 1 && self.ends[1][c] <= value;
                    let at = set + stride[c];
                    // Each state has one predecessor set, so this assignment overwrites nothing.
                    reached[at * k + c] = Some(next);
                    if done {
                        return Some(self.way(&reached, &stride, &ends, &linked, at, c));
                    }
                }
            }
        }
        None
    }

    /// Reads the stages back from the end.
    fn way(
        &self,
        reached: &[Option<Cuts>],
        stride: &[usize],
        ends: &[Vec<Cuts>],
        linked: &[Cuts],
        mut set: usize,
        mut class: usize,
    ) -> Vec<(usize, usize, usize)> {
        let (k, mut j) = (self.s.classes.len(), self.s.p.units());
        let has = |set: &Cuts, cut: usize| set[cut / 64] >> (cut % 64) & 1 == 1;
        let mut way = Vec::new();
        loop {
            set -= stride[class];
            if set == 0 {
                way.push((0, j, class));
                way.reverse();
                return way;
            }
            let before = (0..k).find_map(|last| {
                let cuts = reached[set * k + last].as_ref()?;
                let from = |&i: &usize| {
                    has(cuts, i) && has(&linked[last * k + class], i) && has(&ends[class][i], j)
                };
                Some(((0..j).find(from)?, last))
            });
            let Some((i, last)) = before else { return Vec::new() };
            way.push((i, j, class));
            (j, class) = (i, last);
        }
    }
}

/// An optimal plan, if one exists.
pub(super) fn plan(s: &SearchSpace<'_, '_>) -> Option<Vec<Choice>> {
    let table = Loads::new(s);
    let values = table.values();
    let at = values.partition_point(|&v| table.within(v).is_none());
    let way = table.within(*values.get(at)?)?;
    let mut turn = vec![0; s.classes.len()];
    let choice = |(i, j, class): (usize, usize, usize)| {
        let device = s.classes[class][turn[class]];
        turn[class] += 1;
        Choice { units: i..j, device, mode: table.runs[class][i][j - i - 1].1 }
    };
    Some(way.into_iter().map(choice).collect())
}
