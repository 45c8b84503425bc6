//! What runs of a graph have reached: branches, trip counts, rows of tables; and how much work
//! they were.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use graph_opt_ir::{Graph, NodeId, Op};

use crate::cpu::array::Array;

/// Collects what runs of one graph reach. Nodes are told apart by their labels, which are unique
/// in a graph and its bodies.
#[derive(Default, Debug)]
pub struct Watch(Mutex<Seen>);

/// What runs have reached.
#[derive(Clone, Default, Debug)]
pub struct Seen {
    /// Elements read and written, and multiplications.
    pub work: u64,
    /// Branches of each If.
    pub branches: BTreeMap<String, BTreeSet<bool>>,
    /// Numbers of trips of each Loop.
    pub trips: BTreeMap<String, BTreeSet<i64>>,
    /// Rows that each Gather took, less than the number of rows.
    pub rows: BTreeMap<String, BTreeSet<i64>>,
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was reached so far.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// Work so far.
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
    pub(crate) fn reads(&self, graph: &Graph, id: NodeId, operands: &[Option<Array>]) {
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
            Op::LSTM(_) | Op::GRU(_) | Op::RNN(_) => {
                extent(0, 0) * extent(0, 1) * (len(1) + len(2))
            }
            _ => 0,
        };
        let mut seen = self.lock();
        seen.work = seen.work.saturating_add(all).saturating_add(products);
        if let (Op::Gather(o), Some(table), Some(i)) = (op, at(0), at(1))
            && let (Ok(axis), Ok(rows)) =
                (graph_opt_ir::op_context::axis_of(o.axis, table.rank()), i.to_i64s())
        {
            let n = table.dims[axis] as i64;
            let rows = rows.into_iter().map(|r| if r < 0 { r.saturating_add(n) } else { r });
            seen.rows.entry(graph.label(id).to_owned()).or_default().extend(rows);
        }
    }
}
