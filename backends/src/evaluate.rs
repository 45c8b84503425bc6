//! The interpreter as the evaluator that passes fold constants with.

use std::sync::Arc;

use graph_opt_ir::{Op, Tensor};
use graph_opt_passes::{Evaluate, EvaluateError};

/// Folds with the reference interpreter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Folder;

impl Evaluate for Folder {
    fn evaluate(
        &self,
        op: &Op,
        opset: i64,
        inputs: &[Option<Arc<Tensor>>],
        outputs: usize,
        limit: u64,
    ) -> Result<Vec<Tensor>, EvaluateError> {
        let inputs: Vec<Option<Tensor>> = inputs.iter().map(|t| t.as_deref().cloned()).collect();
        crate::cpu::evaluate(op, opset, &inputs, outputs, limit)
            .map_err(|e| EvaluateError(e.to_string()))
    }
}
