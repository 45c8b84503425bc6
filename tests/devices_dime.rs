//! DIME's experiment (Isenkul et al.): networks as bundles of consecutive layers, measured here on
//! one thread (the edge) and on two (the cloud), over links of three rates: the plan of least latency,
//! the front of latency and energy beside a sweep of 20 limits, and the error of an estimate from
//! shorter bundles. Times are measured, so only what must hold for any times is asserted.
//!
//! `GRAPH_OPT_ALL_MODELS=1 cargo test --test suite dime -- --nocapture` takes all three networks and images
//! of 224x224 (a quarter of an hour); without it, AlexNet at 64x64 stands for them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::{Extents, draw};
use graph_opt_backends::{Backend, zoo};
use graph_opt_ir::{Graph, Op};
use graph_opt_passes::devices::graph::Network;
use graph_opt_passes::devices::{
    Costs, Device, Effort, Limits, Link, Objective, Problem, front, plan,
};

/// Rates of a link: Mbit/s up, and the edge's power, W, while it sends.
fn links() -> [(&'static str, f64, f64); 3] {
    // Rate, mW for each Mbit/s, mW besides.
    let link = |name, up: f64, alpha: f64, beta: f64| (name, up, (alpha * up + beta) / 1e3);
    [
        link("3G", 1.1, 868.98, 817.88),
        link("4G", 5.85, 438.39, 1288.04),
        link("WiFi", 18.88, 283.17, 132.86),
    ]
}

/// Speeds and powers of the edge, W.
const MODES: [(f64, f64); 4] = [(1.0, 5.0), (0.75, 3.1), (0.5, 1.9), (0.3, 1.4)];

/// Layers as the experiment has them: AlexNet 8, VGG-11 11, ViT-B/16 16.
fn layers(g: &Graph, n: &Network) -> Vec<Range<usize>> {
    // Of the transformer: patches, tokens with positions, 12 blocks, the last norm, the head.
    let block = |i: usize| -> String {
        let label = g.label(n.nodes[i]);
        match label.split('.').collect::<Vec<_>>()[..] {
            ["encoder", "layers", layer, ..] => layer.into(),
            ["encoder", "ln", ..] => "norm".into(),
            _ if i < n.nodes.len() / 2 => "tokens".into(),
            _ => "head".into(),
        }
    };
    let transformer = g.schedule().any(|n| g.label(n).starts_with("encoder."));
    let begins = |i: &usize| match &g.node(n.nodes[*i]).op {
        _ if *i == 0 => true,
        _ if transformer => *i == 1 || block(*i) != block(*i - 1),
        Op::Conv(_) | Op::Gemm(_) => true,
        _ => false,
    };
    let mut starts: Vec<usize> = (0..n.nodes.len()).filter(begins).collect();
    starts.push(n.nodes.len());
    starts.windows(2).map(|w| w[0]..w[1]).collect()
}

/// Seconds of every bundle, by first and last layer.
fn measure(g: &Graph, n: &Network, layers: &[Range<usize>], threads: usize) -> Vec<Vec<f64>> {
    let one = |i: usize, j: usize| {
        let bundle = Arc::new(n.stage(g, layers[i].start..layers[j].end).unwrap());
        let inputs = draw(&bundle, &Extents::default(), 1).unwrap();
        let run = Cpu { threads, ..Cpu::default() }.prepare(bundle.clone()).unwrap();
        let mut times: Vec<f64> = (0..4)
            .map(|_| {
                let start = Instant::now();
                run.run(&inputs, bundle.outputs()).unwrap();
                start.elapsed().as_secs_f64()
            })
            .skip(1)
            .collect();
        times.sort_by(f64::total_cmp);
        times[1]
    };
    (0..layers.len()).map(|i| (i..layers.len()).map(|j| one(i, j)).collect()).collect()
}

struct Bundles {
    /// By device, first layer, and how many more.
    seconds: [Vec<Vec<f64>>; 2],
}

impl Costs for Bundles {
    fn seconds(&self, units: Range<usize>, device: usize, mode: usize) -> Option<f64> {
        let base = self.seconds[device][units.start][units.len() - 1];
        Some(if device == 0 { base / MODES[mode].0 } else { base })
    }

    /// The edge's battery is what counts.
    fn joules(&self, units: Range<usize>, device: usize, mode: usize) -> f64 {
        let seconds = self.seconds(units, device, mode).unwrap_or(0.0);
        if device == 0 { seconds * MODES[mode].1 } else { 0.0 }
    }
}

fn problem<'a>(cuts: &[u64], costs: &'a Bundles, up: f64, watts: f64) -> Problem<'a> {
    let device =
        |name: &str, kind, modes| Device { name: name.into(), kind, memory: u64::MAX, modes };
    let link = Link { bandwidth: up * 1e6, latency: 0.0, watts };
    Problem {
        cuts: cuts.to_vec(),
        forms: vec![],
        media: vec![],
        devices: vec![device("edge", 0, MODES.len()), device("cloud", 1, 1)],
        links: vec![None, Some(link), Some(link), None],
        costs,
        pins: vec![],
        source: Some(0),
        sink: None,
        reuse: true,
        objective: Objective::Latency,
        limits: Limits::default(),
    }
}

#[test]
fn dimes_experiment() {
    let all = std::env::var_os("GRAPH_OPT_ALL_MODELS").is_some();
    let side = if all { "" } else { "@64x64" };
    // The transformer has one size.
    let names = [("alexnet", 8, side), ("vgg11", 11, side), ("vit-b16", 16, "")];
    for (name, count, side) in names.into_iter().take(if all { 3 } else { 1 }) {
        let g = zoo::build(&format!("{name}{side}")).unwrap();
        let n = Network::of(&g).unwrap();
        let layers = layers(&g, &n);
        assert_eq!(layers.len(), count, "{name}");
        let costs = Bundles { seconds: [1, 2].map(|threads| measure(&g, &n, &layers, threads)) };
        let bundles: usize = costs.seconds[0].iter().map(Vec::len).sum();
        assert_eq!(bundles, count * (count + 1) / 2);
        let mut cuts: Vec<u64> = layers.iter().map(|l| n.cuts[l.start]).collect();
        cuts.push(n.cuts[n.nodes.len()]);
        for (link, up, watts) in links() {
            let p = problem(&cuts, &costs, up, watts);
            let best = plan(&p, &Effort::default()).unwrap();
            assert!(best.proved());
            // By hand: every cut once, in the quickest mode.
            let split = |k: usize| {
                let run = |r: Range<usize>, d: usize| {
                    if r.is_empty() { 0.0 } else { costs.seconds(r, d, 0).unwrap() }
                };
                let sent = if k < count { cuts[k] as f64 * 8.0 / (up * 1e6) } else { 0.0 };
                run(0..k, 0) + sent + run(k..count, 1)
            };
            let once = (0..=count).map(split).fold(f64::INFINITY, f64::min);
            assert!(best.value <= once * (1.0 + 1e-9));
            let all = front(&p, &Effort::default()).unwrap();
            assert!(all.whole_below.is_infinite());
            assert!((all.plans[0].value / best.value - 1.0).abs() < 1e-9);
            let (lo, hi) = (all.plans[0].value, all.plans[all.plans.len() - 1].value);
            let mut seen: Vec<f64> = Vec::new();
            for k in 0..20 {
                let most = lo + (hi - lo) * f64::from(k) / 19.0;
                let limits = Limits { latency: Some(most * (1.0 + 1e-12)), ..Limits::default() };
                let p = Problem { objective: Objective::Energy, limits, ..p.clone() };
                let found = plan(&p, &Effort::default()).unwrap();
                // A sweep gives points of the front, the lowest one within the limit.
                let within = all.plans.iter().filter(|f| f.value <= most * (1.0 + 1e-9));
                let least =
                    within.map(|f| f.total(Objective::Energy)).fold(f64::INFINITY, f64::min);
                assert!((found.value - least).abs() <= 1e-9 * least.max(1e-12), "{name} {link}");
                seen.push(found.value);
            }
            seen.dedup();
            let edge: usize =
                best.stages.iter().filter(|s| s.device == 0).map(|s| s.units.len()).sum();
            println!(
                "{name} over {link}: {:.2} ms with {edge} of {count} layers on the edge; front of {} plans, a sweep of 20 limits finds {}",
                best.value * 1e3,
                all.plans.len(),
                seen.len()
            );
        }
        // The whole network estimated from bundles of at most so many layers.
        for (device, threads) in [(0, 1), (1, 2)] {
            let whole = costs.seconds[device][0][count - 1];
            let estimate = |longest: usize| -> f64 {
                (0..count)
                    .step_by(longest)
                    .map(|i| costs.seconds[device][i][longest.min(count - i) - 1])
                    .sum()
            };
            let errors: Vec<String> = (1..=count)
                .map(|l| format!("{:+.1}", (estimate(l) / whole - 1.0) * 100.0))
                .collect();
            println!(
                "{name}, {threads} threads: error in % by the longest bundle: {}",
                errors.join(" ")
            );
        }
    }
}

/// The published sample: AlexNet's fifth convolution over 4G, 50.4 ms; its energy is 194,220 µJ, where
/// DIME prints 2,020.
#[test]
fn energy_of_transfers() {
    let (_, up, watts) = links()[1];
    let link = Link { bandwidth: up * 1e6, latency: 0.0, watts };
    let sent = link.transfer(9216 * 4);
    assert!((sent.seconds * 1e3 - 50.4).abs() < 0.05);
    assert!((sent.joules * 1e6 - 194_220.0).abs() < 100.0, "{}", sent.joules * 1e6);
}

/// Every layer of the transformer is in one bundle of its own, `encoder.1` and `encoder.10` alike.
#[test]
fn no_layer_is_lost() {
    let g = zoo::build("vit-b16").unwrap();
    let n = Network::of(&g).unwrap();
    let layers = layers(&g, &n);
    assert_eq!((layers.len(), layers[0].start, layers[15].end), (16, 0, n.nodes.len()));
    assert!(layers.windows(2).all(|w| w[0].end == w[1].start));
    let macs: u64 = layers.iter().flat_map(|l| n.macs[l.clone()].iter()).sum();
    assert_eq!(macs, graph_opt_passes::analysis::cost(&g).macs);
    let of = |block: &str| {
        let inside = |l: &&Range<usize>| g.label(n.nodes[l.start]).starts_with(block);
        layers.iter().filter(inside).count()
    };
    let (one, ten) = (of("encoder.layers.1."), of("encoder.layers.10."));
    assert_eq!((one, ten), (1, 1));
}
