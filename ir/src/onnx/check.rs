//! Whether ONNX has an operator, and with so many inputs and outputs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::{RawNode, short};
use crate::op::ONNX;
use crate::op::schema::{Known, find};

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
