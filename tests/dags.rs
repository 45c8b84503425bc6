//! Random graphs, run in tiles: chains, residuals, branches, skips over several scales, values that
//! several nodes share, several outputs; random groups, grids and kinds of reuse.
//!
//! `PROPTEST_CASES=5000 cargo test --release --test suite dags -- --nocapture` runs the whole set
//! and prints the counts.

use std::cell::RefCell;
use std::collections::BTreeMap;

use graph_opt_ir::op::{self, Op};
use graph_opt_ir::{Builder, DType, Graph, Tensor, Type, ValueId, text};
use graph_opt_passes::Outcome;
use graph_opt_passes::analysis::{cost, peak};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::support::{compare, is_bit_exact, optimise, random_cases, same_run, shuffled};

/// A node to be added: what it does, two numbers that choose among its variants, and how far back
/// its second operand lies.
type Layer = (u8, u8, u8, u8);

#[derive(Clone, Debug)]
struct Case {
    size: (u64, u64),
    channels: u64,
    layers: Vec<Layer>,
    /// Values that are outputs besides the last one.
    outputs: Vec<u8>,
    /// First and last node of the group, counted from the ends.
    group: (u8, u8),
    grid: (i64, i64),
    axes: &'static str,
    reuse: &'static str,
    split: &'static str,
}

fn case() -> impl Strategy<Value = Case> {
    let layer = (0u8..21, any::<u8>(), any::<u8>(), any::<u8>());
    let kinds = ["recompute", "rows", "all", "checkerboard", "exchange"];
    let reuse = prop::sample::select(kinds.to_vec());
    let split = prop_oneof![3 => Just("even"), 1 => Just("ceil")];
    // Channels seldom: convolutions need all of them.
    let axes = prop_oneof![8 => Just("hxw"), 1 => Just("cxw"), 1 => Just("wxh")];
    (
        ((7u64..=19, 6u64..=18), 1u64..=3, prop::collection::vec(layer, 2..=12)),
        (prop::collection::vec(any::<u8>(), 0..=2), (0u8..=4, 0u8..=3)),
        ((1i64..=5, 1i64..=4), axes, reuse, split),
    )
        .prop_map(
            |((size, channels, layers), (outputs, group), (grid, axes, reuse, split))| Case {
                size,
                channels,
                layers,
                outputs,
                group,
                grid,
                axes,
                reuse,
                split,
            },
        )
}

fn extents(b: &Builder, v: ValueId) -> Vec<u64> {
    b.graph().value(v).ty.extents().unwrap()
}

struct Net {
    b: Builder,
    values: Vec<ValueId>,
    weights: u64,
}

impl Net {
    fn weight(&mut self, dims: &[u64]) -> ValueId {
        self.weights += 1;
        let t: Tensor = Tensor::random(DType::F32, dims, self.weights).unwrap();
        self.b.constant(&format!("w{}", self.weights), t)
    }

    fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Option<ValueId> {
        let name = format!("n{}", self.values.len());
        let v = self.b.node(&name, op.into(), inputs).ok()?;
        // A pool whose kernel does not fit.
        let e = self.b.graph().value(v).ty.extents()?;
        let fits = e.iter().all(|&n| n > 0) && e.iter().product::<u64>() < 12_000;
        if fits {
            self.values.push(v);
        }
        Some(v)
    }

    /// One more node; where it does not fit, none.
    fn layer(&mut self, &(kind, a, b, back): &Layer) -> Option<()> {
        let x = *self.values.last()?;
        let other = self.values[self.values.len() - 1 - usize::from(back) % self.values.len()];
        let e = extents(&self.b, x);
        let (c, k) = (e[1], 1 + u64::from(a % 4));
        let stride = if b % 5 == 0 { 2 } else { 1 };
        let dilation = if a % 7 == 0 { 2 } else { 1 };
        let reach = (k as i64 - 1) * dilation;
        // Sometimes asymmetric, sometimes none.
        let (begin, end) = [(reach / 2, reach - reach / 2), (0, 0), (reach, 0), (0, reach / 2)]
            [usize::from(b / 5 % 4)];
        let pads = Some(vec![begin, end, end, begin]);
        let (strides, dilations) = (Some(vec![stride; 2]), Some(vec![dilation; 2]));
        let conv = |group| op::Conv {
            auto_pad: "NOTSET".into(),
            dilations: dilations.clone(),
            group,
            kernel_shape: None,
            pads: pads.clone(),
            strides: strides.clone(),
        };
        let kernel = vec![k.max(2) as i64; 2];
        let half = Some(vec![k.max(2) as i64 / 2, 0, 0, k.max(2) as i64 / 2]);
        match kind {
            0..=5 => {
                let w = self.weight(&[1 + u64::from(b % 3), c, k, k]);
                self.add(conv(1), &[x, w])?;
            }
            6 => {
                let w = self.weight(&[c, 1, k, k]);
                self.add(conv(c as i64), &[x, w])?;
            }
            7 => drop(self.add(op::Relu {}, &[x])?),
            8 => drop(self.add(op::LeakyRelu { alpha: 0.1 }, &[other])?),
            9 => {
                let pool = op::MaxPool {
                    auto_pad: "NOTSET".into(),
                    ceil_mode: i64::from(a % 3 == 0),
                    dilations: None,
                    kernel_shape: kernel,
                    pads: half,
                    storage_order: 0,
                    strides,
                };
                self.add(pool, &[x])?;
            }
            10 => {
                let pool = op::AveragePool {
                    auto_pad: "NOTSET".into(),
                    ceil_mode: 0,
                    count_include_pad: i64::from(a % 2),
                    dilations: None,
                    kernel_shape: kernel,
                    pads: half,
                    strides,
                };
                self.add(pool, &[x])?;
            }
            11..=13 => {
                let like: Vec<ValueId> =
                    self.values.iter().copied().filter(|&v| extents(&self.b, v) == e).collect();
                let y = like[usize::from(back) % like.len()];
                self.add(op::Add { axis: None, broadcast: 0 }, &[x, y])?;
            }
            14 | 15 => {
                let like = |&v: &ValueId| extents(&self.b, v)[2..] == e[2..];
                let like: Vec<ValueId> = self.values.iter().copied().filter(like).collect();
                let y = like[usize::from(back) % like.len()];
                self.add(op::Concat { axis: 1 }, &[y, x])?;
            }
            16 => {
                let w = self.weight(&[c, 1 + u64::from(b % 2), k, k]);
                let transposed = op::ConvTranspose {
                    auto_pad: "NOTSET".into(),
                    dilations: None,
                    group: 1,
                    kernel_shape: None,
                    output_padding: None,
                    output_shape: None,
                    pads: None,
                    strides: Some(vec![2, 2]),
                };
                self.add(transposed, &[x, w])?;
            }
            17 => {
                let scales = Tensor::f32s(&[4], &[1.0, 1.0, 2.0, 2.0]).unwrap();
                let scales = self.b.constant("scales", scales);
                let op = op::Upsample {
                    mode: if a % 2 == 0 { "nearest" } else { "linear" }.into(),
                    scales: None,
                };
                self.add(op, &[x, scales])?;
            }
            18 => {
                let vectors: Vec<ValueId> = (0..3).map(|_| self.weight(&[c])).collect();
                let ones = Tensor::f32s(&[c], &vec![0.5; c as usize]).unwrap();
                let ones = self.b.constant("variance", ones);
                let op = op::BatchNormalization {
                    epsilon: 1e-5,
                    momentum: 0.9,
                    spatial: 1,
                    training_mode: 0,
                };
                self.add(op, &[x, vectors[0], vectors[1], vectors[2], ones])?;
            }
            // Channels, or rows, of one side.
            19 => {
                let axis = if a % 2 == 0 { 1 } else { 2 };
                let n = e[axis] as i64;
                let first = 1 + i64::from(b) % (n - 1).max(1);
                let op = op::Split {
                    axis: axis as i64,
                    split: Some(vec![first, (n - first).max(0)]),
                    num_outputs: None,
                };
                let both = self.b.node_with("split", op.into(), vec![Some(x)], 2).ok()?;
                self.values.push(both[usize::from(back % 2)]);
            }
            // Squeeze and excite: all of the map for every part of it.
            _ => {
                let pooled = self.b.node("gate", op::GlobalAveragePool {}, &[x]).ok()?;
                self.add(op::Mul { axis: None, broadcast: 0 }, &[x, pooled])?;
            }
        }
        Some(())
    }
}

fn build(c: &Case) -> Option<Graph> {
    let mut b = Builder::new("case", 9);
    let x = b.input("x", Type::tensor(DType::F32, &[1, c.channels, c.size.0, c.size.1]));
    let mut n = Net { b, values: vec![x], weights: 0 };
    for l in &c.layers {
        n.layer(l);
    }
    let (&last, rest) = n.values.split_last()?;
    if rest.len() < 2 {
        return None;
    }
    let mut outputs: Vec<ValueId> =
        c.outputs.iter().map(|&i| rest[usize::from(i) % rest.len()]).filter(|&v| v != x).collect();
    outputs.push(last);
    outputs.dedup();
    outputs.into_iter().for_each(|v| n.b.output(v));
    Some(n.b.finish())
}

#[derive(Default, Debug)]
struct Counts {
    /// Graphs that were tiled, by what was done with overlaps.
    tiled: BTreeMap<&'static str, u64>,
    tiles: u64,
    blocked: BTreeMap<String, u64>,
}

#[test]
fn random_graphs_are_equal_in_tiles() {
    let counts = RefCell::new(Counts::default());
    let cases = random_cases(200, &case(), |c| check(&c, &mut counts.borrow_mut()));
    let counts = counts.into_inner();
    println!("random graphs: {counts:#?}");
    let tiled: u64 = counts.tiled.values().sum();
    assert!(tiled * 2 > u64::from(cases), "{counts:?}");
}

fn check(c: &Case, counts: &mut Counts) -> Result<(), TestCaseError> {
    let Some(g) = build(c) else { return Err(TestCaseError::reject("too small")) };
    let (t, _) = optimise(&g, "simplify");
    let g = t;
    let nodes: Vec<String> = g
        .schedule()
        .filter(|&n| !matches!(g.node(n).op, Op::Constant(_)))
        .map(|n| g.label(n).to_owned())
        .collect();
    if nodes.len() < 2 {
        return Err(TestCaseError::reject("too small"));
    }
    let at = |i: u8| usize::from(i) % nodes.len();
    let (from, to) = (&nodes[at(c.group.0)], &nodes[nodes.len() - 1 - at(c.group.1)]);
    let (h, w) = c.grid;
    let (axes, reuse, split) = (c.axes, c.reuse, c.split);
    // From the start, or from a node.
    let from = if c.group.0 == 0 { String::new() } else { format!("from={from} ") };
    let pipeline =
        format!("fuse-tiles{{grid={h}x{w} axes={axes} reuse={reuse} split={split} {from}to={to}}}");
    let (t, remarks) = optimise(&g, &pipeline);
    if !remarks.iter().any(|r| r.outcome == Outcome::Applied) {
        prop_assert_eq!(t.edits(), g.edits());
        let why = remarks.first().map_or(String::new(), |r| r.message.clone());
        let why: String = why.chars().filter(|c| !c.is_ascii_digit()).collect();
        *counts.blocked.entry(why).or_default() += 1;
        return Ok(());
    }
    *counts.tiled.entry(reuse).or_default() += 1;
    counts.tiles += (h * w) as u64;
    let r = compare(&g, &t);
    prop_assert!(is_bit_exact(&r), "{pipeline}: {:?}\n{}\n{}", r, text::print(&g), text::print(&t));
    // Nothing is computed twice where everything is kept; of a transposed convolution, which is
    // counted by its inputs, the outputs of one input may lie in two tiles.
    let transposed = g.schedule().any(|n| matches!(g.node(n).op, Op::ConvTranspose(_)));
    if !transposed && (reuse == "all" || reuse == "exchange" || reuse == "rows" && w == 1) {
        let (before, after) = (cost(&g).macs, cost(&t).macs);
        prop_assert!(
            after <= before,
            "{pipeline}: {before} MACs became {after}\n{}\n{}",
            text::print(&g),
            text::print(&t)
        );
    }
    scheduled(&t, c.size.0 * 97 + c.size.1)
}

/// From any order, the peak never rises, and the bits stay.
fn scheduled(g: &Graph, seed: u64) -> Result<(), TestCaseError> {
    let wild = shuffled(g, seed);
    let (t, _) = optimise(&wild, "schedule");
    let [before, after] = [&wild, &t].map(|g| peak(g).unwrap().peak);
    let moved = !wild.schedule().eq(t.schedule());
    prop_assert!(after < before || after == before && !moved, "{before} to {after}");
    prop_assert!(same_run(g, &t), "{}\n{}", text::print(&wild), text::print(&t));
    Ok(())
}

/// An operand that is a view of another operand of the same Concat cannot stand in the result by way
/// of it: here that of a Split, whose results cannot be written apart. And parts may be empty.
#[test]
fn concats_of_a_value_and_a_view_of_it() {
    for (sizes, operands) in [
        ("[1,1]", "%a, %b"),
        ("[1,1]", "%b, %a"),
        ("[2,0]", "%a, %b"),
        ("[2,0]", "%b, %a"),
        ("[2,0]", "%e, %e"),
    ] {
        let g = text::parse(&format!(
            "graph @g(%x: f32[1,2,4,3]) -> (%y) opset 13 {{
               %n = const {sizes} : i64[2]
               %m = const [1,3] : i64[2]
               %a = Relu %x : ?
               %b, %c = Split %a, %n {{axis=1}} : ?, ?
               %d, %e = Split %c, %m {{axis=2}} : ?, ?
               %f = Concat {operands} {{axis=1}} : ?
               %y = Relu %f : ?
             }}",
        ));
        let g = g.unwrap_or_else(|e| panic!("{sizes} {operands}: {e}"));
        assert!(same_run(&g, &g), "{sizes} {operands}");
    }
}
