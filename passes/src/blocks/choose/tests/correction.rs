//! Terms of pairs from measurements.

use super::*;

/// Measurements of random combinations of a problem, with normal noise.
fn measure(truth: &Problem, count: usize, error: f64, dice: &mut Dice) -> Vec<Measurement> {
    let mut one = || {
        let picks: Vec<usize> =
            truth.blocks.iter().map(|b| (dice.next() * b.len() as f64) as usize).collect();
        let noise: f64 = (0..12).map(|_| dice.next()).sum::<f64>() - 6.0;
        let loss = truth.judge(&picks).unwrap().loss + error * noise;
        Measurement { picks, loss, error }
    };
    (0..count).map(|_| one()).collect()
}

#[test]
fn finds_the_pairs_that_deviate() {
    for seed in 1..=5 {
        let p = network(8, 4, seed);
        let mut truth = p.clone();
        let pair = |i, a, j, b, loss| Pair { earlier: (i, a), later: (j, b), loss };
        truth.pairs = vec![pair(1, 2, 2, 3, 0.03), pair(4, 0, 5, 1, -0.02)];
        let measured = measure(&truth, 200, 0.002, &mut Dice(seed));
        for scope in [Scope::Adjacent, Scope::Any(10)] {
            let found = Correction::fit(&p, &measured, Fit { scope, ..Fit::default() }).unwrap();
            for true_pair in &truth.pairs {
                let same = |o: &&Pair| (o.earlier, o.later) == (true_pair.earlier, true_pair.later);
                let term = found.pairs.iter().find(same).unwrap();
                assert!((term.loss - true_pair.loss).abs() < 0.004, "{term:?}");
            }
            assert!(found.pairs.len() <= 5, "{found:?}");
            assert!(found.before > 2.0 && found.after < 1.3 && found.left_out < 1.4, "{found:?}");
            let corrected = found.apply(&p);
            assert!(exact(&corrected).is_ok());
        }
    }
}

#[test]
fn leaves_an_additive_model_alone() {
    for seed in 1..=20 {
        let p = network(8, 4, seed);
        let measured = measure(&p, 60, 0.002, &mut Dice(seed));
        let found = Correction::fit(&p, &measured, Fit::default()).unwrap();
        assert!(found.pairs.len() <= 1, "{found:?}");
        let none = Correction::fit(&p, &[], Fit::default()).unwrap();
        assert!(none.pairs.is_empty() && none.before == 0.0);
    }
}

#[test]
fn distant_pairs_stay_within_reach_of_the_search() {
    let p = network(10, 2, 3);
    let mut truth = p.clone();
    let pair = |i: usize| Pair { earlier: (i, 1), later: (i + 5, 1), loss: 0.05 };
    truth.pairs = (0..5).map(pair).collect();
    let measured = measure(&truth, 200, 0.001, &mut Dice(7));
    let fit = Fit { scope: Scope::Any(20), ..Fit::default() };
    let found = Correction::fit(&p, &measured, fit).unwrap();
    assert!(found.after < found.before);
    assert!(exact(&found.apply(&p)).is_ok());
    let bad = Measurement { picks: vec![0], loss: 0.0, error: 1.0 };
    assert!(Correction::fit(&p, &[bad], fit).is_err());
}
