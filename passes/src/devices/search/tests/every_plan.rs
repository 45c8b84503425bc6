//! All plans of a problem, by enumeration from the definition: what planners are checked against.

use super::Case;
use crate::devices::*;

/// A plan of the first units.
#[derive(Clone)]
struct Prefix {
    unit: usize,
    last: Option<usize>,
    held: Vec<Option<u64>>,
    modes: Vec<Option<usize>>,
    stages: usize,
    totals: [f64; 4],
    busy: [f64; 2],
}

/// Calls `take` with the totals of every plan: latency, interval, energy and memory.
pub fn every_plan(c: &Case, take: &mut dyn FnMut([f64; 4])) {
    let start = Prefix {
        unit: 0,
        last: c.ends[0],
        held: vec![None; c.devices.len()],
        modes: vec![None; c.devices.len()],
        stages: 0,
        totals: [0.0; 4],
        busy: [0.0; 2],
    };
    extend(c, &start, take);
}

/// Seconds and joules of a transfer, if there is a link or none is needed.
fn link(c: &Case, cut: usize, from: Option<usize>, to: Option<usize>) -> Option<(f64, f64)> {
    let (Some(a), Some(b)) = (from, to) else { return Some((0.0, 0.0)) };
    if a == b || c.cuts[cut] == 0 {
        return Some((0.0, 0.0));
    }
    let l = c.links[a * c.devices.len() + b]?;
    let plain = Form { bytes: c.cuts[cut], seconds: 0.0 };
    let mut best = (f64::INFINITY, 0.0);
    for f in [plain].iter().chain(c.forms.get(cut).into_iter().flatten()) {
        let flow = f.bytes as f64 * 8.0 / l.bandwidth;
        if f.seconds + flow < best.0 {
            best = (f.seconds + flow, flow * l.watts);
        }
    }
    Some((l.latency + best.0, best.1))
}

/// Seconds that each medium carries after one more transfer.
fn carried(c: &Case, at: &Prefix, to: Option<usize>, seconds: f64) -> [f64; 2] {
    let mut busy = at.busy;
    if let (Some(a), Some(b)) = (at.last, to)
        && let Some(Some(m)) = c.media.get(a * c.devices.len() + b)
    {
        busy[*m] += seconds;
    }
    busy
}

/// All plans that begin so.
fn extend(c: &Case, at: &Prefix, take: &mut dyn FnMut([f64; 4])) {
    let n = c.profile.units;
    if at.unit == n {
        finish(c, at, take);
        return;
    }
    for d in 0..c.devices.len() {
        if !c.reuse && at.held[d].is_some() {
            continue;
        }
        let Some((s, j)) = link(c, at.unit, at.last, Some(d)) else { continue };
        let busy = carried(c, at, Some(d), s);
        for end in at.unit + 1..=n {
            if c.pins[at.unit..end].iter().any(|p| p.is_some_and(|p| p != d))
                || end - at.unit > c.limits.run.unwrap_or(usize::MAX)
            {
                continue;
            }
            let held = at.held[d].unwrap_or(0) + c.profile.memory(at.unit..end, d);
            if held > c.devices[d].memory.min(c.limits.memory.unwrap_or(u64::MAX)) {
                continue;
            }
            for mode in 0..c.devices[d].modes {
                if c.limits.one_mode && at.modes[d].is_some_and(|m| m != mode) {
                    continue;
                }
                let Some(run) = c.profile.seconds(at.unit..end, d, mode) else { continue };
                let joules = c.profile.joules(at.unit..end, d, mode);
                let [l, i, e, m] = at.totals;
                let totals = [l + s + run, i.max(s).max(run), e + j + joules, m.max(held as f64)];
                let stages = at.stages + 1;
                let mut next =
                    Prefix { unit: end, last: Some(d), stages, totals, busy, ..at.clone() };
                next.held[d] = Some(held);
                next.modes[d] = Some(mode);
                extend(c, &next, take);
            }
        }
    }
}

/// The transfer to the sink, and the limits on totals.
fn finish(c: &Case, at: &Prefix, take: &mut dyn FnMut([f64; 4])) {
    let limit = |x: Option<f64>| x.unwrap_or(f64::INFINITY);
    let Some((s, j)) = link(c, c.profile.units, at.last, c.ends[1]) else { return };
    let [l, i, e, m] = at.totals;
    let busy = carried(c, at, c.ends[1], s);
    let totals = [l + s, i.max(s).max(busy[0]).max(busy[1]), e + j, m];
    let fits = totals[0] <= limit(c.limits.latency)
        && totals[1] <= limit(c.limits.interval)
        && totals[2] <= limit(c.limits.energy)
        && at.stages <= c.limits.stages.unwrap_or(usize::MAX);
    if fits {
        take(totals);
    }
}
