//! A group that is named by hand: its last node, its first one, and how its result is cut.

use std::fmt;
use std::str::FromStr;

use graph_opt_ir::names::{NameError, NodeNames};
use graph_opt_ir::{EditError, EditFault, Graph, Span};

use crate::options::{self, OptionError, Options, list_text, name_of};
use crate::pass::{Data, Outcome, PassCtx};
use crate::tile::group::GroupError;
use crate::tile::parts::PartsError;
use crate::tile::planner::TiledGroup;
use crate::tile::{Grid, Group, Reuse, build, parts};
use crate::units::count;

/// How an axis is cut into parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cut {
    /// This number of parts; remainders are spread.
    Even(i64),
    /// This number of parts; the last one may be shorter.
    Ceil(i64),
    /// Parts of these sizes, in elements.
    Sizes(Vec<i64>),
    /// Parts of these sizes relative to each other.
    Weights(Vec<i64>),
}

impl Cut {
    fn spans(&self, n: i64) -> Result<Vec<Span>, PartsError> {
        match self {
            Self::Even(p) => parts::even(n, *p, 1, false),
            Self::Ceil(p) => parts::ceil(n, *p),
            Self::Sizes(s) => parts::of_sizes(n, s),
            Self::Weights(w) => parts::weighted(n, w),
        }
    }

    /// The name and the value of the option.
    fn text(&self) -> (&'static str, String) {
        match self {
            Self::Even(n) | Self::Ceil(n) => ("grid", n.to_string()),
            Self::Sizes(s) => ("sizes", list_text(s)),
            Self::Weights(w) => ("weights", list_text(w)),
        }
    }
}

/// An axis of a group's last result, by role or by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Axis {
    /// Axis 0 of the result.
    Batch,
    /// Axis 1 of the result.
    Channels,
    /// The third axis from the end: planes of a volume.
    Depth,
    /// The second axis from the end: rows of an image.
    Height,
    /// The last axis: columns of an image.
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

/// One group that is named by hand, with its grid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stretch {
    from: Option<String>,
    to: String,
    all: bool,
    cuts: Vec<(Axis, Cut)>,
    reuse: Reuse,
}

impl Stretch {
    /// The nodes up to this one, or up to the one that computes the value of this name. `cuts` holds the
    /// axes of the grid and how each is cut.
    ///
    /// # Errors
    /// If there are no cuts or cuts of different kinds, if a number of parts, a size or a weight is less
    /// than 1, or if the name is empty.
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

    /// Begins with this node, or with the one that computes the value of this name.
    #[must_use]
    pub fn from(self, node: impl Into<String>) -> Self {
        Self { from: Some(node.into()), ..self }
    }

    /// Takes all nodes that run from the first one to the last, not only those on paths between them.
    #[must_use]
    pub fn all_nodes(self) -> Self {
        Self { all: true, ..self }
    }

    /// Sets whether overlaps of tiles are recomputed, kept or exchanged.
    #[must_use]
    pub fn reuse(self, reuse: Reuse) -> Self {
        Self { reuse, ..self }
    }

    /// The stretch that names this group of a graph, on a grid of even parts; `None` if nodes of the
    /// group share names with others, or no stretch holds just these nodes.
    pub(in crate::tile) fn of(
        graph: &Graph,
        group: &Group,
        grid: &Grid,
        reuse: Reuse,
    ) -> Option<Self> {
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
        let same =
            |s: &Self| matches!(s.group(graph, &names), Ok((g, d)) if g == *group && d == *grid);
        [stretch, all].into_iter().find(same)
    }

    pub(super) fn options(&self) -> Options {
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

    /// The group that the options name.
    ///
    /// # Errors
    /// If an option is missing, contradicts another one or has a bad value.
    pub(super) fn of_options(o: &Options, reuse: Option<Reuse>) -> Result<Self, OptionError> {
        if o.get("runtime").is_some() {
            let why =
                "runtime is the planner's memory model; it goes with memory, extra-macs or front";
            return Err(OptionError(why.into()));
        }
        // It has no effect here, but is accepted for compatibility.
        o.count("max-tiles")?;
        if super::given(o, &BY_HAND).len() != 1 {
            let why = "one of memory, extra-macs, front, grid, sizes and weights is needed";
            return Err(OptionError(why.into()));
        }
        let cuts = cuts(o)?;
        let axes = o.get("axes").unwrap_or(default_axes(cuts.len()));
        let axes: Vec<Axis> = axes.split('x').map(str::parse).collect::<Result<_, _>>()?;
        if axes.len() != cuts.len() {
            let (a, b) = (axes.len(), cuts.len());
            return Err(OptionError(format!("{a} axes, but parts for {b}")));
        }
        let to = o.get("to").unwrap_or_default();
        let mut stretch = Self::to(to, axes.into_iter().zip(cuts).collect())?;
        if let Some(from) = o.get("from") {
            stretch = stretch.from(from);
        }
        if o.choice("nodes", &[("all", ())])?.is_some() {
            stretch = stretch.all_nodes();
        }
        Ok(stretch.reuse(reuse.unwrap_or(Reuse::Recompute)))
    }
}

/// Options that say how axes are cut.
pub(super) const BY_HAND: [&str; 3] = ["grid", "sizes", "weights"];

/// The cuts along each axis of the grid.
fn cuts(o: &Options) -> Result<Vec<Cut>, OptionError> {
    let ceil = o.choice("split", &[("even", false), ("ceil", true)])?.unwrap_or_default();
    if let Some(grid) = o.get("grid") {
        let cut = |n: &str| {
            let n = options::positive("grid", n)?;
            Ok(if ceil { Cut::Ceil(n) } else { Cut::Even(n) })
        };
        return grid.split('x').map(cut).collect();
    }
    let kinds: [(&str, fn(Vec<i64>) -> Cut); 2] =
        [("sizes", Cut::Sizes), ("weights", Cut::Weights)];
    for (name, kind) in kinds {
        if let Some(lists) = o.get(name) {
            return lists.split('x').map(|l| options::list(name, l).map(kind)).collect();
        }
    }
    Ok(Vec::new())
}

/// The axes of a grid if the option `axes` is not given.
fn default_axes(count: usize) -> &'static str {
    if count == 1 { "h" } else { "hxw" }
}

impl Stretch {
    pub(super) fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        let to = &self.to;
        let graph = cx.graph();
        let (group, grid) = match self.group(graph, &NodeNames::of_graph(graph)) {
            Ok(found) => found,
            Err(Refusal::NoMatch(why)) => {
                cx.remark_on(to, Outcome::NoMatch, why);
                return Ok(());
            }
            Err(Refusal::Blocked(why)) => {
                cx.remark_on(to, Outcome::Blocked, why);
                return Ok(());
            }
        };
        let label = group.nodes.last().map_or("", |&n| cx.graph().label(n));
        let origin = format!("fuse-tiles {label}");
        match build::tile_group(cx.graph(), &group, &grid, self.reuse, &origin) {
            Ok(edit) => match cx.apply(&edit) {
                Ok(()) => {
                    let (nodes, t) = (group.nodes.len(), grid.len());
                    let what = format!("{} in {}", count(nodes, "node"), count(t, "tile"));
                    let data = Data::Tiles(cx.tiled(TiledGroup { group, grid, reuse: self.reuse }));
                    cx.remark_with(to, Outcome::Applied, what, data);
                }
                // Strips of channels of a Concat along channels.
                Err(EditError { fault: EditFault::Rule { node, reason }, .. }) => {
                    let why = format!("its tiles cannot be joined: {reason}; try another reuse");
                    cx.remark_on(node, Outcome::Blocked, why);
                }
                Err(e) => return Err(e),
            },
            Err((n, b)) => cx.remark(n, Outcome::Blocked, b.0),
        }
        Ok(())
    }

    /// The group of a graph, whose nodes these are, and its grid.
    fn group(&self, graph: &Graph, names: &NodeNames<'_>) -> Result<(Group, Grid), Refusal> {
        let last = names.node(&self.to)?;
        let first = self.from.as_deref().map(|f| names.node(f)).transpose()?;
        let group = match self.all {
            true => Group::run(graph, first, last)?,
            false => Group::between(graph, first, last)?,
        };
        let Some(dims) = group.outputs.last().and_then(|&v| graph.value(v).ty.dims()) else {
            return Err(Refusal::Blocked("the rank of the group's last result is unknown".into()));
        };
        let mut grid = Grid { axes: Vec::new() };
        for (axis, cut) in &self.cuts {
            let a = axis.of(dims.len())?;
            if grid.axes.iter().any(|g| g.0 == a) {
                return Err(Refusal::Blocked(format!("axis {axis} twice in one grid")));
            }
            let Some(n) = dims[a].known() else {
                let why = format!("extent {axis} of the group's last result is {}", dims[a]);
                return Err(Refusal::Blocked(why));
            };
            grid.axes.push((a, cut.spans(n as i64)?));
        }
        Ok((group, grid))
    }
}

/// Why a stretch names no group that can be tiled.
enum Refusal {
    /// A node is not in this graph; it may be in a body or in the graph around it.
    NoMatch(String),
    /// The nodes make no group, or their result cannot be cut this way.
    Blocked(String),
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Blocked(why)
    }
}

impl From<PartsError> for Refusal {
    fn from(e: PartsError) -> Self {
        Self::Blocked(e.to_string())
    }
}

impl From<GroupError> for Refusal {
    fn from(e: GroupError) -> Self {
        Self::Blocked(e.to_string())
    }
}

impl From<NameError> for Refusal {
    fn from(e: NameError) -> Self {
        match e {
            NameError::Unknown { .. } => Self::NoMatch(e.to_string()),
            NameError::Ambiguous { .. } => Self::Blocked(e.to_string()),
        }
    }
}
