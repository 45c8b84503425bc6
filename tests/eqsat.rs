//! The pass `eqsat` on whole networks.

use std::time::Instant;

use graph_opt_backends::zoo;
use graph_opt_ir::Graph;
use graph_opt_ir::structural_eq::identical;
use graph_opt_passes::analysis::{cost, peak};
use graph_opt_passes::eqsat::prove::prove;

use crate::support::{compare, count, is_bit_exact, optimise};

fn saturated(name: &str, g: &Graph, objective: &str) -> Graph {
    let start = Instant::now();
    let (t, remarks) = optimise(g, &format!("eqsat{{objective={objective}}}"));
    let (macs, peak) = (cost(&t).macs, peak(&t).unwrap().peak);
    println!(
        "| {name} | {objective} | {} nodes | {macs} MACs | {peak} B | {:.2} s | {} |",
        t.len(),
        start.elapsed().as_secs_f64(),
        remarks.last().map_or("", |r| &r.message)
    );
    t
}

/// Two neighbours, each tiled on its own, become fused tiles with nothing joined between them.
#[test]
fn tiled_neighbours_become_fused_tiles() {
    let g = zoo::build("vgg16@64x64").unwrap();
    let names: Vec<&str> =
        g.schedule().filter(|&n| g.node(n).op.name() == "Conv").map(|n| g.label(n)).collect();
    let (a, b) = (names[0], names[1]);
    let (apart, _) = optimise(&g, &format!("only(^({a}|{b})$)(tile-conv{{axis=h parts=4}})"));
    assert_eq!((count(&apart, "Concat"), count(&apart, "Slice")), (2, 8));
    let fused = saturated("two neighbours of vgg16", &apart, "memory");
    assert_eq!((count(&fused, "Concat"), count(&fused, "Slice")), (1, 4));
    let (direct, _) = optimise(&g, &format!("fuse-tiles{{grid=4 from={a} to={b}}}"));
    assert_eq!(cost(&fused).macs, cost(&direct).macs);
    assert_eq!(peak(&fused).unwrap().peak, peak(&direct).unwrap().peak);
    prove(&direct, &fused).unwrap();
    prove(&g, &fused).unwrap();
    assert!(is_bit_exact(&compare(&g, &fused)));
}

/// What was tiled is whole again, strides and pads included.
#[test]
fn tiled_networks_are_made_whole() {
    for (network, tiles) in [
        ("resnet18@64x64", "axis=h parts=2"),
        ("mobilenetv2@64x64", "axis=h parts=2"),
        ("alexnet@64x64", "axis=c-out parts=2"),
    ] {
        let g = zoo::build(network).unwrap();
        let (tiled, _) = optimise(&g, &format!("tile-conv{{{tiles}}}"));
        assert!(tiled.len() > g.len());
        let whole = saturated(network, &tiled, "launches");
        assert!(identical(&g, &whole), "{network}, {tiles}");
    }
}

/// Branches that begin with convolutions of one value begin with one of them.
#[test]
fn siblings_of_branches_are_merged() {
    let g = zoo::build("inception-v1@64x64").unwrap();
    let t = saturated("inception-v1@64x64", &g, "launches");
    // Of each of nine modules, three convolutions of 1x1.
    assert_eq!((count(&g, "Conv"), count(&t, "Conv"), count(&t, "Slice")), (57, 39, 27));
    assert_eq!(cost(&g).macs, cost(&t).macs);
    prove(&g, &t).unwrap();
    assert!(is_bit_exact(&compare(&g, &t)));
}
