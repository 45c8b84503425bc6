//! Tests of the sums, the selection and the dependencies.

use proptest::prelude::*;

use super::dependent::Factor;
use super::normal::{Error, Normal};
use super::select::{Options, Reader, Selection, select};
use super::sweep::Sweep;

/// Numbers in −1..1 from a seed (xorshift).
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32) / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Samples whose columns are correlated, as channels of a network are: x = z·A, y = relu(x)·B.
fn samples(seed: u64, rows: usize, columns: usize, outputs: usize) -> (Vec<f32>, Vec<f32>) {
    let hidden = columns.div_ceil(2).max(1);
    let z = noise(seed, rows * hidden);
    let a = noise(seed + 1, hidden * columns);
    let b = noise(seed + 2, columns * outputs);
    let own = noise(seed + 3, rows * columns);
    let mut x = vec![0f32; rows * columns];
    let mut y = vec![0f32; rows * outputs];
    for r in 0..rows {
        for c in 0..columns {
            let sum: f32 = (0..hidden).map(|h| z[r * hidden + h] * a[h * columns + c]).sum();
            x[r * columns + c] = (sum + 0.3 * own[r * columns + c] + 0.1).max(0.0);
        }
        for o in 0..outputs {
            y[r * outputs + o] =
                (0..columns).map(|c| x[r * columns + c] * b[c * outputs + o]).sum::<f32>() + 0.5;
        }
    }
    (x, y)
}

fn normal(seed: u64, rows: usize, columns: usize, outputs: usize) -> Normal {
    let (x, y) = samples(seed, rows, columns, outputs);
    let mut normal = Normal::new(columns, outputs, true);
    normal.add(&x, &y).unwrap();
    normal
}

/// A reader of `units` with `each` columns a unit, and the bias fixed.
fn reader(normal: &Normal, units: usize, each: usize) -> Reader<'_> {
    Reader {
        normal,
        units: (0..units).map(|u| (u * each..(u + 1) * each).collect()).collect(),
        fixed: normal.bias().into_iter().collect(),
        weight: 1.0 / normal.spread().max(1e-9),
        prior: None,
    }
}

fn residual(x: &[f32], y: &[f32], columns: usize, keep: &[usize], weights: &[f64]) -> f64 {
    let outputs = weights.len() / keep.len();
    let mut total = 0.0;
    for (x, y) in x.chunks(columns).zip(y.chunks(outputs)) {
        for (o, &y) in y.iter().enumerate() {
            let at = |c: usize| x.get(c).map_or(1.0, |&v| f64::from(v));
            let sum: f64 =
                keep.iter().enumerate().map(|(i, &c)| at(c) * weights[i * outputs + o]).sum();
            total += (f64::from(y) - sum).powi(2);
        }
    }
    total
}

#[test]
fn a_fit_has_the_residual_that_it_says_and_no_other_is_better() {
    let (x, y) = samples(3, 700, 12, 5);
    let mut n = Normal::new(12, 5, true);
    n.add(&x, &y).unwrap();
    let keep = [12, 3, 0, 7];
    let fit = n.solve(&keep, 0.0, None).unwrap();
    let direct = residual(&x, &y, 12, &keep, &fit.weights);
    assert!((fit.residual - direct).abs() < 1e-9 * direct, "{} {direct}", fit.residual);
    for i in 0..fit.weights.len() {
        let mut other = fit.weights.clone();
        other[i] += 1e-3;
        assert!(n.residual_of(&keep, &other).unwrap() > fit.residual);
    }
    // All columns make y exactly, up to the rounding of f32.
    let all = n.solve(&(0..13).collect::<Vec<_>>(), 0.0, None).unwrap();
    assert!(all.residual < 1e-10 * n.squares(), "{}", all.residual);
    let bias = n.solve(&[12], 0.0, None).unwrap();
    assert!((bias.residual - n.spread()).abs() < 1e-9 * n.spread());
}

#[test]
fn batches_and_merges_give_the_same_sums() {
    let (x, y) = samples(5, 1300, 10, 4);
    let mut whole = Normal::new(10, 4, true);
    whole.add(&x, &y).unwrap();
    let mut again = Normal::new(10, 4, true);
    again.add(&x, &y).unwrap();
    let (mut left, mut right) = (Normal::new(10, 4, true), Normal::new(10, 4, true));
    left.add(&x[..6000], &y[..2400]).unwrap();
    right.add(&x[6000..], &y[2400..]).unwrap();
    left.merge(&right).unwrap();
    let fit = |n: &Normal| n.solve(&[0, 4, 10], 1e-4, None).unwrap();
    assert_eq!(fit(&whole), fit(&again));
    let (a, b) = (fit(&whole), fit(&left));
    assert_eq!(left.samples(), 1300);
    assert!((a.residual - b.residual).abs() < 1e-10 * a.residual);
}

#[test]
fn a_large_ridge_returns_the_prior_and_dead_columns_keep_it() {
    let (mut x, y) = samples(7, 300, 6, 2);
    x.chunks_mut(6).for_each(|row| row[4] = 0.0);
    let mut n = Normal::new(6, 2, false);
    n.add(&x, &y).unwrap();
    let prior: Vec<f64> = (0..12).map(f64::from).collect();
    let keep = [5, 4, 1];
    let far = n.solve(&keep, 1e9, Some(&prior)).unwrap();
    for (w, p) in far.weights.iter().zip([10., 11., 8., 9., 2., 3.]) {
        assert!((w - p).abs() < 1e-5, "{w} {p}");
    }
    let near = n.solve(&keep, 0.0, Some(&prior)).unwrap();
    assert!((near.weights[2] - 8.0).abs() < 1e-9 && (near.weights[3] - 9.0).abs() < 1e-9);
    assert!(near.residual <= far.residual);
}

#[test]
fn a_column_that_is_named_in_another_one_does_not_spoil_the_fit() {
    let (mut x, y) = samples(9, 400, 8, 3);
    x.chunks_mut(8).for_each(|row| row[6] = row[2]);
    let mut n = Normal::new(8, 3, true);
    n.add(&x, &y).unwrap();
    let both = n.solve(&[0, 2, 6, 8], 0.0, None).unwrap();
    let one = n.solve(&[0, 2, 8], 0.0, None).unwrap();
    assert!((both.residual - one.residual).abs() < 1e-6 * one.residual);
    assert!((both.weights[3] - both.weights[6]).abs() < 1e-3 * both.weights[3].abs().max(1.0));
}

#[test]
fn wrong_input_is_an_error() {
    let mut n = Normal::new(3, 2, true);
    assert!(matches!(n.add(&[0.0; 4], &[0.0; 2]), Err(Error::Shape { what: "x", .. })));
    assert_eq!(n.add(&[0.0, f32::NAN, 0.0], &[0.0; 2]), Err(Error::NotFinite("x")));
    assert_eq!(n.samples(), 0);
    n.add(&noise(1, 30), &noise(2, 20)).unwrap();
    assert!(matches!(n.solve(&[0, 0], 0.0, None), Err(Error::Index { index: 0, .. })));
    assert!(matches!(n.solve(&[4], 0.0, None), Err(Error::Index { index: 4, .. })));
    assert_eq!(n.solve(&[1], -1.0, None), Err(Error::Negative("the ridge")));
    let options = Options { ridge: 0.0, swaps: 1 };
    let r = [reader(&n, 3, 1)];
    assert_eq!(select(&r, &[4], &[], &options), Err(Error::Size(4)));
    assert_eq!(select(&r, &[1], &[vec![0, 1]], &options), Err(Error::Size(2)));
    assert!(matches!(Factor::new(3).dependent(1e-6), Err(Error::Samples { .. })));
}

/// The loss of a selection, by fits alone.
fn loss(readers: &[Reader<'_>], keep: &[usize], ridge: f64) -> f64 {
    let of = |r: &Reader<'_>| {
        let mut columns = r.fixed.clone();
        let mut all = columns.clone();
        keep.iter().for_each(|&u| columns.extend(&r.units[u]));
        r.units.iter().for_each(|u| all.extend(u));
        let extra = r.normal.ridge(&all, ridge, r.prior).unwrap();
        r.weight * r.normal.solve_with(&columns, &extra, r.prior).unwrap().loss
    };
    readers.iter().map(of).sum()
}

#[test]
fn a_sweep_of_many_units_stays_near_a_fresh_solution() {
    let (units, each) = (70, 3);
    let n = normal(21, 3000, units * each, 9);
    let r = reader(&n, units, each);
    let mut sweep = Sweep::new(&r, units, 1e-6).unwrap();
    let mut inside = vec![true; units];
    sweep.rebuild(&inside).unwrap();
    let mut now = loss(std::slice::from_ref(&r), &(0..units).collect::<Vec<_>>(), 1e-6) / r.weight;
    // Fifty leave, and every third of them enters again: more than between two rebuilds.
    let moves = (0..50).map(|i| i * 7 % units).chain((0..50).step_by(3).map(|i| i * 7 % units));
    let mut most = (0.0f64, 0.0f64);
    for unit in moves {
        let said = sweep.change(unit, !inside[unit], None).unwrap();
        let change = sweep.toggle(unit, !inside[unit]).unwrap();
        inside[unit] = !inside[unit];
        now += change;
        assert!((said - change.abs()).abs() <= 1e-8 * said);
        let keep: Vec<usize> = (0..units).filter(|&u| inside[u]).collect();
        let fresh = loss(std::slice::from_ref(&r), &keep, 1e-6) / r.weight;
        most.0 = most.0.max((fresh - now).abs() / fresh);
        let mut columns = r.fixed.clone();
        keep.iter().for_each(|&u| columns.extend(&r.units[u]));
        let fit = n.solve_with(&columns, &sweep.ridge, None).unwrap();
        let (mut error, mut norm) = (0.0f64, 0.0f64);
        for (swept, fresh) in sweep.weights(&inside).iter().zip(&fit.weights) {
            error += (swept - fresh).powi(2);
            norm += fresh * fresh;
        }
        most.1 = most.1.max((error / norm).sqrt());
    }
    println!("the loss drifts by {:e}, the weights by {:e}", most.0, most.1);
    assert!(most.0 < 1e-8 && most.1 < 1e-8, "{most:?}");
}

#[test]
fn without_a_ridge_repeated_and_dead_units_go_first() {
    let (mut x, y) = samples(31, 600, 20, 4);
    x.chunks_mut(20).for_each(|row| {
        row[6..8].fill(0.0);
        row[14] = row[2];
        row[15] = row[3];
    });
    let mut n = Normal::new(20, 4, true);
    n.add(&x, &y).unwrap();
    let readers = [reader(&n, 10, 2)];
    let options = Options { ridge: 0.0, swaps: 20 };
    let chosen = select(&readers, &[10, 8, 7], &[], &options).unwrap();
    assert!(!chosen[1].keep.contains(&3));
    assert!(chosen[1].keep.contains(&1) != chosen[1].keep.contains(&7));
    assert!(chosen[1].loss < chosen[0].loss * (1.0 + 1e-6) + 1e-8);
    assert!(chosen[2].loss > chosen[1].loss * 1.01);
}

#[test]
fn fewer_samples_than_columns_are_enough_with_a_prior() {
    let n = normal(41, 30, 60, 4);
    let prior = vec![0.1; n.width() * 4];
    let mut r = reader(&n, 20, 3);
    r.prior = Some(&prior);
    let readers = [r];
    let options = Options { ridge: 1e-3, swaps: 20 };
    let first: Vec<usize> = (0..10).collect();
    let chosen = select(&readers, &[10], std::slice::from_ref(&first), &options).unwrap();
    assert!(chosen[0].loss < loss(&readers, &first, 1e-3));
}

/// The best of all selections of a size.
fn brute(readers: &[Reader<'_>], size: usize, ridge: f64) -> f64 {
    let units = readers[0].units.len();
    let sets = (0u32..1 << units).filter(|s| s.count_ones() as usize == size);
    let units_of = |s: u32| (0..units).filter(|u| s >> u & 1 == 1).collect::<Vec<_>>();
    sets.map(|s| loss(readers, &units_of(s), ridge)).fold(f64::INFINITY, f64::min)
}

#[test]
fn small_selections_are_near_the_best_of_all() {
    let (mut equal, mut cases, mut worst) = (0, 0, 1.0f64);
    for seed in 0..20 {
        let (a, b) = (normal(seed * 10, 400, 16, 6), normal(seed * 10 + 5, 400, 8, 3));
        let readers = [reader(&a, 8, 2), reader(&b, 8, 1)];
        let options = Options { ridge: 1e-6, swaps: 50 };
        let sizes = [6, 4, 2];
        let candidates = vec![vec![0, 1, 2, 3, 4, 5], vec![7, 6, 5, 4], vec![0, 7]];
        let chosen = select(&readers, &sizes, &candidates, &options).unwrap();
        for ((s, &size), candidate) in chosen.iter().zip(&sizes).zip(&candidates) {
            assert_eq!(s.keep.len(), size);
            assert!(s.loss <= loss(&readers, candidate, 1e-6) * (1.0 + 1e-12));
            assert!((s.loss - loss(&readers, &s.keep, 1e-6)).abs() <= 1e-12 * s.loss);
            let best = brute(&readers, size, 1e-6);
            cases += 1;
            equal += usize::from(s.loss <= best * (1.0 + 1e-9));
            worst = worst.max(s.loss / best);
            assert!(s.loss >= best * (1.0 - 1e-9));
        }
    }
    println!("{equal} of {cases} are the best; the worst is {worst} times the best");
    assert!(cases == 60);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn selections_fall_with_size_and_beat_candidates(
        seed in 0u64..1_000_000,
        units in 2usize..9,
        each in 1usize..4,
        rows in 20usize..300,
        with_prior: bool,
        dead: bool,
    ) {
        let columns = units * each;
        let (mut x, y) = samples(seed, rows, columns, 3);
        if dead {
            x.chunks_mut(columns).for_each(|row| row[..each].fill(0.0));
        }
        let mut n = Normal::new(columns, 3, true);
        n.add(&x, &y).unwrap();
        let prior: Vec<f64> =
            noise(seed + 9, n.width() * 3).into_iter().map(f64::from).collect();
        let mut r = reader(&n, units, each);
        r.prior = with_prior.then_some(&prior);
        let sizes: Vec<usize> = (0..=units).collect();
        let candidates: Vec<Vec<usize>> = sizes.iter().map(|&s| (0..s).collect()).collect();
        let options = Options { ridge: 1e-5, swaps: 20 };
        let readers = [r];
        let chosen = select(&readers, &sizes, &candidates, &options).unwrap();
        for (s, candidate) in chosen.iter().zip(&candidates) {
            prop_assert!(s.loss <= loss(&readers, candidate, 1e-5) * (1.0 + 1e-12));
        }
        for pair in chosen.windows(2) {
            prop_assert!(pair[1].loss <= pair[0].loss * (1.0 + 1e-9) + 1e-9 * readers[0].weight);
        }
        let again: Vec<Selection> = select(&readers, &sizes, &candidates, &options).unwrap();
        prop_assert_eq!(chosen, again);
    }

    #[test]
    fn planted_dependencies_are_found(seed in 0u64..1_000_000, rows in 60usize..900) {
        let units = 40;
        let mut x = noise(seed, rows * units);
        x.chunks_mut(units).for_each(|row| {
            row[3] = 0.0;
            row[11] = 2.5;
            row[20] = 0.5 * row[1] - 2.0 * row[36] + 0.25;
            row[39] = row[38];
        });
        let mut f = Factor::new(units);
        for part in x.chunks(units * 70) {
            f.add(part).unwrap();
        }
        let found = f.dependent(1e-6).unwrap();
        prop_assert_eq!(found.len(), 4);
        prop_assert_eq!(&found[0], &super::dependent::Dependency {
            unit: 3, on: vec![], constant: 0.0, relative_pivot: 0.0,
        });
        prop_assert_eq!((found[1].unit, found[1].on.len()), (11, 0));
        prop_assert!((found[1].constant - 2.5).abs() < 1e-9);
        prop_assert!([1, 20, 36].contains(&found[2].unit) || [1, 20, 36].contains(&found[3].unit));
        for d in &found {
            for row in x.chunks(units) {
                let sum: f64 =
                    d.on.iter().map(|&(u, c)| c * f64::from(row[u])).sum::<f64>() + d.constant;
                prop_assert!((sum - f64::from(row[d.unit])).abs() < 1e-5, "{d:?}");
            }
            prop_assert!(d.on.iter().all(|(u, _)| found.iter().all(|f| f.unit != *u)));
        }
    }
}

#[test]
fn near_dependencies_are_told_apart_at_the_tolerance() {
    let mut x = noise(4, 500 * 6);
    x.chunks_mut(6).for_each(|row| row[5] = row[0] + 1e-4 * row[5]);
    let mut f = Factor::new(6);
    f.add(&x).unwrap();
    assert_eq!(f.dependent(1e-6).unwrap(), []);
    let found = f.dependent(1e-3).unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0].relative_pivot > 3e-5 && found[0].relative_pivot < 3e-4);
}
