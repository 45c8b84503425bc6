//! Fronts and successive choices.

use super::*;

/// The values of the front, by comparison of all choices with all.
fn points(p: &Problem, axes: &[Quantity]) -> Vec<Vec<f64>> {
    let of = |c: &Choice| -> Vec<f64> { axes.iter().map(|&q| c.totals.get(q)).collect() };
    let mut all: Vec<Vec<f64>> = all(p).iter().map(of).collect();
    all.sort_by(|a, b| a.partial_cmp(b).unwrap());
    all.dedup();
    let beats = |a: &Vec<f64>, b: &Vec<f64>| a != b && a.iter().zip(b).all(|(a, b)| a <= b);
    all.iter().filter(|b| !all.iter().any(|a| beats(a, b))).cloned().collect()
}

const AXES: [&[Quantity]; 3] = [
    &[Quantity::Loss, Quantity::Latency, Quantity::Peak],
    &[Quantity::Loss, Quantity::Bytes],
    &[Quantity::Latency, Quantity::Energy, Quantity::Loss, Quantity::Macs],
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn front_is_that_of_all(p in paired(), axes in prop::sample::select(AXES.to_vec())) {
        let best = points(&p, axes);
        match front(&p, axes, usize::MAX) {
            Ok(front) => {
                let of = |c: &Choice| -> Vec<f64> { axes.iter().map(|&q| c.totals.get(q)).collect() };
                prop_assert_eq!(front.choices.iter().map(of).collect::<Vec<_>>(), best);
                prop_assert_eq!((front.omitted, front.epsilon), (0, 0.0));
            }
            Err(e) => prop_assert!(best.is_empty() && matches!(e, NoChoice::Infeasible(_))),
        }
    }

    #[test]
    fn k_best_are_the_first_of_all(p in paired(), k in 1usize..300) {
        let all = all(&p);
        let found: Vec<_> = k_best(&p).unwrap().take(k).collect();
        if all.is_empty() {
            prop_assert!(matches!(found[..], [Err(NoChoice::Infeasible(_))]));
        } else {
            let found: Vec<Choice> = found.into_iter().map(Result::unwrap).collect();
            prop_assert_eq!(&found[..], &all[..k.min(all.len())]);
        }
    }
}

#[test]
fn thinned_front_keeps_the_ends() {
    let p = network(5, 6, 1);
    let axes = AXES[0];
    let whole = front(&p, axes, usize::MAX).unwrap();
    let some = front(&p, axes, 12).unwrap();
    assert_eq!((some.choices.len(), some.omitted), (12, whole.choices.len() - 12));
    for &q in axes {
        let least = |f: &Front| f.choices.iter().map(|c| c.totals.get(q)).fold(f64::MAX, f64::min);
        assert_eq!(least(&some), least(&whole));
    }
    assert!(some.choices.iter().all(|c| whole.choices.contains(c)));
    assert_eq!(front(&p, &[Quantity::Loss; 2], 9), Err(ProblemError::Axes.into()));
}
