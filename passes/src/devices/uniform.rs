//! Interchangeable devices: the least of the largest share. By threshold: with a value given, the
//! fewest stages all of whose shares are within it are a shortest path over cuts, O(P²); the value is
//! found by bisection among the shares that there are, O(P² log P) in all.

use super::problem::{Choice, Objective};
use super::setting::Setting;

/// Whether this planner is for the problem: devices are interchangeable and used once, the objective
/// is the largest of something and no sum is limited.
pub(super) fn applies(s: &Setting<'_, '_>) -> bool {
    let p = s.p;
    let largest = matches!(p.objective, Objective::Interval | Objective::Memory);
    let sums = p.limits.latency.is_some() || p.limits.energy.is_some();
    largest && !sums && !p.reuse && s.members.len() == 1
}

/// A best plan, if there is one.
pub(super) fn plan(s: &Setting<'_, '_>) -> Option<Vec<Choice>> {
    let (p, n) = (s.p, s.p.units());
    // Share and mode of the run that begins at a unit and ends so many after the next.
    let mut runs: Vec<Vec<(f64, usize)>> = Vec::with_capacity(n);
    for i in 0..n {
        let best = |j: usize| {
            let memory = match p.objective {
                Objective::Memory => p.costs.memory(i..j, 0),
                _ => 0,
            };
            let share =
                |r: super::setting::Run| (p.objective.of_run(r.seconds, r.joules, memory), r.mode);
            let least = s.runs(i, j, 0).map(share).min_by(|a, b| a.0.total_cmp(&b.0));
            least.unwrap_or((f64::INFINITY, 0))
        };
        runs.push((i + 1..=s.reach[0][i]).map(best).collect());
    }
    let share =
        |t: Option<super::Transfer>| t.map_or(f64::INFINITY, |t| p.objective.of_transfer(t));
    let mut hops: Vec<f64> = (1..n).map(|cut| share(s.hop(cut, Some(0), 0))).collect();
    hops.push(share(s.out(0)));
    let first = share(s.hop(0, None, 0));
    let mut values: Vec<f64> = runs.iter().flatten().map(|r| r.0).chain(hops.clone()).collect();
    values.push(first);
    values.retain(|v| v.is_finite());
    values.sort_unstable_by(f64::total_cmp);
    values.dedup();
    // For every cut, the fewest stages to it and where the last one begins.
    let within = |value: f64| {
        let mut fewest = vec![(usize::MAX, 0); n + 1];
        if first <= value {
            fewest[0].0 = 0;
        }
        for (i, runs) in runs.iter().enumerate() {
            let (stages, _) = fewest[i];
            if stages == usize::MAX {
                continue;
            }
            for (after, &(share, _)) in runs.iter().enumerate() {
                let j = i + 1 + after;
                if share <= value && hops[j - 1] <= value && stages + 1 < fewest[j].0 {
                    fewest[j] = (stages + 1, i);
                }
            }
        }
        (fewest[n].0 <= s.stages()).then_some(fewest)
    };
    let at = values.partition_point(|&v| within(v).is_none());
    let fewest = within(*values.get(at)?)?;
    let mut choices = Vec::new();
    let mut j = n;
    while j > 0 {
        let i = fewest[j].1;
        choices.push(Choice { units: i..j, device: 0, mode: runs[i][j - i - 1].1 });
        j = i;
    }
    choices.reverse();
    for (at, c) in choices.iter_mut().enumerate() {
        c.device = s.members[0][at];
    }
    Some(choices)
}
