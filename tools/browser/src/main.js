const $ = (id) => document.getElementById(id);
const ZOO = ['squeezenet', 'mobilenetv2', 'resnet18', 'yolov2'];

let worker;
let calls = 0;
/** The model: its name for people, the argument that names it, its files, and its peak in bytes. */
let model = null;

/** Runs the program in the worker. */
function call(args, files) {
  worker ??= new Worker('worker.js', { type: 'module' });
  const id = ++calls;
  return new Promise((done) => {
    const answer = ({ data }) => {
      if (data.id !== id) return;
      worker.removeEventListener('message', answer);
      done(data);
    };
    worker.addEventListener('message', answer);
    worker.postMessage({ id, args, files });
  });
}

const size = (bytes) => {
  const unit = bytes >= 2 ** 20 ? [2 ** 20, 'MiB'] : [2 ** 10, 'KiB'];
  return `${(bytes / unit[0]).toPrecision(3)} ${unit[1]}`;
};

function say(text, said = '') {
  $('status').textContent = text;
  $('said').textContent = said.trim();
  $('said').hidden = !said.trim();
}

/** The extents that were given, as options; null, once that is said, if they are none. */
function extents() {
  const all = $('extents').value.split(/[\s,]+/).filter(Boolean);
  const wrong = all.find((e) => !/^[\x21-\x7e]+=\d+$/.test(e));
  if (wrong) {
    say(`expected extents such as batch=1, found ${wrong}`);
    return null;
  }
  return all.flatMap((e) => ['--dim', e]);
}

function budget() {
  if (!model?.peak) return null;
  return Math.round((model.peak * Number($('share').value)) / 100);
}

function show() {
  const bytes = budget();
  $('budget').textContent = bytes === null ? 'give the extents first' : `${$('share').value} % of its peak, ${size(bytes)}`;
  $('run').disabled = bytes === null;
}

/** What the model is, and what it takes. */
async function inspect() {
  say('Reading the model…');
  $('result').hidden = true;
  const options = extents();
  if (!options) return;
  const asked = model;
  const { exit, output, error } = await call(['inspect', asked.argument, '--json', ...options], asked.files);
  if (asked !== model) return;
  const answer = output ? JSON.parse(output) : {};
  if (exit !== 0) {
    say('It cannot be read.', answer.error?.message ?? error);
    return;
  }
  const r = answer.result;
  model.peak = r.peak_activation_bytes;
  const facts = [
    ['operators', `${r.nodes}: ${Object.entries(r.operators).sort((a, b) => b[1] - a[1]).slice(0, 8).map(([k, n]) => `${n} ${k}`).join(', ')}`],
    ['MACs', r.macs.toLocaleString('en')],
    ['parameters', `${r.parameters.toLocaleString('en')} (${size(r.constant_bytes)})`],
    ['peak of activations', model.peak ? `${size(model.peak)} at ${r.peak_at}` : 'unknown: sizes depend on extents that the model leaves open'],
  ];
  $('facts').replaceChildren(...facts.flatMap(([name, text]) => {
    const [dt, dd] = ['dt', 'dd'].map((tag) => document.createElement(tag));
    dt.textContent = name;
    dd.textContent = text;
    return [dt, dd];
  }));
  $('name').textContent = asked.name;
  $('model').hidden = false;
  say('');
  show();
}

function choose(name, argument, files) {
  model = { name, argument, files, peak: null };
  $('extents').value = '';
  inspect();
}

async function read(file) {
  const inside = /\.gir$/i.test(file.name) ? 'model.gir' : 'model.onnx';
  choose(file.name, inside, { [inside]: new Uint8Array(await file.arrayBuffer()) });
}

function link(anchor, bytes, type) {
  if (anchor.href) URL.revokeObjectURL(anchor.href);
  anchor.href = URL.createObjectURL(new Blob([bytes], { type }));
}

async function fit(event) {
  event.preventDefault();
  const options = extents();
  if (!options) return;
  if (model.peak === null) return;
  $('run').disabled = true;
  $('stop').hidden = false;
  $('result').hidden = true;
  say('Searching for a plan…');
  const words = ['opt', model.argument, '--memory', `${budget()}B`, ...options, '-o', 'fitted.onnx', '--report', 'report.html'];
  if ($('verify').checked) words.push('--verify');
  const began = performance.now();
  const { exit, output, error, made } = await call(words, model.files);
  $('stop').hidden = true;
  show();
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  const done = exit === 0 ? `Done in ${seconds} s.` : exit === 4 ? 'There is no such plan.' : `It ended with exit code ${exit}.`;
  say(done, `${output}\n${error}`);
  if (made['fitted.onnx']) {
    $('download').download = `${model.name.replace(/\.\w+$/, '')}-fitted.onnx`;
    link($('download'), made['fitted.onnx'], 'application/octet-stream');
  }
  $('download').hidden = !made['fitted.onnx'];
  $('page').hidden = $('report').hidden = !made['report.html'];
  $('result').hidden = !made['fitted.onnx'] && !made['report.html'];
  if (made['report.html']) {
    link($('page'), made['report.html'], 'text/html');
    // A new frame, as Chromium draws nothing in one that was hidden before.
    const frame = $('report').cloneNode();
    frame.srcdoc = new TextDecoder().decode(made['report.html']);
    $('report').replaceWith(frame);
  }
}

function stop() {
  worker.terminate();
  worker = undefined;
  $('stop').hidden = true;
  say('Stopped.');
  show();
}

const drop = $('drop');
drop.addEventListener('dragover', (e) => { e.preventDefault(); drop.classList.add('over'); });
drop.addEventListener('dragleave', () => drop.classList.remove('over'));
drop.addEventListener('drop', (e) => {
  e.preventDefault();
  drop.classList.remove('over');
  if (e.dataTransfer.files[0]) read(e.dataTransfer.files[0]);
});
$('file').addEventListener('change', (e) => e.target.files[0] && read(e.target.files[0]));
$('zoo').append(...ZOO.map((name) => new Option(name)));
$('zoo').addEventListener('change', (e) => e.target.value && choose(e.target.value, `zoo:${e.target.value}`, {}));
$('extents').addEventListener('change', inspect);
$('share').addEventListener('input', show);
$('fit').addEventListener('submit', fit);
$('stop').addEventListener('click', stop);
