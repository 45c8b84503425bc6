//! Networks over devices: what is planned is what the stages take, send and compute.

use std::collections::HashMap;
use std::sync::Arc;

use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::{Extents, draw};
use graph_opt_backends::{Backend, zoo};
use graph_opt_ir::{Graph, Tensor};
use graph_opt_passes::analysis::cost;
use graph_opt_passes::devices::cluster::Cluster;
use graph_opt_passes::devices::file::PlanFile;
use graph_opt_passes::devices::network::Network;
use graph_opt_passes::devices::{Effort, Limits, NoPlan, Objective, plan};
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

fn planned(g: &Graph, cluster: &str, objective: Objective) -> Result<(Network, PlanFile), NoPlan> {
    let cluster = Cluster::parse(cluster).unwrap();
    let network = Network::of(g).unwrap();
    let costs = network.costs(&cluster);
    let problem = network.problem(&cluster, &costs, objective, Limits::default(), Vec::new());
    let found = plan(&problem, &Effort::default())?;
    let file = PlanFile::of(g, &network, &cluster, &problem, &found).unwrap();
    Ok((network, file))
}

/// Every objective on several networks, skips over cuts included: the stages together give the bits
/// of the whole; what each receives and holds is what the plan says.
#[test]
fn stages_take_what_was_planned() {
    let mut several = 0;
    for network in ["resnet18@64x64", "mobilenetv2@64x64", "unet@64x64", "densenet121@64x64"] {
        let g = Arc::new(zoo::build(network).unwrap());
        let inputs = draw(&g, &Extents::default(), 3).unwrap();
        let want = Cpu::default().prepare(g.clone()).unwrap().run(&inputs, g.outputs()).unwrap();
        // The weights do not fit on one device.
        let room = cost(&g).constant_bytes / 2 + (8 << 20);
        let cluster = CLUSTER.replace("16MiB", &format!("{room}B"));
        let cluster = cluster.replace("24MiB", &format!("{room}B"));
        let cluster = cluster.replace("40MiB", &format!("{room}B"));
        for objective in Objective::ALL {
            let (n, file) = planned(&g, &cluster, objective).unwrap();
            let units = file.units(&g, &n).unwrap();
            several += usize::from(units.len() > 1);
            let mut sent: HashMap<String, Tensor> = HashMap::new();
            for (&v, t) in g.inputs().iter().zip(&inputs) {
                sent.insert(g.value(v).name.to_string(), t.clone());
            }
            for (row, u) in file.stages.iter().zip(&units) {
                let bytes: u64 = sent.values().map(|t| t.ty().bytes().unwrap()).sum();
                let local = row.device == "camera" && u.start == 0;
                assert_eq!(row.receives_bytes, if local { 0 } else { bytes }, "{network}");
                let stage = Arc::new(n.stage(&g, u.clone()).unwrap());
                let read = |&v: &_| sent[&*stage.value(v).name].clone();
                let inputs: Vec<Tensor> = stage.inputs().iter().map(read).collect();
                let prepared = Cpu::default().prepared(stage.clone()).unwrap();
                let (made, measured) = prepared.run_measured(&inputs).unwrap();
                let reads =
                    |name: &str| stage.inputs().iter().any(|&v| *stage.value(v).name == *name);
                let sends: Vec<&str> =
                    n.crossing[u.end].iter().map(|&v| &*g.value(v).name).collect();
                let handed: u64 = (sent.iter())
                    .filter(|(name, _)| sends.contains(&name.as_str()) && !reads(name))
                    .map(|(_, t)| t.ty().bytes().unwrap())
                    .sum();
                let held = cost(&stage).constant_bytes + measured.peak + handed;
                assert_eq!(row.memory_bytes, held, "{network} {objective:?} {}", row.first);
                for (&v, t) in stage.outputs().iter().zip(made) {
                    sent.insert(stage.value(v).name.to_string(), t);
                }
                sent.retain(|name, _| sends.contains(&name.as_str()));
            }
            for (&v, t) in g.outputs().iter().zip(&want) {
                assert_eq!(sent.get(&*g.value(v).name), Some(t), "{network} {objective:?}");
            }
        }
    }
    assert!(several >= 12, "{several} plans of several stages");
}

/// The stages in one graph: every value that crosses goes through one Transfer; proved, and the same
/// bits.
#[test]
fn splits_are_proved() {
    for network in ["resnet18@64x64", "inception-v1@64x64", "unet@64x64", "vit-b16@32x32"] {
        let Ok(g) = zoo::build(network) else { continue };
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

/// What does not fit is refused with what would have to give.
#[test]
fn what_does_not_fit_is_explained() {
    let g = zoo::build("vgg16@64x64").unwrap();
    let e = planned(&g, CLUSTER, Objective::Latency).unwrap_err().to_string();
    assert!(e.contains("unit") && e.contains("B"), "{e}");
    // The first dense layer alone is 8 MiB of weights more than the server has.
    println!("{e}");
}

/// A plan is one of its model.
#[test]
fn plans_of_other_models_are_refused() {
    let g = zoo::build("resnet18@64x64").unwrap();
    let (n, mut file) = planned(&g, CLUSTER, Objective::Memory).unwrap();
    assert!(file.units(&g, &n).is_ok());
    let other = zoo::build("mobilenetv2@64x64").unwrap();
    let m = Network::of(&other).unwrap();
    let e = file.units(&other, &m).unwrap_err();
    assert!(e.contains("the plan is of another model"), "{e}");
    file.stages.pop();
    assert!(file.units(&g, &n).unwrap_err().contains("nodes are in it"));
}
