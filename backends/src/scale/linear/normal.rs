//! The sums of a least-squares problem, and its solution for any choice of columns.
//!
//! A reader is a linear layer y = Wᵀ·x. Pruning keeps some of its columns and fits the rest again, so
//! that its outputs stay near what they were: the reconstruction criterion of Luo et al. 2017
//! ("ThiNet") and He et al. 2017 ("Channel Pruning for Accelerating Very Deep Neural Networks").

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt;
use faer::linalg::matmul::matmul;
use faer::linalg::triangular_solve::{
    solve_lower_triangular_in_place, solve_upper_triangular_in_place,
};
use faer::{Accum, Mat, MatMut, MatRef, Par};

/// Rows that are widened to `f64` and added at once.
const CHUNK: usize = 512;
/// Columns of a triangle that are updated at once.
const PANEL: usize = 256;
/// A squared pivot below this share of its diagonal counts as rank deficient.
const PIVOT: f64 = 1e-10;
/// What is added to the diagonal, as a share of it, until no pivot is too small.
const GROWTH: [f64; 6] = [0.0, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5];

/// Why sums could not be taken or solved.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Error {
    /// A slice or list has the wrong length.
    #[error("{what}: expected {expected} values, found {found}")]
    Shape {
        /// Which argument.
        what: &'static str,
        /// The length it must have.
        expected: usize,
        /// The length it has.
        found: usize,
    },
    /// A value is NaN or infinite.
    #[error("{0} must be finite; a value is NaN or infinite")]
    NotFinite(&'static str),
    /// A column or unit does not exist, or is named twice.
    #[error("{what} {index} is named twice, or is not below {count}")]
    Index {
        /// A column or a unit.
        what: &'static str,
        /// The one that was named.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// No selection of this size can be made, or a candidate has a size that was not asked for.
    #[error("{0} units: no such size was asked for, or there are fewer units")]
    Size(usize),
    /// The ridge or a weight is negative or not finite.
    #[error("{0} must be finite and not negative")]
    Negative(&'static str),
    /// More samples are needed to tell dependence from chance.
    #[error("{found} samples are too few for {columns} columns; add samples until there are more")]
    Samples {
        /// Columns, with the one of ones.
        columns: usize,
        /// Samples that were added.
        found: u64,
    },
    /// The Gram matrix is too ill-conditioned even after its diagonal was raised by 1e-5 of itself.
    #[error("the sums are too ill-conditioned to solve; use a larger ridge")]
    Singular,
}

/// Sums over samples of x·xᵀ, x·yᵀ and y², in `f64`.
///
/// x has `columns` values, and a last one that is 1 if there is a bias. Memory is that of two matrices:
/// width × width and width × outputs. The same batches in the same order give the same bits on the same
/// kind of processor: one thread adds, but faer chooses its SIMD instructions by processor.
#[derive(Clone, Debug)]
pub struct Normal {
    columns: usize,
    bias: bool,
    /// Σ x·xᵀ; only the lower triangle is filled.
    gram: Mat<f64>,
    /// Σ x·yᵀ, width × outputs.
    cross: Mat<f64>,
    /// Σ y, per output.
    sums: Vec<f64>,
    squares: f64,
    samples: u64,
}

/// A refitted reader.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Kept columns × outputs, row-major, in the order in which columns were named.
    pub weights: Vec<f64>,
    /// Σ‖y − Wᵀx‖² over the samples, never below 0.
    pub residual: f64,
    /// The residual plus what the ridge charges, over all columns: those left out are charged for
    /// the distance of 0 to the prior.
    pub loss: f64,
}

/// What is added to the diagonal of the Gram matrix, per column of a [`Normal`].
pub(super) type Ridge = Vec<f64>;

impl Normal {
    /// Empty sums for samples of `columns` inputs and `outputs` outputs. With `bias`, a column of ones
    /// is added after the others.
    pub fn new(columns: usize, outputs: usize, bias: bool) -> Self {
        let width = columns + usize::from(bias);
        Self {
            columns,
            bias,
            gram: Mat::zeros(width, width),
            cross: Mat::zeros(width, outputs),
            sums: vec![0.0; outputs],
            squares: 0.0,
            samples: 0,
        }
    }

    /// Σ x² of a column.
    pub fn energy(&self, column: usize) -> f64 {
        self.gram[(column, column)]
    }

    /// Columns, with that of the bias.
    pub fn width(&self) -> usize {
        self.gram.nrows()
    }

    /// Outputs of the reader.
    pub fn outputs(&self) -> usize {
        self.sums.len()
    }

    /// The column of ones, if there is one. It must be among the kept ones to be fitted.
    pub fn bias(&self) -> Option<usize> {
        self.bias.then_some(self.columns)
    }

    /// Samples that were added.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Σ‖y‖².
    pub fn squares(&self) -> f64 {
        self.squares
    }

    /// Σ‖y − ȳ‖², with ȳ the mean of each output: what a bias alone leaves. Never below 0.
    pub fn spread(&self) -> f64 {
        let means: f64 = self.sums.iter().map(|s| s * s).sum();
        (self.squares - means / (self.samples.max(1) as f64)).max(0.0)
    }

    /// Adds samples: `x` is rows × columns without the ones, `y` is rows × outputs, both row-major.
    ///
    /// Fails, with nothing added, if a shape does not fit or a value is not finite.
    pub fn add(&mut self, x: &[f32], y: &[f32]) -> Result<(), Error> {
        let (columns, outputs) = (self.columns, self.outputs());
        let rows = y.len().checked_div(outputs).unwrap_or(x.len() / columns.max(1));
        check_len("x", rows * columns, x.len())?;
        check_len("y", rows * outputs, y.len())?;
        for (what, values) in [("x", x), ("y", y)] {
            if !values.iter().all(|v| v.is_finite()) {
                return Err(Error::NotFinite(what));
            }
        }
        let width = self.width();
        for start in (0..rows).step_by(CHUNK) {
            let n = CHUNK.min(rows - start);
            let a = Mat::from_fn(width, n, |c, r| {
                if c < columns { f64::from(x[(start + r) * columns + c]) } else { 1.0 }
            });
            let b = Mat::from_fn(outputs, n, |c, r| f64::from(y[(start + r) * outputs + c]));
            add_lower(self.gram.as_mut(), a.as_ref(), 1.0);
            matmul(&mut self.cross, Accum::Add, &a, b.transpose(), 1.0, Par::Seq);
            for r in 0..n {
                for (sum, v) in self.sums.iter_mut().zip(b.col(r).iter()) {
                    *sum += v;
                    self.squares += v * v;
                }
            }
        }
        self.samples += rows as u64;
        Ok(())
    }

    /// Adds the sums of other samples of the same reader. Fails if widths or outputs differ.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        check_len("columns to merge", self.columns, other.columns)?;
        check_len("width to merge", self.width(), other.width())?;
        check_len("outputs to merge", self.outputs(), other.outputs())?;
        self.gram += &other.gram;
        self.cross += &other.cross;
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
        self.squares += other.squares;
        self.samples += other.samples;
        Ok(())
    }

    /// λ for a relative ridge: `ridge` × the mean of the Gram's diagonal over `columns`, the bias left
    /// out.
    pub fn lambda(&self, columns: &[usize], ridge: f64) -> f64 {
        let (mut sum, mut count) = (0.0, 0usize);
        for &c in columns.iter().filter(|&&c| Some(c) != self.bias()) {
            sum += self.gram[(c, c)];
            count += 1;
        }
        ridge * sum / count.max(1) as f64
    }

    /// Fits the columns `keep` (the bias is one of them, at [`bias`](Self::bias)) to the outputs: the W
    /// of least ‖Y − XW‖² + λ‖W − W₀‖², with λ from `ridge` as in [`lambda`](Self::lambda) and W₀ the
    /// `prior`, width × outputs, row-major, or 0.
    ///
    /// The normal equations are solved by Cholesky. Where a pivot falls below 1e-10 of its diagonal
    /// (dead or dependent columns), the diagonal is raised by 1e-9 of itself, then by ten times more,
    /// up to 1e-5; this pulls towards the prior too. Dead columns get the prior.
    ///
    /// Fails if a column is unknown or named twice, the prior has the wrong shape, something is not
    /// finite, or [`Error::Singular`].
    pub fn solve(&self, keep: &[usize], ridge: f64, prior: Option<&[f64]>) -> Result<Fit, Error> {
        let ridge = self.ridge(keep, ridge, prior)?;
        self.solve_with(keep, &ridge, prior)
    }

    /// Σ‖y − Wᵀx‖² of given weights, kept columns × outputs, row-major; never below 0. It comes from the
    /// sums, so that it is exact to about 1e-14 of Σ‖y‖². Fails if a shape or column is wrong.
    pub fn residual_of(&self, keep: &[usize], weights: &[f64]) -> Result<f64, Error> {
        self.check(keep)?;
        check_len("weights", keep.len() * self.outputs(), weights.len())?;
        let w = MatRef::from_row_major_slice(weights, keep.len(), self.outputs());
        let mut gradient = Mat::zeros(keep.len(), self.outputs());
        matmul(&mut gradient, Accum::Replace, &self.block(keep, keep), w, 1.0, Par::Seq);
        let mut total = self.squares;
        for o in 0..self.outputs() {
            for (i, &c) in keep.iter().enumerate() {
                total += w[(i, o)] * (gradient[(i, o)] - 2.0 * self.cross[(c, o)]);
            }
        }
        if total.is_finite() { Ok(total.max(0.0)) } else { Err(Error::NotFinite("weights")) }
    }

    /// The diagonal to add so that the columns can be solved, all checked.
    pub(super) fn ridge(
        &self,
        columns: &[usize],
        ridge: f64,
        prior: Option<&[f64]>,
    ) -> Result<Ridge, Error> {
        self.check(columns)?;
        if !(ridge.is_finite() && ridge >= 0.0) {
            return Err(Error::Negative("the ridge"));
        }
        if let Some(prior) = prior {
            check_len("prior", self.width() * self.outputs(), prior.len())?;
            if !prior.iter().all(|v| v.is_finite()) {
                return Err(Error::NotFinite("the prior"));
            }
        }
        let lambda = self.lambda(columns, ridge);
        // A dead column has nothing to take a share of.
        let floor = match self.lambda(columns, 1e-9) {
            floor if floor > 0.0 => floor,
            _ => 1.0,
        };
        for growth in GROWTH {
            let mut extra = vec![0.0; self.width()];
            for &c in columns {
                let own = if Some(c) == self.bias() { 0.0 } else { lambda };
                let diagonal = self.gram[(c, c)] + own;
                extra[c] = if diagonal > 0.0 { own + growth * diagonal } else { floor };
            }
            if self.factor(columns, &extra).is_ok() {
                return Ok(extra);
            }
        }
        Err(Error::Singular)
    }

    /// The Cholesky factor of the kept Gram plus the ridge, in the lower triangle.
    fn factor(&self, keep: &[usize], ridge: &Ridge) -> Result<Mat<f64>, Error> {
        let mut l = self.block(keep, keep);
        keep.iter().enumerate().for_each(|(i, &c)| l[(i, i)] += ridge[c]);
        let diagonal: Vec<f64> = (0..keep.len()).map(|i| l[(i, i)]).collect();
        cholesky(l.as_mut())?;
        let enough = |(i, d): (usize, &f64)| l[(i, i)] * l[(i, i)] >= PIVOT * d;
        if diagonal.iter().enumerate().all(enough) { Ok(l) } else { Err(Error::Singular) }
    }

    /// The fit for a given addition to the diagonal.
    pub(super) fn solve_with(
        &self,
        keep: &[usize],
        ridge: &Ridge,
        prior: Option<&[f64]>,
    ) -> Result<Fit, Error> {
        let outputs = self.outputs();
        let l = self.factor(keep, ridge)?;
        let mut w = self.right_side(keep, ridge, prior);
        solve_lower_triangular_in_place(l.as_ref(), w.as_mut(), Par::Seq);
        solve_upper_triangular_in_place(l.transpose(), w.as_mut(), Par::Seq);
        let weights: Vec<f64> =
            (0..keep.len()).flat_map(|i| w.row(i).iter().copied().collect::<Vec<_>>()).collect();
        let residual = self.residual_of(keep, &weights)?;
        let mut place = vec![None; self.width()];
        keep.iter().enumerate().for_each(|(i, &c)| place[c] = Some(i));
        let mut loss = residual;
        for (c, &r) in ridge.iter().enumerate().filter(|&(_, &r)| r > 0.0) {
            for o in 0..outputs {
                let now = place[c].map_or(0.0, |i| weights[i * outputs + o]);
                let before = prior.map_or(0.0, |p| p[c * outputs + o]);
                loss += r * (now - before) * (now - before);
            }
        }
        Ok(Fit { weights, residual, loss })
    }

    /// Σ x·yᵀ plus the ridge's share of the prior, for the named columns.
    pub(super) fn right_side(
        &self,
        columns: &[usize],
        ridge: &Ridge,
        prior: Option<&[f64]>,
    ) -> Mat<f64> {
        let outputs = self.outputs();
        Mat::from_fn(columns.len(), outputs, |i, o| {
            let c = columns[i];
            self.cross[(c, o)] + prior.map_or(0.0, |p| ridge[c] * p[c * outputs + o])
        })
    }

    /// A block of the Gram matrix.
    pub(super) fn block(&self, rows: &[usize], columns: &[usize]) -> Mat<f64> {
        Mat::from_fn(rows.len(), columns.len(), |i, j| {
            let (r, c) = (rows[i], columns[j]);
            self.gram[(r.max(c), r.min(c))]
        })
    }

    /// That columns exist, and each is named once.
    pub(super) fn check(&self, columns: &[usize]) -> Result<(), Error> {
        check_indices("column", columns.iter().copied(), self.width())
    }
}

/// That all are below `count`, and each is named once.
pub(super) fn check_indices(
    what: &'static str,
    indices: impl IntoIterator<Item = usize>,
    count: usize,
) -> Result<(), Error> {
    let mut seen = vec![false; count];
    for index in indices {
        if index >= count || std::mem::replace(&mut seen[index], true) {
            return Err(Error::Index { what, index, count });
        }
    }
    Ok(())
}

pub(super) fn check_len(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Shape { what, expected, found }) }
}

/// Adds `factor` · a·aᵀ to the lower triangle (and to the upper one within panels).
pub(super) fn add_lower(mut to: MatMut<'_, f64>, a: MatRef<'_, f64>, factor: f64) {
    let n = a.nrows();
    for start in (0..n).step_by(PANEL) {
        let width = PANEL.min(n - start);
        matmul(
            to.as_mut().submatrix_mut(start, start, n - start, width),
            Accum::Add,
            a.subrows(start, n - start),
            a.subrows(start, width).transpose(),
            factor,
            Par::Seq,
        );
    }
}

/// Replaces the lower triangle by its Cholesky factor, and the upper one by zeros.
pub(super) fn cholesky(mut a: MatMut<'_, f64>) -> Result<(), Error> {
    let n = a.nrows();
    let scratch = llt::factor::cholesky_in_place_scratch::<f64>(n, Par::Seq, Default::default());
    let mut memory = MemBuffer::new(scratch);
    llt::factor::cholesky_in_place(
        a.as_mut(),
        Default::default(),
        Par::Seq,
        MemStack::new(&mut memory),
        Default::default(),
    )
    .map_err(|_| Error::Singular)?;
    for j in 1..n {
        a.as_mut().col_mut(j).subrows_mut(0, j).fill(0.0);
    }
    Ok(())
}
