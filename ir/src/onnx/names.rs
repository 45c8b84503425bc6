//! The scope of names of a graph.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::{OnnxError, Result};
use super::node::short;
use crate::graph::{Def, Graph};
use crate::{Type, ValueId};

/// A graph that is being read, with its values by name.
pub(super) struct Scope {
    pub what: String,
    pub inner: bool,
    pub graph: Graph,
    pub by_name: HashMap<Arc<str>, ValueId>,
}

impl Scope {
    pub fn fail<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(OnnxError::Graph { graph: self.what.clone(), what: what.into() })
    }

    pub fn define(&mut self, name: &str, ty: Type, def: Def) -> Result<ValueId> {
        if name.is_empty() {
            return self.fail("expected a name for each value, found an empty one");
        }
        let name: Arc<str> = name.into();
        if self.by_name.contains_key(&name) {
            return self.fail(format!("{:?} is defined twice", short(&name)));
        }
        let id = self.graph.push_value(name.clone(), ty, def);
        self.by_name.insert(name, id);
        Ok(id)
    }

    /// The value of this name; in a subgraph it may be one of the graphs around it.
    pub fn resolve(&mut self, name: &str) -> Option<ValueId> {
        if let Some(&v) = self.by_name.get(name) {
            return Some(v);
        }
        self.inner.then(|| {
            let name: Arc<str> = name.into();
            let id = self.graph.push_value(name.clone(), Type::Unknown, Def::Outer);
            self.by_name.insert(name, id);
            id
        })
    }
}
