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

mod lines;

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;

use lines::Shape;
pub(crate) use lines::{Lines, LinesMut, Matrix};

/// Elements in memory, never moved.
struct Block<T> {
    at: *mut T,
    len: usize,
    capacity: usize,
    /// Takes the vector in the end.
    gone: fn(Vec<T>),
}

// SAFETY: it owns its elements; who may touch which of them is argued above.
unsafe impl<T: Send + Sync> Send for Block<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Block<T> {}

impl<T> Block<T> {
    fn new(v: Vec<T>, gone: fn(Vec<T>)) -> Self {
        let mut v = ManuallyDrop::new(v);
        Self { at: v.as_mut_ptr(), len: v.len(), capacity: v.capacity(), gone }
    }
}

impl<T> Drop for Block<T> {
    fn drop(&mut self) {
        // SAFETY: these are the parts of the vector that it was made of.
        (self.gone)(unsafe { Vec::from_raw_parts(self.at, self.len, self.capacity) });
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
        Self::kept(v, drop)
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
    /// The elements of a vector, which goes to `gone` when nobody holds them any more.
    pub fn kept(v: Vec<T>, gone: fn(Vec<T>)) -> Self {
        let hull = v.len();
        Self { block: Arc::new(Block::new(v, gone)), start: 0, hull, strides: None, target: false }
    }

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
        Lines::new(unsafe { self.block.at.add(self.start) }, shape)
    }

    /// As planes of rows, to be written.
    pub fn lines_mut(&mut self, dims: &[usize]) -> LinesMut<'_, T> {
        assert!(self.may_write(), "elements that others see");
        let shape = Shape::new(dims, &self.strides(dims));
        // SAFETY: the hull lies in the block.
        let at = unsafe { self.block.at.add(self.start) };
        LinesMut::new(at, shape)
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

#[cfg(test)]
mod tests;
