// Opens the page in headless Chromium, as people do: a model goes in, a smaller one comes out, and nothing else is
// asked of the network.
//
//   node test.mjs [FOLDER] [--picture FILE.png] [--models FOLDER]
//
// FOLDER is what build.mjs made. What comes out is compared with the original by the graph-opt of GRAPH_OPT, if it is
// set. Chromium is that of the system.
import { execFileSync } from 'node:child_process';
import { createServer } from 'node:http';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, extname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const here = dirname(fileURLToPath(import.meta.url));
const { values, positionals } = parseArgs({
  options: { picture: { type: 'string' }, models: { type: 'string', default: join(here, '..', '..', '..', 'shared', 'models') } },
  allowPositionals: true,
});
const folder = resolve(positionals[0] ?? join(here, '..', '..', 'target', 'browser'));
const out = mkdtempSync(join(tmpdir(), 'graph-opt-browser-'));

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.wasm': 'application/wasm' };
const server = createServer((request, response) => {
  const path = join(folder, request.url === '/' ? 'index.html' : request.url.slice(1));
  if (!path.startsWith(folder) || !existsSync(path)) return response.writeHead(404).end();
  response.writeHead(200, { 'content-type': TYPES[extname(path)] ?? 'text/plain' }).end(readFileSync(path));
});
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const address = `http://127.0.0.1:${server.address().port}`;

let passed = 0;
let failed = 0;
function check(what, holds, found = '') {
  if (holds) passed += 1;
  else {
    failed += 1;
    console.error(`FAILED ${what} ${found}`);
  }
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
// High, as a frame out of sight is not drawn.
const page = await (await browser.newContext({ viewport: { width: 1400, height: 1800 }, acceptDownloads: true })).newPage();
const trouble = [];
page.on('console', (m) => ['error', 'warning'].includes(m.type()) && trouble.push(m.text()));
page.on('pageerror', (e) => trouble.push(String(e)));
page.on('request', (r) => !r.url().startsWith(address) && !/^(data|blob|about):/.test(r.url()) && trouble.push(`request: ${r.url()}`));
await page.goto(address);

const read = () => page.waitForFunction(() => !document.getElementById('status').textContent.startsWith('Reading'), null, { timeout: 120_000 });
const settled = () => page.waitForFunction(() => !/^(Reading|Searching)/.test(document.getElementById('status').textContent), null, { timeout: 300_000 });
const text = (selector) => page.locator(selector).textContent();

/** Makes a model fit into this share of its peak, and saves what comes out. */
async function fit(name, share) {
  await page.locator('#share').fill(String(share));
  await page.locator('#run').click();
  await settled();
  check(`${name}: it is done`, /^Done in/.test(await text('#status')), `${await text('#status')} ${await text('#said')}`);
  check(`${name}: the verdict is shown`, /identical|proved|exact/.test(await text('#said')), await text('#said'));
  const frame = page.frameLocator('#report');
  await frame.locator('.pane').first().waitFor();
  check(`${name}: the report shows both graphs`, (await frame.locator('.pane').count()) >= 2);
  const waiting = page.waitForEvent('download');
  await page.locator('#download').click();
  const path = join(out, `${name}.onnx`);
  await (await waiting).saveAs(path);
  return path;
}

/** Asks the program of this machine whether the models are equal. */
function compare(name, original, fitted) {
  if (!process.env.GRAPH_OPT) return;
  const answer = execFileSync(process.env.GRAPH_OPT, ['verify', original, fitted], { encoding: 'utf8' });
  check(`${name}: this machine says so, too`, /identical|proved|exact/.test(answer), answer);
}

await page.locator('#zoo').selectOption('squeezenet');
await read();
check('squeezenet: its peak is shown', /3\.75 MiB at/.test(await text('#facts')), await text('#facts'));
compare('squeezenet', 'zoo:squeezenet', await fit('squeezenet', 50));
if (values.picture) await page.screenshot({ path: values.picture, clip: { x: 0, y: 0, width: 1400, height: 1250 } });

await page.locator('#share').fill('5');
await page.locator('#run').click();
await settled();
check('squeezenet: what cannot be had is refused', /no such plan/.test(await text('#status')), await text('#status'));
check('squeezenet: and why', /the least peak that was found/.test(await text('#said')), await text('#said'));

const broken = join(out, 'broken.onnx');
writeFileSync(broken, 'no model');
await page.locator('#file').setInputFiles(broken);
await read();
check('a broken file is refused', /cannot be read/.test(await text('#status')), await text('#status'));
check('a broken file: and why', (await text('#said')).length > 10, await text('#said'));

const real = join(values.models, 'Kazuhito00+MOT-Tracking-by-Detection-Pipeline__nanodet_m_320.onnx');
if (existsSync(real)) {
  await page.locator('#file').setInputFiles(real);
  await read();
  compare('nanodet', real, await fit('nanodet', 60));
} else console.log(`SKIPPED: no ${real}`);

check('no complaint and no request', trouble.length === 0, trouble.join('\n'));
await browser.close();
server.close();
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
