mod every_plan;
mod exact;
#[cfg(feature = "milp")]
mod milp;
mod partition_and_place;
mod shared_links;
mod times;

use std::ops::Range;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use crate::devices::problem::Form;
use crate::devices::*;
pub(super) use every_plan::every_plan;

/// Random bytes that a case is read from; shorter and smaller bytes make simpler cases.
pub(super) struct Tape<'a>(std::slice::Iter<'a, u8>);

impl<'a> Tape<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.iter())
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0.next().map_or(0, |&b| b as usize % n)
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }
}

pub(super) fn random_cases(
    quick: u32,
    check: impl Fn(&mut Tape<'_>) -> Result<(), TestCaseError>,
) -> u32 {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(quick);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let tape = prop::collection::vec(any::<u8>(), 0..500);
    let run = |bytes: Vec<u8>| check(&mut Tape::new(&bytes));
    TestRunner::new_with_rng(config, rng).run(&tape, run).unwrap_or_else(|e| panic!("{e}"));
    cases
}

/// Costs by kind, mode and range, which need not be additive.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    pub units: usize,
    pub kinds: Vec<usize>,
    pub seconds: Vec<Vec<Vec<Option<f64>>>>,
    pub joules: Vec<Vec<Vec<f64>>>,
    pub memory: Vec<Vec<u64>>,
}

impl Profile {
    /// Costs of one kind for each entry of `modes`, about half of them additive.
    fn random(t: &mut Tape<'_>, units: usize, kinds: &[usize], modes: &[usize]) -> Self {
        let mut profile = Profile {
            units,
            kinds: kinds.to_vec(),
            seconds: vec![],
            joules: vec![],
            memory: vec![],
        };
        for &modes in modes {
            let runs = (units + 1) * (units + 1);
            let additive = t.one_in(2);
            let per: Vec<usize> = (0..units).map(|_| t.below(16)).collect();
            let mut seconds = vec![vec![None; runs]; modes];
            let mut joules = vec![vec![0.0; runs]; modes];
            let mut memory = vec![0; runs];
            for i in 0..units {
                for j in i + 1..=units {
                    let at = i * (units + 1) + j;
                    let sum: usize = per[i..j].iter().sum();
                    memory[at] = if additive { sum } else { sum / 2 + t.below(16) } as u64;
                    for m in 0..modes {
                        let more = if additive { m } else { t.below(8) };
                        let runs = additive || !t.one_in(16);
                        seconds[m][at] = runs.then_some((sum + more) as f64 / 4.0);
                        joules[m][at] = (2 * sum + t.below(8)) as f64 / (1 + m) as f64 / 4.0;
                    }
                }
            }
            profile.seconds.push(seconds);
            profile.joules.push(joules);
            profile.memory.push(memory);
        }
        profile
    }

    fn at(&self, r: &Range<usize>) -> usize {
        r.start * (self.units + 1) + r.end
    }
}

impl Costs for Profile {
    fn seconds(&self, r: Range<usize>, device: usize, mode: usize) -> Option<f64> {
        self.seconds[self.kinds[device]][mode][self.at(&r)]
    }

    fn joules(&self, r: Range<usize>, device: usize, mode: usize) -> f64 {
        self.joules[self.kinds[device]][mode][self.at(&r)]
    }

    fn memory(&self, r: Range<usize>, device: usize) -> u64 {
        self.memory[self.kinds[device]][self.at(&r)]
    }
}

/// A random problem with its costs.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub profile: Profile,
    pub cuts: Vec<u64>,
    pub forms: Vec<Vec<Form>>,
    pub devices: Vec<Device>,
    pub links: Vec<Option<Link>>,
    pub media: Vec<Option<usize>>,
    pub pins: Vec<Option<usize>>,
    pub ends: [Option<usize>; 2],
    pub reuse: bool,
    pub objective: Objective,
    pub limits: Limits,
}

impl Case {
    pub fn problem(&self) -> Problem<'_> {
        Problem {
            cuts: self.cuts.clone(),
            forms: self.forms.clone(),
            devices: self.devices.clone(),
            links: self.links.clone(),
            media: self.media.clone(),
            costs: &self.profile,
            pins: self.pins.clone(),
            source: self.ends[0],
            sink: self.ends[1],
            reuse: self.reuse,
            objective: self.objective,
            limits: self.limits.clone(),
        }
    }

    /// All values are small multiples of powers of two, so that sums are exact.
    pub fn random(t: &mut Tape<'_>) -> Self {
        let reuse = t.one_in(3);
        Self::of(t, reuse)
    }

    pub fn of(t: &mut Tape<'_>, reuse: bool) -> Self {
        let rich = t.one_in(3);
        let units = 1 + t.below(if rich { 5 } else { 8 });
        let count = 1 + t.below(if reuse { 3 } else { 6 });
        let kinds: Vec<usize> = if t.one_in(2) {
            (0..count).collect()
        } else {
            (0..count).map(|_| t.below(2)).collect()
        };
        let modes: Vec<usize> =
            (0..count.max(2)).map(|_| 1 + usize::from(rich) * t.below(2)).collect();
        let profile = Profile::random(t, units, &kinds, &modes);
        let device = |d: usize| Device {
            name: format!("d{d}"),
            kind: kinds[d],
            memory: u64::MAX,
            modes: modes[kinds[d]],
        };
        let mut devices: Vec<Device> = (0..count).map(device).collect();
        let tight = t.one_in(2);
        let level = 4 + t.below(60) as u64;
        for d in &mut devices {
            if tight {
                d.memory = level + if t.one_in(3) { t.below(30) as u64 } else { 0 };
            }
        }
        let same = t.one_in(3);
        let mut link = || {
            let bandwidth = [8.0, 4.0, 16.0, 2.0][t.below(4)];
            let link =
                Link { bandwidth, latency: t.below(3) as f64 / 4.0, watts: t.below(3) as f64 };
            (!t.one_in(8)).then_some(link)
        };
        let first = link();
        let links = (0..count * count).map(|_| if same { first } else { link() }).collect();
        let pinned = t.one_in(4);
        let pin = |t: &mut Tape<'_>| (pinned && t.one_in(4)).then(|| t.below(count));
        let pins = (0..units).map(|_| pin(t)).collect();
        let end = |t: &mut Tape<'_>| t.one_in(4).then(|| t.below(count));
        let ends = [end(t), end(t)];
        let mut limits = some_limits(t);
        let mut objective = Objective::ALL[t.below(4)];
        if reuse {
            limits.interval = None;
            if objective == Objective::Interval {
                objective = Objective::Latency;
            }
        }
        let cuts = (0..=units).map(|_| t.below(12) as u64).collect();
        let form = |t: &mut Tape<'_>| Form {
            bytes: 1 + t.below(8) as u64,
            seconds: t.below(8) as f64 / 4.0,
        };
        let coded = t.one_in(2);
        let forms = (0..=units).map(|_| (0..t.below(3)).map(|_| form(t)).collect());
        let forms = if coded { forms.collect() } else { Vec::new() };
        let media = Vec::new();
        Self { profile, cuts, forms, devices, links, media, pins, ends, reuse, objective, limits }
    }
}

/// Each limit in one case of five or six.
fn some_limits(t: &mut Tape<'_>) -> Limits {
    let limit = |t: &mut Tape<'_>| t.one_in(5).then(|| 1.0 + t.below(120) as f64 / 4.0);
    Limits {
        latency: limit(t),
        interval: limit(t),
        energy: limit(t),
        memory: t.one_in(6).then(|| 4 + t.below(60) as u64),
        stages: t.one_in(5).then(|| 1 + t.below(4)),
        run: t.one_in(5).then(|| 1 + t.below(4)),
        one_mode: t.one_in(3),
    }
}

pub(super) fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(1.0)
}

/// Points that are not dominated, the first value ascending.
pub(super) fn pareto(mut all: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut least = f64::INFINITY;
    all.retain(|p| {
        let better = p.1 < least;
        least = least.min(p.1);
        better
    });
    all
}
