//! A better order of a section, by all means there are.

use super::greedy::{Operands, depth_first, smallest_first};
use super::search::{SearchResult, beam, exact, least};
use super::section::Section;

/// Most nodes of a section that is searched as a whole.
const WHOLE: usize = 128;

/// Most nodes of a section whose closure is worked out, and that the beam runs over.
const LARGE: usize = 1024;

/// Most sets of one size that are followed.
const WIDTH: usize = 64;

/// Lengths of the windows around the peak that are searched.
const WINDOWS: [usize; 3] = [12, 24, 48];

/// Most sets that are looked at in one window.
const GLANCE: usize = 2000;

/// The orders that are made at once.
pub(super) fn simple(section: &Section) -> [Vec<usize>; 4] {
    [
        depth_first(section, Operands::First),
        depth_first(section, Operands::Largest),
        depth_first(section, Operands::Last),
        smallest_first(section),
    ]
}

/// A better order than the one that the nodes are in, or that one. The graph is divided where
/// every order passes; of its pieces only those are touched that set the peak.
pub(super) fn improve(whole: &Section, states: &mut usize) -> Vec<usize> {
    let order: Vec<usize> = (0..whole.len()).collect();
    let lives = whole.timeline(&order);
    let mut pieces = Vec::new();
    let mut from = 0;
    for to in whole.cuts(&order) {
        let peak = lives[from..to].iter().copied().max().unwrap_or(0);
        pieces.push((peak, from..to));
        from = to;
    }
    pieces.sort_by_key(|p| (std::cmp::Reverse(p.0), p.1.start));
    let mut enough = whole.live;
    let mut improved = order.clone();
    for (peak, range) in pieces {
        if peak <= enough {
            break;
        }
        let part = whole.part(&order[..range.start], &order[range.clone()]);
        let better = piece(&part, enough, states);
        enough = enough.max(part.peak(&better));
        for (i, n) in range.zip(better) {
            improved[i] = part.ids[n];
        }
    }
    improved
}

/// A better order of a piece; a peak of `enough` need not be improved.
fn piece(section: &Section, enough: u64, states: &mut usize) -> Vec<usize> {
    let mut best: Vec<usize> = (0..section.len()).collect();
    let mut peak = section.peak(&best);
    let enough = if section.len() <= LARGE { enough.max(least(section)) } else { enough };
    if section.len() <= WHOLE {
        let mut some = *states / 4;
        *states -= some;
        let found = exact(section, peak, enough, &mut some);
        *states += some;
        match found {
            SearchResult::Best(order) => return order,
            SearchResult::None => return best,
            SearchResult::Unknown => {}
        }
    }
    for order in simple(section) {
        let found = section.peak(&order);
        if found < peak {
            (best, peak) = (order, found);
        }
    }
    if section.len() <= LARGE {
        let width = (*states / 2 / section.len()).min(WIDTH);
        if width > 0 {
            *states -= width * section.len();
            best = beam(section, peak, enough, width).unwrap_or(best);
        }
    }
    windows(section, best, enough, states)
}

/// Searches stretches around the peak of an order, again and again, until that finds nothing.
fn windows(
    section: &Section,
    mut order: Vec<usize>,
    enough: u64,
    states: &mut usize,
) -> Vec<usize> {
    'again: while *states > 0 {
        let lives = section.timeline(&order);
        let peak = lives.iter().copied().max().unwrap_or(0);
        let at = lives.iter().position(|&l| l == peak).unwrap_or(0);
        if peak <= enough {
            break;
        }
        for length in WINDOWS {
            let from = at.saturating_sub(length / 2);
            let to = (from + length).min(order.len());
            // To divide a large section takes as long as to look at some sets.
            *states = states.saturating_sub(section.len() / 32);
            let part = section.part(&order[..from], &order[from..to]);
            let mut some = GLANCE.min(*states);
            *states -= some;
            let found = exact(&part, peak, enough, &mut some);
            *states += some;
            if let SearchResult::Best(better) = found {
                for (o, n) in order[from..to].iter_mut().zip(better) {
                    *o = part.ids[n];
                }
                continue 'again;
            }
        }
        break;
    }
    order
}
