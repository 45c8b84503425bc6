//! Snapshots of what passes and analyses make of networks, in `snapshots/`.

use std::fmt::Write;

use graph_opt_backends::zoo;
use graph_opt_ir::text::{parse, print};
use graph_opt_ir::{Graph, ValueId};
use graph_opt_passes::analysis::plan;
use graph_opt_passes::eqsat::prove::prove;

use crate::support::{ir_diff, optimise, snapshots};

fn snapshot(name: &str, network: &str, pipeline: &str) {
    let g = zoo::build(network).unwrap();
    let (t, _) = optimise(&g, pipeline);
    snapshots(format!("{network} after {pipeline}"))
        .bind(|| insta::assert_snapshot!(name, print(&t)));
}

#[test]
fn networks_after_pipelines() {
    snapshot("tutorial", "aidge-tutorial", "tile-conv{axis=h parts=4}");
    snapshot("tutorial_grid", "aidge-tutorial", "tile-conv{axis=hxw parts=2x2}");
    snapshot("tutorial_channels", "aidge-tutorial", "tile-conv{axis=c-out parts=2}");
    snapshot("quantized", "mnist-qdq", "simplify,tile-conv{axis=h parts=2 ops=conv}");
    snapshot("squeezenet", "squeezenet", "simplify,only(conv1|fire2)(tile-conv{axis=h parts=2})");
    snapshot("unet", "unet", "only(up)(tile-conv{axis=h parts=2})");
}

/// A stem with a pool, and a residual block of stride 2.
const BLOCK: &str = "graph @block(%x: f32[1,3,32,32]) -> (%y) opset 13 {
  %w0 = const random(1)                                      : f32[8,3,3,3]
  %w1 = const random(2)                                      : f32[16,8,3,3]
  %w2 = const random(3)                                      : f32[16,16,3,3]
  %w3 = const random(4)                                      : f32[16,8,1,1]
  %stem = Conv %x, %w0 {pads=[1,1,1,1]}                      : f32[1,8,32,32] ; stem
  %relu0 = Relu %stem                                        : f32[1,8,32,32] ; relu0
  %pool = MaxPool %relu0 {kernel_shape=[2,2], strides=[2,2]} : f32[1,8,16,16] ; pool
  %first = Conv %pool, %w1 {pads=[1,1,1,1], strides=[2,2]}   : f32[1,16,8,8]  ; first
  %relu1 = Relu %first                                       : f32[1,16,8,8]  ; relu1
  %second = Conv %relu1, %w2 {pads=[1,1,1,1]}                : f32[1,16,8,8]  ; second
  %skip = Conv %pool, %w3 {strides=[2,2]}                    : f32[1,16,8,8]  ; skip
  %sum = Add %second, %skip                                  : f32[1,16,8,8]  ; sum
  %y = Relu %sum                                             : f32[1,16,8,8]  ; y
}";

fn network(name: &str) -> Graph {
    if name == "block" { parse(BLOCK).unwrap() } else { zoo::build(name).unwrap() }
}

/// What a pipeline changes, after another pipeline where there is one.
fn changes(name: &str, of: &str, before: &str, pipeline: &str) {
    let (g, _) = optimise(&network(of), before);
    let (t, _) = optimise(&g, pipeline);
    let from = if before.is_empty() { String::new() } else { format!(" after {before}") };
    snapshots(format!("what {pipeline} changes in {of}{from}"))
        .bind(|| insta::assert_snapshot!(name, ir_diff(&g, &t)));
}

#[test]
fn partial_sums() {
    let tiled = |node: &str| format!("only(^{node}$)(tile-conv{{axis=c-in parts=2}})");
    changes("partial_sums_block", "block", "", &tiled("second"));
    changes("partial_sums_resnet18", "resnet18@64x64", "", &tiled("layer1.0.conv2"));
}

/// The same rows, or squares, with each use of what several of them need.
#[test]
fn fused_tiles() {
    for (reuse, tiles) in [
        ("recompute", "grid=2 to=y"),
        ("rows", "grid=2 to=y"),
        ("exchange", "grid=2 to=y"),
        // These differ from rows only where two axes are cut.
        ("all", "grid=2x2 from=first to=second"),
        ("checkerboard", "grid=2x2 from=first to=second"),
    ] {
        let pipeline = format!("fuse-tiles{{{tiles} reuse={reuse}}}");
        changes(&format!("fuse_tiles_{reuse}"), "block", "", &pipeline);
    }
    let pipeline = "fuse-tiles{grid=2 from=layer1.0.conv1 to=layer1.0.relu reuse=rows}";
    changes("fuse_tiles_resnet18", "resnet18@64x64", "", pipeline);
}

/// Tiles node by node run tile by tile again.
#[test]
fn schedules() {
    changes("schedule_block", "block", "fuse-tiles{grid=2 to=pool reuse=exchange}", "schedule");
    let stem = "fuse-tiles{grid=2 to=maxpool reuse=exchange}";
    changes("schedule_resnet18", "resnet18@64x64", stem, "schedule");
}

#[test]
fn equality_saturation() {
    let tiled = |nodes: &str| format!("only(^({nodes})$)(tile-conv{{axis=h parts=2}})");
    changes("eqsat_memory", "block", &tiled("stem|pool|first|skip"), "eqsat{objective=memory}");
    changes("eqsat_launches", "block", &tiled("first|second"), "eqsat{objective=launches}");
    let channels = "only(^classifier.1$)(tile-conv{axis=c-out parts=2})";
    changes("eqsat_squeezenet", "squeezenet@64x64", channels, "eqsat{objective=launches}");
}

/// A memory plan: the buffers, and where at each step the results are put.
fn plan_text(g: &Graph) -> String {
    let p = plan(g).unwrap();
    let mut text = format!(
        "peak {} B at step {}, arena {} B\n\nbuffer | bytes | at | steps\n",
        p.peak, p.at, p.arena
    );
    for (i, b) in p.buffers.iter().enumerate() {
        writeln!(text, "b{i} | {} | {} | {} to {}", b.bytes, b.offset, b.from, b.to).unwrap();
    }
    let place = |v: ValueId| {
        let (place, value) = (p.place(v)?, g.value(v));
        let dims = value.ty.extents()?;
        let bytes = place.view.offset * value.ty.bytes()? / dims.iter().product::<u64>();
        let parts = if place.view.is_contiguous(&dims) { "" } else { " in strides" };
        let view = if p.is_view(v) { ", a view" } else { "" };
        Some(format!("{} -> b{} + {bytes}{parts}{view}", value.name, place.buffer))
    };
    let places = |all: Vec<ValueId>| -> String {
        all.into_iter().filter_map(place).collect::<Vec<_>>().join("; ")
    };
    text.push_str("\nstep | live bytes | value -> buffer + offset\n");
    writeln!(text, "inputs | | {}", places(g.inputs().to_vec())).unwrap();
    for (i, (&n, live)) in p.steps.iter().zip(&p.timeline).enumerate() {
        let results = g.node(n).outputs.iter().flatten().copied().collect();
        writeln!(text, "{i} | {live} | {}", places(results)).unwrap();
    }
    text
}

#[test]
fn memory_plans() {
    for (name, of, pipeline) in [
        ("plan_block", "block", ""),
        ("plan_tiles", "block", "fuse-tiles{grid=2 to=pool}"),
        ("plan_mnist", "mnist-qdq", "simplify"),
    ] {
        let (g, _) = optimise(&network(of), pipeline);
        let after = if pipeline.is_empty() { "" } else { " after " };
        snapshots(format!("the memory plan of {of}{after}{pipeline}"))
            .bind(|| insta::assert_snapshot!(name, plan_text(&g)));
    }
}

#[test]
fn certificates() {
    for (name, of, pipeline) in [
        ("certificate_sums", "block", "only(^second$)(tile-conv{axis=c-in parts=2})"),
        ("certificate_rows", "block", "fuse-tiles{grid=2 from=first to=second reuse=rows}"),
        ("certificate_resnet18", "resnet18@64x64", "fuse-tiles{grid=2 to=maxpool reuse=recompute}"),
    ] {
        let g = network(of);
        let (t, _) = optimise(&g, pipeline);
        let proof = prove(&g, &t).unwrap();
        snapshots(format!("the proof that {of} after {pipeline} is equal"))
            .bind(|| insta::assert_snapshot!(name, proof.certificate));
    }
}
