//! Problems of the size that networks have.

use super::*;

/// Limits on latency, bytes and peak, and on energy and MACs where more are asked for.
fn limited(blocks: usize, candidates: usize, seed: u64, share: f64, limits: usize) -> Problem {
    let mut p = network(blocks, candidates, seed);
    p.limits.latency = Some(at_share(&p, Quantity::Latency, share));
    p.limits.bytes = Some(at_share(&p, Quantity::Bytes, 0.9 * share) as u64);
    p.limits.peak = Some(at_share(&p, Quantity::Peak, 0.6) as u64);
    p.limits.energy = (limits > 3).then(|| at_share(&p, Quantity::Energy, share));
    p.limits.macs = (limits > 4).then(|| at_share(&p, Quantity::Macs, share) as u64);
    p
}

#[test]
fn a_row_of_sixty_blocks_is_solved() {
    let p = limited(60, 12, 3, 0.5, 3);
    let choice = exact(&p).unwrap();
    assert!(p.limits.allow(&choice.totals) && choice.gap == 0.0);
    assert_eq!(choice.totals, p.judge(&choice.picks).unwrap());
    assert_eq!(k_best(&p).unwrap().next(), Some(Ok(choice)));
}

#[test]
fn the_dual_comes_back_to_the_same_choice() {
    let mut p = limited(30, 8, 1, 0.5, 3);
    let choice = exact(&p).unwrap();
    p.objective = Quantity::Latency;
    p.limits.latency = None;
    p.limits.loss = Some(choice.totals.loss);
    assert_eq!(exact(&p).unwrap().picks, choice.picks);
}

#[test]
fn too_little_effort_is_said() {
    let mut open = 0;
    for seed in 1..=5 {
        let p = limited(16, 8, seed, 0.5, 5);
        let best = exact(&p).unwrap();
        assert_eq!(best.gap, 0.0);
        let few = exact(&Problem { effort: 300, ..p.clone() }).unwrap();
        let excess = few.totals.loss - best.totals.loss;
        assert!(p.limits.allow(&few.totals));
        open += usize::from(few.gap > 0.0);
        assert!(excess >= 0.0 && excess <= few.gap, "{excess} {}", few.gap);
        let p = Problem { effort: 300, ..p };
        let mut all = k_best(&p).unwrap();
        assert!(all.any(|c| c == Err(NoChoice::Undecided(300))));
        assert!(all.next().is_none());
    }
    assert!(open >= 3, "{open}");
}

#[test]
fn a_rounded_front_is_near_the_exact_one() {
    let axes = [Quantity::Loss, Quantity::Bytes];
    let p = network(20, 8, 1);
    let whole = front(&p, &axes, usize::MAX).unwrap();
    let efforts = (1..12).map(|halved| 1_000_000 >> halved);
    let fronts = efforts.map(|effort| front(&Problem { effort, ..p.clone() }, &axes, usize::MAX));
    let rounded = fronts.flatten().find(|f| f.epsilon > 0.0).unwrap();
    assert!(whole.epsilon == 0.0 && rounded.choices.len() < whole.choices.len());
    let room = axes.map(|q| rounded.epsilon * (at_share(&p, q, 1.0) - at_share(&p, q, 0.0)));
    let near = |a: &Choice, b: &Choice| {
        axes.iter().zip(room).all(|(&q, room)| b.totals.get(q) <= a.totals.get(q) + room)
    };
    assert!(whole.choices.iter().all(|a| rounded.choices.iter().any(|b| near(a, b))));
}

#[cfg(feature = "milp")]
#[test]
fn milp_agrees_on_more_blocks() {
    for seed in 1..=4 {
        let p = limited(12, 6, seed, 0.5, 4);
        let [a, b] = [exact(&p), milp(&p)].map(|c| c.unwrap().totals.loss);
        assert!((a - b).abs() <= 1e-9, "{a} {b}");
    }
}
