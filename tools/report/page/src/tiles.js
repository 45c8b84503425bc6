// Tiles: the region of every value that each tile reads, computes and takes over, tile by tile.

import { bytes, count, el, hint, scaled, section, short, svg, svgButton } from './util.js';

const REUSE = {
  recompute: 'Every tile computes all that it needs; overlaps are computed again.',
  rows: 'Along the first axis of the grid, rows that the next tile needs are kept.',
  all: 'Along every axis, what neighbours need is kept; nothing is computed twice.',
  checkerboard: 'Every other tile computes all it needs; those between take over from them.',
  exchange: 'Every tile computes its share and exchanges borders with its neighbours, node by node.',
};
/** Most values that are drawn. */
const MAPS = 150;

export function tiles(doc) {
  if (!doc.tilings.length) return null;
  const holder = el('div', {});
  let stop = () => {};
  const showOne = (i) => {
    stop();
    const one = tiling(doc.tilings[i]);
    stop = one.stop;
    holder.replaceChildren(one.element);
  };
  const what = (t) => `${count(t.tiles.length, 'tile')}, ${t.grid.join(' × ')}, of ${count(t.nodes.length, 'node')} up to ${t.label}`;
  const pick = doc.tilings.length > 1
    ? el('label', {}, 'Group ', el('select', { 'aria-label': 'group of tiles', onchange: (e) => showOne(+e.target.value) }, doc.tilings.map((t, i) => el('option', { value: i }, what(t)))))
    : el('span', {}, what(doc.tilings[0]));
  showOne(0);
  return {
    element: section('tiles', 'Tiles', el('p', {}, pick), holder),
    stop: () => stop(),
  };
}

/** The two axes that are drawn: those that tiles cut, then the last ones. */
function axes(t, v) {
  const { extents } = t.values[v];
  const cut = new Set();
  for (const tile of t.tiles) {
    for (const p of tile.parts) {
      if (p.value === v) p.need.forEach((s, a) => s && (s[0] > 0 || s[1] < extents[a]) && cut.add(a));
    }
  }
  const chosen = [...cut].sort((a, b) => a - b).slice(0, 2);
  for (let a = extents.length - 1; a >= 0 && chosen.length < Math.min(2, extents.length); a -= 1) {
    if (!chosen.includes(a)) chosen.push(a);
  }
  chosen.sort((a, b) => a - b);
  return chosen.length === 2 ? chosen : [null, chosen[0] ?? null];
}

const axisName = (a, rank) => {
  if (a === null) return '';
  if (rank >= 3 && a === rank - 1) return 'columns';
  if (rank >= 3 && a === rank - 2) return 'rows';
  if (rank >= 3 && a === 1) return 'channels';
  return `axis ${a}`;
};

function tiling(t) {
  // Every part that is computed is a step; reads of inputs belong to the first step of their tile.
  const steps = [];
  const inside = (p) => t.values[p.value].role !== 'input';
  t.tiles.forEach((tile, i) => tile.parts.forEach((p) => inside(p) && steps.push({ tile: i, part: p })));
  if (t.node_by_node) steps.sort((a, b) => a.part.value - b.part.value || a.tile - b.tile);
  const shown = t.values.map((_, i) => i).filter((i) => i < MAPS || t.values[i].role === 'output');
  const maps = new Map(shown.map((v) => [v, map(t, v)]));
  let at = 0;
  const caption = el('p', { class: 'caption', 'aria-live': 'off' });
  const slider = el('input', { type: 'range', min: 0, max: Math.max(steps.length - 1, 0), value: 0, 'aria-label': 'step of the schedule' });
  const draw = () => {
    const step = steps[at];
    if (!step) return;
    const tile = t.tiles[step.tile];
    const done = new Map();
    steps.slice(0, at + 1).forEach((s) => {
      const set = done.get(s.part.value) ?? new Set();
      set.add(s.tile);
      done.set(s.part.value, set);
    });
    for (const [v, m] of maps) m.draw(step, tile, done.get(v) ?? new Set());
    const v = t.values[step.part.value];
    const where = step.part.need.map((s, a) => s && (s[0] > 0 || s[1] < v.extents[a]) && `${axisName(a, v.extents.length)} ${s[0]} to ${s[1] - 1}`).filter(Boolean);
    const kept = step.part.taken?.length ? `, of which ${count(step.part.taken.length, 'strip')} taken over` : '';
    caption.replaceChildren(el('span', {},
      el('strong', {}, `Step ${at + 1} of ${steps.length}: tile ${tile.number + 1} of ${t.tiles.length}`),
      ` (${tile.position.map((p, k) => `${p + 1} of ${t.grid[k]}`).join(', ')}) `,
      v.made_by ? ['computes ', el('code', {}, short(v.made_by, 60))] : '',
      where.length ? `, ${where.join(', ')}` : ', whole',
      `${kept}. The tile takes ${scaled(tile.macs)} MACs.`,
    ));
    slider.value = at;
  };
  let timer = null;
  const play = el('button', { type: 'button', class: 'play', onclick: () => (timer ? stop() : go()) }, '▶ Play');
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = '▶ Play';
  };
  const speed = el('select', { 'aria-label': 'speed', onchange: () => timer && (stop(), go()) }, [['slow', 4], ['normal', 12], ['fast', 40], ['very fast', 150]].map(([n, s]) => el('option', { value: s, selected: s === 12 }, n)));
  const go = () => {
    if (at >= steps.length - 1) at = 0;
    play.textContent = '❚❚ Pause';
    const rate = +speed.value;
    const every = Math.max(1, Math.round(rate / 40));
    timer = setInterval(() => {
      at = Math.min(at + every, steps.length - 1);
      draw();
      if (at === steps.length - 1) stop();
    }, (1000 * every) / rate);
  };
  const move = (to) => {
    stop();
    at = Math.max(0, Math.min(steps.length - 1, to));
    draw();
  };
  slider.addEventListener('input', () => move(+slider.value));
  const nextTile = (d) => {
    const now = steps[at].tile;
    let to = at;
    while (to + d >= 0 && to + d < steps.length && steps[to].tile === now) to += d;
    move(to);
  };
  const button = (text, title, onclick) => el('button', { type: 'button', title, onclick }, text);
  const legend = [
    ['done', 'computed by earlier steps; darker where more than once'],
    ['now', 'computed now'],
    ['read', 'read now'],
    ['needed', 'what this tile needs in all'],
    ['taken', 'taken over from other tiles'],
    ['outside', 'not yet computed'],
  ].map(([c, text]) => el('span', { class: 'key' }, el('span', { class: `swatch tile-${c}` }), text));
  const element = el(
    'div',
    {},
    el('p', { class: 'note' }, `${REUSE[t.reuse] ?? t.reuse} Made by ${t.pass}.`),
    el('div', { class: 'player' }, play, button('«', 'Previous tile', () => nextTile(-1)), button('‹', 'Previous step', () => move(at - 1)), slider, button('›', 'Next step', () => move(at + 1)), button('»', 'Next tile', () => nextTile(1)), speed),
    caption,
    el('p', { class: 'legend' }, legend),
    el('div', { class: 'tilemaps' }, [...maps.values()].map((m) => m.element)),
    shown.length < t.values.length ? el('p', { class: 'note' }, `${count(t.values.length - shown.length, 'further value')} not drawn`) : null,
  );
  // The middle of the schedule says more than its start.
  at = Math.floor(steps.length / 2);
  draw();
  return { element, stop };
}

/** One value: how much of it there is, and what the tile does with it. */
function map(t, v) {
  const value = t.values[v];
  const [ya, xa] = axes(t, v);
  const [h, w] = [ya === null ? 1 : value.extents[ya], xa === null ? 1 : value.extents[xa]];
  const most = 168;
  const scale = most / Math.max(h, w, 1);
  const [pw, ph] = [Math.max(w * scale, 14), Math.max(h * scale, 14)];
  const [sx, sy] = [pw / w, ph / h];
  const rect = (spans, cls) => {
    const of = (a, n) => (a === null ? [0, 1] : spans[a] ?? [0, n]);
    const [[y0, y1], [x0, x1]] = [of(ya, h), of(xa, w)];
    return svg('rect', { class: cls, x: x0 * sx + 1, y: y0 * sy + 1, width: Math.max((x1 - x0) * sx, 0.5), height: Math.max((y1 - y0) * sy, 0.5) });
  };
  const id = `hatch-${Math.random().toString(36).slice(2)}`;
  const hatch = svg('pattern', { id, width: 5, height: 5, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' }, svg('rect', { class: 'hatch', width: 2, height: 5 }));
  const doneLayer = svg('g', {});
  const nowLayer = svg('g', {});
  const picture = svg('svg', { class: 'tilemap', viewBox: `0 0 ${pw + 2} ${ph + 2}`, width: pw + 2, height: ph + 2, role: 'img', 'aria-label': `regions of ${value.name}` },
    svg('defs', {}, hatch), svg('rect', { class: `whole ${value.role}`, x: 1, y: 1, width: pw, height: ph }), doneLayer, nowLayer);
  const own = t.tiles.map((tile) => tile.parts.find((p) => p.value === v));
  const drawn = new Map();
  const element = el(
    'figure',
    { class: `value ${value.role}`, 'data-value': value.name },
    picture,
    el('figcaption', {}, el('code', { title: value.name }, short(value.name, 26)), el('br'), `${value.type}`, el('br'), el('span', { class: 'role' }, value.role === 'input' ? 'input of the group' : short(value.made_by, 30)), ' ', svgButton(`tile-${value.name}`, () => picture)),
  );
  const axisText = [ya !== null ? `${axisName(ya, value.extents.length)} down` : null, xa !== null ? `${axisName(xa, value.extents.length)} across` : null].filter(Boolean).join(', ');
  picture.addEventListener('pointermove', (e) => hint(e, value.name, `${value.type}: ${axisText}`));
  picture.addEventListener('pointerleave', (e) => hint(e));
  const draw = (step, tile, done) => {
    for (const [i, r] of drawn) {
      if (!done.has(i)) {
        r.remove();
        drawn.delete(i);
      }
    }
    for (const i of done) {
      const p = own[i];
      if (drawn.has(i) || !p) continue;
      const computed = value.role === 'input' ? null : p.computed ?? null;
      if (!computed) continue;
      const r = rect(computed, 'tile-done');
      drawn.set(i, r);
      doneLayer.append(r);
    }
    nowLayer.replaceChildren();
    const p = own[step.tile];
    const computing = step.part.value === v;
    element.classList.toggle('active', computing);
    if (!p) return;
    if (computing && p.computed) nowLayer.append(rect(p.computed, 'tile-now'));
    const reads = t.values[step.part.value].reads.includes(v);
    nowLayer.append(rect(p.need, reads ? 'tile-read' : 'tile-needed'));
    for (const s of p.taken ?? []) {
      const r = rect(s, 'tile-taken');
      r.setAttribute('fill', `url(#${id})`);
      nowLayer.append(r);
    }
  };
  return { element, draw };
}
