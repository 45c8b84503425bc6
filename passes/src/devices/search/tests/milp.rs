//! Label setting against integer programming: the same optimum, and the same front by sweeping a
//! limit of energy, as DIME does.

use proptest::prelude::*;

use super::{Case, Tape, every_plan, pareto, random_cases};
use crate::devices::*;

#[test]
fn integer_programs_agree() {
    let seen = std::cell::Cell::new(0);
    let cases = random_cases(60, |t| {
        let case = Case::random(t);
        let p = case.problem();
        let program = milp(&p).unwrap().map(|plan| plan.value);
        match plan(&p, &Effort::default()) {
            Ok(plan) => {
                prop_assert!(program.is_some_and(|v| (v - plan.value).abs() < 1e-6), "{program:?}");
                seen.set(seen.get() + 1);
            }
            Err(_) => prop_assert_eq!(program, None),
        }
        Ok(())
    });
    println!("{cases} programs, {} with a plan", seen.get());
}

/// Links that share two media, or none: integer programs give the least of all plans.
#[test]
fn integer_programs_know_media() {
    let seen = std::cell::Cell::new(0);
    random_cases(60, |t| {
        let mut case = Case::of(t, false);
        case.media = super::shared_links::some(t, case.links.len());
        let mut want = f64::INFINITY;
        every_plan(&case, &mut |totals| want = want.min(totals[case.objective as usize]));
        let found = milp(&case.problem()).unwrap().map_or(f64::INFINITY, |plan| plan.value);
        prop_assert!(found == want || (found - want).abs() < 1e-6, "{found} {want}");
        seen.set(seen.get() + usize::from(want.is_finite()));
        Ok(())
    });
    assert!(seen.get() > 10);
}

/// Bundles of up to 10 layers on an edge device, a second one and a cloud: frequencies, transfers
/// with power, devices used again.
fn dime(t: &mut Tape<'_>) -> Case {
    let mut case = Case::of(t, true);
    let Limits { run, one_mode, .. } = case.limits;
    case.limits = Limits { run, one_mode, ..Limits::default() };
    case.devices.iter_mut().for_each(|d| d.memory = u64::MAX);
    // The frame is taken on the first device, and its answer is wanted there.
    case.ends = [Some(0), Some(0)];
    case
}

#[test]
fn fronts_are_those_of_integer_programs() {
    let points = std::cell::Cell::new(0);
    let cases = random_cases(40, |t| {
        let mut case = dime(t);
        let mut want = Vec::new();
        // Energies are multiples of 1/8.
        let least_step = 1.0 / 64.0;
        loop {
            case.objective = Objective::Latency;
            let Some(quickest) = milp(&case.problem()).unwrap() else { break };
            let latency = quickest.total(Objective::Latency);
            case.objective = Objective::Energy;
            case.limits.latency = Some(latency);
            let thriftiest = milp(&case.problem()).unwrap().unwrap();
            let energy = thriftiest.total(Objective::Energy);
            want.push((latency, energy));
            case.limits.latency = None;
            case.limits.energy = Some(energy - least_step);
        }
        case.limits.energy = None;
        let mut all = Vec::new();
        every_plan(&case, &mut |t| all.push((t[0], t[2])));
        prop_assert_eq!(&pareto(all), &want);
        match front(&case.problem(), &Effort::default()) {
            Ok(front) => {
                let got: Vec<(f64, f64)> =
                    front.plans.iter().map(|p| (p.totals[0], p.totals[2])).collect();
                points.set(points.get() + got.len());
                prop_assert_eq!(got, want);
            }
            Err(_) => prop_assert!(want.is_empty()),
        }
        Ok(())
    });
    println!("{cases} instances, {} points on fronts", points.get());
}
