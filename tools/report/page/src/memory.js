// Memory: what is live over the schedule, and where buffers lie in the arena.

import { COLOURS, bytes, count, el, hint, section, short, svg, svgButton, table, ticks } from './util.js';

const W = 760;
const LEFT = 76;

export function memory(doc) {
  if (!doc.memory.length) return null;
  const named = (m) => `${doc.graphs[m.graph].title}${doc.memory.some((o) => o !== m && o.graph === m.graph) ? `, ${m.runtime}` : ''}`;
  const most = Math.max(...doc.memory.map((m) => m.peak_bytes), doc.budget_bytes ?? 0);
  const parts = [];
  const live = el('div', {});
  const maps = el('div', { class: 'maps' });
  const pictures = doc.memory.map((m) => {
    const chart = timeline(doc, m, most, named(m), (step) => choose(m, step));
    parts.push(el('figure', {}, el('figcaption', {}, el('strong', {}, named(m)), ` peak ${bytes(m.peak_bytes)} of ${count(m.steps.length, 'step')}, in ${m.runtime} `, svgButton(`memory-${named(m)}`, () => chart.element)), chart.element));
    return chart;
  });
  const mapped = doc.memory.map((m) => (m.buffers.length ? map(doc, m, (step) => choose(m, step)) : null));
  doc.memory.forEach((m, i) => {
    if (!mapped[i]) return;
    maps.append(el('figure', {}, el('figcaption', {}, el('strong', {}, named(m)), ` ${count(m.buffers.length, 'buffer')} in an arena of ${bytes(m.arena_bytes)} `, svgButton(`arena-${named(m)}`, () => mapped[i].element)), mapped[i].element));
  });
  const choose = (m, step) => {
    const i = doc.memory.indexOf(m);
    pictures[i].mark(step);
    mapped[i]?.mark(step);
    live.replaceChildren(...liveAt(doc, m, step, named(m)));
  };
  const s = section(
    'memory',
    'Memory',
    el('p', { class: 'note' }, 'Bytes of activations that are live while each node runs. Point at a step to see it, click to keep it.'),
    el('div', { class: 'charts' }, parts),
    live,
    maps.children.length ? [el('h3', {}, 'Where buffers lie'), el('p', { class: 'note' }, 'Steps from left to right, offsets in the arena from bottom to top. A buffer is as wide as it lives and as high as it is large.'), maps] : null,
  );
  const last = doc.memory[doc.memory.length - 1];
  doc.memory.forEach((m, i) => {
    pictures[i].mark(m.peak_step);
    mapped[i]?.mark(m.peak_step);
  });
  const begin = doc.memory.find((m) => m.buffers.length && m.graph === last.graph) ?? last;
  choose(begin, begin.peak_step);
  return { element: s };
}

function stepName(doc, m, step) {
  const n = m.steps[step];
  return n === null || n === undefined ? `step ${step + 1}` : doc.graphs[m.graph].nodes[n].name;
}

/** A chart of live bytes; wide steps are drawn as they are, narrow ones by the most of each column. */
function timeline(doc, m, most, name, choose) {
  const H = 190;
  const [top, bottom] = [12, 34];
  const n = Math.max(m.timeline.length, 1);
  const x = (i) => LEFT + (i / n) * (W - LEFT - 12);
  const y = (b) => H - bottom - (b / (most * 1.06 || 1)) * (H - bottom - top);
  let d = `M${x(0)} ${y(0)}`;
  m.timeline.forEach((b, i) => (d += `L${x(i).toFixed(2)} ${y(b).toFixed(1)}L${x(i + 1).toFixed(2)} ${y(b).toFixed(1)}`));
  d += `L${x(n)} ${y(0)}Z`;
  const marker = svg('line', { class: 'cursor', y1: top, y2: H - bottom });
  const element = svg('svg', { class: 'chart', viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': `live bytes, ${name}` });
  for (const t of ticks(0, most, 4, 2)) {
    element.append(svg('line', { class: 'grid', x1: LEFT, x2: W - 12, y1: y(t), y2: y(t) }));
    element.append(svg('text', { class: 'tick', x: LEFT - 6, y: y(t) + 4, 'text-anchor': 'end' }, bytes(t).replace('.00', '')));
  }
  for (const t of ticks(0, n, 8).filter((t) => Number.isInteger(t))) element.append(svg('text', { class: 'tick', x: x(t), y: H - 18, 'text-anchor': 'middle' }, t));
  element.append(svg('text', { class: 'tick', x: (W + LEFT) / 2, y: H - 3, 'text-anchor': 'middle' }, 'step of the schedule'));
  element.append(svg('path', { class: `area ${m.graph === 0 && doc.graphs.length > 1 ? 'before' : 'after'}`, d }));
  if (doc.budget_bytes) {
    element.append(svg('line', { class: 'budget', x1: LEFT, x2: W - 12, y1: y(doc.budget_bytes), y2: y(doc.budget_bytes) }));
    element.append(svg('text', { class: 'tick strong', x: W - 14, y: y(doc.budget_bytes) - 4, 'text-anchor': 'end' }, `budget ${bytes(doc.budget_bytes)}`));
  }
  const [px, py] = [x(m.peak_step + 0.5), y(m.timeline[m.peak_step] ?? 0)];
  element.append(svg('circle', { class: 'peak', cx: px, cy: py, r: 4 }));
  element.append(marker);
  const at = (e) => {
    const box = element.getBoundingClientRect();
    const i = Math.floor((((e.clientX - box.left) / box.width) * W - LEFT) / ((W - LEFT - 12) / n));
    return Math.max(0, Math.min(n - 1, i));
  };
  element.addEventListener('pointermove', (e) => {
    const i = at(e);
    hint(e, stepName(doc, m, i), `step ${i + 1} of ${n}: ${bytes(m.timeline[i])} live`);
  });
  element.addEventListener('pointerleave', (e) => hint(e));
  element.addEventListener('click', (e) => choose(at(e)));
  const mark = (step) => {
    marker.setAttribute('x1', x(step + 0.5));
    marker.setAttribute('x2', x(step + 0.5));
  };
  return { element, mark };
}

function names(doc, m, b, most) {
  const { values } = doc.graphs[m.graph];
  const all = b.values.map((v) => values[v]);
  all.sort((p, q) => (q.bytes ?? 0) - (p.bytes ?? 0));
  const more = all.length - most;
  return all.slice(0, most).map((v) => `${v.name}: ${v.type}`).concat(more > 0 ? [`and ${count(more, 'value')} within`] : []);
}

/** The buffers over steps and offsets. */
function map(doc, m, choose) {
  const H = 260;
  const [top, bottom] = [8, 34];
  const n = Math.max(m.steps.length, 1);
  const size = m.arena_bytes || 1;
  const x = (i) => LEFT + (i / n) * (W - LEFT - 12);
  const y = (b) => H - bottom - (b / size) * (H - bottom - top);
  const element = svg('svg', { class: 'chart arena', viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': 'offsets of buffers' });
  for (const t of ticks(0, size, 4, 2)) {
    element.append(svg('line', { class: 'grid', x1: LEFT, x2: W - 12, y1: y(t), y2: y(t) }));
    element.append(svg('text', { class: 'tick', x: LEFT - 6, y: y(t) + 4, 'text-anchor': 'end' }, bytes(t).replace('.00', '')));
  }
  for (const t of ticks(0, n, 8).filter((t) => Number.isInteger(t))) element.append(svg('text', { class: 'tick', x: x(t), y: H - 18, 'text-anchor': 'middle' }, t));
  element.append(svg('text', { class: 'tick', x: (W + LEFT) / 2, y: H - 3, 'text-anchor': 'middle' }, 'step of the schedule'));
  m.buffers.forEach((b, i) => {
    if (!b.bytes) return;
    const [l, r, t, u] = [x(b.from), x(b.to + 1), y(b.offset + b.bytes), y(b.offset)];
    const rect = svg('rect', { class: 'buffer', x: l, y: t, width: Math.max(r - l, 0.6), height: Math.max(u - t, 0.4), fill: COLOURS[i % (COLOURS.length - 1)] });
    rect.buffer = b;
    element.append(rect);
  });
  const marker = svg('line', { class: 'cursor', y1: top, y2: H - bottom });
  element.append(marker);
  element.addEventListener('pointermove', (e) => {
    const b = e.target.buffer;
    if (b) hint(e, ...names(doc, m, b, 4), `${bytes(b.bytes)} at ${bytes(b.offset)}, steps ${b.from + 1} to ${b.to + 1}`);
    else hint(e);
  });
  element.addEventListener('pointerleave', (e) => hint(e));
  element.addEventListener('click', (e) => {
    const box = element.getBoundingClientRect();
    const i = Math.floor((((e.clientX - box.left) / box.width) * W - LEFT) / ((W - LEFT - 12) / n));
    choose(Math.max(0, Math.min(n - 1, i)));
  });
  const mark = (step) => {
    marker.setAttribute('x1', x(step + 0.5));
    marker.setAttribute('x2', x(step + 0.5));
  };
  return { element, mark };
}

function liveAt(doc, m, step, name) {
  const title = step === m.peak_step ? 'Live at the peak' : 'Live at this step';
  const head = el('h3', {}, `${title}: ${name}, step ${step + 1}, `, el('code', {}, stepName(doc, m, step)), `, ${bytes(m.timeline[step])}`);
  if (!m.buffers.length) return [head, el('p', { class: 'note' }, `${m.runtime} is simulated as a whole, without buffers.`)];
  const all = m.buffers.filter((b) => b.bytes && b.from <= step && step <= b.to).sort((a, b) => b.bytes - a.bytes);
  const rows = all.slice(0, 12).map((b) => [bytes(b.bytes), bytes(b.offset), `${b.from + 1} to ${b.to + 1}`, short(names(doc, m, b, 2).join('; '), 120)]);
  const rest = all.slice(12).reduce((n, b) => n + b.bytes, 0);
  return [
    head,
    table(['size', 'offset', 'steps', 'values'], rows),
    all.length > 12 ? el('p', { class: 'note' }, `and ${count(all.length - 12, 'buffer')} of ${bytes(rest)} together`) : null,
  ].filter(Boolean);
}
