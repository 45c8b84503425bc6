//! Fused tiles on whole networks: by hand, by budget, and in the wrong order.

use graph_opt_backends::zoo;
use graph_opt_ir::{Editor, Graph, NodeId, onnx, text};
use graph_opt_passes::analysis::peak;
use graph_opt_passes::tile::planner::{self, Goal, Limits};
use graph_opt_passes::{Data, Outcome, Remark};

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

/// Channels of what cuts, or enlarges, along other axes: the operator's own cut had been lost.
#[test]
fn channels_of_crops_splits_and_enlargements() {
    let crop = "graph @g(%x: f32[1,4,9,9]) -> (%z) opset 9 {
          %y = Crop %x {border=[1,2,3,1]} : ?
          %z = Relu %y : ?
        }";
    let split = "graph @g(%x: f32[1,4,9,9]) -> (%z) opset 9 {
          %a, %b = Split %x {axis=2, split=[4,5]} : ?, ?
          %z = Relu %b : ?
        }";
    let resize = "graph @g(%x: f32[1,4,5,5]) -> (%z) opset 13 {
          %s = const [1,4,10,10] : i64[4]
          %y = Resize %x, _, _, %s {coordinate_transformation_mode=\"align_corners\", mode=\"linear\"} : ?
          %z = Relu %y : ?
        }";
    let fill = "graph @g(%x: f32[1,4,9,9]) -> (%z) opset 13 {
          %s = const [1,4,9,9] : i64[4]
          %y = ConstantOfShape %s : ?
          %z = Add %x, %y : ?
        }";
    for text in [crop, split, resize, fill] {
        let g = text::parse(text).unwrap();
        let last = g.label(g.producer(g.outputs()[0]).unwrap()).to_owned();
        let (t, remarks) = optimise(&g, &format!("fuse-tiles{{grid=2 axes=c to={last}}}"));
        assert!(remarks.iter().any(|r| r.outcome == Outcome::Applied), "{remarks:?}");
        let r = compare(&g, &t);
        assert!(is_bit_exact(&r), "{text}: {r:?}");
    }
}

/// What the planner says that it chose gives the same file when it is pasted as a pipeline.
#[test]
fn plans_by_hand_write_the_same_file() {
    let written = |g: &Graph| {
        let mut bytes = Vec::new();
        onnx::export(g, &mut bytes).unwrap();
        bytes
    };
    let mut models: Vec<(String, Graph)> = [
        "resnet18@96x96",
        "mobilenetv2@96x96",
        "inception-v1@96x96",
        "unet@64x64",
        "densenet121@64x64",
    ]
    .map(|n| (n.to_owned(), zoo::build(n).unwrap()))
    .into();
    for name in [
        "Kazuhito00+MOT-Tracking-by-Detection-Pipeline__nanodet_m_320.onnx",
        "ShiqiYu+libfacedetection.train__yunet_n_320_320.onnx",
        "dog-qiuqiu+FastestDet__FastestDet.onnx",
    ] {
        let path = shared(&format!("models/{name}"));
        models.extend(path.map(|p| (name.to_owned(), load(&p))));
    }
    let (mut groups, mut rows) = (0, 0);
    for (name, g) in &models {
        let before = peak(g).unwrap().peak;
        for pass in [
            format!("memory={}B best-effort=yes", before / 4 * 3),
            format!("memory={}B best-effort=yes", before / 2),
            "extra-macs=5% reuse=rows".to_owned(),
            "extra-macs=50% max-tiles=16 reuse=recompute runtime=onnxruntime".to_owned(),
        ] {
            let (tiled, remarks) = optimise(g, &format!("fuse-tiles{{{pass}}}"));
            let Some(cost) = remarks.iter().find_map(|r| match &r.data {
                Data::Cost { by_hand, peak, .. } => Some((by_hand.clone(), *peak, &r.message)),
                _ => None,
            }) else {
                continue;
            };
            let (by_hand, change, message) = cost;
            let applied = |r: &&Remark| matches!(r.data, Data::Tiles(_));
            assert_eq!(by_hand.len(), remarks.iter().filter(applied).count(), "{name} {pass}");
            let (_, pasted) = message.split_once("by hand: ").unwrap();
            let (again, _) = optimise(g, pasted);
            assert!(written(&again) == written(&tiled), "{name} {pass}: {pasted}");
            if !pass.contains("runtime") {
                assert_eq!((change.before, change.after), (before, peak(&again).unwrap().peak));
            }
            rows += 1;
            groups += by_hand.len();
        }
    }
    println!("{rows} plans of {groups} groups");
    assert!(rows >= 12 && groups > rows, "{rows} plans of {groups} groups");
}

/// Rows of queries share nothing, so a budget that takes more than 64 tiles is met, at no extra work.
#[test]
fn attention_in_as_many_tiles_as_it_takes() {
    let attention = "graph @attention(%x: f32[512,16]) -> (%y) opset 17 {
      %wq = const random(1) : f32[16,16]
      %wk = const random(2) : f32[16,16]
      %wv = const random(3) : f32[16,16]
      %wo = const random(4) : f32[16,16]
      %s = const [512,2,8] : i64[3]
      %j = const [512,16] : i64[2]
      %q0 = MatMul %x, %wq : ?
      %q1 = Reshape %q0, %s : ?
      %q = Transpose %q1 {perm=[1,0,2]} : ?
      %k0 = MatMul %x, %wk : ?
      %k1 = Reshape %k0, %s : ?
      %k = Transpose %k1 {perm=[1,2,0]} : ?
      %v0 = MatMul %x, %wv : ?
      %v1 = Reshape %v0, %s : ?
      %v = Transpose %v1 {perm=[1,0,2]} : ?
      %a = MatMul %q, %k : ? ; scores
      %p = Softmax %a {axis=-1} : ?
      %o = MatMul %p, %v : ?
      %t = Transpose %o {perm=[1,0,2]} : ?
      %r = Reshape %t, %j : ?
      %y = MatMul %r, %wo : ?
    }";
    let g = text::parse(attention).unwrap();
    let budget = 152 << 10;
    let plan = |limits: &Limits| planner::best(&g, Goal::Memory(budget), limits);
    let few = Limits { long: 64, ..Limits::default() };
    assert!(plan(&few).is_err(), "64 tiles do, and the budget shows nothing");
    let best = plan(&Limits::default()).unwrap();
    let (before, tiles) = (peak(&g).unwrap().peak, best.plan.groups[0].grid.len());
    println!("{before} to {} bytes in {tiles} tiles", best.peak);
    assert!(best.peak <= budget && tiles > 64);
    assert_eq!(best.macs, graph_opt_passes::analysis::cost(&g).macs);
    let (t, _) = optimise(&g, &format!("fuse-tiles{{memory={budget}B}}"));
    let r = compare(&g, &t);
    assert!(is_bit_exact(&r), "{r:?}");
}
