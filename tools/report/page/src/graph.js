// The graph: boxes that fold, zoom, search, and what is known of what is clicked.

import { Tree, layOut } from './layout.js';
import { bytes, count, el, hint, save, scaled, section, short, svg, svgButton } from './util.js';

/** Below this scale, nodes are drawn without text, and edges as one line. */
const FAR = 0.32;
/** Most things that are open at first. */
const FIRST = 120;

/** A graph in a pane. */
export class GraphView {
  constructor(picture, at, shared) {
    this.picture = picture;
    this.at = at;
    this.shared = shared;
    this.tree = new Tree(picture);
    this.open = new Set();
    this.view = { x: 0, y: 0, k: 1 };
    this.selected = null;
    this.elements = new Map();
    this.firstOpen();
    this.layer = svg('g');
    this.canvas = svg(
      'svg',
      { class: 'graph', tabindex: 0, role: 'img', 'aria-label': `graph ${picture.title}` },
      svg('defs', {}, svg('marker', {
        id: `arrow${at}`, viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 6, markerHeight: 6, orient: 'auto',
      }, svg('path', { d: 'M0 0L8 4L0 8z', class: 'arrow' }))),
      this.layer,
    );
    this.status = el('span', { class: 'status' });
    const button = (text, title, onclick) => el('button', { type: 'button', title, onclick }, text);
    this.element = el(
      'div',
      { class: 'pane' },
      el(
        'div',
        { class: 'bar' },
        el('strong', {}, picture.title),
        ' ',
        this.status,
        el('span', { class: 'grow' }),
        button('−', 'Zoom out (−)', () => this.zoom(1 / 1.4)),
        button('+', 'Zoom in (+)', () => this.zoom(1.4)),
        button('Fit', 'Show all (0)', () => this.fit()),
        button('Fold', 'Fold all boxes', () => this.foldAll()),
        button('Unfold', 'Unfold all boxes', () => this.unfoldAll()),
        svgButton(`graph-${picture.title}`, () => this.canvas),
        el('button', { type: 'button', class: 'quiet', title: 'Save as DOT for Graphviz', onclick: () => this.dot() }, 'DOT'),
      ),
      this.canvas,
    );
    this.listen();
  }

  /** Opens boxes from the outside in, until enough is seen. What did not change stays closed. */
  firstOpen() {
    const closed = new Set(['unchanged', 'tile', 'function', 'body', 'control']);
    // Of stages on devices, the whole is seen first.
    const most = this.picture.groups.some((g) => g.kind === 'device') ? 0 : FIRST;
    let shown = this.tree.root.children.length;
    const todo = this.tree.root.children.filter((c) => c.kind === 'group');
    while (todo.length) {
      const g = todo.shift();
      if (closed.has(g.group.kind) || shown + g.children.length > most) continue;
      shown += g.children.length;
      this.open.add(g);
      todo.push(...g.children.filter((c) => c.kind === 'group'));
    }
  }

  layOut() {
    const start = performance.now();
    const gridOf = (box, n) => this.shared.columns(box, n);
    for (const t of this.tree.things) t.w = undefined;
    const { edges, width, height } = layOut(this.tree, this.open, gridOf);
    Object.assign(this, { edges, width, height });
    this.drawnThings = [];
    const walk = (box) => {
      for (const c of box.children) {
        if (c.w === undefined) continue;
        this.drawnThings.push(c);
        if (c.kind === 'group' && this.open.has(c)) walk(c);
      }
    };
    walk(this.tree.root);
    this.taken = performance.now() - start;
    const all = this.picture.nodes.length;
    this.status.textContent = `${count(all, 'node')}, ${count(this.drawnThings.length, 'box')} `.replace('boxs', 'boxes');
    this.status.title = `laid out in ${this.taken.toFixed(0)} ms`;
    this.clear();
    this.draw();
  }

  clear() {
    this.elements.clear();
    this.layer.replaceChildren();
    this.far = undefined;
  }

  /** Draws what is in view. */
  draw() {
    const { x, y, k } = this.view;
    this.layer.setAttribute('transform', `translate(${x} ${y}) scale(${k})`);
    const box = this.canvas.getBoundingClientRect();
    if (!box.width) return;
    const far = k < FAR;
    if (far !== this.far) this.clear();
    this.far = far;
    const margin = 60 / k;
    const [l, t, r, b] = [-x / k - margin, -y / k - margin, (box.width - x) / k + margin, (box.height - y) / k + margin];
    const keep = new Set();
    const add = (key, make, under) => {
      keep.add(key);
      if (this.elements.has(key)) return;
      const e = make();
      this.elements.set(key, e);
      e.order = under;
      // Boxes below edges below nodes; outer boxes below inner ones.
      let before = this.layer.firstChild;
      if (under >= 1e6) before = under >= 2e6 ? null : this.mark ?? null;
      else while (before && before.order !== undefined && before.order <= under) before = before.nextSibling;
      this.layer.insertBefore(e, before);
    };
    if (!this.mark?.isConnected) {
      this.mark = svg('g', { class: 'mark' });
      this.mark.order = 1.5e6;
      this.layer.append(this.mark);
    }
    for (const thing of this.drawnThings) {
      if (thing.x > r || thing.y > b || thing.x + thing.w < l || thing.y + thing.h < t) continue;
      const open = thing.kind === 'group' && this.open.has(thing);
      add(thing, () => this.thing(thing, open), open ? thing.depth : 2e6);
    }
    const seen = (e) => {
      const [x1, y1, x2, y2] = ends(e);
      return Math.min(x1, x2) - 80 < r && Math.max(x1, x2) + 80 > l && Math.min(y1, y2) < b && Math.max(y1, y2) > t;
    };
    const edges = this.edges.filter(seen);
    if (far) {
      const key = `far ${edges.length} ${edges[0]?.key} ${edges[edges.length - 1]?.key}`;
      add(key, () => svg('path', { class: 'edge', d: edges.map(line).join('') }), 1e6);
    } else {
      for (const e of edges) add(e, () => this.edge(e), 1e6);
    }
    for (const [key, e] of this.elements) {
      if (!keep.has(key)) {
        e.remove();
        this.elements.delete(key);
      }
    }
  }

  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  thing(t, open) {
    const classes = ['thing', t.kind];
    if (t.kind === 'group') classes.push(`of-${t.group.kind}`, open ? 'open' : 'closed');
    if (t.node?.changed) classes.push('changed');
    if (t === this.selected) classes.push('selected');
    const g = svg('g', { class: classes.join(' '), transform: `translate(${t.x} ${t.y})`, 'data-name': t.label });
    const round = t.kind === 'input' || t.kind === 'output' ? t.h / 2 : 5;
    g.append(svg('rect', { width: t.w, height: t.h, rx: round }));
    g.thing = t;
    if (this.far && !open) return g;
    const most = Math.max(4, Math.floor((t.w - 18) / 6.5));
    const text = (y, s, cls, n = most) => g.append(svg('text', { x: t.w / 2, y, class: cls, 'text-anchor': 'middle' }, short(s, n)));
    if (t.kind === 'node') {
      text(16, t.node.op, 'op');
      text(30, t.label, 'name');
    } else if (t.kind === 'group') {
      const sign = svg('text', { x: 9, y: 17, class: 'fold' }, open ? '▾' : '▸');
      g.append(sign);
      if (open) g.append(svg('text', { x: 24, y: 17, class: 'title' }, short(t.label, Math.max(6, Math.floor((t.w - 34) / 6.5)))));
      else {
        const label = t.group.kind === 'tile' ? `tile ${(t.group.tile ?? 0) + 1}` : t.label;
        text(17, label, 'title', Math.max(6, most - 3));
        text(31, count(t.group.nodes, 'node'), 'name');
      }
    } else {
      text(16, t.label, 'name');
      text(30, this.picture.values[t.value].type, 'type');
    }
    return g;
  }

  edge(e) {
    const on = this.selected && (e.from === this.selected || e.to === this.selected);
    const many = (e.from.inMatrix || e.to.inMatrix) && !on;
    const path = svg('path', { class: on ? 'edge on' : many ? 'edge many' : 'edge', d: line(e), 'marker-end': `url(#arrow${this.at})` });
    path.edge = e;
    const wide = svg('path', { class: 'reach', d: line(e) });
    wide.edge = e;
    return svg('g', {}, path, wide);
  }

  listen() {
    const c = this.canvas;
    let from = null;
    let moved = false;
    c.addEventListener('pointerdown', (e) => {
      if (e.button !== 0) return;
      from = [e.clientX - this.view.x, e.clientY - this.view.y];
      moved = false;
    });
    c.addEventListener('pointermove', (e) => {
      if (from) {
        const [x, y] = [e.clientX - from[0], e.clientY - from[1]];
        if (!moved && Math.hypot(x - this.view.x, y - this.view.y) < 4) return;
        if (!moved) c.setPointerCapture(e.pointerId);
        moved = true;
        Object.assign(this.view, { x, y });
        this.later();
        hint(e);
        return;
      }
      this.hover(e);
    });
    c.addEventListener('pointerleave', (e) => hint(e));
    c.addEventListener('pointerup', () => (from = null));
    c.addEventListener('pointercancel', () => (from = null));
    c.addEventListener('click', (e) => {
      if (moved) return;
      const thing = e.target.closest?.('.thing')?.thing;
      if (!thing) {
        const edge = e.target.edge;
        return edge ? this.shared.details(this, null, edge.values) : this.select(null);
      }
      if (thing.kind === 'group' && (this.open.has(thing) ? e.target.closest('.fold, .title') : true)) this.toggle(thing);
      else if (thing.kind !== 'group') this.select(thing);
    });
    c.addEventListener('wheel', (e) => {
      if (!e.ctrlKey && document.activeElement !== c) return;
      e.preventDefault();
      const box = c.getBoundingClientRect();
      this.zoom(Math.exp(-e.deltaY * 0.0015), e.clientX - box.left, e.clientY - box.top);
    }, { passive: false });
    c.addEventListener('dblclick', (e) => {
      const box = c.getBoundingClientRect();
      if (!e.target.closest?.('.thing')) this.zoom(1.8, e.clientX - box.left, e.clientY - box.top);
    });
    c.addEventListener('keydown', (e) => {
      const step = 60;
      const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
      if (moves[e.key]) {
        this.view.x += moves[e.key][0];
        this.view.y += moves[e.key][1];
        this.later();
      } else if (e.key === '+' || e.key === '=') this.zoom(1.4);
      else if (e.key === '-') this.zoom(1 / 1.4);
      else if (e.key === '0') this.fit();
      else if (e.key === 'Escape') this.select(null);
      else if (e.key === 'Enter' && this.selected?.parent && this.selected.parent !== this.tree.root) this.toggle(this.selected.parent);
      else return;
      e.preventDefault();
    });
  }

  hover(e) {
    const thing = e.target.closest?.('.thing')?.thing;
    const { values } = this.picture;
    if (thing?.kind === 'node') {
      const made = thing.node.outputs.filter((v) => v !== null).map((v) => `${values[v].name}: ${values[v].type}`);
      hint(e, `${thing.node.op} ${thing.label}`, ...made.slice(0, 3));
    } else if (thing?.kind === 'group' && !(this.open.has(thing) && !e.target.closest('.fold, .title'))) {
      hint(e, thing.label, `${count(thing.group.nodes, 'node')}; click to ${this.open.has(thing) ? 'fold' : 'unfold'}`);
    } else if (e.target.edge) {
      hint(e, ...e.target.edge.values.slice(0, 6).map((v) => `${values[v].name}: ${values[v].type}, ${bytes(values[v].bytes)}`));
    } else hint(e);
  }

  zoom(by, cx, cy) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [cx ?? box.width / 2, cy ?? box.height / 2];
    const k = Math.min(4, Math.max(0.01, this.view.k * by));
    const f = k / this.view.k;
    this.view = { x: x - (x - this.view.x) * f, y: y - (y - this.view.y) * f, k };
    this.later();
  }

  /** All of it, or for a long graph its width from the top. */
  fit() {
    const box = this.canvas.getBoundingClientRect();
    if (!box.width) return;
    const whole = Math.min(box.width / this.width, box.height / this.height);
    const k = Math.min(1, Math.max(whole, Math.min(0.8, box.width / this.width)));
    this.view = { k, x: Math.max(0, (box.width - this.width * k) / 2), y: Math.max(0, Math.min(20, (box.height - this.height * k) / 2)) };
    if (this.width * k > box.width) this.view.x = (box.width - this.width * k) / 2;
    this.draw();
  }

  /** All of it and nothing around, for paper. */
  whole() {
    const box = this.canvas.getBoundingClientRect();
    const k = Math.min(1, (box.width || 700) / this.width, 900 / this.height);
    this.view = { k, x: 0, y: 0 };
    this.draw();
  }

  toggle(thing) {
    const before = [thing.x * this.view.k + this.view.x, thing.y * this.view.k + this.view.y];
    if (!this.open.delete(thing)) this.open.add(thing);
    this.layOut();
    // What was clicked stays where it was.
    this.view.x += before[0] - (thing.x * this.view.k + this.view.x);
    this.view.y += before[1] - (thing.y * this.view.k + this.view.y);
    this.draw();
  }

  foldAll() {
    this.open.clear();
    this.layOut();
    this.fit();
  }

  unfoldAll() {
    for (const t of this.tree.things) if (t.kind === 'group') this.open.add(t);
    this.layOut();
    this.fit();
  }

  select(thing, quietly) {
    const dress = (t, on) => t && this.elements.get(t)?.classList.toggle('selected', on);
    dress(this.selected, false);
    this.selected = thing;
    dress(thing, true);
    for (const [key, e] of this.elements) {
      if (key.points) e.firstChild.classList.toggle('on', !!thing && (key.from === thing || key.to === thing));
    }
    if (!quietly) this.shared.details(this, thing);
  }

  /** Opens what a thing is in, and shows it in the middle. */
  reveal(thing) {
    let opened = false;
    for (let at = thing.parent; at && at !== this.tree.root; at = at.parent) {
      if (!this.open.has(at)) {
        this.open.add(at);
        opened = true;
      }
    }
    if (opened) this.layOut();
    const box = this.canvas.getBoundingClientRect();
    const k = Math.max(this.view.k, 0.8);
    this.view = { k, x: box.width / 2 - (thing.x + thing.w / 2) * k, y: box.height / 2 - (thing.y + thing.h / 2) * k };
    this.draw();
  }

  /** Nodes, boxes and values with this in their name or operator. */
  find(text) {
    const wanted = text.toLowerCase();
    const has = (s) => s.toLowerCase().includes(wanted);
    const { values } = this.picture;
    const made = (n) => n.outputs.some((v) => v !== null && has(values[v].name));
    return this.tree.things.filter((t) => {
      if (t.kind === 'node') return has(t.label) || has(t.node.op) || made(t.node);
      return t.kind !== 'root' && t.kind !== 'group' && has(t.label);
    });
  }

  dot() {
    const q = (s) => `"${String(s).replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`;
    const lines = ['digraph model {', '  node [shape=box, fontname="sans-serif", fontsize=10];'];
    for (const t of this.drawnThings) {
      if (t.kind === 'group' && this.open.has(t)) continue;
      const label = t.kind === 'node' ? `${t.node.op}\n${t.label}` : t.label;
      lines.push(`  t${t.id} [label=${q(label)}];`);
    }
    for (const e of this.edges) lines.push(`  t${e.from.id} -> t${e.to.id};`);
    save(`graph-${this.picture.title}.dot`, `${lines.join('\n')}\n}\n`, 'text/vnd.graphviz');
  }
}

function ends(e) {
  const down = !e.back;
  const [a, b] = [e.from, e.to];
  return [a.x + a.w / 2, down ? a.y + a.h : a.y, b.x + b.w / 2, down ? b.y : b.y + b.h];
}

/** The way of an edge: through its points, in curves that leave and arrive upright. */
function line(e) {
  const [x1, y1, x2, y2] = ends(e);
  const all = [[x1, y1], ...e.points, [x2, y2]];
  let d = `M${x1.toFixed(1)} ${y1.toFixed(1)}`;
  for (let i = 1; i < all.length; i += 1) {
    const [[px, py], [qx, qy]] = [all[i - 1], all[i]];
    const bend = (qy - py) / 2;
    d += `C${px.toFixed(1)} ${(py + bend).toFixed(1)} ${qx.toFixed(1)} ${(qy - bend).toFixed(1)} ${qx.toFixed(1)} ${qy.toFixed(1)}`;
  }
  return d;
}

/** The section of the graphs: one, or before and after side by side. */
export function graphs(doc) {
  if (!doc.graphs.length) return null;
  const panel = el('aside', { class: 'details', 'aria-live': 'polite' });
  const views = [];
  const shared = {
    // As many columns as the grid of the tiles has, where that is known.
    columns: (box, n) => {
      const known = doc.tilings.find((t) => t.tiles.length === n && box.label.endsWith(t.label)) ?? doc.tilings.find((t) => t.tiles.length === n);
      if (known && known.grid.length === 2) return known.grid[1];
      return Math.min(8, Math.ceil(Math.sqrt(n)));
    },
    details: (view, thing, values) => details(panel, doc, views, view, thing, values),
  };
  doc.graphs.forEach((g, i) => views.push(new GraphView(g, i, shared)));
  const area = el('div', { class: views.length > 1 ? 'graphs two' : 'graphs' }, views.map((v) => v.element), panel);
  const legend = el(
    'p',
    { class: 'note' },
    views.length > 1 ? [el('span', { class: 'swatch changed' }), 'changed', el('span', { class: 'swatch unchanged' }), 'unchanged, folded', el('br')] : null,
    'Click a box to fold or unfold it, a node for what is known of it. Drag to move; click the picture, then use the wheel to zoom.',
  );
  const s = section('graph', 'Graph', legend, area);
  shared.details(views[0], null);
  return { element: s, views, start: () => views.forEach((v) => (v.layOut(), v.fit())) };
}

/** What is known of a node, of values, or of the graph. */
function details(panel, doc, views, view, thing, values) {
  const { picture } = view;
  const valueRow = (v) => {
    const value = picture.values[v];
    return el('li', {}, el('code', {}, value.name), ` ${value.type}`, value.constant ? ', constant' : '', value.bytes !== null ? `, ${bytes(value.bytes)}` : '');
  };
  const list = (title, all) => (all.length ? [el('h4', {}, title), el('ul', {}, all.slice(0, 40).map(valueRow), all.length > 40 ? el('li', {}, `and ${all.length - 40} more`) : null)] : []);
  if (values) {
    panel.replaceChildren(el('h3', {}, count(values.length, 'value')), ...list('', values).slice(1));
    return;
  }
  if (!thing || thing.kind === 'group') {
    panel.replaceChildren(
      el('h3', {}, picture.name || 'model'),
      el('p', {}, `opset ${picture.opset}, ${count(picture.nodes.length, 'node')}`),
      ...list('Inputs', picture.inputs.filter((v) => !picture.values[v].constant)),
      ...list('Outputs', picture.outputs),
    );
    return;
  }
  if (thing.kind !== 'node') {
    panel.replaceChildren(el('h3', {}, thing.kind), el('ul', {}, valueRow(thing.value)));
    return;
  }
  const n = thing.node;
  const others = views.filter((v) => v !== view);
  const same = others.map((v) => [v, v.tree.nodes.find((t) => t.label === n.name && t.node.op === n.op)]).find(([, t]) => t);
  const edit = n.edit && doc.edits.find((e) => e.number === n.edit);
  panel.replaceChildren(
    el('h3', {}, n.op),
    el('p', { class: 'path' }, n.name),
    n.macs ? el('p', {}, `${scaled(n.macs)} multiply-accumulates`) : '',
    ...(n.attributes?.length ? [el('h4', {}, 'Attributes'), el('dl', {}, n.attributes.map(([k, v]) => [el('dt', {}, k), el('dd', {}, short(v, 400))]))] : []),
    ...list('Reads', n.inputs.filter((v) => v !== null)),
    ...list('Makes', n.outputs.filter((v) => v !== null)),
    ...(n.origin ? [el('h4', {}, 'Made by'), el('p', {}, n.origin, edit ? `, edit ${edit.number} of ${doc.edits.length}` : '')] : []),
    n.changed ? el('p', { class: 'note' }, others.length ? `Not in the graph ${others[0].picture.title}.` : '') : '',
    n.doc ? el('p', {}, short(n.doc, 600)) : '',
    same ? el('button', { type: 'button', onclick: () => (same[0].reveal(same[1]), same[0].select(same[1], true)) }, `Show it in ${same[0].picture.title}`) : '',
  );
}
