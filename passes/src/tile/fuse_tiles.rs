//! `fuse-tiles`: a stretch of the graph runs tile by tile, so that only one tile of what lies
//! inside exists at a time.
//!
//! Before:
//! ```text
//! graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
//!   %V = const random(1)                        : f32[8,3,3,3]
//!   %W = const random(2)                        : f32[4,8,3,3]
//!   %a = Conv %x, %V {pads=[1,1,1,1]}           : f32[1,8,16,16]    ; conv1
//!   %y = Conv %a, %W {pads=[1,1,1,1]}           : f32[1,4,16,16]    ; conv2
//! }
//! ```
//! After `fuse-tiles{grid=2x1 to=conv2}`:
//! ```text
//! graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
//!   %V = const random(1)                        : f32[8,3,3,3]
//!   %W = const random(2)                        : f32[4,8,3,3]
//!   %b = Slice %x [2: 0..10]                    : f32[1,3,10,16]
//!   %c = Conv %b, %V {pads=[1,1,0,1]}           : f32[1,8,9,16]
//!   %d = Conv %c, %W {pads=[1,1,0,1]}           : f32[1,4,8,16]
//!   %e = Slice %x [2: 6..16]                    : f32[1,3,10,16]
//!   %f = Conv %e, %V {pads=[0,1,1,1]}           : f32[1,8,9,16]
//!   %g = Conv %f, %W {pads=[0,1,1,1]}           : f32[1,4,8,16]
//!   %y = Concat %d, %g {axis=2}                 : f32[1,4,16,16]
//! }
//! ```
//!
//! The order of the nodes is part of the rewriting: each tile runs to its end before the next one
//! starts. By hand, `grid` and `to` (and `from`) name one group; with `memory` or `extra-macs` the
//! planner finds groups, grids, and what is kept of overlaps.

use std::fmt;
use std::str::FromStr;

use graph_opt_ir::names::{NameError, NodeNames};
use graph_opt_ir::{EditError, EditFault, Graph, Span};

use super::planner::{self, Goal, Limits};
use super::{Grid, Group, Reuse, build, parts};
use crate::analysis::memory::Runtime;
use crate::options::{OptionError, OptionInfo, Options, bytes_text, list_text, name_of};
use crate::pass::{Cx, Data, Exactness, Outcome, Pass, PassInfo};

/// Its entry in the registry.
pub const INFO: PassInfo = PassInfo {
    name: "fuse-tiles",
    summary: "a stretch of the graph runs tile by tile, to need less memory",
    exactness: Exactness::BitExact,
    options: &[
        OptionInfo {
            name: "memory",
            value: "8MiB",
            help: "find the tiles of least extra work whose peak of activations fits",
        },
        OptionInfo {
            name: "extra-macs",
            value: "10%",
            help: "find the tiles of least memory within this much extra work",
        },
        OptionInfo {
            name: "front",
            value: "list",
            help: "change nothing, and list the plans that no other one beats in both peak and work",
        },
        OptionInfo {
            name: "max-tiles",
            value: "64",
            help: "most tiles of a group that the planner considers (default 64)",
        },
        OptionInfo {
            name: "runtime",
            value: "interpreter|onnxruntime",
            help: "by whose rules the planner counts memory: where parts are views (default), or as ONNX Runtime does it, without reuse and in the order of the file",
        },
        OptionInfo {
            name: "partly",
            value: "yes",
            help: "with memory: nodes that need more, and that nothing tiles, are left as they are",
        },
        OptionInfo { name: "grid", value: "5x5", help: "by hand: number of parts along each axis" },
        OptionInfo {
            name: "axes",
            value: "hxw",
            help: "axes of the grid: n, c, d, h, w or numbers (default hxw, or h for one number)",
        },
        OptionInfo {
            name: "split",
            value: "even|ceil",
            help: "remainders are spread, or the last part is shorter (default even)",
        },
        OptionInfo {
            name: "sizes",
            value: "[8,8,3]x[10,9]",
            help: "by hand: sizes of the parts along each axis",
        },
        OptionInfo {
            name: "weights",
            value: "[2,1]x[1,1]",
            help: "by hand: sizes of the parts relative to each other",
        },
        OptionInfo {
            name: "from",
            value: "NODE",
            help: "first node of the group, or a value that it makes (default the start)",
        },
        OptionInfo { name: "to", value: "NODE", help: "last node of the group, or its value" },
        OptionInfo {
            name: "nodes",
            value: "all",
            help: "the group is all nodes that run from the first one to the last (default those on ways between them)",
        },
        OptionInfo {
            name: "reuse",
            value: "recompute|rows|all|checkerboard|exchange",
            help: "what several tiles need is computed by each of them, kept along the first axis, kept along all axes, handed from every other tile to its neighbours, or computed once and exchanged node by node (default recompute; for the planner, any of the first four)",
        },
    ],
    make,
};

/// How an axis is cut into parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Into so many parts; remainders are spread.
    Even(i64),
    /// Into so many parts, of which the last may be shorter.
    Ceil(i64),
    /// Into parts of these sizes.
    Sizes(Vec<i64>),
    /// Into parts of these sizes relative to each other.
    Weights(Vec<i64>),
}

impl Cut {
    fn spans(&self, n: i64) -> Result<Vec<Span>, String> {
        match self {
            Self::Even(p) => parts::even(n, *p, 1, false),
            Self::Ceil(p) => parts::ceil(n, *p),
            Self::Sizes(s) => parts::of_sizes(n, s),
            Self::Weights(w) => parts::weighted(n, w),
        }
    }

    /// The option that says it, and its value.
    fn text(&self) -> (&'static str, String) {
        match self {
            Self::Even(n) | Self::Ceil(n) => ("grid", n.to_string()),
            Self::Sizes(s) => ("sizes", list_text(s)),
            Self::Weights(w) => ("weights", list_text(w)),
        }
    }
}

/// An axis of a group's last result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Axis {
    /// The first axis.
    Batch,
    /// The second axis.
    Channels,
    /// The third axis from the end.
    Depth,
    /// The second axis from the end.
    Height,
    /// The last axis.
    Width,
    /// The axis of this number, from 0.
    Number(usize),
}

const AXES: [(&str, Axis); 5] = [
    ("n", Axis::Batch),
    ("c", Axis::Channels),
    ("d", Axis::Depth),
    ("h", Axis::Height),
    ("w", Axis::Width),
];

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => write!(f, "{n}"),
            named => f.write_str(name_of(*named, &AXES)),
        }
    }
}

impl FromStr for Axis {
    type Err = OptionError;

    fn from_str(name: &str) -> Result<Self, OptionError> {
        let named = AXES.iter().find(|a| a.0 == name).map(|a| a.1);
        let found = named.or_else(|| name.parse().ok().map(Self::Number));
        let wrong = || format!("axes must be n, c, d, h, w or numbers, as in hxw, not {name:?}");
        found.ok_or_else(|| OptionError(wrong()))
    }
}

impl Axis {
    /// The axis of a tensor of this rank.
    fn of(self, rank: usize) -> Result<usize, String> {
        let from_end = |k: usize| rank.checked_sub(k);
        let found = match self {
            Self::Batch => Some(0),
            Self::Channels => Some(1),
            Self::Depth => from_end(3),
            Self::Height => from_end(2),
            Self::Width => from_end(1),
            Self::Number(n) => Some(n),
        };
        let found = found.filter(|&a| a < rank);
        found.ok_or_else(|| format!("the group's last result, of rank {rank}, has no axis {self}"))
    }
}

/// One group, by hand: the nodes up to one, on a grid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stretch {
    from: Option<String>,
    to: String,
    all: bool,
    cuts: Vec<(Axis, Cut)>,
    reuse: Reuse,
}

impl Stretch {
    /// The nodes up to this one, or to the one that makes the value of this name, in tiles: for each
    /// axis of the grid, how it is cut, all in the same way.
    ///
    /// # Errors
    /// If there are no cuts, or some of different kinds; if there are no parts, or a size or weight is
    /// less than 1; or without a name.
    pub fn to(to: impl Into<String>, cuts: Vec<(Axis, Cut)>) -> Result<Self, OptionError> {
        let err = |m: &str| Err(OptionError(m.into()));
        let kind = |c: &(Axis, Cut)| std::mem::discriminant(&c.1);
        if cuts.is_empty() || cuts.iter().any(|c| kind(c) != kind(&cuts[0])) {
            return err("all axes of a grid are cut in the same way, and there is at least one");
        }
        let small = |c: &(Axis, Cut)| match &c.1 {
            Cut::Even(n) | Cut::Ceil(n) => *n < 1,
            Cut::Sizes(s) | Cut::Weights(s) => s.is_empty() || s.iter().any(|&n| n < 1),
        };
        if cuts.iter().any(small) {
            return err("parts, sizes and weights must be whole numbers of at least 1");
        }
        let to = to.into();
        if to.is_empty() {
            return err("to is missing: the last node of the group, such as to=conv5");
        }
        Ok(Self { from: None, to, all: false, cuts, reuse: Reuse::Recompute })
    }

    /// Begins with this node, or with the one that makes the value of this name.
    #[must_use]
    pub fn from(self, node: impl Into<String>) -> Self {
        Self { from: Some(node.into()), ..self }
    }

    /// Takes all nodes that run from the first one to the last, and not only those on ways between them.
    #[must_use]
    pub fn all_nodes(self) -> Self {
        Self { all: true, ..self }
    }

    /// What happens to what several tiles need.
    #[must_use]
    pub fn reuse(self, reuse: Reuse) -> Self {
        Self { reuse, ..self }
    }

    /// The stretch by which this group of a graph is tiled on a grid of even parts; `None` if there is
    /// none.
    pub(super) fn of(graph: &Graph, group: &Group, grid: &Grid, reuse: Reuse) -> Option<Self> {
        let names = NodeNames::of_graph(graph);
        let (first, last) = (*group.nodes.first()?, *group.nodes.last()?);
        let rank = graph.value(*group.outputs.last()?).ty.rank()?;
        let axis = |a: usize| match rank - a {
            1 if rank > 1 => Axis::Width,
            2 => Axis::Height,
            _ => Axis::Number(a),
        };
        let cuts = grid.axes.iter().map(|(a, parts)| (axis(*a), Cut::Even(parts.len() as i64)));
        let stretch = Self::to(names.name(last), cuts.collect()).ok()?.from(names.name(first));
        let stretch = stretch.reuse(reuse);
        let all = stretch.clone().all_nodes();
        let same = |s: &Self| matches!(s.group(graph), Ok((g, d)) if g == *group && d == *grid);
        [stretch, all].into_iter().find(same)
    }

    fn options(&self) -> Options {
        let axes: Vec<String> = self.cuts.iter().map(|c| c.0.to_string()).collect();
        let cuts: Vec<String> = self.cuts.iter().map(|c| c.1.text().1).collect();
        let mut options = Options::default().with("to", &self.to);
        if let Some((_, first)) = self.cuts.first() {
            options = options.with(first.text().0, cuts.join("x"));
            if matches!(first, Cut::Ceil(_)) {
                options = options.with("split", "ceil");
            }
        }
        let axes = axes.join("x");
        if axes != default_axes(self.cuts.len()) {
            options = options.with("axes", axes);
        }
        if let Some(from) = &self.from {
            options = options.with("from", from);
        }
        if self.all {
            options = options.with("nodes", "all");
        }
        match self.reuse {
            Reuse::Recompute => options,
            r => options.with("reuse", r),
        }
    }
}

/// What the planner is to find.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Aim {
    Best(Goal),
    Front,
}

/// Groups and grids that the planner finds.
#[derive(Clone, PartialEq, Debug)]
pub struct Planned {
    aim: Aim,
    partly: bool,
    tiles: usize,
    reuse: Option<Reuse>,
    runtime: Runtime,
}

impl Planned {
    /// The tiles of least extra work whose peak of activations is at most so many bytes.
    pub fn within(bytes: u64) -> Self {
        Self::of(Aim::Best(Goal::Memory(bytes)))
    }

    /// The same; nodes that need more, and that nothing tiles, are left as they are.
    pub fn partly_within(bytes: u64) -> Self {
        Self { partly: true, ..Self::within(bytes) }
    }

    /// The tiles of least memory with at most this share of extra multiply-accumulates, such as 0.1.
    ///
    /// # Errors
    /// If it is negative or not finite.
    pub fn extra_macs(share: f64) -> Result<Self, OptionError> {
        if share.is_finite() && share >= 0.0 {
            return Ok(Self::of(Aim::Best(Goal::ExtraMacs(share))));
        }
        Err(OptionError(format!("extra-macs must be a share such as 10%, not {share}")))
    }

    /// No tiles, but remarks on the plans that no other one beats in both peak and work.
    pub fn front() -> Self {
        Self::of(Aim::Front)
    }

    fn of(aim: Aim) -> Self {
        let Limits { tiles, runtime, .. } = Limits::default();
        Self { aim, partly: false, tiles, reuse: None, runtime }
    }

    /// Considers groups of at most so many tiles, at least one.
    #[must_use]
    pub fn max_tiles(self, n: usize) -> Self {
        Self { tiles: n.max(1), ..self }
    }

    /// Tries only this for what several tiles need.
    ///
    /// # Errors
    /// For [`Reuse::Exchange`], unless plans are only listed: it keeps all tiles at once.
    pub fn reuse(self, reuse: Reuse) -> Result<Self, OptionError> {
        if reuse == Reuse::Exchange && self.aim != Aim::Front {
            let why = "reuse=exchange keeps all tiles at once: it is for devices side by side";
            return Err(OptionError(why.into()));
        }
        Ok(Self { reuse: Some(reuse), ..self })
    }

    /// Counts memory by the rules of this runtime.
    #[must_use]
    pub fn runtime(self, runtime: Runtime) -> Self {
        Self { runtime, ..self }
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits { tiles: self.tiles, ..Limits::default() };
        (limits.runtime, limits.partly) = (self.runtime, self.partly);
        if let Some(r) = self.reuse {
            limits.reuse = vec![r];
        }
        limits
    }

    fn options(&self) -> Options {
        let mut options = match self.aim {
            Aim::Best(Goal::Memory(b)) => Options::default().with("memory", bytes_text(b)),
            Aim::Best(Goal::ExtraMacs(share)) => Options::default().with("extra-macs", share),
            Aim::Front => Options::default().with("front", "list"),
        };
        if self.partly {
            options = options.with("partly", "yes");
        }
        if self.tiles != Limits::default().tiles {
            options = options.with("max-tiles", self.tiles);
        }
        if let Some(r) = self.reuse {
            options = options.with("reuse", r);
        }
        if self.runtime != Runtime::default() {
            options = options.with("runtime", self.runtime);
        }
        options
    }
}

/// The pass `fuse-tiles`.
///
/// ```
/// use graph_opt_passes::Pipeline;
/// use graph_opt_passes::tile::Reuse;
/// use graph_opt_passes::tile::fuse_tiles::{FuseTiles, Planned};
///
/// let tiles = FuseTiles::from(Planned::within(12 << 20).reuse(Reuse::Rows)?);
/// let text = "fuse-tiles{memory=12MiB reuse=rows}";
/// assert_eq!(Pipeline::default().then(tiles).to_string(), text);
/// # Ok::<(), graph_opt_passes::OptionError>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub enum FuseTiles {
    /// One group, by hand.
    Stretch(Stretch),
    /// What the planner finds.
    Planned(Planned),
}

impl From<Stretch> for FuseTiles {
    fn from(by_hand: Stretch) -> Self {
        Self::Stretch(by_hand)
    }
}

impl From<Planned> for FuseTiles {
    fn from(planned: Planned) -> Self {
        Self::Planned(planned)
    }
}

fn make(o: &Options) -> Result<Box<dyn Pass>, OptionError> {
    let err = |m: &str| Err(OptionError(m.into()));
    let reuse = o.choice("reuse", &Reuse::ALL.map(|r| (r.name(), r)))?;
    let by_hand = ["grid", "sizes", "weights"].iter().filter(|n| o.get(n).is_some()).count();
    let partly = o.choice("partly", &[("yes", ())])?.is_some();
    if partly && o.get("memory").is_none() {
        return err("partly goes with memory");
    }
    let front = o.choice("front", &[("list", ())])?.is_some();
    let goals = ["memory", "extra-macs"].iter().filter(|n| o.get(n).is_some()).count();
    if front || goals > 0 {
        if front && (goals > 0 || by_hand > 0) {
            return err("front lists plans; it goes with none of the other goals");
        }
        if !front
            && (by_hand > 0
                || ["to", "from", "nodes", "axes", "split"].iter().any(|n| o.get(n).is_some()))
        {
            return err("memory and extra-macs let the planner choose groups and grids");
        }
        let mut planned = match (o.bytes("memory")?, o.get("extra-macs")) {
            (Some(b), None) if partly => Planned::partly_within(b),
            (Some(b), None) => Planned::within(b),
            (None, Some(p)) => Planned::extra_macs(percent(p)?)?,
            (None, None) => Planned::front(),
            _ => return err("either memory or extra-macs"),
        };
        if let Some(n) = o.count("max-tiles")? {
            planned = planned.max_tiles(n as usize);
        }
        if let Some(r) = reuse {
            planned = planned.reuse(r)?;
        }
        if let Some(name) = o.get("runtime") {
            planned = planned.runtime(name.parse().map_err(OptionError)?);
        }
        return Ok(Box::new(FuseTiles::from(planned)));
    }
    if o.get("runtime").is_some() {
        return err(
            "runtime says how the planner counts; it goes with memory, extra-macs or front",
        );
    }
    // It means nothing by hand, but was never refused.
    o.count("max-tiles")?;
    if by_hand != 1 {
        return err("one of memory, extra-macs, front, grid, sizes and weights is needed");
    }
    let to = o.get("to").unwrap_or_default();
    let ceil = o.choice("split", &[("even", false), ("ceil", true)])?.unwrap_or_default();
    let lists = |name: &str, make: fn(Vec<i64>) -> Cut| -> Result<Option<Vec<Cut>>, OptionError> {
        let Some(v) = o.get(name) else { return Ok(None) };
        v.split('x')
            .map(|l| crate::options::list(name, l).map(make))
            .collect::<Result<_, _>>()
            .map(Some)
    };
    let cuts = match (o.get("grid"), lists("sizes", Cut::Sizes)?, lists("weights", Cut::Weights)?) {
        (Some(g), ..) => {
            let cut = |n: &str| {
                let n = crate::options::count("grid", n)?;
                Ok(if ceil { Cut::Ceil(n) } else { Cut::Even(n) })
            };
            g.split('x').map(cut).collect::<Result<Vec<_>, _>>()?
        }
        (_, Some(c), _) | (_, _, Some(c)) => c,
        _ => Vec::new(),
    };
    let axes = o.get("axes").unwrap_or(default_axes(cuts.len()));
    let axes: Vec<Axis> = axes.split('x').map(str::parse).collect::<Result<_, _>>()?;
    if axes.len() != cuts.len() {
        let (a, b) = (axes.len(), cuts.len());
        return Err(OptionError(format!("{a} axes, but parts for {b}")));
    }
    let mut by_hand = Stretch::to(to, axes.into_iter().zip(cuts).collect())?;
    if let Some(from) = o.get("from") {
        by_hand = by_hand.from(from);
    }
    if o.choice("nodes", &[("all", ())])?.is_some() {
        by_hand = by_hand.all_nodes();
    }
    Ok(Box::new(FuseTiles::from(by_hand.reuse(reuse.unwrap_or(Reuse::Recompute)))))
}

/// The axes of a grid, if it is not said which.
fn default_axes(count: usize) -> &'static str {
    if count == 1 { "h" } else { "hxw" }
}

/// A share such as `10%` or `0.1`.
fn percent(v: &str) -> Result<f64, OptionError> {
    let (number, scale) = v.strip_suffix('%').map_or((v, 1.0), |n| (n, 100.0));
    match number.parse::<f64>() {
        Ok(n) if n.is_finite() && n >= 0.0 => Ok(n / scale),
        _ => Err(OptionError(format!("extra-macs must be a share such as 10%, not {v:?}"))),
    }
}

impl Pass for FuseTiles {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn options(&self) -> Options {
        match self {
            Self::Stretch(s) => s.options(),
            Self::Planned(p) => p.options(),
        }
    }

    fn exactness(&self) -> Exactness {
        Exactness::BitExact
    }

    fn run(&self, cx: &mut Cx<'_, '_>) -> Result<(), EditError> {
        match self {
            Self::Planned(p) => match p.aim {
                Aim::Best(goal) => planner::run(cx, goal, &p.limits()),
                Aim::Front => {
                    planner::list(cx, &p.limits());
                    Ok(())
                }
            },
            Self::Stretch(s) => s.run(cx),
        }
    }
}

impl Stretch {
    fn run(&self, cx: &mut Cx<'_, '_>) -> Result<(), EditError> {
        let to = &self.to;
        let (group, grid) = match self.group(cx.graph()) {
            Ok(found) => found,
            Err(No::Match(why)) => {
                cx.say(to, Outcome::NoMatch, why);
                return Ok(());
            }
            Err(No::Way(why)) => {
                cx.say(to, Outcome::Blocked, why);
                return Ok(());
            }
        };
        let label = group.nodes.last().map_or("", |&n| cx.graph().label(n));
        let origin = format!("fuse-tiles {label}");
        match build::tile_group(cx.graph(), &group, &grid, self.reuse, &origin) {
            Ok(edit) => match cx.apply(&edit) {
                Ok(()) => {
                    let (nodes, t) = (group.nodes.len(), grid.len());
                    let what = format!("{nodes} nodes in {t} tiles");
                    let data = Data::Tiles { nodes, grid: grid.counts(), reuse: self.reuse };
                    cx.tell(to, Outcome::Applied, what, data);
                }
                // Strips of channels that a Concat of channels is made of, so far.
                Err(EditError { fault: EditFault::Rule { node, reason }, .. }) => {
                    let why =
                        format!("its tiles cannot be joined so: {reason}; another reuse may do");
                    cx.say(node, Outcome::Blocked, why);
                }
                Err(e) => return Err(e),
            },
            Err((n, b)) => cx.remark(n, Outcome::Blocked, b.0),
        }
        Ok(())
    }

    /// The group of a graph, and its grid.
    fn group(&self, graph: &Graph) -> Result<(Group, Grid), No> {
        let last = graph.node_named(&self.to)?;
        let first = self.from.as_deref().map(|f| graph.node_named(f)).transpose()?;
        let group = match self.all {
            true => Group::run(graph, first, last)?,
            false => Group::between(graph, first, last)?,
        };
        let Some(dims) = group.outputs.last().and_then(|&v| graph.value(v).ty.dims()) else {
            return Err(No::Way("the rank of the group's last result is unknown".into()));
        };
        let mut grid = Grid { axes: Vec::new() };
        for (axis, cut) in &self.cuts {
            let a = axis.of(dims.len())?;
            if grid.axes.iter().any(|g| g.0 == a) {
                return Err(No::Way(format!("axis {axis} twice in one grid")));
            }
            let Some(n) = dims[a].known() else {
                let why = format!("extent {axis} of the group's last result is {}", dims[a]);
                return Err(No::Way(why));
            };
            grid.axes.push((a, cut.spans(n as i64)?));
        }
        Ok((group, grid))
    }
}

/// Why a group cannot be had.
enum No {
    /// A node is not in this graph; it may be in another one, around it or inside.
    Match(String),
    Way(String),
}

impl From<String> for No {
    fn from(why: String) -> Self {
        Self::Way(why)
    }
}

impl From<NameError> for No {
    fn from(e: NameError) -> Self {
        match e {
            NameError::Unknown { .. } => Self::Match(e.to_string()),
            NameError::Ambiguous { .. } => Self::Way(e.to_string()),
        }
    }
}
