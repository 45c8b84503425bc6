"""Peak memory of original and tiled networks under ONNX Runtime's CPU provider, one thread.

Without --networks: models of people and of the zoo, plans for half of the original's peak and for the
least that is found, for each value of --runtime that is a setting of ONNX Runtime. What is promised must
be within 10 % of what tools/measure.py measures; a plan for onnxruntime-default may take no
more than the original there, and at most 60 % of it on six of the models. The interpreter's plans are
compared with what it holds by the tests in Rust.

With --networks: what other settings of ONNX Runtime take for networks of the zoo.

Each figure comes from a process of its own: with ONNX Runtime's arena off and every larger block
mapped by itself, the most resident memory of a run less that before it is what the run allocated.
The first run does not count: it loads code and fills caches. The caller's input is not in the
figures, as it is not allocated by the run; outputs are. Graphs whose peak is known by hand come
first. Plans are made by the rules of the reference interpreter, and by those of ONNX Runtime
(runtime=onnxruntime), and "promised" is what graph-opt says by the rules that the plan was made by,
for ONNX Runtime less the caller's input. Beside the level of optimisation two settings decide:

  plain   ONNX Runtime's defaults: it orders the nodes itself (from the outputs backwards), and a
          value may take over the storage of any dead one of the same extents, which is then held
          in between
  free    enable_mem_reuse = enable_mem_pattern = False: storage goes when the value dies (in place
          stays)
  kept    that, and execution_order = PRIORITY_BASED: the nodes run in the order of the file, those
          that optimisations made last

Times are beside that of the original with ONNX Runtime as it comes. "As it comes" is what a process
grows by in three runs with ONNX Runtime's and the system's defaults: all optimisations, the arena and
memory patterns.
"""

import ctypes
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

import common

NETWORKS = [
    "vgg16-features@448x448",
    "yolov2-first16",
    "resnet50",
    "densenet121",
    "inception-v1",
    "mobilenetv2",
    "unet",
]
# Models whose promises are checked: names of files in MODELS, or of the zoo; with options of opt.
CHECKED = {
    "yolov2-first16": ["zoo:yolov2-first16"],
    "nanodet": ["Kazuhito00+MOT-Tracking-by-Detection-Pipeline__nanodet_m_320.onnx"],
    "lm_model0": ["emilianavt+OpenSeeFace__lm_model0_opt.onnx", "--dim", "batch_size=1", "--fix-dims"],
    "yolox_nano": ["Kazuhito00+MOT-Tracking-by-Detection-Pipeline__yolox_nano_416x416.onnx"],
    "retinaface_640": ["emilianavt+OpenSeeFace__retinaface_640x640_opt.onnx"],
    "tbefn": ["Kazuhito00+Image-Processing-Node-Editor__tbefn_180x320.onnx"],
    "mobilenetv2": ["zoo:mobilenetv2"],
    "resnet50": ["zoo:resnet50"],
}
RUNTIMES = ["onnxruntime", "onnxruntime-default"]
# How far a promise may be from what is measured.
PROMISE = 0.1
# The share of the original that plans for onnxruntime-default take, on this many models.
SHARE, ENOUGH = 0.6, 6
LEVELS = {
    "off": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "ext": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
# Settings and levels that are measured.
COLUMNS = [
    ("plain", "off"),
    ("plain", "all"),
    ("free", "all"),
    ("kept", "off"),
    ("kept", "basic"),
    ("kept", "ext"),
    ("kept", "all"),
]
TIMED = [("free", "all"), ("kept", "basic")]
MIB = 2**20
# What the hand-made graphs may be off by, in bytes.
SLACK = MIB // 2
# How far tiled outputs may be from the original's, of the largest magnitude.
TOLERANCE = 1e-4


def status(field):
    """A size of this process."""
    text = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.M)[1]) * 1024


def growth(work):
    """Most resident bytes while it runs, over those before."""
    ctypes.CDLL(None).malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    work()
    return status("VmHWM") - before


def one(path, level, setting, outputs):
    """Measures one file in this process."""
    options = ort.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = setting == "as it comes"
    if setting in ("free", "kept"):
        options.enable_mem_reuse = options.enable_mem_pattern = False
    if setting == "kept":
        options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    draw = np.random.default_rng(0)
    feed = {i.name: draw.standard_normal(i.shape, np.float32) for i in session.get_inputs()}
    times = []

    def run():
        start = time.perf_counter()
        result = session.run(None, feed)
        times.append(time.perf_counter() - start)
        return result

    if options.enable_cpu_mem_arena:
        peak = growth(lambda: [run() and None for _ in range(3)])
    else:
        np.savez(outputs, *run())
        peak = growth(run)
    print(json.dumps([peak, min(times)]))


def measure(path, level, setting, outputs=os.devnull):
    """Peak bytes and seconds of a file, in a fresh process."""
    # A block that is mapped by itself goes back to the system when it is freed.
    mapped = {"MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TOP_PAD_": "0"}
    environment = os.environ if setting == "as it comes" else os.environ | mapped
    command = [sys.executable, __file__, "--one", path, level, setting, outputs]
    command = [str(c) for c in command]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def by_hand(folder):
    """Graphs over values of 16 MiB, and what a run of each must take."""
    conv = lambda y, x: helper.make_node("Conv", [x, "w"], [y], name=y)
    relu = helper.make_node("Relu", ["a"], ["b"], name="b")
    norm = helper.make_node("BatchNormalization", ["a", "v", "v", "v", "v"], ["b"], name="b")
    add = helper.make_node("Add", ["a", "a2"], ["b"], name="b")
    concat = helper.make_node("Concat", ["a", "a2"], ["b"], name="b", axis=2)
    cases = {
        "Conv": ([conv("b", "x")], 16),
        "Conv, Relu": ([conv("a", "x"), relu], 16),
        "Conv, Conv": ([conv("a", "x"), conv("b", "a")], 32),
        "Conv, BatchNormalization": ([conv("a", "x"), norm], 32),
        "Add of two Conv": ([conv("a", "x"), conv("a2", "x"), add], 48),
        "Concat of two Conv": ([conv("a", "x"), conv("a2", "x"), concat], 64),
    }
    shape = [1, 4, 1024, 1024]
    constants = [
        helper.make_tensor("w", TensorProto.FLOAT, [4, 4, 1, 1], [0.25] * 16),
        helper.make_tensor("v", TensorProto.FLOAT, [4], [1.0] * 4),
    ]
    for name, (nodes, expected) in cases.items():
        nodes = [*nodes, helper.make_node("GlobalAveragePool", ["b"], ["y"], name="y")]
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 1, 1])],
            constants,
        )
        path = folder / "hand.onnx"
        opset = [helper.make_opsetid("", 13)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
        yield name, path, expected * MIB


def opt(args, network, pipeline, path):
    """Writes a network after a pipeline; gives what was said."""
    command = [args.graph_opt, "opt", f"zoo:{network}", "-p", pipeline, "-o", path]
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.decode()


def inspect(args, path, runtime="interpreter"):
    """Nodes, MACs and peak of a file; what a run allocates of that peak."""
    command = [args.graph_opt, "inspect", path, "--json", "--runtime", runtime]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    about = json.loads(done.stdout)["result"]
    graph = onnx.load(path, load_external_data=False).graph
    defaults = {i.name for i in graph.initializer}
    inputs = [i for i in graph.input if i.name not in defaults]
    dims = [[d.dim_value for d in i.type.tensor_type.shape.dim] for i in inputs]
    lent = sum(4 * int(np.prod(d)) for d in dims) if runtime == "onnxruntime" else 0
    return about | {"promised": about["peak_activation_bytes"] - lent}


def tiled(args, network, peak, more, path):
    """Tiles a network to this peak; to the least that the planner says it finds if that is more."""
    for _ in range(4):
        limit = -(-peak // 1024)
        said = opt(args, network, f"simplify,fuse-tiles{{memory={limit}KiB{more}}}", path)
        short = re.search(r"the least peak that was found is ([\d.]+) ([KM])iB", said)
        if short is None:
            return True
        # The message rounds.
        peak = int(float(short[1]) * (1024 if short[2] == "K" else MIB) * 1.006)
    return False


def deviation(got, want):
    """Whether the bits are the same, and the largest deviation, of the largest magnitude."""
    with np.load(got) as a, np.load(want) as b:
        pairs = [(a[k], b[k]) for k in b.files]
    same = all(np.array_equal(x, y) for x, y in pairs)
    return same, max(float(np.abs(x - y).max() / max(np.abs(y).max(), 1e-30)) for x, y in pairs)


def row(args, name, plan, path, original, folder):
    """Cells of one file, and whether its outputs are those of the original."""
    about = inspect(args, path, "onnxruntime" if plan.endswith("onnxruntime") else "interpreter")
    cells = [name, plan, about["nodes"], f"{about['promised'] / MIB:.2f}"]
    base, _ = grown = measure(path, "all", "as it comes")
    original.setdefault("time", grown[1])
    notes, times, good = [], [grown[1]], True
    for setting, level in COLUMNS:
        here = folder / f"{plan}.{setting}.{level}.npz"
        peak, seconds = measure(path, level, setting, here)
        cells.append(f"{peak / MIB:.2f}")
        if (setting, level) in TIMED:
            times.append(seconds)
        if plan != "original":
            same, far = deviation(here, folder / f"original.{setting}.{level}.npz")
            notes.append("=" if same else f"{far:.0e}")
            good &= far <= TOLERANCE
    cells.append(f"{base / MIB:.2f}")
    cells += [f"{seconds / original['time']:.2f}" for seconds in times]
    return [*cells, " ".join(notes)], good


def measured(runtime, path):
    """Peak bytes and seconds, by the script that opt --measure runs."""
    command = [sys.executable, common.ROOT / "tools" / "measure.py", runtime, path]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)["files"][0]


def budget(args, path, runtime, peak, out):
    """Tiles a model for a runtime to this peak, or to the least that is found; whether it did."""
    for _ in range(4):
        command = [args.graph_opt, "opt", path, "--runtime", runtime, "-o", out]
        command += ["--memory", f"{-(-peak // 1024)}KiB"]
        done = subprocess.run([str(c) for c in command], stderr=subprocess.PIPE, text=True)
        if done.returncode == 0:
            return True
        short = re.search(r"the least peak that was found is ([\d.]+) ([KM])iB", done.stderr)
        if short is None:
            print(done.stderr, file=sys.stderr)
            return False
        peak = int(float(short[1]) * (1024 if short[2] == "K" else MIB) * 1.006)
    return False


def promises(args, folder):
    """The rows of all checked models, and how many checks passed, failed and were left out."""
    rows, passed, failed, skipped, low = [], 0, 0, 0, 0
    for name, (source, *options) in CHECKED.items():
        whole = folder / f"{name}.onnx"
        source = source if source.startswith("zoo:") else common.MODELS / source
        command = [args.graph_opt, "opt", source, *options, "-p", "", "-o", whole]
        if subprocess.run([str(c) for c in command], stderr=subprocess.DEVNULL).returncode:
            print(f"{name} cannot be read", file=sys.stderr)
            skipped += 1
            continue
        for runtime in RUNTIMES:
            about = inspect(args, whole, runtime)
            base, time_before = measured(runtime, whole)
            plans = [("original", about["peak_activation_bytes"], None)]
            plans += [("half", about["peak_activation_bytes"] // 2, whole), ("least", 1024, whole)]
            shares = []
            for plan, peak, source in plans:
                path, took, seconds = whole, base, time_before
                if source is not None:
                    path = folder / "plan.onnx"
                    if not budget(args, source, runtime, peak, path):
                        rows.append([name, runtime, plan, "none", "", "", ""])
                        skipped += 1
                        continue
                    took, seconds = measured(runtime, path)
                    shares.append(took / base)
                promised = inspect(args, path, runtime)["promised"]
                good = abs(promised - took) <= PROMISE * took
                if runtime == "onnxruntime-default" and source is not None:
                    good_share = took <= base
                    passed, failed = passed + good_share, failed + (not good_share)
                passed, failed = passed + good, failed + (not good)
                cells = [f"{promised / MIB:.2f}", f"{took / MIB:.2f}", f"{took / base:.0%}"]
                cells += [f"{seconds / time_before:.2f}", "" if good else "promise missed"]
                rows.append([name, runtime, plan, *cells])
                print(*rows[-1], file=sys.stderr, flush=True)
            if runtime == "onnxruntime-default":
                low += any(s <= SHARE for s in shares)
    good = low >= ENOUGH
    print(f"at most {SHARE:.0%} with the defaults: {low} models")
    return rows, passed + good, failed + (not good), skipped


def main():
    parser = common.arguments(__doc__)
    parser.add_argument("--networks", nargs="*", help="of the zoo, for a table of other settings")
    args = common.parsed(parser)
    if args.networks is None:
        with tempfile.TemporaryDirectory() as scratch:
            rows, passed, failed, skipped = promises(args, pathlib.Path(scratch))
        header = ["model", "runtime", "plan", "promised", "measured", "of original", "time", ""]
        common.table(header, rows)
        return common.summary(passed, failed, skipped)
    args.networks = args.networks or NETWORKS
    passed = failed = skipped = 0
    print(f"ONNX Runtime {ort.__version__}; MiB\n")
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        rows = []
        for name, path, expected in by_hand(folder):
            for setting in ("plain", "kept"):
                peak, _ = measure(path, "off", setting, folder / "hand.npz")
                good = abs(peak - expected) <= SLACK
                passed, failed = passed + good, failed + (not good)
                rows.append([name, setting, expected // MIB, f"{peak / MIB:.2f}"])
        common.table(["by hand", "settings", "expected", "measured"], rows)
        print()

        header = ["network", "plan", "nodes", "promised", *map(" ".join, COLUMNS), "as it comes"]
        header += ["time", *(f"{' '.join(c)} time" for c in TIMED), "outputs (= the same bits)"]
        rows = []
        for network in args.networks:
            name = network.partition("@")[0]
            path = folder / f"{name}.onnx"
            opt(args, network, "", path)
            peak = inspect(args, path)["peak_activation_bytes"]
            plans = [
                ("original", None, ""),
                ("half", peak // 2, ""),
                ("least", 1, ""),
                ("least, recompute", 1, " reuse=recompute"),
            ]
            whole = inspect(args, path, "onnxruntime")["peak_activation_bytes"]
            plans += [
                ("original, onnxruntime", None, ""),
                ("half, onnxruntime", whole // 2, " runtime=onnxruntime"),
                ("least, onnxruntime", 1, " runtime=onnxruntime"),
            ]
            times, seen = {}, set()
            for plan, part, more in plans:
                if part is None:
                    opt(args, network, "", path)
                else:
                    if not tiled(args, network, part, more, path):
                        print(f"{name}: no plan for {plan}", file=sys.stderr)
                        skipped += 1
                        continue
                content = path.read_bytes()
                if part is not None and content in seen:
                    continue
                seen.add(content)
                cells, good = row(args, name, plan, path, times, folder)
                rows.append(cells)
                passed, failed = passed + good, failed + (not good)
                print(*cells, file=sys.stderr, flush=True)
        common.table(header, rows)
    common.summary(passed, failed, skipped)


if sys.argv[1:2] == ["--one"]:
    file, level, setting, outputs = sys.argv[2:]
    one(file, level, setting, outputs)
elif __name__ == "__main__":
    main()
