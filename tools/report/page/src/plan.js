// Choices and the one that was taken; stages over devices, and when each runs.

import { COLOURS, bytes, count, el, hint, quantity, section, short, svg, svgButton, table, ticks, time } from './util.js';

export function fronts(doc) {
  if (!doc.fronts.length) return null;
  return { element: section('front', 'Choices', doc.fronts.map(front)) };
}

function front(f) {
  const [W, H, left, bottom, top, right] = [760, 330, 92, 48, 14, 24];
  const span = (all) => {
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const pad = (high - low) * 0.08 || high * 0.1 || 1;
    return [Math.max(0, low - pad), high + pad];
  };
  const [x0, x1] = span(f.points.map((p) => p.x));
  const [y0, y1] = span(f.points.map((p) => p.y));
  const x = (v) => left + ((v - x0) / (x1 - x0)) * (W - left - right);
  const y = (v) => H - bottom - ((v - y0) / (y1 - y0)) * (H - bottom - top);
  const picture = svg('svg', { class: 'chart front', viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': f.title });
  for (const t of ticks(y0, y1, 5, f.y.unit === 'B' ? 2 : 10)) {
    picture.append(svg('line', { class: 'grid', x1: left, x2: W - right, y1: y(t), y2: y(t) }), svg('text', { class: 'tick', x: left - 8, y: y(t) + 4, 'text-anchor': 'end' }, quantity(t, f.y.unit)));
  }
  for (const t of ticks(x0, x1, 6, f.x.unit === 'B' ? 2 : 10)) {
    picture.append(svg('line', { class: 'grid', x1: x(t), x2: x(t), y1: top, y2: H - bottom }), svg('text', { class: 'tick', x: x(t), y: H - bottom + 16, 'text-anchor': 'middle' }, quantity(t, f.x.unit).replace('.00', '')));
  }
  picture.append(svg('text', { class: 'tick strong', x: (left + W - right) / 2, y: H - 8, 'text-anchor': 'middle' }, f.x.name));
  picture.append(svg('text', { class: 'tick strong', x: 0, y: 0, 'text-anchor': 'middle', transform: `translate(14 ${(top + H - bottom) / 2}) rotate(-90)` }, f.y.name));
  const joined = f.points.filter((p) => !p.chosen).sort((a, b) => a.x - b.x);
  if (joined.length > 1) picture.append(svg('path', { class: 'joined', d: joined.map((p, i) => `${i ? 'L' : 'M'}${x(p.x)} ${y(p.y)}`).join('') }));
  for (const p of [...f.points].sort((a, b) => a.chosen - b.chosen)) {
    const c = svg('circle', { class: p.chosen ? 'point chosen' : 'point', cx: x(p.x), cy: y(p.y), r: p.chosen ? 8 : f.points.length > 25 ? 3 : 4.5 });
    c.addEventListener('pointermove', (e) => hint(e, `${p.chosen ? 'chosen: ' : ''}${short(p.label, 160)}`, `${f.x.name} ${quantity(p.x, f.x.unit)}`, `${f.y.name} ${quantity(p.y, f.y.unit)}`));
    c.addEventListener('pointerleave', (e) => hint(e));
    picture.append(c);
    if (p.chosen) picture.append(svg('text', { class: 'tick strong', x: x(p.x) > W - 120 ? x(p.x) - 13 : x(p.x) + 13, y: y(p.y) - 10, 'text-anchor': x(p.x) > W - 120 ? 'end' : 'start' }, 'chosen'));
  }
  return el('figure', {}, el('figcaption', {}, el('strong', {}, f.title), ' ', f.note ? `(${f.note}) ` : '', svgButton('choices', () => picture)), picture);
}

export function split(doc) {
  const p = doc.split;
  if (!p) return null;
  const gap = p.proved ? 'proved to be the best' : `a lower bound is ${amount(p, p.bound)}`;
  const chart = gantt(p);
  const flow = stages(p);
  const rows = p.stages.map((s, i) => [String(i), s.device, String(s.nodes), el('code', {}, short(s.first, 40)), bytes(s.receives.reduce((n, r) => n + (r.over ? r.bytes : 0), 0)), time(s.receives.reduce((n, r) => n + (r.over ? r.seconds : 0), 0)), time(s.compute_s), bytes(s.memory_bytes)]);
  return {
    element: section(
      'split',
      'Devices',
      el('p', {}, `Best ${p.objective}: `, el('strong', {}, amount(p, p.value)), `, ${gap}. A frame takes ${time(p.latency_s)}, one comes every ${time(p.interval_s)}, ${p.energy_j.toPrecision(3)} J each.`),
      el('figure', {}, el('figcaption', {}, el('strong', {}, 'Stages and what crosses '), svgButton('stages', () => flow)), el('div', { class: 'scroll' }, flow)),
      el('figure', {}, el('figcaption', {}, el('strong', {}, 'When each runs '), 'by the plan’s figures; a colour for each frame ', svgButton('gantt', () => chart)), chart),
      table(['stage', 'device', 'nodes', 'from', 'receives', 'for', 'computes for', 'holds'], rows),
      p.by_devices.length > 1
        ? [el('h3', {}, 'By number of devices'), table(['devices', 'a frame takes', 'one every', 'energy', 'most memory'], p.by_devices.map((c) => [String(c.devices), time(c.latency_s), time(c.interval_s), `${c.energy_j.toPrecision(3)} J`, bytes(c.memory_bytes)]))]
        : null,
    ),
  };
}

const amount = (p, v) => (p.objective === 'energy' ? `${v.toPrecision(4)} J` : p.objective === 'memory' ? bytes(v) : time(v));

/** Stages from left to right, with an arrow for each transfer. */
function stages(p) {
  const [w, h, gap, y] = [168, 84, 96, 58];
  const many = p.stages.length;
  const x = (i) => 70 + i * (w + gap);
  const total = x(many) - gap + 80;
  const far = p.stages.some((s, i) => s.receives.some((r) => r.from !== null && r.from < i - 1));
  const picture = svg('svg', { class: 'chart stages', viewBox: `0 0 ${total} ${y + h + (far ? 70 : 24)}`, width: total, height: y + h + (far ? 70 : 24), role: 'img', 'aria-label': 'stages' });
  picture.append(svg('defs', {}, svg('marker', { id: 'stage-arrow', viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: 'auto' }, svg('path', { d: 'M0 0L8 4L0 8z', class: 'arrow' }))));
  const devices = [...new Set(p.stages.map((s) => s.device))];
  p.stages.forEach((s, i) => {
    const g = svg('g', { transform: `translate(${x(i)} ${y})` });
    g.append(svg('rect', { class: 'stage', width: w, height: h, rx: 8, stroke: COLOURS[devices.indexOf(s.device) % COLOURS.length] }));
    const text = (dy, t, cls) => g.append(svg('text', { x: w / 2, y: dy, class: cls, 'text-anchor': 'middle' }, short(t, 24)));
    text(22, s.device, 'op');
    text(40, count(s.nodes, 'node'), 'name');
    text(56, `computes ${time(s.compute_s)}`, 'name');
    text(72, `holds ${bytes(s.memory_bytes)}`, 'name');
    picture.append(g);
    for (const r of s.receives) {
      const from = r.from === null ? -1 : r.from;
      const direct = from >= i - 1;
      const [a, b] = [from < 0 ? 14 : x(from) + w, x(i)];
      const d = direct ? `M${a} ${y + h / 2}L${b - 2} ${y + h / 2}` : `M${from < 0 ? 14 : x(from) + w / 2} ${y + h}C${x(from)+ w / 2} ${y + h + 60} ${b + w / 2} ${y + h + 60} ${b + w / 2} ${y + h + 2}`;
      const path = svg('path', { class: r.over ? 'cross' : 'cross stay', d, 'marker-end': 'url(#stage-arrow)' });
      const tell = (e) => hint(e, `${r.values.slice(0, 4).join(', ')}${r.values.length > 4 ? `, and ${r.values.length - 4} more` : ''}`, r.over ? `over ${r.over}: ${bytes(r.bytes)} in ${time(r.seconds)}` : 'stays on the device');
      path.addEventListener('pointermove', tell);
      path.addEventListener('pointerleave', (e) => hint(e));
      picture.append(path);
      if (r.over && direct && from >= 0) {
        picture.append(svg('text', { class: 'tick', x: (a + b) / 2, y: y + h / 2 - 20, 'text-anchor': 'middle' }, bytes(r.bytes)), svg('text', { class: 'tick', x: (a + b) / 2, y: y + h / 2 - 7, 'text-anchor': 'middle' }, time(r.seconds)));
      }
    }
  });
  picture.append(svg('path', { class: 'cross', d: `M${x(many - 1) + w} ${y + h / 2}L${total - 14} ${y + h / 2}`, 'marker-end': 'url(#stage-arrow)' }));
  picture.append(svg('text', { class: 'tick', x: 14, y: y + h / 2 - 8 }, 'inputs'), svg('text', { class: 'tick', x: total - 14, y: y + h / 2 - 8, 'text-anchor': 'end' }, 'outputs'));
  return picture;
}

/** A row for each device and each link, a bar for all that it does. */
function gantt(p) {
  const rows = [];
  for (const s of p.spans) if (!rows.some((r) => r.on === s.on && r.link === s.link)) rows.push({ on: s.on, link: s.link });
  rows.sort((a, b) => a.link - b.link);
  const [W, row, left, top] = [900, 26, 150, 10];
  const end = Math.max(...p.spans.map((s) => s.end_s), 1e-9);
  const H = top + rows.length * row + 40;
  const x = (t) => left + (t / end) * (W - left - 20);
  const picture = svg('svg', { class: 'chart gantt', viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': 'what runs when' });
  for (const t of ticks(0, end, 8)) {
    picture.append(svg('line', { class: 'grid', x1: x(t), x2: x(t), y1: top, y2: H - 36 }), svg('text', { class: 'tick', x: x(t), y: H - 20, 'text-anchor': 'middle' }, +(t * 1e3).toPrecision(4)));
  }
  picture.append(svg('text', { class: 'tick strong', x: (left + W) / 2, y: H - 4, 'text-anchor': 'middle' }, 'milliseconds'));
  rows.forEach((r, i) => {
    picture.append(svg('text', { class: r.link ? 'tick' : 'tick strong', x: left - 8, y: top + i * row + 17, 'text-anchor': 'end' }, short(r.on, 22)));
    picture.append(svg('line', { class: 'grid', x1: left, x2: W - 20, y1: top + (i + 1) * row, y2: top + (i + 1) * row }));
  });
  for (const s of p.spans) {
    const i = rows.findIndex((r) => r.on === s.on && r.link === s.link);
    const [a, b] = [x(s.begin_s), x(s.end_s)];
    const bar = svg('rect', { class: s.link ? 'bar link' : 'bar', x: a, y: top + i * row + (s.link ? 8 : 4), width: Math.max(b - a, 0.8), height: s.link ? 10 : 18, rx: 2, fill: COLOURS[s.frame % COLOURS.length] });
    bar.addEventListener('pointermove', (e) => hint(e, `frame ${s.frame + 1} ${s.link ? `over ${s.on} to ${s.stage === null ? 'the sink' : p.stages[s.stage].device}` : `on ${s.on}, stage ${s.stage}`}`, `${time(s.begin_s)} to ${time(s.end_s)}: ${time(s.end_s - s.begin_s)}`));
    bar.addEventListener('pointerleave', (e) => hint(e));
    picture.append(bar);
    if (!s.link && b - a > 16) picture.append(svg('text', { class: 'frame', x: (a + b) / 2, y: top + i * row + 17, 'text-anchor': 'middle' }, s.frame + 1));
  }
  return picture;
}
