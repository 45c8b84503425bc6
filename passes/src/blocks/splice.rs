//! Puts a variant in the place of a block.

use std::collections::BTreeMap;

use graph_opt_ir::edit::NewNode;
use graph_opt_ir::{Def, Edit, EditError, Editor, Graph, NodeId, Ref, Type, ValueId};

use super::extract::Block;

/// Why a variant cannot take the place of a block.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SpliceError {
    /// A variant has one input and one output.
    #[error("expected a variant with one input and one output, found {inputs} and {outputs}")]
    Interface {
        /// Number of its inputs.
        inputs: usize,
        /// Number of its outputs.
        outputs: usize,
    },
    /// The tensor that enters or leaves has another type.
    #[error("{name:?} is {expected} in the network, but {found} in the variant")]
    Type {
        /// Name of the value in the network.
        name: String,
        /// Its type there.
        expected: Type,
        /// Its type in the variant.
        found: Type,
    },
    /// The variant is written for other versions of operators.
    #[error("the variant uses version {found} of operator set {domain:?}, the network {expected}")]
    Opset {
        /// Domain of the operator set.
        domain: String,
        /// The network's version; 0 if it does not use the set.
        expected: i64,
        /// The variant's version.
        found: i64,
    },
    /// The variant contains what cannot be moved into another graph.
    #[error("{node:?} of the variant cannot be moved into the network: {why}")]
    Node {
        /// Label of the node.
        node: String,
        /// Why not.
        why: &'static str,
    },
    /// The network with the variant is not valid.
    #[error(transparent)]
    Edit(#[from] EditError),
}

/// Replaces the nodes of the block by those of the variant, and returns the new nodes. Other blocks of the
/// graph stay valid.
///
/// # Errors
/// If the variant does not fit. The graph is then unchanged.
pub fn splice(
    graph: &mut Graph,
    block: &Block,
    variant: &Graph,
) -> Result<Vec<NodeId>, SpliceError> {
    let (&[input], &[output]) = (variant.inputs(), variant.outputs()) else {
        let (inputs, outputs) = (variant.inputs().len(), variant.outputs().len());
        return Err(SpliceError::Interface { inputs, outputs });
    };
    for (ours, theirs) in [(block.input, input), (block.output, output)] {
        let (value, found) = (graph.value(ours), &variant.value(theirs).ty);
        if value.ty.meet(found).is_none() {
            let (name, expected) = (value.name.to_string(), value.ty.clone());
            return Err(SpliceError::Type { name, expected, found: found.clone() });
        }
    }
    let mut edit = Edit::new(format!("scale {}", block.name));
    edit.before = block.nodes.last().copied();
    edit.removes = block.nodes.clone();
    let mut new: BTreeMap<ValueId, Ref> = BTreeMap::from([(input, Ref::Value(block.input))]);
    for id in variant.schedule() {
        let node = variant.node(id);
        let fault = |why| SpliceError::Node { node: variant.label(id).to_owned(), why };
        if !node.op.subgraphs().is_empty() {
            return Err(fault("it has a body"));
        }
        if variant.function(&node.op).is_some() && graph.function(&node.op).is_none() {
            return Err(fault("it calls a function that the network does not have"));
        }
        let domain = node.op.domain();
        let version = |g: &Graph| g.opsets.get(domain).copied().unwrap_or(0);
        let (expected, found) = (version(graph), version(variant));
        if expected != found {
            return Err(SpliceError::Opset { domain: domain.to_owned(), expected, found });
        }
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for v in &node.inputs {
            let Some(v) = *v else {
                inputs.push(None);
                continue;
            };
            let r = match (new.get(&v), &variant.value(v).def) {
                (Some(&r), _) => r,
                (None, Def::Const(t)) => {
                    let at = edit.consts.len();
                    edit.consts.push((variant.value(v).name.to_string(), t.clone()));
                    Ref::Const(at)
                }
                (None, _) => return Err(fault("it reads a value that is no constant")),
            };
            new.insert(v, r);
            inputs.push(Some(r));
        }
        for (o, v) in node.outputs.iter().enumerate() {
            new.extend(v.map(|v| (v, Ref::New(edit.nodes.len(), o))));
        }
        edit.nodes.push(NewNode {
            name: node.name.to_string(),
            op: node.op.clone(),
            extra: node.extra.clone(),
            inputs,
            outputs: node.outputs.len(),
            absent: Vec::new(),
            like: Vec::new(),
        });
    }
    let result = new.get(&output).copied();
    let result = result.ok_or(SpliceError::Interface { inputs: 1, outputs: 0 })?;
    edit.define(graph, block.output, result);
    Ok(Editor::new(graph).apply(&edit)?.nodes)
}
