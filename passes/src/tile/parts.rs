//! Where to cut an axis.

use graph_opt_ir::Span;
use graph_opt_ir::region::Barrier;

/// Why an axis cannot be cut into these parts.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartsError {
    /// The axis has fewer elements than parts.
    #[error("{extent} elements make no {parts} parts")]
    TooMany {
        /// Elements of the axis.
        extent: i64,
        /// The number of parts.
        parts: i64,
    },
    /// The axis can be cut only between units of several elements, and has fewer units than parts.
    #[error("{extent} elements in units of {align} make no {parts} parts")]
    TooManyUnits {
        /// Elements of the axis.
        extent: i64,
        /// Elements of a unit.
        align: i64,
        /// The number of parts.
        parts: i64,
    },
    /// With parts of equal size, rounded up, nothing is left for the last one.
    #[error("{extent} elements make no {parts} parts of {size}")]
    NothingLeft {
        /// Elements of the axis.
        extent: i64,
        /// The number of parts.
        parts: i64,
        /// Elements of each part but the last.
        size: i64,
    },
    /// The sizes of the parts are not those of the axis together.
    #[error("sizes {sizes:?} do not add up to {extent}")]
    Sizes {
        /// Elements of the axis.
        extent: i64,
        /// Elements of each part.
        sizes: Vec<i64>,
    },
}

impl From<PartsError> for Barrier {
    fn from(e: PartsError) -> Self {
        Self(e.to_string())
    }
}

/// `n` elements in `parts` parts whose sizes differ by at most one unit of `align` elements; the
/// first ones are the longer ones. With `inside`, units may be cut where there are more parts than
/// units.
///
/// # Errors
/// If there are more parts than units.
pub fn even(n: i64, parts: i64, align: i64, inside: bool) -> Result<Vec<Span>, PartsError> {
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
        1 => PartsError::TooMany { extent: n, parts },
        _ => PartsError::TooManyUnits { extent: n, align, parts },
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

/// `n` elements in `parts` parts of `n / parts` rounded up, but for a shorter last one.
///
/// # Errors
/// If nothing would be left for the last part.
pub fn ceil(n: i64, parts: i64) -> Result<Vec<Span>, PartsError> {
    let size = (n + parts - 1) / parts;
    if n <= size * (parts - 1) {
        return Err(PartsError::NothingLeft { extent: n, parts, size });
    }
    Ok((0..parts).map(|i| Span::new(i * size, n.min((i + 1) * size))).collect())
}

/// `n` elements in parts that are to each other as the weights are, as nearly as whole numbers
/// allow; each has at least one.
///
/// # Errors
/// If there are more parts than elements.
pub fn weighted(n: i64, weights: &[i64]) -> Result<Vec<Span>, PartsError> {
    let total: i128 = weights.iter().map(|&w| i128::from(w)).sum();
    let parts = weights.len() as i64;
    if parts > n {
        return Err(PartsError::TooMany { extent: n, parts });
    }
    let (mut at, mut sum) = (0, 0i128);
    let mut all = Vec::new();
    for (i, &w) in weights.iter().enumerate() {
        sum += i128::from(w);
        let ideal = ((2 * i128::from(n) * sum + total) / (2 * total)) as i64;
        let end = ideal.clamp(at + 1, n - (parts - 1 - i as i64));
        all.push(Span::new(at, end));
        at = end;
    }
    Ok(all)
}

/// Parts of these sizes.
///
/// # Errors
/// If they do not add up to `n`.
pub fn of_sizes(n: i64, sizes: &[i64]) -> Result<Vec<Span>, PartsError> {
    let total = sizes.iter().try_fold(0i64, |a, &b| a.checked_add(b));
    if total != Some(n) {
        return Err(PartsError::Sizes { extent: n, sizes: sizes.to_vec() });
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
    fn the_last_part_may_be_shorter_and_weights_may_differ() {
        assert_eq!(sizes(&ceil(38, 5).unwrap()), [8, 8, 8, 8, 6]);
        assert!(ceil(6, 5).is_err());
        assert_eq!(sizes(&weighted(10, &[1, 3]).unwrap()), [3, 7]);
        assert_eq!(sizes(&weighted(3, &[100, 1, 1]).unwrap()), [1, 1, 1]);
        assert!(weighted(1, &[1, 1]).is_err());
    }

    #[test]
    fn sizes_must_add_up() {
        assert_eq!(of_sizes(8, &[3, 3, 2]).unwrap()[2], Span::new(6, 8));
        assert!(of_sizes(8, &[3, 3]).is_err());
    }
}
