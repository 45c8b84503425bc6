//! Storage of elements that several tensors may share: whole, as views, and as parts that are
//! written one by one.
//!
//! # Safety
//! All of the unsafe code that sharing needs is here. A [`Block`] is reached through raw pointers
//! only, so that parts of it can be read while others are written. Shared references exist only to
//! the elements of one [`Elements`], or to single runs of them; mutable ones only to runs of one
//! that may be written: either nobody else holds the block, or it was made by
//! [`Elements::target`], whose caller promises that nothing else reads it while it is written.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;

/// Elements in memory, never moved.
struct Block<T> {
    at: *mut T,
    len: usize,
    capacity: usize,
}

// SAFETY: it owns its elements; who may touch which of them is argued above.
unsafe impl<T: Send + Sync> Send for Block<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Block<T> {}

impl<T> From<Vec<T>> for Block<T> {
    fn from(v: Vec<T>) -> Self {
        let mut v = ManuallyDrop::new(v);
        Self { at: v.as_mut_ptr(), len: v.len(), capacity: v.capacity() }
    }
}

impl<T> Drop for Block<T> {
    fn drop(&mut self) {
        // SAFETY: these are the parts of the vector that it was made of.
        drop(unsafe { Vec::from_raw_parts(self.at, self.len, self.capacity) });
    }
}

/// The elements of one tensor: a whole block, a range of one, or a strided part.
pub(crate) struct Elements<T> {
    block: Arc<Block<T>>,
    start: usize,
    /// From the first to the last element, those between that do not belong to it included.
    hull: usize,
    /// Distances along the axes, unless the elements lie side by side.
    strides: Option<Box<[usize]>>,
    target: bool,
}

impl<T> Clone for Elements<T> {
    fn clone(&self) -> Self {
        let strides = self.strides.clone();
        Self { block: self.block.clone(), strides, target: false, ..*self }
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Elements<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} elements from {} on", self.hull, self.start)
    }
}

impl<T> From<Vec<T>> for Elements<T> {
    fn from(v: Vec<T>) -> Self {
        let hull = v.len();
        Self { block: Arc::new(v.into()), start: 0, hull, strides: None, target: false }
    }
}

impl<T> FromIterator<T> for Elements<T> {
    fn from_iter<I: IntoIterator<Item = T>>(i: I) -> Self {
        i.into_iter().collect::<Vec<T>>().into()
    }
}

impl<T> Deref for Elements<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        assert!(self.strides.is_none(), "elements that do not lie side by side");
        // SAFETY: the range lies in the block, and nothing writes to it meanwhile.
        unsafe { std::slice::from_raw_parts(self.block.at.add(self.start), self.hull) }
    }
}

impl<T> Elements<T> {
    /// The elements, if nobody else holds them.
    pub fn unshared(&mut self) -> Option<&mut [T]> {
        let whole = self.strides.is_none() && self.hull == self.block.len;
        let block = Arc::get_mut(&mut self.block).filter(|_| whole)?;
        // SAFETY: nobody else holds the block.
        Some(unsafe { std::slice::from_raw_parts_mut(block.at, block.len) })
    }

    /// Whether these are all elements of a block that nobody else holds.
    pub fn is_alone(&mut self) -> bool {
        self.unshared().is_some()
    }

    /// Whether results may be written here.
    pub fn is_target(&self) -> bool {
        self.target
    }

    pub fn is_contiguous(&self) -> bool {
        self.strides.is_none()
    }

    /// Distances along the axes of these extents.
    pub fn strides(&self, dims: &[usize]) -> Vec<usize> {
        match &self.strides {
            Some(s) => s.to_vec(),
            None => super::cx::strides(dims),
        }
    }

    /// Whether both are the same elements.
    pub fn stands_at(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.block, &other.block)
            && (self.start, self.hull, &self.strides) == (other.start, other.hull, &other.strides)
    }

    /// The elements from `offset` on at these distances, which must lie within these, each once,
    /// in ascending order.
    pub fn part(&self, dims: &[usize], offset: usize, strides: &[usize]) -> Self {
        let empty = dims.contains(&0);
        let (mut span, mut dense) = (1, true);
        for (&n, &s) in dims.iter().zip(strides).rev().filter(|(n, _)| **n != 1) {
            assert!(empty || s >= span, "elements that overlap");
            dense &= s == span;
            span += s * n.saturating_sub(1);
        }
        // What has no elements stands anywhere.
        let (hull, offset) = if empty { (0, 0) } else { (span, offset) };
        assert!(offset + hull <= self.hull, "a part that is not inside");
        // Nothing is walked along an axis of one element, so that views agree there.
        let stride = |(&n, &s): (&usize, &usize)| if n == 1 { 0 } else { s };
        let strides = (!dense && hull > 0).then(|| dims.iter().zip(strides).map(stride).collect());
        let start = self.start + offset;
        Self { block: self.block.clone(), start, hull, strides, target: false }
    }

    /// These elements of these extents, to be written by a node that reads `operands`: any of
    /// them that `may_stand_here`, and is not to be read then, may stand in the same place; all
    /// else must lie elsewhere, or the result is `None`.
    ///
    /// # Safety
    /// While the result is written through, these elements are read through nothing else but
    /// itself: `operands` are all that is read meanwhile, and no other target of the block that
    /// overlaps it is in use.
    pub unsafe fn target<'a>(
        self,
        dims: &[usize],
        operands: impl Iterator<Item = (&'a Self, &'a [usize], bool)>,
    ) -> Option<Self>
    where
        T: 'a,
    {
        for (o, extents, may_stand_here) in operands {
            if (o.stands_at(&self) && may_stand_here) || !o.overlaps(extents, &self, dims) {
                continue;
            }
            return None;
        }
        Some(Self { target: true, ..self })
    }

    fn overlaps(&self, dims: &[usize], other: &Self, extents: &[usize]) -> bool {
        let apart = |a: (usize, usize), b: (usize, usize)| a.1 <= b.0 || b.1 <= a.0;
        let hull = |e: &Self| (e.start, e.start + e.hull);
        if !Arc::ptr_eq(&self.block, &other.block) || apart(hull(self), hull(other)) {
            return false;
        }
        // Both lists of runs ascend.
        let (a, b) = (self.runs(dims), other.runs(extents));
        let (mut i, mut j) = (0, 0);
        while i < a.len() && j < b.len() {
            if !apart(a[i], b[j]) {
                return true;
            }
            if a[i].1 <= b[j].1 { i += 1 } else { j += 1 }
        }
        false
    }

    /// Ranges of the block.
    fn runs(&self, dims: &[usize]) -> Vec<(usize, usize)> {
        let s: Vec<isize> = self.strides(dims).into_iter().map(|s| s as isize).collect();
        let mut all = vec![];
        walk(dims, [&s, &s], true, |[at, _], len, _| {
            let at = self.start + at as usize;
            all.push((at, at + len));
        });
        all
    }

    /// Whether this may be written, as nobody else can see it or as it is the target.
    fn may_write(&mut self) -> bool {
        self.target || Arc::get_mut(&mut self.block).is_some()
    }

    /// Calls `f(run of these, run of the others)` for runs along the last axes; a run of the
    /// others has one element where that axis is repeated. `steps` are distances of the others
    /// along these axes.
    pub fn combine<U>(
        &mut self,
        dims: &[usize],
        other: &Elements<U>,
        steps: &[usize],
        mut f: impl FnMut(&mut [T], &[U]),
    ) {
        assert!(self.may_write(), "elements that others see");
        let signed = |s: &[usize]| s.iter().map(|&s| s as isize).collect::<Vec<_>>();
        let (s, t) = (signed(&self.strides(dims)), signed(steps));
        walk(dims, [&s, &t], true, |[a, b], len, [sa, sb]| {
            let (a, b) = (a as usize, b as usize);
            assert!(sa == 1 || len == 1, "runs that do not lie side by side");
            assert!(sb == 0 || sb == 1 || len == 1);
            let n = if sb == 0 { 1 } else { len };
            assert!(a + len <= self.hull && b + n <= other.hull);
            // SAFETY: both runs lie within their blocks. This one may be written, and overlaps no
            // other.
            unsafe {
                let x = std::slice::from_raw_parts_mut(self.block.at.add(self.start + a), len);
                f(x, std::slice::from_raw_parts(other.block.at.add(other.start + b), n));
            }
        });
    }

    /// Calls `f` for runs of the elements.
    pub fn each(&mut self, dims: &[usize], mut f: impl FnMut(&mut [T])) {
        let nothing = Elements::from(vec![()]);
        self.combine(dims, &nothing, &vec![0; dims.len()], |run, _| f(run));
    }

    /// Copies the elements at `offset + sum(index * step)` of the others.
    pub fn gather(&mut self, dims: &[usize], from: &Self, step: &[isize], offset: usize)
    where
        T: Clone,
    {
        let s: Vec<isize> = self.strides(dims).into_iter().map(|s| s as isize).collect();
        self.copy(dims, (&s, 0), from, (step, offset));
    }

    /// Copies the others to the elements at `offset + sum(index * step)`.
    pub fn scatter(&mut self, dims: &[usize], to: (&[isize], usize), from: &Self, step: &[isize])
    where
        T: Clone,
    {
        self.copy(dims, to, from, (step, 0));
    }

    fn copy(
        &mut self,
        dims: &[usize],
        (s, to): (&[isize], usize),
        from: &Self,
        (t, at): (&[isize], usize),
    ) where
        T: Clone,
    {
        assert!(self.may_write(), "elements that others see");
        walk(dims, [s, t], false, |[a, b], len, [sa, sb]| {
            let (a, b) = (to as isize + a, at as isize + b);
            let n = len as isize - 1;
            let inside = |at: isize, step: isize, hull: usize| {
                at.min(at + n * step) >= 0 && (at.max(at + n * step) as usize) < hull
            };
            assert!(inside(a, sa, self.hull) && inside(b, sb, from.hull));
            // SAFETY: checked; what is written may be, and is not what is read.
            unsafe {
                let to = self.block.at.add(self.start).offset(a);
                let from = from.block.at.add(from.start).offset(b);
                if sa == 1 && sb == 1 {
                    let from = std::slice::from_raw_parts(from, len);
                    return std::slice::from_raw_parts_mut(to, len).clone_from_slice(from);
                }
                for i in 0..len as isize {
                    (&mut *to.offset(i * sa)).clone_from(&*from.offset(i * sb));
                }
            }
        });
    }

    /// As planes of rows, to be read.
    pub fn lines(&self, dims: &[usize]) -> Lines<'_, T> {
        let shape = Shape::new(dims, &self.strides(dims));
        // SAFETY: the hull lies in the block.
        Lines { at: unsafe { self.block.at.add(self.start) }, shape, of: PhantomData }
    }

    /// As planes of rows, to be written.
    pub fn lines_mut(&mut self, dims: &[usize]) -> LinesMut<'_, T> {
        assert!(self.may_write(), "elements that others see");
        let shape = Shape::new(dims, &self.strides(dims));
        // SAFETY: the hull lies in the block.
        let at = unsafe { self.block.at.add(self.start) };
        LinesMut { at, shape, first: 0, end: shape.planes(), of: PhantomData }
    }
}

/// Calls `f(run of a, run of b)` for runs along the last axes, as [`Elements::combine`] does with
/// what is only read; a run has one element where its axis is repeated.
pub(crate) fn pairs<T, U>(
    dims: &[usize],
    (a, sa): (&Elements<T>, &[usize]),
    (b, sb): (&Elements<U>, &[usize]),
    mut f: impl FnMut(&[T], &[U]),
) {
    let signed = |s: &[usize]| s.iter().map(|&s| s as isize).collect::<Vec<_>>();
    walk(dims, [&signed(sa), &signed(sb)], true, |[i, j], len, [s, t]| {
        let n = |s: isize| if s == 0 { 1 } else { len };
        let repeats = if s == 0 && t == 0 { len } else { 1 };
        assert!((0..=1).contains(&s) && (0..=1).contains(&t) || len == 1);
        let (i, j) = (i as usize, j as usize);
        assert!(i + n(s) <= a.hull && j + n(t) <= b.hull);
        // SAFETY: both runs lie within their elements, which nothing writes to meanwhile.
        let (x, y) = unsafe {
            (
                std::slice::from_raw_parts(a.block.at.add(a.start + i), n(s)),
                std::slice::from_raw_parts(b.block.at.add(b.start + j), n(t)),
            )
        };
        (0..repeats).for_each(|_| f(x, y));
    });
}

/// Calls `f(offsets, length, steps)` for runs along the last axes, which count as one where both
/// sides walk them alike; offsets ascend with the first steps. If `even`, elements of a run lie side
/// by side or are the same.
fn walk(
    dims: &[usize],
    steps: [&[isize]; 2],
    even: bool,
    mut f: impl FnMut([isize; 2], usize, [isize; 2]),
) {
    if dims.contains(&0) {
        return;
    }
    let mut axes: Vec<(usize, [isize; 2])> = vec![];
    for (i, &n) in dims.iter().enumerate().filter(|(_, n)| **n != 1) {
        let s = [steps[0][i], steps[1][i]];
        match axes.last_mut() {
            Some((m, t)) if *t == s.map(|s| s * n as isize) => (*m, *t) = (*m * n, s),
            _ => axes.push((n, s)),
        }
    }
    let apart = |(_, s): &(usize, [isize; 2])| s.iter().any(|s| !(0..=1).contains(s));
    let single = axes.is_empty() || even && axes.last().is_some_and(apart);
    let (len, inner) = if single { (1, [1, 0]) } else { axes.pop().unwrap_or_default() };
    let mut index = vec![0; axes.len()];
    let mut at = [0, 0];
    loop {
        f(at, len, inner);
        let mut i = axes.len();
        loop {
            if i == 0 {
                return;
            }
            i -= 1;
            let (n, s) = axes[i];
            index[i] += 1;
            (at[0], at[1]) = (at[0] + s[0], at[1] + s[1]);
            if index[i] < n {
                break;
            }
            (at[0], at[1]) = (at[0] - s[0] * n as isize, at[1] - s[1] * n as isize);
            index[i] = 0;
        }
    }
}

/// Batch and channels, which make planes; depth and height, which make rows; width.
#[derive(Clone, Copy, Debug)]
struct Shape {
    dims: [usize; 5],
    strides: [usize; 4],
}

impl Shape {
    /// The last axes of more than two are spatial.
    fn new(dims: &[usize], strides: &[usize]) -> Self {
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
    /// Of a whole tensor.
    pub fn of(v: &'a [T], dims: &[usize]) -> Self {
        assert_eq!(dims.iter().product::<usize>(), v.len());
        Self { at: v.as_ptr(), shape: Shape::new(dims, &super::cx::strides(dims)), of: PhantomData }
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

/// Elements by planes and rows, some planes of which may be written.
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
    /// Of a whole tensor.
    pub fn of(v: &'a mut [T], dims: &[usize]) -> Self {
        assert_eq!(dims.iter().product::<usize>(), v.len());
        let shape = Shape::new(dims, &super::cx::strides(dims));
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
            row: self.shape.strides[1],
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
    /// Distance of rows.
    pub row: usize,
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
            row: columns,
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

    /// Where the element stands. Whoever writes there must have that part for itself.
    #[inline]
    pub fn element(&self, i: usize, j: usize) -> *mut T {
        assert!(i < self.rows && j < self.columns);
        let (r, x) = (j / self.run, j % self.run);
        let at = i * self.row + r / self.runs * self.steps[0] + r % self.runs * self.steps[1] + x;
        // SAFETY: it is an element of the tensor that this was made from.
        unsafe { self.at.add(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_while_others_are_written() {
        let whole = Elements::from((0..24).collect::<Vec<i64>>());
        let (dims, strides) = ([2, 2, 3], [12, 6, 1]);
        let left = whole.part(&dims, 0, &strides);
        let right = whole.part(&dims, 3, &strides);
        let of = [(&left, &dims[..], false)];
        let mut right = right.target(&dims, of.into_iter()).unwrap();
        right.gather(&dims, &left, &[12, 6, 1], 0);
        assert_eq!(whole[..12], [0, 1, 2, 0, 1, 2, 6, 7, 8, 6, 7, 8]);
        let mut lines = right.lines_mut(&dims);
        assert_eq!(lines.line(3, 0), [18, 19, 20]);
        // Overlapping by one column.
        let middle = whole.part(&dims, 2, &strides);
        let of = |may| [(&left, &dims[..], may)].into_iter();
        assert!(middle.clone().target(&dims, of(true)).is_none());
        assert!(left.clone().target(&dims, of(false)).is_none());
        assert!(left.clone().target(&dims, of(true)).is_some());
    }

    #[test]
    #[should_panic(expected = "not inside")]
    fn parts_stay_inside() {
        Elements::from(vec![0; 4]).part(&[2, 2], 1, &[2, 1]);
    }

    #[test]
    fn parts_without_elements_lie_anywhere() {
        let all = Elements::from(vec![0; 4]);
        for (dims, strides) in [([2, 0], [0, 1]), ([0, 2], [2, 1]), ([4, 0], [1, 1])] {
            let part = all.part(&dims, 9, &strides);
            assert_eq!(part.len(), 0);
            assert!(part.runs(&dims).is_empty());
        }
    }

    #[test]
    fn rows_of_a_matrix_lie_in_runs() {
        let all = Elements::from(vec![0; 2 * 3 * 5]);
        let mut whole = all.part(&[1, 2, 3, 2], 0, &[30, 15, 5, 1]);
        drop(all);
        let mut lines = whole.lines_mut(&[1, 2, 3, 2]);
        let m = lines.matrix(0, 2);
        let base = m.element(0, 0);
        // SAFETY: of one block.
        let at = |i, j| unsafe { m.element(i, j).offset_from(base) };
        assert_eq!([at(0, 1), at(0, 2), at(0, 5), at(1, 0), at(1, 3)], [1, 5, 11, 15, 21]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of a matrix of 4 by 6, column 1 to 4 of rows 1 and 2.
    fn part(of: &Elements<u32>) -> Elements<u32> {
        of.part(&[2, 3], 7, &[6, 1])
    }

    fn counting() -> Elements<u32> {
        (0..24).collect()
    }

    fn read(e: &Elements<u32>, dims: &[usize]) -> Vec<u32> {
        let mut out = Elements::from(vec![0; dims.iter().product()]);
        let steps: Vec<isize> = e.strides(dims).into_iter().map(|s| s as isize).collect();
        out.gather(dims, e, &steps, 0);
        out.to_vec()
    }

    #[test]
    fn parts_are_where_they_are() {
        let whole = counting();
        let p = part(&whole);
        assert!(!p.is_contiguous() && p.stands_at(&part(&whole)));
        assert_eq!(read(&p, &[2, 3]), [7, 8, 9, 13, 14, 15]);
        let row = whole.part(&[6], 12, &[1]);
        assert_eq!(&*row, [12, 13, 14, 15, 16, 17]);
        let lines = p.lines(&[2, 3]);
        assert_eq!((lines.line(0, 0), lines.line(0, 1)), (&[7, 8, 9][..], &[13, 14, 15][..]));
    }

    /// Parts are written while others of the same block are read.
    #[test]
    fn targets_are_written_beside_what_is_read() {
        let whole = counting();
        let (from, to) = (whole.part(&[2, 3], 9, &[6, 1]), whole.part(&[2, 3], 6, &[6, 1]));
        // SAFETY: the one target, and what is read is named.
        let made = unsafe { to.clone().target(&[2, 3], [(&from, &[2, 3][..], false)].into_iter()) };
        let mut target = made.unwrap();
        target.combine(&[2, 3], &from, &[6, 1], |x, y| {
            x.iter_mut().zip(y).for_each(|(x, y)| *x = 100 + y);
        });
        assert_eq!(read(&to, &[2, 3]), [109, 110, 111, 115, 116, 117]);
        assert_eq!(read(&from, &[2, 3]), [9, 10, 11, 15, 16, 17]);
        // SAFETY: as above; nothing is written.
        let overlapping = unsafe {
            to.clone().target(&[2, 3], [(&part(&whole), &[2, 3][..], false)].into_iter())
        };
        assert!(overlapping.is_none());
        // SAFETY: in place, and nothing else is read.
        let mut same =
            unsafe { to.clone().target(&[2, 3], [(&to, &[2, 3][..], true)].into_iter()) }.unwrap();
        same.each(&[2, 3], |run| run.fill(1));
        assert_eq!(read(&to, &[2, 3]), [1; 6]);
        let mut lines = same.lines_mut(&[2, 3]);
        lines.line(0, 1).fill(2);
        assert_eq!(read(&to, &[2, 3]), [1, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn what_others_see_is_not_written() {
        let mut whole = counting();
        assert!(whole.unshared().is_some());
        let other = whole.clone();
        assert!(whole.unshared().is_none());
        let write = std::panic::AssertUnwindSafe(|| whole.clone().each(&[24], |run| run.fill(0)));
        assert!(std::panic::catch_unwind(write).is_err());
        assert_eq!(other[23], 23);
    }

    #[test]
    fn elements_are_gathered_and_scattered() {
        let from = counting();
        let mut out = Elements::from(vec![0; 6]);
        // Backwards, every second one.
        out.gather(&[6], &from, &[-2], 11);
        assert_eq!(&*out, [11, 9, 7, 5, 3, 1]);
        let mut back = Elements::from(vec![0; 24]);
        back.scatter(&[6], (&[4], 2), &out, &[1]);
        assert_eq!((back[2], back[6], back[22], back[3]), (11, 9, 1, 0));
    }
}
