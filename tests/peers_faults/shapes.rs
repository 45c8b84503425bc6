//! What follows from shapes: slices of them, and Expand.

use graph_opt_ir::{DType, Tensor};
use graph_opt_passes::registry::OPTIMISE;

use super::{check, extents, has_same_bits, inputs, judged, ops, outputs, parse, row, run};

/// Elements that ONNX's Slice takes, told apart from the code under test: as Python does, but that a
/// start before the first element is the first where steps are negative.
fn sliced(v: &[i64], start: i64, end: i64, step: i64) -> Vec<i64> {
    let n = v.len() as i64;
    let wrap = |i: i64| if i < 0 { i + n } else { i };
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let first = wrap(start).clamp(low.max(0), high.max(0));
    let last = wrap(end).clamp(low, high);
    let mut out = Vec::new();
    let mut i = first;
    while (step > 0 && i < last) || (step < 0 && i > last && i < n) {
        out.push(v[i as usize]);
        i += step;
    }
    out
}

/// onnx/optimizer 263: every start, end and step, of a Shape with every start and end of its own,
/// where all, some and none of the extents are known.
#[test]
fn optimizer_263_slice_after_shape() {
    let own =
        ["", "{start=1}", "{start=-3, end=-1}", "{end=9}", "{start=-9, end=2}", "{start=2, end=1}"];
    let mut folded = 0;
    for dims in ["2,3,4,6", "N,3,M,6", "N,?,M,K"] {
        for shape in own {
            for step in [1, 2, -1, -2] {
                for start in [-9, -2, 0, 1, 3, 9] {
                    for end in [-9, -3, 0, 2, 9] {
                        let m = format!(
                            "(%x: f32[{dims}]) -> (%y) opset 15 {{
                               %a = const [{start}] : i64[1]
                               %b = const [{end}] : i64[1]
                               %c = const [0] : i64[1]
                               %d = const [{step}] : i64[1]
                               %s = Shape %x {shape} : ?
                               %t = Slice %s, %a, %b, %c, %d : ?
                               %y = Neg %t : ?
                             }}"
                        );
                        folded += usize::from(slice_is_right(&m, shape, (start, end, step)));
                    }
                }
            }
        }
    }
    // All of the first third, and what is left of the others where the slice is empty or known.
    assert!(folded > own.len() * 4 * 6 * 5, "only {folded} were computed ahead");
}

/// Whether it was computed ahead of time, too.
fn slice_is_right(model: &str, shape: &str, (start, end, step): (i64, i64, i64)) -> bool {
    let g = parse(model);
    let given = inputs(&g);
    let dims: Vec<i64> = given[0].dims().iter().map(|&d| d as i64).collect();
    let of = |key: &str, other: i64| {
        let at = shape.split_once(&format!("{key}="));
        at.map_or(other, |(_, v)| v.split([',', '}']).next().unwrap().parse().unwrap())
    };
    let own = sliced(&dims, of("start", 0), of("end", 4), 1);
    let want: Vec<i64> = sliced(&own, start, end, step).into_iter().map(|n| -n).collect();
    let mut gone = false;
    for pipeline in ["simplify", OPTIMISE] {
        let (t, ..) = run(&g, pipeline);
        assert_eq!(outputs(&t, &given)[0].to_i64s().unwrap(), want, "{pipeline}: {model}");
        gone = !ops(&t).contains("Shape");
    }
    gone
}

/// The same slices as part of what a Reshape goes by, where they become 0 and -1.
#[test]
fn optimizer_263_slice_after_shape_into_reshape() {
    for (shape, start, end, step, rest, want) in [
        ("", 0, 1, 1, "-1", "Reshape"),
        ("", -4, -3, 1, "-1", "Reshape"),
        ("{start=-4, end=-2}", -9, 1, 1, "-1", "Reshape"),
        // The extent of axis 2 at axis 0 is no copy.
        ("", 2, 3, 1, "90", "Reshape"),
        ("{start=2}", 0, 1, 1, "90", "Reshape"),
        ("{start=2}", 0, 1, 1, "-1", "Shape Slice Concat Reshape"),
        ("", -1, -2, -1, "-1", "Reshape"),
        ("", 2, -9, -2, "-1", "Shape Slice Concat Reshape"),
    ] {
        let rest_len = rest.split(',').count();
        let g = parse(&format!(
            "(%x: f32[N,3,M,6]) -> (%y) opset 15 {{
               %a = const [{start}] : i64[1]
               %b = const [{end}] : i64[1]
               %c = const [0] : i64[1]
               %d = const [{step}] : i64[1]
               %r = const [{rest}] : i64[{rest_len}]
               %s = Shape %x {shape} : ?
               %t = Slice %s, %a, %b, %c, %d : ?
               %u = Concat %t, %r {{axis=0}} : ?
               %y = Reshape %x, %u : ?
             }}"
        ));
        for pipeline in ["simplify", OPTIMISE] {
            let (t, ..) = run(&g, pipeline);
            let r = judged(&g, &t);
            let what = format!("{pipeline}: {shape} {start}..{end} by {step}, {rest}");
            assert!(has_same_bits(&r), "{what}: {r:?}");
            assert_eq!(ops(&t), want, "{what}");
        }
    }
}

/// onnx/optimizer 275.
#[test]
fn optimizer_275_expand_that_changes_nothing() {
    let kept = |what, model| row(what, model, "Expand Neg", "Expand Neg");
    let gone = |what, model| row(what, model, "Neg", "Neg");
    check(&[
        gone(
            "ones against larger extents",
            "(%x: f32[2,3]) -> (%y) opset 13 {
               %s = const [1,1] : i64[2]
               %a = Expand %x, %s : ?
               %y = Neg %a : ?
             }",
        ),
        gone(
            "fewer axes",
            "(%x: f32[2,3]) -> (%y) opset 13 {
               %s = const [3] : i64[1]
               %a = Expand %x, %s : ?
               %y = Neg %a : ?
             }",
        ),
        gone(
            "its own shape",
            "(%x: f32[2,3]) -> (%y) opset 13 {
               %s = Shape %x : ?
               %a = Expand %x, %s : ?
               %y = Neg %a : ?
             }",
        ),
        kept(
            "a 1 of its own against a larger one",
            "(%x: f32[2,1]) -> (%y) opset 13 {
               %s = const [1,3] : i64[2]
               %a = Expand %x, %s : ?
               %y = Neg %a : ?
             }",
        ),
        kept(
            "an axis more, of 1",
            "(%x: f32[2,3]) -> (%y) opset 13 {
               %s = const [1,2,3] : i64[3]
               %a = Expand %x, %s : ?
               %y = Neg %a : ?
             }",
        ),
        kept(
            "an axis more",
            "(%x: f32[2,3]) -> (%y) opset 13 {
               %s = const [4,1,1] : i64[3]
               %a = Expand %x, %s : ?
               %y = Neg %a : ?
             }",
        ),
        kept(
            "an extent that may be 1 when it runs",
            "(%x: f32[N,3]) -> (%y) opset 13 {
               %s = const [5,3] : i64[2]
               %a = Expand %x, %s : ?
               %y = Neg %a : ?
             }",
        ),
    ]);
    // Told so by the file: names of dimensions prove nothing.
    let text = "(%x: f32[N,3], %z: f32[M,3]) -> (%y) opset 13 {
       %s = Shape %z : ?
       %a = Expand %x, %s : f32[N,3]
       %y = Neg %a : ?
     }";
    let g = parse(text);
    for pipeline in ["simplify", OPTIMISE] {
        let (t, ..) = run(&g, pipeline);
        assert_eq!(ops(&t), "Shape Expand Neg");
        let given =
            [[1u64, 3], [4, 3]].map(|d| Tensor::f32s(&d, &vec![0.5; (d[0] * 3) as usize]).unwrap());
        assert_eq!(outputs(&t, &given)[0].dims(), [4, 3]);
    }
    assert_eq!(extents().0["N"], 5);
}

/// What a file says of a slice's extent may be wrong: two slices are not joined by it.
#[test]
fn optimizer_275_names_of_extents_prove_nothing() {
    let g = parse(
        "(%x: f32[N,8]) -> (%y) opset 13 {
           %a = const [1] : i64[1]
           %b = const [9223372036854775807] : i64[1]
           %c = const [0] : i64[1]
           %p = Slice %x, %a, %b, %c : f32[N,8]
           %q = Slice %p [1: 2..6] : f32[N,4]
           %y = Neg %q : f32[N,4]
         }",
    );
    let given = [Tensor::f32s(&[3, 8], &(0..24).map(|i| i as f32).collect::<Vec<_>>()).unwrap()];
    let want = outputs(&g, &given);
    assert_eq!((want[0].dtype(), want[0].dims()), (DType::F32, &[2, 4][..]));
    for pipeline in ["simplify", OPTIMISE] {
        let (t, ..) = run(&g, pipeline);
        assert_eq!(outputs(&t, &given), want, "{pipeline}: {}", ops(&t));
    }
}

/// A Resize by 1 gives back its operand, unless it reads a region or half an element beside.
#[test]
fn resize_by_one() {
    let resize = |mode: &str, nearest: &str| {
        parse(&format!(
            "(%x: f32[1,1,2,4]) -> (%y) opset 11 {{
               %r = const [0,0,0,0.5,1,1,1,1] : f32[8]
               %s = const [1,1,1,1] : f32[4]
               %a = Resize %x, %r, %s {{mode=\"nearest\", nearest_mode=\"{nearest}\", coordinate_transformation_mode=\"{mode}\"}} : ?
               %y = Neg %a : ?
             }}"
        ))
    };
    for (mode, nearest, want) in [
        ("half_pixel", "floor", "Neg"),
        ("align_corners", "ceil", "Neg"),
        ("tf_half_pixel_for_nn", "ceil", "Resize Neg"),
        ("tf_crop_and_resize", "floor", "Resize Neg"),
    ] {
        let g = resize(mode, nearest);
        for pipeline in ["simplify", OPTIMISE] {
            let (t, ..) = run(&g, pipeline);
            assert_eq!(ops(&t), want, "{pipeline}: {mode}");
            assert!(!judged(&g, &t).differs(), "{pipeline}: {mode}");
        }
    }
}
