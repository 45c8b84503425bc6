//! What the reader keeps for the writer.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::graph::{Graph, Source};
use crate::tensor::{Bytes, Tensor};
use crate::{Type, ValueId};

/// Where a graph came from.
#[derive(Debug)]
pub(super) struct Origin {
    /// The whole file.
    pub buf: Arc<Vec<u8>>,
    /// Its folder.
    pub dir: Option<PathBuf>,
    /// Whether this is the main graph.
    pub main: bool,
    /// The GraphProto; empty for the body of a function.
    pub graph: Vec<Range<usize>>,
    /// Version of the format in the file.
    pub ir_version: i64,
    /// Operator sets in the file.
    pub opsets: Arc<BTreeMap<Arc<str>, i64>>,
    /// Initializers by name, as they were.
    pub tensors: HashMap<Arc<str>, Arc<Tensor>>,
    /// Types that the file claims for values other than inputs.
    pub declared: Vec<(ValueId, Type)>,
    /// Names in annotations that no value of the graph has.
    pub strangers: HashSet<String>,
    /// Whether external data is referred to from places that are written only as they were.
    pub pinned: bool,
}

impl Source for Origin {
    fn declared(&self) -> &[(ValueId, Type)] {
        &self.declared
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Origin {
    /// Where the graph came from, if it came from a file.
    pub fn of(graph: &Graph) -> Option<&Self> {
        graph.source.as_deref()?.as_any().downcast_ref()
    }

    /// A part of the file.
    pub fn slice(&self, r: Range<usize>) -> Bytes {
        Bytes::slice_of(&self.buf, r).unwrap_or_default()
    }
}
