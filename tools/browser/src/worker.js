// Runs the program, each time in a new instance with a folder of its own in memory.
import { ConsoleStdout, File, OpenFile, PreopenDirectory, WASI } from '@bjorn3/browser_wasi_shim';

let program;

/** Runs `graph-opt` with these arguments, in a folder with these files. */
async function run(args, files) {
  program ??= await WebAssembly.compileStreaming(fetch('graph-opt.wasm'));
  const said = { output: '', error: '' };
  const to = (which) => {
    const decoder = new TextDecoder();
    return new ConsoleStdout((bytes) => { said[which] += decoder.decode(bytes, { stream: true }); });
  };
  const contents = new Map(Object.entries(files).map(([name, bytes]) => [name, new File(bytes)]));
  const folder = new PreopenDirectory('.', contents);
  const streams = [new OpenFile(new File([])), to('output'), to('error')];
  const wasi = new WASI(['graph-opt', ...args], [], [...streams, folder], { debug: false });
  const instance = await WebAssembly.instantiate(program, { wasi_snapshot_preview1: wasi.wasiImport });
  const exit = wasi.start(instance);
  const made = {};
  for (const [name, file] of folder.dir.contents) {
    if (!(name in files) && file instanceof File) made[name] = file.data;
  }
  return { exit, ...said, made };
}

onmessage = async ({ data: { id, args, files } }) => {
  try {
    postMessage({ id, ...(await run(args, files)) });
  } catch (e) {
    // The module ran out of memory or of its stack.
    postMessage({ id, exit: 70, output: '', error: `error: ${e.message ?? e}`, made: {} });
  }
};
