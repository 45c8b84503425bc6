//! Checks of a node's attributes and bodies that do not depend on types.

use std::sync::Arc;

use super::{Attr, Attrs, Op};

/// Whether attributes and subgraphs fit a node with so many operands and results. `extra` are attributes that the
/// operator does not define.
///
/// # Errors
/// What was expected, and what was found.
pub(crate) fn fits(op: &Op, extra: &Attrs, inputs: usize, outputs: usize) -> Result<(), String> {
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
            // Before version 9, the first input holds sequence lengths, which the body does not get.
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

/// The name of an attribute that occurs twice, if there is one.
pub(crate) fn repeated(attrs: &Attrs) -> Option<&str> {
    let again =
        |(i, (name, _)): &(usize, &(Arc<str>, Attr))| attrs[..*i].iter().any(|a| a.0 == *name);
    attrs.iter().enumerate().find(again).map(|(_, a)| &*a.0)
}
