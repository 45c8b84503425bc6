//! Fused tiles on whole networks: by hand, by budget, measured, and in the wrong order.

use std::sync::Arc;

use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::{Extents, draw};
use graph_opt_backends::{Backend, zoo};
use graph_opt_ir::{Editor, NodeId};
use graph_opt_passes::Outcome;
use graph_opt_passes::analysis::{cost, peak, plan};
use graph_opt_passes::tile::Reuse;
use graph_opt_passes::tile::planner::{self, Goal, Limits};

use crate::support::{compare, is_bit_exact, load, optimise, shared};

/// The tutorial of fused tile partitioning, done right: stitched, not averaged; residual blocks
/// entered; the grid found from the device's memory.
#[test]
fn resnet18_in_four_by_four() {
    let g = zoo::build("resnet18@96x96").unwrap();
    for reuse in ["recompute", "rows", "all", "checkerboard"] {
        let pipeline = format!("fuse-tiles{{grid=4x4 to=layer2.1.relu reuse={reuse}}}");
        let (t, remarks) = optimise(&g, &pipeline);
        assert!(remarks.iter().any(|r| r.outcome == Outcome::Applied), "{remarks:?}");
        let r = compare(&g, &t);
        assert!(is_bit_exact(&r), "{pipeline}: {r:?}");
    }
}

/// Half of the untiled peak, and the least that is possible, on every network of the zoo that has
/// images: bit-exact, and by the interpreter's own count as planned.
#[test]
fn budgets_are_kept() {
    for network in [
        "vgg16-features@64x64",
        "resnet18@64x64",
        "resnet50@64x64",
        "mobilenetv2@64x64",
        "squeezenet@64x64",
        "yolov2@96x96",
        "unet@64x64",
        "inception-v1@64x64",
        "densenet121@64x64",
        "superres@32x48",
    ] {
        let g = zoo::build(network).unwrap();
        let (before, macs) = (peak(&g).unwrap().peak, cost(&g).macs);
        let best = planner::best(&g, Goal::Memory(before / 2), &Limits::default());
        let best = best.or_else(|_| planner::best(&g, Goal::ExtraMacs(0.25), &Limits::default()));
        let best = best.unwrap_or_else(|e| panic!("{network}: {e}"));
        let t = planner::realise(&g, &best.plan).unwrap();
        let more = (cost(&t).macs as f64 / macs as f64 - 1.0) * 100.0;
        let groups: Vec<(Reuse, usize)> =
            best.plan.groups.iter().map(|f| (f.reuse, f.grid.len())).collect();
        println!("{network}: {before} to {} bytes, {more:+.2} % MACs, {groups:?}", best.peak);
        assert!(best.peak < before, "{network}");
        let r = compare(&g, &t);
        assert!(is_bit_exact(&r), "{network}: {r:?}");
        // What the interpreter holds at each step is what the plan said.
        let timeline = plan(&t).unwrap();
        let t = Arc::new(t);
        let inputs = draw(&t, &Extents::default(), 3).unwrap();
        let (out, measured) =
            Cpu::default().prepared(t.clone()).unwrap().run_measured(&inputs).unwrap();
        assert_eq!(measured.by_step, timeline.timeline, "{network}");
        assert_eq!(measured.peak, best.peak, "{network}");
        let g = Arc::new(g);
        let whole = Cpu::default().prepare(g.clone()).unwrap().run(&inputs, g.outputs()).unwrap();
        assert_eq!(out, whole, "{network}");
    }
}

/// Files that list their weights among the inputs: those are no activations.
#[test]
fn weights_among_the_inputs_take_no_part() {
    let Some(dir) = shared("models") else { return };
    let name = "Kazuhito00+MOT-Tracking-by-Detection-Pipeline__nanodet_m_320.onnx";
    let g = load(&dir.join(name));
    let before = peak(&g).unwrap().peak;
    let best = planner::best(&g, Goal::Memory(before * 3 / 4), &Limits::default()).unwrap();
    println!("nanodet: {before} to {} bytes", best.peak);
    assert!(best.peak <= before * 3 / 4 && !best.plan.groups.is_empty());
}

/// The same tiles breadth first, layer by layer, need more memory than the untiled network;
/// `schedule` puts them back.
#[test]
fn breadth_first_is_worse() {
    let g = zoo::build("vgg16-features@64x64").unwrap();
    let (t, _) = optimise(&g, "fuse-tiles{grid=4x4 to=features.16}");
    let order: Vec<&str> = g.schedule().map(|n| g.label(n)).collect();
    // The layer that a tile's node belongs to; nodes of the same layer stay in their order.
    let layer = |n: NodeId| {
        let label = t.label(n).split("/tile").next().unwrap_or_default().to_owned();
        let label = label.split("/concat").next().unwrap_or_default().to_owned();
        let late = t.label(n).contains("/concat");
        (order.iter().position(|o| *o == label), late)
    };
    let mut nodes: Vec<NodeId> = t.schedule().collect();
    nodes.sort_by_key(|&n| layer(n));
    let mut wide = t.clone();
    Editor::new(&mut wide).reorder("breadth first", &nodes).unwrap();
    let (back, _) = optimise(&wide, "schedule");
    let all = [&g, &t, &wide, &back].map(|g| peak(g).unwrap().peak);
    let [untiled, deep, wide, back] = all;
    println!("untiled {untiled}, depth first {deep}, breadth first {wide}, put back {back}");
    assert!(deep < untiled && untiled < wide && back <= deep);
}
