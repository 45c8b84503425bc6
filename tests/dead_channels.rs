//! `drop-dead-channels` on whole networks in which some filters are zero.

use std::sync::Arc;

use graph_opt_backends::zoo;
use graph_opt_ir::{Edit, Editor, Graph, Op, Ref, Tensor, ValueId};
use graph_opt_passes::Outcome;
use graph_opt_passes::analysis::cost;

use crate::support::{compare, count, is_bit_exact_if_finite, optimise, same_run};

/// Sets every third channel of a constant, from its first axis, to a number.
fn every_third(g: &Graph, v: ValueId, number: f32, edit: &mut Edit) {
    let t = g.constant(v).unwrap();
    let per_channel = t.len() / t.dims()[0] as usize;
    let mut numbers = t.to_f32s().unwrap();
    for (i, x) in numbers.iter_mut().enumerate() {
        if (i / per_channel).is_multiple_of(3) {
            *x = number;
        }
    }
    let new = Tensor::f32s(t.dims(), &numbers).unwrap();
    edit.consts.push((g.value(v).name.to_string(), Arc::new(new)));
    edit.replaces.push((v, Ref::Const(edit.consts.len() - 1)));
}

/// The network with every third filter zero where an activation follows that cuts negative numbers off;
/// and the number of its layers.
fn thinned(g: &Graph) -> (Graph, usize) {
    let reader = |v: ValueId| {
        let mut uses = g.value(v).uses();
        uses.next().filter(|_| uses.next().is_none()).map(|u| g.node(u.node))
    };
    let mut edit = Edit::new("zero filters");
    let mut layers = 0;
    for id in g.schedule() {
        let conv = g.node(id);
        let Op::Conv(c) = &conv.op else { continue };
        let norm = reader(conv.outputs[0].unwrap());
        let Some(norm) = norm.filter(|n| matches!(n.op, Op::BatchNormalization(_))) else {
            continue;
        };
        let act = reader(norm.outputs[0].unwrap());
        if c.group == 1 && act.is_some_and(|a| matches!(a.op, Op::Relu(_) | Op::Clip(_))) {
            every_third(g, conv.inputs[1].unwrap(), 0.0, &mut edit);
            every_third(g, norm.inputs[2].unwrap(), -0.25, &mut edit);
            every_third(g, norm.inputs[3].unwrap(), 0.0, &mut edit);
            layers += 1;
        }
    }
    let mut out = g.clone();
    Editor::new(&mut out).apply(&edit).unwrap();
    (out, layers)
}

#[test]
fn zero_filters_leave_networks() {
    for name in ["resnet18@64x64", "mobilenetv2@64x64"] {
        let (with_norms, layers) = thinned(&zoo::build(name).unwrap());
        // The field has a square root of its own, and with it other constants.
        let (g, _) = optimise(&with_norms, "fold-batch-norm");
        let (t, remarks) = optimise(&g, "drop-dead-channels");
        let applied = remarks.iter().filter(|r| r.outcome == Outcome::Applied).count();
        let (before, after) = (cost(&g).macs, cost(&t).macs);
        println!("{name}: {layers} layers thinned, {applied} edits, {before} to {after} MACs");
        assert!(layers > 8 && applied >= 8, "{name}: {layers} layers: {remarks:?}");
        assert!(after < before * 5 / 6, "{name}: {before} to {after}");
        assert_eq!(count(&t, "Conv"), count(&g, "Conv"));
        let r = compare(&g, &t);
        assert!(is_bit_exact_if_finite(&r), "{name}: {r:?}");
        let (through_norms, _) = optimise(&with_norms, "drop-dead-channels");
        assert_eq!(cost(&through_norms).macs, after, "{name}");
        assert!(same_run(&with_norms, &through_norms), "{name}");
        let (again, _) = optimise(&t, "drop-dead-channels");
        assert_eq!(again.edits(), t.edits(), "{name}: something was left");
    }
}

#[test]
fn networks_without_zero_filters_stay() {
    let g = zoo::build("resnet18@64x64").unwrap();
    let (t, _) = optimise(&g, "drop-dead-channels");
    assert_eq!(t.edits(), 0);
}
