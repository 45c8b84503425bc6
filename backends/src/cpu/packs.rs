//! What is kept of a graph from run to run: packed forms of constant weights, the constants of bodies, definitions.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use graph_opt_ir::{Graph, Op, Tensor, Type};

use super::array::{Array, Buf};
use super::constants::Constants;
use super::gemm::{Rows, Strided};
use crate::RunError;

/// Definitions that are kept of a node, which may run with operands of many shapes.
const DEFINITIONS: usize = 8;

/// What is kept of a graph, which lives and stays where it is as long as this does.
#[derive(Debug)]
pub(crate) struct Packs {
    /// Memory of the constants.
    constants: Vec<Range<usize>>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Packed weights by where the weights lie in memory.
    by_place: BTreeMap<[usize; 5], Arc<Rows>>,
    /// Of the bodies of the graph's nodes, by where they are.
    bodies: HashMap<usize, Arc<Body>>,
    /// Of the graph's nodes, by where their operators are.
    definitions: HashMap<usize, Vec<Arc<Defined>>>,
    /// Elements that may still be kept.
    room: usize,
}

/// The constants of a body, and what is kept of it.
#[derive(Debug)]
pub(crate) struct Body {
    pub constants: Constants,
    pub packs: Packs,
}

impl Body {
    /// Of a body whose constants may take so many bytes.
    pub fn new(graph: &Graph, room: u64) -> Result<Self, RunError> {
        let constants = Constants::new(graph, room, u64::MAX, None)
            .map_err(|e| RunError::Invalid(e.to_string()))?;
        let packs = Packs::new(&constants, room / 2);
        Ok(Self { constants, packs })
    }
}

/// What the definition of a node depends on.
#[derive(Debug, PartialEq)]
pub(crate) struct Call {
    pub op: Op,
    /// Versions of the operator's domain and of ONNX's.
    pub opsets: [i64; 2],
    pub types: Vec<Option<Type>>,
    pub values: Vec<Option<Arc<Tensor>>>,
    pub outputs: usize,
}

/// The definition of a node.
#[derive(Debug)]
pub(crate) struct Defined {
    pub call: Call,
    pub graph: Arc<Graph>,
    pub body: Body,
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
        Self { constants, kept: Mutex::new(Kept { room, ..Kept::default() }) }
    }

    /// The constants of the body of a node of the graph, which may take so many bytes.
    pub fn body(&self, graph: &Graph, room: u64) -> Result<Arc<Body>, RunError> {
        let place = std::ptr::from_ref(graph) as usize;
        let kept = self.kept.lock().ok().and_then(|k| k.bodies.get(&place).cloned());
        if let Some(body) = kept {
            return Ok(body);
        }
        let body = Arc::new(Body::new(graph, room)?);
        if let Ok(mut kept) = self.kept.lock() {
            let bytes: u64 = body.constants.held().map(Array::bytes).sum();
            let elements = usize::try_from(bytes / 4).unwrap_or(usize::MAX);
            if let Some(left) = kept.room.checked_sub(elements) {
                kept.room = left;
                kept.bodies.insert(place, body.clone());
            }
        }
        Ok(body)
    }

    /// The definition of a node of the graph, for the operator that is there.
    pub fn definition(
        &self,
        op: &Op,
        call: Call,
        define: impl FnOnce(Call) -> Result<Defined, RunError>,
    ) -> Result<Arc<Defined>, RunError> {
        let place = std::ptr::from_ref(op) as usize;
        if let Ok(kept) = self.kept.lock()
            && let Some(found) = kept.definitions.get(&place)
            && let Some(found) = found.iter().find(|d| d.call == call)
        {
            return Ok(found.clone());
        }
        let defined = Arc::new(define(call)?);
        if let Ok(mut kept) = self.kept.lock() {
            let all = kept.definitions.entry(place).or_default();
            all.truncate(DEFINITIONS - 1);
            all.insert(0, defined.clone());
        }
        Ok(defined)
    }

    /// The `m` by `k` weights in packed form, if they are constant.
    pub fn rows(&self, w: Strided<'_>, m: usize, k: usize) -> Option<Arc<Rows>> {
        let at = w.data.as_ptr() as usize;
        let place = [at, w.row, w.column, m, k];
        let i = self.constants.partition_point(|r| r.start <= at).checked_sub(1)?;
        if at >= self.constants[i].end {
            return None;
        }
        let mut kept = self.kept.lock().ok()?;
        if let Some(r) = kept.by_place.get(&place) {
            return Some(r.clone());
        }
        kept.room = kept.room.checked_sub(w.data.len())?;
        let rows = Arc::new(Rows::pack(w, m, k));
        kept.by_place.insert(place, rows.clone());
        Some(rows)
    }
}
