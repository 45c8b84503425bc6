//! Bodies: the graphs that If, Loop, Scan and SequenceMap run. They are ordinary graphs; [`Editor::within`] edits
//! them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::edit::Editor;
use crate::graph::{Def, FunctionKey, Functions, Graph, Use};
use crate::infer;
use crate::op::{self, Attr, Op};
use crate::{NodeId, Tensor, Type, ValueId};

impl Op {
    /// The bodies of If, Loop, Scan and SequenceMap, each with the name of the attribute that holds it. Graphs in
    /// attributes of other operators are not included.
    pub fn bodies(&self) -> Vec<(&str, &Arc<Graph>)> {
        match self {
            Self::If(i) => vec![
                ("then_branch", &i.then_branch.0), //
                ("else_branch", &i.else_branch.0),
            ],
            Self::Loop(l) => vec![("body", &l.body.0)],
            Self::Scan(s) => vec![("body", &s.body.0)],
            Self::SequenceMap(s) => vec![("body", &s.body.0)],
            _ => Vec::new(),
        }
    }

    pub(crate) fn bodies_mut(&mut self) -> Vec<&mut Arc<Graph>> {
        match self {
            Self::If(i) => vec![&mut i.then_branch.0, &mut i.else_branch.0],
            Self::Loop(l) => vec![&mut l.body.0],
            Self::Scan(s) => vec![&mut s.body.0],
            Self::SequenceMap(s) => vec![&mut s.body.0],
            _ => Vec::new(),
        }
    }
}

impl op::If {
    /// The branch that is taken where this is the condition.
    pub fn taken(&self, condition: &Tensor) -> Option<&Arc<Graph>> {
        match condition.bytes().ok()?.first()? {
            0 => Some(&self.else_branch.0),
            _ => Some(&self.then_branch.0),
        }
    }
}

impl Editor<'_> {
    /// Runs `f` with the editor inside body `index` of the node (as in [`Op::bodies`]), and puts the body
    /// back if it was edited. Returns `None` if there is no such body.
    pub fn within<R>(
        &mut self,
        node: NodeId,
        index: usize,
        f: impl FnOnce(&mut Self) -> R,
    ) -> Option<R> {
        let repeated = self.graph.repeated();
        let n = self.graph.get_node(node)?;
        let (attr, body) = *n.op.bodies().get(index)?;
        let known = |&v: &ValueId| Some((self.graph.value(v).name.clone(), self.constant(v)?));
        let captured = n.captures.iter().filter_map(known).collect();
        let scope = format!("{}/{attr}", self.graph.label(node));
        let mut body = Graph::clone(body);
        // A name must be unique over all bodies.
        body.names = std::mem::take(&mut self.graph.names);
        body.repeated = Some(repeated);
        let before = body.edits;
        let around = std::mem::replace(self.graph, body);
        self.scopes.push(scope);
        self.captured.push(captured);
        let result = f(self);
        self.captured.pop();
        self.scopes.pop();
        let mut body = std::mem::replace(self.graph, around);
        self.graph.names = std::mem::take(&mut body.names);
        if body.edits > before {
            self.graph.edits += body.edits - before;
            self.graph.put_body(node, index, body);
        }
        Some(result)
    }
}

impl Editor<'_> {
    /// Runs `f` with the editor inside the body of a function of the model, and puts the body back if it was
    /// edited. Types in the body are those that hold for every call. Returns `None` if there is no such
    /// function, or the editor is in a body already.
    pub fn within_function<R>(
        &mut self,
        key: &FunctionKey,
        f: impl FnOnce(&mut Self) -> R,
    ) -> Option<R> {
        if !self.scopes.is_empty() {
            return None;
        }
        let mut body = Graph::clone(&self.graph.functions.get(key)?.body);
        body.names = body.own_names();
        // What the file declares of values need not hold for every call.
        let computed: Vec<ValueId> =
            body.values().filter(|(_, v)| v.constant().is_none()).map(|(id, _)| id).collect();
        let declared: Vec<(ValueId, Type)> = (computed.into_iter())
            .map(|id| (id, std::mem::replace(&mut body.value_mut(id).ty, Type::Unknown)))
            .collect();
        // A node that contradicts its operator is the caller's affair.
        let _ = infer::refine(&mut body);
        let before = body.edits;
        let around = std::mem::replace(self.graph, body);
        self.scopes.push(format!("function {}.{}", key.0, key.1));
        self.captured.push(HashMap::new());
        self.in_function = true;
        let result = f(self);
        self.in_function = false;
        self.captured.pop();
        self.scopes.pop();
        let mut body = std::mem::replace(self.graph, around);
        if body.edits > before {
            for (id, ty) in declared {
                if body.get_value(id).is_some() {
                    body.value_mut(id).ty = ty;
                }
            }
            self.graph.edits += body.edits - before;
            let mut functions = (*self.graph.functions).clone();
            if let Some(function) = functions.get_mut(key) {
                function.body = Arc::new(body);
            }
            self.graph.set_functions(&Arc::new(functions));
        }
        Some(result)
    }
}

impl Graph {
    /// Other functions for the graph and its bodies.
    fn set_functions(&mut self, functions: &Arc<Functions>) {
        self.functions = functions.clone();
        let bodies = |n: &NodeId| !self.node(*n).op.bodies().is_empty();
        for n in self.schedule().filter(bodies).collect::<Vec<_>>() {
            for body in self.node_mut(n).op.bodies_mut() {
                Arc::make_mut(body).set_functions(functions);
            }
        }
    }

    /// Whether `f` holds for a node of the graph or of its bodies, at any depth. Stops at the first one.
    pub fn any_node(&self, f: &mut dyn FnMut(&Graph, NodeId) -> bool) -> bool {
        self.schedule()
            .any(|n| f(self, n) || self.node(n).op.bodies().into_iter().any(|(_, g)| g.any_node(f)))
    }

    /// Replaces a body by an edited one, and drops captures that it no longer reads.
    fn put_body(&mut self, node: NodeId, index: usize, mut body: Graph) {
        let unread: Vec<ValueId> = body
            .values()
            .filter(|(_, v)| v.def == Def::Outer && v.uses.is_empty() && !v.is_output())
            .map(|(id, _)| id)
            .collect();
        unread.into_iter().for_each(|v| body.remove_value(v));
        body.names = body.own_names();
        let mut n = self.node(node).clone();
        if let Some(slot) = n.op.bodies_mut().into_iter().nth(index) {
            *slot = Arc::new(body);
        }
        let graphs: Vec<Arc<Graph>> = (n.op.attrs().into_iter().chain(n.extra.iter().cloned()))
            .filter_map(|(_, a)| if let Attr::Graph(g) = a { Some(g.0) } else { None })
            .collect();
        let wanted: HashSet<&str> = (graphs.iter())
            .flat_map(|g| g.values().filter(|(_, v)| v.def == Def::Outer))
            .map(|(_, v)| &*v.name)
            .collect();
        for (i, v) in std::mem::take(&mut n.captures).into_iter().enumerate() {
            self.value_mut(v).uses.remove(&Use { node, index: n.inputs.len() + i });
            if wanted.contains(&*self.value(v).name) {
                n.captures.push(v);
            }
        }
        for (i, &v) in n.captures.iter().enumerate() {
            self.value_mut(v).uses.insert(Use { node, index: n.inputs.len() + i });
        }
        n.meta.verbatim = None;
        *self.node_mut(node) = n;
    }

    /// Makes the operator's bodies, which come from another graph, bodies of this one: `here` says what the
    /// names stand for that they read from outside. What they define gets names that are free.
    pub(crate) fn move_bodies(&mut self, op: &mut Op, here: &[(Arc<str>, ValueId)]) {
        let outer =
            here.iter().map(|(name, v)| (name.clone(), self.value(*v).name.clone())).collect();
        for body in op.bodies_mut() {
            *body = Arc::new(self.moved(body, &outer));
        }
    }

    /// A body of another graph as one of this graph; `outer` has the names of what it reads from outside.
    fn moved(&mut self, body: &Self, outer: &HashMap<Arc<str>, Arc<str>>) -> Self {
        let mut new = body.clone();
        // What the file says of it is under other names.
        new.source = None;
        new.opsets = self.opsets.clone();
        new.functions = self.functions.clone();
        new.ir_version = self.ir_version;
        let mut names = outer.clone();
        for v in new.values.iter_mut().flatten() {
            let name = match &v.def {
                Def::Outer => outer.get(&v.name).unwrap_or(&v.name).clone(),
                _ => self.fresh(&v.name),
            };
            names.insert(std::mem::replace(&mut v.name, name.clone()), name);
            v.part_of = None;
        }
        for node in new.nodes.iter_mut().flatten() {
            if !node.name.is_empty() {
                node.name = self.fresh(&node.name);
            }
            (node.meta.verbatim, node.meta.model) = (None, None);
            for inner in node.op.bodies_mut() {
                *inner = Arc::new(self.moved(inner, &names));
            }
        }
        new.names = new.own_names();
        new
    }

    /// Names of its nodes and values, and those in its subgraphs.
    fn own_names(&self) -> HashSet<Arc<str>> {
        let mut all: HashSet<Arc<str>> = self.values().map(|(_, v)| v.name.clone()).collect();
        for n in self.schedule().map(|n| self.node(n)) {
            all.insert(n.name.clone());
            for g in n.op.subgraphs() {
                all.extend(g.names.iter().cloned());
            }
        }
        all.remove("");
        all
    }
}
