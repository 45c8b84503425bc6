//! Placement, and partition with placement, against all of them.

use proptest::prelude::*;

use super::super::partition_and_place::JointSearch;
use super::super::place::{self, least_traffic};
use super::{Case, Tape, close, every_plan, random_cases};
use crate::devices::*;

fn pipeline(t: &mut Tape<'_>) -> Case {
    let mut case = Case::of(t, false);
    case.objective = Objective::Interval;
    case.limits = Limits { latency: None, energy: None, ..case.limits };
    case
}

#[test]
fn joint_plans_are_the_best_of_all() {
    let seen = std::cell::Cell::new([0; 3]);
    let cases = random_cases(400, |t| {
        let case = pipeline(t);
        let p = case.problem();
        let mut want = f64::INFINITY;
        every_plan(&case, &mut |totals| want = want.min(totals[1]));
        let j = JointSearch::new(&p);
        let value = |c: &Option<Vec<Choice>>| {
            c.as_ref().map_or(f64::INFINITY, |c| p.judge(c).unwrap().value)
        };
        let (found, bound) = j.best(f64::INFINITY, 1_000_000);
        prop_assert!(value(&found) == want && bound == want, "{} {} {want}", value(&found), bound);
        // The bound of a search that is cut short holds, and what it finds is a plan.
        let (found, bound) = j.best(f64::INFINITY, 2);
        prop_assert!(value(&found) >= want && bound <= want);
        // With a plan known, only better ones are looked for.
        let (found, bound) = j.best(want, 1_000_000);
        prop_assert!(found.is_none() && bound == want);
        let [a, b, c] = seen.get();
        let short = usize::from(bound < want);
        seen.set([a + usize::from(want.is_finite()), b + short, c + 1]);
        Ok(())
    });
    println!("{cases} cases, {:?} with a plan", seen.get());
    assert!(seen.get()[0] > cases as usize / 4);
}

/// The least largest share of all placements of a partition.
fn least(p: &Problem<'_>, cuts: &[usize], placed: &mut Vec<usize>) -> f64 {
    if placed.len() + 1 == cuts.len() {
        let choices = place::choices(p, cuts, placed);
        return choices.and_then(|c| p.judge(&c).ok()).map_or(f64::INFINITY, |plan| plan.value);
    }
    let mut best = f64::INFINITY;
    for d in 0..p.devices.len() {
        if placed.contains(&d) {
            continue;
        }
        placed.push(d);
        best = best.min(least(p, cuts, placed));
        placed.pop();
    }
    best
}

#[test]
fn placements_are_the_best_of_all() {
    let placed = std::cell::Cell::new([0; 2]);
    let cases = random_cases(400, |t| {
        let mut case = pipeline(t);
        (case.limits.interval, case.limits.stages) = (None, None);
        let p = case.problem();
        let mut cuts = vec![0];
        cuts.extend((1..p.units()).filter(|_| t.one_in(2)));
        cuts.push(p.units());
        if cuts.len() > p.devices.len() + 1 {
            prop_assert!(place(&p, &cuts, 1000).is_none());
            return Ok(());
        }
        let want = least(&p, &cuts, &mut Vec::new());
        match place(&p, &cuts, usize::MAX) {
            Some(found) => {
                prop_assert_eq!(found.value, want);
                prop_assert_eq!(found.bound, want);
                let choices = place::choices(&p, &cuts, &found.devices).unwrap();
                prop_assert_eq!(p.judge(&choices).unwrap().value, want);
                let [a, b] = placed.get();
                let greedy = place_greedily(&p, &cuts).map_or(f64::INFINITY, |g| g.value);
                prop_assert!(greedy >= want);
                placed.set([a + 1, b + usize::from(greedy > want)]);
            }
            None => prop_assert_eq!(want, f64::INFINITY),
        }
        if let Some(found) = place(&p, &cuts, 1) {
            prop_assert!(found.value >= want && found.bound <= want);
        }
        Ok(())
    });
    let [a, b] = placed.get();
    println!("{cases} cases, {a} with a placement, greedy missed the best in {b}");
    assert!(a > cases as usize / 4 && b > 0);
}

#[test]
fn many_different_devices_never_worse_than_greedy() {
    let gaps = std::cell::Cell::new([0; 2]);
    random_cases(8, |t| {
        let (n, count) = (30, 30);
        let mut case = pipeline(t);
        let cuts = (0..=n).map(|_| 1 + t.below(200) as u64).collect();
        let seconds: Vec<f64> = (0..n).map(|_| t.below(50) as f64).collect();
        let costs = Additive::new(&vec![vec![seconds]; count], &[], &vec![10; n], &vec![0; n]);
        let device = |d: usize| Device {
            name: format!("d{d}"),
            kind: 0,
            memory: 20 + 10 * (d as u64 % 3),
            modes: 1,
        };
        let link = |t: &mut Tape<'_>| Some(Link::new(1.0 + t.below(100) as f64, 0.25));
        let links = (0..count * count).map(|_| link(t)).collect();
        case.limits = Limits::default();
        let p = Problem {
            cuts,
            forms: vec![],
            media: vec![],
            devices: (0..count).map(device).collect(),
            links,
            costs: &costs,
            pins: vec![],
            source: None,
            sink: None,
            ..case.problem()
        };
        let effort = Effort { labels: 100_000, nodes: 5_000 };
        let plan = plan(&p, &effort).unwrap();
        prop_assert!(plan.bound <= plan.value);
        let greedy = least_traffic(&p).and_then(|cuts| place_greedily(&p, &cuts));
        if let Some(greedy) = greedy {
            prop_assert!(plan.value <= greedy.value);
            let [a, b] = gaps.get();
            gaps.set([a + 1, b + usize::from(plan.proved())]);
        }
        prop_assert!(!plan.proved() || close(plan.gap(), 0.0));
        Ok(())
    });
    println!("{:?} with a greedy plan, proved", gaps.get());
}
