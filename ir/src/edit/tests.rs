use super::*;
use crate::op_context::OpCtx;
use crate::text::parse;
use crate::verify::verify;
use crate::{Span, op};

fn value(g: &Graph, name: &str) -> ValueId {
    g.find_value(name).unwrap()
}

fn node(g: &Graph, i: usize) -> NodeId {
    g.schedule().nth(i).unwrap()
}

fn applied(g: &Graph, edit: &Edit) -> Result<Graph, EditError> {
    let mut out = g.clone();
    Editor::new(&mut out).apply(edit)?;
    assert_eq!(verify(&out), Ok(()));
    Ok(out)
}

fn two() -> Graph {
    parse(
        "graph @g(%x: f32[3]) -> (%p, %q) opset 16 {
           %t = Relu %x     : f32[3]
           %p = Identity %t : f32[3]
           %q = Identity %t : f32[3]
         }",
    )
    .unwrap()
}

#[test]
fn one_value_cannot_take_the_names_of_two_outputs() {
    let g = two();
    let mut edit = Edit::new("test");
    let t = Ref::Value(value(&g, "t"));
    edit.replaces = vec![(value(&g, "p"), t), (value(&g, "q"), t)];
    edit.removes = vec![node(&g, 1), node(&g, 2)];
    assert!(matches!(applied(&g, &edit), Err(EditError { fault: EditFault::Names { .. }, .. })));
    // Nor can a result of a new node.
    let new = edit.node("n", op::Neg {}, vec![Some(t)], &[]);
    edit.replaces = vec![(value(&g, "p"), new), (value(&g, "q"), new)];
    edit.before = Some(node(&g, 2));
    assert!(matches!(applied(&g, &edit), Err(EditError { fault: EditFault::Names { .. }, .. })));
    edit.replaces = vec![(value(&g, "p"), t), (value(&g, "p"), t)];
    assert!(matches!(applied(&g, &edit), Err(EditError { fault: EditFault::Twice { .. }, .. })));
}

#[test]
fn a_value_that_was_taken_over_is_found_where_it_went() {
    let g = parse(
        "graph @g(%x: f32[3]) -> (%p, %y) opset 16 {
           %t = Relu %x     : f32[3]
           %p = Identity %t : f32[3]
           %q = Identity %t : f32[3]
           %y = Neg %q      : f32[3]
         }",
    )
    .unwrap();
    let mut edit = Edit::new("test");
    let t = Ref::Value(value(&g, "t"));
    edit.replaces = vec![(value(&g, "p"), t), (value(&g, "q"), t)];
    edit.removes = vec![node(&g, 1), node(&g, 2)];
    let out = applied(&g, &edit).unwrap();
    let y = out.node(node(&out, 1));
    assert_eq!(y.inputs, [Some(value(&out, "p"))]);
}

#[test]
fn what_makes_a_replaced_output_must_go() {
    let g = two();
    let mut edit = Edit::new("test");
    edit.replaces = vec![(value(&g, "p"), Ref::Value(value(&g, "t")))];
    assert!(matches!(applied(&g, &edit), Err(EditError { fault: EditFault::Twice { .. }, .. })));
}

#[test]
fn readers_run_after_what_takes_over() {
    let g = parse(
        "graph @g(%x: f32[3]) -> (%y, %z) opset 16 {
           %a = Relu %x : f32[3]
           %y = Neg %a  : f32[3]
           %b = Relu %x : f32[3]
           %z = Neg %b  : f32[3]
         }",
    )
    .unwrap();
    let mut edit = Edit::new("test");
    edit.replaces = vec![(value(&g, "a"), Ref::Value(value(&g, "b")))];
    edit.removes = vec![node(&g, 0)];
    assert!(matches!(applied(&g, &edit), Err(EditError { fault: EditFault::Order { .. }, .. })));
    edit.replaces = vec![(value(&g, "b"), Ref::Value(value(&g, "a")))];
    // What takes over must stay itself.
    assert!(matches!(
        applied(&g, &edit),
        Err(EditError { fault: EditFault::Undefined { .. }, .. })
    ));
    edit.removes = vec![node(&g, 2)];
    applied(&g, &edit).unwrap();
}

#[test]
fn a_new_node_captures_what_its_bodies_read() {
    let g = parse(
        "graph @g(%x: f32[2], %c: bool[]) -> (%y) opset 17 {
           %a = Exp %x : f32[2]
           %y = If %c {then_branch=graph @t() -> (%t1) {
             %t1 = Neg %a : f32[2]
           }, else_branch=graph @e() -> (%e1) {
             %e1 = If %c {then_branch=graph @u() -> (%u1) {
               %u1 = Exp %a : f32[2]
             }, else_branch=graph @v() -> (%v1) {
               %v1 = Exp %x : f32[2]
             }} : f32[2]
           }} : f32[2]
         }",
    )
    .unwrap();
    let old = g.node(node(&g, 1));
    let mut edit = Edit::new("test");
    let c = Ref::Value(value(&g, "c"));
    let new = edit.node("again", old.op.clone(), vec![Some(c)], &[node(&g, 1)]);
    edit.replaces.push((value(&g, "y"), new));
    edit.removes.push(node(&g, 1));
    let out = applied(&g, &edit).unwrap();
    let mut names: Vec<&str> = Vec::new();
    names.extend(out.node(node(&out, 1)).captures.iter().map(|&v| &*out.value(v).name));
    names.sort_unstable();
    assert_eq!(names, ["a", "c", "x"]);
    // Before what they read there is no place for it.
    edit.before = Some(node(&g, 0));
    assert!(matches!(applied(&g, &edit), Err(EditError { fault: EditFault::Order { .. }, .. })));
}

#[test]
fn slices_keep_what_they_take_of_axes_of_unknown_extent() {
    let g = parse(
        "graph @g(%x: f32[N,8,M]) -> (%y) opset 13 {
           %s = const [-1,1] : i64[2]
           %e = const [-9223372036854775807,5] : i64[2]
           %a = const [0,2] : i64[2]
           %t = const [-1,1] : i64[2]
           %y = Slice %x, %s, %e, %a, %t : ?
         }",
    )
    .unwrap();
    let ctx = OpCtx::of(&g, node(&g, 0));
    let part = vec![None, Some(Span::new(0, 4)), None];
    let tile = crate::region::tile(&ctx, 0, &part).unwrap();
    assert!(matches!(tile.op, Op::Slice(_)));
    let all = |i: usize| match &tile.needs[i] {
        crate::region::Need::Instead(t) => t.to_i64s().unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!([all(1), all(3), all(4)], [vec![-1, 1], vec![0, 2], vec![-1, 1]]);
    // Both axes are barriers, not only the first.
    for axis in [0, 2] {
        let mut cut = vec![None; 3];
        cut[axis] = Some(Span::new(0, 1));
        assert!(crate::region::tile(&ctx, 0, &cut).is_err(), "axis {axis}");
    }
}

/// Files may give nodes one name. What replaces one of them gets another, as the other node keeps it.
#[test]
fn names_that_nodes_share_are_not_vacant() {
    let g = parse(
        "graph @g(%x: f32[3]) -> (%y) opset 16 {
           %t = Relu %x : f32[3] ; twin
           %y = Neg %t  : f32[3] ; twin
         }",
    )
    .unwrap();
    let mut edit = Edit::new("test");
    let new = edit.node("twin", op::Abs {}, vec![Some(Ref::Value(value(&g, "x")))], &[]);
    edit.replaces = vec![(value(&g, "t"), new)];
    edit.removes = vec![node(&g, 0)];
    let out = applied(&g, &edit).unwrap();
    let names: Vec<&str> = out.schedule().map(|n| out.label(n)).collect();
    assert_eq!(names, ["twin_2", "twin"]);
}
