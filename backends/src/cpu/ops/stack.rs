//! Joining what the turns of a loop gave.

use graph_opt_ir::Op;

use super::layout;
use crate::RunError;
use crate::cpu::array::{Array, Buf};
use crate::cpu::cx::{Cx, Env, unsupported};

/// Arrays of one shape along a new first axis.
pub(crate) fn stack(all: Vec<Array>, env: Env) -> Result<Array, RunError> {
    stack_along(all, 0, env)
}

/// Arrays of one shape along a new axis.
pub(crate) fn stack_along(all: Vec<Array>, axis: usize, env: Env) -> Result<Array, RunError> {
    let op = Op::from(graph_opt_ir::op::Concat { axis: axis as i64 });
    if all.iter().any(|a| matches!(a.data, Buf::List(_))) {
        unsupported!("sequences or optionals as a scan");
    }
    if all.is_empty() {
        return Ok(Array::new(vec![0], Vec::<f32>::new()));
    }
    let mut inputs = vec![];
    for a in all {
        let mut dims = a.dims.clone();
        dims.insert(axis, 1);
        inputs.push(Some(a.contiguous().reshaped(dims)?));
    }
    Ok(layout::concat(&mut Cx {
        op: &op,
        opset: 13,
        inputs,
        outputs: 1,
        env,
        packs: None,
        target: None.into(),
    })?
    .remove(0))
}
