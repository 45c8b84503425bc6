//! Small models on which an earlier version was wrong, crashed or stopped, by kind: rebuilt here, or
//! read from `../shared/faults` where only the file shows it.

use std::sync::Arc;

use graph_opt_backends::cpu::{Cpu, Prepared};
use graph_opt_backends::{Executable, Folder};
use graph_opt_ir::text::parse;
use graph_opt_ir::{Graph, Op, Tensor, onnx};
use graph_opt_passes::devices::cluster::Cluster;
use graph_opt_passes::devices::graph::{Network, PlanRequest, PlanningError, choose_plan};
use graph_opt_passes::devices::{Effort, NoPlan, Reason};
use graph_opt_passes::fix_dims::fix_dims;
use graph_opt_passes::{Outcome, Pipeline, RunError, Runner};
use onnx_protobuf::{Message, ModelProto};

use crate::support::{compare, count, is_bit_exact, is_close, load, optimise, shared};

fn file(name: &str) -> Option<Graph> {
    let path = shared("faults")?.join(name);
    Some(load(&path))
}
/// What the pipeline makes of the graph, which is to be the same bit for bit.
pub(crate) fn exact(g: &Graph, pipeline: &str) -> Graph {
    let (out, remarks) = optimise(g, pipeline);
    assert!(out.edits() > 0, "{pipeline}: {remarks:?}");
    let report = compare(g, &out);
    assert!(is_bit_exact(&report), "{pipeline}: {report:?}");
    out
}
fn prepared(g: &Graph) -> Prepared {
    Cpu::default().prepared(Arc::new(g.clone())).unwrap()
}
pub(crate) fn run(g: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    prepared(g).run(inputs, g.outputs()).unwrap()
}
fn dims(all: &[Tensor]) -> Vec<Vec<u64>> {
    all.iter().map(|t| t.dims().to_vec()).collect()
}
/// 1, 2, 3, … in these extents.
pub(crate) fn counting(dims: &[u64]) -> Tensor {
    let n = dims.iter().product::<u64>();
    let v: Vec<f32> = (1..=n).map(|i| i as f32).collect();
    Tensor::f32s(dims, &v).unwrap()
}
const OBJECTIVES: [&str; 4] = ["memory", "macs", "bytes", "launches"];
#[test]
fn eqsat_writes_layouts_over_what_they_read() {
    for body in [
        "%s = Slice %m [0: 2..4] : ?
         %p = Transpose %s {perm=[2,0,1]} : ?
         %y = Transpose %p {perm=[0,2,1]} : ?",
        "%p = Transpose %m {perm=[1,2,0]} : ?
         %q = Transpose %p {perm=[2,0,1]} : ?
         %r = Slice %q [0: 1..5] : ?
         %y = Transpose %r {perm=[2,1,0]} : ?",
        "%p = Slice %m [0: 1..6] : ?
         %q = Slice %p [0: 2..5] : ?
         %y = Slice %q [0: 1..2, 1: 0..1] : ?",
        "%p = Reshape %m, %c : ?
         %q = Flatten %p : ?
         %y = Slice %q [1: 1..3] : ?",
    ] {
        let text = format!(
            "graph @g(%x: f32[6,2,2]) -> (%y) opset 13 {{
               %c = const [3,4,2] : i64[3]
               %m = Exp %x : ?
               {body}
             }}"
        );
        let g = parse(&text).unwrap();
        for objective in OBJECTIVES {
            let (out, _) = optimise(&g, &format!("eqsat{{objective={objective}}}"));
            let report = compare(&g, &out);
            assert!(is_bit_exact(&report), "{objective}: {report:?}\n{text}");
        }
    }
}
#[test]
fn eqsat_gives_every_output_a_value_of_its_own() {
    let g = parse(
        "graph @g(%x: f32[3,8]) -> (%p, %q, %r, %p) opset 16 {
           %c = const [3,8] : i64[2]
           %t = Relu %x : ?
           %p = Transpose %t {perm=[0,1]} : ?
           %q = Transpose %t {perm=[0,1]} : ?
           %r = Reshape %x, %c : ?
         }",
    )
    .unwrap();
    for objective in OBJECTIVES {
        exact(&g, &format!("eqsat{{objective={objective}}}"));
    }
    let captured = parse(
        "graph @g(%x: f32[1,4], %c: bool[]) -> (%v, %q) opset 17 {
           %p = Relu %x : f32[1,4]
           %v = Slice %p [0: 0..1] : f32[1,4]
           %r = If %c {then_branch=graph @t() -> (%t1) {
             %t1 = Neg %v : f32[1,4]
           }, else_branch=graph @e() -> (%e1) {
             %e1 = Exp %v : f32[1,4]
           }} : f32[1,4]
           %q = Identity %r : f32[1,4]
           %d = Exp %x : f32[1,4]
         }",
    )
    .unwrap();
    exact(&captured, "eqsat");
}
#[test]
fn stages_that_capture_across_a_cut_are_refused() {
    let g = parse(
        "graph @g(%x: f32[1,4], %c: bool[]) -> (%r) opset 17 {
           %a = Exp %x : f32[1,4]    ; n1
           %b = Neg %a : f32[1,4]    ; n2
           %d = Greater %b, %x : bool[1,4]
           %r = If %c {then_branch=graph @t() -> (%t1) {
             %t1 = Neg %b : f32[1,4]
           }, else_branch=graph @e() -> (%e1) {
             %e1 = Exp %b : f32[1,4]
           }} : f32[1,4]    ; n3
         }",
    )
    .unwrap();
    let (out, remarks) = optimise(&g, "split-devices{stages=[n1:a,n3:b]}");
    assert_eq!(out.edits(), 0);
    let why = remarks.iter().find(|r| r.outcome == Outcome::Blocked && r.node.is_empty()).unwrap();
    assert!(why.message.contains("n3 read b"), "{why:?}");
    // Where the stage has what its bodies read, only the operands cross.
    let out = exact(&g, "split-devices{stages=[n1:a,n2:b]}");
    assert_eq!(count(&out, "Transfer"), 3);
}
#[test]
fn slices_of_unknown_extents_stay_in_tiles() {
    let g = parse(
        "graph @g(%x: f32[N,8]) -> (%y) opset 13 {
           %s = const [-1] : i64[1]
           %e = const [-9223372036854775807] : i64[1]
           %a = const [0] : i64[1]
           %r = Slice %x, %s, %e, %a, %s : ?
           %y = Sub %x, %r : ?
         }",
    )
    .unwrap();
    let (out, _) = optimise(&g, "fuse-tiles{grid=2 axes=w to=y}");
    assert!(out.edits() > 0);
    for n in [2, 3] {
        let (mut a, mut b) = (g.clone(), out.clone());
        fix_dims(&mut a, &[("N".into(), n)]).unwrap();
        fix_dims(&mut b, &[("N".into(), n)]).unwrap();
        let report = compare(&a, &b);
        assert!(is_bit_exact(&report), "N={n}: {report:?}");
    }
}
#[test]
fn one_part_along_an_axis_that_is_shifted() {
    for body in [
        "%y = Slice %a [2: 2..8] : ?",
        "%b = Slice %a [2: 1..7] : ?\n%y = MaxPool %b {kernel_shape=[3,3], pads=[1,1,1,1]} : ?",
        "%b = Pad %a {mode=\"constant\", pads=[0,0,-1,0,0,0,-2,0]} : ?\n%y = Neg %b : ?",
        "%b = AveragePool %a {kernel_shape=[1,1], strides=[3,1]} : ?\n%y = Neg %b : ?",
    ] {
        let text =
            format!("graph @g(%x: f32[1,2,8,8]) -> (%y) opset 10 {{\n%a = Relu %x : ?\n{body}\n}}");
        let g = parse(&text).unwrap();
        for grid in ["1x2", "2x1", "1x1"] {
            for reuse in ["recompute", "rows", "all", "checkerboard", "exchange"] {
                let pipeline = format!("fuse-tiles{{grid={grid} axes=hxw reuse={reuse} to=y}}");
                let (out, _) = optimise(&g, &pipeline);
                let report = compare(&g, &out);
                assert!(is_bit_exact(&report), "{pipeline}: {report:?}\n{text}");
            }
        }
    }
}
#[test]
fn partial_sums_of_gemm_have_the_operands_of_their_version() {
    for (opset, attributes) in [(6, "{broadcast=1}"), (7, "{beta=2.0}"), (9, ""), (11, "")] {
        let g = parse(&format!(
            "graph @g(%x: f32[2,6], %c: f32[3]) -> (%y) opset {opset} {{
               %w = const random(1) : f32[6,3]
               %y = Gemm %x, %w, %c {attributes} : ?
             }}"
        ))
        .unwrap();
        let (out, _) = optimise(&g, "tile-conv{axis=c-in parts=3}");
        let parts: Vec<usize> = (out.schedule().map(|n| out.node(n)))
            .filter(|n| matches!(n.op, Op::Gemm(_)))
            .map(|n| n.inputs.iter().flatten().count())
            .collect();
        let rest = if opset < 11 { 3 } else { 2 };
        assert_eq!(parts, [3, rest, rest], "opset {opset}");
        assert!(is_close(&g, &out), "opset {opset}");
    }
}
/// ONNX's inference of Slice keeps the name of a dimension, and ONNX Runtime believes it.
#[test]
fn sums_over_an_axis_of_unknown_extent_are_not_cut() {
    let g = parse(
        "graph @g(%x: f32[4,k]) -> (%y) opset 10 {
           %w = const random(1) : f32[6,13]
           %b = const -1 : f32[]
           %y = Gemm %x, %w, %b {transB=1} : ?
         }",
    )
    .unwrap();
    let (out, remarks) = optimise(&g, "tile-conv{axis=c-in parts=4}");
    assert_eq!(out.edits(), 0);
    assert!(remarks.iter().any(|r| r.message.contains("unknown")), "{remarks:?}");
}
/// One result of a Split is written anew, another one is still read: such a candidate is refused.
#[test]
fn eqsat_keeps_nodes_of_which_it_reads_a_result() {
    let g = parse(
        "graph @g(%x: f32[1,12], %z: f32[2,5,3]) -> (%b, %m, %v) opset 10 {
           %i = const [7,1,11] : i32[3]
           %g = Gather %x, %i {axis=1} : ?
           %w = const random(1) : f32[6,5,2]
           %c = Conv %z, %w {auto_pad=\"SAME_UPPER\", kernel_shape=[2]} : ?
           %k = const random(2) : f32[6,2,3]
           %l = const random(3) : f32[4,6,2]
           %d = Conv %c, %l {dilations=[3], pads=[1,1], strides=[2]} : ?
           %v = Conv %d, %k {auto_pad=\"SAME_UPPER\", group=2, kernel_shape=[3]} : ?
           %a, %b, %e = Split %g {axis=1} : ?, ?, ?
           %m = Mul %e, %b : ?
         }",
    )
    .unwrap();
    for objective in OBJECTIVES {
        let (out, _) = optimise(&g, &format!("eqsat{{nodes=2000 objective={objective}}}"));
        assert!(is_close(&g, &out), "{objective}");
    }
}
/// The operands of a Concat along the cut axis may be one value, which tiles then need in no order.
#[test]
fn tiles_that_wrap_around_do_not_take_over() {
    let g = parse(
        "graph @g(%x: f32[4,8]) -> (%y) opset 11 {
           %c = Relu %x : ?
           %y = Concat %c, %c {axis=-2} : ?
         }",
    )
    .unwrap();
    for reuse in ["recompute", "rows", "all", "exchange", "checkerboard"] {
        let pipeline = format!("fuse-tiles{{from=c to=y grid=4 axes=n reuse={reuse}}}");
        let (out, _) = optimise(&g, &pipeline);
        let report = compare(&g, &out);
        assert!(is_bit_exact(&report), "{reuse}: {report:?}");
    }
}
/// A tile of one row is squeezed along the same axes as the whole.
#[test]
fn squeeze_without_axes_keeps_cut_axes() {
    for opset in [11, 21] {
        let g = parse(&format!(
            "graph @g(%x: f32[1,4,1,1,4]) -> (%y) opset {opset} {{
               %s = Squeeze %x : ?
               %y = Erf %s : ?
             }}"
        ))
        .unwrap();
        for reuse in ["recompute", "checkerboard"] {
            exact(&g, &format!("fuse-tiles{{from=s to=y grid=4 axes=n reuse={reuse}}}"));
        }
    }
}
/// Groups are read of all grouped operators.
#[test]
fn tiles_of_grouped_convolutions_become_whole_again() {
    for (node, x, w) in [
        ("Conv %x, %w {group=4}", "f32", "const random(1) : f32[4,1,3,3]"),
        ("ConvInteger %x, %w {group=4}", "u8", "const random(1) : i8[4,1,3,3]"),
        ("ConvInteger %x, %w {group=2}", "u8", "const random(1) : i8[4,2,3,3]"),
    ] {
        let g = parse(&format!(
            "graph @g(%x: {x}[1,4,8,8]) -> (%y) opset 13 {{\n%w = {w}\n%y = {node} : ?\n}}"
        ))
        .unwrap();
        for tiles in ["axis=h parts=2", "axis=c-out parts=2"] {
            let tiled = exact(&g, &format!("tile-conv{{{tiles}}}"));
            let whole = exact(&tiled, "eqsat{objective=launches}");
            assert_eq!(whole.schedule().count(), 1, "{node} {tiles}");
        }
    }
}
/// Dropout drops nothing outside of training, and is no barrier there.
#[test]
fn dropout_is_random_only_in_training() {
    let graph = |opset: i64, dropout: &str| {
        parse(&format!(
            "graph @g(%x: f32[1,4,8,8], %flag: bool[]) -> (%y) opset {opset} {{
               %w = const random(1) : f32[4,4,3,3]
               %r = const 0.5 : f32[]
               %no = const 0 : bool[]
               %a = Conv %x, %w : ?
               %d = Dropout {dropout} : ?
               %y = Conv %d, %w : ?
             }}"
        ))
        .unwrap()
    };
    let pipeline = "fuse-tiles{from=a to=y grid=2 axes=h}";
    for (opset, dropout) in [(11, "%a"), (13, "%a"), (13, "%a, %r"), (13, "%a, %r, %no")] {
        let out = exact(&graph(opset, dropout), pipeline);
        assert_eq!(count(&out, "Dropout"), 2, "{opset} {dropout}");
    }
    let (out, remarks) = optimise(&graph(13, "%a, %r, %flag"), pipeline);
    assert_eq!(out.edits(), 0);
    assert!(remarks.iter().any(|r| r.message.contains("other results")), "{remarks:?}");
}
#[test]
fn an_output_whose_tiles_are_an_input_is_a_copy() {
    let g = parse(
        "graph @g(%x: f32[1,2,6,6]) -> (%a, %y) opset 19 {
           %a = Slice %x [0: 0..1] : ?
           %y = Relu %a : ?
         }",
    )
    .unwrap();
    exact(&g, "fuse-tiles{grid=1x1 axes=hxw reuse=recompute from=a to=y}");
}
#[test]
fn slices_from_unknown_bounds_keep_the_other_extents() {
    let g = parse(
        "graph @g(%x: f32[3,6,n,6], %s: i64[2]) -> (%y) opset 19 {
           %e = const [3,9] : i64[2]
           %a = const [0,2] : i64[2]
           %y = Slice %x, %s, %e, %a : ?
         }",
    )
    .unwrap();
    assert_eq!(g.value(g.outputs()[0]).ty.to_string(), "f32[?,6,?,6]");
}
#[test]
fn a_model_that_contradicts_itself_is_no_internal_error() {
    let Some(g) = file("more/simplify_reshape_negative.onnx") else { return };
    let pipeline = Pipeline::parse("simplify").unwrap();
    let got = Runner::default().evaluator(&Folder).run(&mut g.clone(), &pipeline);
    let Err(e @ RunError::Contradiction { .. }) = got else { panic!("{got:?}") };
    assert!(e.to_string().contains("n41") && e.to_string().contains("[3, -3]"), "{e}");
}
#[test]
fn output_shapes_beyond_any_size_are_refused() {
    let text = "graph @m(%x: f32[1,3,16,16]) -> (%y) opset 13 {
        %w = const random(1) : f32[3,4,3,3]
        %y = ConvTranspose %x, %w {output_shape=[9223372036854775807,1]} : ?
      }";
    assert!(parse(text).unwrap_err().to_string().contains("output_shape"));
}
fn cluster(memory: u64) -> Cluster {
    let device = |name: &str| {
        format!("[[device]]\nname = \"{name}\"\nmemory = \"{memory}B\"\nmacs-per-second = 1e6\n")
    };
    let link = "[default-link]\nbandwidth = \"10Gbit/s\"\nlatency = \"1us\"\n";
    Cluster::parse(&format!("source = \"a\"\n{}{}{link}", device("a"), device("b"))).unwrap()
}
#[test]
fn graphs_with_constant_nodes_are_planned() {
    let g = parse(
        "graph @g(%x: f32[1,4]) -> (%y) opset 13 {
           %k = Constant {value=tensor(1 : f32[])} : f32[]
           %y = Mul %x, %k : f32[1,4]
         }",
    )
    .unwrap();
    let n = Network::of(&g).unwrap();
    let (c, request) = (cluster(4096), PlanRequest::default());
    choose_plan(&g, &n, &c, &[None, None], &request, false, &Effort::default()).unwrap();
}
#[test]
fn weights_that_all_devices_together_cannot_hold_are_refused_at_once() {
    let layer = |i: usize| format!("%w{i} = const random({i}) : f32[16,16]\n");
    let node = |i: usize| format!("%x{} = MatMul %x{i}, %w{i} : ?\n", i + 1);
    let (w, n): (String, String) = ((0..40).map(layer).collect(), (0..40).map(node).collect());
    let g = parse(&format!("graph @g(%x0: f32[1,16]) -> (%x40) opset 13 {{\n{w}{n}}}")).unwrap();
    let network = Network::of(&g).unwrap();
    let (c, request) = (cluster(20_000), PlanRequest::default());
    let got = choose_plan(&g, &network, &c, &[None, None], &request, true, &Effort::default());
    let Err(PlanningError::NoPlan(NoPlan::Infeasible(reasons))) = got else { panic!("a plan") };
    assert_eq!(reasons, [Reason::Weights { needs: 40 * 1024, has: 40_000 }]);
}
#[test]
fn values_without_elements_run() {
    for (text, want) in [
        ("graph @g(%x: f32[2,0]) -> (%y) opset 17 { %y = Concat %x, %x {axis=0} : ? }", vec![4, 0]),
        (
            "graph @g(%x: f32[0,8]) -> (%y) opset 17 {
               %w = const random(1) : f32[8,5]
               %m = MatMul %x, %w : ?
               %n = MatMul %x, %w : ?
               %y = Concat %m, %n {axis=1} : ?
             }",
            vec![0, 10],
        ),
        (
            "graph @g(%x: f32[3,0]) -> (%y) opset 17 {
               %w = const random(1) : f32[0,4]
               %m = MatMul %x, %w : ?
               %n = Relu %m : ?
               %y = Concat %n, %m {axis=0} : ?
             }",
            vec![6, 4],
        ),
        (
            "graph @g(%x: f32[0,2,8,8]) -> (%y) opset 17 {
               %w = const random(1) : f32[3,2,3,3]
               %a = Conv %x, %w {pads=[1,1,1,1]} : ?
               %b = MaxPool %a {kernel_shape=[2,2], strides=[2,2]} : ?
               %c = Slice %b [2: 0..2] : ?
               %d = Slice %b [2: 2..4] : ?
               %y = Concat %c, %d {axis=2} : ?
             }",
            vec![0, 3, 4, 4],
        ),
        (
            "graph @g(%x: f32[2,3,0]) -> (%y) opset 17 {
               %t = Transpose %x {perm=[2,0,1]} : ?
               %e = Exp %t : ?
               %s = Softmax %e : ?
               %y = Concat %s, %e {axis=1} : ?
             }",
            vec![0, 4, 3],
        ),
    ] {
        let g = parse(text).unwrap();
        let x = g.value(g.inputs()[0]).ty.extents().unwrap();
        let (out, _) = prepared(&g).run_measured(&[counting(&x)]).unwrap();
        assert_eq!(dims(&out), [want], "{text}");
        assert_eq!(run(&g, &[counting(&x)]), out);
        assert!(is_bit_exact(&compare(&g, &g)));
    }
    let Some(g) = file("22_lora_zero_rank.onnx") else { return };
    exact(&g, "tile-conv{axis=h parts=2}");
}
/// Shapes that a file claims and that inference cannot know are not taken for the data's.
#[test]
fn claimed_shapes_do_not_cut_results() {
    let ints = Tensor::i64s;
    let x = |n: &[u64]| counting(n);
    for (text, inputs, want) in [
        (
            "graph @g(%sh: i64[2]) -> (%y) opset 17 {
               %y = ConstantOfShape %sh {value=tensor([1.5] : f32[1])} : f32[2,3]
             }",
            vec![ints(&[4, 7])],
            vec![vec![4, 7]],
        ),
        (
            "graph @g(%x: f32[], %sh: i64[2]) -> (%y) opset 17 {
               %y = Expand %x, %sh : f32[2,2]
             }",
            vec![x(&[]), ints(&[3, 2])],
            vec![vec![3, 2]],
        ),
        (
            "graph @g(%x: f32[4], %p: i64[2], %r: i64[1]) -> (%a, %b) opset 17 {
               %a = Pad %x, %p : f32[6]
               %b = Tile %x, %r : f32[8]
             }",
            vec![x(&[4]), ints(&[1, 0]), ints(&[3])],
            vec![vec![5], vec![12]],
        ),
        (
            "graph @g(%x: f32[3,4], %sh: i64[2]) -> (%y) opset 17 {
               %a = Reshape %x, %sh : f32[4,3]
               %b = Transpose %a {perm=[1,0]} : ?
               %y = Relu %b : ?
             }",
            vec![x(&[3, 4]), ints(&[6, 2])],
            vec![vec![2, 6]],
        ),
        (
            "graph @g(%x: f32[8], %n: i64[1]) -> (%y) opset 17 {
               %z = const [0] : i64[1]
               %a = Slice %x, %z, %n : f32[4]
               %b = Neg %x : ?
               %y = Concat %a, %b {axis=0} : ?
             }",
            vec![x(&[8]), ints(&[6])],
            vec![vec![14]],
        ),
    ] {
        let g = parse(text).unwrap();
        assert_eq!(dims(&run(&g, &inputs)), want, "{text}");
        // There is no plan for what only the data tell.
        assert!(prepared(&g).run_measured(&inputs).is_err());
    }
    let Some(g) = file("more/arena_declared_shape_1.onnx") else { return };
    let inputs = [counting(&[1, 6, 12, 6]), counting(&[1, 6, 12, 6])];
    assert_eq!(run(&g, &inputs)[1].dims(), [5, 36]);
}
#[test]
fn pieces_of_a_weight_inherit_what_the_file_says_of_it() {
    let Some(g) = file("84_metadata_tile_c_out.onnx") else { return };
    for pipeline in ["tile-conv{axis=c-out parts=2}", "tile-conv{axis=c-in parts=2}"] {
        let (out, _) = optimise(&g, pipeline);
        let mut bytes = Vec::new();
        onnx::export(&out, &mut bytes).unwrap();
        let m = ModelProto::parse_from_bytes(&bytes).unwrap();
        let pieces = m.graph.initializer.iter().filter(|t| t.name.starts_with("w/"));
        let said: Vec<(&str, usize)> =
            pieces.map(|t| (&*t.doc_string, t.metadata_props.len())).collect();
        assert_eq!(said, [("weights", 1), ("weights", 1)], "{pipeline}");
        // The annotation names a tensor that is gone.
        assert!(m.graph.quantization_annotation.is_empty(), "{pipeline}");
    }
}
/// A node of which only another result than its first is read cannot be tiled, which is said.
#[test]
fn another_result_alone_is_not_tiled() {
    let g = graph_opt_ir::text::parse(
        "graph @g(%x: f32[1,2,8,8]) -> (%i) opset 13 {
           %p, %i = MaxPool %x {kernel_shape=[2,2], strides=[2,2]} : ?, ? ; pool
         }",
    )
    .unwrap();
    let (t, remarks) = crate::support::optimise(&g, "tile-conv{axis=h parts=2}");
    assert_eq!(t.edits(), 0);
    assert!(remarks.iter().any(|r| r.message.contains("another result")), "{remarks:?}");
}
/// Tiles may read constants of other ranks than each other.
#[test]
fn eqsat_takes_weights_of_any_rank() {
    let g = graph_opt_ir::text::parse(
        "graph @g(%x: f32[1,3,4]) -> (%y) opset 13 {
           %v = const random(1) : f32[1,4,2]
           %w = const random(2) : f32[4,4]
           %a = MatMul %x, %v : ?
           %b = MatMul %x, %w : ?
           %y = Concat %a, %b {axis=2} : ?
         }",
    )
    .unwrap();
    let (t, _) = crate::support::optimise(&g, "eqsat{nodes=500}");
    let r = crate::support::compare(&g, &t);
    assert!(crate::support::is_bit_exact(&r), "{r:?}");
}
/// Before IR version 4 new constants of a body are nodes, as initializers would have to be inputs.
#[test]
fn constants_of_old_bodies_are_nodes() {
    let mut g = parse(
        "graph @g(%k: bool[], %x: f32[1,2,8,8]) -> (%y) opset 9 {
           %w = const random(1) : f32[2,2,3,3]
           %y = If %k {then_branch=graph @t() -> (%a) {
             %c = Constant {value=tensor([1.0,2.0] : f32[2])} : ?
             %n = Neg %c : ?
             %b = Conv %x, %w, %n {pads=[1,1,1,1]} : ?
             %a = Relu %b : ?
           }, else_branch=graph @e() -> (%b2) {
             %b2 = Identity %x : ?
           }} : ?
         }",
    )
    .unwrap();
    g.ir_version = 3;
    let written = |g: &Graph| {
        let mut bytes = Vec::new();
        onnx::export(g, &mut bytes).unwrap();
        bytes
    };
    // As a file has it: its bodies are of its version.
    let g = onnx::import(written(&g), None).unwrap().graph;
    let (folded, _) = optimise(&g, "simplify");
    assert!(folded.edits() > 0);
    let bytes = written(&folded);
    let m = ModelProto::parse_from_bytes(&bytes).unwrap();
    let body = m.graph.node[0].attribute.iter().find(|a| a.name == "then_branch").unwrap();
    let ops: Vec<&str> = body.g.node.iter().map(|n| n.op_type.as_str()).collect();
    assert!(body.g.initializer.is_empty() && ops == ["Constant", "Conv", "Relu"], "{ops:?}");
    let back = onnx::import(bytes, None).unwrap().graph;
    assert!(graph_opt_ir::structural_eq::identical(&folded, &back));
}

/// ONNX leaves open what a repeated axis means; ONNX Runtime refuses it, also where it sees it only
/// as the model runs. Strides once overflowed.
#[test]
fn slices_that_name_an_axis_twice_are_refused() {
    let g = parse(
        "graph @g(%x: f32[4,6], %a: i64[2]) -> (%y) opset 18 {
           %s = const [3,2] : i64[2]
           %e = const [-9,9] : i64[2]
           %b = const [-1,1] : i64[2]
           %y = Slice %x, %s, %e, %a, %b : ?
         }",
    )
    .unwrap();
    let with =
        |axes: &[i64]| prepared(&g).run(&[counting(&[4, 6]), Tensor::i64s(axes)], g.outputs());
    assert!(with(&[0, 1]).is_ok());
    for axes in [[1, 1], [-1, 1]] {
        let e = with(&axes).unwrap_err().to_string();
        assert!(e.contains("name axis 1 twice"), "{e}");
    }
}

/// The planner's estimate freed a value as often as a node reads it.
#[test]
fn budgets_hold_where_a_node_reads_values_again_and_again() {
    let g = parse(
        "graph @g(%x: f32[1,4,32,32]) -> (%y) opset 17 {
           %w = const random(1) : f32[8,4,3,3]
           %v = const random(2) : f32[4,8,3,3]
           %a = Conv %x, %w {pads=[1,1,1,1]} : ?
           %b = Relu %a : ?
           %c = Conv %b, %v {pads=[1,1,1,1]} : ?
           %d = Sigmoid %c : ?
           %y = Concat %c, %d, %c, %d, %c {axis=1} : ?
         }",
    )
    .unwrap();
    exact(&g, "fuse-tiles{memory=100KiB}");
}
