//! Definitions of ONNX's optimizers (ai.onnx.preview.training). Their operands are a learning rate, a count
//! of updates, and then all tensors, all gradients and all states of a kind, one after another.

use super::onnx::{UNKNOWN, Written, known};
use super::source::Source;
use crate::op::Op;
use crate::op_context::fail;

/// Writes the definition of the node's optimizer.
pub(super) fn write(s: &mut Source<'_>) -> Written {
    let (states, results): (&[&str], &[&str]) = match s.ctx.op {
        Op::Adagrad(_) => (&["h"], &["x", "h"]),
        Op::Adam(_) => (&["v", "h"], &["x", "v", "h"]),
        _ => (&["v"], &["x", "v"]),
    };
    let kinds: Vec<&str> = ["x", "g"].iter().chain(states).copied().collect();
    let given = s.ctx.inputs.len().saturating_sub(2);
    let n = given / kinds.len();
    if n == 0 || !given.is_multiple_of(kinds.len()) {
        fail!("expected {} operands for each tensor, found {given} together", kinds.len());
    }
    let of = |kinds: &[&str], what: &str| -> Vec<String> {
        kinds.iter().flat_map(|k| (0..n).map(move |i| format!("{k}{i}{what}"))).collect()
    };
    let inputs: Vec<String> =
        ["r".to_owned(), "t".to_owned()].into_iter().chain(of(&kinds, "")).collect();
    let outputs = of(results, "_new");
    s.names(&inputs, &outputs);
    let t = known!(s.dtype("x0"));
    let constant = |s: &mut Source<'_>, name: &str, value: f32| {
        s.text(&format!("%{name} = const {value:?} : {t}[]"));
    };
    constant(s, "one", 1.0);
    s.text(&format!("%count = Cast %t {{to={}}}", t.to_onnx()));
    match s.ctx.op {
        Op::Adagrad(o) => {
            constant(s, "decay", o.decay_factor);
            constant(s, "epsilon", o.epsilon);
            constant(s, "norm", o.norm_coefficient);
            s.text(
                "%decayed = Mul %count, %decay
                 %slower = Add %decayed, %one
                 %rate = Div %r, %slower",
            );
        }
        Op::Adam(o) => {
            constant(s, "alpha", o.alpha);
            constant(s, "beta", o.beta);
            constant(s, "alpha_rest", 1.0 - o.alpha);
            constant(s, "beta_rest", 1.0 - o.beta);
            constant(s, "epsilon", o.epsilon);
            constant(s, "norm", o.norm_coefficient);
            constant(s, "post", 1.0 - o.norm_coefficient_post);
            constant(s, "zero", 0.0);
            // The first updates are corrected for states that start at 0.
            s.text(
                "%alpha_power = Pow %alpha, %count
                 %beta_power = Pow %beta, %count
                 %alpha_left = Sub %one, %alpha_power
                 %beta_left = Sub %one, %beta_power
                 %root_left = Sqrt %beta_left
                 %faster = Mul %r, %root_left
                 %corrected = Div %faster, %alpha_left
                 %has_count = Greater %count, %zero
                 %rate = Where %has_count, %corrected, %r",
            );
        }
        Op::Momentum(o) => {
            constant(s, "alpha", o.alpha);
            constant(s, "beta_own", o.beta);
            constant(s, "norm", o.norm_coefficient);
            constant(s, "zero", 0.0);
            s.text(
                "%has_count = Greater %count, %zero
                 %beta = Where %has_count, %beta_own, %one",
            );
        }
        _ => return UNKNOWN,
    }
    for i in 0..n {
        s.text(&format!(
            "%decay{i} = Mul %norm, %x{i}
             %grad{i} = Add %decay{i}, %g{i}"
        ));
        match s.ctx.op {
            Op::Adagrad(_) => s.text(&format!(
                "%sq{i} = Mul %grad{i}, %grad{i}
                 %h{i}_new = Add %h{i}, %sq{i}
                 %root{i} = Sqrt %h{i}_new
                 %low{i} = Add %root{i}, %epsilon
                 %step{i} = Mul %rate, %grad{i}
                 %scaled{i} = Div %step{i}, %low{i}
                 %x{i}_new = Sub %x{i}, %scaled{i}"
            )),
            Op::Adam(_) => s.text(&format!(
                "%sq{i} = Mul %grad{i}, %grad{i}
                 %old_v{i} = Mul %alpha, %v{i}
                 %own_v{i} = Mul %alpha_rest, %grad{i}
                 %v{i}_new = Add %old_v{i}, %own_v{i}
                 %old_h{i} = Mul %beta, %h{i}
                 %own_h{i} = Mul %beta_rest, %sq{i}
                 %h{i}_new = Add %old_h{i}, %own_h{i}
                 %root{i} = Sqrt %h{i}_new
                 %low{i} = Add %root{i}, %epsilon
                 %step{i} = Mul %rate, %v{i}_new
                 %scaled{i} = Div %step{i}, %low{i}
                 %moved{i} = Sub %x{i}, %scaled{i}
                 %x{i}_new = Mul %post, %moved{i}"
            )),
            Op::Momentum(o) => {
                s.text(&format!(
                    "%old_v{i} = Mul %alpha, %v{i}
                     %own_v{i} = Mul %beta, %grad{i}
                     %v{i}_new = Add %old_v{i}, %own_v{i}"
                ));
                match &*o.mode {
                    "standard" => s.text(&format!("%way{i} = Identity %v{i}_new")),
                    "nesterov" => s.text(&format!(
                        "%ahead{i} = Mul %alpha, %v{i}_new
                         %way{i} = Add %grad{i}, %ahead{i}"
                    )),
                    other => fail!("expected standard or nesterov as mode, found {other:?}"),
                }
                s.text(&format!(
                    "%step{i} = Mul %r, %way{i}
                     %x{i}_new = Sub %x{i}, %step{i}"
                ));
            }
            _ => return UNKNOWN,
        }
    }
    Ok(true)
}
