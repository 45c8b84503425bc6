//! Checks of single nodes that need no types.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::{RawNode, short};
use crate::op::schema::{Known, find};
use crate::op::{Attrs, ONNX, Op};

/// Whether the operator exists and takes so many inputs and outputs.
pub(super) fn arity(raw: &RawNode<'_>, opsets: &BTreeMap<Arc<str>, i64>) -> Result<(), String> {
    if raw.op_type.is_empty() {
        return Err("it names no operator".into());
    }
    if raw.domain != ONNX {
        // Those that ONNX Runtime knows without an import.
        let known = raw.domain.starts_with("com.microsoft") || raw.domain.starts_with("ai.onnx.");
        if known || opsets.contains_key(raw.domain) {
            return Ok(());
        }
        return Err(format!("the model does not import its domain {:?}", short(raw.domain)));
    }
    let Some(&opset) = opsets.get(ONNX) else {
        return Err("it is one of ONNX's own operators, which the model does not import".into());
    };
    let schema = match find(raw.op_type, opset) {
        Known::Yes(s) => s,
        Known::Experimental => return Ok(()),
        Known::Since(v) => {
            return Err(format!(
                "came with version {v} of ONNX's operators, the model has {opset}"
            ));
        }
        Known::No => return Err(format!("ONNX has no operator {}", short(raw.op_type))),
    };
    if schema.deprecated {
        return Err(format!("{} is no longer in version {opset} of ONNX's operators", raw.op_type));
    }
    let count = |what: &str, n: usize, (least, most): (usize, usize)| {
        if n < least {
            Err(format!("it has {n} {what}, needs at least {least}"))
        } else if n > most {
            Err(format!("it has {n} {what}, takes at most {most}"))
        } else {
            Ok(())
        }
    };
    // An attribute that became required after it had a default.
    if raw.op_type == "Concat" && opset >= 4 && !raw.attrs.iter().any(|a| a.name == "axis") {
        return Err("it needs the attribute axis".into());
    }
    count("inputs", raw.inputs.len(), schema.inputs)?;
    count("outputs", raw.outputs.len(), schema.outputs)?;
    // Loop's first two inputs are optional though those after them are counted as required, and
    // files leave out the region of interest that Resize 11 demands.
    let required = match raw.op_type {
        "Loop" | "Scan" => 0,
        "Resize" => 1,
        _ => schema.inputs.0,
    };
    match raw.inputs.iter().take(required).position(|i| i.is_empty()) {
        Some(i) => Err(format!("its input {i} is absent, but required")),
        None => Ok(()),
    }
}

/// Whether attributes and subgraphs fit the node.
pub(super) fn node(op: &Op, extra: &Attrs, inputs: usize, outputs: usize) -> Result<(), String> {
    match op {
        Op::Constant(c) => {
            let own = [
                c.value.is_some(),
                c.value_float.is_some(),
                c.value_floats.is_some(),
                c.value_int.is_some(),
                c.value_ints.is_some(),
            ];
            let others = ["value_string", "value_strings", "sparse_value"];
            let others = extra.iter().filter(|(n, _)| others.contains(&&**n)).count();
            match own.iter().filter(|&&b| b).count() + others {
                1 => Ok(()),
                0 => Err("it has no value".into()),
                _ => Err("it has more than one value".into()),
            }
        }
        Op::If(i) => {
            for (name, g) in [("then_branch", &i.then_branch), ("else_branch", &i.else_branch)] {
                if !g.0.inputs().is_empty() {
                    return Err(format!("its {name} has inputs"));
                }
                let made = g.0.outputs().len();
                if made != outputs {
                    return Err(format!("its {name} has {made} outputs, the node has {outputs}"));
                }
            }
            Ok(())
        }
        Op::Loop(l) => {
            let carried = inputs.saturating_sub(2);
            let (have_in, have_out) = (l.body.0.inputs().len(), l.body.0.outputs().len());
            if have_in != carried + 2 {
                return Err(format!("its body has {have_in} inputs, needs {}", carried + 2));
            }
            if have_out < carried + 1 || have_out < outputs + 1 {
                let need = 1 + carried.max(outputs);
                return Err(format!("its body has {have_out} outputs, needs {need}"));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
