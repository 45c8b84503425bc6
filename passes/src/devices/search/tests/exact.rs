//! Label setting and the threshold for interchangeable devices, against all plans.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::super::{LabelSearch, SearchSpace, threshold};
use super::{Case, close, every_plan, pareto, random_cases};
use crate::devices::*;

#[test]
fn plans_are_the_best_of_all() {
    let counts = std::cell::Cell::new([0; 3]);
    let cases = random_cases(400, |t| {
        let case = Case::random(t);
        let p = case.problem();
        let mut want = f64::INFINITY;
        every_plan(&case, &mut |totals| want = want.min(totals[case.objective as usize]));
        let mut seen = counts.get();
        match plan(&p, &Effort::default()) {
            Ok(plan) => {
                prop_assert!(plan.proved(), "not proved: {} {}", plan.value, plan.bound);
                prop_assert!(close(plan.value, want), "{} is not {want}", plan.value);
                seen[0] += 1;
            }
            Err(NoPlan::Infeasible(reasons)) => {
                prop_assert_eq!(want, f64::INFINITY);
                prop_assert!(!reasons.is_empty());
                seen[1] += 1;
                check_reasons(&case, &reasons)?;
            }
            Err(e) => prop_assert!(false, "{}", e),
        }
        // With next to no effort, what is claimed must hold all the same.
        match plan(&p, &Effort { labels: 3, nodes: 3 }) {
            Ok(plan) => {
                prop_assert!(plan.value >= want - 1e-9 && plan.bound <= want + 1e-9);
                seen[2] += usize::from(!plan.proved());
            }
            Err(NoPlan::NotFound(bound)) => prop_assert!(bound <= want + 1e-9),
            Err(NoPlan::Infeasible(_)) => prop_assert_eq!(want, f64::INFINITY),
            Err(e) => prop_assert!(false, "{}", e),
        }
        counts.set(seen);
        Ok(())
    });
    let [feasible, infeasible, stopped] = counts.get();
    println!(
        "{cases} cases: {feasible} with a plan, {infeasible} without; {stopped} stopped early"
    );
    assert!(feasible > cases as usize / 4 && infeasible > cases as usize / 20);
}

/// What is said to be needed must be: enough with it, not enough with less.
fn check_reasons(case: &Case, reasons: &[Reason]) -> Result<(), TestCaseError> {
    let exists = |case: &Case| {
        let mut found = false;
        every_plan(case, &mut |_| found = true);
        found
    };
    for r in reasons {
        match *r {
            Reason::Capacity(c) => {
                let with = |bytes: u64| {
                    let mut case = case.clone();
                    let Limits { run, memory, one_mode, .. } = case.limits;
                    let memory = memory.map(|m| m.max(bytes));
                    case.limits = Limits { run, memory, one_mode, ..Limits::default() };
                    for d in &mut case.devices {
                        d.memory = d.memory.max(bytes);
                    }
                    case
                };
                prop_assert!(exists(&with(c)));
                prop_assert!(c == 0 || !exists(&with(c - 1)));
            }
            Reason::Limit { objective: what, limit, least } if reasons.len() == 1 => {
                prop_assert_eq!(
                    Some(limit),
                    [case.limits.latency, case.limits.interval, case.limits.energy, None]
                        [what as usize]
                );
                let mut case = case.clone();
                for (o, l) in [
                    (Objective::Latency, &mut case.limits.latency),
                    (Objective::Interval, &mut case.limits.interval),
                    (Objective::Energy, &mut case.limits.energy),
                ] {
                    if o == what {
                        *l = None;
                    }
                }
                let mut want = f64::INFINITY;
                every_plan(&case, &mut |totals| want = want.min(totals[what as usize]));
                // The least with all other limits kept, or, where they clash, with none.
                prop_assert!(want == f64::INFINITY || close(want, least), "{} {}", want, least);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Buffers at the ends of stages: a unit alone may need more than a stage with it.
#[test]
fn units_are_too_large_only_in_every_stage() {
    struct Ends;
    impl Costs for Ends {
        fn seconds(&self, units: std::ops::Range<usize>, _: usize, _: usize) -> Option<f64> {
            Some(units.len() as f64)
        }
        fn memory(&self, units: std::ops::Range<usize>, _: usize) -> u64 {
            4 + if units.start == 1 { 8 } else { 0 } + if units.end == 1 { 8 } else { 0 }
        }
    }
    let device = Device { name: "a".into(), kind: 0, memory: 4, modes: 1 };
    let mut problem = Problem {
        cuts: vec![0, 8, 0],
        forms: vec![],
        devices: vec![device],
        links: vec![None],
        media: vec![],
        costs: &Ends,
        pins: vec![],
        source: None,
        sink: None,
        reuse: false,
        objective: Objective::Latency,
        limits: Limits { latency: Some(1.0), ..Limits::default() },
    };
    let reasons = |p: &Problem<'_>| match plan(p, &Effort::default()) {
        Err(NoPlan::Infeasible(reasons)) => reasons,
        other => panic!("{other:?}"),
    };
    let limit = Reason::Limit { objective: Objective::Latency, limit: 1.0, least: 2.0 };
    assert_eq!(reasons(&problem), [limit]);
    problem.devices[0].memory = 3;
    let too_large = |unit| Reason::TooLarge { unit, needs: 4, has: 3 };
    assert_eq!(reasons(&problem), [too_large(0), too_large(1)]);
}

#[test]
fn fronts_are_those_of_all_plans() {
    let points = std::cell::Cell::new(0);
    let cases = random_cases(400, |t| {
        let case = Case::random(t);
        let p = case.problem();
        let mut all = Vec::new();
        every_plan(&case, &mut |t| all.push((t[0], t[2])));
        let want = pareto(all);
        match front(&p, &Effort::default()) {
            Ok(front) => {
                let got: Vec<(f64, f64)> =
                    front.plans.iter().map(|p| (p.totals[0], p.totals[2])).collect();
                prop_assert_eq!(&got, &want);
                prop_assert_eq!(front.whole_below, f64::INFINITY);
                points.set(points.get() + got.len());
            }
            Err(NoPlan::Infeasible(_)) => prop_assert!(want.is_empty()),
            Err(e) => prop_assert!(false, "{}", e),
        }
        Ok(())
    });
    println!("{cases} cases, {} points on fronts", points.get());
}

#[test]
fn labels_and_the_threshold_agree() {
    let seen = std::cell::Cell::new(0);
    random_cases(400, |t| {
        let alike = t.one_in(3);
        let mut case = Case::of(t, false);
        case.limits = Limits { latency: None, energy: None, ..case.limits };
        if alike {
            case.ends = [None; 2];
            case.pins.fill(None);
            case.links = vec![case.links[0]; case.links.len()];
            let one = case.devices[0].clone();
            case.profile.kinds.fill(one.kind);
            case.devices.fill(one);
        }
        for objective in [Objective::Interval, Objective::Memory] {
            case.objective = objective;
            let p = case.problem();
            let s = SearchSpace::new(&p);
            prop_assert!(threshold::applies(&s) && (!alike || s.classes.len() == 1));
            let best = threshold::plan(&s).map(|c| p.judge(&c).unwrap().value);
            let keys = [objective];
            let found = LabelSearch::new(&s, &keys).unwrap().run(f64::INFINITY, usize::MAX);
            let labelled = found.plans.first().map(|c| p.judge(c).unwrap().value);
            prop_assert_eq!(best, labelled);
            let mut want = f64::INFINITY;
            every_plan(&case, &mut |totals| want = want.min(totals[objective as usize]));
            prop_assert_eq!(best.unwrap_or(f64::INFINITY), want);
            seen.set(seen.get() + usize::from(want.is_finite()));
        }
        Ok(())
    });
    assert!(seen.get() > 200, "{}", seen.get());
}

#[test]
fn memory_of_additive_costs_is_what_stays_and_the_most_that_comes_and_goes() {
    let (stays, live) = ([3, 1, 4, 1, 5, 9], [2, 7, 1, 8, 2, 8]);
    let costs = Additive::new(&[vec![vec![1.0; 6]]], &[], &stays, &live);
    for i in 0..6 {
        for j in i + 1..=6 {
            let want = stays[i..j].iter().sum::<u64>() + live[i..j].iter().max().unwrap();
            assert_eq!(costs.memory(i..j, 0), want);
            assert_eq!(costs.seconds(i..j, 0, 0), Some((j - i) as f64));
        }
    }
}
