//! A graph in the place of a node: the body of a function, a definition, a branch.

use std::collections::BTreeMap;

use super::{Edit, NewNode, Ref};
use crate::graph::{Def, Graph};
use crate::op::{Attr, ONNX, Op, schema};
use crate::{NodeId, ValueId};

impl Edit {
    /// Puts the nodes of `body` in the place of `node`: its inputs are `inputs`, and its outputs become the
    /// results of the node. Values of enclosing graphs that it reads are those that the node captures.
    ///
    /// # Errors
    /// With the reason, if a node of the body would mean something else in this graph, or cannot be moved.
    pub fn inline(
        graph: &Graph,
        node: NodeId,
        body: &Graph,
        inputs: &[ValueId],
        origin: &str,
    ) -> Result<Self, String> {
        let mut edit = Self::new(format!("{origin} {}", graph.label(node)));
        let mut new: BTreeMap<ValueId, Ref> =
            body.inputs().iter().zip(inputs).map(|(&b, &v)| (b, Ref::Value(v))).collect();
        movable(body, graph)?;
        edit.body(graph, node, body, &mut new)?;
        for (&ours, &theirs) in graph.node(node).outputs.iter().zip(body.outputs()) {
            let Some(ours) = ours else { continue };
            let by = edit.operand(graph, node, body, theirs, &mut new)?;
            edit.define(graph, ours, by);
        }
        edit.before = Some(node);
        edit.removes = vec![node];
        Ok(edit)
    }

    /// Puts the nodes of both branches of an If in its place. Result `i` is what the operator `choice(i)` gives of
    /// the condition and the branches' values.
    ///
    /// # Errors
    /// As [`Edit::inline`].
    pub fn both_branches(
        graph: &Graph,
        node: NodeId,
        branches: [&Graph; 2],
        choice: &dyn Fn(usize) -> Op,
        origin: &str,
    ) -> Result<Self, String> {
        let mut edit = Self::new(format!("{origin} {}", graph.label(node)));
        let mut new = [BTreeMap::new(), BTreeMap::new()];
        for (body, new) in branches.iter().zip(&mut new) {
            movable(body, graph)?;
            edit.body(graph, node, body, new)?;
        }
        let whole = graph.node(node);
        for (i, &ours) in whole.outputs.iter().enumerate() {
            let Some(ours) = ours else { continue };
            let mut inputs = vec![whole.inputs.first().copied().flatten().map(Ref::Value)];
            for (body, new) in branches.iter().zip(&mut new) {
                let theirs = body.outputs().get(i).ok_or("a branch lacks a result")?;
                inputs.push(Some(edit.operand(graph, node, body, *theirs, new)?));
            }
            edit.nodes.push(NewNode {
                name: format!("{}/{i}", graph.label(node)),
                op: choice(i),
                extra: Default::default(),
                inputs,
                outputs: 1,
                absent: Vec::new(),
                like: vec![node],
            });
            let by = Ref::New(edit.nodes.len() - 1, 0);
            edit.define(graph, ours, by);
        }
        edit.before = Some(node);
        edit.removes = vec![node];
        Ok(edit)
    }

    /// Adds the nodes of the body; `new` says what its values are here.
    fn body(
        &mut self,
        graph: &Graph,
        like: NodeId,
        body: &Graph,
        new: &mut BTreeMap<ValueId, Ref>,
    ) -> Result<(), String> {
        for id in body.schedule() {
            let node = body.node(id);
            if !node.op.bodies().is_empty() {
                let mut read = Vec::with_capacity(node.captures.len());
                for &v in &node.captures {
                    let name = body.value(v).name.clone();
                    read.push((name, self.operand(graph, like, body, v, new)?));
                }
                self.moved.insert(self.nodes.len(), read);
            }
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for v in &node.inputs {
                let operand = |v: ValueId| self.operand(graph, like, body, v, new);
                inputs.push((*v).map(operand).transpose()?);
            }
            for (o, v) in node.outputs.iter().enumerate() {
                new.extend(v.map(|v| (v, Ref::New(self.nodes.len(), o))));
            }
            let own = body.label(id);
            self.nodes.push(NewNode {
                absent: Vec::new(),
                name: format!("{}/{own}", graph.label(like)),
                op: node.op.clone(),
                extra: node.extra.clone(),
                inputs,
                outputs: node.outputs.len(),
                like: vec![like],
            });
        }
        Ok(())
    }

    fn operand(
        &mut self,
        graph: &Graph,
        node: NodeId,
        body: &Graph,
        v: ValueId,
        new: &mut BTreeMap<ValueId, Ref>,
    ) -> Result<Ref, String> {
        if let Some(&r) = new.get(&v) {
            return Ok(r);
        }
        let value = body.value(v);
        let r = match &value.def {
            Def::Const(t) => {
                self.consts.push((format!("{}/{}", graph.label(node), value.name), t.clone()));
                Ref::Const(self.consts.len() - 1)
            }
            Def::Outer => {
                let mut captures = graph.node(node).captures.iter();
                let own = captures.find(|c| graph.value(**c).name == value.name);
                match own {
                    Some(&c) => Ref::Value(c),
                    None => return Err(format!("nothing here defines {:?}", value.name)),
                }
            }
            _ => return Err(format!("{:?} cannot be moved", value.name)),
        };
        new.insert(v, r);
        Ok(r)
    }
}

/// Refuses a body with a node that would mean something else in the graph, or reads values by names that cannot
/// be changed.
fn movable(body: &Graph, graph: &Graph) -> Result<(), String> {
    for id in body.schedule() {
        let node = body.node(id);
        let bodies = node.op.bodies();
        let fault = |why: &str| Err(format!("{} {:?} {why}", node.op.name(), body.label(id)));
        let graphs = node.extra.iter().filter(|(_, a)| matches!(a, Attr::Graph(_))).count();
        if node.op.subgraphs().len() + graphs > bodies.len() {
            return fault("has a graph in an attribute, which reads values by their names");
        }
        if !same_version(&node.op, body, graph) {
            let versions = [body, graph].map(|g| g.opsets.get(node.op.domain()).copied());
            let [there, here] = versions.map(|v| v.map_or("none".into(), |v| v.to_string()));
            return fault(&format!(
                "is of version {there} of its operator set, and means something else in \
                 version {here}, which the model imports"
            ));
        }
        bodies.into_iter().try_for_each(|(_, inner)| movable(inner, graph))?;
    }
    Ok(())
}

/// Whether the operator of one graph means the same in another.
fn same_version(op: &Op, from: &Graph, to: &Graph) -> bool {
    let version = |g: &Graph| g.opsets.get(op.domain()).copied();
    match (version(from), version(to)) {
        (a, b) if a == b => true,
        (Some(a), Some(b)) if op.domain() == ONNX => {
            let meant = schema::meant(op.name(), a);
            meant.is_some() && meant == schema::meant(op.name(), b)
        }
        _ => false,
    }
}
