//! Figures of published systems, from `../shared/golden`; each test names the rows that it uses.

use graph_opt_backends::zoo;
use graph_opt_ir::{Graph, NodeId, Op, Span, ValueId};
use graph_opt_passes::analysis::{cost, node_macs, peak};
use graph_opt_passes::tile::planner::{self, Limits};
use graph_opt_passes::tile::{Grid, Group, Reuse, TileNeeds, parts, region_bytes, survey};

use crate::support::shared;

/// Rows of a table, by the names of its columns.
fn table(name: &str) -> Option<Vec<std::collections::HashMap<String, String>>> {
    let text = std::fs::read_to_string(shared("golden")?.join(name)).unwrap();
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    let row = |l: &str| {
        head.iter().map(ToString::to_string).zip(l.split(',').map(ToOwned::to_owned)).collect()
    };
    let rows: Vec<_> = lines.map(row).collect();
    assert!(!rows.is_empty(), "{name} has no rows");
    Some(rows)
}

fn number(row: &std::collections::HashMap<String, String>, column: &str) -> u64 {
    row[column].parse().unwrap()
}

/// Convolutions and poolings, each with the node that ends its layer.
fn layers(g: &Graph) -> Vec<(NodeId, NodeId)> {
    let mut all: Vec<(NodeId, NodeId)> = Vec::new();
    for n in g.schedule() {
        match g.node(n).op {
            Op::Conv(_) | Op::MaxPool(_) => all.push((n, n)),
            _ => all.last_mut().unwrap().1 = n,
        }
    }
    all
}

fn bytes(g: &Graph, node: NodeId, input: bool) -> u64 {
    let n = g.node(node);
    let v = if input { n.inputs[0] } else { n.outputs[0] };
    g.value(v.unwrap()).ty.bytes().unwrap()
}

/// Weights with one bias a channel, as the tables count them (normalisation folded).
fn weights(g: &Graph, node: NodeId) -> u64 {
    let Some(Some(w)) = g.node(node).inputs.get(1) else { return 0 };
    let ty = &g.value(*w).ty;
    ty.bytes().unwrap() + 4 * ty.extents().unwrap()[0]
}

/// Every row of `yolov2-first16.layers.csv` and `vgg16-conv.layers.csv`.
#[test]
fn layer_tables() {
    for (network, file) in [
        ("yolov2-first16", "yolov2-first16.layers.csv"),
        ("vgg16-features", "vgg16-conv.layers.csv"),
    ] {
        let Some(rows) = table(file) else { return };
        let g = zoo::build(network).unwrap();
        let layers = layers(&g);
        assert_eq!(layers.len(), rows.len());
        for ((first, last), row) in layers.into_iter().zip(&rows) {
            let kind = if matches!(g.node(first).op, Op::Conv(_)) { "conv" } else { "pool" };
            assert_eq!(kind, row["op"]);
            assert_eq!(bytes(&g, first, true), number(row, "in_bytes"), "{row:?}");
            assert_eq!(bytes(&g, last, false), number(row, "out_bytes"), "{row:?}");
            assert_eq!(weights(&g, first), number(row, "weight_bytes"), "{row:?}");
            assert_eq!(node_macs(&g, first).unwrap_or(0), number(row, "macs"), "{row:?}");
        }
    }
}

fn spans(n: i64, count: i64, split: &str) -> Vec<Span> {
    match split {
        // Equal fractions, as the tables divide what does not divide evenly.
        "ceil" => parts::ceil(n, count).unwrap(),
        _ => parts::even(n, count, 1, false).unwrap(),
    }
}

/// The largest input and output of a layer within a tile.
fn largest_layer(g: &Graph, t: &TileNeeds, layers: &[(NodeId, NodeId)]) -> u64 {
    let of = |v: Option<ValueId>| {
        let v = v.unwrap();
        let whole = vec![None; g.value(v).ty.rank().unwrap()];
        region_bytes(g, v, t.region(v).unwrap_or(&whole)).unwrap()
    };
    let sum = |&(a, b): &(NodeId, NodeId)| of(g.node(a).inputs[0]) + of(g.node(b).outputs[0]);
    layers.iter().map(sum).max().unwrap()
}

/// Bytes of input that a tile reads.
fn scattered(g: &Graph, t: &TileNeeds) -> u64 {
    t.inputs.iter().map(|(v, r)| region_bytes(g, *v, r).unwrap()).sum()
}

/// Every row of `yolov2-first16.tile-rows-5x5-ceil.csv`.
#[test]
fn tile_rows() {
    let Some(rows) = table("yolov2-first16.tile-rows-5x5-ceil.csv") else { return };
    let g = zoo::build("yolov2-first16").unwrap();
    let layers = layers(&g);
    let group = Group::between(&g, None, layers[15].1).unwrap();
    let grid = Grid { axes: vec![(2, spans(38, 5, "ceil")), (3, spans(38, 5, "ceil"))] };
    let tiles = survey(&g, &group, &grid, Reuse::Recompute).unwrap();
    for row in &rows {
        let (tile, layer) = (number(row, "tile_row") as usize, number(row, "layer") as usize);
        let tile = tiles.iter().find(|t| t.position == [tile, 2]).unwrap();
        let span = |v: Option<ValueId>| tile.region(v.unwrap()).unwrap()[2].unwrap();
        let (a, b) = layers[layer];
        let (i, o) = (span(g.node(a).inputs[0]), span(g.node(b).outputs[0]));
        let want = ["in_lo", "in_hi", "out_lo", "out_hi"].map(|c| number(row, c) as i64);
        assert_eq!([i.lo, i.hi, o.lo, o.hi], want, "{row:?}");
    }
}

/// Every row of `yolov2-first16.grids.csv` and `vgg16-first10.grids.csv`: the largest tile's input
/// and output, weights, MACs with halos computed again, and bytes of input handed out.
#[test]
fn grid_tables() {
    for (network, file, count) in [
        ("yolov2-first16", "yolov2-first16.grids.csv", 16),
        ("vgg16-features", "vgg16-first10.grids.csv", 10),
    ] {
        let Some(rows) = table(file) else { return };
        let g = zoo::build(network).unwrap();
        let layers = &layers(&g)[..count];
        let (first, last) = (layers[0].0, layers[count - 1].1);
        let group = Group::between(&g, Some(first), last).unwrap();
        let out = group.outputs[0];
        let extents = g.value(out).ty.extents().unwrap();
        for row in &rows {
            let n: i64 = row["grid"].split('x').next().unwrap().parse().unwrap();
            if n == 1 {
                // The network as it is.
                let macs: u64 = layers.iter().filter_map(|l| node_macs(&g, l.0)).sum();
                assert_eq!(macs, number(row, "macs_untiled"));
                let layer = |l: &(NodeId, NodeId)| bytes(&g, l.0, true) + bytes(&g, l.1, false);
                let largest = layers.iter().map(layer).max().unwrap();
                assert_eq!(largest, number(row, "tile_in_plus_out_peak_bytes"));
                continue;
            }
            let cut = |a: usize| (a, spans(extents[a] as i64, n, &row["split"]));
            let grid = Grid { axes: vec![cut(2), cut(3)] };
            let tiles = survey(&g, &group, &grid, Reuse::Recompute).unwrap();
            let found = [
                tiles.iter().map(|t| largest_layer(&g, t, layers)).max().unwrap(),
                layers.iter().map(|l| weights(&g, l.0)).sum(),
                tiles.iter().map(|t| t.macs).sum(),
                tiles.iter().map(|t| scattered(&g, t)).sum(),
                bytes(&g, last, false),
            ];
            let want = [
                "tile_in_plus_out_peak_bytes",
                "weight_bytes",
                "macs_tiled",
                "input_scattered_bytes",
                "output_bytes",
            ]
            .map(|c| number(row, c));
            assert_eq!(found, want, "{network} {row:?}");
        }
    }
}

/// DeepThings' setting: the text of `README.md` there on the first 16 layers of YOLOv2, 5x5.
#[test]
fn deep_things() {
    if shared("golden").is_none() {
        return;
    }
    let g = zoo::build("yolov2-first16").unwrap();
    let layers = layers(&g);
    let group = Group::between(&g, None, layers[15].1).unwrap();
    let macs = cost(&g).macs as f64;
    let extra = |n: i64, split: &str, reuse: Reuse| {
        let cut = spans(38, n, split);
        let grid = Grid { axes: vec![(2, cut.clone()), (3, cut)] };
        let tiles = survey(&g, &group, &grid, reuse).unwrap();
        let total: u64 = tiles.iter().map(|t| t.macs).sum();
        let taken = tiles.iter().flat_map(|t| &t.taken);
        let strips: u64 = taken.map(|(v, r)| region_bytes(&g, *v, r).unwrap()).sum();
        let scattered: u64 = tiles.iter().map(|t| scattered(&g, t)).sum();
        ((total as f64 / macs - 1.0) * 100.0, strips, scattered)
    };
    let near = |found: f64, want: f64| assert!((found - want).abs() < 0.06, "{found} for {want}");
    near(extra(5, "even", Reuse::Recompute).0, 119.6);
    // Checkerboard reuse by grid.
    for (n, want) in [(2, 1.7), (3, 6.9), (4, 15.5), (5, 27.6), (6, 42.6)] {
        // DeepThings' own split where the two differ.
        let split = if n == 6 { "ceil" } else { "even" };
        let (more, strips, scattered) = extra(n, split, Reuse::Checkerboard);
        println!(
            "checkerboard {n}x{n}: {more:+.1} % MACs (DeepThings {want:+.1} %), strips {strips}, input {scattered}"
        );
        near(more, want);
        if n == 5 {
            // 6.81 MiB of input handed out.
            assert_eq!(scattered, 7_143_744);
        }
    }
    // What we have besides: nothing is computed twice.
    assert_eq!(extra(5, "even", Reuse::All).0, 0.0);
}

/// The planner against every budget of `*.budgets.csv`.
#[test]
fn budgets() {
    for (network, file, count) in [
        ("yolov2-first16", "yolov2-first16.budgets.csv", 16),
        ("vgg16-features", "vgg16-conv.budgets.csv", 18),
    ] {
        let Some(rows) = table(file) else { return };
        let g = zoo::build(network).unwrap();
        assert_eq!(layers(&g).len(), count);
        let untiled = cost(&g).macs;
        let front = planner::front(&g, &Limits::default()).unwrap();
        for row in &rows {
            let (budget, published) =
                (number(row, "peak_budget_bytes"), number(row, "macs_planned"));
            let goal = planner::Goal::Memory(budget);
            let found = planner::best(&g, goal, &Limits::default()).unwrap();
            let (plan, exact) = (found.plan, found.peak);
            let share = |m: u64| (m as f64 / untiled as f64 - 1.0) * 100.0;
            println!(
                "{network} {budget}: published {:+.2} % MACs, ours {:+.2} %, peak {exact} ({} groups)",
                share(published),
                share(plan.macs),
                plan.groups.len()
            );
            assert!(exact <= budget && plan.macs <= published, "{row:?}: {plan:?}");
            let built = planner::realise(&g, &plan).unwrap();
            assert_eq!(cost(&built).macs, plan.macs, "the work of the rewritten graph");
        }
        // More tiles than are sensible, for the least.
        let alone = Limits { reuse: vec![Reuse::Recompute], tiles: 196, ..Limits::default() };
        let other = planner::front(&g, &alone).unwrap();
        let built =
            front.plans.iter().chain(&other.plans).map(|p| planner::realise(&g, p).unwrap());
        let floor = built.map(|b| peak(&b).unwrap().peak).min().unwrap();
        let least = rows.iter().map(|r| number(r, "peak_budget_bytes")).min().unwrap();
        println!("{network}: least peak {floor}, published {least}");
        assert!(floor < least);
    }
}

/// The first node whose result has these extents and that is the last of its layer.
fn node_of(g: &Graph, dims: &[u64], op: &str) -> NodeId {
    let has = |&n: &NodeId| {
        let v = g.node(n).outputs[0].unwrap();
        g.node(n).op.name() == op && g.value(v).ty.extents().as_deref() == Some(dims)
    };
    g.schedule().find(has).unwrap()
}

/// MCUNetV2's setting, of `README.md` there: MobileNetV2 in int8, 4x4 patches over the stem and
/// blocks 1 to 4: 171.5 KiB instead of 1372.0 KiB at +10.0 % MACs. Its model: input and output of a
/// layer, depthwise in place; the patches' own input is read from elsewhere.
#[test]
fn mcunet_v2() {
    if shared("golden").is_none() {
        return;
    }
    let g = zoo::build("mobilenetv2").unwrap();
    let last = node_of(&g, &[1, 32, 28, 28], "BatchNormalization");
    let group = Group::between(&g, None, last).unwrap();
    let cut = parts::even(28, 4, 1, false).unwrap();
    let grid = Grid { axes: vec![(2, cut.clone()), (3, cut)] };
    let tiles = survey(&g, &group, &grid, Reuse::Recompute).unwrap();
    // One byte an element instead of four.
    let size = |v: ValueId, t: Option<&TileNeeds>| {
        let whole = vec![None; g.value(v).ty.rank().unwrap()];
        let region = t.map_or(Some(&whole), |t| t.region(v));
        region.map_or(0, |r| region_bytes(&g, v, r).unwrap() / 4)
    };
    let layer = |n: NodeId, t: Option<&TileNeeds>| {
        let node = g.node(n);
        let Op::Conv(c) = &node.op else { return 0 };
        let (x, y) = (size(node.inputs[0].unwrap(), t), size(node.outputs[0].unwrap(), t));
        if c.group > 1 { x.max(y) } else { x + y }
    };
    let untiled = g.schedule().map(|n| layer(n, None)).max().unwrap();
    assert_eq!(untiled, 1372 * 1024);
    let inside = |t: &TileNeeds| group.nodes.iter().map(|&n| layer(n, Some(t))).max().unwrap();
    let patches = tiles.iter().map(inside).max().unwrap() + size(group.outputs[0], None);
    let rest = g.schedule().filter(|n| !group.nodes.contains(n)).map(|n| layer(n, None)).max();
    let macs: u64 = tiles.iter().map(|t| t.macs).sum();
    let before: u64 = group.nodes.iter().filter_map(|&n| node_macs(&g, n)).sum();
    let extra = (macs - before) as f64 / cost(&g).macs as f64 * 100.0;
    let peak = patches.max(rest.unwrap());
    println!(
        "MCUNetV2: patches {} KiB, with the rest {} KiB, {extra:+.2} % MACs",
        patches / 1024,
        peak as f64 / 1024.0
    );
    assert!(peak * 2 <= 343 * 1024 && extra <= 10.05, "{peak} {extra}");
    // The planner, whose model counts the network's input, too, and depthwise results apart.
    let front = planner::front(&g, &Limits::default()).unwrap();
    for plan in front.plans.iter().filter(|p| p.peak / 4 <= 343 * 512).take(1) {
        let more = (plan.macs as f64 / cost(&g).macs as f64 - 1.0) * 100.0;
        println!("the planner's: {:.1} KiB, {more:+.2} % MACs", plan.peak as f64 / 4096.0);
    }
    let least = front.plans.iter().map(|p| p.peak).min().unwrap();
    println!("its least: {:.1} KiB", least as f64 / 4096.0);
}

/// Figures of `README.md` there at 1080p in f32: VGG-16 features 1062 MB untiled, 133 MB at +9.6 %
/// MACs; ResNet-50 at 224: 7.23, 4.44 MB at +3.0 %, 3.61 MB at +6.2 %.
#[test]
fn large_images() {
    if shared("golden").is_none() {
        return;
    }
    for (network, untiled, points) in [
        ("vgg16-features@1080x1920", 1062.0, &[(265.0, 1.6), (138.0, 4.7), (133.0, 9.6)][..]),
        ("resnet50", 7.23, &[(4.44, 3.0), (3.61, 6.2)]),
    ] {
        let g = zoo::build(network).unwrap();
        let (before, macs) = (peak(&g).unwrap().peak as f64 / 1e6, cost(&g).macs);
        println!("{network}: {before:.2} MB untiled, published {untiled}");
        assert!((before - untiled).abs() < untiled * 0.002);
        for &(limit, published) in points {
            let goal = planner::Goal::Memory((limit * 1e6) as u64);
            let found = planner::best(&g, goal, &Limits::default()).unwrap();
            let (plan, exact) = (found.plan, found.peak);
            let more = (plan.macs as f64 / macs as f64 - 1.0) * 100.0;
            let exact = exact as f64 / 1e6;
            println!(
                "  {exact:.2} MB at {more:+.2} % MACs; published {limit} at {published:+.1} %"
            );
            assert!(exact <= limit && more <= published);
        }
    }
}
