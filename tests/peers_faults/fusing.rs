//! Fusions: what is read between the nodes, layer normalisation, Gemm.

use graph_opt_ir::Graph;
use graph_opt_passes::registry::OPTIMISE;

use super::{Row, check, has_same_bits, is_near, judged, ops, parse, row, run};

/// Whatever is merged, with the value in between an output, too.
pub(super) const INNER: &[Row] = &[
    row(
        "MatMul and Add",
        "(%x: f32[2,3]) -> (%y, %a) opset 13 {
           %w = const random(1) : f32[3,4]
           %b = const random(2) : f32[4]
           %a = MatMul %x, %w : ?
           %y = Add %a, %b : ?
         }",
        "MatMul Add",
        "MatMul Add",
    ),
    row(
        "Gemm and Mul",
        "(%x: f32[2,3]) -> (%y, %a) opset 13 {
           %w = const random(1) : f32[3,4]
           %b = const random(2) : f32[4]
           %a = Gemm %x, %w : ?
           %y = Mul %a, %b : ?
         }",
        "Gemm Mul",
        "Gemm Mul",
    ),
    row(
        "Transpose twice: the second need not wait for the first",
        "(%x: f32[2,3,4]) -> (%y, %a) opset 13 {
           %a = Transpose %x {perm=[1,2,0]} : ?
           %y = Transpose %a {perm=[1,2,0]} : ?
         }",
        "Transpose Transpose",
        "Transpose Transpose",
    ),
    row(
        "Transpose and back",
        "(%x: f32[2,3,4]) -> (%y, %a) opset 13 {
           %a = Transpose %x {perm=[1,2,0]} : ?
           %b = Transpose %a {perm=[2,0,1]} : ?
           %y = Neg %b : ?
         }",
        "Transpose Neg",
        "Transpose Neg",
    ),
    row(
        "Reshape twice",
        "(%x: f32[2,3,4]) -> (%y, %a) opset 13 {
           %p = const [6,4] : i64[2]
           %q = const [3,8] : i64[2]
           %a = Reshape %x, %p : ?
           %y = Reshape %a, %q : ?
         }",
        "Reshape Reshape",
        "Reshape Reshape",
    ),
    row(
        "Slice twice",
        "(%x: f32[8,8]) -> (%y, %a) opset 13 {
           %a = Slice %x [0: 2..7] : ?
           %y = Slice %a [0: 1..3] : ?
         }",
        "Slice Slice",
        "Slice Slice",
    ),
    row(
        "Concat of a Concat",
        "(%x: f32[2,3]) -> (%y, %a) opset 13 {
           %p = Neg %x : ?
           %a = Concat %x, %p {axis=0} : ?
           %y = Concat %a, %x {axis=0} : ?
         }",
        "Neg Concat Concat",
        "Neg Concat Concat",
    ),
    row(
        "Squeeze and Unsqueeze",
        "(%x: f32[1,3]) -> (%y, %a) opset 11 {
           %a = Squeeze %x {axes=[0]} : ?
           %b = Unsqueeze %a {axes=[0]} : ?
           %y = Neg %b : ?
         }",
        "Squeeze Neg",
        "Squeeze Neg",
    ),
    row(
        "an addition of 0",
        "(%x: f32[2,3]) -> (%y, %b) opset 13 {
           %z = const [0,0,0] : f32[3]
           %a = Exp %x : ?
           %b = Add %a, %z : ?
           %y = Neg %b : ?
         }",
        "Exp Add Neg",
        "Exp Neg",
    ),
    row(
        "an addition of 0 between two outputs",
        "(%x: f32[2,3]) -> (%y, %b, %a) opset 13 {
           %z = const [0,0,0] : f32[3]
           %a = Exp %x : ?
           %b = Add %a, %z : ?
           %y = Neg %b : ?
         }",
        "Exp Add Neg",
        "Exp Add Neg",
    ),
    row(
        "the same node twice, both outputs",
        "(%x: f32[2,3]) -> (%y, %a) opset 13 {
           %a = Exp %x : ?
           %y = Exp %x : ?
         }",
        "Exp Exp",
        "Exp Exp",
    ),
];

/// ONNX Runtime 4110; of Conv and BatchNormalization, and of Pad and Conv, see there.
#[test]
fn runtime_4110_inner_value_is_an_output() {
    check(INNER);
}

/// The same without the output: the fusions are there to be made.
#[test]
fn runtime_4110_and_is_merged_where_it_is_not() {
    for r in INNER {
        let only: Vec<&str> = r.model.split(") opset").collect();
        let (head, outputs) = only[0].rsplit_once('(').unwrap();
        let first = outputs.split(',').next().unwrap();
        let g = parse(&format!("{head}({first}) opset{}", only[1]));
        let (t, ..) = run(&g, OPTIMISE);
        assert!(is_near(&judged(&g, &t)), "{}", r.what);
        assert!(t.len() < g.len() && t.len() <= 2, "{}: {}", r.what, ops(&t));
    }
}

/// A layer normalisation, as exporters write it out.
fn layer_norm(dtype: &str, axes: &str, root: &str) -> Graph {
    parse(&format!(
        "(%x: {dtype}[2,6,6]) -> (%y) opset 17 {{
           %e = const random(3) : {dtype}[1]
           %g = const random(1) : {dtype}[6]
           %b = const random(2) : {dtype}[6]
           %m = ReduceMean %x {{axes={axes}}} : ?
           %d = Sub %x, %m : ?
           %q = Mul %d, %d : ?
           %v = ReduceMean %q {{axes={axes}}} : ?
           {root}
           %n = Div %d, %r : ?
           %s = Mul %n, %g : ?
           %y = Add %s, %b : ?
         }}"
    ))
}

/// ONNX Runtime 4293, 17689: these stay as they are written, wherever epsilon stands, along whatever
/// axes, in whatever type.
#[test]
fn runtime_4293_17689_layer_norm() {
    let inside = "%a = Add %v, %e : ?\n%r = Sqrt %a : ?";
    let outside = "%a = Sqrt %v : ?\n%r = Add %a, %e : ?";
    for dtype in ["f32", "f16"] {
        for axes in ["[-1]", "[1]", "[1,2]", "[0]"] {
            let mut both = Vec::new();
            for root in [inside, outside] {
                let g = layer_norm(dtype, axes, root);
                for pipeline in ["simplify", OPTIMISE] {
                    let (t, ..) = run(&g, pipeline);
                    assert!(has_same_bits(&judged(&g, &t)), "{dtype} {axes}");
                    assert_eq!(ops(&t), ops(&g));
                }
                both.push(g);
            }
            // The one for the other would be seen.
            assert!(judged(&both[0], &both[1]).differs(), "{dtype} {axes}");
        }
    }
    // Along which axes, too.
    let axes = ["[-1]", "[1]"].map(|a| layer_norm("f32", a, inside));
    assert!(judged(&axes[0], &axes[1]).differs());
}
