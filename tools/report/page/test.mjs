// Opens reports in headless Chromium, as people do: no error, no request, and all that can be clicked works.
//
//   node test.mjs FOLDER [--pictures FOLDER]
//
// FOLDER holds the reports that ../../../tests/python/reports.py writes. Chromium is that of the system.
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const [folder, ...options] = process.argv.slice(2);
const pictures = options[0] === '--pictures' ? resolve(options[1]) : null;
if (pictures) mkdirSync(pictures, { recursive: true });

let passed = 0;
const failures = [];
function check(what, holds, found = '') {
  if (holds) passed += 1;
  else {
    failures.push(what);
    console.error(`FAILED ${what} ${found}`);
  }
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

/** A page with what it asked for and complained about. */
async function open(file, settings = {}) {
  const context = await browser.newContext({ viewport: { width: 1500, height: 950 }, ...settings });
  const page = await context.newPage();
  const trouble = [];
  page.on('console', (m) => ['error', 'warning'].includes(m.type()) && trouble.push(m.text()));
  page.on('pageerror', (e) => trouble.push(String(e)));
  page.on('dialog', (d) => (trouble.push(`dialog: ${d.message()}`), d.dismiss()));
  const url = pathToFileURL(join(folder, file)).href;
  page.on('request', (r) => !r.url().startsWith('data:') && !r.url().startsWith('blob:') && r.url().split('#')[0] !== url && trouble.push(`request: ${r.url()}`));
  await page.goto(url);
  await page.waitForFunction(() => document.querySelector('footer')?.textContent);
  return { page, trouble, close: () => context.close() };
}

const picture = async (page, name, selector) => {
  if (!pictures) return;
  const path = join(pictures, `${name}.png`);
  if (selector) await page.locator(selector).screenshot({ path });
  else await page.screenshot({ path });
};

const shown = (page, selector) => page.locator(selector).count();

/** Folding, details and search of the first graph. */
async function graph(page, name) {
  const pane = page.locator('.pane').last();
  const status = () => pane.locator('.status').textContent();
  const before = await status();
  await pane.getByRole('button', { name: 'Fold', exact: true }).click();
  const folded = await status();
  const closed = pane.locator('.thing.closed').first();
  if (await closed.count()) {
    await closed.click({ position: { x: 30, y: 12 } });
    check(`${name}: a click unfolds a box`, (await status()) !== folded, await status());
  }
  await pane.getByRole('button', { name: 'Unfold', exact: true }).click();
  const all = await status();
  check(`${name}: boxes fold and unfold`, before !== undefined && (folded !== all || !(await shown(page, '.thing.group'))), `${folded} ${all}`);
  const label = await page.evaluate(() => {
    const doc = JSON.parse(document.getElementById('document').textContent);
    const { nodes } = doc.graphs[doc.graphs.length - 1];
    return nodes[Math.floor(nodes.length * 0.6)].name;
  });
  await page.locator('#search').fill(label.slice(0, 200));
  await page.locator('#search').press('Enter');
  await page.waitForTimeout(100);
  check(`${name}: search shows the node`, (await shown(page, '.thing.node.selected')) >= 1, label);
  const details = await page.locator('.details').textContent();
  check(`${name}: its details are shown`, /Makes|Reads/.test(details), details.slice(0, 80));
  await pane.getByRole('button', { name: 'Fit' }).click();
  await pane.getByRole('button', { name: '+', exact: true }).click();
}

/** The animation goes on, and ends when it is stopped. */
async function animation(page, name) {
  const caption = page.locator('#tiles .caption strong');
  const before = await caption.textContent();
  await page.getByRole('button', { name: '▶ Play' }).click();
  await page.waitForTimeout(700);
  const during = await caption.textContent();
  check(`${name}: the animation moves`, before !== during, `${before} ${during}`);
  await page.getByRole('button', { name: '❚❚ Pause' }).click();
  const stopped = await caption.textContent();
  await page.waitForTimeout(300);
  check(`${name}: and stops`, stopped === (await caption.textContent()));
  await page.locator('#tiles input[type=range]').fill('0');
  check(`${name}: the slider goes to the start`, (await caption.textContent()).startsWith('Step 1 of'));
  check(`${name}: a region is computed now`, (await shown(page, '#tiles .tilemap .tile-now')) > 0);
  for (let i = 0; i < 3; i += 1) await page.getByRole('button', { name: '»' }).click();
  check(`${name}: regions of earlier tiles are shown`, (await shown(page, '#tiles .tilemap .tile-done')) > 3);
}

async function report(file, name, sections, then = async () => {}) {
  if (!existsSync(join(folder, file))) {
    check(`${name}: ${file} was written`, false);
    return;
  }
  for (const scheme of ['light', 'dark']) {
    const { page, trouble, close } = await open(file, { colorScheme: scheme });
    for (const id of sections) check(`${name}: has ${id}`, (await shown(page, `#${id}`)) === 1);
    await picture(page, `${name}-${scheme}`);
    if (pictures) for (const id of sections) await picture(page, `${name}-${scheme}-${id}`, `#${id}`);
    if (scheme === 'light') {
      if (sections.includes('graph')) await graph(page, name);
      await then(page);
      await page.emulateMedia({ media: 'print' });
      const paper = await page.pdf({ format: 'A4' });
      check(`${name}: prints`, paper.length > 10_000, paper.length);
      await page.emulateMedia({ media: 'screen' });
      await page.setViewportSize({ width: 420, height: 850 });
      await page.waitForTimeout(100);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      check(`${name}: fits a narrow window`, wide <= 424, wide);
      await picture(page, `${name}-narrow`);
    } else {
      const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      check(`${name}: is dark`, ground === 'rgb(20, 23, 27)', ground);
      await page.locator('#theme').click();
      const light = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      check(`${name}: turns light`, light === 'rgb(255, 255, 255)', light);
    }
    check(`${name}, ${scheme}: no error, no request`, trouble.length === 0, trouble.slice(0, 3).join('\n'));
    await close();
  }
}

await report('view.html', 'view', ['graph', 'memory']);
await report('tiles.html', 'tiles', ['graph', 'tiles', 'memory', 'verdict', 'front', 'passes'], (page) => animation(page, 'tiles'));
await report('differs.html', 'differs', ['graph', 'verdict'], async (page) => {
  check('differs: the verdict is on top', /different/.test(await page.locator('.cards').textContent()));
  check('differs: a heat map', (await shown(page, '#verdict svg.heat .hot')) > 0);
});
await report('plan.html', 'plan', ['graph', 'split'], async (page) => {
  check('plan: bars of the Gantt chart', (await shown(page, '#split .gantt .bar')) > 5);
  const names = await page.locator('#split .gantt').textContent();
  check('plan: devices are named', names.includes('milliseconds') && /camera|pi|box|node/.test(names), names.slice(0, 80));
});
await report('hostile.html', 'hostile', ['graph'], async (page) => {
  check('hostile: nothing ran', !(await page.evaluate(() => globalThis.broken)));
  const text = await page.locator('.pane').first().textContent();
  check('hostile: its names are text', text.includes('<img') && !text.includes('\u202e'), text.slice(0, 200));
  check('hostile: no element of its own', (await shown(page, 'main img, main script, main iframe')) === 0);
});

// A large graph: all of its boxes open.
if (existsSync(join(folder, 'large.html'))) {
  const { page, trouble, close } = await open('large.html');
  const pane = page.locator('.pane').first();
  const nodes = await page.evaluate(() => JSON.parse(document.getElementById('document').textContent).graphs[0].nodes.length);
  await pane.getByRole('button', { name: 'Unfold', exact: true }).click();
  const taken = await pane.locator('.status').getAttribute('title');
  console.log(`${nodes} nodes, all unfolded: ${taken}`);
  check('large: all nodes are laid out', nodes >= 5000);
  await picture(page, 'large');
  check('large: no error', trouble.length === 0, trouble.join('\n'));
  await close();
}

await browser.close();
console.log(`${passed} passed, ${failures.length} failed`);
process.exit(failures.length ? 1 : 0);
