//! How long planning takes; printed, as machines differ.

use std::time::Instant;

use super::Tape;
use crate::devices::*;

fn random(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut byte = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..100_000).map(|_| byte()).collect()
}

/// A chain of units of random size over devices of some kinds, all linked, each kind of another
/// speed.
fn chain<'a>(units: usize, kinds: &[usize], links: bool, costs: &'a mut Additive) -> Problem<'a> {
    let bytes = random(units as u64);
    let mut t = Tape::new(&bytes);
    let work: Vec<f64> = (0..units).map(|_| 1.0 + t.below(50) as f64).collect();
    let seconds = |k: &usize| vec![work.iter().map(|w| w * 1e-4 * (1 + k) as f64).collect()];
    let seconds: Vec<Vec<Vec<f64>>> = kinds.iter().map(seconds).collect();
    let joules = |k: &usize| vec![work.iter().map(|w| w * 1e-3 / (1 + k) as f64).collect()];
    let joules: Vec<Vec<Vec<f64>>> = kinds.iter().map(joules).collect();
    let weights: Vec<u64> = (0..units).map(|_| 1000 + 100 * t.below(100) as u64).collect();
    let cuts = (0..=units).map(|_| 1000 + 1000 * t.below(200) as u64).collect();
    let total: u64 = weights.iter().sum();
    let count = kinds.len();
    *costs = Additive::new(&seconds, &joules, &weights, &vec![5000; units]);
    let device = |d: usize| Device {
        name: format!("d{d}"),
        kind: kinds[d],
        memory: total / count as u64 * 3 / 2,
        modes: 1,
    };
    let mut link = |_| {
        let slower = if links { 1.0 + t.below(40) as f64 / 4.0 } else { 1.0 };
        Some(Link { bandwidth: 1e9 / slower, latency: 1e-4, watts: 0.5 })
    };
    Problem {
        cuts,
        forms: vec![],
        media: vec![],
        devices: (0..count).map(device).collect(),
        links: (0..count * count).map(&mut link).collect(),
        costs,
        pins: vec![],
        source: None,
        sink: None,
        reuse: false,
        objective: Objective::Interval,
        limits: Limits::default(),
    }
}

fn timed(what: &str, p: &Problem<'_>, effort: &Effort) -> DevicePlan {
    let start = Instant::now();
    let plan = plan(p, effort).unwrap();
    println!(
        "{what}, {:?}: {:.6} (gap {:.2e}), {} stages, in {:?}",
        p.objective,
        plan.value,
        plan.gap(),
        plan.stages.len(),
        start.elapsed()
    );
    plan
}

#[test]
fn two_thousand_cut_points_over_eight_devices() {
    let effort = Effort { labels: 200_000, nodes: 2_000 };
    let mut costs = Additive::default();
    let p = chain(2000, &[0; 8], false, &mut costs);
    assert!(timed("2,000 units over 8 like devices", &p, &effort).proved());
    let mut costs = Additive::default();
    let p = chain(2000, &[0, 0, 0, 0, 1, 1, 2, 2], false, &mut costs);
    assert!(timed("2,000 units over 8 devices of 3 kinds", &p, &effort).proved());
    let mut costs = Additive::default();
    let p = chain(2000, &[0, 1, 2, 3, 4, 5, 6, 7], true, &mut costs);
    assert!(timed("2,000 units over 8 different devices", &p, &effort).proved());
    let mut costs = Additive::default();
    let p = chain(2000, &[0, 1, 2, 3, 4, 5, 6, 7], true, &mut costs);
    let mut p = Problem { reuse: true, objective: Objective::Latency, ..p };
    p.devices.iter_mut().for_each(|d| d.memory = u64::MAX);
    assert!(timed("2,000 units over 8 devices used again", &p, &effort).proved());
}

#[test]
fn twenty_units_over_fifty_devices() {
    let kinds: Vec<usize> = (0..50).map(|d| d % 3).collect();
    let effort = Effort { labels: 200_000, nodes: 20_000 };
    let mut costs = Additive::default();
    let mut p = chain(20, &kinds, true, &mut costs);
    let total = p.devices[0].memory * 2 / 3 * 50;
    p.devices.iter_mut().for_each(|d| d.memory = total / 5);
    timed("20 units over 50 devices", &p, &effort);
    p.objective = Objective::Latency;
    timed("20 units over 50 devices", &p, &effort);
}
