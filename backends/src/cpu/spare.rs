//! Memory of vectors that are gone, for the next ones: small networks compute in less time than the system takes to
//! give pages and to take them back.

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
}

/// Where a thread keeps vectors of these elements.
pub(crate) type Kept<T> = &'static LocalKey<RefCell<Spare<T>>>;

fn bytes<T>(v: &Vec<T>) -> usize {
    v.capacity() * size_of::<T>()
}

/// The smallest vector that has room for `n` elements, unless that is much too large.
fn taken<T: Element>(n: usize) -> Option<Vec<T>> {
    let want = n.checked_mul(size_of::<T>()).filter(|&want| want >= SMALL)?;
    let find = |kept: &RefCell<Spare<T>>| {
        let all = &mut kept.try_borrow_mut().ok()?.0;
        let fits = |v: &Vec<T>| v.capacity() >= n && bytes(v) / 2 <= want;
        let best = (0..all.len()).filter(|&i| fits(&all[i])).min_by_key(|&i| all[i].capacity())?;
        Some(all.swap_remove(best))
    };
    T::kept()?.try_with(find).ok()?
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

/// The vector is no longer needed.
pub(crate) fn give<T: Element>(v: Vec<T>) {
    let Some(kept) = T::kept().filter(|_| (SMALL..=KEPT).contains(&bytes(&v))) else { return };
    // A thread that ends keeps nothing.
    let _ = kept.try_with(|kept| {
        let Ok(mut kept) = kept.try_borrow_mut() else { return };
        let all = &mut kept.0;
        all.push(v);
        let mut room = KEPT;
        let kept = all.iter().rev().take_while(|v| {
            let fits = bytes(v) <= room;
            room = room.saturating_sub(bytes(v));
            fits
        });
        let gone = all.len() - kept.count();
        all.drain(..gone);
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_handed_on_and_zeros_are_zeros() {
        let mut v: Vec<f32> = zeros(SMALL);
        v.fill(1.0);
        let at = v.as_ptr();
        give(v);
        // Too large for so few elements.
        let few: Vec<f32> = zeros(SMALL / 4);
        assert_ne!(few.as_ptr(), at);
        let v: Vec<f32> = zeros(SMALL - 1);
        assert_eq!((v.as_ptr(), v.len()), (at, SMALL - 1));
        assert!(v.iter().all(|x| *x == 0.0));
        give(v);
        assert_eq!(unset::<f32>(SMALL).len(), SMALL);
    }

    #[test]
    fn little_is_kept() {
        let count = || <u8 as Element>::kept().unwrap().with(|k| k.borrow().0.len());
        for _ in 0..9 {
            give(vec![0u8; KEPT / 4]);
        }
        assert_eq!(count(), 4);
        give(vec![0u8; KEPT + 1]);
        give(vec![0u8; SMALL - 1]);
        assert_eq!(count(), 4);
    }
}
