//! Block scaling: blocks of whole networks, what cutting leaves unchanged, fitting on data, and the command line.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::scale::{
    L1, Maker, Residual, Ridge, Unchanged, Variant, in_order, size, values, variants,
};
use graph_opt_backends::{Executable, zoo};
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::verify::verify;
use graph_opt_ir::{
    DType, Edit, Editor, Graph, Ref, Tensor, ValueId, infer, onnx, region, structural_eq,
};
use graph_opt_passes::blocks::{Block, Coupled, Extractor, Stretches, coupled, cut, splice};

use crate::support::{optimise, snapshots};

const CLEAN: &str = "fixpoint(simplify,fuse-pad,drop-zero-add,fold-batch-norm,fuse-matmul-add)";
const TRAINED: [&str; 4] = ["resnet", "mobilenet", "unet", "autoencoder"];

fn network(name: &str) -> Graph {
    optimise(&zoo::build(name).unwrap(), CLEAN).0
}

fn trained(name: &str) -> Graph {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/blocks/{name}.onnx"));
    let imported = onnx::load(file).unwrap();
    let mut graph = imported.graph;
    infer::infer_graph(&mut graph, &imported.declared).unwrap();
    optimise(&graph, CLEAN).0
}

fn blocks(graph: &Graph) -> Vec<Block> {
    Stretches::default().blocks(graph)
}

#[test]
fn whole_networks_have_the_blocks_that_they_should() {
    // Residual blocks of ResNet, and LegoDNN's eight; every layer of a dense block; all levels of a U-Net; MLPs
    // with the heads of the attention that follows.
    let expected: [(&str, usize); 6] = [
        ("resnet18@64x64", 8),
        ("mobilenetv2@64x64", 11),
        ("densenet121@64x64", 58),
        ("unet@64x64", 9),
        ("inception-v1@64x64", 12),
        ("yolov2@64x64", 8),
    ];
    for (name, count) in expected {
        let graph = network(name);
        let blocks = blocks(&graph);
        let found: Vec<&str> = blocks.iter().map(|b| &*b.name).collect();
        assert_eq!(blocks.len(), count, "{name}: {found:?}");
        let mut seen = std::collections::BTreeSet::new();
        for b in &blocks {
            assert!(b.nodes.iter().all(|n| seen.insert(*n)), "{name}: {} overlaps", b.name);
            assert_eq!(Block::between(&graph, b.input, b.output).as_ref(), Some(b));
        }
    }
}

/// Gives every reader zeros in place of the coefficients of units that do not stay.
fn silenced(graph: &Graph, group: &Coupled, keep: &[bool]) -> Graph {
    let mut out = graph.clone();
    for r in &group.readers {
        let v = out.node(r.node).inputs[r.weights].unwrap();
        let units = group.axes.iter().find(|a| (a.value, a.axis) == (v, r.weights_axis)).unwrap();
        let t = out.constant(v).unwrap();
        let mut numbers = t.to_f32s().unwrap();
        let inner: u64 = t.dims()[r.weights_axis + 1..].iter().product();
        for (i, x) in numbers.iter_mut().enumerate() {
            let at = i as u64 / inner % t.dims()[r.weights_axis];
            if units.unit[at as usize].is_some_and(|u| !keep[u]) {
                *x = 0.0;
            }
        }
        let mut edit = Edit::new("silence");
        let new = Tensor::f32s(t.dims(), &numbers).unwrap();
        edit.consts.push((out.value(v).name.to_string(), Arc::new(new)));
        edit.replaces.push((v, Ref::Const(0)));
        Editor::new(&mut out).apply(&edit).unwrap();
    }
    out
}

fn run(graph: &Graph, input: &Tensor) -> Vec<Vec<f32>> {
    let prepared = Cpu::default().prepared(Arc::new(graph.clone())).unwrap();
    let all = prepared.run(std::slice::from_ref(input), graph.outputs()).unwrap();
    all.iter().map(|t| t.to_f32s().unwrap()).collect()
}

/// An input for the graph, with batches of two where it takes any.
fn input(graph: &Graph, v: ValueId, seed: u64) -> Tensor {
    let dims: Vec<u64> =
        graph.value(v).ty.dims().unwrap().iter().map(|d| d.known().unwrap_or(2)).collect();
    Tensor::random(DType::F32, &dims, seed).unwrap()
}

/// Units whose coefficients are zero in all layers that read them can go without a change, bit for bit: so what
/// goes belongs together, in every block of every network.
#[test]
fn removing_what_nothing_reads_changes_nothing() {
    let mut graphs: Vec<(String, Graph)> =
        TRAINED.iter().map(|n| ((*n).to_owned(), trained(n))).collect();
    for name in ["resnet18@64x64", "densenet121@32x32", "inception-v1@64x64", "unet@32x32"] {
        graphs.push((name.to_owned(), network(name)));
    }
    let mut checked = 0;
    for (name, graph) in &graphs {
        // A few of the many alike blocks of a dense network are enough.
        for block in blocks(graph).iter().take(12) {
            let part = block.part(graph).unwrap();
            for (g, group) in coupled(&part).iter().enumerate() {
                if !group.unfitted.is_empty() {
                    continue;
                }
                let mut keep: Vec<bool> = (0..group.units).map(|u| (u * 7 + g) % 3 != 0).collect();
                group.cover(&mut keep, &Vec::from_iter(0..group.units));
                let quiet = silenced(&part, group, &keep);
                // Coefficients are other constants now, so the channels are found again.
                let again = coupled(&quiet).into_iter().find(|c| c.origin == group.origin).unwrap();
                assert_eq!(again.units, group.units);
                let mut smaller = quiet.clone();
                cut(&mut smaller, &again, &keep).unwrap();
                verify(&smaller).unwrap();
                let x = input(&part, part.inputs()[0], 11);
                let (a, b) = (run(&quiet, &x), run(&smaller, &x));
                assert_eq!(a, b, "{name}, {}, set {g}", block.name);
                assert!(size(&smaller).parameters < size(&quiet).parameters);
                checked += 1;
            }
        }
    }
    assert!(checked > 60, "{checked} sets only");
}

/// Three-dimensional convolutions, a transposed one, groups and PRelu.
#[test]
fn small_networks_of_other_kinds_have_blocks() {
    let graph = graph_opt_ir::text::parse(
        "graph @video(%x: f32[1,2,4,8,8]) -> (%y) opset 13 {
           %w1 = const random(1)     : f32[8,2,3,3,3]
           %w2 = const random(2)     : f32[8,2,1,1,1]
           %s  = const random(3)     : f32[8,1,1,1]
           %w3 = const random(4)     : f32[8,3,1,2,2]
           %a  = Conv %x, %w1 {pads=[1,1,1,1,1,1]} : f32[1,8,4,8,8] ; a
           %b  = Conv %a, %w2 {group=4} : f32[1,8,4,8,8] ; b
           %c  = PRelu %b, %s        : f32[1,8,4,8,8]
           %y  = ConvTranspose %c, %w3 {strides=[1,2,2]} : f32[1,3,4,16,16] ; y
         }",
    )
    .unwrap();
    let blocks = Stretches { max_share: 1.0 }.blocks(&graph);
    assert_eq!(blocks.len(), 1);
    // Whole groups go, two channels each.
    assert_eq!(blocks[0].units, [4]);
    let mut part = blocks[0].part(&graph).unwrap();
    let group = coupled(&part).remove(0);
    cut(&mut part, &group, &[true, false, true, false]).unwrap();
    let grouped = part.schedule().find(|&n| part.label(n) == "b").unwrap();
    assert!(region::relations(&OpCtx::of(&part, grouped), 0).is_ok());
    snapshots("half of the groups of a grouped convolution, removed with what belongs to them")
        .bind(|| insta::assert_snapshot!("blocks_cut_groups", graph_opt_ir::text::print(&part)));
    let mut whole = graph.clone();
    splice(&mut whole, &blocks[0], &part).unwrap();
    verify(&whole).unwrap();
    assert!(!structural_eq::identical(&whole, &graph));
}

fn data(graph: &Graph, seeds: std::ops::Range<u64>) -> Vec<Vec<Tensor>> {
    let one = |seed| graph.inputs().iter().map(|&v| input(graph, v, seed)).collect();
    seeds.map(one).collect()
}

/// Relative distance of outputs.
fn distance(a: &[Vec<Tensor>], b: &[Vec<Tensor>]) -> f64 {
    let (mut off, mut all) = (0.0, 0.0);
    for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
        for (x, y) in a.to_f32s().unwrap().iter().zip(b.to_f32s().unwrap()) {
            off += f64::from(x - y).powi(2);
            all += f64::from(*x).powi(2);
        }
    }
    (off / all).sqrt()
}

/// On inputs apart from those of the fit: refitting brings outputs nearer, and the residual chooses no worse than
/// L1 on the data that it sees.
#[test]
fn fitted_variants_are_nearer_to_the_original() {
    for name in TRAINED {
        let graph = trained(name);
        let blocks = blocks(&graph);
        let (fit, apart) = (data(&graph, 0..24), data(&graph, 100..108));
        let ridge = Ridge::default();
        let pruned = Maker { selector: &L1, refitter: &Unchanged };
        let l1 = Maker { selector: &L1, refitter: &ridge };
        let residual = Maker { selector: &Residual, refitter: &ridge };
        let whole = values(&graph, &apart, graph.outputs()).unwrap();
        let off = |maker: &Maker<'_>| {
            let all = vec![Some(0.5); blocks.len()];
            let (smaller, made) = in_order(&graph, &blocks, &all, maker, &fit).unwrap();
            verify(&smaller).unwrap();
            assert!(size(&smaller).parameters < size(&graph).parameters);
            assert!(made.iter().flatten().all(|v| v.unfitted.is_empty()));
            distance(&whole, &values(&smaller, &apart, smaller.outputs()).unwrap())
        };
        let (a, b, c) = (off(&pruned), off(&l1), off(&residual));
        println!("{name}: pruned {a:.3}, L1 and fitted {b:.3}, residual and fitted {c:.3}");
        assert!(b < a && c < a, "{name}: {a} {b} {c}");
        // By themselves, the last layers of a block lose no more with the residual than with L1.
        let lost = |v: &Variant| v.fitted.last().map_or(0.0, |f| f.1);
        let block = &blocks[blocks.len() - 1];
        let by = |m: &Maker<'_>| lost(&variants(&graph, block, &[0.5], m, &fit).unwrap()[0]);
        assert!(by(&residual) <= by(&l1) * 1.02, "{name}: {} {}", by(&residual), by(&l1));
    }
}

/// A channel that repeats another goes at sparsity 0, and nothing is lost.
#[test]
fn channels_that_others_replace_go_first() {
    let text = |b: &str| {
        format!(
            "graph @g(%x: f32[4,3,16,16]) -> (%y) opset 13 {{
               %w1 = const random(1)     : f32[4,3,3,3]
               %w2 = const {b}           : f32[6,4,1,1]
               %w3 = const random(3)     : f32[5,6,3,3]
               %a  = Conv %x, %w1        : f32[4,4,14,14]
               %r  = Relu %a             : f32[4,4,14,14]
               %b  = Conv %r, %w2        : f32[4,6,14,14] ; b
               %y  = Conv %b, %w3        : f32[4,5,12,12] ; y
             }}"
        )
    };
    // Rows 4 and 5: twice the first, and the sum of the second and third.
    let rows = "[1,0,0,2, 0,1,1,0, 3,0,1,0, 0,1,0,1, 2,0,0,4, 3,1,2,0]";
    let graph = graph_opt_ir::text::parse(&text(rows)).unwrap();
    let fit = data(&graph, 0..24);
    let ridge = Ridge::default();
    let maker = Maker { selector: &Residual, refitter: &ridge };
    let whole = Stretches { max_share: 1.0 }.blocks(&graph);
    let made = variants(&graph, &whole[0], &[0.0], &maker, &fit).unwrap().remove(0);
    assert_eq!(made.units, [4, 4]);
    let mut smaller = graph.clone();
    splice(&mut smaller, &whole[0], &made.graph).unwrap();
    let apart = data(&graph, 50..52);
    let outputs = |g: &Graph| values(g, &apart, g.outputs()).unwrap();
    let off = distance(&outputs(&graph), &outputs(&smaller));
    assert!(off < 1e-4, "{off}");
}

fn graph_opt(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_graph-opt")).args(args).output().unwrap()
}

fn text(o: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr))
}

/// Writes an array of f32 as `.npy`.
fn npy(path: &Path, t: &Tensor) {
    let dims: Vec<String> = t.dims().iter().map(u64::to_string).collect();
    let mut head =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}", dims.join(", "));
    while (head.len() + 11) % 64 != 0 {
        head.push(' ');
    }
    head.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((head.len() as u16).to_le_bytes());
    bytes.extend(head.as_bytes());
    bytes.extend_from_slice(&t.bytes().unwrap());
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn blocks_and_scale_as_a_user_runs_them() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n).to_str().unwrap().to_owned();
    std::fs::create_dir(at("data")).unwrap();
    let x = Tensor::random(DType::F32, &[12, 1, 28, 28], 3).unwrap();
    npy(Path::new(&at("data/x.npy")), &x);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/blocks/resnet.onnx");
    let model = model.to_str().unwrap();
    let o = graph_opt(&["blocks", model]);
    assert!(o.status.success() && text(&o).contains("5 blocks"), "{}", text(&o));
    let (data, made, small) = (at("data"), at("made"), at("small.onnx"));
    let o = graph_opt(&["blocks", model, "--data", &data, "-o", &made, "--sparsities", "0.4,0.8"]);
    assert!(o.status.success(), "{}", text(&o));
    // A folder is not written over.
    let o = graph_opt(&["blocks", model, "--data", &data, "-o", &made]);
    assert_eq!(o.status.code(), Some(2), "{}", text(&o));
    let o = graph_opt(&["scale", &made, "--macs", "6000000", "--data", &data, "-o", &small]);
    assert!(o.status.success(), "{}", text(&o));
    let imported = onnx::load(&small).unwrap();
    let mut graph = imported.graph;
    infer::infer_graph(&mut graph, &imported.declared).unwrap();
    let one = optimise(&graph, "").0;
    assert_eq!(one.value(one.inputs()[0]).name.as_ref(), "x");
    let o = graph_opt(&["scale", &made, "--model-size", "10KiB", "-o", &at("none.onnx")]);
    assert_eq!(o.status.code(), Some(4), "{}", text(&o));
    assert!(text(&o).contains("least"), "{}", text(&o));
    assert!(!Path::new(&at("none.onnx")).exists());
    let o = graph_opt(&["scale", &made, "--front", &at("front.json")]);
    assert!(o.status.success() && Path::new(&at("front.svg")).exists(), "{}", text(&o));
    let o = graph_opt(&["scale", &made, "--sparsity", "0.5", "-o", &small]);
    assert_eq!(o.status.code(), Some(2));
    assert!(text(&o).contains("0.4, 0.8"), "{}", text(&o));
    // Served for a moment, without a load.
    std::fs::write(at("load.txt"), "0 0\n0.5 0\n").unwrap();
    let script = at("load.txt");
    let o = graph_opt(&[
        "scale",
        &made,
        "--latency",
        "10s",
        "--data",
        &data,
        "--serve",
        &script,
        "--log",
        &at("log.json"),
    ]);
    assert!(o.status.success() && text(&o).contains("frames"), "{}", text(&o));
    // A manifest that points elsewhere.
    let manifest = Path::new(&made).join("blocks.json");
    let old = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, old.replace("00-s0.4.onnx", "../small.onnx")).unwrap();
    let o = graph_opt(&["scale", &made, "--sparsity", "0.4", "-o", &at("x.onnx")]);
    assert_eq!(o.status.code(), Some(2), "{}", text(&o));
    std::fs::write(&manifest, "{}").unwrap();
    let o = graph_opt(&["scale", &made, "--sparsity", "0.4", "-o", &at("x.onnx")]);
    assert_eq!(o.status.code(), Some(2), "{}", text(&o));
}

/// A folder of blocks of a trained network, fitted to random samples of these extents.
struct Made {
    dir: tempfile::TempDir,
    samples: Tensor,
}

impl Made {
    fn new(name: &str, dims: &[u64], sparsities: &str, more: &[&str]) -> Self {
        let made = Self {
            dir: tempfile::tempdir().unwrap(),
            samples: Tensor::random(DType::F32, dims, 3).unwrap(),
        };
        std::fs::create_dir(made.at("data")).unwrap();
        npy(Path::new(&made.at("data/x.npy")), &made.samples);
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/blocks");
        let model = model.join(format!("{name}.onnx"));
        let (data, to) = (made.at("data"), made.at("blocks"));
        let mut args = vec!["blocks", model.to_str().unwrap(), "--data", &data, "-o", &to];
        args.extend(["--sparsities", sparsities]);
        args.extend(more);
        let o = graph_opt(&args);
        assert!(o.status.success(), "{}", text(&o));
        made
    }

    fn at(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn scale(&self, args: &[&str]) -> Output {
        let blocks = self.at("blocks");
        graph_opt(&[&["scale", &blocks], args].concat())
    }

    fn manifest(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.at("blocks/blocks.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn graph(&self, file: &str) -> Graph {
        let imported = onnx::load(self.at(file)).unwrap();
        let mut graph = imported.graph;
        infer::infer_graph(&mut graph, &imported.declared).unwrap();
        graph
    }
}

fn refused(o: &Output) -> bool {
    !o.status.success() && !text(o).contains("panicked") && text(o).contains("limits")
}

/// A budget that neither tiles nor smaller blocks keep, and that both together do.
#[test]
fn tiles_and_variants_keep_a_budget_together() {
    let made = Made::new("unet", &[4, 1, 32, 32], "0.6", &["--selector", "l1", "--no-refit"]);
    let (budget, small) = ("120KiB", made.at("small.onnx"));
    let model = made.at("blocks/model.onnx");
    let o =
        graph_opt(&["opt", &model, "--dim", "N=1", "--fix-dims", "--memory", budget, "-o", &small]);
    assert!(!o.status.success() && text(&o).contains("does not fit"), "{}", text(&o));
    let o = made.scale(&["--memory", budget, "--no-tiles", "-o", &small]);
    assert!(refused(&o), "{}", text(&o));
    assert!(!Path::new(&small).exists());
    let o = made.scale(&["--memory", budget, "-o", &small]);
    assert!(o.status.success(), "{}", text(&o));
    let peak = graph_opt_passes::analysis::peak(&made.graph("small.onnx")).unwrap().peak;
    assert!(peak <= 120 << 10, "{peak}");
}

/// With all combinations measured, the choice is the best of those that keep the limit.
#[test]
fn the_choice_is_the_best_of_all_combinations() {
    let made = Made::new("autoencoder", &[8, 1, 28, 28], "0.5", &[]);
    let (data, small) = (made.at("data"), made.at("small.onnx"));
    let manifest = made.manifest();
    let macs = |v: &serde_json::Value| v["macs"].as_u64().unwrap();
    let whole = macs(&manifest["model"]);
    let limit = whole * 7 / 10;
    let combinations = ["--macs", &limit.to_string(), "--combinations", "1000", "--measure", &data];
    let o = made.scale(&[&combinations[..], &["-o", &small]].concat());
    assert!(o.status.success(), "{}", text(&o));
    // The same by hand.
    let graph = made.graph("blocks/model.onnx");
    let blocks = manifest["blocks"].as_array().unwrap();
    let found: Vec<Block> = blocks
        .iter()
        .map(|b| {
            let value = |key: &str| graph.find_value(b[key].as_str().unwrap()).unwrap();
            Block::between(&graph, value("input"), value("output")).unwrap()
        })
        .collect();
    let inputs = vec![vec![made.samples.clone()]];
    let outputs = |g: &Graph| values(g, &inputs, g.outputs()).unwrap();
    let wanted = outputs(&graph);
    let mut best: Option<f64> = None;
    let all = 1 << blocks.len();
    assert!((8..=256).contains(&all), "{all} combinations");
    for picks in 0..all {
        let mut network = graph.clone();
        let mut work = whole;
        for (b, entry) in blocks.iter().enumerate().filter(|(b, _)| picks >> b & 1 == 1) {
            let variant = &entry["variants"][1];
            let file = format!("blocks/{}", variant["file"].as_str().unwrap());
            splice(&mut network, &found[b], &made.graph(&file)).unwrap();
            work -= macs(&entry["variants"][0]) - macs(variant);
        }
        if work <= limit {
            let off = distance(&wanted, &outputs(&network));
            best = Some(best.map_or(off, |b| b.min(off)));
        }
    }
    let off = distance(&wanted, &outputs(&made.graph("small.onnx")));
    let best = best.unwrap();
    assert!(off <= best * 1.0001, "{off} is not the best, {best}; {}", text(&o));
    assert!(text(&o).contains(&format!("{all} combinations measured")), "{}", text(&o));
}

/// New sparsities around a choice, and variants for a cluster.
#[test]
fn choices_are_refined_and_planned_over_devices() {
    let made = Made::new("resnet", &[8, 1, 28, 28], "0.4,0.8", &["--selector", "l1"]);
    let (data, small) = (made.at("data"), made.at("small.onnx"));
    let before = made.manifest()["blocks"].clone();
    let o = made.scale(&["--macs", "6000000", "--refine", "1", "--fit", &data, "--measure", &data]);
    assert!(o.status.success(), "{}", text(&o));
    let after = made.manifest()["blocks"].clone();
    let count = |blocks: &serde_json::Value| -> usize {
        blocks.as_array().unwrap().iter().map(|b| b["variants"].as_array().unwrap().len()).sum()
    };
    assert!(count(&after) > count(&before), "{}", text(&o));

    let cluster = made.at("cluster.toml");
    std::fs::write(
        &cluster,
        "source = \"a\"
         [[device]]
         name = \"a\"
         memory = \"2MiB\"
         macs-per-second = 1e9
         watts = 2
         [[device]]
         name = \"b\"
         memory = \"2MiB\"
         macs-per-second = 1e9
         watts = 2
         [default-link]
         bandwidth = \"100Mbit/s\"
         latency = \"1ms\"",
    )
    .unwrap();
    let o = made.scale(&["--cluster", &cluster, "--latency", "7ms", "-o", &small]);
    assert!(o.status.success() && text(&o).contains("latency"), "{}", text(&o));
    let plan = graph_opt(&["plan", &small, "--cluster", &cluster, "--max-latency", "7ms"]);
    // The file is for any number of samples; the plan is for one.
    let one = made.at("one.onnx");
    let fix = graph_opt(&["opt", &small, "-p", "", "--dim", "N=1", "--fix-dims", "-o", &one]);
    let plan = if fix.status.success() {
        graph_opt(&["plan", &one, "--cluster", &cluster, "--max-latency", "7ms"])
    } else {
        plan
    };
    assert!(plan.status.success(), "{}{}", text(&fix), text(&plan));
    let o = made.scale(&["--cluster", &cluster, "--energy", "0.000001", "-o", &small]);
    assert!(refused(&o) && text(&o).contains("on the cluster"), "{}", text(&o));
    let front = made.at("front.json");
    let o = made.scale(&["--cluster", &cluster, "--front", &front, "--points", "6"]);
    assert!(o.status.success(), "{}", text(&o));
    let front: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(front).unwrap()).unwrap();
    let choices = front["choices"].as_array().unwrap();
    assert!(
        choices.len() > 2 && choices.iter().all(|c| c["plan"]["latency"].as_f64().unwrap() > 0.0)
    );
}
