//! Passes in the bodies of control flow.

use std::sync::Arc;

use graph_opt_backends::compare::{Compare, Verdict};
use graph_opt_backends::cpu::Cpu;
use graph_opt_ir::text::{parse, print};
use graph_opt_ir::verify::verify;
use graph_opt_ir::{Graph, NodeId, Tensor, onnx, structural_eq};
use graph_opt_passes::{Outcome, Pipeline, Runner, fix_dims};

use crate::support::{is_bit_exact, load, optimise, shared};

/// One convolution in the main graph, one in each branch.
fn branches() -> Graph {
    parse(
        "graph @main(%c: bool[], %x: f32[1,1,6,4]) -> (%y) opset 13 {
           %w = const random(1)              : f32[1,1,3,3]
           %z = Conv %x, %w {pads=[1,1,1,1]} : f32[1,1,6,4] ; main
           %y = If %c {then_branch=graph @t() -> (%a) {
             %a = Conv %z, %w {pads=[1,1,1,1]} : ? ; then
           }, else_branch=graph @e() -> (%b) {
             %p = Conv %z, %w {pads=[1,1,1,1]} : ? ; else
             %b = Neg %p : ?
           }} : f32[1,1,6,4] ; branch
         }",
    )
    .unwrap()
}

const H2: &str = "tile-conv{axis=h parts=2}";

fn convolutions(g: &Graph) -> Vec<String> {
    let mut all = Vec::new();
    g.any_node(&mut |g, n| {
        if g.node(n).op.name() == "Conv" {
            all.push(g.label(n).to_owned());
        }
        false
    });
    all
}

#[test]
fn edits_are_counted_shown_restricted_and_stopped() {
    let g = branches();
    let run = |pipeline: &str, limit: usize| {
        let mut t = g.clone();
        let mut seen = Vec::new();
        let report = Runner::default()
            .stop_after(limit)
            .observe(Box::new(|g, e| {
                verify(g).map_err(|v| v[0].to_string())?;
                seen.push(format!("{} {} {}", e.number, e.scope.join(" "), e.origin));
                Ok(())
            }))
            .run(&mut t, &Pipeline::parse(pipeline).unwrap())
            .unwrap();
        assert_eq!(report.edits, t.edits());
        (t, report, seen)
    };
    let (t, report, seen) = run(H2, usize::MAX);
    let all = [
        "1 branch/then_branch tile-conv then",
        "2 branch/else_branch tile-conv else",
        "3  tile-conv main",
    ];
    assert_eq!(seen, all);
    assert_eq!(report.remarks.iter().filter(|r| r.outcome == Outcome::Applied).count(), 3);
    assert_eq!(convolutions(&t).len(), 6);
    for limit in 0..3 {
        let (t, report, seen) = run(H2, limit);
        assert_eq!((report.edits, &seen[..]), (limit, &all.map(String::from)[..limit]));
        assert_eq!(verify(&t), Ok(()));
    }
    let (t, report, _) = run(&format!("only(^else$)({H2})"), usize::MAX);
    assert_eq!((report.edits, report.remarks.len()), (1, 1));
    assert_eq!(convolutions(&t), ["main", "then", "else/tile0of2", "else/tile1of2"]);
    let (_, report, _) = run(&format!("only(^none$)({H2})"), usize::MAX);
    // That no node has such a name, and that there was nothing to tile: once each.
    assert_eq!(report.remarks.len(), 2, "{:?}", report.remarks);
}

/// A name is looked for in the graph and in all bodies; it is a mistake if it is in none of them.
#[test]
fn a_node_is_named_wherever_it_is() {
    let run = |pipeline: &str| {
        let mut t = branches();
        Runner::default().run(&mut t, &Pipeline::parse(pipeline).unwrap())
    };
    for name in ["then", "p", "main"] {
        let report = run(&format!("fuse-tiles{{grid=2 to={name}}}")).unwrap();
        assert_eq!((report.edits, report.remarks.len()), (1, 1), "{name}: {:?}", report.remarks);
    }
    let e = run("fuse-tiles{grid=2 to=them}").unwrap_err().to_string();
    let expected = "fuse-tiles: there is no node or result named \"them\"";
    assert!(e.starts_with(expected), "{e}");
    // The first round replaces the node.
    let report = run("fixpoint(fuse-tiles{grid=2 to=main})").unwrap();
    assert_eq!(report.edits, 1, "{:?}", report.remarks);
}

/// A wrong edit in a body is found, and named.
#[test]
fn differences_name_the_edit_in_the_body() {
    let g = branches();
    let (t, _) = optimise(&g, &format!("only(^then$)({H2})"));
    let text = print(&t);
    let wrong = text.replacen("[2: 2..6]", "[2: 1..5]", 1);
    assert_ne!(text, wrong);
    let constants = graph_opt_ir::text::Constants::of(&t);
    let mut wrong = graph_opt_ir::text::parse_with(&wrong, &constants).unwrap();
    // The text has no origins: the edit is made once more, in the graph that is wrong already.
    let report = Runner::default()
        .run(&mut wrong, &Pipeline::parse("only(tile0of2)(tile-conv{axis=w parts=2})").unwrap())
        .unwrap();
    assert_eq!(report.edits, 1);
    let cpu = Cpu::default();
    let inputs = vec![
        Tensor::from_bytes(graph_opt_ir::DType::Bool, vec![], vec![1]).unwrap(),
        graph_opt_ir::Tensor::random(graph_opt_ir::DType::F32, &[1, 1, 6, 4], 1).unwrap(),
    ];
    let c = Compare { backends: vec![&cpu], inputs: Some(inputs), ..Compare::default() };
    let r = c.run(&Arc::new(g), &Arc::new(wrong)).unwrap();
    for v in &r.outputs[0].verdicts {
        let Verdict::Differs(_, place) = v else { panic!("{v}") };
        assert_eq!(place.edit, "tile-conv then/tile0of2, inside \"branch\"");
    }
}

/// A body that did not change is written as it was, and one that did is read back as it is.
#[test]
fn bodies_are_written_and_read() {
    let bytes = |g: &Graph| {
        let mut out = Vec::new();
        onnx::export(g, &mut out).unwrap();
        out
    };
    let read = |b: &[u8]| {
        let i = onnx::import(b.to_vec(), None).unwrap();
        let mut g = i.graph;
        graph_opt_ir::infer::infer_graph(&mut g, &i.declared).unwrap();
        g
    };
    let first = bytes(&branches());
    let g = read(&first);
    assert_eq!(bytes(&optimise(&g, "").0), first);
    let (t, _) = optimise(&g, &format!("only(^then$)({H2})"));
    let written = bytes(&t);
    let body = |b: &[u8], name: &str| {
        let g = read(b);
        let n = g.schedule().find(|&n| g.label(n) == "branch").unwrap();
        let bodies = g.node(n).op.bodies();
        print(bodies.iter().find(|(k, _)| *k == name).unwrap().1)
    };
    assert_eq!(body(&written, "else_branch"), body(&first, "else_branch"));
    assert!(body(&written, "then_branch").contains("then/tile1of2"));
    assert!(structural_eq::identical(&read(&written), &t));
    assert_eq!(verify(&read(&written)), Ok(()));
    let (back, _) = optimise(&read(&written), "untile");
    assert!(structural_eq::identical(&back, &g));
}

/// Types that loops keep from turn to turn are known in their bodies, and no others.
#[test]
fn states_of_loops_have_the_types_that_they_keep() {
    let types = |body: &str, declared: &str| {
        let g = parse(&format!(
            "graph @g(%n: i64[], %x: f32[2,3], %z: f32[5]) -> (%y) opset 13 {{
               %y = Loop %n, _, %x {{body=graph @b(%i: i64[], %go: bool[], %s: {declared}) -> (%on, %t) {{
                 %on = Identity %go : ?
                 {body}
               }}}} : ?
             }}"
        ))
        .unwrap();
        assert_eq!(verify(&g), Ok(()));
        let n: NodeId = g.schedule().next().unwrap();
        let (_, b) = g.node(n).op.bodies()[0];
        b.value(b.find_value("s").unwrap()).ty.to_string()
    };
    assert_eq!(types("%t = Relu %s : ?", "f32[..]"), "f32[2,3]");
    assert_eq!(types("%t = Concat %s, %x {axis=0} : ?", "f32[..]"), "f32[?,3]");
    // The file says what the first turn alone makes true.
    assert_eq!(types("%t = Concat %s, %x {axis=0} : ?", "f32[2,3]"), "f32[?,3]");
    assert_eq!(types("%t = Unsqueeze %s, %i : ?", "f32[..]"), "f32[..]");
}

/// An If has the types of the one branch that runs at the extents. A branch runs only if an If in it does.
#[test]
fn a_branch_that_cannot_run_has_no_types() {
    let ty = |other: &str| {
        let mut g = parse(&format!(
            "graph @g(%c: bool[], %x: f32[N,3]) -> (%y) opset 16 {{
               %y = If %c {{then_branch=graph @t() -> (%a) {{
                 %a = Relu %x : ?
               }}, else_branch=graph @e() -> (%b) {{
                 {other}
               }}}} : ?
             }}"
        ))
        .unwrap();
        fix_dims(&mut g, &[("N".to_owned(), 2)]).unwrap();
        g.value(g.outputs()[0]).ty.to_string()
    };
    let (runs, fails) = ("Transpose %x {perm=[1,0]}", "MatMul %x, %x");
    assert_eq!(ty(&format!("%b = {runs} : ?")), "f32[?,?]");
    assert_eq!(ty(&format!("%b = {fails} : ?")), "f32[2,3]");
    let nested = |then: &str| {
        format!(
            "%b = If %c {{then_branch=graph @p() -> (%d) {{
               %d = {then} : ?
             }}, else_branch=graph @q() -> (%f) {{
               %f = {fails} : ?
             }}}} : ?"
        )
    };
    assert_eq!(ty(&nested(fails)), "f32[2,3]");
    assert_eq!(ty(&nested(runs)), "f32[?,?]");
}

/// Where the branch that is always taken contradicts itself, the If stays: the model fails when it runs, not before.
#[test]
fn a_branch_that_cannot_run_is_not_put_in_place() {
    let nodes = |n: u64| {
        let mut g = parse(
            "graph @g(%x: f32[N,3]) -> (%y) opset 16 {
               %c = const 1 : bool[]
               %y = If %c {then_branch=graph @t() -> (%a) {
                 %a = MatMul %x, %x : ?
               }, else_branch=graph @e() -> (%b) {
                 %b = Relu %x : ?
               }} : ?
             }",
        )
        .unwrap();
        fix_dims(&mut g, &[("N".to_owned(), n)]).unwrap();
        let (t, _) = optimise(&g, "simplify");
        t.schedule().map(|n| t.node(n).op.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(nodes(3), ["MatMul"]);
    assert_eq!(nodes(2), ["If"]);
}

/// What a recurrent operator reads has three axes.
#[test]
fn recurrent_operators_say_the_ranks_that_they_expect() {
    let read = |x: &str| {
        parse(&format!(
            "graph @g(%x: f32[{x}], %w: f32[1,16,3], %r: f32[1,16,4]) -> (%y) opset 16 {{
               %y = LSTM %x, %w, %r {{hidden_size=4}} : ?
             }}"
        ))
    };
    assert!(read("5,2,3").is_ok());
    let error = read("1,5,2,3").unwrap_err().to_string();
    assert!(error.contains("expected 3 axes of X, found f32[1,5,2,3]"), "{error}");
}

/// The convolutions of silero_vad stand in the branches of an If, one for each sampling rate.
#[test]
fn convolutions_in_branches_of_a_real_model() {
    let Some(dir) = shared("models") else { return };
    let g = load(&dir.join("snakers4+silero-vad__silero_vad.onnx"));
    assert_eq!(convolutions(&g).len(), 12);
    for (rate, samples) in [(16000i64, 512u64), (8000, 256)] {
        let mut s = g.clone();
        let dims = [("input:0", 1), ("input:1", samples), ("state:1", 1)];
        fix_dims(&mut s, &dims.map(|(n, e)| (n.to_owned(), e))).unwrap();
        let (s, _) = optimise(&s, "simplify");
        let (t, remarks) = optimise(&s, "tile-conv{axis=w parts=2 ops=conv}");
        for r in &remarks {
            println!("{rate}: {r}");
        }
        let tiled = remarks.iter().filter(|r| r.outcome == Outcome::Applied).count();
        assert!(tiled >= 3, "{tiled} tiled");
        assert_eq!(verify(&t), Ok(()));
        let input = |dims: &[u64], seed| {
            graph_opt_ir::Tensor::random(graph_opt_ir::DType::F32, dims, seed).unwrap()
        };
        let sr = Tensor::i64s(&[rate]).reshaped(vec![]).unwrap();
        let inputs = vec![input(&[1, samples], 1), input(&[2, 1, 128], 2), sr];
        let cpu = Cpu::default();
        let c = Compare { backends: vec![&cpu], inputs: Some(inputs), ..Compare::default() };
        let r = c.run(&Arc::new(g.clone()), &Arc::new(t.clone())).unwrap();
        assert!(is_bit_exact(&r), "{rate}: {r:?}");
        let (back, _) = optimise(&t, "untile");
        assert!(structural_eq::identical(&s, &back), "{rate}: {}", print(&back));
    }
}
