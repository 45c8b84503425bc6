use graph_opt_ir::{DType, Graph, Hasher, Span, Type, text};

use super::check::check;
use super::egraph::Classes;
use super::prove::prove;
use super::rules::TABLE;
use super::terms::{Reading, Terms};
use crate::{Pipeline, Runner};

fn run(g: &Graph, pipeline: &str) -> Graph {
    let mut out = g.clone();
    let report = Runner::default().run(&mut out, &Pipeline::parse(pipeline).unwrap()).unwrap();
    report.remarks.iter().for_each(|r| println!("{r}"));
    assert!(out.edits() > g.edits(), "{pipeline}");
    out
}

fn net() -> Graph {
    text::parse(
        "graph @g(%x: f32[1,3,17,16]) -> (%y) opset 13 {
           %v = const random(1) : f32[8,3,3,3]
           %w = const random(2) : f32[8,8,3,3]
           %u = const random(3) : f32[4,8,1,1]
           %s = const random(4) : f32[8]
           %a = Conv %x, %v, %s {pads=[1,1,1,1]} : ? ; conv1
           %b = Relu %a : ?
           %c = Conv %b, %w {pads=[1,1,1,1]} : ? ; conv2
           %d = Add %b, %c : ?
           %p = MaxPool %d {kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]} : ?
           %y = Conv %p, %u : ? ; last
         }",
    )
    .unwrap()
}

#[test]
fn tiles_are_proved() {
    let g = net();
    for pipeline in [
        "tile-conv{axis=h parts=3}",
        "tile-conv{axis=hxw parts=2x3}",
        "tile-conv{axis=c-out parts=2}",
        "fuse-tiles{grid=3x2 to=last}",
        "fuse-tiles{grid=3x2 to=last reuse=rows}",
        "fuse-tiles{grid=3x2 to=last reuse=all}",
        "fuse-tiles{grid=3x2 to=last reuse=checkerboard}",
        "tile-conv{axis=h parts=3},simplify",
    ] {
        let t = run(&g, pipeline);
        let proof =
            prove(&g, &t).unwrap_or_else(|e| panic!("{pipeline}: {e}\n{}", text::print(&t)));
        assert!(!proof.reassociates, "{pipeline}");
        // From the other side, too.
        prove(&t, &g).unwrap_or_else(|e| panic!("{pipeline}, backwards: {e}"));
    }
    let t = run(&g, "tile-conv{axis=c-in parts=2}");
    assert!(prove(&g, &t).unwrap().reassociates);
}

fn chain() -> Graph {
    text::parse(
        "graph @g(%x: f32[1,3,32,32]) -> (%y) opset 13 {
           %v = const random(1) : f32[16,3,3,3]
           %w = const random(2) : f32[4,16,3,3]
           %a = Conv %x, %v {pads=[1,1,1,1]} : ? ; conv1
           %b = Relu %a : ? ; relu1
           %y = Conv %b, %w {pads=[1,1,1,1]} : ? ; conv2
         }",
    )
    .unwrap()
}

fn count(g: &Graph, op: &str) -> usize {
    g.schedule().filter(|&n| g.node(n).op.name() == op).count()
}

/// Neighbours that were tiled one at a time become fused tiles: nothing joins and cuts between.
#[test]
fn tiled_neighbours_are_fused() {
    let g = chain();
    let apart = run(&g, "tile-conv{axis=h parts=4}");
    assert_eq!((count(&apart, "Concat"), count(&apart, "Slice")), (2, 8));
    let fused = run(&apart, "eqsat{objective=memory}");
    assert_eq!((count(&fused, "Concat"), count(&fused, "Slice")), (1, 4));
    let peak = |g: &Graph| crate::analysis::peak(g).unwrap().peak;
    assert!(peak(&fused) < peak(&g) && peak(&fused) < peak(&apart));
    let direct = run(&g, "fuse-tiles{grid=4 to=conv2}");
    assert_eq!(peak(&fused), peak(&direct));
    prove(&g, &fused).unwrap();
    prove(&direct, &fused).unwrap();
}

/// What was tiled is made whole again.
#[test]
fn tiles_are_made_whole() {
    let g = chain();
    for pipeline in [
        "tile-conv{axis=h parts=4}",
        "tile-conv{axis=hxw parts=2x2}",
        "tile-conv{axis=c-out parts=2}",
    ] {
        let whole = run(&run(&g, pipeline), "eqsat{objective=launches}");
        assert!(
            graph_opt_ir::structural_eq::identical(&g, &whole),
            "{pipeline}: {}",
            text::print(&whole)
        );
    }
}

/// Tiles that happen to be the same term, as their weights are equal, are still two.
#[test]
fn equal_tiles_are_made_whole() {
    let g = text::parse(
        "graph @g(%x: f32[1,3,8,8]) -> (%y) opset 13 {
           %w = const [1,1,1,1,1,1] : f32[2,3,1,1]
           %b = const [0,0] : f32[2]
           %y = Conv %x, %w, %b : ? ; conv
         }",
    )
    .unwrap();
    let whole = run(&run(&g, "tile-conv{axis=c-out parts=2}"), "eqsat{objective=launches}");
    assert!(graph_opt_ir::structural_eq::identical(&g, &whole), "{}", text::print(&whole));
}

/// A tile that needs but one of a Concat's operands is a tile of what reads the Concat.
#[test]
fn parts_are_followed_through_concats() {
    let g = text::parse(
        "graph @g(%x: f32[1,3,9,9]) -> (%y) opset 13 {
           %u = const random(1) : f32[4,3,3,3]
           %v = const random(2) : f32[6,3,1,1]
           %a = Conv %x, %u {pads=[1,1,1,1]} : ? ; left
           %b = Conv %x, %v : ? ; right
           %c = Concat %a, %b {axis=1} : ? ; both
           %e = Relu %b : ? ; relu
           %d = Concat %c, %e {axis=1} : ? ; all
           %y = MaxPool %d {kernel_shape=[3,3], strides=[2,2], ceil_mode=1} : ? ; pool
         }",
    )
    .unwrap();
    let t = run(&g, "fuse-tiles{grid=8x1 axes=cxw from=left to=pool}");
    assert!(count(&t, "MaxPool") == 8 && count(&t, "Concat") < 8, "{}", text::print(&t));
    prove(&g, &t).unwrap();
}

/// Operators beside each other over one operand become one, and parts of it.
#[test]
fn siblings_are_merged() {
    let g = text::parse(
        "graph @g(%x: f32[1,3,8,8]) -> (%y) opset 13 {
           %u = const random(1) : f32[4,3,3,3]
           %v = const random(2) : f32[6,3,3,3]
           %a = Conv %x, %u {pads=[1,1,1,1]} : ? ; left
           %b = Conv %x, %v {pads=[1,1,1,1]} : ? ; right
           %c = Relu %a : ? ; relu
           %y = Concat %b, %c {axis=1} : ? ; both
         }",
    )
    .unwrap();
    let one = run(&g, "eqsat{objective=launches}");
    assert_eq!((count(&one, "Conv"), count(&one, "Slice")), (1, 2), "{}", text::print(&one));
    prove(&g, &one).unwrap();
    // Queries, keys and values.
    let g = text::parse(
        "graph @g(%x: f32[4,8]) -> (%k, %q, %v) opset 13 {
           %a = const random(1) : f32[8,8]
           %b = const random(2) : f32[8,8]
           %c = const random(3) : f32[8,8]
           %k = MatMul %x, %a : ? ; k
           %q = MatMul %x, %b : ? ; q
           %v = MatMul %x, %c : ? ; v
         }",
    )
    .unwrap();
    let one = run(&g, "eqsat{objective=launches}");
    assert_eq!((count(&one, "MatMul"), count(&one, "Slice")), (1, 3), "{}", text::print(&one));
    prove(&g, &one).unwrap();
}

/// A union of values of different types is a wrong rule, and is seen as one.
#[test]
fn wrong_types_are_a_conflict() {
    let mut terms = Terms::default();
    let x = terms.leaf(Hasher::new("x").done(), Type::tensor(DType::F32, &[4, 4]));
    let y = terms.raw_slice(x, vec![Some(Span::new(0, 2)), None]).unwrap();
    let mut classes = Classes::default();
    classes.add(&terms, x);
    classes.add(&terms, y);
    assert_eq!(classes.conflict(), None);
    classes.plant(x, y);
    assert!(classes.conflict().unwrap().contains("f32[2,4]"));
}

/// A certificate is checked line by line; what is no step, or does not lead to the outputs, is refused.
#[test]
fn certificates_are_checked() {
    let g = text::parse(
        "graph @g(%x: f32[1,3,9,8]) -> (%y) opset 13 {
           %w = const random(1) : f32[4,3,3,3]
           %y = Conv %x, %w {pads=[1,1,1,1]} : ? ; conv
         }",
    )
    .unwrap();
    let t = run(&g, "tile-conv{axis=h parts=2}");
    let proof = prove(&g, &t).unwrap();
    let good = check(&proof.certificate, &g, &t).unwrap();
    assert_eq!((good.steps > 0, good.reassociates), (true, false));
    // It is of these two models, in this order.
    assert!(check(&proof.certificate, &g, &run(&g, "tile-conv{axis=h parts=3}")).is_err());
    assert!(check("graph-opt proof 1\n", &g, &t).unwrap_err().to_string().contains("output y"));
    assert!(check("", &g, &t).is_err());
    let lines: Vec<&str> = proof.certificate.lines().collect();
    // Without any one line it is no proof.
    for i in (0..lines.len()).filter(|&i| !lines[i].starts_with('#')) {
        let without: Vec<&str> =
            lines.iter().enumerate().filter(|l| l.0 != i).map(|l| *l.1).collect();
        assert!(
            check(&without.join("\n"), &g, &t).is_err(),
            "{}\nwithout {}",
            proof.certificate,
            lines[i]
        );
    }
    let bad = [
        "t0 = original:\"x\" [0:9, :]",
        "t0 = original:\"x\" [:, :, 5:3, :]",
        "t0 = original:\"x\" [:, :, 0:99999999999999999999, :]",
        "t0 = original:\"z\" [:, :, :, :]",
        "t0 = original:\"y\" . 9",
        "t0 = original:\"x\" ( original:\"x\" )",
        "t0 = t0 . 0",
        "t1 = original:\"y\" . 0",
        "t0 = part-of-part original:\"y\"",
        "t0 = part-of-result",
        "t0 = wrong original:\"y\"",
        "nonsense",
    ];
    for line in bad {
        let why = check(&format!("graph-opt proof 1\n{line}\n"), &g, &t).unwrap_err();
        assert!(why.to_string().starts_with("line 2"), "{line}: {why}");
    }
}

/// What is not modelled is a function of its operands, whatever stands before and behind it.
#[test]
fn unknown_operators_are_applications() {
    let of = |first: &str, second: &str| {
        text::parse(&format!(
            "graph @g(%x: f32[1,3,12,8]) -> (%z) opset 13 {{
               %w = const random(1) : f32[4,3,3,3]
               %v = const random(2) : f32[2,4,3,3]
               %a = Conv %x, %w {{pads=[1,1,1,1]}} : ? ; before
               %y = {first} : f32[1,4,12,8] ; own
               %z = {second} : ? ; behind
             }}"
        ))
        .unwrap()
    };
    let g = of("my::Own %a {n=1}", "Conv %y, %v {pads=[1,1,1,1]}");
    let before = run(&g, "only(before)(tile-conv{axis=h parts=3})");
    assert!(prove(&g, &before).unwrap().assumes.is_empty());
    let both = run(&g, "tile-conv{axis=h parts=3}");
    // Behind it, the declared shape is believed, and that is said.
    assert_eq!(prove(&g, &both).unwrap().assumes, ["y"]);
    let other = of("my::Own %a {n=2}", "Conv %y, %v {pads=[1,1,1,1]}");
    assert!(prove(&g, &other).is_err());
    let two = of("my::Own %a, %a {n=1}", "Conv %y, %v {pads=[1,1,1,1]}");
    assert!(prove(&g, &two).is_err());
}

#[test]
fn the_table_has_every_rule_once() {
    for row in TABLE {
        assert_eq!(row.rule.row().name, row.name);
    }
}

/// Reading puts what says the same into one form.
#[test]
fn normal_forms() {
    let same = |a: &str, b: &str| {
        let graph = |body: &str| {
            text::parse(&format!("graph @g(%x: f32[2,6,4]) -> (%y) opset 13 {{\n{body}\n}}"))
                .unwrap()
        };
        let (a, b) = (graph(a), graph(b));
        let mut terms = Terms::default();
        let term = |g: &Graph, terms: &mut Terms| {
            let r = Reading::of(g, terms);
            r.term(g.outputs()[0]).unwrap()
        };
        assert_eq!(term(&a, &mut terms), term(&b, &mut terms));
    };
    same("%y = Slice %x [1: 2..4] : ?", "%a = Slice %x [1: 1..5] : ?\n%y = Slice %a [1: 1..3] : ?");
    same(
        "%y = Transpose %x {perm=[2,0,1]} : ?",
        "%a = Transpose %x {perm=[0,2,1]} : ?\n%y = Transpose %a {perm=[1,0,2]} : ?",
    );
    same("%y = Relu %x : ?", "%a = Identity %x : ?\n%b = Relu %a : ?\n%y = Identity %b : ?");
    same(
        "%s = const [12,4] : i64[2]\n%y = Reshape %x, %s : ?",
        "%a = Flatten %x {axis=1} : ?\n%s = const [-1,4] : i64[2]\n%y = Reshape %a, %s : ?",
    );
}

/// Constants whose elements are moved are constants.
#[test]
fn moved_constants_are_constants() {
    let of = |weights: &str| {
        let text = format!(
            "graph @g(%x: f32[3,4]) -> (%y) opset 13 {{
               %w = const [1.5,2,3,4,5,6,7,8] : f32[2,4]
               {weights}
               %y = MatMul %x, %m : f32[2,3,2] }}"
        );
        text::parse(&text).unwrap()
    };
    let moved = |rows: &str| {
        of(&format!(
            "%a = Slice %w [0: 0..1] : f32[1,4]
             %b = Slice %w [0: 1..2] : f32[1,4]
             %c = Concat {rows} {{axis=0}} : f32[2,4]
             %t = Transpose %c {{perm=[1,0]}} : f32[4,2]
             %s = const [2,4,2] : i64[3]
             %m = Expand %t, %s : f32[2,4,2]"
        ))
    };
    let direct = of("%m = const [1.5,5,2,6,3,7,4,8,1.5,5,2,6,3,7,4,8] : f32[2,4,2]");
    assert!(prove(&moved("%a, %b"), &direct).is_ok());
    assert!(prove(&moved("%b, %a"), &direct).is_err());
}

/// Both branches of an If are looked into, also where they are nested and give values of different shapes.
#[test]
fn branches_are_looked_into() {
    let of = |then: &str, other: &str, after: &str| {
        let text = format!(
            "graph @g(%c: bool[1], %d: bool[], %x: f32[1,3,8,8]) -> (%y) opset 13 {{
            %w = const random(1) : f32[4,3,3,3]
            %z = If %c {{then_branch=graph @t() -> (%a) {{ {then} }}, else_branch=graph @e() -> (%b) {{
                %b = If %d {{then_branch=graph @n() -> (%i) {{ %i = Identity %x : ? }},
                    else_branch=graph @o() -> (%j) {{ {other} }}}} : ? }}}} : ?
            {after} }}"
        );
        text::parse(&text).unwrap()
    };
    let conv = "%a = Conv %x, %w {pads=[1,1,1,1]} : ?";
    let tiled = "%p = Slice %x [2: 0..5] : ? %q = Slice %x [2: 3..8] : ?
        %r = Conv %p, %w {pads=[1,1,0,1]} : ? %s = Conv %q, %w {pads=[0,1,1,1]} : ?
        %a = Concat %r, %s {axis=2} : ?";
    let moved = tiled.replace("3..8", "2..7");
    let flat = "%j = Relu %x : ?";
    let relu = "%k = Neg %x : ? %l = Neg %k : ? %m = Identity %x : ? %j = Relu %m : ?";
    let end = "%y = Neg %z : ?";
    let g = of(conv, flat, end);
    assert!(prove(&g, &of(tiled, relu, end)).is_ok());
    for (then, other) in
        [(&*moved, flat), (tiled, "%j = Neg %x : ?"), ("%a = Identity %x : ?", flat)]
    {
        assert!(prove(&g, &of(then, other, end)).is_err());
    }
    // Tiles of what follows, where both branches have one shape, and where the shape is not known.
    let parts = "%u = Slice %z [2: 0..4] : ? %v = Slice %z [2: 4..8] : ?
        %m = Neg %u : ? %n = Neg %v : ? %y = Concat %m, %n {axis=2} : ?";
    let alike = of("%a = Neg %x : ?", flat, end);
    assert!(prove(&alike, &of("%a = Neg %x : ?", flat, parts)).is_ok());
    assert!(prove(&g, &of(conv, flat, parts)).is_err());
    // The branches are not to be mixed up, and random numbers are drawn in the branch that is taken only.
    let swap = |a: &str, b: &str| of(&a.replace("%j", "%a"), &b.replace("%a", "%j"), end);
    assert!(prove(&alike, &swap(flat, "%a = Neg %x : ?")).is_err());
    let drawn = of("%a = RandomUniformLike %x : ?", flat, end);
    assert!(prove(&drawn, &of("%a = RandomUniformLike %x : ?", relu, end)).is_err());
}
