//! Elements by planes and rows, and as matrices.
#![allow(unsafe_code)] // See the folder's own text.

use std::marker::PhantomData;

/// Batch and channels, which make planes; depth and height, which make rows; width.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    dims: [usize; 5],
    strides: [usize; 4],
}

impl Shape {
    /// The last axes of more than two are spatial.
    pub(super) fn new(dims: &[usize], strides: &[usize]) -> Self {
        let r = dims.len();
        assert!(r <= 5, "{r} axes");
        let mut s = Self { dims: [1; 5], strides: [0; 4] };
        for i in 0..r {
            let to = if i < 2 { i } else { 5 - r + i };
            s.dims[to] = dims[i];
            match to {
                4 => assert!(strides[i] == 1 || dims[i] <= 1, "rows with gaps"),
                _ => s.strides[to] = strides[i],
            }
        }
        s
    }

    /// Whether the elements of a plane lie side by side.
    fn flat(&self) -> bool {
        let [_, _, d, h, w] = self.dims;
        (h == 1 || self.strides[3] == w) && (d == 1 || self.strides[2] == h * w)
    }

    fn planes(&self) -> usize {
        self.dims[0] * self.dims[1]
    }

    /// Offset of a row, and its length.
    #[inline(always)]
    fn line(&self, plane: usize, row: usize) -> (usize, usize) {
        let [n, c, d, h, w] = self.dims;
        let (b, c) = if n == 1 { (0, plane) } else { (plane / c, plane % c) };
        let (z, y) = if d == 1 { (0, row) } else { (row / h, row % h) };
        assert!(b < n && c < self.dims[1] && z < d && y < h, "no such row");
        let [sn, sc, sd, sh] = self.strides;
        (b * sn + c * sc + z * sd + y * sh, w)
    }

    /// With every plane as a single row.
    fn merged(&self) -> Option<Self> {
        let [n, c, d, h, w] = self.dims;
        self.flat().then_some(Self { dims: [n, c, 1, 1, d * h * w], ..*self })
    }
}

/// Elements by planes and rows.
pub(crate) struct Lines<'a, T> {
    at: *const T,
    shape: Shape,
    of: PhantomData<&'a [T]>,
}

impl<T> Clone for Lines<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Lines<'_, T> {}

// SAFETY: it only reads.
unsafe impl<T: Sync> Sync for Lines<'_, T> {}
// SAFETY: it only reads.
unsafe impl<T: Sync> Send for Lines<'_, T> {}

impl<'a, T> Lines<'a, T> {
    /// Elements of this shape, starting at `at` and readable for `'a`.
    pub(super) fn new(at: *const T, shape: Shape) -> Self {
        Self { at, shape, of: PhantomData }
    }

    /// Of a whole tensor.
    pub fn of(v: &'a [T], dims: &[usize]) -> Self {
        assert_eq!(dims.iter().product::<usize>(), v.len());
        Self {
            at: v.as_ptr(),
            shape: Shape::new(dims, &crate::cpu::cx::strides(dims)),
            of: PhantomData,
        }
    }

    /// A row of a plane, all planes and all rows of a plane counted through.
    #[inline(always)]
    pub fn line(&self, plane: usize, row: usize) -> &'a [T] {
        let (at, len) = self.shape.line(plane, row);
        // SAFETY: the row lies within the elements, which nothing writes to meanwhile.
        unsafe { std::slice::from_raw_parts(self.at.add(at), len) }
    }

    /// With every plane as a single row, if they lie so.
    pub fn merged(&self) -> Option<Self> {
        Some(Self { shape: self.shape.merged()?, ..*self })
    }
}

/// Elements by planes and rows; a range of the planes is writable.
pub(crate) struct LinesMut<'a, T> {
    at: *mut T,
    shape: Shape,
    first: usize,
    end: usize,
    of: PhantomData<&'a mut [T]>,
}

// SAFETY: two of them never share planes.
unsafe impl<T: Send> Send for LinesMut<'_, T> {}

impl<'a, T> LinesMut<'a, T> {
    /// Elements of this shape, starting at `at` and writable for `'a`.
    pub(super) fn new(at: *mut T, shape: Shape) -> Self {
        Self { at, shape, first: 0, end: shape.planes(), of: PhantomData }
    }

    /// Of a whole tensor.
    pub fn of(v: &'a mut [T], dims: &[usize]) -> Self {
        assert_eq!(dims.iter().product::<usize>(), v.len());
        let shape = Shape::new(dims, &crate::cpu::cx::strides(dims));
        Self { at: v.as_mut_ptr(), shape, first: 0, end: shape.planes(), of: PhantomData }
    }

    /// Planes that may be written, counted through all of them.
    pub fn planes(&self) -> std::ops::Range<usize> {
        self.first..self.end
    }

    /// Rows of a plane.
    pub fn rows(&self) -> usize {
        self.shape.dims[2] * self.shape.dims[3]
    }

    /// A row of a plane.
    #[inline(always)]
    pub fn line(&mut self, plane: usize, row: usize) -> &mut [T] {
        assert!((self.first..self.end).contains(&plane), "no such plane");
        let (at, len) = self.shape.line(plane, row);
        // SAFETY: the row lies within the elements, which are borrowed from here.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(at), len) }
    }

    /// With every plane as a single row, if they lie so.
    pub fn merged(self) -> Self {
        Self { shape: self.shape.merged().unwrap_or(self.shape), ..self }
    }

    /// The planes before this one, and the others.
    pub fn split(self, plane: usize) -> (Self, Self) {
        let at = plane.clamp(self.first, self.end);
        (Self { end: at, ..self }, Self { first: at, ..self })
    }

    /// These planes of one item of the batch as the rows of a matrix.
    pub fn matrix(&mut self, first: usize, rows: usize) -> Matrix<'_, T> {
        let [_, c, d, h, w] = self.shape.dims;
        assert!(first >= self.first && first + rows <= self.end && first % c + rows <= c);
        let flat = self.shape.flat();
        // SAFETY: the plane exists, or there are none to write to.
        let at =
            if rows == 0 { self.at } else { unsafe { self.at.add(self.shape.line(first, 0).0) } };
        Matrix {
            at,
            rows,
            columns: d * h * w,
            step: self.shape.strides[1],
            run: if flat { d * h * w } else { w },
            runs: h,
            steps: [self.shape.strides[2], self.shape.strides[3]],
            of: PhantomData,
        }
    }
}

/// A matrix whose rows may lie in several runs.
pub(crate) struct Matrix<'a, T> {
    at: *mut T,
    pub rows: usize,
    pub columns: usize,
    /// Distance in elements from one row to the next.
    pub step: usize,
    /// Columns side by side.
    run: usize,
    /// Runs of a depth, and the distances of depths and of runs.
    runs: usize,
    steps: [usize; 2],
    of: PhantomData<&'a mut [T]>,
}

// SAFETY: threads write disjoint parts of it.
unsafe impl<T: Send> Sync for Matrix<'_, T> {}

impl<'a, T> Matrix<'a, T> {
    /// Of rows that follow each other.
    pub fn of(v: &'a mut [T], columns: usize) -> Self {
        let rows = v.len().checked_div(columns).unwrap_or(0);
        let at = v.as_mut_ptr();
        Self {
            at,
            rows,
            columns,
            step: columns,
            run: columns,
            runs: 1,
            steps: [0; 2],
            of: PhantomData,
        }
    }

    /// Columns from `j` on that lie side by side.
    #[inline]
    pub fn run_from(&self, j: usize) -> usize {
        self.run - j % self.run
    }

    /// Where column `j` stands in each row.
    #[inline]
    pub fn column(&self, j: usize) -> usize {
        assert!(j < self.columns);
        let (r, x) = (j / self.run, j % self.run);
        r / self.runs * self.steps[0] + r % self.runs * self.steps[1] + x
    }

    /// Where a row begins. Whoever writes to its columns must have them for itself.
    #[inline]
    pub fn row(&self, i: usize) -> *mut T {
        assert!(i < self.rows);
        // SAFETY: it is a row of the tensor that this was made from.
        unsafe { self.at.add(i * self.step) }
    }
}
