use graph_opt_ir::op_context::axis_of;
use graph_opt_ir::text::parse;
use graph_opt_ir::{
    Builder, DType, Graph, Op, Tensor, Type, ValueId, layout_params, op, op_context::OpCtx,
};

use super::*;

fn of(text: &str) -> (Graph, MemoryPlan) {
    let graph = parse(text).unwrap();
    let plan = plan(&graph).unwrap();
    check(&graph, &plan);
    (graph, plan)
}

fn place<'a>(graph: &Graph, plan: &'a MemoryPlan, name: &str) -> &'a Place {
    plan.place(graph.find_value(name).unwrap()).unwrap()
}

/// Elements of the buffer that a value stands in, in the order of the value.
fn elements(graph: &Graph, v: ValueId, place: &Place) -> Vec<usize> {
    let dims = graph.value(v).ty.extents().unwrap();
    let mut all = vec![place.view.offset as usize];
    for (n, s) in dims.iter().zip(&place.view.strides) {
        let step = |at: &usize| (0..*n as usize).map(|i| at + i * *s as usize).collect::<Vec<_>>();
        all = all.iter().flat_map(step).collect();
    }
    all
}

/// Identities of elements: those of a value that is computed are its own, layout moves them.
fn contents(graph: &Graph, id: NodeId, known: &[Option<Vec<u64>>]) -> Vec<Option<Vec<u64>>> {
    let node = graph.node(id);
    let ctx = OpCtx::of(graph, id);
    let input = |i: usize| node.inputs[i].and_then(|v| known[v.index()].clone());
    let dims = |v: ValueId| graph.value(v).ty.extents().unwrap();
    let fresh = |v: ValueId| {
        let n = graph.value(v).ty.elements().unwrap();
        Some((0..n).map(|i| (v.index() as u64 + 1) << 32 | i).collect())
    };
    let part = |v: ValueId, starts: &[u64]| {
        let whole = View::whole(&dims(node.inputs[0].unwrap()));
        let at = Place { buffer: 0, view: whole.part(starts) };
        Some(elements(graph, v, &at).iter().map(|&i| input(0).unwrap()[i]).collect())
    };
    let outs = node.outputs.iter().enumerate();
    outs.map(|(i, v)| {
        let v = (*v)?;
        match &node.op {
            Op::Identity(_) | Op::Reshape(_) | Op::Flatten(_) | Op::Unsqueeze(_) => input(0),
            Op::Slice(_) => {
                let t = layout_params::slices(&ctx).unwrap().unwrap();
                part(v, &t.iter().map(|t| t.unwrap().start as u64).collect::<Vec<_>>())
            }
            Op::Split(_) => {
                let (axis, sizes) = layout_params::split_sizes(&ctx).unwrap().unwrap();
                let mut starts = vec![0; dims(v).len()];
                starts[axis] = sizes[..i].iter().sum::<i64>() as u64;
                part(v, &starts)
            }
            Op::Concat(c) => {
                let axis = axis_of(c.axis, dims(v).len()).unwrap();
                let outer: u64 = dims(v)[..axis].iter().product();
                let all: Vec<Vec<u64>> = (0..node.inputs.len()).filter_map(input).collect();
                let rows = |o: usize| {
                    let row = move |p: &Vec<u64>| {
                        let n = p.len() / outer as usize;
                        p[o * n..(o + 1) * n].to_vec()
                    };
                    all.iter().flat_map(row).collect::<Vec<_>>()
                };
                Some((0..outer as usize).flat_map(rows).collect())
            }
            _ => fresh(v),
        }
    })
    .collect()
}

/// Runs the plan over identities of elements: whatever a node reads must still be there.
fn check(graph: &Graph, plan: &MemoryPlan) {
    let mut known: Vec<Option<Vec<u64>>> = vec![None; graph.value_bound()];
    let size = |v: ValueId| graph.value(v).ty.dtype().unwrap().bits() as u64 / 8;
    let mut memory: Vec<Vec<u64>> =
        plan.buffers.iter().map(|b| vec![0; b.bytes as usize]).collect();
    let write = |v: ValueId, ids: &[u64], memory: &mut Vec<Vec<u64>>, step: usize| {
        let p = plan.place(v).unwrap();
        let b = &plan.buffers[p.buffer];
        assert!(b.from <= step && step <= b.to, "{} is written outside", graph.value(v).name);
        for (at, id) in elements(graph, v, p).into_iter().zip(ids) {
            assert!((at as u64 + 1) * size(v) <= b.bytes, "{} is too large", graph.value(v).name);
            memory[p.buffer][at] = *id;
        }
    };
    let read = |v: ValueId, ids: &[u64], memory: &[Vec<u64>], step: usize| {
        let p = plan.place(v).unwrap();
        let b = &plan.buffers[p.buffer];
        assert!(b.from <= step && step <= b.to, "{} is read outside", graph.value(v).name);
        let here: Vec<u64> =
            elements(graph, v, p).into_iter().map(|at| memory[p.buffer][at]).collect();
        assert_eq!(here, ids, "{} is gone at {step}", graph.value(v).name);
    };
    for &v in graph.inputs() {
        if plan.place(v).is_some() {
            let n = graph.value(v).ty.elements().unwrap();
            let ids: Vec<u64> = (0..n).map(|i| (v.index() as u64 + 1) << 32 | i).collect();
            write(v, &ids, &mut memory, 0);
            known[v.index()] = Some(ids);
        }
    }
    for (v, _) in graph.values() {
        if known[v.index()].is_none() && plan.place(v).is_none() {
            let n = graph.value(v).ty.elements().unwrap_or(0);
            known[v.index()] = Some((0..n).map(|i| (v.index() as u64 + 1) << 32 | i).collect());
        }
    }
    for (step, &id) in plan.steps.iter().enumerate() {
        let node = graph.node(id);
        for &v in node.inputs.iter().flatten().filter(|v| plan.place(**v).is_some()) {
            let strided =
                !plan.place(v).unwrap().view.is_contiguous(&graph.value(v).ty.extents().unwrap());
            let i = node.inputs.iter().position(|x| *x == Some(v)).unwrap();
            let view = node.outputs.iter().flatten().all(|v| plan.is_view(*v));
            assert!(!strided || view || access::reads_strided(&node.op, i));
            read(v, known[v.index()].as_ref().unwrap(), &memory, step);
        }
        for (v, ids) in node.outputs.iter().zip(contents(graph, id, &known)) {
            let Some(v) = v.filter(|v| plan.place(*v).is_some()) else { continue };
            let ids = ids.unwrap();
            write(v, &ids, &mut memory, step);
            known[v.index()] = Some(ids);
        }
    }
    for &v in graph.outputs().iter().filter(|v| plan.place(**v).is_some()) {
        read(v, known[v.index()].as_ref().unwrap(), &memory, plan.timeline.len() - 1);
    }
    // The arena.
    for (i, a) in plan.buffers.iter().enumerate() {
        assert!(a.offset.is_multiple_of(ALIGNMENT) && a.offset + a.bytes <= plan.arena);
        for b in plan.buffers[..i].iter().filter(|b| a.from <= b.to && b.from <= a.to) {
            let apart = a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset;
            assert!(apart || a.bytes == 0 || b.bytes == 0, "{a:?} and {b:?}");
        }
    }
    assert_eq!(plan.timeline.iter().max(), Some(&plan.peak));
    assert!(plan.arena >= plan.peak);
    // Every output is there at the end, each buffer once.
    let mut outputs: Vec<usize> =
        graph.outputs().iter().filter_map(|v| Some(plan.place(*v)?.buffer)).collect();
    outputs.sort_unstable();
    outputs.dedup();
    let least: u64 = outputs.iter().map(|&b| plan.buffers[b].bytes).sum();
    assert!(*plan.timeline.last().unwrap() >= least);
}

#[test]
fn a_chain_of_elementwise_operators_is_one_buffer() {
    let (_, p) = of("graph @main(%x: f32[1,4,8,8]) -> (%c) opset 13 {
        %a = Relu %x : f32[1,4,8,8]
        %b = Sigmoid %a : f32[1,4,8,8]
        %c = Neg %b : f32[1,4,8,8]
    }");
    assert_eq!((p.buffers.len(), p.peak, p.arena), (1, 1024, 1024));
    assert_eq!(p.timeline, [1024; 3]);
}

#[test]
fn a_residual_is_added_in_place_but_not_over_what_is_still_read() {
    let (g, p) = of("graph @main(%x: f32[1,4,8,8]) -> (%y) opset 13 {
        %w = const random(1) : f32[4,4,3,3]
        %a = Conv %x, %w {pads=[1,1,1,1]} : f32[1,4,8,8]
        %r = Relu %a : f32[1,4,8,8]
        %b = Conv %r, %w {pads=[1,1,1,1]} : f32[1,4,8,8]
        %s = Add %b, %x : f32[1,4,8,8]
        %y = MaxPool %s {kernel_shape=[2,2], strides=[2,2]} : f32[1,4,4,4]
    }");
    assert_eq!(p.timeline, [2048, 2048, 3072, 2048, 1280]);
    assert_eq!((p.peak, p.at), (3072, 2));
    assert_eq!(place(&g, &p, "a"), place(&g, &p, "r"));
    assert_eq!(place(&g, &p, "b"), place(&g, &p, "s"));
}

#[test]
fn tiles_are_views_and_stand_in_their_concat() {
    let (g, p) = of("graph @main(%x: f32[1,2,8,8]) -> (%y) opset 13 {
        %w = const random(1) : f32[2,2,3,3]
        %x00 = Slice %x [2: 0..5, 3: 0..5] : f32[1,2,5,5]
        %a00 = Conv %x00, %w {pads=[1,1,0,0]} : f32[1,2,4,4]
        %r00 = Relu %a00 : f32[1,2,4,4]
        %x01 = Slice %x [2: 0..5, 3: 3..8] : f32[1,2,5,5]
        %a01 = Conv %x01, %w {pads=[1,0,0,1]} : f32[1,2,4,4]
        %r01 = Relu %a01 : f32[1,2,4,4]
        %x10 = Slice %x [2: 3..8, 3: 0..5] : f32[1,2,5,5]
        %a10 = Conv %x10, %w {pads=[0,1,1,0]} : f32[1,2,4,4]
        %r10 = Relu %a10 : f32[1,2,4,4]
        %x11 = Slice %x [2: 3..8, 3: 3..8] : f32[1,2,5,5]
        %a11 = Conv %x11, %w {pads=[0,0,1,1]} : f32[1,2,4,4]
        %r11 = Relu %a11 : f32[1,2,4,4]
        %top = Concat %r00, %r01 {axis=3} : f32[1,2,4,8]
        %low = Concat %r10, %r11 {axis=3} : f32[1,2,4,8]
        %y = Concat %top, %low {axis=2} : f32[1,2,8,8]
    }");
    // Input and output, and nothing else.
    assert_eq!((p.buffers.len(), p.peak, p.arena), (2, 1024, 1024));
    assert_eq!(place(&g, &p, "x11").view, View { offset: 27, strides: vec![128, 64, 8, 1] });
    assert_eq!(place(&g, &p, "a01").view, View { offset: 4, strides: vec![128, 64, 8, 1] });
    assert_eq!(place(&g, &p, "r10").view, View { offset: 32, strides: vec![128, 64, 8, 1] });
    // The input dies with its last tile.
    assert_eq!(p.timeline[0], 512);
    assert_eq!(p.timeline[1..11], [1024; 10]);
    assert_eq!(p.timeline[11..], [512; 4]);
}

#[test]
fn branches_of_an_inception_block_stand_in_their_concat() {
    let (g, p) = of("graph @main(%x: f32[1,4,4,4]) -> (%y) opset 13 {
        %w = const random(1) : f32[4,4,1,1]
        %a = Conv %x, %w : f32[1,4,4,4]
        %r = Relu %a : f32[1,4,4,4]
        %b = MaxPool %x {kernel_shape=[3,3], pads=[1,1,1,1]} : f32[1,4,4,4]
        %s = Softmax %x {axis=1} : f32[1,4,4,4]
        %c = Concat %r, %b, %s, %x {axis=1} : f32[1,16,4,4]
        %y = Relu %c : f32[1,16,4,4]
    }");
    // Softmax cannot write into a part, and the input stands where it is.
    assert_eq!(p.timeline, [1280, 1280, 1280, 1536, 1536, 1024]);
    assert_eq!(place(&g, &p, "b").view.offset, 64);
    assert_eq!(place(&g, &p, "c").buffer, place(&g, &p, "y").buffer);
}

#[test]
fn splits_are_views_and_a_shared_value_is_not_overwritten() {
    let (g, p) = of("graph @main(%x: f32[1,8,4,4]) -> (%y, %z) opset 13 {
        %n = const [4, 4] : i64[2]
        %a, %b = Split %x, %n {axis=1} : f32[1,4,4,4], f32[1,4,4,4]
        %c = Relu %a : f32[1,4,4,4]
        %y = Mul %c, %b : f32[1,4,4,4]
        %z = Add %a, %c : f32[1,4,4,4]
    }");
    assert_eq!(place(&g, &p, "a").buffer, place(&g, &p, "x").buffer);
    assert_eq!(place(&g, &p, "b").view.offset, 64);
    assert_eq!(p.timeline, [512, 768, 1024, 1024]);
}

#[test]
fn what_a_concat_cannot_have_is_copied() {
    let (g, p) = of("graph @main(%x: f32[1,2,4,4]) -> (%y, %o) opset 13 {
        %k = const random(1) : f32[1,2,4,4]
        %a = Abs %x : f32[1,2,4,4]
        %o = Exp %a : f32[1,2,4,4]
        %t = Tanh %a : f32[1,2,4,4]
        %y = Concat %k, %o, %t, %t, %x {axis=1} : f32[1,10,4,4]
    }");
    let y = place(&g, &p, "y").buffer;
    for name in ["o", "t", "x"] {
        assert_ne!(place(&g, &p, name).buffer, y);
    }
    assert!(p.place(g.find_value("k").unwrap()).is_none());
}

#[test]
fn unknown_sizes_are_named() {
    let g =
        parse("graph @main(%x: f32[N,4]) -> (%y) opset 13 { %y = Relu %x : f32[N,4] }").unwrap();
    let e = plan(&g).unwrap_err();
    assert_eq!((&*e.name, &*e.ty), ("x", "f32[N,4]"));
    assert_eq!(peak(&g), None);
}

/// A small generator, so that the cases are the same everywhere.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// With a few outputs, or with all that nothing reads.
pub(crate) fn random(seed: u64, nodes: usize, few: bool) -> Graph {
    let mut d = Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut b = Builder::new("random", 13);
    let w = b.constant("w", Tensor::f32s(&[2, 2, 1, 1], &[1.0; 4]).unwrap());
    let mut all: Vec<ValueId> = (0..2)
        .map(|i| b.input(&format!("x{i}"), Type::tensor(DType::F32, &[1, 2, 4, 6])))
        .collect();
    let ints = |b: &mut Builder, v: &[i64]| b.constant("i", Tensor::i64s(v));
    while all.len() < nodes + 2 {
        // Recent values more often.
        let back = 1 + d.below(4).min(all.len() - 1);
        let x = if d.below(4) > 0 { all[all.len() - back] } else { all[d.below(all.len())] };
        let dims = b.graph().value(x).ty.extents().unwrap();
        let n = format!("n{}", all.len());
        let made = match d.below(9) {
            0 | 1 => b.node(&n, op::Relu {}, &[x]),
            2 if dims.len() == 4 && dims[1] == 2 => {
                let conv = parse(
                    "graph @g(%x: f32[1,2,4,6], %w: f32[2,2,1,1]) -> (%y) opset 13 {
                    %y = Conv %x, %w : f32[1,2,4,6] }",
                );
                let conv = conv.unwrap();
                let id = conv.schedule().next().unwrap();
                b.node(&n, conv.node(id).op.clone(), &[x, w])
            }
            3 => {
                let near = all.iter().rev().take(40).chain([&x]);
                let same: Vec<ValueId> = near
                    .copied()
                    .filter(|v| b.graph().value(*v).ty == b.graph().value(x).ty)
                    .collect();
                let y = same[d.below(same.len())];
                let op: Op = op::Add { axis: None, broadcast: 0 }.into();
                b.node(&n, op, &[x, y])
            }
            4 | 5 => {
                let axis = d.below(dims.len());
                let lo = d.below(dims[axis] as usize) as i64;
                let hi = lo + 1 + d.below(dims[axis] as usize - lo as usize) as i64;
                let (s, e, a) =
                    (ints(&mut b, &[lo]), ints(&mut b, &[hi]), ints(&mut b, &[axis as i64]));
                let op = op::Slice { starts: None, ends: None, axes: None };
                b.node(&n, op, &[x, s, e, a])
            }
            6 => {
                let axis = d.below(dims.len());
                let fits = |v: &ValueId| {
                    let e = b.graph().value(*v).ty.extents().unwrap();
                    e.len() == dims.len() && (0..e.len()).all(|i| i == axis || e[i] == dims[i])
                };
                let others: Vec<ValueId> =
                    all.iter().rev().take(40).chain([&x]).copied().filter(fits).collect();
                let mut parts = vec![x];
                for _ in 0..d.below(3) {
                    parts.push(others[d.below(others.len().min(4))]);
                }
                if parts.len() as u64 * dims[axis] > 40 {
                    continue;
                }
                b.node(&n, op::Concat { axis: axis as i64 }, &parts)
            }
            7 => {
                let flat = ints(&mut b, &[1, -1]);
                b.node(&n, op::Reshape { allowzero: 0 }, &[x, flat])
            }
            8 if dims.len() > 1 => b.node(&n, op::Softmax { axis: Some(1) }, &[x]),
            _ => b.node(&n, op::Identity {}, &[x]),
        };
        all.push(made.unwrap());
    }
    let unread: Vec<ValueId> = match few {
        true => (0..1 + d.below(3)).map(|_| all[all.len() - 1 - d.below(3)]).collect(),
        false => all.into_iter().filter(|v| b.graph().value(*v).uses().len() == 0).collect(),
    };
    unread.into_iter().for_each(|v| b.output(v));
    b.finish()
}

#[test]
fn random_graphs_never_overwrite_what_is_still_read() {
    let (mut views, mut shared) = (0, 0);
    for seed in 0..400 {
        let g = random(seed, 4 + (seed % 24) as usize, true);
        let p = plan(&g).unwrap();
        check(&g, &p);
        let placed: Vec<ValueId> =
            g.values().map(|(v, _)| v).filter(|v| p.place(*v).is_some()).collect();
        shared += placed.len() - p.buffers.len();
        let strided = |v: &ValueId| {
            !p.place(*v).unwrap().view.is_contiguous(&g.value(*v).ty.extents().unwrap())
        };
        views += placed.iter().filter(|v| strided(v)).count();
    }
    assert!(views > 100 && shared > 1000, "{views} strided, {shared} shared");
}

/// A runtime between the two: parts are views for Slice and Concat alone, Reshape copies, the caller keeps
/// the inputs, only Neg works in place, and every kernel takes this many bytes.
#[derive(Debug)]
struct Host(u64);

impl MemoryModel for Host {
    fn name(&self) -> &str {
        "host"
    }

    fn shares_reshaped(&self) -> bool {
        false
    }

    fn shares_parts(&self) -> bool {
        true
    }

    fn in_place(&self, graph: &Graph, node: NodeId) -> std::ops::Range<usize> {
        if matches!(graph.node(node).op, Op::Neg(_)) { 0..1 } else { 0..0 }
    }

    fn strides(&self, ty: &Type) -> bool {
        access::strided(ty)
    }

    fn reads_strided(&self, op: &Op, _: usize) -> bool {
        matches!(op, Op::Slice(_) | Op::Concat(_))
    }

    fn workspace(&self, _: &Graph, _: NodeId) -> u64 {
        self.0
    }
}

#[test]
fn a_host_plans_by_the_rules_of_its_own_runtime() {
    let g = parse(
        "graph @g(%x: f32[4,4]) -> (%y) opset 17 {
           %s = const [16] : i64[1]
           %a = Neg %x        : f32[4,4]
           %b = Neg %a        : f32[4,4]
           %c = Reshape %b, %s : f32[16]
           %d = Relu %c       : f32[16]
           %y = Slice %d [0: 0..8] : f32[8]
         }",
    )
    .unwrap();
    let p = plan_for(&g, &Host(8)).unwrap();
    let buffer = |n: &str| place(&g, &p, n).buffer;
    // %x is kept, %b overwrites %a, the Reshape and the Relu are copies.
    assert_ne!(buffer("x"), buffer("a"));
    assert_eq!(buffer("a"), buffer("b"));
    assert_ne!(buffer("b"), buffer("c"));
    assert_ne!(buffer("c"), buffer("d"));
    assert_eq!(p.timeline, [136, 136, 200, 200, 168]);
    let peaks = |m: &dyn MemoryModel| plan_for(&g, m).unwrap().peak;
    // Of each node ONNX Runtime keeps 40 bytes.
    let there = 192 + 5 * 40;
    assert_eq!((peaks(&Interpreter), p.peak, peaks(&OnnxRuntime)), (64, 200, there));
    for seed in 0..100 {
        let g = random(seed, 4 + (seed % 24) as usize, true);
        check(&g, &plan_for(&g, &Host(0)).unwrap());
    }
}

#[test]
fn thousands_of_nodes_are_planned_at_once() {
    let g = random(7, 5000, false);
    check(&g, &plan(&g).unwrap());
}

/// A slice that the graph gives away is a view where that takes less: what it is cut from is there
/// to the end anyway.
#[test]
fn slices_that_are_outputs_are_views_where_that_takes_less() {
    let slice = |order: &str| {
        of(&format!(
            "graph @g(%x: f32[1,4,8,8]) -> (%c, %t) opset 17 {{
               %a = Relu %x : ?
               %s = Slice %a [2: 0..4] : ?
               %V = const random(1) : f32[4,4,1,1]
               {order}
             }}"
        ))
    };
    let (g, late) = slice("%c = Conv %s, %V : ?\n %t = Slice %a [2: 4..8] : ?");
    assert_eq!(late.peak, 1024 + 512);
    assert!(late.is_view(g.find_value("t").unwrap()));
    // A small part that would hold all of it while something else needs the room is a copy.
    let more = "%t = Slice %a [2: 4..5] : ?\n %d = Conv %s, %V : ?\n %e = Conv %d, %V : ?\n
                %c = Concat %e, %e, %e, %e {axis=1} : ?";
    let (g, early) = slice(more);
    assert!(!early.is_view(g.find_value("t").unwrap()));
}
