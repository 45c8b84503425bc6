// The page: reads the document, and shows what it has.

import { graphs } from './graph.js';
import { memory } from './memory.js';
import { fronts, split } from './plan.js';
import { tiles } from './tiles.js';
import { count, el, section, short, show, table } from './util.js';
import { verdict, verdictText } from './verdict.js';

const doc = JSON.parse(document.getElementById('document').textContent);
const main = document.getElementById('main');
document.title = show(`${doc.title} – graph-opt`);
main.replaceChildren();

const graph = graphs(doc);
// Of a plan, the devices are what matters.
const parts = [split(doc), graph, tiles(doc), memory(doc), verdict(doc), fronts(doc), passes()].filter(Boolean);
head();
parts.forEach((p) => main.append(p.element));
document.getElementById('foot').append(`Made by ${doc.made_by}. This file loads nothing.`);
graph?.start();

/** Title, figures, search, and the way to each part. */
function head() {
  const card = (f) => el('div', { class: `card ${f.good === true ? 'good' : f.good === false ? 'bad' : ''}` }, el('div', { class: 'label' }, f.name), el('div', { class: 'figure' }, f.before !== null ? [el('span', { class: 'was' }, f.before), ' → '] : null, f.value));
  const cards = doc.facts.map(card);
  if (doc.verdict) {
    const v = doc.verdict.verdict;
    cards.unshift(el('div', { class: `card ${v === 'equal' ? 'good' : v === 'differs' ? 'bad' : 'doubtful'}` }, el('div', { class: 'label' }, 'the models are'), el('div', { class: 'figure' }, verdictText(doc.verdict))));
  }
  const links = parts.map((p) => el('a', { href: `#${p.element.id}` }, p.element.querySelector('h2').textContent));
  const theme = el('button', { type: 'button', id: 'theme', title: 'Light or dark', 'aria-label': 'light or dark', onclick: turn }, '◐');
  document.getElementById('head').append(
    el('div', { class: 'top' }, el('h1', {}, short(doc.title, 90)), el('span', { class: 'grow' }), graph ? search() : null, theme),
    cards.length ? el('div', { class: 'cards' }, cards) : null,
    el('nav', { 'aria-label': 'parts of the page' }, links),
  );
}

function turn() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
}

/** A field that finds nodes in all graphs. */
function search() {
  const list = el('ul', { class: 'found', role: 'listbox', hidden: true });
  let found = [];
  let at = -1;
  const go = (i) => {
    at = i;
    const [view, thing] = found[i];
    [...list.children].forEach((c, j) => c.setAttribute('aria-selected', j === i));
    view.reveal(thing);
    view.select(thing);
    document.getElementById('graph').scrollIntoView({ block: 'start' });
  };
  const input = el('input', {
    type: 'search', id: 'search', placeholder: 'Find a node or value', 'aria-label': 'find a node or value', autocomplete: 'off', spellcheck: 'false',
    oninput: () => {
      const text = input.value.trim();
      found = text ? graph.views.flatMap((v) => v.find(text).map((t) => [v, t])) : [];
      at = -1;
      const item = ([v, t], i) => el('li', { role: 'option', onclick: () => (go(i), (list.hidden = true)) }, el('span', { class: 'op' }, t.node?.op ?? t.kind), ' ', short(t.label, 60), graph.views.length > 1 ? el('span', { class: 'where' }, ` ${v.picture.title}`) : null);
      list.replaceChildren(...found.slice(0, 30).map(item), ...(found.length > 30 ? [el('li', { class: 'note' }, `${count(found.length - 30, 'more match').replace('matchs', 'matches')}`)] : []), ...(text && !found.length ? [el('li', { class: 'note' }, 'nothing has this name')] : []));
      list.hidden = !text;
    },
    onkeydown: (e) => {
      if (e.key === 'Enter' && found.length) {
        go((at + (e.shiftKey ? found.length - 1 : 1)) % found.length);
        list.hidden = true;
      } else if (e.key === 'Escape') list.hidden = true;
    },
    onblur: () => setTimeout(() => (list.hidden = true), 200),
    onfocus: () => (list.hidden = !input.value.trim()),
  });
  return el('div', { class: 'search' }, input, list);
}

/** What the passes said, and the edits. */
function passes() {
  if (!doc.edits.length && !doc.remarks.length && !doc.text) return null;
  const remarks = doc.remarks.slice(0, 400).map((r) => [r.pass, el('span', { class: `outcome ${r.outcome.replace(' ', '-')}` }, r.outcome), r.node ? el('code', {}, short(r.node, 60)) : '', short(r.message, 400)]);
  const edits = doc.edits.slice(0, 400).map((e) => [String(e.number), short(e.origin, 90), e.in ? el('code', {}, e.in) : '', String(e.removed_nodes), String(e.new_nodes)]);
  const more = (all) => (all.length > 400 ? el('p', { class: 'note' }, `and ${count(all.length - 400, 'more')}`.replace('mores', 'more')) : null);
  return {
    element: section(
      'passes',
      doc.text ? 'What was chosen' : 'What the passes did',
      doc.text ? el('pre', { class: 'scroll' }, doc.text) : null,
      doc.remarks.length ? [table(['pass', 'outcome', 'node', ''], remarks), more(doc.remarks)] : null,
      doc.edits.length ? [el('h3', {}, count(doc.edits.length, 'edit')), table(['number', 'made by', 'in', 'nodes out', 'nodes in'], edits), more(doc.edits)] : null,
    ),
  };
}

let width = window.innerWidth;
window.addEventListener('resize', () => {
  if (window.innerWidth === width) return;
  width = window.innerWidth;
  graph?.views.forEach((v) => v.fit());
});
// On paper there is no scrolling: each graph is shown whole.
window.addEventListener('beforeprint', () => graph?.views.forEach((v) => v.whole()));
