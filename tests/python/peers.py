"""graph-opt -O beside onnxsim, OnnxSlim, onnxoptimizer and ONNX Runtime's basic level, model by model.

Of each result: nodes (those in bodies too), bytes, CPU seconds and peak memory of the whole process,
latency in ONNX Runtime on one thread (its optimiser off, and as it comes), whether its outputs are
those of the original, and what it lost of metadata. A median of --runs.
"""

import collections
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort

import bench
import common
import exports

REAL = [
    "Kazuhito00+Image-Processing-Node-Editor__face_detection_yunet_120x160",
    "Kazuhito00+Image-Processing-Node-Editor__tbefn_180x320",
    "Kazuhito00+MOT-Tracking-by-Detection-Pipeline__nanodet_m_320",
    "Kazuhito00+MOT-Tracking-by-Detection-Pipeline__yolox_nano_416x416",
    "Linzaer+Ultra-Light-Fast-Generic-Face-Detector-1MB__version-RFB-320",
    "ShiqiYu+libfacedetection.train__retinaface_mbnet0.25",
    "ShiqiYu+libfacedetection.train__yunet_s_dynamic",
    "alrevuelta+cONNXr__super_resolution",
    "dog-qiuqiu+FastestDet__FastestDet",
    "emmtrix+emx-onnx-cgen__micro_kws_m_static_fp32",
    "emmtrix+emx-onnx-cgen__mixed_ops_dynamic_batch",
    "google+magika__magika_fast_v2_1",
    "keijiro+SelfieBarracuda__selfie_segmentation_landscape",
    "microsoft+onnxruntime-genai__tiny_random_gpt2_past",
    "oracle+tribuo__tinybert",
    "snakers4+silero-vad__silero_vad",
    "vespa-engine+vespa__random_encoder",
]

# Peers as programs of one line, so that each is measured as a process of its own.
ONNXOPTIMIZER = (
    "import sys, onnx, onnxoptimizer as o\n"
    "onnx.save(o.optimize(onnx.load(sys.argv[1]), o.get_fuse_and_elimination_passes(), True), sys.argv[2])"
)
BASIC = (
    "import sys, onnxruntime as o\n"
    "s = o.SessionOptions()\n"
    "s.graph_optimization_level = o.GraphOptimizationLevel.ORT_ENABLE_BASIC\n"
    "s.optimized_model_filepath = sys.argv[2]\n"
    "o.InferenceSession(sys.argv[1], s, providers=['CPUExecutionProvider'])"
)


def commands(graph_opt, passes):
    flags = ["-O"] if passes is None else ["-p", passes]
    python = [sys.executable, "-c"]
    return {
        "graph-opt": lambda a, b: [graph_opt, "opt", a, *flags, "-o", b],
        "onnxsim": lambda a, b: [bench.tool("onnxsim"), a, b],
        "OnnxSlim": lambda a, b: [bench.tool("onnxslim"), a, b],
        "onnxoptimizer": lambda a, b: [*python, ONNXOPTIMIZER, a, b],
        "ORT basic": lambda a, b: [*python, BASIC, a, b],
    }


def operators(model):
    """Operator types with their counts, those in bodies and local functions too."""
    count = collections.Counter()

    def walk(nodes):
        for node in nodes:
            count[node.op_type] += 1
            for attribute in node.attribute:
                for graph in [attribute.g, *attribute.graphs]:
                    walk(graph.node)

    walk(model.graph.node)
    for function in model.functions:
        walk(function.node)
    return count


def kept(model):
    """What a model says besides what it computes, as sets of facts."""
    facts = collections.defaultdict(set)
    graph = model.graph
    for holder, what in [(model, "model metadata"), (graph, "graph metadata")]:
        facts[what] = {(p.key, p.value) for p in holder.metadata_props}
    facts["producer"] = {(model.producer_name, model.producer_version)}
    facts["ir_version"] = {model.ir_version}
    facts["doc strings"] = {d for d in [model.doc_string, graph.doc_string] if d}
    facts["device configurations"] = {c.name for c in model.configuration}
    weights = {i.name for i in graph.initializer}
    facts["inputs with defaults"] = {i.name for i in graph.input if i.name in weights}
    facts["annotations"] = {a.tensor_name for a in graph.quantization_annotation}
    for value in [*graph.input, *graph.output]:
        for p in value.metadata_props:
            facts["value metadata"].add((value.name, p.key, p.value))
        for axis, d in enumerate(value.type.tensor_type.shape.dim):
            if d.dim_param:
                facts["dimension names"].add((value.name, axis, d.dim_param))
    for node in graph.node:
        for p in node.metadata_props:
            facts["node metadata"].add((p.key, p.value))
        facts["node device configurations"] |= {c.configuration_id for c in node.device_configurations}
        if node.doc_string:
            facts["node doc strings"].add(node.doc_string)
    return facts


def lost(before, after):
    return [what for what, facts in before.items() if facts - after.get(what, set())]


def session(path, level):
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = level
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


OFF = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
ALL = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32,
         "tensor(bool)": np.bool_, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}  # fmt: skip


def feeds(path, given):
    """Inputs: the recorded ones where there are some, else small random ones."""
    record = path.with_name(path.stem + ".io.npz")
    data = dict(np.load(record)) if record.exists() else {}
    random, out = np.random.default_rng(0), {}
    for i in session(path, OFF).get_inputs():
        key = next((k for k in data if k in (i.name, f"in:{i.name}", f"input:{i.name}", f"input_{i.name}")), None)
        if key is not None:
            out[i.name] = data[key]
            continue
        default = {"batch": 2, "sequence": 9}
        dims = given.get("shapes", {}).get(i.name)
        named = {**default, **given.get("dims", {})}
        dims = dims or [d if isinstance(d, int) else named.get(d, 1) for d in i.shape]
        kind = TYPES[i.type]
        if kind in (np.int64, np.int32, np.bool_):
            out[i.name] = random.integers(0, 2, dims).astype(kind)
        else:
            out[i.name] = random.random(dims).astype(kind)
    return out


def outputs(path, inputs):
    return session(path, OFF).run(None, inputs)


def verdict(reference, path, inputs):
    """Whether the outputs are equal, by the largest difference of any beside its magnitude."""
    try:
        found = outputs(path, inputs)
    except Exception as e:  # What a peer wrote may not load.
        return f"FAILS: {str(e)[:60]}"
    if [a.shape for a in reference] != [b.shape for b in found]:
        return "OTHER SHAPES"
    worst = 0.0
    for a, b in zip(reference, found):
        if a.dtype != b.dtype:
            return "OTHER TYPES"
        if np.array_equal(a, b, equal_nan=a.dtype.kind == "f") or a.size == 0:
            continue
        if a.dtype.kind != "f":
            return "DIFFERS"
        scale = max(float(np.nanmax(np.abs(a))), 1e-30)
        difference = np.abs(a.astype(np.float64) - b.astype(np.float64)).max()
        worst = max(worst, float(difference) / scale)
    if not worst < 1e-4:
        return f"DIFFERS {worst:.0e}"
    return "equal" if worst == 0 else f"close {worst:.0e}"


def latency(paths, inputs, level, seconds):
    """Median milliseconds of each, run in turn so that noise falls on all alike."""
    sessions = {k: session(p, level) for k, p in paths.items()}
    times = {k: [] for k in sessions}
    for s in sessions.values():
        s.run(None, inputs)
    end = time.perf_counter() + seconds * len(sessions)
    while time.perf_counter() < end or len(next(iter(times.values()))) < 3:
        for k, s in sessions.items():
            start = time.perf_counter()
            s.run(None, inputs)
            times[k].append(time.perf_counter() - start)
    return {k: statistics.median(t) * 1e3 for k, t in times.items()}


def models(folder, wanted):
    for make in exports.EXPORTS:
        path = folder / f"{make.__name__}.onnx"
        onnx.save(make(), path)
        yield make.__name__, path, {}
    for name in REAL:
        path = common.MODELS / f"{name}.onnx"
        given = path.with_suffix(".inputs.json")
        if not path.exists():
            print(f"SKIPPED: {name} is not there")
            continue
        yield name.split("__")[1], path, json.loads(given.read_text()) if given.exists() else {}


def main():
    parser = common.arguments(__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each process")
    parser.add_argument("--passes", help="a pipeline instead of -O")
    parser.add_argument("--model", action="append", help="only models whose name contains this")
    parser.add_argument("--peer", action="append", help="only these tools")
    parser.add_argument("--operators", action="store_true", help="how operators of each result differ")
    parser.add_argument("--seconds", type=float, default=1.0, help="of latency a result; 0 for none")
    args = common.parsed(parser)
    missed, losses, count = [], collections.defaultdict(collections.Counter), 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, path, given in models(folder, args.model):
            if args.model and not any(m in name for m in args.model):
                continue
            count += 1
            original = onnx.load(path)
            before, facts = operators(original), kept(original)
            inputs = feeds(path, given)
            reference = outputs(path, inputs)
            found, paths = {}, {"original": path}
            for tool, command in commands(args.graph_opt, args.passes).items():
                if args.peer and tool not in args.peer:
                    continue
                out = folder / f"{name}.{tool.replace(' ', '_')}.onnx"
                try:
                    used = [bench.measure(command(path, out)) for _ in range(args.runs)]
                except SystemExit as e:
                    found[tool] = f"{str(e).split(':')[0]}"
                    continue
                cpu, peak = [statistics.median(c) for c in zip(*used)]
                said = verdict(reference, out, inputs)
                result = onnx.load(out)
                gone = lost(facts, kept(result))
                for what in gone:
                    losses[tool][what] += 1
                found[tool] = (operators(result), out.stat().st_size, cpu, peak, said, gone)
                if not said.startswith("FAILS"):
                    paths[tool] = out
            off = all_ = {}
            if args.seconds:
                off, all_ = (latency(paths, inputs, level, args.seconds) for level in (OFF, ALL))
            ms = lambda times, tool: f"{times[tool]:.3f}" if tool in times else "-"
            rows = [["original", sum(before.values()), path.stat().st_size, "-", "-",
                     ms(off, "original"), ms(all_, "original"), "", ""]]  # fmt: skip
            for tool, r in found.items():
                if isinstance(r, str):
                    rows.append([tool, r] + ["-"] * 7)
                    continue
                ops, size, cpu, peak, said, gone = r
                rows.append([tool, sum(ops.values()), size, f"{cpu:.3f}", f"{peak / 2**20:.0f}",
                             ms(off, tool), ms(all_, tool), said, ", ".join(gone)])  # fmt: skip
            header = [name, "nodes", "bytes", "CPU s", "MiB", "ms off", "ms all", "outputs", "lost"]
            common.table(header, rows)
            if args.operators:
                for tool, r in found.items():
                    if not isinstance(r, str):
                        change = {k: (before[k], r[0][k]) for k in sorted({*before, *r[0]}) if before[k] != r[0][k]}
                        print(f"  {tool}: " + ", ".join(f"{k} {a}>{b}" for k, (a, b) in change.items()))
            print(flush=True)
            missed += misses(name, found)
    for tool, what in losses.items():
        print(f"{tool} lost, of {count} models: " + ", ".join(f"{k} {n}" for k, n in what.items()))
    for line in missed:
        print("MISS", line)
    common.summary(count - len({m.split(":")[0] for m in missed}), len({m.split(":")[0] for m in missed}), 0)


def misses(name, found):
    """Where graph-opt falls short of a peer whose result is right."""
    ours = found.get("graph-opt")
    if ours is None or isinstance(ours, str):
        return [f"{name}: graph-opt {ours}"]
    out = []
    if ours[4].startswith(("FAILS", "DIFFERS", "OTHER")):
        out.append(f"{name}: outputs {ours[4]}")
    if ours[5]:
        out.append(f"{name}: lost {', '.join(ours[5])}")
    for tool, r in found.items():
        if tool == "graph-opt" or isinstance(r, str):
            continue
        # Who takes defaults of inputs for constants has fewer nodes, and another interface.
        if "inputs with defaults" in r[5]:
            continue
        if sum(r[0].values()) < sum(ours[0].values()):
            out.append(f"{name}: {sum(ours[0].values())} nodes, {tool} {sum(r[0].values())} ({r[4]})")
        if tool in ("onnxsim", "OnnxSlim") and r[2] < 10 * ours[2]:
            out.append(f"{name}: CPU {ours[2]:.3f} s, {tool} {r[2]:.3f} s")
    return out


if __name__ == "__main__":
    main()
