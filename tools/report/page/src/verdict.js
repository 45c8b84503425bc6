// Whether the models compute the same: the verdicts, where they differ, and the proof step by step.

import { count, el, hint, scaled, section, short, svg, svgButton, table } from './util.js';

const WORDS = { equal: 'equal', differs: 'different', undecided: 'undecided' };
const FOR = {
  'all-inputs': 'for all inputs',
  'all-inputs-of-extents': 'for all inputs of these extents',
  runs: 'in all runs',
  'runs-up-to-rounding': 'up to rounding',
};

export const verdictText = (v) => {
  const worst = v.outputs.find((o) => o.verdict === v.verdict);
  if (v.verdict !== 'equal') return WORDS[v.verdict];
  return `equal ${FOR[worst?.equal_for] ?? ''}`.trim();
};

export function verdict(doc) {
  if (!doc.verdict) return null;
  const v = doc.verdict;
  const rows = v.outputs.map((o) => [
    el('code', {}, short(o.name, 60)),
    el('span', { class: `badge ${o.verdict}` }, o.verdict === 'equal' ? `equal ${FOR[o.equal_for] ?? ''}` : WORDS[o.verdict]),
    short(o.why, 400),
    el('ul', { class: 'rungs' }, o.rungs.map((r) => el('li', {}, short(r.text, 300), r.runs ? ` (${count(r.runs, 'run')})` : ''))),
  ]);
  const s = section(
    'verdict',
    'Is the answer the same?',
    el('p', {}, el('span', { class: `badge ${v.verdict}` }, verdictText(v)), ` found in ${v.seconds.toFixed(2)} s`),
    table(['output', 'verdict', 'why', 'what was tried'], rows),
    v.notes.length ? el('ul', {}, v.notes.map((n) => el('li', {}, n))) : null,
    doc.heat.length ? [el('h3', {}, 'Where they differ'), el('div', { class: 'heats' }, doc.heat.map(heat))] : null,
    ...differences(doc),
    doc.proof ? proof(doc.proof) : null,
  );
  return { element: s };
}

/** The first differences in words. */
function differences(doc) {
  const all = doc.verdict.outputs.filter((o) => o.difference);
  if (!all.length) return [];
  const rows = all.map((o) => {
    const d = o.difference;
    return [el('code', {}, o.name), `[${d.element.join(', ')}]`, d.before ?? 'in exact arithmetic only', d.after ?? '', d.first_value === o.name ? 'the output itself' : el('code', {}, short(d.first_value, 60)), d.first_node ? el('code', {}, short(d.first_node, 60)) : '', short(d.edit || 'none known', 60)];
  });
  return [el('h3', {}, 'First differences'), table(['output', 'element', 'original', 'other', 'first value that differs', 'its node', 'edit'], rows)];
}

/** Cells from white to red by how much differs. */
function heat(m) {
  const finite = m.cells.filter((c) => c !== null);
  const most = Math.max(...finite, 0);
  const side = Math.max(2, Math.min(12, Math.floor(Math.min(320 / m.columns, 320 / m.rows))));
  const [w, h] = [m.columns * side, m.rows * side];
  const picture = svg('svg', { class: 'heat', viewBox: `0 0 ${w + 2} ${h + 2}`, width: w + 2, height: h + 2, role: 'img', 'aria-label': `differences of ${m.value}` });
  picture.append(svg('rect', { class: 'whole', x: 1, y: 1, width: w, height: h }));
  // Two levels for each power of ten below the most.
  const level = (c) => {
    if (c === null) return 'nan';
    if (c === 0) return '0';
    return String(Math.min(8, Math.max(1, Math.ceil((Math.log10(c / most) + 4) * 2))));
  };
  // Neighbours of one level are one rectangle.
  for (let y = 0; y < m.rows; y += 1) {
    for (let x = 0; x < m.columns;) {
      const l = level(m.cells[y * m.columns + x]);
      let end = x + 1;
      while (end < m.columns && level(m.cells[y * m.columns + end]) === l) end += 1;
      if (l !== '0') picture.append(svg('rect', { class: `hot hot-${l}`, x: x * side + 1, y: y * side + 1, width: (end - x) * side, height: side }));
      x = end;
    }
  }
  const rank = m.extents.length;
  const index = (cell, cells, extent) => [Math.ceil((cell * extent) / cells), Math.ceil(((cell + 1) * extent) / cells) - 1];
  const [eh, ew] = [rank > 1 ? m.extents[rank - 2] : 1, rank ? m.extents[rank - 1] : 1];
  if (m.element.length === rank && rank) {
    const fy = rank > 1 ? Math.floor((m.element[rank - 2] * m.rows) / eh) : 0;
    const fx = Math.floor((m.element[rank - 1] * m.columns) / ew);
    picture.append(svg('rect', { class: 'first', x: fx * side, y: fy * side, width: side + 2, height: side + 2 }));
  }
  picture.addEventListener('pointermove', (e) => {
    const box = picture.getBoundingClientRect();
    const x = Math.floor((((e.clientX - box.left) / box.width) * (w + 2) - 1) / side);
    const y = Math.floor((((e.clientY - box.top) / box.height) * (h + 2) - 1) / side);
    if (x < 0 || y < 0 || x >= m.columns || y >= m.rows) return;
    const c = m.cells[y * m.columns + x];
    const span = ([a, b]) => (a >= b ? `${a}` : `${a} to ${b}`);
    hint(e, `row ${span(index(y, m.rows, eh))}, column ${span(index(x, m.columns, ew))}`, c === null ? 'not a finite number' : `${m.measure}: ${scaled(c)}`);
  });
  picture.addEventListener('pointerleave', (e) => hint(e));
  return el(
    'figure',
    {},
    picture,
    el('figcaption', {}, el('code', {}, short(m.value, 50)), ` [${m.extents.join(', ')}]`, el('br'), `${m.measure}, up to ${scaled(most)} (by ${m.by || 'a run'}); darker is more, on a logarithmic scale`, el('br'), `${count(m.differing, 'element')} of ${m.elements.toLocaleString('en')} differ `, svgButton(`difference-${m.value}`, () => picture)),
  );
}

const PAGE = 40;

/** The certificate: its rules, and its lines, a page at a time. */
function proof(p) {
  let rule = null;
  let at = 0;
  const lines = el('div', {});
  const draw = () => {
    const all = rule === null ? p.steps : p.steps.filter((s) => s.rule === rule);
    const last = Math.max(0, Math.ceil(all.length / PAGE) - 1);
    at = Math.max(0, Math.min(at, last));
    const rows = all.slice(at * PAGE, (at + 1) * PAGE).map((s) => [
      el('code', {}, s.term),
      s.rule === undefined ? el('span', { class: 'note' }, 'names') : el('span', { class: 'rule' }, p.rules[s.rule].name),
      el('code', {}, short(s.text, 160)),
      short(s.is ?? '', 160),
    ]);
    const button = (text, to, off) => el('button', { type: 'button', disabled: off, onclick: () => ((at = to), draw()) }, text);
    lines.replaceChildren(
      el('div', { class: 'bar' }, button('‹ Previous', at - 1, at === 0), ` lines ${all.length ? at * PAGE + 1 : 0} to ${Math.min(all.length, (at + 1) * PAGE)} of ${all.length} `, button('Next ›', at + 1, at === last)),
      table(['term', 'rule', 'is made by', 'what it is'], rows),
    );
  };
  const choose = (i) => () => {
    rule = rule === i ? null : i;
    at = 0;
    draw();
  };
  const rules = p.rules.map((r, i) => [el('button', { type: 'button', class: 'quiet', onclick: choose(i), disabled: !r.uses }, r.name), el('code', {}, r.says), String(r.uses), r.reassociates ? 'differs' : 'the same']);
  draw();
  return [
    el('h3', {}, 'The proof'),
    el('p', {}, `It has ${count(p.steps.length + p.left_out, 'line')}. Each line names a term; a line with a rule says that the term is equal to the one it is made of. Equal terms under the same operator are equal, and so are, at the end:`),
    el('ul', {}, p.so.slice(0, 20).map((s) => el('li', {}, el('code', {}, short(s, 200))))),
    table(['rule', 'says', 'uses', 'rounding'], rules),
    lines,
    p.left_out ? el('p', { class: 'note' }, `${count(p.left_out, 'further line')} left out; verify --proof FILE writes all.`) : null,
  ];
}
