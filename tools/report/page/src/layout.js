// Layers: the boxes of a graph, each laid out by itself, so that folding one moves only what is around it.

import {
  coordGreedy, coordSimplex, decrossTwoLayer, graph as newGraph, layeringLongestPath, layeringSimplex, sugiyama,
} from 'd3-dag';

/** Most things of a box for which lengths are minimised exactly. */
const EXACT = 26;
const GAP = [22, 36];
const PAD = 14;
const TITLE = 24;
const HEIGHT = 38;

/** The boxes and nodes of a picture as a tree, and the edges between nodes. */
export class Tree {
  constructor(picture) {
    this.picture = picture;
    const { nodes, groups, values } = picture;
    this.things = [];
    const make = (t) => (this.things.push(Object.assign(t, { id: this.things.length, children: null, x: 0, y: 0 })), t);
    this.root = make({ kind: 'root', parent: null, first: 0, label: '' });
    this.root.children = [];
    this.groups = groups.map((g, index) => make({ kind: 'group', index, group: g, label: g.label, first: Infinity }));
    this.nodes = nodes.map((n, index) => make({ kind: 'node', index, node: n, label: n.name, first: index }));
    this.groups.forEach((t) => (t.children = []));
    const into = (t, parent) => {
      t.parent = parent === null || parent === undefined ? this.root : this.groups[parent];
      t.parent.children.push(t);
    };
    this.groups.forEach((t, i) => into(t, groups[i].parent));
    this.nodes.forEach((t, i) => into(t, nodes[i].group));
    for (const t of this.nodes) {
      for (let at = t.parent; at; at = at.parent) at.first = Math.min(at.first ?? Infinity, t.first);
    }
    const end = (v, kind) => {
      const t = make({ kind, value: v, label: values[v].name, first: kind === 'input' ? -1 : Infinity });
      t.parent = this.root;
      this.root.children.push(t);
      return t;
    };
    this.inputs = new Map(picture.inputs.filter((v) => !values[v].constant).map((v) => [v, end(v, 'input')]));
    this.outputs = new Map([...new Set(picture.outputs)].map((v) => [v, end(v, 'output')]));
    this.things.forEach((t) => t.children?.sort((a, b) => a.first - b.first));
    this.things.forEach((t) => {
      t.depth = 0;
      for (let at = t.parent; at; at = at.parent) t.depth += 1;
    });
    // From, to, value.
    this.edges = [];
    nodes.forEach((n, i) => {
      for (const v of new Set([...n.inputs, ...(n.reads ?? [])])) {
        if (v === null || values[v].constant) continue;
        const from = values[v].from === null ? this.inputs.get(v) : this.nodes[values[v].from];
        if (from) this.edges.push([from, this.nodes[i], v]);
      }
    });
    for (const [v, t] of this.outputs) {
      const from = values[v].from === null ? this.inputs.get(v) : this.nodes[values[v].from];
      if (from) this.edges.push([from, t, v]);
    }
  }

  /** What is drawn for a thing: itself, or the outermost closed box around it. */
  drawn(t, open) {
    let shown = t;
    for (let at = t.parent; at && at !== this.root; at = at.parent) if (!open.has(at)) shown = at;
    return shown;
  }
}

function size(t, picture) {
  const width = (texts) => Math.max(...texts.map((s) => Math.min([...s].length, 30))) * 6.7 + 24;
  if (t.kind === 'node') return [Math.max(84, width([t.node.op, t.label])), HEIGHT];
  if (t.kind === 'group') {
    if (t.group.kind === 'tile') return [92, HEIGHT];
    return [Math.max(120, width([t.label]) + 26), HEIGHT + 6];
  }
  return [Math.max(84, width([t.label, picture.values[t.value].type])), HEIGHT];
}

/**
 * Places all that is drawn. Every thing that is drawn gets x, y (its corner in the whole picture), w and h; the
 * edges come back as `{from, to, values, points}`, one for each pair of things that are drawn.
 */
export function layOut(tree, open, gridOf) {
  const { picture } = tree;
  // Edges between children of one box.
  const inside = new Map();
  const drawn = new Map();
  for (const [from, to, v] of tree.edges) {
    const a = tree.drawn(from, open);
    const b = tree.drawn(to, open);
    if (a === b) continue;
    const key = a.id * tree.things.length + b.id;
    const known = drawn.get(key);
    if (known) {
      if (!known.values.includes(v)) known.values.push(v);
      continue;
    }
    const edge = { key, from: a, to: b, values: [v], points: [] };
    drawn.set(key, edge);
    let [p, q] = [a, b];
    while (p.depth > q.depth) p = p.parent;
    while (q.depth > p.depth) q = q.parent;
    while (p.parent !== q.parent) [p, q] = [p.parent, q.parent];
    if (p === q) continue;
    let all = inside.get(p.parent);
    if (!all) inside.set(p.parent, (all = new Map()));
    // Against the order of the schedule only where tiles exchange; drawn upwards.
    const back = p.first > q.first;
    const [s, t] = back ? [q, p] : [p, q];
    const pair = s.id * tree.things.length + t.id;
    let link = all.get(pair);
    if (!link) all.set(pair, (link = { s, t, edges: [], points: [] }));
    link.edges.push([edge, back]);
  }
  const place = (box) => {
    const children = box.children.filter((c) => !(c.kind === 'group' && c.children.length === 0));
    for (const c of children) {
      if (c.kind === 'group' && open.has(c)) place(c);
      else [c.w, c.h] = size(c, picture);
    }
    const links = [...(inside.get(box)?.values() ?? [])];
    const tiles = children.filter((c) => c.kind === 'group' && c.group.kind === 'tile');
    const grid = tiles.length > 6 && tiles.every((t) => !open.has(t)) ? gridOf(box, tiles.length) : 0;
    box.links = links;
    tiles.forEach((t) => (t.inMatrix = grid > 0));
    if (grid) matrix(box, children, tiles, grid);
    else layers(box, children, links);
  };
  place(tree.root);
  const absolute = (box, x, y) => {
    for (const c of box.children) {
      if (c.w === undefined) continue;
      c.x = c.left + x;
      c.y = c.top + y;
      if (c.kind === 'group' && open.has(c)) absolute(c, c.x, c.y);
    }
    for (const l of box.links ?? []) {
      for (const [edge, back] of l.edges) {
        const between = l.points.map(([px, py]) => [px + x, py + y]);
        edge.points = back ? between.reverse() : between;
        edge.back = back;
      }
    }
  };
  absolute(tree.root, 0, 0);
  return { edges: [...drawn.values()], width: tree.root.w, height: tree.root.h };
}

/** The children of a box in layers. */
function layers(box, children, links) {
  const g = newGraph();
  const made = new Map(children.map((c) => [c, g.node(c)]));
  const joined = links.filter((l) => made.has(l.s) && made.has(l.t));
  joined.forEach((l) => g.link(made.get(l.s), made.get(l.t), l));
  const exact = children.length <= EXACT && joined.length <= 2 * EXACT;
  const layout = sugiyama()
    .nodeSize((n) => [n.data.w, n.data.h])
    .gap(GAP)
    .layering(exact ? layeringSimplex() : layeringLongestPath())
    .decross(decrossTwoLayer())
    .coord(exact ? coordSimplex() : coordGreedy());
  const { width, height } = children.length ? layout(g) : { width: 0, height: 0 };
  for (const n of g.nodes()) {
    n.data.left = n.x - n.data.w / 2 + PAD;
    n.data.top = n.y - n.data.h / 2 + PAD + TITLE;
  }
  for (const l of g.links()) {
    // Without the ends, which are those of what is drawn in the boxes.
    l.data.points = l.points.slice(1, -1).map(([x, y]) => [x + PAD, y + PAD + TITLE]);
  }
  fit(box, width, height);
}

/** Many tiles as they lie on the value that they make, what joins them below. */
function matrix(box, children, tiles, columns) {
  const [w, h] = [92 + 16, HEIGHT + 18];
  const rest = children.filter((c) => !tiles.includes(c));
  const first = Math.min(...tiles.map((t) => t.first));
  const above = rest.filter((c) => c.first < first);
  const below = rest.filter((c) => c.first >= first);
  const across = Math.max(columns * w, 1);
  let y = 0;
  const row = (things) => {
    let x = 0;
    let tall = 0;
    for (const c of things) {
      if (x > 0 && x + c.w > Math.max(across, 420)) {
        x = 0;
        y += tall + 18;
        tall = 0;
      }
      c.left = x + PAD;
      c.top = y + PAD + TITLE;
      x += c.w + 16;
      tall = Math.max(tall, c.h);
    }
    if (things.length) y += tall + 36;
  };
  row(above);
  for (const t of tiles) {
    const n = t.group.tile ?? 0;
    t.left = (n % columns) * w + PAD;
    t.top = y + Math.floor(n / columns) * h + PAD + TITLE;
  }
  y += Math.ceil(tiles.length / columns) * h + 18;
  row(below);
  const right = Math.max(...children.map((c) => c.left + c.w)) - PAD;
  fit(box, right, y - 18);
}

function fit(box, width, height) {
  const title = box.kind === 'group' ? Math.min([...box.label].length, 34) * 6.7 + 60 : 0;
  const wide = Math.max(width, title);
  const shift = (wide - width) / 2;
  box.children.forEach((c) => c.left !== undefined && (c.left += shift));
  box.links?.forEach((l) => l.points.forEach((p) => (p[0] += shift)));
  box.w = wide + 2 * PAD;
  box.h = height + 2 * PAD + TITLE;
}
