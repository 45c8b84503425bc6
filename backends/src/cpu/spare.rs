//! Memory of vectors that are gone, for the next ones: small networks compute in less time than the system takes to
//! give pages and to take them back.
//!
//! What is kept and what is in use take together no more than what was in use at once: before other memory is asked
//! for, as much of what is kept goes back.

use std::cell::RefCell;
use std::thread::LocalKey;

use super::array::Element;

/// Vectors of fewer bytes are left to the allocator.
const SMALL: usize = 16 << 10;
/// Bytes that a thread keeps of each type.
const KEPT: usize = 64 << 20;

/// Vectors that a thread keeps, the oldest first.
pub(crate) struct Spare<T>(Vec<Vec<T>>);

impl<T> Spare<T> {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Gives the oldest vectors back until they have so many bytes; how many those have.
    fn free(&mut self, want: usize) -> usize {
        let mut freed = 0;
        let enough = self.0.iter().position(|v| {
            let enough = freed >= want;
            freed += if enough { 0 } else { bytes(v) };
            enough
        });
        self.0.drain(..enough.unwrap_or(self.0.len()));
        freed
    }
}

/// Where a thread keeps vectors of these elements.
pub(crate) type Kept<T> = &'static LocalKey<RefCell<Spare<T>>>;

thread_local! {
    /// What frees vectors of each type that this thread has kept; see [`Spare::free`].
    static TYPES: RefCell<Vec<fn(usize) -> usize>> = const { RefCell::new(Vec::new()) };
}

fn bytes<T>(v: &Vec<T>) -> usize {
    v.capacity() * size_of::<T>()
}

/// What a thread keeps of this type; `None` if it keeps nothing, or is about to end.
fn with<T: Element, R>(f: impl FnOnce(&mut Spare<T>) -> R) -> Option<R> {
    T::kept()?.try_with(|kept| Some(f(&mut *kept.try_borrow_mut().ok()?))).ok()?
}

fn free<T: Element>(want: usize) -> usize {
    with::<T, _>(|kept| kept.free(want)).unwrap_or(0)
}

/// A kept vector with a capacity of `n` elements, or up to a sixteenth more. If there is none, vectors of as many
/// bytes are freed, as the caller is about to allocate that many.
fn taken<T: Element>(n: usize) -> Option<Vec<T>> {
    let want = n.checked_mul(size_of::<T>()).filter(|&want| want >= SMALL)?;
    let fits = |v: &Vec<T>| v.capacity() >= n && bytes(v) - want <= want / 16;
    let find = |kept: &mut Spare<T>| {
        let all = &mut kept.0;
        let best = (0..all.len()).filter(|&i| fits(&all[i])).min_by_key(|&i| all[i].capacity())?;
        Some(all.remove(best))
    };
    let found = with(find)?;
    if found.is_none() {
        let types = TYPES.try_with(|types| types.borrow().clone()).unwrap_or_default();
        types.into_iter().fold(want, |want, free| want.saturating_sub(free(want)));
    }
    found
}

/// A vector of so many zeros (or what stands for them).
pub(crate) fn zeros<T: Element>(n: usize) -> Vec<T> {
    let Some(mut v) = taken::<T>(n) else { return vec![T::default(); n] };
    v.clear();
    v.resize(n, T::default());
    v
}

/// A vector of so many elements, which may have any values.
pub(crate) fn unset<T: Element>(n: usize) -> Vec<T> {
    let Some(mut v) = taken::<T>(n) else { return vec![T::default(); n] };
    v.resize(n, T::default());
    v
}

/// Keeps the memory of a vector for the next one of its type, or frees it.
pub(crate) fn give<T: Element>(v: Vec<T>) {
    let size = bytes(&v);
    if !(SMALL..=KEPT).contains(&size) {
        return;
    }
    let first = with::<T, _>(|kept| {
        let first = kept.0.is_empty();
        kept.0.push(v);
        let all: usize = kept.0.iter().map(bytes).sum();
        kept.free(all.saturating_sub(KEPT));
        first
    });
    if first == Some(true) {
        // A thread that ends keeps nothing.
        let _ = TYPES.try_with(|types| {
            let mut types = types.borrow_mut();
            let free: fn(usize) -> usize = free::<T>;
            if !types.iter().any(|f| std::ptr::fn_addr_eq(*f, free)) {
                types.push(free);
            }
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn count<T: Element>() -> usize {
        with::<T, _>(|kept| kept.0.len()).unwrap()
    }

    #[test]
    fn memory_is_handed_on_and_zeros_are_zeros() {
        let mut v: Vec<f32> = zeros(SMALL);
        v.fill(1.0);
        let at = v.as_ptr();
        give(v);
        let v: Vec<f32> = zeros(SMALL - 1);
        assert_eq!((v.as_ptr(), v.len()), (at, SMALL - 1));
        assert!(v.iter().all(|x| *x == 0.0));
        give(v);
        assert_eq!(unset::<f32>(SMALL).len(), SMALL);
    }

    #[test]
    fn as_much_goes_back_as_is_asked_for() {
        for _ in 0..3 {
            give(vec![0f32; SMALL]);
            give(vec![0i8; 4 * SMALL]);
        }
        // Much too small, or too large; both types go back, the oldest first.
        let _two = zeros::<f32>(SMALL / 2);
        assert_eq!((count::<f32>(), count::<i8>()), (2, 3));
        let _all = unset::<i64>(2 * SMALL);
        assert_eq!((count::<f32>(), count::<i8>()), (0, 1));
    }

    #[test]
    fn little_is_kept() {
        for _ in 0..9 {
            give(vec![0u8; KEPT / 4]);
        }
        assert_eq!(count::<u8>(), 4);
        give(vec![0u8; KEPT + 1]);
        give(vec![0u8; SMALL - 1]);
        assert_eq!(count::<u8>(), 4);
    }
}
