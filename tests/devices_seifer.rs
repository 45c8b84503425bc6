//! SEIFER's experiment (Parthasarathy and Krishnamachari, 2022) on the 69 Keras networks in
//! `../shared/golden/placement`: cut points, its partition and greedy placement in its own model of
//! memory and transfers, the proved optimum of the same partition, and partition and placement at
//! once, beside the published and the recomputed figures.
//!
//! `DEVICES_GRAPHS=200 cargo test --release --test suite devices -- --nocapture` runs the whole set.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::time::{Duration, Instant};

use graph_opt_passes::analysis::articulation_points;
use graph_opt_passes::devices::cluster::wireless_bandwidth;
use graph_opt_passes::devices::{
    Costs, Device, Effort, Limits, Link, Objective, Problem, place, place_greedily, plan,
};

use crate::support::shared;

pub const DEVICES: usize = 50;
const MEBI: f64 = 1_048_576.0;

/// A network in the experiment's model.
struct Net {
    name: String,
    /// Elements that cross each point, times those that read them.
    elements: Vec<f64>,
    /// Bytes between each point and the next, summed from the first.
    memory: Vec<u64>,
}

impl Costs for Net {
    fn seconds(&self, _: Range<usize>, _: usize, _: usize) -> Option<f64> {
        Some(0.0)
    }

    /// What lies between the points of a part; what is between two parts is charged to neither.
    fn memory(&self, points: Range<usize>, _: usize) -> u64 {
        self.memory[points.end - 1] - self.memory[points.start]
    }
}

impl Net {
    fn len(&self) -> usize {
        self.elements.len()
    }

    /// Bytes of a transfer from a point.
    fn bytes(&self, point: usize) -> f64 {
        self.elements[point] * 8.0 / 1.44
    }

    /// The partition with the least sum of transfers, ties decided as the experiment's floating
    /// point does: sums in Mbit, from the end.
    fn parts(&self, capacity: u64) -> Option<Vec<usize>> {
        let n = self.len();
        let mut least = vec![(f64::INFINITY, n); n + 1];
        least[n].0 = 0.0;
        for i in (0..n).rev() {
            for j in (i + 1..=n).take_while(|&j| self.memory(i..j, 0) < capacity) {
                let transfer = if j < n { self.bytes(j - 1) * 8.0 / MEBI } else { 0.0 };
                if least[j].0 + transfer < least[i].0 {
                    least[i] = (least[j].0 + transfer, j);
                }
            }
        }
        let mut cuts = vec![0];
        while let Some(&i) = cuts.last().filter(|&&i| i < n) {
            if least[i].0.is_infinite() {
                return None;
            }
            cuts.push(least[i].1);
        }
        Some(cuts)
    }

    fn problem(&self, capacity: u64, links: Vec<Option<Link>>) -> Problem<'_> {
        let n = self.len();
        let cut = |j: usize| if j == 0 || j == n { 0 } else { self.bytes(j - 1).round() as u64 };
        bottleneck((0..=n).map(cut).collect(), self, capacity - 1, links)
    }
}

/// The least interval over 50 like devices.
pub fn bottleneck(
    cuts: Vec<u64>,
    costs: &dyn Costs,
    memory: u64,
    links: Vec<Option<Link>>,
) -> Problem<'_> {
    let device = |d: usize| Device { name: d.to_string(), kind: 0, memory, modes: 1 };
    Problem {
        cuts,
        forms: vec![],
        media: vec![],
        devices: (0..DEVICES).map(device).collect(),
        links,
        costs,
        pins: vec![],
        source: None,
        sink: None,
        reuse: false,
        objective: Objective::Interval,
        limits: Limits::default(),
    }
}

fn networks() -> Option<Vec<Net>> {
    let path = shared("golden/placement/networks.json")?;
    let text = std::fs::read_to_string(path).unwrap();
    let all: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    let net = |(name, v): (String, serde_json::Value)| {
        let list = |key: &str| v[key].as_array().unwrap().clone();
        // Given in Mbit, rounded.
        let elements = |t: &serde_json::Value| (t.as_f64().unwrap() * 1.44 * MEBI / 64.0).round();
        let elements = list("T").iter().map(elements).collect();
        let mut memory = vec![0];
        for m in &list("M") {
            memory.push(memory[memory.len() - 1] + m.as_u64().unwrap());
        }
        Net { name, elements, memory }
    };
    Some(all.into_iter().map(net).collect())
}

/// Of each network its layers: name, type, whose results it reads, elements of its result, parameters.
pub fn keras_graphs() -> Option<BTreeMap<String, Vec<(String, String, Vec<usize>, u64, u64)>>> {
    let path = shared("golden/placement/keras-graphs.json.gz")?;
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

/// Links between devices at uniform places in [1, 150)², by splitmix64.
pub fn links(seed: u64) -> Vec<Option<Link>> {
    // Not a multiple of the step: streams of neighbouring seeds must not be one stream.
    let mut state = (seed + 1).wrapping_mul(0xd134_2543_de82_ef95);
    let mut place = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        1.0 + 149.0 * ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    };
    let places: Vec<(f64, f64)> = (0..DEVICES).map(|_| (place(), place())).collect();
    let link = |at: usize| {
        let (a, b) = (places[at / DEVICES], places[at % DEVICES]);
        wireless_bandwidth(a, b).map(|bandwidth| Link::new(bandwidth, 0.0))
    };
    (0..DEVICES * DEVICES).map(link).collect()
}

/// A column of figures: its mean, and its standard deviation.
#[derive(Default)]
struct Column(Vec<f64>);

impl Column {
    fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    fn deviation(&self) -> f64 {
        let squares: f64 = self.0.iter().map(|x| (x - self.mean()).powi(2)).sum();
        (squares / (self.0.len() as f64 - 1.0).max(1.0)).sqrt()
    }

    /// How far the mean may be from another mean of 200 graphs: four standard errors of their
    /// difference, and, as a few graphs may show nothing of what is rare (seen with probability
    /// under 1 - 0.01^(1/n), 4.6 / n), that with an effect of a half.
    fn tolerance(&self) -> f64 {
        let n = self.0.len() as f64;
        4.0 * self.deviation() * (1.0 / n + 1.0 / 200.0).sqrt() + 0.5 * 4.6 / n
    }
}

#[test]
fn cut_points_of_69_networks() {
    let Some(graphs) = keras_graphs() else { return };
    let Some(golden) = shared("golden/placement/networks.json") else { return };
    let golden: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
    assert_eq!((graphs.len(), golden.len()), (69, 69));
    let mut slowest = Duration::ZERO;
    for (name, layers) in &graphs {
        let reads: Vec<Vec<usize>> = layers.iter().map(|l| l.2.clone()).collect();
        let start = Instant::now();
        let points = articulation_points(&reads, &[layers.len() - 1]);
        slowest = slowest.max(start.elapsed());
        let points: Vec<&str> = points.iter().map(|&p| layers[p].0.as_str()).collect();
        let want: Vec<&str> = golden[name]["points"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p.as_str().unwrap())
            .collect();
        assert_eq!(points, want, "{name}");
    }
    println!("cut points of 69 networks; the slowest took {slowest:?}");
}

#[test]
fn seifers_ratios() {
    let (Some(nets), Some(ratios)) = (networks(), shared("golden/placement/ratios.csv")) else {
        return;
    };
    let graphs = std::env::var("DEVICES_GRAPHS").ok().and_then(|v| v.parse().ok()).unwrap_or(4);
    let links: Vec<_> = (0..graphs).map(links).collect();
    let rows = std::fs::read_to_string(ratios).unwrap();
    let rows: BTreeMap<&str, Vec<&str>> = rows
        .lines()
        .skip(1)
        .map(|l| (l.split(',').next().unwrap(), l.split(',').collect()))
        .collect();
    let capacity = 32 << 20;
    let effort = Effort { nodes: 20_000, ..Effort::default() };
    let (mut placing, mut most, mut planning) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut instances, mut proved, mut better, mut seen) = (0, 0, 0, 0);
    println!("network parts | greedy/bound, published | optimum/bound | joint/greedy (proved)");
    for net in &nets {
        let row = &rows[net.name.as_str()];
        let cuts = net.parts(capacity).unwrap();
        let parts = cuts.len() - 1;
        seen += 1;
        if parts == 1 || parts > DEVICES {
            assert_eq!(row[4], if parts == 1 { "one partition" } else { "infeasible" });
            continue;
        }
        assert_eq!(parts.to_string(), row[1], "{}", net.name);
        let (mut greedy, mut optimum, mut joint) =
            (Column::default(), Column::default(), Column::default());
        let mut joint_proved = 0;
        for links in &links {
            let p = net.problem(capacity, links.clone());
            let fastest = links.iter().flatten().map(|l| l.bandwidth).fold(0.0, f64::max);
            let largest = cuts[1..parts].iter().map(|&c| p.cuts[c]).max().unwrap();
            let bound = largest as f64 * 8.0 / fastest;
            let walk = place_greedily(&p, &cuts).unwrap();
            let start = Instant::now();
            let best = place(&p, &cuts, 200_000).unwrap();
            most = most.max(start.elapsed());
            placing += start.elapsed();
            assert!(best.value <= walk.value && best.bound <= best.value && bound <= best.bound);
            assert_eq!(best.value, best.bound, "{}: not proved", net.name);
            let start = Instant::now();
            let both = plan(&p, &effort).unwrap();
            planning += start.elapsed();
            assert!(both.value <= best.value, "{}: {} {}", net.name, both.value, best.value);
            assert!(both.bound <= both.value);
            greedy.0.push(walk.value / bound);
            optimum.0.push(best.value / bound);
            joint.0.push(both.value / walk.value);
            joint_proved += usize::from(both.proved());
            instances += 1;
            better += usize::from(both.value < walk.value);
        }
        proved += joint_proved;
        println!(
            "{:18} {parts:2} | {:.4} {:>6} {:>6} | {:.4} {:>6} | {:.4} {:>6} ({joint_proved})",
            net.name,
            greedy.mean(),
            row[4],
            row[2],
            optimum.mean(),
            row[5],
            joint.mean(),
            row[8],
        );
        let number = |at: usize| row[at].parse::<f64>().unwrap();
        for (column, at) in [(&greedy, 4), (&optimum, 5)] {
            let off = (column.mean() - number(at)).abs();
            assert!(off <= column.tolerance(), "{}: {} {}", net.name, column.mean(), row[at]);
        }
        // What was found there is no bound: to be better is no fault.
        assert!(joint.mean() <= number(8) + joint.tolerance(), "{}: {}", net.name, joint.mean());
    }
    assert_eq!(seen, 69);
    println!(
        "{instances} placements proved, {:?} each, at most {most:?}; joint plans {:?} each, \
         {proved} proved, {better} better than greedy",
        placing / instances,
        planning / instances
    );
}
