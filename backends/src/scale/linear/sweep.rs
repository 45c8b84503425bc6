//! The least-squares problem of one reader, for units that enter and leave.

use std::ops::Range;

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt;
use faer::linalg::matmul::matmul;
use faer::linalg::triangular_solve::{
    solve_lower_triangular_in_place, solve_upper_triangular_in_place,
};
use faer::{Accum, Mat, MatRef, Par};

use super::normal::{Error, Ridge, add_lower, check_indices, check_len, cholesky};
use super::select::Reader;

/// The Gram matrix H (with the ridge), swept on the columns K that are inside; R are those outside.
///
/// `a` holds −H_KK⁻¹, H_KK⁻¹·H_KR and the Schur complement H_RR − H_RK·H_KK⁻¹·H_KR. `v` holds the
/// solution W = H_KK⁻¹·B_K in K and B_R − H_RK·W in R, with B the right side of the normal equations,
/// all transposed. When a unit enters or leaves, both take one update of the rank of its columns: the
/// sweep operator (Goodnight 1979, "A Tutorial on the SWEEP Operator"), by blocks. Columns of a unit are
/// adjacent.
pub(super) struct Sweep<'a> {
    pub(super) reader: &'a Reader<'a>,
    pub(super) ridge: Ridge,
    /// Columns of the sums, in the order of `a`: the fixed ones, then unit by unit.
    order: Vec<usize>,
    /// Places of each unit's columns in `order`.
    spans: Vec<Range<usize>>,
    /// Only the lower triangle counts.
    a: Mat<f64>,
    /// Outputs × columns.
    v: Mat<f64>,
}

/// What a unit that entered would change, without the sweep itself.
pub(super) struct Entered {
    /// `a` falls by z·zᵀ.
    z: Mat<f64>,
    /// `v` after the unit entered.
    v: Mat<f64>,
}

impl<'a> Sweep<'a> {
    /// Not computed yet: the caller must call [`rebuild`](Self::rebuild).
    pub(super) fn new(reader: &'a Reader<'a>, units: usize, ridge: f64) -> Result<Self, Error> {
        check_len("units of a reader", units, reader.units.len())?;
        if !(reader.weight.is_finite() && reader.weight >= 0.0) {
            return Err(Error::Negative("a reader's weight"));
        }
        let mut order = reader.fixed.clone();
        let mut spans = Vec::with_capacity(units);
        for unit in &reader.units {
            spans.push(order.len()..order.len() + unit.len());
            order.extend(unit);
        }
        check_indices("column", order.iter().copied(), reader.normal.width())?;
        let ridge = reader.normal.ridge(&order, ridge, reader.prior)?;
        let (n, outputs) = (order.len(), reader.normal.outputs());
        let (a, v) = (Mat::zeros(n, n), Mat::zeros(outputs, n));
        Ok(Self { reader, ridge, order, spans, a, v })
    }

    /// Computes everything from the sums.
    pub(super) fn rebuild(&mut self, inside: &[bool]) -> Result<(), Error> {
        let normal = self.reader.normal;
        let mut is_in = vec![true; self.order.len()];
        for (span, _) in self.spans.iter().zip(inside).filter(|(_, inside)| !**inside) {
            is_in[span.clone()].fill(false);
        }
        let (kept, rest): (Vec<_>, Vec<_>) = (0..is_in.len()).partition(|&i| is_in[i]);
        let columns = |places: &[usize]| places.iter().map(|&i| self.order[i]).collect::<Vec<_>>();
        let (kept_columns, rest_columns) = (columns(&kept), columns(&rest));
        let lower = |l: MatRef<'_, f64>, to: &mut Mat<f64>| {
            solve_lower_triangular_in_place(l, to.as_mut(), Par::Seq);
        };
        let upper = |l: MatRef<'_, f64>, to: &mut Mat<f64>| {
            solve_upper_triangular_in_place(l.transpose(), to.as_mut(), Par::Seq);
        };

        let mut l = normal.block(&kept_columns, &kept_columns);
        kept_columns.iter().enumerate().for_each(|(i, &c)| l[(i, i)] += self.ridge[c]);
        cholesky(l.as_mut())?;
        let mut w = normal.right_side(&kept_columns, &self.ridge, self.reader.prior);
        lower(l.as_ref(), &mut w);
        upper(l.as_ref(), &mut w);
        let mut cross = normal.block(&kept_columns, &rest_columns);
        let mut gradient = normal.right_side(&rest_columns, &self.ridge, self.reader.prior);
        matmul(&mut gradient, Accum::Add, cross.transpose(), &w, -1.0, Par::Seq);
        scatter(&mut self.v, &kept, &w);
        scatter(&mut self.v, &rest, &gradient);

        lower(l.as_ref(), &mut cross);
        let mut schur = normal.block(&rest_columns, &rest_columns);
        rest_columns.iter().enumerate().for_each(|(i, &c)| schur[(i, i)] += self.ridge[c]);
        add_lower(schur.as_mut(), cross.transpose(), -1.0);
        upper(l.as_ref(), &mut cross);
        let mut inverse = Mat::zeros(kept.len(), kept.len());
        let mut memory = MemBuffer::new(llt::inverse::inverse_scratch::<f64>(kept.len(), Par::Seq));
        let stack = MemStack::new(&mut memory);
        llt::inverse::inverse(inverse.as_mut(), l.as_ref(), Par::Seq, stack);
        for (j, &to) in kept.iter().enumerate() {
            (j..kept.len()).for_each(|i| self.a[(kept[i], to)] = -inverse[(i, j)]);
            for (i, &r) in rest.iter().enumerate() {
                self.a[(r.max(to), r.min(to))] = cross[(j, i)];
            }
        }
        for (j, &to) in rest.iter().enumerate() {
            (j..rest.len()).for_each(|i| self.a[(rest[i], to)] = schur[(i, j)]);
        }
        Ok(())
    }

    /// The weights inside, row-major, in the order of the fixed columns and then the units.
    #[cfg(test)]
    pub(super) fn weights(&self, inside: &[bool]) -> Vec<f64> {
        let units = self.spans.iter().zip(inside).filter(|(_, inside)| **inside);
        let places = (0..self.reader.fixed.len()).chain(units.flat_map(|(s, _)| s.clone()));
        places.flat_map(|p| self.v.col(p).iter().copied().collect::<Vec<_>>()).collect()
    }

    /// Lets a unit enter or leave; by how much the loss changes.
    pub(super) fn toggle(&mut self, unit: usize, enters: bool) -> Result<f64, Error> {
        let span = self.spans[unit].clone();
        let (start, k) = (span.start, span.len());
        if k == 0 {
            return Ok(0.0);
        }
        let sign = if enters { 1.0 } else { -1.0 };
        let (l, mut z, mut q) = self.factor(unit, sign)?;
        add_lower(self.a.as_mut(), z.as_ref(), -sign);
        matmul(&mut self.v, Accum::Add, &q, z.transpose(), -sign, Par::Seq);
        let change = -sign * q.squared_norm_l2();

        solve_upper_triangular_in_place(l.transpose(), q.transpose_mut(), Par::Seq);
        self.v.as_mut().subcols_mut(start, k).copy_from(&q);
        solve_upper_triangular_in_place(l.transpose(), z.transpose_mut(), Par::Seq);
        let n = self.order.len();
        self.a
            .as_mut()
            .submatrix_mut(start, 0, k, start)
            .copy_from(z.subrows(0, start).transpose());
        let after = n - span.end;
        self.a
            .as_mut()
            .submatrix_mut(span.end, start, after, k)
            .copy_from(z.subrows(span.end, after));
        let mut inverse = Mat::<f64>::identity(k, k);
        solve_lower_triangular_in_place(l.as_ref(), inverse.as_mut(), Par::Seq);
        solve_upper_triangular_in_place(l.transpose(), inverse.as_mut(), Par::Seq);
        inverse *= faer::Scale(-sign);
        self.a.as_mut().submatrix_mut(start, start, k, k).copy_from(&inverse);
        Ok(change)
    }

    /// What would change if the unit entered.
    pub(super) fn entered(&self, unit: usize) -> Result<Entered, Error> {
        let (_, z, q) = self.factor(unit, 1.0)?;
        let mut v = self.v.clone();
        matmul(&mut v, Accum::Add, &q, z.transpose(), -1.0, Par::Seq);
        Ok(Entered { z, v })
    }

    /// L of sign · A_JJ = L·Lᵀ, with J the unit's columns; A_:J·L⁻ᵀ, columns × J; and V_J·L⁻ᵀ, outputs × J.
    fn factor(&self, unit: usize, sign: f64) -> Result<(Mat<f64>, Mat<f64>, Mat<f64>), Error> {
        let span = self.spans[unit].clone();
        let (start, k, n) = (span.start, span.len(), self.order.len());
        let mut z = Mat::zeros(n, k);
        z.as_mut()
            .subrows_mut(0, start)
            .copy_from(self.a.submatrix(start, 0, k, start).transpose());
        z.as_mut().subrows_mut(start, n - start).copy_from(self.a.submatrix(
            start,
            start,
            n - start,
            k,
        ));
        for j in 1..k {
            (0..j).for_each(|i| z[(start + i, j)] = z[(start + j, i)]);
        }
        let mut l = Mat::from_fn(k, k, |i, j| sign * z[(start + i, j)]);
        cholesky(l.as_mut())?;
        let mut q = self.v.subcols(start, k).to_owned();
        solve_lower_triangular_in_place(l.as_ref(), z.transpose_mut(), Par::Seq);
        solve_lower_triangular_in_place(l.as_ref(), q.transpose_mut(), Par::Seq);
        Ok((l, z, q))
    }

    /// tr(V_Jᵀ [±A_JJ]⁻¹ V_J) of the unit's columns J: by how much the loss falls if it enters, or rises
    /// if it leaves. None if rounding made the block indefinite.
    pub(super) fn change(&self, unit: usize, enters: bool, after: Option<&Entered>) -> Option<f64> {
        let span = self.spans[unit].clone();
        let (start, k) = (span.start, span.len());
        let sign = if enters { 1.0 } else { -1.0 };
        let v = after.map_or(&self.v, |a| &a.v);
        let mut l = vec![0.0; k * k];
        let mut solved: Vec<f64> = Vec::with_capacity(k * v.nrows());
        let mut total = 0.0;
        for i in 0..k {
            for j in 0..=i {
                let mut sum = sign * self.a[(start + i, start + j)];
                if let Some(Entered { z, .. }) = after {
                    let fall: f64 =
                        (0..z.ncols()).map(|c| z[(start + i, c)] * z[(start + j, c)]).sum();
                    sum -= sign * fall;
                }
                (0..j).for_each(|c| sum -= l[i * k + c] * l[j * k + c]);
                if i != j {
                    l[i * k + j] = sum / l[j * k + j];
                } else if sum > 0.0 {
                    l[i * k + i] = sum.sqrt();
                } else {
                    return None;
                }
            }
            let mut row: Vec<f64> = v.col(start + i).iter().copied().collect();
            for (j, before) in solved.chunks_exact(v.nrows().max(1)).enumerate() {
                let by = l[i * k + j];
                row.iter_mut().zip(before).for_each(|(r, b)| *r -= by * b);
            }
            let by = 1.0 / l[i * k + i];
            row.iter_mut().for_each(|r| *r *= by);
            total += row.iter().map(|r| r * r).sum::<f64>();
            solved.extend(&row);
        }
        Some(total)
    }
}

/// Puts rows of `from` into the columns `places`.
fn scatter(to: &mut Mat<f64>, places: &[usize], from: &Mat<f64>) {
    for (i, &place) in places.iter().enumerate() {
        to.as_mut().col_mut(place).copy_from(from.row(i).transpose());
    }
}
