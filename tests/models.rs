//! Real models from `../shared/models`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use graph_opt_backends::compare::{Compare, Verdict};
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::Extents;
use graph_opt_backends::tolerance::CLOSE;
use graph_opt_backends::{Backend, Executable};
use graph_opt_ir::op::Op;
use graph_opt_ir::{Graph, structural_eq};
use graph_opt_passes::Outcome;
use graph_opt_passes::analysis::cost;
use graph_opt_passes::fix_dims::{Symbolic, SymbolicDim, fix_dims};
use std::sync::Arc;

use crate::support::{load, optimise, shared};

fn is_convolution(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv(_)
            | Op::ConvTranspose(_)
            | Op::FusedConv(_)
            | Op::ConvInteger(_)
            | Op::QLinearConv(_)
    )
}

/// Files of all models.
pub fn paths() -> Vec<PathBuf> {
    let Some(dir) = shared("models") else { return Vec::new() };
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths.retain(|p| p.extension().is_some_and(|e| e == "onnx"));
    paths
}

/// Convolutional models.
pub fn convolutional() -> Vec<(String, Graph)> {
    let mut paths = paths();
    // Names to begin with, to go on where a long run was cut off.
    if let Ok(from) = std::env::var("GRAPH_OPT_MODELS_FROM") {
        paths.retain(|p| p.file_stem().is_some_and(|n| *n.to_string_lossy() >= *from));
    }
    paths
        .into_iter()
        .map(|p| (p.file_stem().unwrap().to_string_lossy().into_owned(), load(&p)))
        .filter(|(_, g)| g.any_node(&mut |g, n| is_convolution(&g.node(n).op)))
        .collect()
}

/// Fails where fewer than `least` were found, unless models are missing or left out.
pub fn at_least(least: usize, found: usize, what: &str) {
    let partial = shared("models").is_none() || std::env::var("GRAPH_OPT_MODELS_FROM").is_ok();
    assert!(partial || found >= least, "{found} {what}, at least {least} expected");
}

/// Extents of symbolic dimensions that a model needs, from the file beside it: by name, and by
/// input and axis where it records whole shapes.
fn recorded(name: &str) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    let Some(dir) = shared("models") else { return all };
    let Ok(bytes) = std::fs::read(dir.join(format!("{name}.inputs.json"))) else { return all };
    let v: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    for (k, n) in v["dims"].as_object().into_iter().flatten() {
        all.extend(n.as_u64().map(|n| (k.clone(), n)));
    }
    for (k, dims) in v["shapes"].as_object().into_iter().flatten() {
        for (axis, n) in dims.as_array().into_iter().flatten().enumerate() {
            all.extend(n.as_u64().map(|n| (format!("{k}:{axis}"), n)));
        }
    }
    all
}

pub fn extents(name: &str) -> Extents {
    Extents(recorded(name).into_iter().collect())
}

/// The model with the extents that are recorded for it.
pub fn fixed(name: &str, g: &Graph) -> Graph {
    let known = Symbolic::of(g);
    let mut dims = recorded(name);
    dims.retain(|(n, _)| {
        known
            .0
            .iter()
            .any(|d| d.name.as_ref() == Some(n) || format!("{}:{}", d.input, d.axis) == *n)
    });
    let mut g = g.clone();
    if !dims.is_empty() {
        fix_dims(&mut g, &dims).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    g
}

/// The model with all its symbolic dimensions fixed, to 1 where nothing is recorded, and what that
/// leaves to be computed before it runs computed.
pub fn settled(name: &str, g: &Graph) -> Graph {
    let mut g = fixed(name, g);
    let left = Symbolic::of(&g).0;
    let one = |d: &SymbolicDim| (format!("{}:{}", d.input, d.axis), 1);
    let dims: Vec<(String, u64)> = left.iter().map(one).collect();
    fix_dims(&mut g, &dims).unwrap_or_else(|e| panic!("{name}: {e}"));
    optimise(&g, "simplify").0
}

/// Multiply-accumulates above which a model is left to the full run, `GRAPH_OPT_ALL_MODELS=1`: the
/// finite field takes a few nanoseconds for each.
const QUICK: u64 = 60_000_000;

pub fn is_quick(g: &Graph) -> bool {
    let c = cost(g);
    c.macs <= QUICK && c.unknown_macs == 0
}

/// All convolutions of every convolutional model, in 3 along h, in 2 x 2, and in 2 along c-out:
/// exact, bit-exact, and whole again. Symbolic dimensions take the extents that are recorded.
#[test]
fn tiled_models_are_bit_exact_and_whole_again() {
    let all = std::env::var("GRAPH_OPT_ALL_MODELS").is_ok_and(|v| v == "1");
    let (mut whole_again, mut checked, mut decided, mut left) = (0, 0, 0, Vec::new());
    for (name, original) in convolutional() {
        let g = fixed(&name, &original);
        let quick = is_quick(&g);
        for pipeline in [
            "tile-conv{axis=h parts=3 ops=conv}",
            "tile-conv{axis=hxw parts=2x2 ops=conv}",
            "tile-conv{axis=c-out parts=2 ops=conv}",
        ] {
            let (t, remarks) = optimise(&g, pipeline);
            let on_nodes = |o| remarks.iter().filter(move |r| r.outcome == o && !r.node.is_empty());
            let tiled = on_nodes(Outcome::Applied).count();
            let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
            for r in on_nodes(Outcome::Blocked) {
                *refused.entry(&r.message).or_default() += 1;
            }
            println!("{name}: {pipeline}: {tiled} tiled, refused {refused:?}");
            if t.edits() == g.edits() {
                continue;
            }
            let (back, _) = optimise(&t, "untile");
            assert!(
                structural_eq::identical(&g, &back),
                "{name}: {pipeline}: untile does not give back the graph"
            );
            whole_again += 1;
            if !quick && !all {
                left.push(name.clone());
                continue;
            }
            let cpu = Cpu::default();
            let c = Compare { backends: vec![&cpu], extents: extents(&name), ..Compare::default() };
            let r = c.run(&Arc::new(original.clone()), &Arc::new(t)).unwrap();
            let mut unknown = Vec::new();
            for o in &r.outputs {
                for v in &o.verdicts {
                    match v {
                        Verdict::Exact(_) | Verdict::BitExact(..) => {}
                        Verdict::Unknown(by, why) => unknown.push(format!("{by}: {why}")),
                        other => panic!("{name}: {pipeline}: {}: {other}", o.name),
                    }
                }
            }
            unknown.dedup();
            if !unknown.is_empty() {
                println!("{name}: {pipeline}: UNKNOWN {unknown:?}");
            }
            checked += 1;
            decided += usize::from(unknown.is_empty());
        }
    }
    left.dedup();
    println!(
        "{whole_again} whole again, {checked} compared, {decided} without an unknown; \
         left to GRAPH_OPT_ALL_MODELS=1: {left:?}"
    );
    at_least(123, whole_again, "tiled models whole again");
    at_least(31, checked, "tiled models compared");
    at_least(31, decided, "tiled models without an unknown verdict");
}

/// The same tiles on the GPU: equal bits, or close; a model that the backend refuses says why.
#[cfg(feature = "wgpu")]
#[test]
fn tiled_models_are_close_on_wgpu() {
    let Some(wgpu) = crate::support::wgpu() else { return };
    let all = std::env::var("GRAPH_OPT_ALL_MODELS").is_ok_and(|v| v == "1");
    let (mut close, mut refused) = (0, BTreeMap::new());
    for (name, original) in convolutional() {
        let g = fixed(&name, &original);
        let (t, _) = optimise(&g, "tile-conv{axis=hxw parts=2x2 ops=conv}");
        if t.edits() == g.edits() || !(all || is_quick(&g) && cost(&g).macs <= QUICK / 3) {
            continue;
        }
        // The field is the other test's.
        let c = Compare {
            exact: false,
            backends: vec![&wgpu],
            extents: extents(&name),
            ..Compare::default()
        };
        let r = c.run(&Arc::new(original.clone()), &Arc::new(t)).unwrap();
        for o in &r.outputs {
            for v in &o.verdicts {
                match v {
                    Verdict::Differs(..) => panic!("{name}: {}: {v}", o.name),
                    Verdict::Unknown(by, why) => {
                        refused.insert(name.clone(), format!("{by}: {why}"));
                    }
                    _ => {}
                }
            }
        }
        println!("{name}: {:?}", r.outputs[0].verdicts.last().map(ToString::to_string));
        close += usize::from(!refused.contains_key(&name));
    }
    println!("{close} models equal or close on wgpu; refused: {refused:#?}");
    at_least(5, close, "models equal or close on wgpu");
}

/// Simplified models give the same bits.
#[test]
fn simplified_models_are_bit_exact() {
    let (mut simplified, mut decided) = (0, 0);
    for (name, g) in convolutional() {
        let (s, _) = optimise(&g, "simplify");
        assert!(s.len() <= g.len(), "{name}: {} nodes became {}", g.len(), s.len());
        simplified += 1;
        if !is_quick(&g) {
            continue;
        }
        let cpu = Cpu::default();
        let c = Compare { backends: vec![&cpu], extents: extents(&name), ..Compare::default() };
        let r = c.run(&Arc::new(g.clone()), &Arc::new(s)).unwrap();
        let mut unknown = false;
        for o in &r.outputs {
            for v in &o.verdicts {
                let bad = matches!(v, Verdict::Differs(..) | Verdict::Close(..));
                assert!(!bad, "{name}: {}: {v}", o.name);
                unknown |= matches!(v, Verdict::Unknown(..));
            }
        }
        decided += usize::from(!unknown);
        println!(
            "{name}: {:?}",
            r.outputs[0].verdicts.iter().map(ToString::to_string).collect::<Vec<_>>()
        );
    }
    at_least(45, simplified, "models simplified");
    at_least(11, decided, "simplified models without an unknown verdict");
}

/// Shape and elements of a `.npy` file as NumPy writes it, if they are f32.
fn floats(mut file: impl std::io::Read) -> Option<(Vec<u64>, Vec<f32>)> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..end]).ok()?;
    let shape = header.split_once("'shape': (")?.1.split_once(')')?.0;
    let dims = shape.split(',').filter_map(|d| d.trim().parse().ok()).collect();
    let one = |c: &[u8]| f32::from_le_bytes(c.try_into().unwrap());
    header.contains("'<f4'").then(|| (dims, bytes[end..].chunks_exact(4).map(one).collect()))
}

/// Whether a node of the graph draws random numbers.
pub fn draws(g: &Graph) -> bool {
    g.any_node(&mut |g, n| g.node(n).op.is_random())
}

/// Recorded runs of ONNX Runtime are reproduced within 1e-4 of the largest element.
#[test]
fn recorded_runs_are_reproduced() {
    let Some(dir) = shared("models") else { return };
    let mut run = 0;
    for (name, g) in convolutional() {
        let Ok(file) = std::fs::File::open(dir.join(format!("{name}.io.npz"))) else { continue };
        if draws(&g) {
            println!("{name}: random numbers, which runtimes draw differently");
            continue;
        }
        let mut npz = zip::ZipArchive::new(file).unwrap();
        let mut array = |key: String| floats(npz.by_name(&format!("{key}.npy")).ok()?);
        let graph = Arc::new(g);
        let inputs: Option<Vec<_>> = graph_opt_backends::inputs::required(&graph)
            .iter()
            .map(|&v| {
                let (dims, data) = array(format!("in:{}", graph.value(v).name))?;
                graph_opt_ir::Tensor::f32s(&dims, &data).ok()
            })
            .collect();
        let Some(inputs) = inputs else { continue };
        let executable = match Cpu::default().prepare(graph.clone()) {
            Ok(e) => e,
            Err(e) => {
                println!("{name}: {e}");
                continue;
            }
        };
        let executable: Box<dyn Executable> = executable;
        let out = match executable.run(&inputs, graph.outputs()) {
            Ok(o) => o,
            Err(e) => {
                println!("{name}: {e}");
                continue;
            }
        };
        let mut compared = 0;
        for (&v, t) in graph.outputs().iter().zip(&out) {
            let value = &graph.value(v).name;
            let (Some((dims, want)), Some(got)) = (array(format!("out:{value}")), t.to_f32s())
            else {
                continue;
            };
            assert_eq!(dims, t.dims(), "{name}: {value}");
            let d = graph_opt_backends::tolerance::difference(&want, &got);
            // This one's answers are small differences: ONNX Runtime itself leaves its record by
            // 2.7e-4 when it optimises.
            let limit = if name.contains("selfie_segmentation") { 2.7e-4 } else { CLOSE };
            let near = !d.unlike && (d.relative() <= limit || d.is_close());
            assert!(near, "{name}: {value}: {d:?}");
            compared += 1;
        }
        run += usize::from(compared > 0);
    }
    println!("{run} recorded runs reproduced");
    at_least(33, run, "recorded runs reproduced");
}
