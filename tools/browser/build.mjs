// Makes a folder of files to be served: the page, and graph-opt as WebAssembly.
//
//   node build.mjs [FOLDER] [--profile PROFILE]     by default ../../target/browser and release
//
// It takes the target wasm32-wasip1 of the Rust toolchain: rustup target add wasm32-wasip1
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';

const TARGET = 'wasm32-wasip1';
const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');
const { values, positionals } = parseArgs({
  options: { profile: { type: 'string', default: 'release' } },
  allowPositionals: true,
});
const folder = resolve(positionals[0] ?? join(root, 'target', 'browser'));

const sysroot = execFileSync('rustc', ['--print', 'sysroot'], { encoding: 'utf8' }).trim();
if (!existsSync(join(sysroot, 'lib', 'rustlib', TARGET, 'lib'))) {
  console.error(`the toolchain lacks ${TARGET}: rustup target add ${TARGET}`);
  process.exit(3);
}
// Planners recurse deeper than the megabyte of stack that a module has by default.
const flags = `${process.env.RUSTFLAGS ?? ''} -C link-arg=-zstack-size=8388608`.trim();
// Names of functions and debugging information would be most of the module.
const env = { ...process.env, RUSTFLAGS: flags, CARGO_PROFILE_DEV_DEBUG: '0', CARGO_PROFILE_DEV_STRIP: 'true', CARGO_PROFILE_RELEASE_STRIP: 'true' };
const cargo = ['build', '--locked', '--profile', values.profile, '--target', TARGET, '-p', 'graph-opt', '--bin', 'graph-opt', '--no-default-features'];
execFileSync('cargo', cargo, { cwd: root, stdio: 'inherit', env });
const built = resolve(root, process.env.CARGO_TARGET_DIR ?? 'target');
const module = join(built, TARGET, values.profile === 'dev' ? 'debug' : values.profile, 'graph-opt.wasm');

mkdirSync(folder, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: ['src/main.js', 'src/worker.js', 'src/style.css'],
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  outdir: folder,
});
copyFileSync(join(here, 'src', 'index.html'), join(folder, 'index.html'));
copyFileSync(module, join(folder, 'graph-opt.wasm'));
const shim = join(here, 'node_modules', '@bjorn3', 'browser_wasi_shim');
const licences = ['LICENSE-MIT', 'LICENSE-APACHE'].map((f) => join(shim, f)).filter(existsSync);
writeFileSync(join(folder, 'LICENCES.txt'), ['@bjorn3/browser_wasi_shim (MIT OR Apache-2.0)', ...licences.map((f) => readFileSync(f, 'utf8'))].join('\n\n'));
console.log(`${folder}: graph-opt.wasm has ${(statSync(module).size / 2 ** 20).toFixed(1)} MiB`);
