//! Symbolic extents: sizes with assumed ones, plans that keep them free, and proofs that hold for all.

use std::process::Command;
use std::sync::Arc;

use graph_opt_backends::Folder;
use graph_opt_backends::compare::{Compare, Verdict};
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::Extents;
use graph_opt_ir::text::parse;
use graph_opt_ir::{Dim, Graph};
use graph_opt_passes::analysis::plan;
use graph_opt_passes::eqsat::prove::prove;
use graph_opt_passes::{Assumed, Pipeline, Runner};
use onnx_protobuf::{Message, ModelProto};

/// Two convolutions, a residual and a Resize by computed sizes, over a symbolic batch.
const TEXT: &str = "graph @g(%x: f32[N,3,32,32]) -> (%z) opset 13 {
  %k  = const random(1)               : f32[8,3,3,3]
  %l  = const random(2)               : f32[8,8,3,3]
  %m  = const random(3)               : f32[4,8,3,3]
  %hw = const [32,32]                 : i64[2]
  %i  = const [0,1]                   : i64[2]
  %a  = Conv %x, %k {pads=[1,1,1,1], strides=[2,2]} : f32[N,8,16,16] ; first
  %b  = Conv %a, %l {pads=[1,1,1,1]}  : f32[N,8,16,16] ; second
  %c  = Add %a, %b                    : f32[N,8,16,16] ; sum
  %s  = Shape %c                      : i64[4]
  %t  = Gather %s, %i                 : i64[2]
  %u  = Concat %t, %hw {axis=0}       : i64[4]
  %d  = Resize %c, _, _, %u {mode=\"nearest\", coordinate_transformation_mode=\"asymmetric\", nearest_mode=\"floor\"} : f32[N,8,32,32] ; up
  %z  = Conv %d, %m {pads=[1,1,1,1]}  : f32[N,4,32,32] ; last
}";

fn graph() -> Graph {
    parse(TEXT).unwrap()
}

fn tiled(pipeline: &str) -> Graph {
    let mut g = graph();
    let pipeline = Pipeline::parse(pipeline).unwrap();
    let report = Runner::default().evaluator(&Folder).run(&mut g, &pipeline).unwrap();
    assert!(report.edits > 0, "{:?}", report.remarks);
    g
}

/// The peak for this batch, in bytes.
fn peak(g: &Graph, batch: u64) -> u64 {
    let sized = Assumed::new(vec![("N".into(), batch)]).sized(g, &Folder).unwrap();
    plan(&sized.graph).unwrap().peak
}

#[test]
fn a_plan_keeps_the_batch_free_and_is_proved_for_all_of_it() {
    let g = graph();
    let budget = peak(&g, 1) * 6 / 10;
    let small = tiled(&format!("simplify,schedule,fuse-tiles{{memory={budget}B}}"));
    let input = &small.value(small.inputs()[0]).ty;
    assert!(matches!(input.dims().unwrap()[0], Dim::Param(_)), "{input}");
    assert!(peak(&small, 1) <= budget);
    // Peaks grow with the batch, of the original and of the tiles.
    for h in [&g, &small] {
        assert_eq!(peak(h, 7), 7 * peak(h, 1));
    }
    // That computed sizes are factors is no rule of the prover; the tiles are proved.
    let simple = Arc::new(tiled("simplify"));
    let c = Compare { prove: true, exact: false, ..Compare::default() };
    let report = c.run(&simple, &Arc::new(small.clone())).unwrap();
    assert_eq!(report.outputs[0].verdicts[0].to_string(), "proved", "{report:?}");
    for batch in [1, 3] {
        let cpu = Cpu::default();
        let extents = Extents([("N".to_owned(), batch)].into());
        let backends: Vec<&dyn graph_opt_backends::Backend> = vec![&cpu];
        let c = Compare { prove: false, backends, extents, ..Compare::default() };
        let report = c.run(&Arc::new(g.clone()), &Arc::new(small.clone())).unwrap();
        assert!(report.is_equal(), "batch {batch}: {report:?}");
    }
}

/// A halo that is one row short is not proved, and runs find it.
#[test]
fn a_wrong_tile_over_a_symbolic_batch_is_found() {
    let g = graph();
    let text =
        graph_opt_ir::text::print_whole(&tiled("simplify,tile-conv{axis=h parts=2}")).unwrap();
    let mut wrong = 0;
    for (from, to) in
        [("[2: 0..9]", "[2: 0..8]"), ("[2: 7..16]", "[2: 6..15]"), ("[2: 15..32]", "[2: 14..31]")]
    {
        let changed = text.replacen(from, to, 1);
        let Ok(bad) = parse(&changed) else { continue };
        if changed == text {
            continue;
        }
        wrong += 1;
        let Ok(report) = Compare::default().run(&Arc::new(g.clone()), &Arc::new(bad)) else {
            continue;
        };
        let verdicts = &report.outputs[0].verdicts;
        assert!(verdicts.iter().any(|v| matches!(v, Verdict::Differs(..))), "{from}: {report:?}");
    }
    assert!(wrong >= 2, "{text}");
}

#[test]
fn what_is_assumed_is_said() {
    let g = graph();
    let sized = Assumed::default().sized(&g, &Folder).unwrap();
    assert_eq!(sized.text(), "N=1");
    let z = sized.graph.find_value("z").unwrap();
    assert_eq!(sized.graph.value(z).ty.to_string(), "f32[1,4,32,32]");
    let e = Assumed::new(vec![("M".into(), 2)]).sized(&g, &Folder).unwrap_err();
    assert!(e.to_string().contains("no input has a dimension \"M\""), "{e}");
    let e = Assumed::new(vec![("x:1".into(), 2)]).sized(&g, &Folder).unwrap_err();
    assert!(e.to_string().contains("is 3, and cannot be 2"), "{e}");
}

#[test]
fn rows_are_cut_once_their_extent_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n).to_str().unwrap().to_owned();
    let (free, small) = (at("free.gir"), at("small.onnx"));
    let text = "graph @g(%x: f32[n,3,h,w]) -> (%z) opset 13 {
      %k = const random(1)              : f32[8,3,3,3]
      %l = const random(2)              : f32[4,8,3,3]
      %a = Conv %x, %k {pads=[1,1,1,1]} : f32[n,8,h,w] ; a
      %z = Conv %a, %l {pads=[1,1,1,1]} : f32[n,4,h,w] ; z
    }";
    std::fs::write(&free, text).unwrap();
    let run = |args: &[&str]| {
        let o = Command::new(env!("CARGO_BIN_EXE_graph-opt")).args(args).output().unwrap();
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        (o.status.code(), text(&o.stdout), text(&o.stderr))
    };
    // 64 rows and columns: the channels of `a` alone take 128 KiB.
    let opt = |more: &[&str]| {
        let all = [
            "opt",
            &free,
            "--memory",
            "120K",
            "--runtime",
            "interpreter",
            "-o",
            &small,
            "--verify",
        ];
        run(&[&all[..], more].concat())
    };
    let (code, _, err) = opt(&[]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("give --dim h=… --dim w=…"), "{err}");
    for shape in [&["--dim", "h=64", "--dim", "w=64"][..], &["--input-shape", "x:1,3,64,64"]] {
        let (code, _, err) = opt(shape);
        assert_eq!(code, Some(0), "{err}");
        assert!(err.contains("equal for all inputs (proved"), "{err}");
        assert!(err.contains("tiles need these extents, which the file declares now: "), "{err}");
        let (_, out, _) = run(&["print", &small]);
        assert!(out.contains(",3,64,64])"), "{out}");
        let model = ModelProto::parse_from_bytes(&std::fs::read(&small).unwrap()).unwrap();
        let made_for = model.metadata_props.iter().find(|p| p.key == "graph_opt.extents").unwrap();
        let named = ["h=64 w=64", "x:0=1 x:1=3 x:2=64 x:3=64"];
        assert!(named.contains(&&*made_for.value), "{made_for:?}");
    }
    let (_, out, _) = run(&["inspect", &free, "--dim", "h=64", "--dim", "w=64"]);
    let want = "peak activations  192.00 KiB · batch at z\n";
    assert!(out.contains(want), "{out}");
}

/// The sizes of all values with these extents, which must be known in bodies, too.
fn sized(text: &str, extents: &[(&str, u64)]) -> Graph {
    let g = parse(text).unwrap();
    let extents = extents.iter().map(|(n, e)| ((*n).to_owned(), *e)).collect();
    let sized = Assumed::new(extents).sized(&g, &Folder).unwrap().graph.into_owned();
    let known =
        |g: &Graph| g.values().find(|(_, v)| v.ty.bytes().is_none()).map(|(_, v)| v.name.clone());
    assert_eq!(known(&sized), None);
    let mut inner = Vec::new();
    sized.any_node(&mut |g, n| {
        inner.extend(g.node(n).op.bodies().iter().filter_map(|(_, body)| known(body)));
        false
    });
    assert!(inner.is_empty(), "{inner:?}");
    sized
}

fn extents(g: &Graph, name: &str) -> Vec<u64> {
    g.value(g.find_value(name).unwrap()).ty.extents().unwrap()
}

/// The shape of a constant is arithmetic on extents that no symbolic rule covers.
#[test]
fn shapes_that_are_computed_count() {
    let g = sized(
        "graph @g(%x: f32[N,4]) -> (%y) opset 13 {
           %s = Shape %x                                  : i64[2]
           %p = ReduceProd %s {axes=[0], keepdims=1}      : i64[1]
           %z = const 0                                   : f32[]
           %e = Expand %z, %p                             : ?
           %t = const [-1,4]                              : i64[2]
           %r = Reshape %e, %t                            : ?
           %y = Add %x, %r                                : ?
         }",
        &[("N", 3)],
    );
    assert_eq!(extents(&g, "e"), [12]);
}

/// A Loop turns as often as its input is long, on a condition that its body makes of a captured constant.
#[test]
fn counts_of_loops_follow_extents() {
    let g = sized(
        "graph @g(%x: f32[T,1,4]) -> (%y) opset 13 {
           %one = const 1                                 : i64[]
           %zero = const 0                                : i64[]
           %s = Shape %x                                  : i64[3]
           %n = Gather %s, %zero                          : i64[]
           %go = Cast %one {to=9}                         : bool[]
           %h = Gather %x, %zero                          : f32[1,4]
           %last, %y = Loop %n, %go, %h {body=graph @b(%i: i64[], %c: bool[..], %p: f32[1,4]) -> (%d, %q, %o) {
             %v = Gather %x, %i                           : ?
             %q = Add %p, %v                              : ?
             %o = Neg %q                                  : ?
             %d = Cast %one {to=9}                        : ?
           }} : ?, ?
         }",
        &[("T", 5)],
    );
    assert_eq!(extents(&g, "y"), [5, 1, 4]);
}

/// Of an If, one branch is taken or one can run at these extents; a nested If asks for the rank.
#[test]
fn branches_that_do_not_run_do_not_count() {
    let text = "graph @g(%c: bool[], %x: f32[N,W]) -> (%y) opset 13 {
       %k = const random(1)                               : f32[8,3]
       %l = const random(2)                               : f32[4,3]
       %y = If %c {then_branch=graph @t() -> (%a) {
         %a = MatMul %x, %k                               : ?
       }, else_branch=graph @e() -> (%b) {
         %s = Shape %x                                    : ?
         %i = const 1                                     : i64[]
         %w = Gather %s, %i                               : ?
         %four = const 4                                  : i64[]
         %short = Equal %w, %four                         : ?
         %b = If %short {then_branch=graph @u() -> (%d) {
           %d = MatMul %x, %l                             : ?
         }, else_branch=graph @v() -> (%f) {
           %m = MatMul %x, %l                             : ?
           %f = Relu %m                                   : ?
         }} : ?
       }} : ?
     }";
    for width in [8, 4] {
        let g = sized(text, &[("N", 2), ("W", width)]);
        assert_eq!(extents(&g, "y"), [2, 3], "{width}");
    }
}

/// Shapes that are inputs with defaults are taken from these, and it is said.
#[test]
fn defaults_of_inputs_count() {
    let g = parse(
        "graph @g(%x: f32[2,6], %s: i64[2] = [3,4]) -> (%y) opset 13 {
           %y = Reshape %x, %s : ?
         }",
    )
    .unwrap();
    let sized = Assumed::default().sized(&g, &Folder).unwrap();
    assert_eq!(extents(&sized.graph, "y"), [3, 4]);
    assert_eq!(sized.text(), "inputs=default");
    assert!(g.value(g.outputs()[0]).ty.extents().is_none());
}

/// At given extents, what is computed of them is a number. At others, the models differ.
#[test]
fn proofs_at_given_extents_say_so() {
    let graph = |shape: &str| {
        let text = format!(
            "graph @g(%x: f32[N,8]) -> (%y) opset 13 {{
               {shape}
               %r = Reshape %x, %t : ?
               %y = Softmax %r {{axis=-1}} : ?
             }}"
        );
        Arc::new(parse(&text).unwrap())
    };
    let computed = graph(
        "%s = Shape %x : i64[2]
         %p = ReduceProd %s {axes=[0], keepdims=1} : i64[1]
         %k = const [4] : i64[1]
         %q = Div %p, %k : i64[1]
         %t = Concat %q, %k {axis=0} : i64[2]",
    );
    let fixed = graph("%t = const [4,4] : i64[2]");
    let verdict = |n: Option<u64>| {
        let extents = Extents(n.map(|n| ("N".to_owned(), n)).into_iter().collect());
        let c = Compare { prove: true, exact: false, extents, ..Compare::default() };
        let report = c.run(&computed, &fixed).unwrap();
        report.outputs[0].summary.to_string()
    };
    assert_eq!(verdict(Some(2)), "proved at N=2");
    for other in [None, Some(3)] {
        assert!(!verdict(other).contains("proved at"), "{other:?}: {}", verdict(other));
    }
}

/// Two Reshapes of one value are equal if their results have the same symbolic extents, and only then.
#[test]
fn reshapes_are_known_by_symbolic_extents() {
    let graph = |reshape: &str| {
        let text = format!(
            "graph @g(%x: f32[N,3,4], %z: f32[M]) -> (%y) opset 13 {{
               {reshape}
               %r = Reshape %x, %t : ?
               %y = Transpose %r : ?
             }}"
        );
        parse(&text).unwrap()
    };
    let computed = |from: &str| {
        graph(&format!(
            "%s = Shape %{from} : ?
             %i = const [0] : i64[1]
             %n = Gather %s, %i : i64[1]
             %k = const [12] : i64[1]
             %t = Concat %n, %k {{axis=0}} : i64[2]"
        ))
    };
    let a = computed("x");
    assert!(prove(&a, &graph("%t = const [0,12] : i64[2]")).is_ok());
    assert!(prove(&a, &graph("%t = const [0,-1] : i64[2]")).is_ok());
    for other in
        [computed("z"), graph("%t = const [-1,6] : i64[2]"), graph("%t = const [0,2,6] : i64[3]")]
    {
        assert!(prove(&a, &other).is_err());
    }
}

/// A shape that a file declares for a value that depends on data decides nothing.
#[test]
fn declared_shapes_decide_nothing() {
    let graph = |count: &str| {
        let text = format!(
            "graph @g(%x: f32[N,4]) -> (%y) opset 13 {{
               %k = NonZero %x                        : i64[2,8]
               {count}
               %f = Cast %c {{to=1}}                  : ?
               %y = Add %x, %f                        : ?
             }}"
        );
        Arc::new(parse(&text).unwrap())
    };
    let counted = graph("%s = Shape %k : i64[2]\n%i = const 1 : i64[]\n%c = Gather %s, %i : i64[]");
    let believed = graph("%c = const 8 : i64[]");
    let cpu = Cpu::default();
    let compare = Compare {
        prove: true,
        extents: Extents([("N".to_owned(), 2)].into()),
        backends: vec![&cpu],
        ..Compare::default()
    };
    let report = compare.run(&counted, &believed).unwrap();
    assert!(!report.is_equal(), "{report:?}");
}

/// Extents that a file declares, as of the one run that its exporter saw, count only where they are the same in every
/// run.
#[test]
fn declared_extents_of_one_run_are_not_believed() {
    let ty = |nodes: &str| {
        let text = format!(
            "graph @g(%x: f32[N,1,H,4], %k: f32[2,4], %c: bool[]) -> (%y) opset 16 {{
               %w = const random(1) : f32[1,1,3,3]
               {nodes}
             }}"
        );
        let g = parse(&text).unwrap();
        g.value(g.outputs()[0]).ty.to_string()
    };
    assert_eq!(ty("%y = Relu %x : f32[2,1,4,4]"), "f32[N,1,H,4]");
    assert_eq!(ty("%y = Conv %x, %w {pads=[1,1,1,1]} : f32[2,1,4,4]"), "f32[N,1,H,4]");
    assert_eq!(ty("%y = Conv %x, %w : f32[2,1,2,2]"), "f32[N,1,?,2]");
    assert_eq!(ty("%y = NonZero %k : i64[2,8]"), "i64[2,?]");
    let branches = "%y = If %c {then_branch=graph @t() -> (%a) {
                      %a = Relu %x : ?
                    }, else_branch=graph @e() -> (%b) {
                      %b = Conv %x, %w : f32[2,1,2,2]
                    }} : f32[2,1,4,4]";
    assert_eq!(ty(branches), "f32[N,1,?,?]");
    // Nothing else is known of them.
    assert_eq!(ty("%y = my.dom::Cut %x : f32[2,4]"), "f32[2,4]");

    let declared = "graph @g(%x: f32[1,1,H,4]) -> (%y) opset 16 {
                      %w = const random(1) : f32[1,1,3,3]
                      %y = Conv %x, %w {pads=[1,1,1,1]} : f32[1,1,4,4]
                    }";
    let mut g = parse(declared).unwrap();
    let pipeline = Pipeline::parse("tile-conv{axis=h parts=2}").unwrap();
    let report = Runner::default().run(&mut g, &pipeline).unwrap();
    assert_eq!(report.edits, 0, "{:?}", report.remarks);
}
