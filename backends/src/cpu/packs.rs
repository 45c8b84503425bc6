//! Packed forms of constant weights, kept from run to run.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::array::{Array, Buf};
use super::constants::Constants;
use super::gemm::{Rows, Strided};

/// Packed weights by where the weights lie in memory.
#[derive(Debug)]
pub(crate) struct Packs {
    /// Memory of the constants, which stay where they are as long as this lives.
    constants: Vec<Range<usize>>,
    packed: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_place: BTreeMap<[usize; 5], Arc<Rows>>,
    /// Elements that may still be kept.
    room: usize,
}

impl Packs {
    /// For these constants; keeps up to `bytes`.
    pub(super) fn new(constants: &Constants, bytes: u64) -> Self {
        let place = |a: &Array| match &a.data {
            Buf::F32(v) => Some(v.as_ptr_range()).map(|r| r.start as usize..r.end as usize),
            _ => None,
        };
        let mut constants: Vec<_> = constants.held().filter_map(place).collect();
        constants.sort_by_key(|r| r.start);
        let room = usize::try_from(bytes / 4).unwrap_or(usize::MAX);
        Self { constants, packed: Mutex::new(Kept { room, ..Kept::default() }) }
    }

    /// The `m` by `k` weights in packed form, if they are constant.
    pub fn rows(&self, w: Strided<'_>, m: usize, k: usize) -> Option<Arc<Rows>> {
        let at = w.data.as_ptr() as usize;
        let place = [at, w.row, w.column, m, k];
        let i = self.constants.partition_point(|r| r.start <= at).checked_sub(1)?;
        if at >= self.constants[i].end {
            return None;
        }
        let mut kept = self.packed.lock().ok()?;
        if let Some(r) = kept.by_place.get(&place) {
            return Some(r.clone());
        }
        kept.room = kept.room.checked_sub(w.data.len())?;
        let rows = Arc::new(Rows::pack(w, m, k));
        kept.by_place.insert(place, rows.clone());
        Some(rows)
    }
}
