//! Builds a graph node by node. Importers, the text parser and the zoo use it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::graph::{Def, Graph, Meta, Node};
use crate::op::{ONNX, Op};
use crate::op_context::{OpCtx, RuleError};
use crate::tensor::Tensor;
use crate::{Type, ValueId, infer};

/// Builds a graph. Types of results are inferred as nodes are added.
///
/// ```
/// use graph_opt_ir::{Builder, DType, Type, op};
/// let mut b = Builder::new("example", 17);
/// let x = b.input("x", Type::tensor(DType::F32, &[1, 3, 8, 8]));
/// let y = b.node("act", op::Relu {}, &[x])?;
/// b.output(y);
/// let graph = b.finish();
/// assert_eq!(graph.value(y).ty.to_string(), "f32[1,3,8,8]");
/// # Ok::<(), graph_opt_ir::op_context::RuleError>(())
/// ```
#[derive(Debug)]
pub struct Builder {
    graph: Graph,
    outputs: Vec<ValueId>,
}

impl Builder {
    /// An empty graph over this version of ONNX's operator set.
    pub fn new(name: &str, opset: i64) -> Self {
        let opsets = BTreeMap::from([(Arc::from(ONNX), opset)]);
        let ir_version = match opset {
            ..=8 => 3,
            9..=10 => 4,
            11 => 6,
            12..=14 => 7,
            15..=18 => 8,
            19..=20 => 9,
            _ => 10,
        };
        let graph =
            Graph { name: name.into(), opsets: Arc::new(opsets), ir_version, ..Graph::default() };
        Self { graph, outputs: Vec::new() }
    }

    pub(crate) fn over(graph: Graph) -> Self {
        Self { graph, outputs: Vec::new() }
    }

    /// The graph as it is so far, without outputs.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    pub(crate) fn graph_mut(&mut self) -> &mut Graph {
        &mut self.graph
    }

    /// Adds an input without a default, after those that the graph has.
    pub fn input(&mut self, name: &str, ty: Type) -> ValueId {
        let name = self.graph.fresh(name);
        let id = self.graph.push_value(name, ty, Def::Input(None));
        self.graph.inputs.push(id);
        id
    }

    /// Adds a constant. If the name is taken, a number is appended; so it is for inputs and nodes.
    pub fn constant(&mut self, name: &str, tensor: impl Into<Arc<Tensor>>) -> ValueId {
        let name = self.graph.fresh(name);
        let tensor = tensor.into();
        self.graph.push_value(name, tensor.ty(), Def::Const(tensor))
    }

    /// Adds a node with one result, named after the node, and returns the result.
    ///
    /// # Errors
    /// If the operands contradict the operator's definition.
    pub fn node(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: &[ValueId],
    ) -> Result<ValueId, RuleError> {
        let inputs = inputs.iter().map(|&v| Some(v)).collect();
        Ok(self.node_with(name, op.into(), inputs, 1)?[0])
    }

    /// Adds a node with optional operands and any number of results, named after the node.
    ///
    /// # Errors
    /// If the operands contradict the operator's definition.
    pub fn node_with(
        &mut self,
        name: &str,
        op: Op,
        inputs: Vec<Option<ValueId>>,
        outputs: usize,
    ) -> Result<Vec<ValueId>, RuleError> {
        let name = self.graph.fresh(name);
        let results: Vec<ValueId> = (0..outputs)
            .map(|i| {
                let base = if i == 0 { format!("{name}_out") } else { format!("{name}_out{i}") };
                let n = self.graph.fresh(&base);
                self.graph.push_value(n, Type::Unknown, Def::Outer)
            })
            .collect();
        let id = self.graph.insert_node(
            Node {
                name,
                op,
                extra: Vec::new(),
                inputs,
                outputs: results.iter().map(|&v| Some(v)).collect(),
                captures: Vec::new(),
                meta: Meta::default(),
                order: 0,
                prev: None,
                next: None,
            },
            None,
        );
        let types = infer::infer(&OpCtx::of(&self.graph, id))?;
        for (&v, ty) in results.iter().zip(types) {
            self.graph.value_mut(v).ty = ty;
        }
        Ok(results)
    }

    /// Makes the value an output of the graph, after those that it has.
    pub fn output(&mut self, value: ValueId) {
        self.outputs.push(value);
    }

    /// Returns the finished graph.
    pub fn finish(mut self) -> Graph {
        let outputs = std::mem::take(&mut self.outputs);
        self.graph.set_outputs(outputs);
        self.graph
    }
}
