//! What runs of a graph have reached: branches, trip counts, rows of tables, outcomes of operators
//! that have several; and how much work they were.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use graph_opt_ir::{Graph, NodeId, Op};

use crate::cpu::Key;
use crate::cpu::array::Array;
use crate::outcomes::{shown, varies};

/// Collects what runs of one graph reach. Nodes are told apart by their labels, which are unique
/// in a graph and its bodies.
#[derive(Default, Debug)]
pub struct Watch {
    seen: Mutex<Seen>,
    /// Nodes that are watched.
    wanted: BTreeMap<String, Wanted>,
    /// Whether rows that are read do not count for now.
    ignores_rows: AtomicBool,
}

/// What is watched of a node.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Wanted {
    /// Outcomes of its operator, as bits.
    pub outcomes: u32,
    /// Operands that are to take different numbers, as bits.
    pub varied: u32,
}

/// What runs have reached.
#[derive(Clone, Default, Debug)]
pub struct Seen {
    /// Elements read and written, and multiplications.
    pub work: u64,
    /// Branches of each If.
    pub branches: BTreeMap<String, BTreeSet<bool>>,
    /// Numbers of trips of each Loop.
    pub trips: BTreeMap<String, BTreeSet<i64>>,
    /// Rows that each Gather or OneHot took, less than the number of rows.
    pub rows: BTreeMap<String, BTreeSet<i64>>,
    /// Outcomes of each operator that is watched, as bits.
    pub(crate) outcomes: BTreeMap<String, u32>,
    /// Operands of each node that is watched that took different numbers, as bits.
    pub(crate) varied: BTreeMap<String, u32>,
    /// The first result of operators that are told apart by their results.
    first: BTreeMap<String, Option<f64>>,
    /// The first number of each operand.
    numbers: BTreeMap<(String, usize), f64>,
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That also watches these outcomes.
    pub(crate) fn of(wanted: BTreeMap<String, Wanted>) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// From now on, whether rows that are read do not count: tables may have other elements than
    /// their defaults.
    pub(crate) fn ignore_rows(&self, ignore: bool) {
        self.ignores_rows.store(ignore, Ordering::Relaxed);
    }

    /// What was reached so far.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// Elements read and written, and multiplications, of all runs so far.
    pub fn work(&self) -> u64 {
        self.lock().work
    }

    pub(crate) fn branch(&self, label: &str, taken: bool) {
        self.lock().branches.entry(label.to_owned()).or_default().insert(taken);
    }

    pub(crate) fn trips(&self, label: &str, n: i64) {
        self.lock().trips.entry(label.to_owned()).or_default().insert(n);
    }

    /// A node that is about to read these operands.
    pub(crate) fn reads(
        &self,
        graph: &Graph,
        id: NodeId,
        operands: &[Option<Array>],
        key: Key<'_>,
    ) {
        let op = &graph.node(id).op;
        let at = |i: usize| operands.get(i).and_then(Option::as_ref);
        let len = |i: usize| at(i).map_or(0, |a| a.len() as u64);
        let extent =
            |i: usize, d: usize| at(i).and_then(|a| a.dims.get(d)).map_or(1, |&d| d as u64);
        let all: u64 = (0..operands.len()).map(len).sum();
        // Outputs of a convolution are about as many as its inputs have places.
        let products = match op {
            Op::Conv(_) | Op::FusedConv(_) | Op::ConvTranspose(_) => {
                len(0) / extent(0, 1).max(1) * len(1)
            }
            Op::MatMul(_) | Op::Gemm(_) => {
                let inner = at(1).and_then(|a| a.dims.first()).map_or(1, |&d| d as u64).max(1);
                len(0) * (len(1) / inner)
            }
            Op::DeformConv(_) => {
                let area = extent(2, 2) * extent(2, 3);
                extent(0, 0).saturating_mul(area).saturating_mul(len(1))
            }
            // A transform of n elements takes n times as many products.
            Op::DFT(_) => len(0)
                .saturating_mul(at(0).and_then(|a| a.dims.iter().max()).map_or(1, |&d| d as u64)),
            Op::STFT(_) => len(0).saturating_mul(extent(0, 1)),
            Op::LSTM(_) | Op::GRU(_) | Op::RNN(_) => {
                extent(0, 0) * extent(0, 1) * (len(1) + len(2))
            }
            _ => 0,
        };
        let mut seen = self.lock();
        let label = graph.label(id);
        if let Some(wanted) = self.wanted.get(label) {
            let Seen { outcomes, varied, first, numbers, .. } = &mut *seen;
            let had = outcomes.entry(label.to_owned()).or_default();
            if *had & wanted.outcomes != wanted.outcomes {
                *had |= shown(op, operands, key, first.entry(label.to_owned()).or_default());
            }
            let had = varied.entry(label.to_owned()).or_default();
            let open = wanted.varied & !*had;
            for i in (0..32).filter(|i| open & 1 << i != 0) {
                let first = numbers.entry((label.to_owned(), i));
                if at(i).is_some_and(|a| varies(a, key, first)) {
                    *had |= 1 << i;
                }
            }
        }
        seen.work = seen.work.saturating_add(all).saturating_add(products);
        // Rows of what, if anything, and the indices.
        let read = match (op, at(0), at(1)) {
            (Op::Gather(o), Some(table), Some(i)) => {
                let axis = graph_opt_ir::op_context::axis_of(o.axis, table.rank()).ok();
                axis.map(|axis| (table.dims[axis] as i64, i.to_i64s()))
            }
            (Op::OneHot(_), Some(i), Some(depth)) => {
                let depth = depth.to_i64s().ok().and_then(|d| d.first().copied());
                depth.map(|n| (n, i.to_i64s()))
            }
            _ => None,
        };
        if let Some((n, Ok(rows))) = read
            && !self.ignores_rows.load(Ordering::Relaxed)
        {
            let rows = rows.into_iter().map(|r| if r < 0 { r.saturating_add(n) } else { r });
            seen.rows.entry(label.to_owned()).or_default().extend(rows);
        }
    }
}
