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

use graph_opt_ir::{EditError, Graph, NodeId, Span};

use super::planner::{self, Goal, Limits};
use super::{Grid, Group, Reuse, build, parts};
use crate::options::{OptionError, OptionInfo, Options};
use crate::pass::{Cx, Exactness, Outcome, Pass, PassInfo};

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
            name: "reuse",
            value: "recompute|rows|all|checkerboard|exchange",
            help: "what several tiles need is computed by each of them, kept along the first axis, kept along all axes, handed from every other tile to its neighbours, or computed once and exchanged node by node (default recompute; for the planner, any of the first four)",
        },
    ],
    make,
};

#[derive(Clone, PartialEq, Eq, Debug)]
enum Cut {
    Even(i64),
    Ceil(i64),
    Sizes(Vec<i64>),
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
}

enum FuseTiles {
    ByHand { from: Option<String>, to: String, axes: Vec<String>, cuts: Vec<Cut>, reuse: Reuse },
    Planned { goal: Goal, limits: Limits },
    Front(Limits),
}

fn make(o: &Options) -> Result<Box<dyn Pass>, OptionError> {
    let err = |m: &str| Err(OptionError(m.into()));
    let reuse = match o.get("reuse") {
        None => None,
        Some("recompute") => Some(Reuse::Recompute),
        Some("rows") => Some(Reuse::Rows),
        Some("all") => Some(Reuse::All),
        Some("checkerboard") => Some(Reuse::Checkerboard),
        Some("exchange") => Some(Reuse::Exchange),
        Some(v) => {
            let names = "recompute, rows, all, checkerboard or exchange";
            return Err(OptionError(format!("reuse must be {names}, not {v:?}")));
        }
    };
    let by_hand = ["grid", "sizes", "weights"].iter().filter(|n| o.get(n).is_some()).count();
    let mut limits = Limits::default();
    if let Some(n) = o.count("max-tiles")? {
        limits.tiles = n as usize;
    }
    if let Some(r) = reuse {
        limits.reuse = vec![r];
    }
    if let Some(name) = o.get("runtime") {
        limits.runtime = name.parse().map_err(OptionError)?;
    }
    limits.partly = match o.get("partly") {
        None => false,
        Some("yes") if o.get("memory").is_some() => true,
        Some("yes") => return err("partly goes with memory"),
        Some(v) => return Err(OptionError(format!("partly must be yes, not {v:?}"))),
    };
    let planned = [o.get("memory"), o.get("extra-macs")].iter().flatten().count();
    match o.get("front") {
        Some("list") if planned == 0 && by_hand == 0 => {
            return Ok(Box::new(FuseTiles::Front(limits)));
        }
        Some("list") => return err("front lists plans; it goes with none of the other goals"),
        Some(v) => return Err(OptionError(format!("front must be list, not {v:?}"))),
        None => {}
    }
    if planned > 0 {
        if by_hand > 0 || ["to", "from", "axes", "split"].iter().any(|n| o.get(n).is_some()) {
            return err("memory and extra-macs let the planner choose groups and grids");
        }
        if reuse == Some(Reuse::Exchange) {
            return err("reuse=exchange keeps all tiles at once: it is for devices side by side");
        }
        let goal = match (o.bytes("memory")?, o.get("extra-macs")) {
            (Some(b), None) => Goal::Memory(b),
            (None, Some(p)) => Goal::ExtraMacs(percent(p)?),
            _ => return err("either memory or extra-macs"),
        };
        return Ok(Box::new(FuseTiles::Planned { goal, limits }));
    }
    if o.get("runtime").is_some() {
        return err(
            "runtime says how the planner counts; it goes with memory, extra-macs or front",
        );
    }
    if by_hand != 1 {
        return err("one of memory, extra-macs, front, grid, sizes and weights is needed");
    }
    let Some(to) = o.get("to") else {
        return err("to is missing: the last node of the group, such as to=conv5");
    };
    let ceil = match o.get("split") {
        None | Some("even") => false,
        Some("ceil") => true,
        Some(v) => return Err(OptionError(format!("split must be even or ceil, not {v:?}"))),
    };
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
    let default = if cuts.len() == 1 { "h" } else { "hxw" };
    let axes: Vec<String> =
        o.get("axes").unwrap_or(default).split('x').map(ToOwned::to_owned).collect();
    if axes.len() != cuts.len() {
        let (a, b) = (axes.len(), cuts.len());
        return Err(OptionError(format!("{a} axes, but parts for {b}")));
    }
    let from = o.get("from").map(ToOwned::to_owned);
    let (to, reuse) = (to.to_owned(), reuse.unwrap_or(Reuse::Recompute));
    Ok(Box::new(FuseTiles::ByHand { from, to, axes, cuts, reuse }))
}

/// A share such as `10%` or `0.1`.
fn percent(v: &str) -> Result<f64, OptionError> {
    let (number, scale) = v.strip_suffix('%').map_or((v, 1.0), |n| (n, 100.0));
    match number.parse::<f64>() {
        Ok(n) if n.is_finite() && n >= 0.0 => Ok(n / scale),
        _ => Err(OptionError(format!("extra-macs must be a share such as 10%, not {v:?}"))),
    }
}

/// The node of this name, or the one that makes the value of this name.
fn node(graph: &Graph, name: &str) -> Result<NodeId, String> {
    if let Some(n) = graph.schedule().find(|&n| graph.label(n) == name) {
        return Ok(n);
    }
    let made = graph.find_value(name).and_then(|v| graph.producer(v));
    made.ok_or_else(|| {
        let labels = graph.schedule().map(|n| graph.label(n));
        let near = crate::options::nearest(name, labels);
        let hint = near.map_or(String::new(), |n| format!("; did you mean {n:?}?"));
        format!("there is no node or result named {name:?}{hint}")
    })
}

/// The axis of a tensor of this rank that a name means.
fn axis(name: &str, rank: usize) -> Result<usize, String> {
    let from_end = |k: usize| rank.checked_sub(k);
    let found = match name {
        "n" => Some(0),
        "c" => Some(1),
        "d" => from_end(3),
        "h" => from_end(2),
        "w" => from_end(1),
        number => number.parse().ok(),
    };
    let found = found.filter(|&a| a < rank);
    found.ok_or_else(|| format!("the group's last result, of rank {rank}, has no axis {name:?}"))
}

impl Pass for FuseTiles {
    fn exactness(&self) -> Exactness {
        Exactness::BitExact
    }

    fn run(&self, cx: &mut Cx<'_, '_>) -> Result<(), EditError> {
        match self {
            Self::Planned { goal, limits } => planner::run(cx, *goal, limits),
            Self::Front(limits) => {
                planner::list(cx, limits);
                Ok(())
            }
            Self::ByHand { from, to, axes, cuts, reuse } => {
                match by_hand(cx.graph(), from.as_deref(), to, axes, cuts) {
                    Err(No::Match(why)) => cx.say(to, Outcome::NoMatch, why),
                    Err(No::Way(why)) => cx.say(to, Outcome::Blocked, why),
                    Ok((group, grid)) => {
                        let origin = format!("fuse-tiles {to}");
                        let edit = build::tile_group(cx.graph(), &group, &grid, *reuse, &origin);
                        match edit {
                            Ok(edit) => match cx.apply(&edit) {
                                Ok(()) => {
                                    let (n, t) = (group.nodes.len(), grid.len());
                                    cx.say(to, Outcome::Applied, format!("{n} nodes in {t} tiles"));
                                }
                                // Strips of channels that a Concat of channels is made of, so far.
                                Err(EditError::Rule { node, reason, .. }) => {
                                    let why = format!(
                                        "its tiles cannot be joined so: {reason}; another reuse may do"
                                    );
                                    cx.say(node, Outcome::Blocked, why);
                                }
                                Err(e) => return Err(e),
                            },
                            Err((n, b)) => cx.remark(n, Outcome::Blocked, b.0),
                        }
                    }
                }
                Ok(())
            }
        }
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

fn by_hand(
    graph: &Graph,
    from: Option<&str>,
    to: &str,
    axes: &[String],
    cuts: &[Cut],
) -> Result<(Group, Grid), No> {
    let last = node(graph, to).map_err(No::Match)?;
    let first = from.map(|f| node(graph, f)).transpose().map_err(No::Match)?;
    let group = Group::between(graph, first, last)?;
    let Some(dims) = group.outputs.last().and_then(|&v| graph.value(v).ty.dims()) else {
        return Err(No::Way("the rank of the group's last result is unknown".into()));
    };
    let mut grid = Grid { axes: Vec::new() };
    for (name, cut) in axes.iter().zip(cuts) {
        let a = axis(name, dims.len())?;
        if grid.axes.iter().any(|g| g.0 == a) {
            return Err(No::Way(format!("axis {name} twice in one grid")));
        }
        let Some(n) = dims[a].known() else {
            let why = format!("extent {name} of the group's last result is {}", dims[a]);
            return Err(No::Way(why));
        };
        grid.axes.push((a, cut.spans(n as i64)?));
    }
    Ok((group, grid))
}
