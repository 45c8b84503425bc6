//! Where to cut an axis.

use graph_opt_ir::Span;

/// `n` elements in `parts` parts whose sizes differ by at most one unit of `align` elements; the
/// first ones are the longer ones. With `inside`, units may be cut where there are more parts than
/// units.
///
/// # Errors
/// If there are more parts than units.
pub fn even(n: i64, parts: i64, align: i64, inside: bool) -> Result<Vec<Span>, String> {
    let units = n / align;
    if parts <= units && n % align == 0 {
        return Ok(spans(&spread(units, parts), align));
    }
    if inside && parts <= n && n % align == 0 && units > 0 {
        let sizes: Vec<i64> =
            spread(parts, units).into_iter().flat_map(|p| spread(align, p)).collect();
        if sizes.iter().all(|&s| s > 0) {
            return Ok(spans(&sizes, 1));
        }
    }
    Err(match align {
        1 => format!("{n} elements make no {parts} parts"),
        _ => format!("{n} elements in units of {align} make no {parts} parts"),
    })
}

/// `n` in `parts` summands: the first `n % parts` one larger.
fn spread(n: i64, parts: i64) -> Vec<i64> {
    (0..parts).map(|i| n / parts + i64::from(i < n % parts)).collect()
}

fn spans(sizes: &[i64], unit: i64) -> Vec<Span> {
    let mut at = 0;
    sizes
        .iter()
        .map(|s| {
            let lo = at;
            at += s * unit;
            Span::new(lo, at)
        })
        .collect()
}

/// Parts of these sizes.
///
/// # Errors
/// If they do not add up to `n`.
pub fn of_sizes(n: i64, sizes: &[i64]) -> Result<Vec<Span>, String> {
    let total = sizes.iter().try_fold(0i64, |a, &b| a.checked_add(b));
    if total != Some(n) {
        return Err(format!("sizes {sizes:?} do not add up to {n}"));
    }
    Ok(spans(sizes, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(s: &[Span]) -> Vec<i64> {
        s.iter().map(|s| s.len()).collect()
    }

    #[test]
    fn remainders_are_spread() {
        assert_eq!(sizes(&even(65, 4, 1, false).unwrap()), [17, 16, 16, 16]);
        assert_eq!(sizes(&even(9, 3, 3, false).unwrap()), [3, 3, 3]);
        assert_eq!(sizes(&even(6, 4, 3, true).unwrap()), [2, 1, 2, 1]);
        assert!(even(3, 4, 1, false).is_err());
        assert!(even(6, 4, 3, false).is_err());
    }

    #[test]
    fn sizes_must_add_up() {
        assert_eq!(of_sizes(8, &[3, 3, 2]).unwrap()[2], Span::new(6, 8));
        assert!(of_sizes(8, &[3, 3]).is_err());
    }
}
