//! The rows of msf-CNN (Huang and Baccelli, 2025) in `../shared/golden/README.md`, in its own cost
//! model: networks in int8; a fused run of layers makes a few rows of its result at a time, column
//! by column, and holds its whole input and output and, of every layer's operand, as many columns
//! as the kernel is wide, as high as the rows need. The network's input and output do not count.

use graph_opt_ir::{Builder, DType, Graph, NodeId, Tensor, Type, ValueId, op};
use graph_opt_passes::analysis::{cost, node_macs};
use graph_opt_passes::tile::{Grid, Group, Reuse, TileNeeds, parts, survey};

use crate::support::shared;

/// A network of nothing but convolutions.
struct Net {
    b: Builder,
    x: ValueId,
}

impl Net {
    fn new(side: u64) -> Self {
        let mut b = Builder::new("msf", 13);
        let x = b.input("x", Type::tensor(DType::F32, &[1, 3, side, side]));
        Self { b, x }
    }

    fn channels(&self) -> u64 {
        self.b.graph().value(self.x).ty.extents().unwrap()[1]
    }

    /// A convolution, padded to keep the extent, or half of it; depthwise if told so.
    fn conv(&mut self, channels: u64, kernel: u64, stride: i64, depthwise: bool) {
        let ins = if depthwise { 1 } else { self.channels() };
        let dims = [channels, ins, kernel, kernel];
        let w = self.b.constant("w", Tensor::random(DType::F32, &dims, 1).unwrap());
        let pad = (kernel as i64 - 1) / 2;
        let conv = op::Conv {
            auto_pad: "NOTSET".into(),
            dilations: None,
            group: if depthwise { channels as i64 } else { 1 },
            kernel_shape: None,
            pads: Some(vec![pad; 4]),
            strides: Some(vec![stride; 2]),
        };
        self.x = self.b.node("conv", conv, &[self.x, w]).unwrap();
    }

    /// An inverted bottleneck without its shortcut, as the publication counts it.
    fn block(&mut self, channels: u64, expansion: u64, stride: i64, kernel: u64) {
        let inner = self.channels() * expansion;
        self.conv(inner, 1, 1, false);
        self.conv(inner, kernel, stride, true);
        self.conv(channels, 1, 1, false);
    }

    fn finish(mut self) -> Graph {
        self.b.output(self.x);
        self.b.finish()
    }
}

/// MobileNetV2 of its paper at width 0.35; channels are rounded down, not to multiples of 8: only
/// so the untiled figure is the published one.
fn mobilenet() -> Graph {
    let width = |c: u64| c * 35 / 100;
    let mut n = Net::new(144);
    n.conv(width(32), 3, 2, false);
    for (expansion, channels, count, stride) in [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ] {
        for i in 0..count {
            n.block(width(channels), expansion, if i == 0 { stride } else { 1 }, 3);
        }
    }
    n.conv(width(1280), 1, 1, false);
    n.finish()
}

/// MCUNet for 320 KB (Lin et al., 2020), as the publication lists it.
fn mcunet() -> Graph {
    let mut n = Net::new(176);
    n.conv(16, 3, 2, false);
    n.conv(16, 3, 1, true);
    n.conv(8, 1, 1, false);
    for (channels, expansion, stride, kernel) in [
        (16, 3, 2, 7),
        (16, 5, 1, 3),
        (16, 5, 1, 7),
        (16, 4, 1, 5),
        (24, 5, 2, 5),
        (24, 5, 1, 5),
        (24, 5, 1, 5),
        (40, 5, 2, 3),
        (40, 6, 1, 7),
        (40, 4, 1, 5),
        (48, 5, 1, 5),
        (48, 5, 1, 7),
        (48, 5, 1, 3),
        (96, 6, 2, 3),
        (96, 5, 1, 7),
        (96, 4, 1, 3),
        (160, 5, 1, 7),
    ] {
        n.block(channels, expansion, stride, kernel);
    }
    n.finish()
}

/// Memory in bytes, and multiply-accumulates.
type Point = (u64, u64);

/// Longest run of layers that is tried.
const REACH: usize = 16;

/// The points that no other plan beats, least work first.
fn front(g: &Graph, ceiling: u64) -> Vec<Point> {
    let nodes: Vec<NodeId> = g.schedule().filter(|&n| g.node(n).op.name() == "Conv").collect();
    let size = |v: ValueId| g.value(v).ty.extents().unwrap().iter().product::<u64>();
    let input = |n: NodeId| g.node(n).inputs[0].unwrap();
    let mut ways: Vec<Vec<Point>> = vec![vec![(0, 0)]];
    for to in 0..nodes.len() {
        let mut all = Vec::new();
        for from in (0..=to).rev().take(REACH) {
            let y = g.node(nodes[to]).outputs[0].unwrap();
            let ends = if from > 0 { size(input(nodes[from])) } else { 0 }
                + if to + 1 < nodes.len() { size(y) } else { 0 };
            if ends > ceiling {
                continue;
            }
            for (memory, macs) in runs(g, &nodes[from..=to], y) {
                let more = |&(m, w): &Point| (m.max(ends + memory), w + macs);
                all.extend(ways[from].iter().map(more));
            }
        }
        all.sort_by_key(|&(memory, macs)| (macs, memory));
        let mut least = ceiling + 1;
        all.retain(|p| {
            let better = p.0 < least;
            least = least.min(p.0);
            better
        });
        ways.push(all);
    }
    ways.pop().unwrap()
}

/// Buffers and work of a run of layers: of one layer as it is; of several, for some numbers of
/// rows. Which rows a layer needs, and how many it computes, is what the region rules say.
fn runs(g: &Graph, nodes: &[NodeId], y: ValueId) -> Vec<Point> {
    let group = Group { nodes: nodes.to_vec(), outputs: vec![y] };
    let side = |v: ValueId| g.value(v).ty.extents().unwrap()[2];
    let rows = side(y) as i64;
    let of = |count: i64| {
        let spans = parts::even(rows, count, 1, false).ok()?;
        survey(g, &group, &Grid { axes: vec![(2, spans)] }, Reuse::Recompute).ok()
    };
    let mut all = Vec::new();
    for count in [1, 2, 3, 4, 6, 9, 12, 18, 36, rows] {
        if nodes.len() == 1 && count > 1 || count > rows {
            continue;
        }
        let Some(tiles) = of(count) else { continue };
        // Rows of a value that a tile needs: what every tile needs whole is not listed.
        let high = |t: &TileNeeds, v: ValueId| match t.region(v) {
            Some(r) => r[2].map_or(side(v), |s| s.len() as u64),
            None => side(v),
        };
        let macs = tiles.iter().flat_map(|t| {
            nodes.iter().map(move |&n| {
                let y = g.node(n).outputs[0].unwrap();
                node_macs(g, n).unwrap() * high(t, y) / side(y)
            })
        });
        let macs = macs.sum();
        let buffer = |&n: &NodeId| {
            let node = g.node(n);
            let (x, w) = (node.inputs[0].unwrap(), node.inputs[1].unwrap());
            let most = tiles.iter().map(|t| high(t, x)).max().unwrap();
            let extents = |v: ValueId| g.value(v).ty.extents().unwrap();
            extents(w)[3] * most * extents(x)[1]
        };
        let memory = if nodes.len() == 1 { 0 } else { nodes.iter().map(buffer).sum() };
        all.push((memory, macs));
    }
    all
}

#[test]
fn every_budget_at_no_more_work() {
    if shared("golden").is_none() {
        return;
    }
    for (name, g, untiled, rows) in [
        (
            "MobileNetV2 w0.35 at 144",
            mobilenet(),
            194_400,
            &[
                (181_440, 1.0),
                (83_133, 1.019),
                (63_603, 1.230),
                (25_803, 1.253),
                (15_199, 1.382),
                (8_560, 1.679),
            ][..],
        ),
        (
            "MCUNet-320KB at 176",
            mcunet(),
            309_760,
            &[(247_808, 1.0), (94_224, 1.455), (63_456, 2.019), (51_164, 2.695)],
        ),
    ] {
        let size = |v: ValueId| g.value(v).ty.extents().unwrap().iter().product::<u64>();
        let layer = |n: NodeId| {
            let (x, y) = (g.node(n).inputs[0].unwrap(), g.node(n).outputs[0].unwrap());
            let outside = |v: ValueId| g.inputs().contains(&v) || g.outputs().contains(&v);
            [x, y].into_iter().filter(|&v| !outside(v)).map(size).sum::<u64>()
        };
        let convolutions = g.schedule().filter(|&n| g.node(n).op.name() == "Conv");
        assert_eq!(convolutions.map(layer).max(), Some(untiled), "{name}");
        let macs = cost(&g).macs;
        let front = front(&g, rows[0].0);
        for &(limit, published) in rows {
            let found = front.iter().find(|p| p.0 <= limit);
            let &(memory, work) = found.unwrap_or_else(|| panic!("{name}: nothing within {limit}"));
            let factor = work as f64 / macs as f64;
            println!("{name}: {limit} B at x{published:.3}; ours {memory} B at x{factor:.3}");
            assert!(factor <= published, "{name}: {limit}");
        }
    }
}
