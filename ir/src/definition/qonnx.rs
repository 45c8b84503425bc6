//! Definitions of QONNX's quantizers, which keep numbers as floats (Pappalardo et al., "QONNX: Representing Arbitrary-
//! Precision Quantized Neural Networks", 2022; `qonnx/custom_op/general/quant.py`). Brevitas wrote them in a domain of
//! its own before.

use super::onnx::{Written, known};
use super::source::Source;
use crate::op::Op;
use crate::op_context::fail;

/// Writes the definition of the node's quantizer.
pub(super) fn write(s: &mut Source<'_>) -> Written {
    match s.ctx.op {
        Op::Quant(o) => quant(s, o.signed != 0, o.narrow != 0, &o.rounding_mode),
        Op::BrevitasQuant(o) => quant(s, o.signed != 0, o.narrow != 0, &o.rounding_mode),
        _ => {
            s.names(&["x", "scale"], &["y"]);
            signs(s, "x")?;
            s.text("%y = Mul %signs, %scale");
            Ok(true)
        }
    }
}

/// Defines `%signs`: 1 where the value is at least 0, and -1 elsewhere.
fn signs(s: &mut Source<'_>, of: &str) -> Written {
    let t = known!(s.dtype("x"));
    s.text(&format!(
        "%none = const 0.0 : {t}[]
         %up = const 1.0 : {t}[]
         %down = const -1.0 : {t}[]
         %is_up = GreaterOrEqual %{of}, %none
         %signs = Where %is_up, %up, %down"
    ));
    Ok(true)
}

fn quant(s: &mut Source<'_>, signed: bool, narrow: bool, rounding: &str) -> Written {
    s.names(&["x", "scale", "zero", "bits"], &["y"]);
    let t = known!(s.dtype("x"));
    let wide = known!(s.dtype("bits"));
    s.text(&format!(
        "%ratio = Div %x, %scale
         %real = Add %ratio, %zero
         %two = const 2.0 : {wide}[]
         %one = const 1.0 : {wide}[]"
    ));
    if signed {
        s.text("%magnitude = Sub %bits, %one");
        s.text("%codes = Pow %two, %magnitude");
        s.text("%high_wide = Sub %codes, %one");
        s.text(if narrow { "%low_wide = Neg %high_wide" } else { "%low_wide = Neg %codes" });
    } else {
        let unused = if narrow { "%two" } else { "%one" };
        s.text("%codes = Pow %two, %bits");
        s.text(&format!("%high_wide = Sub %codes, {unused}"));
        s.text("%low_wide = Sub %one, %one");
    }
    let to = t.to_onnx();
    s.text(&format!(
        "%high = Cast %high_wide {{to={to}}}
         %low = Cast %low_wide {{to={to}}}
         %below = Min %real, %high
         %within = Max %below, %low"
    ));
    rounded(s, rounding)?;
    if signed {
        // Of one bit, the codes are -1 and 1.
        signs(s, "real")?;
        s.text(
            "%is_one = Equal %bits, %one
             %code = Where %is_one, %signs, %whole",
        );
    } else {
        s.text("%code = Identity %whole");
    }
    s.text(
        "%apart = Sub %code, %zero
         %y = Mul %apart, %scale",
    );
    Ok(true)
}

/// Defines `%whole`, the rounded `%within`.
fn rounded(s: &mut Source<'_>, mode: &str) -> Written {
    let t = known!(s.dtype("x"));
    // Away from zero and towards it: of the magnitude, with the sign.
    let of_magnitude = |s: &mut Source<'_>, shift: &str, op: &str| {
        s.text(&format!(
            "%sign = Sign %within
             %size = Abs %within
             %half = const {shift} : {t}[]
             %moved = Add %size, %half
             %steps = {op} %moved
             %whole = Mul %sign, %steps"
        ));
    };
    match mode.to_uppercase().as_str() {
        "ROUND" | "HALF_EVEN" => s.text("%whole = Round %within"),
        "CEIL" => s.text("%whole = Ceil %within"),
        "FLOOR" => s.text("%whole = Floor %within"),
        "UP" => of_magnitude(s, "0.0", "Ceil"),
        "DOWN" => of_magnitude(s, "0.0", "Floor"),
        "HALF_UP" => of_magnitude(s, "0.5", "Floor"),
        "HALF_DOWN" => of_magnitude(s, "-0.5", "Ceil"),
        _ => fail!(
            "expected ROUND, HALF_EVEN, CEIL, FLOOR, UP, DOWN, HALF_UP or HALF_DOWN as rounding_mode, found {mode:?}"
        ),
    }
    Ok(true)
}
