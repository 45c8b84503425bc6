//! Networks over devices: what is planned is what the stages take, send and compute.

use std::sync::Arc;

use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::{Extents, draw};
use graph_opt_backends::stages::{Stages, Values};
use graph_opt_backends::{Backend, zoo};
use graph_opt_ir::{Graph, Tensor, ValueId};
use graph_opt_passes::analysis::cost;
use graph_opt_passes::devices::cluster::Cluster;
use graph_opt_passes::devices::files::{Manifest, PartFile, PlanFile, Timeline};
use graph_opt_passes::devices::graph::{
    Network, PlanRequest, PlanningError, choose_plan, pipeline,
};
use graph_opt_passes::devices::{Effort, NoPlan, Objective};
use graph_opt_passes::eqsat::prove::prove;

use crate::support::{compare, is_bit_exact, optimise};

/// Three devices of which none holds ResNet-18 alone.
const CLUSTER: &str = r#"
    source = "camera"
    [[device]]
    name = "camera"
    memory = "16MiB"
    macs-per-second = 1.5e9
    per-node = "20us"
    watts = 4
    [[device]]
    name = "box"
    memory = "24MiB"
    macs-per-second = 4e9
    mode = [{ name = "fast", speed = 1, watts = 10 }, { name = "slow", speed = 0.5, watts = 4 }]
    [[device]]
    name = "server"
    memory = "40MiB"
    macs-per-second = 2e10
    watts = 60
    [default-link]
    bandwidth = "100Mbit/s"
    latency = "1ms"
    watts = 1.2
"#;

/// Devices of so much memory each, and such links between all of them.
pub fn alike(devices: usize, memory: &str, link: &str) -> Cluster {
    let mut text = format!("[default-link]\n{link}\n");
    for d in 0..devices {
        text.push_str(&format!(
            "[[device]]\nname = \"d{d}\"\nmemory = \"{memory}\"\nmacs-per-second = 1e10\n"
        ));
    }
    Cluster::parse(&text).unwrap()
}

/// A plan, by any means that `graph-opt plan` tries.
pub fn plan_of(g: &Graph, cluster: &Cluster, request: &PlanRequest, tiles: bool) -> PlanFile {
    let (network, none) = (Network::of(g).unwrap(), vec![None; cluster.devices.len()]);
    choose_plan(g, &network, cluster, &none, request, tiles, &Effort::default()).unwrap()
}

fn planned(g: &Graph, cluster: &str, objective: Objective) -> Result<PlanFile, PlanningError> {
    let cluster = Cluster::parse(cluster).unwrap();
    let network = Network::of(g).unwrap();
    let costs = network.costs(&cluster);
    let request = PlanRequest { objective, ..PlanRequest::default() };
    Ok(pipeline(g, &network, &cluster, &costs, &request, &Effort::default())?.1)
}

/// The manifest of a plan, and the graphs of its parts.
pub fn manifest(g: &Graph, rewritten: &Graph, plan: PlanFile) -> (Manifest, Vec<Arc<Graph>>) {
    let nodes = graph_opt_passes::analysis::plan(rewritten).unwrap().steps;
    let split = plan.split(rewritten, &nodes).unwrap();
    let graphs: Vec<Arc<Graph>> =
        (0..split.parts.len()).map(|i| Arc::new(split.graph(rewritten, i).unwrap())).collect();
    let names = |g: &Graph, all: &[ValueId]| -> Vec<String> {
        all.iter().map(|&v| g.value(v).name.to_string()).collect()
    };
    let part = |(i, p): (usize, &Arc<Graph>)| PartFile::of(format!("stage{i}.onnx"), p);
    let m = Manifest {
        version: 1,
        plan,
        inputs: names(g, g.inputs()),
        outputs: names(g, g.outputs()),
        stages: graphs.iter().enumerate().map(part).collect(),
    };
    (m, graphs)
}

/// Runs the parts of a plan of a graph for some frames: they give the bits of the model, receive the
/// bytes and hold the memory that the plan says.
pub fn check_parts(g: &Graph, rewritten: &Graph, file: PlanFile, what: &str) {
    let (manifest, graphs) = manifest(g, rewritten, file.clone());
    let inputs = draw(g, &Extents::default(), 3).unwrap();
    let whole = Cpu::default().prepare(Arc::new(g.clone())).unwrap();
    let want = whole.run(&inputs, g.outputs()).unwrap();
    let named = |(&v, t): (&ValueId, &Tensor)| (g.value(v).name.to_string(), t.clone());
    let mut stages = Stages::new(manifest, graphs, &Cpu::default()).unwrap();
    let required = graph_opt_backends::inputs::required(g);
    let given: Values = required.iter().zip(&inputs).map(named).collect();
    for _ in 0..2 {
        let got = stages.run(&given).unwrap();
        assert_eq!(got, g.outputs().iter().zip(&want).map(named).collect(), "{what}");
    }
    for (i, row) in file.stages.iter().enumerate() {
        let planned: u64 = row.receives.iter().map(|r| r.bytes).sum();
        assert_eq!(stages.received()[i], 2 * planned, "{what}: part {i}");
        assert_eq!(stages.held()[i], row.memory_bytes, "{what}: part {i}");
    }
}

/// Every objective on several networks, skips over cuts included: the stages together give the bits
/// of the whole; what each receives and holds is what the plan says, and the clock keeps to it.
#[test]
fn stages_take_what_was_planned() {
    let mut several = 0;
    for network in ["resnet18@64x64", "mobilenetv2@64x64", "unet@64x64", "densenet121@64x64"] {
        let g = zoo::build(network).unwrap();
        // The weights do not fit on one device.
        let room = cost(&g).constant_bytes / 2 + (8 << 20);
        let cluster = CLUSTER.replace("16MiB", &format!("{room}B"));
        let cluster = cluster.replace("24MiB", &format!("{room}B"));
        let cluster = cluster.replace("40MiB", &format!("{room}B"));
        for objective in Objective::ALL {
            let file = planned(&g, &cluster, objective).unwrap();
            several += usize::from(file.stages.len() > 1);
            let sum: f64 = (file.stages.iter())
                .map(|s| s.compute_s + s.receives.iter().map(|r| r.seconds).sum::<f64>())
                .sum();
            assert!((file.latency_s / sum - 1.0).abs() < 1e-9, "{network} {objective:?}");
            if objective == Objective::Interval {
                assert!((file.interval_s / file.value - 1.0).abs() < 1e-9, "{network}");
                let timeline = Timeline::of(&file, 12);
                assert!((timeline.interval() / file.value - 1.0).abs() < 1e-9, "{network}");
            }
            check_parts(&g, &g, file, &format!("{network} {objective:?}"));
        }
    }
    assert!(several >= 12, "{several} plans of several stages");
}

/// The stages in one graph: every value that crosses goes through one Transfer; proved, and the same
/// bits.
#[test]
fn splits_are_proved() {
    for network in ["resnet18@64x64", "inception-v1@64x64", "unet@64x64", "mobilenetv2@64x64"] {
        let g = zoo::build(network).unwrap();
        let labels: Vec<&str> = g.schedule().map(|n| g.label(n)).collect();
        let (a, b) = (labels[labels.len() / 3], labels[2 * labels.len() / 3]);
        let pipeline = format!("split-devices{{stages=[{}:x,{a}:y,{b}:z]}}", labels[0]);
        let (split, remarks) = optimise(&g, &pipeline);
        let n = Network::of(&g).unwrap();
        let crossing = |cut: usize| n.crossing[cut].len();
        let cuts = crossing(labels.len() / 3) + crossing(2 * labels.len() / 3);
        let moved = split.schedule().filter(|&n| split.node(n).op.name() == "Transfer").count();
        println!("{network}: {moved} transfers; {}", remarks[0]);
        assert_eq!(moved, cuts, "{network}");
        let proof = prove(&g, &split).unwrap();
        assert!(!proof.reassociates);
        assert!(is_bit_exact(&compare(&g, &split)));
    }
}

/// Throughput where all links are one medium: the plan's rate is what it carries or what devices
/// compute, and nobody's plan is better.
#[test]
fn throughput_over_a_medium() {
    let g = zoo::build("resnet18@64x64").unwrap();
    let cluster = |rate: &str, medium: &str| {
        let link = format!("bandwidth = \"{rate}\"{medium}");
        CLUSTER.replace("bandwidth = \"100Mbit/s\"", &link)
    };
    let mut several = 0;
    for rate in ["2Mbit/s", "20Mbit/s", "200Mbit/s"] {
        let room = |text: String| text.replace("16MiB", "40MiB").replace("24MiB", "40MiB");
        let own = planned(&g, &room(cluster(rate, "")), Objective::Interval).unwrap();
        let wifi = room(cluster(rate, "\nmedium = \"wifi\""));
        let shared = planned(&g, &wifi, Objective::Interval).unwrap();
        let carried: f64 = shared.stages.iter().flat_map(|s| &s.receives).map(|r| r.seconds).sum();
        // The last frames are sooner: nothing comes after them.
        let timeline = Timeline::of(&shared, 200);
        println!(
            "{rate}: {} stages, a frame every {:.2} ms (clock {:.2}), {:.2} over the medium; \
             links of their own {:.2}",
            shared.stages.len(),
            shared.interval_s * 1e3,
            timeline.interval() * 1e3,
            carried * 1e3,
            own.interval_s * 1e3
        );
        several += usize::from(shared.stages.len() > 1);
        assert!(shared.proved && (shared.interval_s / shared.value - 1.0).abs() < 1e-9);
        assert!(carried <= shared.value * (1.0 + 1e-9) && own.value <= shared.value);
        assert!((timeline.interval() / shared.value - 1.0).abs() < 0.02, "{rate}");
        check_parts(&g, &g, shared, rate);
    }
    assert!(several > 0);
}

/// Layers larger than every device: in shares of their output channels they fit.
#[test]
fn large_layers_in_shares() {
    let g = zoo::build("vgg16@96x96").unwrap();
    let cluster = alike(40, "32MiB", "bandwidth = \"1Gbit/s\"");
    let request = PlanRequest { objective: Objective::Interval, ..PlanRequest::default() };
    let network = Network::of(&g).unwrap();
    let costs = network.costs(&cluster);
    let alone = pipeline(&g, &network, &cluster, &costs, &request, &Effort::default());
    assert!(matches!(alone, Err(PlanningError::NoPlan(NoPlan::Infeasible(_)))));
    let file = plan_of(&g, &cluster, &request, false);
    assert!(file.rewrite.contains("grid="), "{}", file.rewrite);
    assert!(file.stages.iter().all(|s| s.memory_bytes <= 32 << 20));
    println!(
        "vgg16 on 32 MiB each: {} stages, a frame every {:.2} ms, {}",
        file.stages.len(),
        file.interval_s * 1e3,
        file.rewrite
    );
    let (shared, _) = optimise(&g, &file.rewrite);
    check_parts(&g, &shared, file, "vgg16 in shares");
}

/// Real models, one of them with its initializers among the inputs: every objective, and tiles.
#[test]
fn real_models_in_parts() {
    let mut seen = 0;
    for name in [
        "Kazuhito00+MOT-Tracking-by-Detection-Pipeline__nanodet_m_320.onnx",
        "alrevuelta+cONNXr__mnist8.onnx",
        "ShiqiYu+libfacedetection.train__yunet_n_320_320.onnx",
        "dog-qiuqiu+FastestDet__FastestDet.onnx",
    ] {
        let Some(path) = crate::support::shared(&format!("models/{name}")) else { return };
        let g = crate::support::load(&path);
        let cluster = Cluster::parse(CLUSTER).unwrap();
        for objective in [Objective::Interval, Objective::Latency] {
            // Each device has a third of the nodes.
            let n = Network::of(&g).unwrap();
            let pin = |u: usize| match 3 * u % n.nodes.len() < 3 && n.nodes.len() > 3 {
                true => Some((3 * u / n.nodes.len()).min(2)),
                false => None,
            };
            let pins = (0..n.nodes.len()).map(pin).collect();
            let request = PlanRequest { objective, pins, ..PlanRequest::default() };
            let file = plan_of(&g, &cluster, &request, false);
            seen += usize::from(file.stages.len() == 3);
            check_parts(&g, &g, file, name);
        }
        let request = PlanRequest::default();
        let file = plan_of(&g, &cluster, &request, true);
        let (rewritten, _) = match file.rewrite.is_empty() {
            true => (g.clone(), Vec::new()),
            false => optimise(&g, &file.rewrite),
        };
        check_parts(&g, &rewritten, file, name);
    }
    assert!(seen >= 6, "{seen} plans of three stages");
}

/// ResNet-50 over 50 devices at random places.
#[test]
fn many_devices() {
    let g = zoo::build("resnet50").unwrap();
    let mut cluster = alike(50, "64MiB", "bandwidth = \"1Mbit/s\"");
    cluster.links = crate::devices_seifer::links(1);
    for objective in Objective::ALL {
        let request = PlanRequest { objective, ..PlanRequest::default() };
        let start = std::time::Instant::now();
        let file = plan_of(&g, &cluster, &request, false);
        println!(
            "resnet50 over 50 devices, {}: {} stages, gap {:.4} %, {:.2?}",
            file.objective,
            file.stages.len(),
            file.gap * 100.0,
            start.elapsed()
        );
        assert!(file.bound <= file.value && file.gap < 0.05);
    }
}

/// What does not fit is refused with what would have to give.
#[test]
fn what_does_not_fit_is_explained() {
    let g = zoo::build("vgg16@64x64").unwrap();
    let e = planned(&g, CLUSTER, Objective::Latency).unwrap_err().to_string();
    // Its weights are 528 MiB, which all devices together have not.
    assert!(e.contains("weights take 527.79 MiB"), "{e}");
    println!("{e}");
}

/// A plan is one of its model.
#[test]
fn plans_of_other_models_are_refused() {
    let g = zoo::build("resnet18@64x64").unwrap();
    let nodes = |g: &Graph| graph_opt_passes::analysis::plan(g).unwrap().steps;
    let mut file = planned(&g, CLUSTER, Objective::Memory).unwrap();
    assert!(file.split(&g, &nodes(&g)).is_ok());
    let other = zoo::build("mobilenetv2@64x64").unwrap();
    let e = file.split(&other, &nodes(&other)).unwrap_err().to_string();
    assert!(e.contains("the plan is of another model"), "{e}");
    let first = file.stages.remove(0);
    assert!(file.split(&g, &nodes(&g)).unwrap_err().to_string().contains("too early"));
    file.stages.insert(0, first);
    file.stages[0].nodes.pop();
    assert!(file.split(&g, &nodes(&g)).unwrap_err().to_string().contains("where it is not"));
}

/// Plans do not depend on what nodes are called: each layer is larger than every device, and is cut.
#[test]
fn names_of_any_kind_plan_alike() {
    let plan = |first: &str, second: &str| {
        let g = graph_opt_ir::text::parse(&format!(
            "graph @g(%x: f32[1,64,8,8]) -> (%y) opset 13 {{
               %w = const random(1)              : f32[256,64,3,3]
               %v = const random(2)              : f32[64,256,3,3]
               %a = Conv %x, %w {{pads=[1,1,1,1]}} : f32[1,256,8,8] ; {first:?}
               %y = Conv %a, %v {{pads=[1,1,1,1]}} : f32[1,64,8,8]  ; {second:?}
             }}"
        ))
        .unwrap();
        let cluster = alike(3, "500KiB", "bandwidth = \"1Gbit/s\"");
        let file = plan_of(&g, &cluster, &PlanRequest::default(), false);
        let (cut, _) = optimise(&g, &file.rewrite);
        check_parts(&g, &cut, file.clone(), first);
        file
    };
    let plain = plan("c1", "c2");
    assert!(plain.stages.len() > 1, "{}", plain.stages.len());
    for (first, second) in [
        ("first conv", "second conv"),
        ("conv,1", "conv,2"),
        ("conv}", "{conv"),
        ("\"", "\\"),
        ("a[0", "a\n1"),
    ] {
        let other = plan(first, second);
        let of = |f: &PlanFile| (f.latency_s, f.energy_j, f.stages.len(), f.proved);
        assert_eq!(of(&other), of(&plain), "{first}");
    }
}
