//! Tiles as they are drawn: which region of each value every tile reads, computes and takes over.

use graph_opt_ir::region::Region;
use graph_opt_ir::{Graph, Span, ValueId};
use graph_opt_passes::Tiled;
use graph_opt_passes::tile::{Reuse, survey};
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::name;

/// A group of nodes that runs in tiles.
#[derive(Serialize, JsonSchema)]
pub struct TilingPicture {
    /// Label of the last node of the group.
    pub label: String,
    /// The pass that made the tiles.
    pub pass: String,
    /// Number of parts along each axis of the grid.
    pub grid: Vec<usize>,
    /// What becomes of overlaps: `recompute`, `rows`, `all`, `checkerboard` or `exchange`.
    pub reuse: String,
    /// Whether all tiles do a node before any does the next one.
    pub node_by_node: bool,
    /// The nodes that run in tiles.
    pub nodes: Vec<String>,
    /// The values that tiles read from outside, those that they compute, and the outputs.
    pub values: Vec<TiledValue>,
    /// The tiles in the order in which they run.
    pub tiles: Vec<TilePicture>,
}

/// A value of which tiles need parts.
#[derive(Serialize, JsonSchema)]
pub struct TiledValue {
    /// Its name.
    pub name: String,
    /// Its type.
    pub r#type: String,
    /// Its extents.
    pub extents: Vec<u64>,
    /// Whether it comes from outside, is inside only, or is an output of the group.
    pub role: Role,
    /// The operator that makes it, with its label; empty for inputs.
    pub made_by: String,
    /// Positions of the values that its node reads.
    pub reads: Vec<usize>,
}

/// What a value is to a group.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It comes from outside.
    Input,
    /// Tiles make it and read it.
    Inner,
    /// It is joined from tiles.
    Output,
}

/// What a tile reads, computes and takes over.
#[derive(Serialize, JsonSchema)]
pub struct TilePicture {
    /// Its number in the grid, row by row.
    pub number: usize,
    /// Its position along each axis of the grid.
    pub position: Vec<usize>,
    /// Multiply-accumulates of what it computes.
    pub macs: u64,
    /// The regions, in the order in which they are read and computed.
    pub parts: Vec<PartPicture>,
}

/// The region of a value that a tile needs.
#[derive(Serialize, JsonSchema)]
pub struct PartPicture {
    /// Position of the value.
    pub value: usize,
    /// The region, a span of indices for each axis; `null` for a whole axis.
    pub need: Spans,
    /// The region that the tile computes; `null` for inputs, and if it takes over all that it needs.
    pub computed: Option<Spans>,
    /// Parts of it that other tiles computed and handed over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<Spans>,
}

/// A span for each axis: its first index, and the one after its last.
pub type Spans = Vec<Option<(i64, i64)>>;

/// The picture of a group that a pass tiled in this graph, whose sizes should be known; `None` if it is in a
/// body, or sizes are unknown.
pub fn picture(graph: &Graph, pass: &str, tiled: &Tiled) -> Option<TilingPicture> {
    let g = &tiled.group;
    let nodes = g.group.nodes.iter().all(|&n| graph.get_node(n).is_some());
    let values = g.group.outputs.iter().all(|&v| graph.get_value(v).is_some());
    if !tiled.scope.is_empty() || !nodes || !values {
        return None;
    }
    let tiles = survey(graph, &g.group, &g.grid, g.reuse).ok()?;
    let outside = g.group.inputs(graph);
    let mut values: Vec<ValueId> = Vec::new();
    let read = tiles.iter().flat_map(|t| t.inputs.iter().chain(&t.values)).map(|(v, _)| *v);
    let read: std::collections::HashSet<ValueId> = read.collect();
    let made = g.group.nodes.iter().flat_map(|&n| graph.node(n).outputs.iter().flatten().copied());
    for v in outside.iter().copied().chain(made) {
        if read.contains(&v) && !values.contains(&v) {
            values.push(v);
        }
    }
    let row = |&v: &ValueId| -> Option<TiledValue> {
        let value = graph.value(v);
        let role = if outside.contains(&v) {
            Role::Input
        } else if g.group.outputs.contains(&v) {
            Role::Output
        } else {
            Role::Inner
        };
        let maker = graph.producer(v).filter(|_| !matches!(role, Role::Input));
        let operands = maker.iter().flat_map(|&n| graph.node(n).inputs.iter().flatten());
        let reads = operands.filter_map(|v| values.iter().position(|w| w == v)).collect();
        let made_by = maker.map(|n| format!("{} {}", graph.node(n).op.name(), graph.label(n)));
        Some(TiledValue {
            name: value.name.to_string(),
            r#type: value.ty.to_string(),
            extents: value.ty.extents()?,
            role,
            made_by: made_by.unwrap_or_default(),
            reads,
        })
    };
    let at = |v: ValueId| values.iter().position(|w| *w == v);
    let counts = g.grid.counts();
    let tile = |t: &graph_opt_passes::tile::TileNeeds| -> Option<TilePicture> {
        let mut parts = Vec::new();
        for (v, need) in t.inputs.iter().chain(&t.values) {
            let inside = !outside.contains(v);
            let taken = t.taken.iter().filter(|(w, _)| w == v && inside).map(|(_, r)| spans(r));
            let computed = t.computed.iter().find(|(w, _)| w == v && inside);
            parts.push(PartPicture {
                value: at(*v)?,
                need: spans(need),
                computed: computed.map(|(_, r)| spans(r)),
                taken: taken.collect(),
            });
        }
        let number = t.position.iter().zip(&counts).fold(0, |n, (i, of)| n * of + i);
        Some(TilePicture { number, position: t.position.clone(), macs: t.macs, parts })
    };
    Some(TilingPicture {
        label: g.group.nodes.last().map_or("", |&n| graph.label(n)).to_owned(),
        pass: pass.to_owned(),
        grid: counts.clone(),
        reuse: g.reuse.name().to_owned(),
        node_by_node: g.reuse == Reuse::Exchange,
        nodes: g.group.nodes.iter().map(|&n| graph.label(n).to_owned()).collect(),
        values: values.iter().map(row).collect::<Option<_>>()?,
        tiles: tiles.iter().map(tile).collect::<Option<_>>()?,
    })
}

fn spans(r: &Region) -> Spans {
    r.iter().map(|s| s.map(|Span { lo, hi }| (lo, hi))).collect()
}

/// Most tiles that have a bar.
const BARS: usize = 12;
/// Columns of a bar.
const COLUMNS: usize = 48;

/// What tiles need of the first value that they read from outside, along the axis that the grid cuts first: a bar
/// for each tile there. Empty if they need all of it.
pub fn bars(t: &TilingPicture) -> String {
    let first = t.values.iter().position(|v| matches!(v.role, Role::Input));
    let Some(value) = first else { return String::new() };
    let row = |tile: &&TilePicture| tile.position.iter().skip(1).all(|&i| i == 0);
    let of = |tile: &'_ TilePicture| tile.parts.iter().position(|p| p.value == value);
    let read = |tile| -> Option<(usize, &Spans)> {
        let tile: &TilePicture = tile;
        Some((tile.position.first().copied()?, &tile.parts[of(tile)?].need))
    };
    let rows: Vec<(usize, &Spans)> = t.tiles.iter().filter(row).filter_map(read).collect();
    let extents = &t.values[value].extents;
    let whole = |axis: usize, s: &Option<(i64, i64)>| {
        s.is_none_or(|(a, b)| (a, b) == (0, extents[axis] as i64))
    };
    let cut = (0..extents.len()).find(|&a| rows.iter().any(|(_, s)| !whole(a, &s[a])));
    let Some(axis) = cut else { return String::new() };
    let n = extents[axis].max(1) as usize;
    let span = |s: &Spans| {
        let (a, b) = s[axis].unwrap_or((0, n as i64));
        (a.max(0) as usize, (b.max(0) as usize).min(n))
    };
    let spans: Vec<(usize, usize)> = rows.iter().map(|(_, s)| span(s)).collect();
    let columns = n.min(COLUMNS);
    let grid: Vec<String> = t.grid.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "    {} tiles up to {}, {}: axis {axis} of {} ({n} elements)\n",
        grid.join("x"),
        name(&t.label),
        t.reuse,
        name(&t.values[value].name)
    );
    for (k, ((i, _), &(a, b))) in rows.iter().zip(&spans).enumerate().take(BARS) {
        let mark = |c: usize| {
            // The elements of a column: a share of the tile where most of it is.
            let (from, to) = (c * n / columns, ((c + 1) * n / columns).max(c * n / columns + 1));
            let inside = |(a, b): (usize, usize)| a < to && from < b;
            let other = spans.iter().enumerate().any(|(j, &s)| j != k && inside(s));
            match (inside((a, b)), other) {
                (false, _) => '·',
                (true, true) => '▒',
                (true, false) => '█',
            }
        };
        let bar: String = (0..columns).map(mark).collect();
        text.push_str(&format!("    {i:>4} {bar} {a}..{b}\n"));
    }
    if rows.len() > BARS {
        text.push_str(&format!("         and {} more\n", rows.len() - BARS));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Trace;

    #[test]
    fn tiles_and_their_halos_are_drawn() {
        let mut graph = graph_opt_ir::text::parse(
            "graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
               %v = const random(1)              : f32[8,3,3,3]
               %w = const random(2)              : f32[4,8,3,3]
               %a = Conv %x, %v {pads=[1,1,1,1]} : f32[1,8,16,16] ; conv1
               %y = Conv %a, %w {pads=[1,1,1,1]} : f32[1,4,16,16] ; conv2
             }",
        )
        .unwrap();
        let text = "fuse-tiles{grid=2x1 to=conv2}";
        let pipeline = graph_opt_passes::Pipeline::parse(text).unwrap();
        let trace = Trace::of(&graph);
        let sized = |_: &Graph| None;
        trace
            .watch(graph_opt_passes::Runner::default(), &sized)
            .run(&mut graph, &pipeline)
            .unwrap();
        let recorded = trace.recorded();
        let [t] = &recorded.tilings[..] else { panic!("{} groups", recorded.tilings.len()) };
        assert_eq!((t.grid.clone(), t.tiles.len()), (vec![2, 1], 2));
        // The second tile: rows 6 to 15 of the input, 7 to 15 of the value between, 8 to 15 of the output.
        let rows: Vec<_> = t.tiles[1].parts.iter().map(|p| p.need[2]).collect();
        assert_eq!(rows, [Some((6, 16)), Some((7, 16)), Some((8, 16))]);
        let computed: Vec<_> =
            t.tiles[1].parts.iter().map(|p| p.computed.as_ref().map(|s| s[2])).collect();
        assert_eq!(computed, [None, Some(Some((7, 16))), Some(Some((8, 16)))]);
        assert_eq!(t.values[2].reads, [1]);
        let want = "    2x1 tiles up to conv2, recompute: axis 2 of x (16 elements)\n       \
                    0 ██████▒▒▒▒······ 0..10\n       1 ······▒▒▒▒██████ 6..16\n";
        assert_eq!(bars(t), want);
    }
}
