//! Small models with windows that runtimes, the standard and ONNX's shape inference read differently
//! (SAME padding, ceil_mode, kernels that do not fit), on which an earlier version was wrong.

use graph_opt_backends::Folder;
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::text::parse;
use graph_opt_ir::{Graph, onnx, region};
use graph_opt_passes::fix_dims::fix_dims;
use graph_opt_passes::{Pipeline, RunError, Runner};

use crate::found_files::{counting, exact, run};
use crate::support::optimise;

#[test]
fn same_padding_is_what_onnx_runtime_computes() {
    let pool = |op: &str, n: u64, axes: usize, pad: &str, k: i64, s: i64| {
        let all = |v: i64| vec![v.to_string(); axes].join(",");
        let x = vec![n.to_string(); axes].join(",");
        parse(&format!(
            "graph @g(%x: f32[1,1,{x}]) -> (%y) opset 19 {{
               %y = {op} %x {{auto_pad=\"{pad}\", kernel_shape=[{}], strides=[{}]}} : ?
             }}",
            all(k),
            all(s)
        ))
        .unwrap()
    };
    for (op, n, axes, pad, k, s, want) in [
        ("LpPool", 10, 1, "SAME_UPPER", 1, 5, vec![3.0, 8.0]),
        ("LpPool", 10, 1, "SAME_LOWER", 1, 5, vec![2.0, 7.0]),
        ("AveragePool", 8, 1, "SAME_UPPER", 2, 4, vec![2.5, 6.5]),
        ("AveragePool", 8, 1, "SAME_LOWER", 2, 4, vec![1.5, 5.5]),
        ("AveragePool", 8, 2, "SAME_UPPER", 2, 4, vec![14.5, 18.5, 46.5, 50.5]),
        (
            "AveragePool",
            8,
            3,
            "SAME_LOWER",
            2,
            4,
            vec![37.5, 41.5, 69.5, 73.5, 293.5, 297.5, 325.5, 329.5],
        ),
    ] {
        let g = pool(op, n, axes, pad, k, s);
        let extents: Vec<u64> = [1, 1].into_iter().chain(vec![n; axes]).collect();
        let got = run(&g, &[counting(&extents)]);
        assert_eq!(got[0].to_f32s().unwrap(), want, "{op} {pad}");
        let axis = if axes == 1 { "w" } else { "h" };
        let out = exact(&g, &format!("tile-conv{{axis={axis} parts=2}}"));
        // The tiles' pads are written out, and a file may not have any below 0.
        let mut bytes = Vec::new();
        onnx::export(&out, &mut bytes).unwrap();
    }
    let g = parse(
        "graph @g(%x: f32[1,1,4]) -> (%y, %z) opset 13 {
           %w = const [1,2] : f32[1,1,2]
           %y = ConvTranspose %x, %w {auto_pad=\"SAME_UPPER\", strides=[3]} : ?
           %n = Neg %x : ?
           %z = Identity %n : ?
         }",
    )
    .unwrap();
    let got = run(&g, &[counting(&[1, 1, 4])]);
    assert_eq!(got[0].to_f32s().unwrap(), [1., 2., 0., 2., 4., 0., 3., 6., 0., 4., 8.]);
    // Whatever is rewritten, the padding is spelled out, with a remark.
    for pipeline in ["tile-conv{axis=w parts=2}", "simplify"] {
        let out = exact(&g, pipeline);
        assert!(all_settled(&out), "{pipeline}");
    }
    let (_, remarks) = optimise(&g, "simplify");
    assert!(
        remarks.iter().any(|r| r.pass == "settle" && r.message.contains("SAME")),
        "{remarks:?}"
    );
}
/// Whether all runtimes read all windows alike.
fn all_settled(g: &Graph) -> bool {
    g.schedule().all(|n| region::settled(&OpCtx::of(g, n)).is_none())
}
#[test]
fn windows_that_ceil_mode_leaves_out_are_spelled_out() {
    for op in ["MaxPool", "AveragePool", "LpPool"] {
        let g = parse(&format!(
            "graph @g(%x: f32[2,3,10,10]) -> (%y, %z) opset 18 {{
               %p = {op} %x {{ceil_mode=1, kernel_shape=[1,3], pads=[0,1,0,2], strides=[2,1]}} : ?
               %c = Relu %p : ?
               %y = Mul %p, %c : ?
               %q = {op} %x {{ceil_mode=1, kernel_shape=[1,3], strides=[2,2]}} : ?
               %z = Neg %q : ?
             }}"
        ))
        .unwrap();
        assert!(!all_settled(&g));
        for pipeline in [
            "fuse-tiles{grid=2x2 axes=wxh reuse=exchange from=c to=c}",
            "tile-conv{axis=h parts=2}",
        ] {
            assert!(all_settled(&exact(&g, pipeline)), "{op} {pipeline}");
        }
    }
}
/// Where one axis needs ceil_mode, and another leaves a window out.
#[test]
fn ceil_mode_stays_where_another_axis_needs_it() {
    let g = parse(
        "graph @g(%x: f32[1,1,7,4]) -> (%y) opset 10 {
           %n = Neg %x : ?
           %p = MaxPool %n {ceil_mode=1, dilations=[1,2], kernel_shape=[2,2], pads=[1,1,1,1], strides=[2,2]} : ?
           %y = Identity %p : ?
         }",
    )
    .unwrap();
    assert!(!all_settled(&g));
    let out = exact(&g, "simplify");
    assert!(all_settled(&out));
    let pool = out.schedule().find(|&n| out.node(n).op.name() == "MaxPool").unwrap();
    let v = out.node(pool).outputs[0].unwrap();
    assert_eq!(out.value(v).ty.to_string(), "f32[1,1,4,3]");
}
/// Windows that runtimes and the standard read differently are never cut, and their extents are not
/// known.
#[test]
fn windows_without_one_meaning_are_left_alone() {
    for (node, ty) in [
        // ONNX Runtime leaves dilations out of SAME padding.
        ("MaxPool %n {auto_pad=\"SAME_UPPER\", dilations=[2,1], kernel_shape=[2,2]}", "[1,2,?,?]"),
        // It refuses to crop here; the reference evaluator crops otherwise than elsewhere.
        ("MaxPool %n {auto_pad=\"SAME_LOWER\", kernel_shape=[1,1], strides=[3,3]}", "[1,2,?,?]"),
        // The kernel does not fit: ONNX Runtime divides towards zero.
        ("AveragePool %n {kernel_shape=[9,1]}", "[1,2,?,8]"),
        // ONNX's shape inference counts a window that is left out.
        (
            "AveragePool %n {ceil_mode=1, count_include_pad=1, kernel_shape=[1,3], pads=[0,1,0,1], strides=[2,2]}",
            "[1,2,?,5]",
        ),
        // The same where the model declares its extents.
        (
            "AveragePool %n {ceil_mode=1, count_include_pad=1, kernel_shape=[3,1], strides=[2,2]} : f32[1,2,4,4]",
            "[1,2,4,4]",
        ),
        // ONNX's shape inference rounds up what SAME crops.
        (
            "AveragePool %n {auto_pad=\"SAME_UPPER\", ceil_mode=1, kernel_shape=[1,1], strides=[3,3]}",
            "[1,2,?,?]",
        ),
        ("PRelu %n, %k", "[..]"),
    ] {
        let declared = if node.contains(" : ") { "" } else { ": ?" };
        let g = parse(&format!(
            "graph @g(%x: f32[1,2,8,8]) -> (%y) opset 19 {{
               %k = const [1] : f32[1,1,1,1,1]
               %n = Neg %x : ?
               %p = {node} {declared}
               %y = Identity %p : ?
             }}"
        ))
        .unwrap();
        let p = g.schedule().find(|&n| g.label(n) == "p").unwrap();
        assert_eq!(
            g.value(g.node(p).outputs[0].unwrap()).ty.to_string(),
            format!("f32{ty}"),
            "{node}"
        );
        for pipeline in ["tile-conv{axis=h parts=2 ops=all}", "fuse-tiles{grid=2 axes=h to=p}"] {
            let (out, _) = optimise(&g, pipeline);
            assert_eq!(out.edits(), 0, "{node} {pipeline}");
        }
    }
}
/// The padding of SAME in ConvTranspose depends on the extents, also of axes that are not cut.
#[test]
fn transposed_convolutions_of_unknown_extents_keep_their_padding() {
    let g = parse(
        "graph @g(%x: f32[1,6,h,8]) -> (%y) opset 18 {
           %w = const random(1) : f32[6,1,3,2]
           %y = ConvTranspose %x, %w {auto_pad=\"SAME_LOWER\", group=6, dilations=[2,3], strides=[1,2]} : ?
         }",
    )
    .unwrap();
    let (out, remarks) = optimise(&g, "tile-conv{axis=c-out parts=3}");
    assert_eq!(out.edits(), 0);
    assert!(remarks.iter().any(|r| r.message.contains("auto_pad")), "{remarks:?}");
}
/// `--fix-dims` makes extents definite, which ONNX's shape inference may contradict.
#[test]
fn fixed_extents_are_settled() {
    for body in [
        "%y = MaxPool %x {ceil_mode=1, kernel_shape=[3,2], pads=[0,0,1,1], strides=[1,2]} : ?",
        "%w = const random(1) : f32[8,1,3,2]
         %y = ConvTranspose %x, %w {auto_pad=\"SAME_UPPER\", group=8, output_padding=[0,1], strides=[1,2]} : ?",
    ] {
        let mut g = parse(&format!("graph @g(%x: f32[N,8,h,w]) -> (%y) opset 17 {{\n{body}\n}}")).unwrap();
        fix_dims(&mut g, &[("N".into(), 3), ("h".into(), 5), ("w".into(), 6)]).unwrap();
        assert!(!all_settled(&g));
        let (out, _) = optimise(&g, "schedule");
        assert!(all_settled(&out), "{body}");
    }
}
/// Where extents in a body follow from what a Scan takes, its pools cannot be settled.
#[test]
fn extents_are_not_fixed_where_a_body_rounds_up() {
    let model = |ceil: i64| {
        parse(&format!(
            "graph @g(%x: f32[N,2,3,w], %s: f32[2,3,2]) -> (%y) opset 18 {{
               %r, %y = Scan %s, %x {{num_scan_inputs=1, body=graph @b(%state: f32[?,?,?], %row: f32[?,?,?]) -> (%n, %o) {{
                 %p = MaxPool %row {{ceil_mode={ceil}, kernel_shape=[2], pads=[1,1], strides=[2]}} : ?
                 %n = Add %state, %p : ?
                 %o = Neg %n : ?
               }}}} : ?, ?
             }}"
        ))
        .unwrap()
    };
    let fixed = |ceil| fix_dims(&mut model(ceil), &[("N".into(), 3), ("w".into(), 1)]);
    assert_eq!(fixed(0), Ok(2));
    let e = fixed(1).unwrap_err().to_string();
    assert!(e.contains("\"p\" in the body of"), "{e}");
}
/// ONNX's shape inference counts a window that runtimes leave out, and the file believes it: what is
/// declared of later values is wrong.
#[test]
fn models_whose_extents_cannot_be_trusted_are_not_rewritten() {
    let g = parse(
        "graph @g(%x: f32[1,2,n,8]) -> (%y) opset 18 {
           %k = const 2 : f32[]
           %d = Add %k, %k : ?
           %p = MaxPool %x {ceil_mode=1, kernel_shape=[1,1], strides=[1,3], pads=[0,0,0,0]} : ?
           %q = MaxPool %x {ceil_mode=1, kernel_shape=[1,1], strides=[1,2]} : ?
           %r = Relu %q : f32[1,2,?,5]
           %y = Mul %r, %d : ?
         }",
    )
    .unwrap();
    let pipeline = Pipeline::parse("simplify").unwrap();
    let got = Runner::default().evaluator(&Folder).run(&mut g.clone(), &pipeline);
    let Err(e @ RunError::Unsettled { .. }) = got else { panic!("{got:?}") };
    assert!(e.to_string().starts_with("q: runtimes"), "{e}");
    // Where nothing is to be done, nothing is refused.
    assert!(Runner::default().run(&mut g.clone(), &Pipeline::parse("fuse-pad").unwrap()).is_ok());
}
