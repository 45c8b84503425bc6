//! Definitions of ONNX Runtime's quantized operators: dequantize, compute, quantize.

use super::onnx::{UNKNOWN, Written, known};
use super::source::Source;
use crate::DType;
use crate::op::{MatMulNBits, Op, QGemm};
use crate::op_context::fail;

/// Writes the definition of the node's operator.
pub(super) fn write(s: &mut Source<'_>) -> Written {
    match s.ctx.op {
        Op::QLinearAdd(_) => binary(s, "Add"),
        Op::QLinearMul(_) => binary(s, "Mul"),
        Op::QLinearSigmoid(_) => unary(s, "%real_y = Sigmoid %real_x"),
        Op::QLinearLeakyRelu(o) => {
            unary(s, &format!("%real_y = LeakyRelu %real_x {{alpha={:?}}}", o.alpha));
        }
        Op::QLinearSoftmax(o) => {
            s.names(&["x", "xs", "xz", "ys", "yz"], &["y"]);
            let rank = known!(s.rank("x"));
            let axis = crate::op_context::axis_of(o.axis, rank)?;
            if o.opset >= 13 {
                unary(s, &format!("%real_y = Softmax %real_x {{axis={axis}}}"));
            } else {
                // Before version 13, over all axes from this one on.
                unary(
                    s,
                    &format!(
                        "%flat = Flatten %real_x {{axis={axis}}}
                         %flat_y = Softmax %flat {{axis=1}}
                         %form = Shape %x
                         %real_y = Reshape %flat_y, %form"
                    ),
                );
            }
        }
        Op::QLinearAveragePool(o) => {
            if o.channels_last != 0 {
                return UNKNOWN;
            }
            let list = |name: &str, v: &Option<Vec<i64>>| {
                v.as_ref().map_or(String::new(), |v| format!(", {name}={v:?}"))
            };
            let (pads, strides) = (list("pads", &o.pads), list("strides", &o.strides));
            unary(
                s,
                &format!(
                    "%real_y = AveragePool %real_x {{kernel_shape={:?}, ceil_mode={}, \
                     count_include_pad={}, auto_pad={:?}{pads}{strides}}}",
                    o.kernel_shape, o.ceil_mode, o.count_include_pad, o.auto_pad
                ),
            );
        }
        Op::QLinearGlobalAveragePool(o) => {
            if o.channels_last != 0 {
                return UNKNOWN;
            }
            unary(s, "%real_y = GlobalAveragePool %real_x");
        }
        Op::QLinearReduceMean(o) => {
            let axes = o.axes.as_ref().map_or(String::new(), |a| format!("axes={a:?}, "));
            unary(s, &format!("%real_y = ReduceMean %real_x {{{axes}keepdims={}}}", o.keepdims));
        }
        Op::QLinearConcat(o) => {
            let n = s.ctx.inputs.len().saturating_sub(2) / 3;
            let all: Vec<String> = (0..n)
                .flat_map(|i| [format!("x{i}"), format!("xs{i}"), format!("xz{i}")])
                .collect();
            let names: Vec<&str> =
                ["ys", "yz"].into_iter().chain(all.iter().map(String::as_str)).collect();
            s.names(&names, &["y"]);
            let mut parts = Vec::with_capacity(n);
            for i in 0..n {
                s.text(&format!("%real{i} = DequantizeLinear %x{i}, %xs{i}, %xz{i}"));
                parts.push(format!("%real{i}"));
            }
            s.text(&format!("%real_y = Concat {} {{axis={}}}", parts.join(", "), o.axis));
            quantize(s);
        }
        Op::QLinearWhere(_) => {
            s.names(&["c", "x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], &["y"]);
            s.text(
                "%real_x = DequantizeLinear %x, %xs, %xz
                 %real_w = DequantizeLinear %w, %ws, %wz
                 %real_y = Where %c, %real_x, %real_w",
            );
            quantize(s);
        }
        Op::QGemm(o) => return gemm(s, o),
        Op::DynamicQuantizeMatMul(_) => {
            s.names(&["a", "b", "b_scale", "b_zero", "bias"], &["y"]);
            let zero = if s.has("b_zero") { ", %b_zero" } else { "" };
            s.text(&format!(
                "%q, %a_scale, %a_zero = DynamicQuantizeLinear %a
                 %sums = MatMulInteger %q, %b, %a_zero{zero}"
            ));
            scaled(s);
        }
        Op::MatMulIntegerToFloat(_) => {
            s.names(&["a", "b", "a_scale", "b_scale", "a_zero", "b_zero", "bias"], &["y"]);
            let zeros = match (s.has("a_zero"), s.has("b_zero")) {
                (true, true) => ", %a_zero, %b_zero",
                (true, false) => ", %a_zero",
                (false, true) => ", _, %b_zero",
                (false, false) => "",
            };
            s.text(&format!("%sums = MatMulInteger %a, %b{zeros}"));
            scaled(s);
        }
        Op::MatMulNBits(o) => return n_bits(s, o),
        _ => return UNKNOWN,
    }
    Ok(true)
}

/// Defines `%y`, `%real_y` quantized by `%ys` and `%yz`.
fn quantize(s: &mut Source<'_>) {
    let zero = if s.has("yz") { ", %yz" } else { "" };
    s.text(&format!("%y = QuantizeLinear %real_y, %ys{zero}"));
}

fn dequantize(s: &mut Source<'_>, x: &str) {
    let zero = if s.has(&format!("{x}z")) { format!(", %{x}z") } else { String::new() };
    s.text(&format!("%real_{x} = DequantizeLinear %{x}, %{x}s{zero}"));
}

fn unary(s: &mut Source<'_>, compute: &str) {
    s.names(&["x", "xs", "xz", "ys", "yz"], &["y"]);
    dequantize(s, "x");
    s.text(compute);
    quantize(s);
}

fn binary(s: &mut Source<'_>, op: &str) {
    s.names(&["a", "as", "az", "b", "bs", "bz", "ys", "yz"], &["y"]);
    dequantize(s, "a");
    dequantize(s, "b");
    s.text(&format!("%real_y = {op} %real_a, %real_b"));
    quantize(s);
}

/// Defines `%y`: the sums of products, scaled, and the bias.
fn scaled(s: &mut Source<'_>) {
    s.text(
        "%real = Cast %sums {to=1}
         %factor = Mul %a_scale, %b_scale
         %product = Mul %real, %factor",
    );
    match s.has("bias") {
        true => s.text("%y = Add %product, %bias"),
        false => s.text("%y = Identity %product"),
    }
}

fn gemm(s: &mut Source<'_>, o: &QGemm) -> Written {
    s.names(&["a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "c", "ys", "yz"], &["y"]);
    for (x, turned) in [("a", o.transA), ("b", o.transB)] {
        let perm = if turned != 0 { "[1,0]" } else { "[0,1]" };
        s.text(&format!("%{x}_turned = Transpose %{x} {{perm={perm}}}"));
    }
    s.text("%products = MatMulInteger %a_turned, %b_turned, %a_zero, %b_zero");
    match s.has("c") {
        true => s.text("%sums = Add %products, %c"),
        false => s.text("%sums = Identity %products"),
    }
    s.text(&format!(
        "%alpha = const {:?} : f32[]
         %real = Cast %sums {{to=1}}
         %scales = Mul %a_scale, %b_scale
         %factor = Mul %scales, %alpha
         %real_y = Mul %real, %factor",
        o.alpha
    ));
    match s.has("ys") {
        true => quantize(s),
        false => s.text("%y = Identity %real_y"),
    }
    Ok(true)
}

/// Products with weights of 2, 4 or 8 bits, packed along K with the first in the lowest bits, and scaled
/// by blocks.
fn n_bits(s: &mut Source<'_>, o: &MatMulNBits) -> Written {
    s.names(&["a", "b", "scales", "zeros", "groups", "bias"], &["y"]);
    let t = known!(s.dtype("a"));
    if s.has("groups") {
        return UNKNOWN;
    }
    let (k, n, bits, block) = (o.K, o.N, o.bits, o.block_size);
    if !matches!(bits, 2 | 4 | 8) || block <= 0 || k <= 0 || n <= 0 || block % (8 / bits) != 0 {
        fail!(
            "expected 2, 4 or 8 bits and positive K, N and block_size, found {bits}, {k}, {n}, {block}"
        );
    }
    let blocks = (k + block - 1) / block;
    unpack(s, "b", "whole", bits);
    s.text(&format!(
        "%blocks_form = const [{n},{blocks},{block}] : i64[3]
         %by_block = Reshape %whole, %blocks_form
         %real = Cast %by_block {{to={to}}}
         %scales_form = const [{n},{blocks},1] : i64[3]
         %scale = Reshape %scales, %scales_form",
        to = t.to_onnx()
    ));
    match s.has("zeros") {
        false => s.text(&format!("%zero = const {} : {t}[]", 1i64 << (bits - 1))),
        true if known!(s.dtype("zeros")) == DType::U8 => {
            // Each row of zero points fills whole bytes.
            let bytes = (blocks * bits + 7) / 8;
            s.text(&format!(
                "%zero_form = const [{n},{bytes}] : i64[2]
                 %zero_bytes = Reshape %zeros, %zero_form"
            ));
            unpack(s, "zero_bytes", "zero_whole", bits);
            s.text(&format!(
                "%zero_rows_form = const [{n},-1] : i64[2]
                 %zero_rows = Reshape %zero_whole, %zero_rows_form
                 %zero_cut = Slice %zero_rows [1: 0..{blocks}]
                 %zero_column = Unsqueeze %zero_cut {{axes=[2]}}
                 %zero = Cast %zero_column {{to={}}}",
                t.to_onnx()
            ));
        }
        true => s.text("%zero = Reshape %zeros, %scales_form"),
    }
    s.text(&format!(
        "%shifted = Sub %real, %zero
         %weights = Mul %shifted, %scale
         %rows_form = const [{n},-1] : i64[2]
         %rows = Reshape %weights, %rows_form
         %used = Slice %rows [1: 0..{k}]
         %columns = Transpose %used {{perm=[1,0]}}
         %product = MatMul %a, %columns"
    ));
    match s.has("bias") {
        true => s.text("%y = Add %product, %bias"),
        false => s.text("%y = Identity %product"),
    }
    Ok(true)
}

/// Defines `%to`, the numbers of so many bits in the bytes of `%from`, along a new last axis.
fn unpack(s: &mut Source<'_>, from: &str, to: &str, bits: i64) {
    let count = 8 / bits;
    s.text(&format!(
        "%{to}_bytes = Cast %{from} {{to=6}}
         %{to}_base = const {} : i32[]",
        1i64 << bits
    ));
    let mut parts = Vec::new();
    for i in 0..count {
        s.text(&format!(
            "%{to}_power{i} = const {} : i32[]
             %{to}_low{i} = Div %{to}_bytes, %{to}_power{i}
             %{to}_mod{i} = Mod %{to}_low{i}, %{to}_base
             %{to}_part{i} = Unsqueeze %{to}_mod{i} {{axes=[-1]}}",
            1i64 << (bits * i)
        ));
        parts.push(format!("%{to}_part{i}"));
    }
    s.text(&format!("%{to} = Concat {} {{axis=-1}}", parts.join(", ")));
}
