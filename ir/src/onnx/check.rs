//! Checks of nodes that do not depend on types.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::{RawNode, short};
use crate::op::schema::{Known, find};
use crate::op::{Attrs, ONNX, Op};

/// Checks that the operator exists, and takes the node's numbers of inputs and outputs.
pub(super) fn arity(raw: &RawNode<'_>, opsets: &BTreeMap<Arc<str>, i64>) -> Result<(), String> {
    if raw.op_type.is_empty() {
        return Err("expected an operator, found an empty name".into());
    }
    if raw.domain != ONNX {
        // Domains that ONNX Runtime supports without an import.
        let known = raw.domain.starts_with("com.microsoft") || raw.domain.starts_with("ai.onnx.");
        if known || opsets.contains_key(raw.domain) {
            return Ok(());
        }
        return Err(format!("the model does not import its domain {:?}", short(raw.domain)));
    }
    let Some(&opset) = opsets.get(ONNX) else {
        return Err("the model does not import ONNX's own operators, of which it is one".into());
    };
    let schema = match find(raw.op_type, opset) {
        Known::Yes(s) => s,
        Known::Experimental => return Ok(()),
        Known::Since(v) => {
            return Err(format!(
                "{} needs version {v} of ONNX's operators or later, found {opset}",
                short(raw.op_type)
            ));
        }
        Known::No => return Err(format!("ONNX has no operator {}", short(raw.op_type))),
    };
    // Version 18 of GroupNormalization was replaced in version 21, and runtimes run it.
    if schema.deprecated && raw.op_type != "GroupNormalization" {
        return Err(format!("version {opset} of ONNX's operators no longer has {}", raw.op_type));
    }
    let count = |what: &str, n: usize, (least, most): (usize, usize)| {
        if n < least {
            Err(format!("expected at least {least} {what}, found {n}"))
        } else if n > most {
            Err(format!("expected at most {most} {what}, found {n}"))
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
    // The first two inputs of Loop are optional, although the schema counts them as required; and files omit
    // the region of interest that version 11 of Resize requires.
    let required = match raw.op_type {
        "Loop" | "Scan" => 0,
        "Resize" => 1,
        _ => schema.inputs.0,
    };
    match raw.inputs.iter().take(required).position(|i| i.is_empty()) {
        Some(i) => Err(format!("its input {i} is required, but absent")),
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
                c.value_string.is_some(),
                c.value_strings.is_some(),
            ];
            let others = extra.iter().filter(|(n, _)| &**n == "sparse_value").count();
            match own.iter().filter(|&&b| b).count() + others {
                1 => Ok(()),
                0 => Err("it has no value".into()),
                _ => Err("it has more than one value".into()),
            }
        }
        Op::If(i) => {
            for (name, g) in [("then_branch", &i.then_branch), ("else_branch", &i.else_branch)] {
                if !g.0.inputs().is_empty() {
                    return Err(format!("expected no inputs of its {name}, found some"));
                }
                let made = g.0.outputs().len();
                if made != outputs {
                    return Err(format!(
                        "expected {outputs} outputs of its {name}, as the node has, found {made}"
                    ));
                }
            }
            Ok(())
        }
        Op::Loop(l) => {
            let carried = inputs.saturating_sub(2);
            let (have_in, have_out) = (l.body.0.inputs().len(), l.body.0.outputs().len());
            if have_in != carried + 2 {
                return Err(format!(
                    "expected {} inputs of its body, found {have_in}",
                    carried + 2
                ));
            }
            if have_out < carried + 1 || have_out < outputs + 1 {
                let need = 1 + carried.max(outputs);
                return Err(format!("expected {need} outputs of its body, found {have_out}"));
            }
            Ok(())
        }
        Op::Scan(s) => {
            let have = (s.body.0.inputs().len(), s.body.0.outputs().len());
            // Before version 9, the first input is no operand of the body.
            if have.0 != inputs && have.0 + 1 != inputs {
                return Err(format!("expected {inputs} inputs of its body, found {}", have.0));
            }
            if have.1 < outputs {
                return Err(format!("expected {outputs} outputs of its body, found {}", have.1));
            }
            match usize::try_from(s.num_scan_inputs) {
                Ok(1..) => Ok(()),
                _ => Err(format!("expected scanned inputs, found {}", s.num_scan_inputs)),
            }
        }
        _ => Ok(()),
    }
}
