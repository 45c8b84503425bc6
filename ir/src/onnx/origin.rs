//! The file from which a graph was read, for the writer.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::graph::{Graph, Source};
use crate::tensor::{Bytes, Tensor};
use crate::{Type, ValueId};

/// The file from which a graph was read, and its state at that time.
#[derive(Debug)]
pub(super) struct Origin {
    /// The bytes of the whole file.
    pub buf: Arc<Vec<u8>>,
    /// The folder of the file, as a canonical path.
    pub dir: Option<PathBuf>,
    /// Whether this is the main graph.
    pub main: bool,
    /// The GraphProto; empty for the body of a function.
    pub graph: Vec<Range<usize>>,
    /// Version of the format in the file.
    pub ir_version: i64,
    /// Operator sets in the file.
    pub opsets: Arc<BTreeMap<Arc<str>, i64>>,
    /// Initializers by name, as they were read.
    pub tensors: HashMap<Arc<str>, Arc<Tensor>>,
    /// Types that the file declares for values other than inputs.
    pub declared: Vec<(ValueId, Type)>,
    /// Names in declarations and annotations that no value of the graph has.
    pub strangers: HashSet<String>,
    /// Whether parts of the model that are only written unchanged refer to external data.
    pub pinned: bool,
}

impl Source for Origin {
    fn declared(&self) -> &[(ValueId, Type)] {
        &self.declared
    }

    fn folder(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Origin {
    /// The origin of the graph, if it was read from a file.
    pub fn of(graph: &Graph) -> Option<&Self> {
        graph.source.as_deref()?.as_any().downcast_ref()
    }

    /// A part of the file.
    pub fn slice(&self, r: Range<usize>) -> Bytes {
        Bytes::slice_of(&self.buf, r).unwrap_or_default()
    }
}
