//! Proofs: what passes make of whole networks, each with its time and its e-nodes; and wrong
//! rewritings, which have none.

use std::time::Instant;

use graph_opt_backends::zoo;
use graph_opt_ir::Graph;
use graph_opt_ir::text::parse;
use graph_opt_passes::Outcome;
use graph_opt_passes::eqsat::prove::{Proof, prove};

use crate::support::optimise;

fn row(name: &str, pipeline: &str, a: &Graph, b: &Graph) -> Proof {
    let start = Instant::now();
    let proof = prove(a, b).unwrap_or_else(|e| panic!("{name}: {pipeline}: {e}"));
    println!(
        "| {name} | {pipeline} | {} nodes | {:.3} s | {} e-nodes | {:?} |",
        b.len(),
        start.elapsed().as_secs_f64(),
        proof.nodes,
        proof.rules
    );
    proof
}

fn tiled(g: &Graph, pipeline: &str) -> Graph {
    let (t, remarks) = optimise(g, pipeline);
    assert!(remarks.iter().any(|r| r.outcome == Outcome::Applied), "{pipeline}: {remarks:?}");
    t
}

/// Every convolution, on each axis.
#[test]
fn tiled_convolutions() {
    for network in ["resnet18", "mobilenetv2", "inception-v1", "unet", "vit-b16"] {
        let g = zoo::build(network).unwrap();
        for axis in ["axis=h parts=3", "axis=w parts=4", "axis=hxw parts=2x2", "axis=c-out parts=2"]
        {
            let t = tiled(&g, &format!("tile-conv{{{axis}}}"));
            if t.edits() == g.edits() {
                continue;
            }
            assert!(!row(network, axis, &g, &t).reassociates);
        }
    }
}

/// Shapes that are computed from known extents, as exporters write them.
#[test]
fn computed_shapes() {
    let g = parse(
        "graph @g(%x: f32[2,3,4]) -> (%y) opset 13 {
           %s = Shape %x                                  : i64[3]
           %i = const [0]                                 : i64[1]
           %n = Gather %s, %i                             : i64[1]
           %rest = const [-1]                             : i64[1]
           %t = Concat %n, %rest {axis=0}                 : i64[2]
           %r = Reshape %x, %t                            : ?
           %z = Relu %r                                   : ?
           %p = ReduceProd %s {axes=[0], keepdims=1}      : i64[1]
           %y = Reshape %z, %p                            : ?
         }",
    )
    .unwrap();
    let t = optimise(&g, "simplify").0;
    assert_eq!(t.len(), 3);
    row("shapes", "simplify", &g, &t);
}

/// Partial sums are equal in exact arithmetic.
#[test]
fn partial_sums() {
    for network in ["resnet18", "inception-v1", "unet"] {
        let g = zoo::build(network).unwrap();
        let t = tiled(&g, "tile-conv{axis=c-in parts=2}");
        assert!(row(network, "axis=c-in parts=2", &g, &t).reassociates);
    }
}

/// Stretches of networks in tiles, with everything that may happen to overlaps.
#[test]
fn fused_tiles() {
    for (network, tiles, reuses) in [
        (
            "resnet18",
            "grid=4x4 to=layer2.1.relu",
            &["recompute", "rows", "all", "checkerboard"][..],
        ),
        ("yolov2-first16", "grid=5x5 to=LAST", &["recompute", "rows", "all", "checkerboard"]),
        ("unet", "grid=3x3 from=up3.concat to=LAST", &["recompute", "all"]),
        ("inception-v1", "grid=3x2 to=inception3b.concat", &["recompute", "rows"]),
        ("densenet121", "grid=2x2 to=features.pool0", &["all"]),
    ] {
        let g = zoo::build(network).unwrap();
        let last = g.schedule().last().map(|n| g.label(n).to_owned()).unwrap();
        let tiles = tiles.replace("LAST", &last);
        for reuse in reuses {
            let pipeline = format!("fuse-tiles{{{tiles} reuse={reuse}}}");
            let t = tiled(&g, &pipeline);
            row(network, &pipeline, &g, &t);
        }
    }
}
