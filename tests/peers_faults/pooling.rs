//! Merging a Pad into the Conv or pool after it, and removing one that pads nothing.

use graph_opt_ir::Tensor;
use graph_opt_passes::registry::OPTIMISE;

use super::{Row, check, has_same_bits, inputs, judged, judged_on, ops, parse, row, run};

/// A Pad by one row and column before a node.
macro_rules! padded {
    ($pad:expr, $then:expr) => {
        concat!(
            "(%x: f32[1,2,6,6]) -> (%y) opset 13 {
               %p = const [0,0,1,1,0,0,1,1] : i64[8]
               %zero = const 0 : f32[]
               %one = const 1 : f32[]
               %low = const -inf : f32[]
               %w = const random(1) : f32[2,2,3,3]
               %a = ",
            $pad,
            " : ?
               %y = ",
            $then,
            " : ?
             }"
        )
    };
}

pub(super) const ROWS: &[Row] = &[
    row(
        "averages that do not count padding would not count what the Pad adds",
        padded!("Pad %x, %p, %zero", "AveragePool %a {kernel_shape=[3,3]}"),
        "Pad AveragePool",
        "AveragePool",
    ),
    row(
        "averages that count padding, and have some of their own",
        padded!(
            "Pad %x, %p",
            "AveragePool %a {kernel_shape=[3,3], pads=[1,0,1,0], count_include_pad=1}"
        ),
        "Pad AveragePool",
        "AveragePool",
    ),
    row(
        "averages that do not count padding of their own, but count the Pad's",
        padded!("Pad %x, %p", "AveragePool %a {kernel_shape=[3,3], pads=[1,0,1,0]}"),
        "Pad AveragePool",
        "Pad AveragePool",
    ),
    row(
        "averages of windows that reach beyond the padding",
        padded!("Pad %x, %p", "AveragePool %a {kernel_shape=[3,3], strides=[2,2], ceil_mode=1}"),
        "Pad AveragePool",
        "Pad AveragePool",
    ),
    row(
        "averages after a Pad with 1",
        padded!("Pad %x, %p, %one", "AveragePool %a {kernel_shape=[3,3]}"),
        "Pad AveragePool",
        "Pad AveragePool",
    ),
    row(
        "maxima after a Pad with 0, where all values are negative",
        "(%z: f32[1,2,6,6]) -> (%y) opset 13 {
           %p = const [0,0,1,1,0,0,1,1] : i64[8]
           %e = Exp %z : ?
           %x = Neg %e : ?
           %a = Pad %x, %p : ?
           %y = MaxPool %a {kernel_shape=[2,2]} : ?
         }",
        "Exp Neg Pad MaxPool",
        "Exp Neg Pad MaxPool",
    ),
    row(
        "maxima after a Pad with -inf",
        padded!("Pad %x, %p, %low", "MaxPool %a {kernel_shape=[2,2]}"),
        "Pad MaxPool",
        "MaxPool",
    ),
    row(
        "maxima after a Pad with -inf that holds whole windows",
        padded!("Pad %x, %p, %low", "MaxPool %a {kernel_shape=[1,1]}"),
        "Pad MaxPool",
        "Pad MaxPool",
    ),
    row(
        "zeros before a Conv",
        padded!("Pad %x, %p, %zero", "Conv %a, %w {pads=[0,1,0,1]}"),
        "Pad Conv",
        "Conv",
    ),
    row(
        "a Conv that chooses its padding itself",
        padded!("Pad %x, %p", "Conv %a, %w {auto_pad=\"SAME_UPPER\", strides=[2,2]}"),
        "Pad Conv",
        "Pad Conv",
    ),
    row(
        "a Pad that mirrors, before a Conv",
        padded!("Pad %x, %p {mode=\"reflect\"}", "Conv %a, %w"),
        "Pad Conv",
        "Pad Conv",
    ),
    row(
        "a Pad that repeats the border, before averages",
        padded!("Pad %x, %p {mode=\"edge\"}", "AveragePool %a {kernel_shape=[3,3]}"),
        "Pad AveragePool",
        "Pad AveragePool",
    ),
    row("ones before a Conv", padded!("Pad %x, %p, %one", "Conv %a, %w"), "Pad Conv", "Pad Conv"),
    row(
        "padding of the batch",
        "(%x: f32[1,2,6,6]) -> (%y) opset 13 {
           %p = const [1,0,1,1,0,0,1,1] : i64[8]
           %a = Pad %x, %p : ?
           %y = AveragePool %a {kernel_shape=[3,3]} : ?
         }",
        "Pad AveragePool",
        "Pad AveragePool",
    ),
    row(
        "padding of the channels",
        "(%x: f32[1,1,6,6]) -> (%y) opset 13 {
           %p = const [0,0,1,1,0,1,1,1] : i64[8]
           %w = const random(1) : f32[2,2,3,3]
           %a = Pad %x, %p : ?
           %y = Conv %a, %w : ?
         }",
        "Pad Conv",
        "Pad Conv",
    ),
    row(
        "a Pad that cuts off",
        "(%x: f32[1,2,6,6]) -> (%y) opset 13 {
           %p = const [0,0,-1,1,0,0,1,1] : i64[8]
           %w = const random(1) : f32[2,2,3,3]
           %a = Pad %x, %p : ?
           %y = Conv %a, %w : ?
         }",
        "Pad Conv",
        "Pad Conv",
    ),
    row(
        "axes of the Pad named, and unordered",
        "(%x: f32[1,2,6,6]) -> (%y) opset 18 {
           %p = const [2,1,0,0] : i64[4]
           %axes = const [-1,2] : i64[2]
           %w = const random(1) : f32[2,2,3,3]
           %a = Pad %x, %p, _, %axes : ?
           %y = Conv %a, %w : ?
         }",
        "Pad Conv",
        "Conv",
    ),
    row(
        "what was padded is an output",
        "(%x: f32[1,2,6,6]) -> (%y, %a) opset 13 {
           %p = const [0,0,1,1,0,0,1,1] : i64[8]
           %w = const random(1) : f32[2,2,3,3]
           %a = Pad %x, %p : ?
           %y = Conv %a, %w : ?
         }",
        "Pad Conv",
        "Pad Conv",
    ),
    row(
        "a weight is infinite, and times the padding no number",
        "(%x: f32[1,1,6,6]) -> (%y) opset 13 {
           %p = const [0,0,1,1,0,0,1,1] : i64[8]
           %w = const [1,inf] : f32[1,1,1,2]
           %a = Pad %x, %p : ?
           %y = Conv %a, %w : ?
         }",
        "Pad Conv",
        "Pad Conv",
    ),
];

/// onnx/optimizer 269, ONNX Runtime 22177.
#[test]
fn optimizer_269_runtime_22177_pad_into_pooling() {
    check(ROWS);
    // Each is bit-exact, not only close.
    for r in ROWS {
        let g = parse(r.model);
        let (t, ..) = run(&g, OPTIMISE);
        assert!(has_same_bits(&judged(&g, &t)), "{}", r.what);
    }
}

/// onnx/optimizer 278.
#[test]
fn optimizer_278_pad_of_nothing() {
    check(&[
        row(
            "nothing",
            "(%x: f32[2,3]) -> (%y) opset 13 {
               %p = const [0,0,0,0] : i64[4]
               %a = Pad %x, %p : ?
               %y = Relu %a : ?
             }",
            "Relu",
            "Relu",
        ),
        row(
            "nothing, mirrored, of an unknown extent",
            "(%x: f32[N,3]) -> (%y) opset 13 {
               %p = const [0,0,0,0] : i64[4]
               %a = Pad %x, %p {mode=\"reflect\"} : ?
               %y = Relu %a : ?
             }",
            "Relu",
            "Relu",
        ),
        row(
            "nothing along the named axis",
            "(%x: f32[2,3]) -> (%y) opset 18 {
               %p = const [0,0] : i64[2]
               %axes = const [-1] : i64[1]
               %a = Pad %x, %p, _, %axes : ?
               %y = Relu %a : ?
             }",
            "Relu",
            "Relu",
        ),
        row(
            "as much cut off as added",
            "(%x: f32[2,3]) -> (%y) opset 13 {
               %p = const [0,-1,0,1] : i64[4]
               %a = Pad %x, %p : ?
               %y = Neg %a : ?
             }",
            "Pad Neg",
            "Pad Neg",
        ),
        row(
            "cut off",
            "(%x: f32[2,3]) -> (%y) opset 13 {
               %p = const [0,0,0,-2] : i64[4]
               %a = Pad %x, %p : ?
               %y = Neg %a : ?
             }",
            "Pad Neg",
            "Pad Neg",
        ),
        row(
            "nothing along some axes only",
            "(%x: f32[2,3]) -> (%y) opset 13 {
               %p = const [0,0,0,1] : i64[4]
               %a = Pad %x, %p : ?
               %y = Neg %a : ?
             }",
            "Pad Neg",
            "Pad Neg",
        ),
    ]);
    // Pads that are known only when it runs: what they happen to be makes no difference.
    let g = parse(
        "(%x: f32[2,3], %p: i64[4]) -> (%y) opset 13 {\n%a = Pad %x, %p : ?\n%y = Neg %a : ?\n}",
    );
    for pipeline in ["simplify", OPTIMISE] {
        let (t, ..) = run(&g, pipeline);
        assert_eq!(ops(&t), "Pad Neg");
        for pads in [[0, 0, 0, 0], [1, 0, 0, 2]] {
            let given = vec![inputs(&g)[0].clone(), Tensor::i64s(&pads)];
            assert!(has_same_bits(&judged_on(&g, &t, given)));
        }
    }
}
