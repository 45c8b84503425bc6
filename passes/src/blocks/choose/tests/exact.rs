//! One best choice.

use super::*;

fn check(p: &Problem) -> Result<(), TestCaseError> {
    let all = all(p);
    match (exact(p), all.first()) {
        (Ok(choice), Some(best)) => prop_assert_eq!(&choice, best),
        (Err(NoChoice::Infeasible(why)), None) => check_reason(p, &why)?,
        (found, best) => prop_assert!(false, "{found:?} for {best:?}"),
    }
    Ok(())
}

/// The reason holds, and is minimal.
fn check_reason(p: &Problem, why: &Infeasible) -> Result<(), TestCaseError> {
    let least = |q: Quantity, kept: &[Quantity]| {
        let all = self::all(&p.with_limits(p.limits.only(kept)));
        all.iter().map(|c| c.totals.get(q)).min_by(f64::total_cmp)
    };
    match why {
        Infeasible::Alone(all) => {
            prop_assert!(!all.is_empty());
            for s in all {
                prop_assert_eq!(Some(s.least), least(s.quantity, &[]));
                prop_assert!(s.least > s.limit && s.limit == p.limits.of(s.quantity));
            }
        }
        Infeasible::Together { limits, shortfall } => {
            let without = |q: Quantity| -> Vec<Quantity> {
                limits.iter().copied().filter(|&o| o != q).collect()
            };
            let q = shortfall.quantity;
            prop_assert_eq!(Some(shortfall.least), least(q, &without(q)));
            prop_assert!(shortfall.least > shortfall.limit);
            for &q in limits {
                prop_assert!(!self::all(&p.with_limits(p.limits.only(&without(q)))).is_empty());
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn exact_is_the_best_of_all(p in problems()) {
        check(&p)?;
    }

    #[test]
    fn exact_respects_pairs(p in paired()) {
        check(&p)?;
    }
}

#[cfg(feature = "milp")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn milp_agrees(p in paired()) {
        match (milp(&p), all(&p).first()) {
            (Ok(choice), Some(best)) => {
                let [a, b] = [&choice, best].map(|c| c.totals.get(p.objective));
                prop_assert!((a - b).abs() <= 1e-9 * (1.0 + b.abs()), "{choice:?} for {best:?}");
            }
            (Err(NoChoice::Infeasible(_)), None) => {}
            (found, best) => prop_assert!(false, "{found:?} for {best:?}"),
        }
    }
}

#[test]
fn says_which_limits_conflict() {
    let block = |latency: f64, bytes: u64| Costs { latency, bytes, ..Costs::default() };
    let blocks = vec![vec![block(0.001, 100), block(0.004, 10)]; 2];
    let mut p = Problem::new(blocks, Costs::default());
    p.limits.latency = Some(0.001);
    let why = exact(&p).unwrap_err().to_string();
    assert_eq!(
        why,
        "no choice keeps all limits: the least latency is 0.002 s, above the limit of 0.001 s"
    );
    p.limits = Limits { latency: Some(0.004), bytes: Some(100), ..Limits::default() };
    let why = exact(&p).unwrap_err().to_string();
    assert_eq!(
        why,
        "no choice keeps all limits: limits on latency and bytes conflict: with bytes kept, the \
         least latency is 0.008 s, above the limit of 0.004 s"
    );
}

#[test]
fn too_many_open_blocks_are_refused() {
    let mut p = network(8, 2, 1);
    let pair = |i: usize| Pair { earlier: (i, 0), later: (7, 0), loss: 0.1 };
    p.pairs = (0..3).map(pair).collect();
    assert!(exact(&p).is_ok());
    p.pairs.push(pair(3));
    let open = ProblemError::Open { block: 3, open: 4, most: 3 };
    assert_eq!(exact(&p), Err(NoChoice::Invalid(open)));
    #[cfg(feature = "milp")]
    assert!(milp(&p).is_ok());
}

#[test]
fn malformed_problems_are_refused() {
    let p = network(2, 2, 1);
    let refused = |change: &dyn Fn(&mut Problem)| {
        let mut p = p.clone();
        change(&mut p);
        exact(&p).unwrap_err()
    };
    let is = |e: ProblemError| NoChoice::Invalid(e);
    assert_eq!(refused(&|p| p.blocks.clear()), is(ProblemError::NoBlocks));
    assert_eq!(refused(&|p| p.objective = Quantity::Peak), is(ProblemError::Objective));
    let nan = |p: &mut Problem| p.blocks[0][0].loss = f64::NAN;
    assert_eq!(refused(&nan), is(ProblemError::Number(Quantity::Loss)));
    let large = |p: &mut Problem| p.blocks[0][0].macs = 1 << 60;
    assert_eq!(refused(&large), is(ProblemError::Large(Quantity::Macs)));
    let none = |p: &mut Problem| p.blocks[1].clear();
    assert_eq!(refused(&none), is(ProblemError::Candidates { block: 1, found: 0 }));
    let back = Pair { earlier: (1, 0), later: (0, 0), loss: 1.0 };
    assert_eq!(refused(&|p| p.pairs = vec![back]), is(ProblemError::Pair(0)));
    let twice = Pair { earlier: (0, 0), later: (1, 0), loss: 1.0 };
    assert_eq!(refused(&|p| p.pairs = vec![twice; 2]), is(ProblemError::Duplicate(0, 1)));
    assert!(p.judge(&[0]).is_err() && p.judge(&[0, 2]).is_err());
}
