//! A graph as SVG, all boxes open: each box is laid out by itself, and is one node in the layout of the box
//! around it.

use std::collections::{BTreeSet, HashMap};

use rust_sugiyama::configure::{Config, CrossingMinimization, RankingType};

use super::export::edges;
use super::graph::{GraphPicture, Kind};
use crate::failure::shown;

/// Height of a node, space between nodes and around them, height of a box's title.
const HEIGHT: f64 = 34.0;
const SPACE: f64 = 24.0;
const TITLE: f64 = 18.0;
/// Width of a character of the labels.
const CHARACTER: f64 = 6.2;
/// Most characters of a label.
const LABEL: usize = 40;

/// Something with a place: a node, a box, or an input or output of the graph.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Thing {
    Node(usize),
    Group(usize),
    Input(usize),
    Output(usize),
}

/// Left, top, width and height, relative to the box around.
#[derive(Clone, Copy, Debug, Default)]
struct Area {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

struct Drawing<'a> {
    p: &'a GraphPicture,
    /// What is in each box, `None` for the whole.
    within: HashMap<Option<usize>, Vec<Thing>>,
    /// Values between two things of one box.
    between: HashMap<Option<usize>, BTreeSet<(Thing, Thing)>>,
    areas: HashMap<Thing, Area>,
}

/// The picture.
pub fn svg(p: &GraphPicture) -> String {
    let mut d =
        Drawing { p, within: HashMap::new(), between: HashMap::new(), areas: HashMap::new() };
    for (i, n) in p.nodes.iter().enumerate() {
        d.within.entry(n.group).or_default().push(Thing::Node(i));
    }
    for (i, g) in p.groups.iter().enumerate() {
        d.within.entry(g.parent).or_default().push(Thing::Group(i));
    }
    let mut lines: Vec<(Thing, Thing, usize)> = Vec::new();
    for (from, to, v) in edges(p) {
        let from = match from {
            Some(n) => Thing::Node(n),
            None if p.inputs.contains(&v) => Thing::Input(v),
            None => continue,
        };
        lines.push((from, Thing::Node(to), v));
    }
    for &v in &p.outputs {
        if let Some(n) = p.values[v].from {
            lines.push((Thing::Node(n), Thing::Output(v), v));
        }
    }
    let whole = d.within.entry(None).or_default();
    whole.extend(p.inputs.iter().filter(|&&v| !p.values[v].constant).map(|&v| Thing::Input(v)));
    whole.extend(p.outputs.iter().map(|&v| Thing::Output(v)));
    for &(a, b, _) in &lines {
        let (a, b) = (d.path(a), d.path(b));
        let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        if let (Some(&x), Some(&y)) = (a.get(same), b.get(same)) {
            let parent = same.checked_sub(1).map(|i| a[i]);
            let parent = parent.and_then(|t| if let Thing::Group(g) = t { Some(g) } else { None });
            d.between.entry(parent).or_default().insert((x, y));
        }
    }
    let (w, h) = d.lay_out(None);
    d.written(w, h, &lines)
}

impl Drawing<'_> {
    /// The boxes around a thing from the outside in, and the thing.
    fn path(&self, t: Thing) -> Vec<Thing> {
        let mut all = vec![t];
        let mut at = match t {
            Thing::Node(n) => self.p.nodes[n].group,
            Thing::Group(g) => self.p.groups[g].parent,
            _ => None,
        };
        while let Some(g) = at {
            all.push(Thing::Group(g));
            at = self.p.groups[g].parent;
        }
        all.reverse();
        all
    }

    fn label(&self, t: Thing) -> (String, String) {
        let value = |v: usize| (self.p.values[v].name.clone(), self.p.values[v].r#type.clone());
        let (a, b) = match t {
            Thing::Node(n) => (self.p.nodes[n].op.clone(), self.p.nodes[n].name.clone()),
            Thing::Group(g) => (self.p.groups[g].label.clone(), String::new()),
            Thing::Input(v) | Thing::Output(v) => value(v),
        };
        (short(&a), short(&b))
    }

    /// Places what is in a box; its width and height.
    fn lay_out(&mut self, parent: Option<usize>) -> (f64, f64) {
        let things = self.within.get(&parent).cloned().unwrap_or_default();
        let mut vertices = Vec::new();
        for (i, &t) in things.iter().enumerate() {
            let (w, h) = match t {
                Thing::Group(g) => self.lay_out(Some(g)),
                t => {
                    let (a, b) = self.label(t);
                    let n = a.chars().count().max(b.chars().count());
                    (n as f64 * CHARACTER + 20.0, HEIGHT)
                }
            };
            self.areas.insert(t, Area { x: 0.0, y: 0.0, w, h });
            vertices.push((i as u32, (w, h)));
        }
        let at: HashMap<Thing, u32> = things.iter().zip(0..).map(|(&t, i)| (t, i)).collect();
        let pairs = self.between.get(&parent).into_iter().flatten();
        let pairs: Vec<(u32, u32)> =
            pairs.filter_map(|(a, b)| Some((*at.get(a)?, *at.get(b)?))).collect();
        let config = Config {
            vertex_spacing: SPACE,
            ranking_type: RankingType::Up,
            c_minimization: CrossingMinimization::Barycenter,
            transpose: things.len() < 200,
            ..Config::default()
        };
        let (mut right, mut bottom) = (SPACE, 0.0f64);
        for (layout, _, _) in rust_sugiyama::from_vertices_and_edges(&vertices, &pairs, &config) {
            // The library gives centres, from wherever its first layer is.
            let corner = |&(i, (x, y)): &(usize, (f64, f64))| {
                let a = self.areas[&things[i]];
                (x - a.w / 2.0, y - a.h / 2.0)
            };
            let corners = layout.iter().map(corner);
            let (left, top) =
                corners.fold((f64::INFINITY, f64::INFINITY), |(l, t), (x, y)| (l.min(x), t.min(y)));
            let mut widest = right;
            for (i, (x, y)) in layout {
                if let Some(a) = self.areas.get_mut(&things[i]) {
                    a.x = x - a.w / 2.0 - left + right;
                    a.y = y - a.h / 2.0 - top + TITLE + SPACE / 2.0;
                    widest = widest.max(a.x + a.w);
                    bottom = bottom.max(a.y + a.h);
                }
            }
            right = widest + SPACE;
        }
        let title = parent.map_or(0, |g| self.label(Thing::Group(g)).0.chars().count());
        (right.max(title as f64 * CHARACTER + SPACE), bottom + SPACE / 2.0)
    }

    /// A thing's area in the whole picture.
    fn placed(&self, t: Thing) -> Area {
        let path = self.path(t);
        let mut area = self.areas.get(&t).copied().unwrap_or_default();
        for outer in &path[..path.len() - 1] {
            let a = self.areas.get(outer).copied().unwrap_or_default();
            (area.x, area.y) = (area.x + a.x, area.y + a.y);
        }
        area
    }

    fn written(&self, w: f64, h: f64, lines: &[(Thing, Thing, usize)]) -> String {
        let mut s = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w:.0} {h:.0}\" width=\"{w:.0}\" \
             height=\"{h:.0}\" font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        for (i, g) in self.p.groups.iter().enumerate() {
            let a = self.placed(Thing::Group(i));
            let (fill, stroke) = match g.kind {
                Kind::Tiling => ("#eef5fc", "#0072b2"),
                Kind::Tile => ("#dcebf7", "#56b4e9"),
                Kind::Device => ("#eaf6f0", "#009e73"),
                Kind::Function | Kind::Control | Kind::Body => ("#fbf1e9", "#d55e00"),
                Kind::Block => ("#f9eef5", "#cc79a7"),
                Kind::Unchanged | Kind::Section => ("#f7f7f7", "#bbbbbb"),
            };
            s.push_str(&format!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"6\" \
                 fill=\"{fill}\" stroke=\"{stroke}\"/>\n<text x=\"{:.1}\" y=\"{:.1}\" \
                 fill=\"#555\">{}</text>\n",
                a.x,
                a.y,
                a.w,
                a.h,
                a.x + 8.0,
                a.y + 14.0,
                escaped(&short(&g.label)),
            ));
        }
        for &(from, to, v) in lines {
            let (a, b) = (self.placed(from), self.placed(to));
            let (x1, y1, x2, y2) = (a.x + a.w / 2.0, a.y + a.h, b.x + b.w / 2.0, b.y);
            let bend = ((y2 - y1) / 2.0).clamp(10.0, 60.0);
            s.push_str(&format!(
                "<path d=\"M{x1:.1} {y1:.1}C{x1:.1} {:.1} {x2:.1} {:.1} {x2:.1} {y2:.1}\" \
                 fill=\"none\" stroke=\"#999\"><title>{}</title></path>\n",
                y1 + bend,
                y2 - bend,
                escaped(&format!("{}: {}", self.p.values[v].name, self.p.values[v].r#type)),
            ));
        }
        let nodes = (0..self.p.nodes.len()).map(Thing::Node);
        let ends = self.within.get(&None).into_iter().flatten().copied();
        let ends = ends.filter(|t| matches!(t, Thing::Input(_) | Thing::Output(_)));
        for t in nodes.chain(ends) {
            let a = self.placed(t);
            let (first, second) = self.label(t);
            let (fill, round) = match t {
                Thing::Node(n) if self.p.nodes[n].changed => ("#fff4d6", 4.0),
                Thing::Node(_) => ("#ffffff", 4.0),
                _ => ("#eeeeee", HEIGHT / 2.0),
            };
            s.push_str(&format!(
                "<g><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{round}\" \
                 fill=\"{fill}\" stroke=\"#666\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\" font-weight=\"bold\">{}</text><text x=\"{:.1}\" \
                 y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\" font-size=\"10\">{}</text></g>\n",
                a.x,
                a.y,
                a.w,
                a.h,
                a.x + a.w / 2.0,
                a.y + 14.0,
                escaped(&first),
                a.x + a.w / 2.0,
                a.y + 27.0,
                escaped(&second),
            ));
        }
        s + "</svg>\n"
    }
}

/// A label without its middle, if it is long.
fn short(name: &str) -> String {
    let all: Vec<char> = name.chars().collect();
    if all.len() <= LABEL {
        return name.to_owned();
    }
    let (head, tail) = (LABEL / 2 - 1, LABEL / 2);
    all[..head].iter().chain(&['…']).chain(&all[all.len() - tail..]).collect()
}

/// A text of XML.
fn escaped(s: &str) -> String {
    shown(s).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
