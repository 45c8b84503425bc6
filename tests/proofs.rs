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

/// Constants that a node reads through others, as PyTorch writes the pads of `F.pad`.
#[test]
fn computed_constants() {
    let g = parse(
        "graph @g(%x: f32[?,?]) -> (%y) opset 16 {
           %two = const [2]                               : i64[1]
           %zeros = ConstantOfShape %two {value=tensor([0] : i64[1])} : i64[2]
           %given = const [1,64]                          : i64[2]
           %all = Concat %given, %zeros {axis=0}          : i64[4]
           %rows = const [-1,2]                           : i64[2]
           %r = Reshape %all, %rows                       : i64[2,2]
           %from = const [-1]                             : i64[1]
           %to = const [-9223372036854775807]             : i64[1]
           %axis = const [0]                              : i64[1]
           %back = Slice %r, %from, %to, %axis, %from     : i64[2,2]
           %t = Transpose %back {perm=[1,0]}              : i64[2,2]
           %flat = Reshape %t, %from                      : i64[4]
           %y = Pad %x, %flat {mode=\"reflect\"}          : f32[?,?]
         }",
    )
    .unwrap();
    // Rows in reverse, each a pair of begin and end: [[0,0],[1,64]], columns [0,1] and [0,64].
    let folded = |pads: &str| {
        parse(&format!(
            "graph @g(%x: f32[?,?]) -> (%y) opset 16 {{
               %p = const [{pads}]                        : i64[4]
               %y = Pad %x, %p {{mode=\"reflect\"}}         : f32[?,?]
             }}"
        ))
        .unwrap()
    };
    assert!(prove(&g, &folded("0,1,0,64")).is_ok());
    for other in ["0,1,64,0", "1,0,64,0", "0,0,1,64"] {
        assert!(prove(&g, &folded(other)).is_err(), "{other}");
    }
}

/// Weights that are taken apart, put together and turned, as exporters write the gates of an LSTM.
#[test]
fn moved_weights() {
    let graph = |rows: &str| {
        parse(&format!(
            "graph @g(%x: f32[3,6]) -> (%y) opset 13 {{
           %w = const random(3)             : f32[6,4]
           %zero = const [0]                : i64[1]
           %two = const [2]                 : i64[1]
           %six = const [6]                 : i64[1]
           %top = Slice %w, %zero, %two     : f32[2,4]
           %rest = Slice %w, %two, %six     : f32[4,4]
           %turned = Concat {rows} {{axis=0}} : f32[6,4]
           %t = Transpose %turned {{perm=[1,0]}}   : f32[4,6]
           %u = Unsqueeze %t, %zero         : f32[1,4,6]
           %s = const [2,4,6]               : i64[3]
           %e = Expand %u, %s               : f32[2,4,6]
           %back = Transpose %e {{perm=[0,2,1]}}   : f32[2,6,4]
           %m = MatMul %x, %back            : f32[2,3,4]
           %dims = const [4]                : i64[1]
           %ones = ConstantOfShape %dims {{value=tensor([1.0] : f32[1])}} : f32[4]
           %y = Mul %m, %ones               : f32[2,3,4]
         }}"
        ))
        .unwrap()
    };
    let g = graph("%rest, %top");
    let (t, _) = optimise(&g, "simplify");
    assert!(t.len() < 8, "{}", t.len());
    assert!(prove(&g, &t).is_ok());
    // Put together in the first order, the rows are others.
    let other = graph("%top, %rest");
    assert!(prove(&other, &t).is_err());
}

/// A row of a table as the target of a Reshape.
#[test]
fn computed_targets() {
    let reshape = |target: &str| {
        parse(&format!(
            "graph @g(%x: f32[4,6]) -> (%y) opset 13 {{
               {target}
               %y = Reshape %x, %t : ?
             }}"
        ))
        .unwrap()
    };
    let row = reshape(
        "%table = const [2,12,3,8] : i64[2,2]
         %i = const 1 : i64[]
         %t = Gather %table, %i : i64[2]",
    );
    assert!(prove(&row, &reshape("%t = const [3,8] : i64[2]")).is_ok());
    assert!(prove(&row, &reshape("%t = const [2,12] : i64[2]")).is_err());
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
