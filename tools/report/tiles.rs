//! Tiles as they are drawn: which region of each value every tile reads, computes and takes over.

use graph_opt_ir::region::Region;
use graph_opt_ir::{Graph, Span, ValueId};
use graph_opt_passes::Tiled;
use graph_opt_passes::tile::{Reuse, survey};
use schemars::JsonSchema;
use serde::Serialize;

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
        let role = match () {
            () if outside.contains(&v) => Role::Input,
            () if g.group.outputs.contains(&v) => Role::Output,
            () => Role::Inner,
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
