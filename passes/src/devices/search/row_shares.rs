//! Shares of rows for devices that work side by side, so that the last one finishes as early as
//! possible.
//!
//! Greedy: each row goes to the device that would finish it first. Faster devices get more rows,
//! badly linked ones fewer or none, and all that have rows finish at about the same time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Rows assigned to devices.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RowShares {
    /// Rows of each device.
    pub rows: Vec<usize>,
    /// Seconds until the last device finishes. No other assignment is faster.
    pub seconds: f64,
}

/// Assigns `rows` to `devices`. `seconds(device, rows)` is the time until the device has received,
/// computed and returned that many rows (at least one), halo included, or `None` if they do not
/// fit. It must not decrease with more rows, and `None` must stay `None`.
///
/// The greedy assignment is optimal: in a better one some device would have fewer rows, hence
/// another one more, and the row that greed gave to the first would finish earlier there.
///
/// # Errors
/// The number of rows that fit, if not all do.
pub(crate) fn share_rows(
    rows: usize,
    devices: usize,
    seconds: impl Fn(usize, usize) -> Option<f64>,
) -> Result<RowShares, usize> {
    let mut taken = vec![0; devices];
    let mut queue = BinaryHeap::new();
    // Seconds are not negative, so that their bit patterns are in the same order.
    let bid = |d: usize, rows: usize| seconds(d, rows).map(|s| Reverse((s.to_bits(), d)));
    queue.extend((0..devices).filter_map(|d| bid(d, 1)));
    let mut last = 0.0f64;
    for placed in 0..rows {
        let Some(Reverse((bits, d))) = queue.pop() else { return Err(placed) };
        last = last.max(f64::from_bits(bits));
        taken[d] += 1;
        queue.extend(bid(d, taken[d] + 1));
    }
    Ok(RowShares { rows: taken, seconds: last })
}

#[cfg(test)]
mod tests {
    use super::super::tests::random_cases;
    use super::share_rows;
    use proptest::prelude::*;

    /// Earliest finish over all assignments, by enumeration.
    fn least(rows: usize, tables: &[Vec<Option<f64>>]) -> f64 {
        let Some((table, others)) = tables.split_first() else {
            return if rows == 0 { 0.0 } else { f64::INFINITY };
        };
        let with = |mine: usize| {
            let own = if mine == 0 { Some(0.0) } else { table[mine - 1] };
            own.map_or(f64::INFINITY, |s| s.max(least(rows - mine, others)))
        };
        (0..=rows).map(with).fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn shares_are_the_best_of_all() {
        random_cases(400, |t| {
            let (rows, devices) = (1 + t.below(8), 1 + t.below(4));
            let mut tables = Vec::new();
            for _ in 0..devices {
                let mut at = t.below(12);
                let fit = t.below(12);
                let mut row = |r| {
                    at += t.below(6);
                    (r < fit).then_some(at as f64 / 2.0)
                };
                tables.push((0..rows + 1).map(&mut row).collect::<Vec<_>>());
            }
            let want = least(rows, &tables);
            match share_rows(rows, devices, |d, r| tables[d][r - 1]) {
                Ok(found) => {
                    prop_assert_eq!(found.seconds, want);
                    prop_assert_eq!(found.rows.iter().sum::<usize>(), rows);
                }
                Err(fit) => {
                    prop_assert!(want.is_infinite());
                    let all = tables.iter().map(|t| t.iter().flatten().count()).sum::<usize>();
                    prop_assert_eq!(fit, all);
                }
            }
            Ok(())
        });
    }

    #[test]
    fn devices_finish_together() {
        // One device is twice as fast as two others, and one is behind a link so slow that it gets
        // nothing.
        let rate = [1.0, 2.0, 2.0, 1.0];
        let found = share_rows(100, 4, |d, rows| {
            Some(rate[d] * rows as f64 + if d == 3 { 500.0 } else { 0.0 })
        });
        let found = found.unwrap();
        assert_eq!((found.rows, found.seconds), (vec![50, 25, 25, 0], 50.0));
    }
}
