//! The tutorial that horizontal tiling is known by, and what the original refuses or breaks.

use graph_opt_backends::zoo;
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::{layout_params, op::Op, text};
use graph_opt_passes::Outcome;

use crate::support::{compare, count, is_bit_exact, optimise};

#[test]
fn four_slices_four_convolutions_one_concat() {
    let g = zoo::build("aidge-tutorial").unwrap();
    let (t, _) = optimise(&g, "tile-conv{axis=h parts=4}");
    assert_eq!([count(&t, "Slice"), count(&t, "Conv"), count(&t, "Concat")], [4, 4, 1]);
    let rows: Vec<(i64, i64)> = t
        .schedule()
        .filter(|&n| matches!(t.node(n).op, Op::Slice(_)))
        .map(|n| {
            let taken = layout_params::slices(&OpCtx::of(&t, n)).unwrap().unwrap()[2].unwrap();
            (taken.start, taken.start + taken.count)
        })
        .collect();
    assert_eq!(rows, [(0, 18), (16, 34), (32, 50), (48, 66)]);
    let r = compare(&g, &t);
    assert!(is_bit_exact(&r), "{r:?}");
}

#[cfg(feature = "wgpu")]
#[test]
fn the_tutorial_is_bit_equal_on_wgpu() {
    use graph_opt_backends::compare::Verdict;
    let Some(wgpu) = crate::support::wgpu() else { return };
    let g = zoo::build("aidge-tutorial").unwrap();
    let (t, _) = optimise(&g, "tile-conv{axis=h parts=4}");
    let r = crate::support::compare_on(&g, &t, &[&wgpu]);
    assert!(
        matches!(&r.outputs[0].verdicts[..], [Verdict::Exact(_), Verdict::BitExact(..)]),
        "{r:?}"
    );
}

/// What Aidge's tutorial function refuses or breaks: each with its pipeline.
#[test]
fn what_the_original_refuses() {
    let cases = [
        ("padded", "Conv %x, %w, %b {pads=[1,1,1,1]}", "f32[6,4,3,3]", "tile-conv{axis=h parts=4}"),
        (
            "asymmetric",
            "Conv %x, %w, %b {pads=[2,0,1,3]}",
            "f32[6,4,3,3]",
            "tile-conv{axis=w parts=3}",
        ),
        (
            "stride 2",
            "Conv %x, %w, %b {pads=[1,1,1,1], strides=[2,2]}",
            "f32[6,4,3,3]",
            "tile-conv{axis=h parts=4}",
        ),
        (
            "65 rows in 4",
            "Conv %x, %w, %b {pads=[1,1,1,1]}",
            "f32[6,4,3,3]",
            "tile-conv{axis=h parts=4}",
        ),
        ("output channels", "Conv %x, %w, %b", "f32[6,4,3,3]", "tile-conv{axis=c-out parts=4}"),
        ("no bias", "Conv %x, %w", "f32[6,4,3,3]", "tile-conv{axis=c-out parts=2}"),
        (
            "dilated",
            "Conv %x, %w, %b {dilations=[3,2], pads=[3,2,3,2]}",
            "f32[6,4,3,3]",
            "tile-conv{axis=h parts=4}",
        ),
        ("grouped", "Conv %x, %w, %b {group=2}", "f32[6,2,3,3]", "tile-conv{axis=c-out parts=2}"),
        (
            "grouped, more parts",
            "Conv %x, %w, %b {group=2}",
            "f32[6,2,3,3]",
            "tile-conv{axis=c-out parts=4}",
        ),
        (
            "transposed",
            "ConvTranspose %x, %w, %b {strides=[2,2], pads=[1,1,1,1], output_padding=[1,1]}",
            "f32[4,6,3,3]",
            "tile-conv{axis=h parts=4}",
        ),
        (
            "transposed, gaps",
            "ConvTranspose %x, %w, %b {strides=[4,4]}",
            "f32[4,6,3,3]",
            "tile-conv{axis=w parts=5}",
        ),
        (
            "grid",
            "Conv %x, %w, %b {auto_pad=\"SAME_UPPER\", strides=[2,3]}",
            "f32[6,4,3,3]",
            "tile-conv{axis=hxw parts=3x2}",
        ),
    ];
    for (name, conv, weights, pipeline) in cases {
        let g = text::parse(&format!(
            "graph @g(%x: f32[2,4,65,17]) -> (%y) opset 13 {{
               %w = const random(1) : {weights}
               %b = const random(2) : f32[6]
               %c = {conv}          : ? ; conv
               %y = Relu %c         : ?
             }}"
        ))
        .unwrap();
        let (t, remarks) = optimise(&g, pipeline);
        assert!(remarks.iter().any(|r| r.outcome == Outcome::Applied), "{name}: {remarks:?}");
        let r = compare(&g, &t);
        assert!(is_bit_exact(&r), "{name}: {r:?}\n{}", text::print(&t));
        let (back, _) = optimise(&t, "untile");
        assert!(
            graph_opt_ir::structural_eq::identical(&g, &back),
            "{name}: untile gave\n{}",
            text::print(&back)
        );
    }
}

#[test]
fn partial_sums_are_equal_in_the_field() {
    use graph_opt_backends::compare::Verdict;
    for node in [
        "Conv %x, %w, %b {pads=[1,1,1,1]}",
        "ConvTranspose %x, %v, %b {strides=[2,2]}",
        "MatMul %x, %m",
    ] {
        let g = text::parse(&format!(
            "graph @g(%x: f32[1,6,9,8]) -> (%y) opset 13 {{
               %w = const random(1) : f32[5,6,3,3]
               %v = const random(1) : f32[6,5,3,3]
               %m = const random(3) : f32[8,4]
               %b = const random(2) : f32[5]
               %y = {node} : ? ; node
             }}"
        ))
        .unwrap();
        let (t, remarks) = optimise(&g, "tile-conv{axis=c-in parts=3}");
        assert!(remarks.iter().any(|r| r.outcome == Outcome::Applied), "{remarks:?}");
        let r = compare(&g, &t);
        let v = &r.outputs[0].verdicts;
        assert!(matches!(v[0], Verdict::Exact(_)), "{v:?}");
        assert!(matches!(v[1], Verdict::Close(..) | Verdict::BitExact(..)), "{v:?}");
    }
}

#[test]
fn quantized_convolutions_are_cut_as_units() {
    let g = text::parse(
        "graph @g(%x: u8[1,4,12,12]) -> (%y) opset 13 {
           %s = const 0.02         : f32[]
           %z = const 120          : u8[]
           %wq = const random(1)   : i8[6,4,3,3]
           %ws = const [0.1,0.2,0.3,0.1,0.2,0.3] : f32[6]
           %wz = const [0,0,0,0,0,0] : i8[6]
           %t = const 0.5          : f32[]
           %xd = DequantizeLinear %x, %s, %z : ? ; xd
           %wd = DequantizeLinear %wq, %ws, %wz {axis=0} : ? ; wd
           %c = Conv %xd, %wd {pads=[1,1,1,1]} : ? ; conv
           %y = QuantizeLinear %c, %t, %z : ? ; q
         }",
    )
    .unwrap();
    for (pipeline, dequantized) in
        [("tile-conv{axis=h parts=3}", 3 + 1), ("tile-conv{axis=c-out parts=2}", 2 + 1)]
    {
        let (t, remarks) = optimise(&g, pipeline);
        assert!(remarks.iter().any(|r| r.outcome == Outcome::Applied), "{remarks:?}");
        assert_eq!(count(&t, "DequantizeLinear"), dequantized, "{}", text::print(&t));
        // What is cut and joined is quantized: a quarter of the bytes.
        for n in t.schedule().filter(|&n| matches!(t.node(n).op, Op::Slice(_) | Op::Concat(_))) {
            let v = t.node(n).outputs[0].unwrap();
            assert_eq!(t.value(v).ty.dtype(), Some(graph_opt_ir::DType::U8));
        }
        let r = compare(&g, &t);
        assert!(is_bit_exact(&r), "{pipeline}: {r:?}");
        let (back, _) = optimise(&t, "untile");
        assert!(
            graph_opt_ir::structural_eq::identical(&g, &back),
            "{pipeline}: {}",
            text::print(&back)
        );
    }
}

#[test]
fn what_cannot_be_cut_says_why() {
    let g = text::parse(
        "graph @g(%x: f32[N,2,?,5]) -> (%y) opset 13 {
           %w = const random(1) : f32[2,2,3,3]
           %y = Conv %x, %w     : ? ; conv
         }",
    )
    .unwrap();
    for (pipeline, why) in [
        ("tile-conv{axis=h parts=2}", "extent ? of its result"),
        ("tile-conv{axis=w parts=9}", "cannot cut 3 elements into 9 parts"),
        ("tile-conv{axis=d parts=2}", "no axis d"),
        ("tile-conv{axis=w sizes=[1,1]}", "do not add up to 3"),
        ("only(nothing)(tile-conv{axis=w parts=2})", "no node has such a name"),
        ("tile-conv{axis=w parts=2 ops=pool}", "no convolution, pool or matrix product"),
    ] {
        let (t, remarks) = optimise(&g, pipeline);
        assert_eq!(t.edits(), 0, "{pipeline}");
        assert!(
            remarks.iter().any(|r| r
                .to_string()
                .replace("extent 2 of its result is ?", "extent ? of its result")
                .contains(why)),
            "{pipeline}: {remarks:?}"
        );
    }
}
