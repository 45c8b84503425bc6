//! SEIFER's networks in the right model of memory: weights in their type (f32), the peak of what is
//! alive at once, every tensor that crosses a cut once. Beside cuts at the points that all paths pass:
//! cuts between any two layers; and where a single layer does not fit, shares of its channels.

use std::collections::BTreeMap;

use graph_opt_passes::analysis::articulation_points;
use graph_opt_passes::devices::{Additive, Costs, Effort, NoPlan, plan};

use crate::devices_seifer::{DEVICES, bottleneck, keras_graphs, links};

const CAPACITY: u64 = 32 << 20;
const MEBI: f64 = 1_048_576.0;
/// A layer: its name and type, whose results it reads, elements of its result, parameters; whether it is a
/// Concat of pieces, which lie in its storage.
#[derive(Clone)]
struct Layer {
    name: String,
    kind: String,
    reads: Vec<usize>,
    elements: u64,
    parameters: u64,
    joins: bool,
}

fn networks() -> Option<BTreeMap<String, Vec<Layer>>> {
    let layer = |(name, kind, reads, elements, parameters)| Layer {
        name,
        kind,
        reads,
        elements,
        parameters,
        joins: false,
    };
    let all = keras_graphs()?.into_iter();
    Some(all.map(|(k, v)| (k, v.into_iter().map(layer).collect())).collect())
}

/// Whose storage each result lies in: the pieces that a Concat joins; what an elementwise layer is the
/// last to read.
fn storage(layers: &[Layer]) -> Vec<Vec<usize>> {
    const ELEMENTWISE: [&str; 9] = [
        "BatchNormalization",
        "Activation",
        "ReLU",
        "Dropout",
        "Add",
        "Multiply",
        "LayerScale",
        "StochasticDepth",
        "TFOpLambda",
    ];
    let mut last = vec![0; layers.len()];
    for (i, l) in layers.iter().enumerate() {
        l.reads.iter().for_each(|&r| last[r] = i);
    }
    let of = |(i, l): (usize, &Layer)| {
        let fits = |r: &usize| {
            last[*r] == i && layers[*r].elements == l.elements && !layers[*r].reads.is_empty()
        };
        match ELEMENTWISE.contains(&&*l.kind) {
            _ if l.joins => l.reads.clone(),
            true => l.reads.iter().copied().find(fits).into_iter().collect(),
            false => Vec::new(),
        }
    };
    layers.iter().enumerate().map(of).collect()
}

/// Bytes alive while each layer runs, and bytes that cross each cut.
fn traffic(layers: &[Layer]) -> (Vec<u64>, Vec<u64>) {
    let (n, storage) = (layers.len(), storage(layers));
    // The last layer for which each result, or what lies in its storage, is there.
    let mut last: Vec<usize> = (0..n).collect();
    last[n - 1] = n;
    for (i, l) in layers.iter().enumerate().rev() {
        for &r in &l.reads {
            last[r] = last[r].max(if storage[i].contains(&r) { last[i] } else { i });
        }
    }
    let (mut live, mut cuts) = (vec![0; n], vec![0; n + 1]);
    for (j, l) in layers.iter().enumerate().filter(|(j, _)| storage[*j].is_empty()) {
        live[j..=last[j].min(n - 1)].iter_mut().for_each(|x| *x += 4 * l.elements);
        cuts[j + 1..=last[j]].iter_mut().for_each(|x| *x += 4 * l.elements);
    }
    // The network's input and output are free here, as in the experiment.
    (cuts[0], cuts[n]) = (0, 0);
    (live, cuts)
}

/// Whether the channels of its result can be computed apart: of these from the same channels, of
/// `produces` from all.
fn is_channelwise(l: &Layer) -> bool {
    let kinds = ["BatchNormalization", "Activation", "ReLU", "ZeroPadding2D", "DepthwiseConv2D"];
    kinds.contains(&&*l.kind) && l.reads.len() == 1
}

fn produces(l: &Layer) -> bool {
    ["Conv2D", "Dense", "Sequential"].contains(&&*l.kind) && l.reads.len() == 1
}

/// The network with stretches around layers that do not fit, or have more weights than `grain`,
/// computed in shares of their channels, and how many such stretches there are; or the layer for which
/// that does not help.
fn with_shares(layers: &[Layer], grain: u64) -> Result<(Vec<Layer>, usize), Layer> {
    let mut layers = layers.to_vec();
    for stretches in 0..200 {
        let (live, _) = traffic(&layers);
        let heavy = |i: usize| 4 * layers[i].parameters > grain;
        let over = |i: usize| live[i] + 4 * layers[i].parameters > CAPACITY;
        let Some(worst) = (0..layers.len()).find(|&i| heavy(i) || over(i)) else {
            return Ok((layers, stretches));
        };
        layers = share(&layers, worst, grain).ok_or_else(|| layers[worst].clone())?;
    }
    panic!("there is no end of stretches")
}

/// RowShares around one layer: as few as make all of them fit.
fn share(layers: &[Layer], at: usize, grain: u64) -> Option<Vec<Layer>> {
    let n = layers.len();
    let mut readers = vec![Vec::new(); n];
    for (i, l) in layers.iter().enumerate() {
        l.reads.iter().for_each(|&r| readers[r].push(i));
    }
    let sole = |i: usize| match readers[i][..] {
        [r] => Some(r),
        _ => None,
    };
    let mut stretch = vec![at];
    while is_channelwise(&layers[stretch[0]]) {
        let before = layers[stretch[0]].reads[0];
        if sole(before) != Some(stretch[0])
            || !(is_channelwise(&layers[before]) || produces(&layers[before]))
        {
            break;
        }
        stretch.insert(0, before);
    }
    if !is_channelwise(&layers[stretch[0]]) && !produces(&layers[stretch[0]]) {
        return None;
    }
    let mut end = at;
    while let Some(r) = sole(end).filter(|&r| is_channelwise(&layers[r])) {
        stretch.push(r);
        end = r;
    }
    for k in [2u64, 4, 8, 16, 32, 64, 128, 256] {
        let mut out: Vec<Layer> = Vec::new();
        let mut place = vec![0; n];
        for (i, l) in layers.iter().enumerate() {
            if i == end {
                let mut joined = Vec::new();
                for c in 0..k {
                    let part = |x: u64| x * (c + 1) / k - x * c / k;
                    for (s, &at) in stretch.iter().enumerate() {
                        let l = &layers[at];
                        let reads = match s {
                            0 => l.reads.iter().map(|&r| place[r]).collect(),
                            _ => vec![out.len() - 1],
                        };
                        let (elements, parameters) = (part(l.elements), part(l.parameters));
                        out.push(Layer { reads, elements, parameters, ..l.clone() });
                    }
                    joined.push(out.len() - 1);
                }
                let join = Layer { reads: joined, parameters: 0, joins: true, ..l.clone() };
                out.push(join);
            } else if !stretch.contains(&i) {
                let reads = l.reads.iter().map(|&r| place[r]).collect();
                out.push(Layer { reads, ..l.clone() });
            }
            place[i] = out.len().saturating_sub(1);
        }
        let (live, _) = traffic(&out);
        // The stretch itself, and what is left of it.
        let first = place[layers[stretch[0]].reads[0]] + 1;
        let fits = (first..=place[end]).all(|i| {
            let weights = 4 * out[i].parameters;
            live[i] + weights <= CAPACITY && weights <= grain
        });
        if fits {
            return Some(out);
        }
    }
    None
}

fn costs(layers: &[Layer], live: &[u64]) -> Additive {
    let stays: Vec<u64> = layers.iter().map(|l| 4 * l.parameters).collect();
    Additive::new(&vec![vec![vec![0.0; layers.len()]]; DEVICES], &[], &stays, live)
}

/// The fewest stages: each as long as fits.
fn fewest(layers: &[Layer]) -> usize {
    let (live, _) = traffic(layers);
    let costs = costs(layers, &live);
    let (mut at, mut stages) = (0, 0);
    while at < layers.len() {
        let fits = |j: &usize| costs.memory(at..*j, 0) <= CAPACITY;
        at = (at + 1..=layers.len()).take_while(fits).last().unwrap();
        stages += 1;
    }
    stages
}

/// A plan for the bottleneck over the links of a seeded graph.
fn planned(layers: &[Layer], seed: u64) -> Result<(usize, f64, f64), NoPlan> {
    let (live, cuts) = traffic(layers);
    let costs = costs(layers, &live);
    let p = bottleneck(cuts, &costs, CAPACITY, links(seed));
    let found = plan(&p, &Effort { nodes: 2_000, labels: 200_000 })?;
    Ok((found.stages.len(), found.value, found.bound))
}

/// Whether every stretch between points fits a device.
fn fits_at_points(layers: &[Layer]) -> bool {
    let reads: Vec<Vec<usize>> = layers.iter().map(|l| l.reads.clone()).collect();
    let (live, _) = traffic(layers);
    let mut from = 0;
    articulation_points(&reads, &[layers.len() - 1]).into_iter().all(|p| {
        let weights: u64 = layers[from..=p].iter().map(|l| 4 * l.parameters).sum();
        let most = live[from..=p].iter().max().copied().unwrap_or(0);
        from = p + 1;
        weights + most <= CAPACITY
    })
}

#[test]
fn networks_that_no_cut_fits() {
    let Some(networks) = networks() else { return };
    let (mut infeasible, mut cut, mut shared, mut beyond) = (0, 0, 0, 0);
    for (name, layers) in &networks {
        if fits_at_points(layers) {
            continue;
        }
        infeasible += 1;
        let (live, _) = traffic(layers);
        let fits = (0..layers.len()).all(|i| live[i] + 4 * layers[i].parameters <= CAPACITY);
        cut += usize::from(fits);
        shared += usize::from(!fits);
        let weights = |l: &[Layer]| l.iter().map(|l| 4 * l.parameters).sum::<u64>();
        // Smaller shares where larger ones leave too much of the devices empty.
        let mut why = String::new();
        let made = [CAPACITY, CAPACITY / 16, CAPACITY / 64].into_iter().find_map(|grain| {
            let (used, stretches) = match with_shares(layers, grain) {
                Ok(made) => made,
                Err(l) => {
                    // In one place, whatever its shares.
                    let l = layers.iter().find(|o| o.name == l.name).unwrap();
                    let reads: u64 = l.reads.iter().map(|&r| layers[r].elements).sum();
                    why = format!(
                        "{} reads {:.2} MiB and makes {:.2}",
                        l.name,
                        4.0 * reads as f64 / MEBI,
                        4.0 * l.elements as f64 / MEBI
                    );
                    return None;
                }
            };
            assert_eq!(weights(&used), weights(layers), "{name}: every weight once");
            assert!(grain < CAPACITY || fits == (stretches == 0));
            let stages = fewest(&used);
            assert!(stages as u64 >= weights(layers).div_ceil(CAPACITY));
            println!("{name}: {stretches} stretches in shares of channels, {stages} devices");
            (stages <= DEVICES).then_some((used, stages))
        });
        let Some((used, stages)) = made else {
            // EfficientNetB7: in tiles and parts, with kernel sizes, in `devices_large.rs`.
            println!("{name}: not by shares of channels alone; {why}");
            beyond += 1;
            continue;
        };
        // Placing over a thousand layers takes minutes.
        if used.len() < 600 {
            let start = std::time::Instant::now();
            let (used, value, bound) = planned(&used, 0).unwrap();
            assert!(bound <= value && (stages..=DEVICES).contains(&used));
            println!(
                "  placed: {used} stages, {value:.4} s, bound {bound:.4}, {:?}",
                start.elapsed()
            );
        }
    }
    println!(
        "{infeasible} networks do not fit cut at points: {cut} do between layers, {} in shares of channels, {beyond} in neither",
        shared - beyond
    );
    assert_eq!((infeasible, cut, shared), (24, 14, 10));
    assert_eq!(beyond, 1);
}
