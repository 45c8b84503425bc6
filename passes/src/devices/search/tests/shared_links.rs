//! Links that share media, against all plans.

use proptest::prelude::*;

use super::{Case, Tape, close, every_plan, random_cases};
use crate::devices::*;

/// One medium for all links, or two, and links of their own.
pub fn some(t: &mut Tape<'_>, links: usize) -> Vec<Option<usize>> {
    let one = t.one_in(2);
    let medium = |t: &mut Tape<'_>| match one {
        true => Some(0),
        false => (!t.one_in(3)).then(|| t.below(2)),
    };
    (0..links).map(|_| medium(t)).collect()
}

#[test]
fn intervals_over_media_are_the_least_of_all() {
    let counts = std::cell::Cell::new([0; 4]);
    let cases = random_cases(400, |t| {
        let mut case = Case::of(t, false);
        case.media = some(t, case.links.len());
        let one = case.media.iter().all(|m| *m == Some(0));
        if !t.one_in(4) {
            case.objective = Objective::Interval;
        }
        let mut want = f64::INFINITY;
        every_plan(&case, &mut |totals| want = want.min(totals[case.objective as usize]));
        let mut seen = counts.get();
        let exact = one && case.objective == Objective::Interval && case.limits.latency.is_none();
        match plan(&case.problem(), &Effort::default()) {
            Ok(plan) => {
                prop_assert!(plan.bound <= want + 1e-9, "{} {want}", plan.bound);
                prop_assert!(plan.value >= want - 1e-9, "{} {want}", plan.value);
                prop_assert!(plan.proved() || !exact, "{} {want} {}", plan.value, plan.bound);
                prop_assert!(!plan.proved() || close(plan.value, want));
                seen[usize::from(plan.proved())] += 1;
            }
            Err(NoPlan::Infeasible(_)) => {
                prop_assert_eq!(want, f64::INFINITY);
                seen[2] += 1;
            }
            Err(NoPlan::NotFound(bound)) if !exact => {
                prop_assert!(bound <= want + 1e-9);
                seen[3] += 1;
            }
            Err(e) => prop_assert!(false, "{}", e),
        }
        counts.set(seen);
        Ok(())
    });
    let [open, proved, infeasible, none] = counts.get();
    println!(
        "{cases} cases: {proved} proved, {open} not, {infeasible} without a plan, {none} not found"
    );
    assert!(proved > 10 * (open + none));
}
