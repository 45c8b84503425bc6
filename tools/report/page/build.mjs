// Makes ../page.html: the style, the script with all that it imports, and the licences of that, in one file.
// `node build.mjs --check` fails if the committed page is another one.
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, '..', 'page.html');

const bundled = await build({
  absWorkingDir: here,
  entryPoints: ['src/main.js'],
  bundle: true,
  minify: true,
  format: 'iife',
  target: 'es2022',
  charset: 'utf8',
  legalComments: 'none',
  metafile: true,
  write: false,
});
const style = await build({
  absWorkingDir: here,
  entryPoints: ['src/style.css'],
  minify: true,
  write: false,
});

/** The licences of the packages that are in the script, and of those that they were built from. */
function licences() {
  const packages = new Map();
  const add = (name) => {
    if (packages.has(name)) return;
    const folder = join(here, 'node_modules', name);
    const about = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const file = readdirSync(folder).find((f) => /^(licen[cs]e|copying|unlicense)/i.test(f));
    const text = file ? readFileSync(join(folder, file), 'utf8').trim() : '';
    packages.set(name, `${name} ${about.version} (${about.license})\n\n${text}`.trim());
    Object.keys(about.dependencies ?? {}).forEach(add);
  };
  for (const input of Object.keys(bundled.metafile.inputs)) {
    const found = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) add(found[1]);
  }
  const all = [...packages.keys()].sort().map((name) => packages.get(name));
  const allowed = /\((MIT|ISC|Unlicense|BSD-2-Clause|BSD-3-Clause|Apache-2\.0|0BSD|CC0-1\.0|\(MIT OR CC0-1\.0\))\)/;
  const other = all.find((text) => !allowed.test(text.split('\n')[0]));
  if (other) throw new Error(`a licence that is not allowed: ${other.split('\n')[0]}`);
  return all;
}

const script = bundled.outputFiles[0].text.trim().replaceAll('</script', '<\\/script').replaceAll('<!--', '<\\!--');
const css = style.outputFiles[0].text.trim();
const hash = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
const policy =
  `default-src 'none'; script-src ${hash(script)}; style-src ${hash(css)}; img-src data: blob:; ` +
  "base-uri 'none'; form-action 'none'";
const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
const page = readFileSync(join(here, 'src', 'page.html'), 'utf8')
  .replace('@POLICY@', () => policy)
  .replace('@STYLE@', () => css)
  .replace('@LICENCES@', () => escaped(licences().join('\n\n\n')))
  .replace('@SCRIPT@', () => script);

if (process.argv.includes('--check')) {
  if (readFileSync(target, 'utf8') !== page) {
    console.error('tools/report/page.html is not what its sources build: npm ci && npm run build');
    process.exit(1);
  }
  console.log('page.html is what its sources build');
} else {
  writeFileSync(target, page);
  console.log(`page.html: ${(page.length / 1024).toFixed(0)} KiB`);
}
