//! Units that are dead, constant, or a linear combination of others, on all samples seen.
//!
//! The triangle R of X = Q·R is kept, not the Gram matrix XᵀX: a Gram matrix squares the condition, so
//! that pivots below 1e-8 would drown in its rounding. R follows each batch by Householder reflections
//! of [R; X] (Golub & Van Loan, "Matrix Computations", §5.2 and §6.5.3).

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};

use super::normal::{Error, check_len};

/// Rows that are folded into R at once.
const CHUNK: usize = 256;
/// Columns whose reflections are applied to the others together.
const PANEL: usize = 32;

/// The triangle R of all samples, with a first column of ones.
#[derive(Clone, Debug)]
pub struct Factor {
    /// (units + 1) × (units + 1), upper triangular.
    r: Mat<f64>,
    samples: u64,
}

/// A unit that is constant + Σ coefficient × other units.
#[derive(Clone, Debug, PartialEq)]
pub struct Dependency {
    /// The unit.
    pub unit: usize,
    /// Units that are no dependencies themselves, ascending, and their coefficients. Empty if the unit is
    /// constant.
    pub on: Vec<(usize, f64)>,
    /// The constant; 0 together with an empty `on` if the unit is dead.
    pub constant: f64,
    /// What is left of the unit's norm over all samples, as a share of it; 0 if the unit is dead.
    pub relative_pivot: f64,
}

impl Factor {
    /// No samples yet, of `units` values each.
    pub fn new(units: usize) -> Self {
        Self { r: Mat::zeros(units + 1, units + 1), samples: 0 }
    }

    /// Samples that were added.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Adds samples: `x` is rows × units, row-major. Takes 2 · rows · units² operations.
    ///
    /// Fails, with nothing added, if the shape does not fit or a value is not finite.
    pub fn add(&mut self, x: &[f32]) -> Result<(), Error> {
        let units = self.r.ncols() - 1;
        let rows = x.len().checked_div(units).unwrap_or(0);
        check_len("x", rows * units, x.len())?;
        if !x.iter().all(|v| v.is_finite()) {
            return Err(Error::NotFinite("x"));
        }
        for chunk in x.chunks(CHUNK * units.max(1)) {
            let rows = chunk.len() / units;
            self.fold(Mat::from_fn(rows, units + 1, |r, c| {
                if c == 0 { 1.0 } else { f64::from(chunk[r * units + c - 1]) }
            }));
        }
        self.samples += rows as u64;
        Ok(())
    }

    /// Units that are dead, constant or dependent: those of which less than `tolerance` (such as 1e-6) of
    /// their norm is left after a constant and the independent units are subtracted. Ascending.
    ///
    /// Units are chosen as independent by the largest share of their norm that is left, the first of
    /// equal ones: QR with column pivoting (Businger & Golub 1965) on columns of norm 1, after the column
    /// of ones. A coefficient is left out if its term is below `tolerance` / units of the unit's norm.
    ///
    /// Fails if there are not more samples than units + 1: fewer are always dependent.
    pub fn dependent(&self, tolerance: f64) -> Result<Vec<Dependency>, Error> {
        let columns = self.r.ncols();
        if self.samples <= columns as u64 {
            return Err(Error::Samples { columns, found: self.samples });
        }
        let n = columns - 1;
        let norms: Vec<f64> = (1..=n).map(|c| self.r.col(c).norm_l2()).collect();
        let scale = |u: usize| if norms[u] > 0.0 { 1.0 / norms[u] } else { 0.0 };
        // What is left of each unit, without its mean.
        let mut left = Mat::from_fn(n, n, |i, u| self.r[(i + 1, u + 1)] * scale(u));
        let mut chosen: Vec<usize> = Vec::new();
        let mut steps = Vec::new();
        let mut free = vec![true; n];
        let mut shares;
        loop {
            shares = (0..n).map(|u| left.col(u).norm_l2()).collect::<Vec<f64>>();
            let open = (0..n).filter(|&u| free[u] && shares[u] > tolerance);
            let Some(pivot) = open.reduce(|a, b| if shares[b] > shares[a] { b } else { a }) else {
                break;
            };
            let q = faer::Scale(1.0 / shares[pivot]) * left.col(pivot);
            let along = q.transpose() * &left;
            matmul(&mut left, Accum::Add, q.as_mat(), along.as_mat(), -1.0, Par::Seq);
            free[pivot] = false;
            chosen.push(pivot);
            steps.push(along);
        }
        let dependency = |unit: usize| {
            let mut coefficients = vec![0.0; chosen.len()];
            for i in (0..chosen.len()).rev() {
                let known: f64 =
                    (i + 1..chosen.len()).map(|j| steps[i][chosen[j]] * coefficients[j]).sum();
                coefficients[i] = (steps[i][unit] - known) / steps[i][chosen[i]];
            }
            let mut on: Vec<_> = chosen
                .iter()
                .zip(coefficients)
                .filter(|(_, c)| c.abs() * n as f64 > tolerance)
                .map(|(&u, c)| (u, c * norms[unit] * scale(u)))
                .collect();
            on.sort_by_key(|&(u, _)| u);
            let means: f64 = on.iter().map(|&(u, c)| c * self.r[(0, u + 1)]).sum();
            let constant = (self.r[(0, unit + 1)] - means) / self.r[(0, 0)];
            Dependency { unit, on, constant, relative_pivot: shares[unit] }
        };
        Ok((0..n).filter(|&u| free[u]).map(dependency).collect())
    }

    /// R of [R; x]. A reflection of column c touches row c of R and all of x.
    fn fold(&mut self, mut x: Mat<f64>) {
        let n = self.r.ncols();
        for start in (0..n).step_by(PANEL) {
            let k = PANEL.min(n - start);
            // Q = I − V·T·Vᵀ with V = [I; x of the panel], as in LAPACK's dlarft.
            let mut t = Mat::<f64>::zeros(k, k);
            for i in 0..k {
                let c = start + i;
                let pivot = self.r[(c, c)];
                let below = x.col(c).squared_norm_l2();
                if below == 0.0 {
                    continue;
                }
                let norm = pivot.hypot(below.sqrt());
                let new = if pivot > 0.0 { -norm } else { norm };
                let tau = (new - pivot) / new;
                self.r[(c, c)] = new;
                let by = 1.0 / (pivot - new);
                x.col_mut(c).iter_mut().for_each(|v| *v *= by);
                for j in c + 1..start + k {
                    let (v, to) = x.two_cols_mut(c, j);
                    let dot = tau * (self.r[(c, j)] + v.as_ref().transpose() * to.as_ref());
                    self.r[(c, j)] -= dot;
                    to.iter_mut().zip(v.iter()).for_each(|(t, v)| *t -= dot * v);
                }
                let dots = x.subcols(start, i).transpose() * x.col(c);
                t[(i, i)] = tau;
                for row in 0..i {
                    let sum: f64 = (row..i).map(|j| t[(row, j)] * dots[j]).sum();
                    t[(row, i)] = -tau * sum;
                }
            }
            let after = n - start - k;
            let (left, mut rest) = x.as_mut().split_at_col_mut(start + k);
            let v = left.as_ref().subcols(start, k);
            let mut top = self.r.as_mut().submatrix_mut(start, start + k, k, after);
            let mut sums = top.as_ref().to_owned();
            matmul(&mut sums, Accum::Add, v.transpose(), rest.as_ref(), 1.0, Par::Seq);
            let moved = t.transpose() * &sums;
            top -= &moved;
            matmul(rest.as_mut(), Accum::Add, v, &moved, -1.0, Par::Seq);
        }
    }
}
