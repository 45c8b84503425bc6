//! The constants of a graph in runs: in memory, or read from their file by each node that needs them.

use std::collections::BTreeSet;
use std::sync::Arc;

use graph_opt_ir::tensor::Data;
use graph_opt_ir::{Def, Graph, Op, Tensor, ValueId};

use super::array::Array;
use super::field::Key;
use super::redrawn;
use crate::{PrepareError, RunError};

/// External constants of fewer bytes are always in memory.
const SMALL: u64 = 1 << 20;

/// The constants of a graph by value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Constants {
    all: Vec<Option<Constant>>,
    /// The key under which other elements are drawn for them.
    key: Option<u64>,
}

#[derive(Clone, Debug)]
enum Constant {
    Held(Array),
    /// Read whenever a node needs it, and dropped with the node.
    Read(Arc<Tensor>),
}

impl Constants {
    /// Of this graph, with up to `keep` bytes of large external constants in memory; the dense form of
    /// sparse ones may take `max_bytes`. With a key, other elements are drawn for them.
    pub fn new(
        graph: &Graph,
        max_bytes: u64,
        keep: u64,
        key: Option<u64>,
    ) -> Result<Self, PrepareError> {
        let mut all: Vec<Option<Constant>> = vec![None; graph.value_bound()];
        let often = read_often(graph);
        let mut room = keep;
        for (id, v) in graph.values() {
            let fail = |source: RunError| match source {
                RunError::Tensor(source) => {
                    PrepareError::Constant { name: v.name.to_string(), source }
                }
                other => PrepareError::Other(format!("constant {}: {other}", v.name)),
            };
            let array = |t: &Tensor| array(t, key).map_err(fail);
            all[id.index()] = match &v.def {
                Def::Const(t) | Def::Input(Some(t)) => {
                    let len = match t.data() {
                        Data::External { len, .. } if !often.contains(&id) => *len,
                        _ => 0,
                    };
                    if len >= SMALL && len > room {
                        Some(Constant::Read(t.clone()))
                    } else {
                        room -= if len >= SMALL { len } else { 0 };
                        Some(Constant::Held(array(t)?))
                    }
                }
                Def::Sparse(s) => {
                    let dense = s.dense(max_bytes).map_err(|e| fail(e.into()))?;
                    Some(Constant::Held(array(&dense)?))
                }
                Def::Node(..) | Def::Input(None) | Def::Outer => None,
            };
        }
        Ok(Self { all, key })
    }

    /// The constant of this value, if it has one.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub fn get(&self, v: ValueId) -> Result<Option<Array>, RunError> {
        match self.all.get(v.index()) {
            Some(Some(Constant::Held(a))) => Ok(Some(a.clone())),
            Some(Some(Constant::Read(t))) => array(t, self.key).map(Some),
            _ => Ok(None),
        }
    }

    /// The value is this constant.
    pub fn set(&mut self, v: ValueId, a: Array) {
        self.all[v.index()] = Some(Constant::Held(a));
    }

    /// Those that stay where they are in memory.
    pub fn held(&self) -> impl Iterator<Item = &Array> {
        self.all.iter().flatten().filter_map(|c| match c {
            Constant::Held(a) => Some(a),
            Constant::Read(_) => None,
        })
    }
}

fn array(t: &Tensor, key: Option<u64>) -> Result<Array, RunError> {
    let mut a = Array::of(t)?;
    if let Some(key) = key {
        redrawn(&mut a, Key::new(key));
    }
    Ok(a)
}

/// What the bodies of control flow and of functions read, for which one node runs many times.
fn read_often(graph: &Graph) -> BTreeSet<ValueId> {
    let mut all = BTreeSet::new();
    for id in graph.schedule() {
        let node = graph.node(id);
        all.extend(&node.captures);
        if matches!(node.op, Op::Loop(_) | Op::Scan(_) | Op::SequenceMap(_)) {
            all.extend(node.inputs.iter().flatten());
        }
    }
    all
}
