"""Speed of the interpreter beside ONNX Runtime, on real models.

Every model of ../shared/models with a recorded run is timed at the recorded extents, one thread each:
graph-opt's interpreter, ONNX Runtime without optimisations, and with all. The three take turns, and a
figure is the median of its turns. Inputs are the recorded ones for ONNX Runtime; `graph-opt bench` draws
its own, so that models whose work depends on their inputs are not comparable to the last percent.

The targets: against ONNX Runtime without optimisations a median ratio of at most 1.0 and 2.0 at worst,
against all optimisations a median of at most 1.5. Misses are printed; the exit code is about models that do
not run.
"""

import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import onnx
import onnxruntime as ort

import common
from onnxruntime_check import MODES, extents, record, recorded


def session(path, mode):
    options = ort.SessionOptions()
    options.graph_optimization_level = MODES[mode]
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def timed(runs, seconds, feed):
    """Median seconds of a run, over as many as fit in so many seconds, three at least."""
    runs.run(None, feed)
    times = []
    while len(times) < 3 or sum(times) < seconds and len(times) < 50:
        start = time.perf_counter()
        runs.run(None, feed)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def bench(args, path, options, runs):
    """Median seconds of the interpreter."""
    command = [args.graph_opt, "bench", path, "--json", "--runs", runs, *options]
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    answer = json.loads(done.stdout)
    if done.returncode:
        raise RuntimeError(answer.get("error", {}).get("message", f"exit {done.returncode}"))
    return answer["result"]["median_s"]


def main():
    parser = common.arguments(__doc__)
    parser.add_argument("--only", default="", help="models whose path has this in it")
    parser.add_argument("--turns", type=int, default=3, help="of each of the three (default 3)")
    parser.add_argument("--threads", type=int, default=1, help="of the interpreter (default 1)")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures")
    args = common.parsed(parser)
    rows, figures, failed, skipped = [], [], 0, 0
    for path in sorted(common.MODELS.rglob("*.onnx")):
        if args.only not in str(path) or not record(path).exists():
            continue
        inputs, _ = recorded(record(path))
        with tempfile.TemporaryDirectory() as scratch:
            scratch = pathlib.Path(scratch)
            name = path.stem.split("__")[-1]
            try:
                model = onnx.load(path, load_external_data=False)
                options = extents(args, path, model, inputs, scratch)
                fixed = scratch / "fixed.onnx" if options else path
                own = [session(path, mode) for mode in ("off", "on")]
                feed = {i.name: inputs[i.name] for i in own[0].get_inputs() if i.name in inputs}
                ours, plain, best = [], [], []
                for _ in range(args.turns):
                    plain.append(timed(own[0], 0.3, feed))
                    best.append(timed(own[1], 0.3, feed))
                    runs = max(3, min(50, int(0.5 / max(plain[-1], 1e-4))))
                    ours.append(bench(args, fixed, ["--threads", args.threads], runs))
            except Exception as e:
                first = str(e).splitlines()[0][:80] if str(e) else type(e).__name__
                rows.append([name, "", "", "", "", "", first])
                failed += 1
                continue
        t, p, b = map(statistics.median, (ours, plain, best))
        figures.append({"model": path.name, "seconds": t, "ort_off": p, "ort_all": b})
        rows.append([name, f"{t * 1e3:.2f}", f"{p * 1e3:.2f}", f"{b * 1e3:.2f}", f"{t / p:.2f}", f"{t / b:.2f}", ""])
    common.table(["model", "graph-opt ms", "off ms", "all ms", "to off", "to all", ""], rows)
    if figures:
        off = sorted(f["seconds"] / f["ort_off"] for f in figures)
        on = sorted(f["seconds"] / f["ort_all"] for f in figures)
        print("times as long as ONNX Runtime takes")
        print(f"without optimisations: median {statistics.median(off):.2f} (1.0), worst {off[-1]:.2f} (2.0)")
        print(f"with all: median {statistics.median(on):.2f} (1.5)")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    common.summary(len(figures), failed, skipped)


if __name__ == "__main__":
    main()
