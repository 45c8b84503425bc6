//! Which boxes nodes are drawn in: tiles, nodes that did not change, and stretches of long graphs.
//!
//! A box holds neighbours of the schedule wherever that can be chosen, so that folding it makes no cycle.

use std::collections::HashMap;

use super::graph::{GraphPicture, Kind};

/// A node by its position, or a box.
#[derive(Debug)]
pub enum Item {
    Node(usize),
    Group { kind: Kind, label: String, tile: Option<usize>, items: Vec<Self> },
}

impl Item {
    pub fn of(kind: Kind, label: &str, items: Vec<Self>) -> Self {
        Self::Group { kind, label: label.to_owned(), tile: None, items }
    }

    /// Number of nodes.
    pub fn count(&self) -> usize {
        match self {
            Self::Node(_) => 1,
            Self::Group { items, .. } => items.iter().map(Self::count).sum(),
        }
    }

    fn each(&self, f: &mut dyn FnMut(usize)) {
        match self {
            Self::Node(n) => f(*n),
            Self::Group { items, .. } => items.iter().for_each(|i| i.each(f)),
        }
    }

    fn first(&self) -> Option<usize> {
        match self {
            Self::Node(n) => Some(*n),
            Self::Group { items, .. } => items.iter().find_map(Self::first),
        }
    }

    fn last(&self) -> Option<usize> {
        match self {
            Self::Node(n) => Some(*n),
            Self::Group { items, .. } => items.iter().rev().find_map(Self::last),
        }
    }
}

/// A box that a node belongs to: nodes with equal kind and key are in one box.
#[derive(Clone, Debug)]
pub struct Key {
    kind: Kind,
    key: usize,
    label: String,
    tile: Option<usize>,
}

impl Key {
    pub fn new(kind: Kind, key: usize, label: String) -> Self {
        Self { kind, key, label, tile: None }
    }
}

/// Finds the tiles of a schedule by the names that tiles give their nodes, `NODE/tile3of25/…`, and by the
/// edits that made them. In files, where edits are not known, tiles of one group are neighbours.
#[derive(Default)]
pub struct Tilings {
    /// Number of the group, its number of tiles, and the edit that made it.
    current: Option<(usize, usize, Option<usize>)>,
    groups: usize,
}

impl Tilings {
    /// The boxes of the next node of the schedule.
    pub fn path(&mut self, label: &str, edit: Option<usize>, origin: &str) -> Vec<Key> {
        let tile = tile_of(label);
        let goes_on = |(_, count, by): (usize, usize, Option<usize>)| match edit {
            Some(edit) => by == Some(edit),
            None => by.is_none() && tile.is_some_and(|(_, of)| of == count),
        };
        let known = self.current.filter(|c| goes_on(*c));
        let Some((group, count)) = known.map(|c| (c.0, c.1)).or_else(|| {
            let (_, count) = tile?;
            self.groups += 1;
            self.current = Some((self.groups, count, edit));
            Some((self.groups, count))
        }) else {
            self.current = None;
            return Vec::new();
        };
        let what = origin.split_once(' ').map_or("", |(_, place)| place);
        let of = if what.is_empty() { String::new() } else { format!(" of {what}") };
        let mut path = vec![Key::new(Kind::Tiling, group, format!("{count} tiles{of}"))];
        if let Some((i, of)) = tile {
            let key = Key::new(Kind::Tile, group << 20 | i, format!("tile {i} of {of}"));
            path.push(Key { tile: Some(i), ..key });
        }
        path
    }
}

/// Which tile a node belongs to, by its name: `conv1/tile3of25/slice` is 3 of 25.
pub fn tile_of(label: &str) -> Option<(usize, usize)> {
    label.split('/').find_map(|part| {
        let (i, of) = part.strip_prefix("tile")?.split_once("of")?;
        let (i, of): (usize, usize) = (i.parse().ok()?, of.parse().ok()?);
        (i < of && of < 1 << 20).then_some((i, of))
    })
}

/// The nodes in their boxes. A box stands where its first node does.
pub fn nested(nodes: Vec<(Item, Vec<Key>)>) -> Vec<Item> {
    fn add(items: &mut Vec<Item>, at: &mut HashMap<(u8, usize), usize>, item: Item, path: &[Key]) {
        let Some((key, rest)) = path.split_first() else { return items.push(item) };
        let slot = *at.entry((key.kind as u8, key.key)).or_insert_with(|| {
            let (kind, label, tile) = (key.kind, key.label.clone(), key.tile);
            items.push(Item::Group { kind, label, tile, items: Vec::new() });
            items.len() - 1
        });
        if let Item::Group { items: within, .. } = &mut items[slot] {
            // Boxes within a box of their own are found by looking: there are few levels.
            let find = |i: &Item| match (i, rest.first()) {
                (Item::Group { kind, label, .. }, Some(k)) => *kind == k.kind && *label == k.label,
                _ => false,
            };
            let known = within.iter().rposition(find);
            match (known, rest.first()) {
                (Some(i), Some(k)) => {
                    let mut at = HashMap::from([((k.kind as u8, k.key), i)]);
                    add(within, &mut at, item, rest);
                }
                _ => add(within, &mut HashMap::new(), item, rest),
            }
        }
    }
    let (mut items, mut at) = (Vec::new(), HashMap::new());
    for (item, path) in nodes {
        add(&mut items, &mut at, item, &path);
    }
    items
}

/// Least number of unchanged nodes that are put into a box.
const RUN: usize = 4;

/// Neighbours that did not change, in a box of their own.
pub fn unchanged(items: Vec<Item>, picture: &GraphPicture) -> Vec<Item> {
    let whole = |i: &Item| {
        let mut same = true;
        i.each(&mut |n| same &= !picture.nodes[n].changed);
        same
    };
    let (mut out, mut run): (Vec<Item>, Vec<Item>) = (Vec::new(), Vec::new());
    let close = |run: &mut Vec<Item>, out: &mut Vec<Item>| {
        let nodes: usize = run.iter().map(Item::count).sum();
        if nodes >= RUN {
            let label = format!("{nodes} unchanged nodes");
            out.push(Item::of(Kind::Unchanged, &label, std::mem::take(run)));
        } else {
            out.append(run);
        }
    };
    for item in items {
        if whole(&item) {
            run.push(item);
            continue;
        }
        close(&mut run, &mut out);
        // Within boxes, too, but not within tiles, which are made by one edit.
        out.push(match item {
            Item::Group { kind: Kind::Device, label, tile, items } => {
                let items = unchanged(items, picture);
                Item::Group { kind: Kind::Device, label, tile, items }
            }
            other => other,
        });
    }
    close(&mut run, &mut out);
    out
}

/// Most items that a box holds.
const ITEMS: usize = 40;
/// About as many are put together.
const STRETCH: usize = 24;

/// Long lists cut into stretches, where few values are live, until none is too long.
pub fn sections(items: Vec<Item>, picture: &GraphPicture) -> Vec<Item> {
    let within = |item: Item| match item {
        // All tiles of a grid are seen at once.
        Item::Group { kind: Kind::Tiling, .. } | Item::Node(_) => item,
        Item::Group { kind, label, tile, items } => {
            Item::Group { kind, label, tile, items: sections(items, picture) }
        }
    };
    let mut items: Vec<Item> = items.into_iter().map(within).collect();
    while items.len() > ITEMS {
        let cuts = cuts(&items, picture);
        let mut rest = items.into_iter();
        let mut from = 0;
        items = cuts
            .into_iter()
            .map(|to| {
                let some: Vec<Item> = rest.by_ref().take(to - from).collect();
                from = to;
                section(some, picture)
            })
            .collect();
    }
    items
}

fn section(mut items: Vec<Item>, picture: &GraphPicture) -> Item {
    if items.len() == 1 {
        return items.swap_remove(0);
    }
    let name = |n: Option<usize>| n.map_or("", |n| &*picture.nodes[n].name);
    let (first, last) = (items.first().and_then(Item::first), items.last().and_then(Item::last));
    let label = format!("{} … {}", name(first), name(last));
    Item::of(Kind::Section, &label, items)
}

/// Where to cut: near every multiple of a length, where the fewest values cross.
fn cuts(items: &[Item], picture: &GraphPicture) -> Vec<usize> {
    let mut at: HashMap<usize, usize> = HashMap::new();
    for (i, item) in items.iter().enumerate() {
        item.each(&mut |n| {
            at.insert(n, i);
        });
    }
    // The last item that reads each value.
    let mut last: HashMap<usize, usize> = HashMap::new();
    for (i, item) in items.iter().enumerate() {
        item.each(&mut |n| {
            let node = &picture.nodes[n];
            for &v in node.inputs.iter().flatten().chain(&node.reads) {
                let slot = last.entry(v).or_insert(i);
                *slot = i.max(*slot);
            }
        });
    }
    let mut change = vec![0i64; items.len() + 2];
    for (v, row) in picture.values.iter().enumerate() {
        let from = row.from.and_then(|n| at.get(&n));
        if let (Some(&from), Some(&to)) = (from, last.get(&v))
            && to > from
        {
            change[from + 1] += 1;
            change[to + 1] -= 1;
        }
    }
    let mut crossing = 0;
    let crossing: Vec<i64> = change
        .iter()
        .map(|c| {
            crossing += c;
            crossing
        })
        .collect();
    let (mut cuts, mut from) = (Vec::new(), 0);
    while items.len() - from > ITEMS {
        let (low, high) = (from + STRETCH / 2, (from + ITEMS).min(items.len() - 1));
        let far = |i: usize| (i as i64 - (from + STRETCH) as i64).abs();
        let best = (low..=high).min_by_key(|&i| (crossing[i], far(i))).unwrap_or(high);
        cuts.push(best);
        from = best;
    }
    cuts.push(items.len());
    cuts
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::report::graph::{Marks, picture};

    #[test]
    fn names_say_which_tile() {
        assert_eq!(tile_of("conv1/tile3of25/slice"), Some((3, 25)));
        assert_eq!(tile_of("a/conv1/tile0of2"), Some((0, 2)));
        for other in ["conv1", "tile", "tileof", "a/tile2of2", "a/tilesof4", "profile0of2"] {
            assert_eq!(tile_of(other), None, "{other}");
        }
    }

    #[test]
    fn long_graphs_are_cut_where_one_value_is_live() {
        // Blocks of five nodes with a branch around four of them.
        let mut text = String::from("graph @g(%x0: f32[4]) -> (%x300) opset 13 {\n");
        for i in (0..300).step_by(5) {
            for j in 0..4 {
                text.push_str(&format!(" %x{} = Relu %x{} : f32[4]\n", i + j + 1, i + j));
            }
            text.push_str(&format!(" %x{} = Add %x{}, %x{i} : f32[4]\n", i + 5, i + 4));
        }
        let graph = graph_opt_ir::text::parse(&(text + "}")).unwrap();
        let (p, _) = picture("model", &graph, &Marks::default());
        assert_eq!(p.nodes.len(), 300);
        let sections: Vec<_> = p.groups.iter().filter(|g| g.kind == Kind::Section).collect();
        assert!(sections.len() > 7, "{}", sections.len());
        assert!(p.nodes.iter().all(|n| n.group.is_some()));
        for (i, g) in p.groups.iter().enumerate() {
            let members = p.nodes.iter().filter(|n| n.group == Some(i)).count();
            let groups = p.groups.iter().filter(|g| g.parent == Some(i)).count();
            assert!(members + groups <= ITEMS && members + groups > 1, "{} {members}", g.label);
            assert_eq!(members % 5, 0, "cut within a block: {}", g.label);
        }
    }

    #[test]
    fn tiles_are_in_boxes_and_the_rest_is_unchanged() {
        let before = graph_opt_ir::text::parse(
            "graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
               %w = const random(1)              : f32[8,3,3,3]
               %a = Relu %x : f32[1,3,16,16]
               %b = Relu %a : f32[1,3,16,16]
               %c = Relu %b : f32[1,3,16,16]
               %d = Relu %c : f32[1,3,16,16]
               %y = Conv %d, %w {pads=[1,1,1,1]} : f32[1,8,16,16] ; conv1
             }",
        )
        .unwrap();
        let mut after = before.clone();
        let pipeline = graph_opt_passes::Pipeline::parse("tile-conv{axis=h parts=2}").unwrap();
        graph_opt_passes::Runner::default().run(&mut after, &pipeline).unwrap();
        let marks = Marks { other: Some(&before), ..Marks::default() };
        let (p, _) = picture("after", &after, &marks);
        let kinds: Vec<Kind> = p.groups.iter().map(|g| g.kind).collect();
        assert_eq!(kinds, [Kind::Unchanged, Kind::Tiling, Kind::Tile, Kind::Tile]);
        assert_eq!(p.groups[0].nodes, 4);
        assert_eq!(p.groups[1].label, "2 tiles of conv1");
        assert_eq!(p.groups[3].tile, Some(1));
        // Slice and Conv of each tile; the Concat is no part of a tile.
        assert_eq!(p.groups[3].nodes, 2);
        let changed = p.nodes.iter().filter(|n| n.changed).count();
        assert_eq!(changed, 5);
        let bounds = ("bounds".to_owned(), "2: 0..9".to_owned());
        assert_eq!(p.nodes[4].attributes[0], bounds);
    }
}
