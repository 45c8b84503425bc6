// Elements, numbers as text, and pictures as files.

const SVG = 'http://www.w3.org/2000/svg';

/** A name as it may be shown: what could turn the direction of writing, or cannot be seen, is written out. */
export function show(text) {
  return String(text).replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (c) => `\\u{${c.codePointAt(0).toString(16)}}`,
  );
}

function fill(e, attrs, children) {
  for (const [key, value] of Object.entries(attrs ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) e.addEventListener(key.slice(2), value);
    else if (key === 'style') for (const [k, v] of Object.entries(value)) e.style.setProperty(k, v);
    else e.setAttribute(key, value === true ? '' : typeof value === 'string' ? show(value) : value);
  }
  for (const c of children.flat(Infinity)) {
    if (c === undefined || c === null || c === false) continue;
    e.append(c instanceof Node ? c : document.createTextNode(show(c)));
  }
  return e;
}

/** An HTML element. Strings become text, never markup. */
export const el = (tag, attrs, ...children) => fill(document.createElement(tag), attrs, children);
/** An SVG element. */
export const svg = (tag, attrs, ...children) => fill(document.createElementNS(SVG, tag), attrs, children);

export function bytes(n) {
  if (n === null || n === undefined) return 'unknown';
  if (n >= 2 ** 30) return `${(n / 2 ** 30).toFixed(2)} GiB`;
  if (n >= 2 ** 20) return `${(n / 2 ** 20).toFixed(2)} MiB`;
  if (n >= 2 ** 10) return `${(n / 2 ** 10).toFixed(2)} KiB`;
  return `${n} B`;
}

export function scaled(n) {
  for (const [size, unit] of [[1e12, ' T'], [1e9, ' G'], [1e6, ' M'], [1e3, ' k']]) {
    if (Math.abs(n) >= size) return `${+(n / size).toPrecision(3)}${unit}`;
  }
  return String(+n.toPrecision(3));
}

export function time(s) {
  if (s === 0) return '0';
  if (Math.abs(s) >= 1) return `${+s.toPrecision(4)} s`;
  if (Math.abs(s) >= 1e-3) return `${+(s * 1e3).toPrecision(4)} ms`;
  return `${+(s * 1e6).toPrecision(4)} µs`;
}

/** A quantity with its unit. */
export function quantity(x, unit) {
  if (unit === 'B') return bytes(x);
  if (unit === 's') return time(x);
  const n = scaled(x);
  return unit ? `${n} ${unit}`.replace('  ', ' ') : n;
}

export const count = (n, noun) => `${n.toLocaleString('en')} ${noun}${n === 1 ? '' : 's'}`;

/** A name without its middle, if it is longer than that. */
export function short(name, most) {
  const all = [...show(name)];
  if (all.length <= most) return all.join('');
  const head = Math.ceil(most / 2) - 1;
  return `${all.slice(0, head).join('')}…${all.slice(all.length - (most - head - 1)).join('')}`;
}

/** Numbers for the marks of an axis, in powers of `base`. */
export function ticks(low, high, most, base = 10) {
  const span = high - low || 1;
  const raw = span / most;
  const unit = base ** Math.floor(Math.log(raw) / Math.log(base));
  const steps = base === 2 ? [1, 2] : [1, 2, 5, 10];
  const step = unit * (steps.find((s) => s * unit >= raw) ?? base);
  const all = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) all.push(i * step);
  return all;
}

/** Properties that a picture takes from the page's style. */
const STYLED = [
  'fill', 'fill-opacity', 'stroke', 'stroke-width', 'stroke-dasharray', 'stroke-opacity', 'opacity', 'font-size',
  'font-weight', 'font-family', 'text-anchor', 'dominant-baseline', 'display', 'visibility',
];

/** The picture as a file of its own, as it looks now. */
export function svgText(picture) {
  const copy = picture.cloneNode(true);
  const from = [picture, ...picture.querySelectorAll('*')];
  const to = [copy, ...copy.querySelectorAll('*')];
  from.forEach((e, i) => {
    const style = getComputedStyle(e);
    for (const name of STYLED) {
      const value = style.getPropertyValue(name);
      if (value) to[i].setAttribute(name, value);
    }
    to[i].removeAttribute('class');
  });
  const box = picture.getBoundingClientRect();
  if (!copy.getAttribute('viewBox')) copy.setAttribute('viewBox', `0 0 ${box.width} ${box.height}`);
  copy.setAttribute('width', Math.round(box.width));
  copy.setAttribute('height', Math.round(box.height));
  copy.setAttribute('xmlns', SVG);
  const ground = svg('rect', { width: '100%', height: '100%', fill: getComputedStyle(document.body).backgroundColor });
  copy.prepend(ground);
  return new XMLSerializer().serializeToString(copy);
}

/** Hands a file to the browser. */
export function save(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const a = el('a', { href: url, download: name });
  document.body.append(a);
  a.click();
  a.remove();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** A button that saves a picture. */
export function svgButton(name, picture) {
  const click = () => save(`${name}.svg`, svgText(picture()), 'image/svg+xml');
  return el('button', { type: 'button', title: 'Save this picture as SVG', onclick: click, class: 'quiet' }, 'SVG');
}

/** A part of the page. */
export function section(id, title, ...children) {
  return el('section', { id, 'aria-labelledby': `${id}-title` }, el('h2', { id: `${id}-title` }, title), ...children);
}

/** A table. Cells are strings or elements; numbers stand to the right. */
export function table(header, rows) {
  const number = (c) => typeof c === 'string' && /^[+−-]?\d/.test(c) && c.split(' ').length <= 2;
  const cell = (c) => el('td', { class: number(c) ? 'number' : undefined }, c);
  return el(
    'div',
    { class: 'scroll' },
    el(
      'table',
      {},
      el('thead', {}, el('tr', {}, header.map((h) => el('th', { scope: 'col' }, h)))),
      el('tbody', {}, rows.map((r) => el('tr', {}, r.map(cell)))),
    ),
  );
}

/** Colours that people with any colour vision can tell apart (Okabe and Ito 2008). */
export const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00', '#8c6bb1', '#7f7f7f'];

/** A box that follows the pointer with what is under it. */
const tip = el('div', { id: 'tip', role: 'status', hidden: true });
export function hint(event, ...lines) {
  if (!tip.isConnected) document.body.append(tip);
  if (!lines.length) {
    tip.hidden = true;
    return;
  }
  tip.replaceChildren(...lines.map((l) => el('div', {}, l)));
  tip.hidden = false;
  const { innerWidth: w, innerHeight: h } = window;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, w - box.width - 8))}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, h - box.height - 8))}px`;
}
