"""Speed and memory of graph-opt beside its peers, against targets.

(a) simplifying densenet121 beside onnxsim and onnxslim; (b) how time grows with the graph;
(c) the interpreter beside ONNX Runtime, one thread each. Times of (a) and (b) are user and system
seconds of whole processes; all are medians.
"""

import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import common

# Starts a command and prints what it used. It runs in a small process of its own: a child's peak
# memory counts that of the process that started it.
MEASURE = """
import json, os, sys
null = os.open(os.devnull, os.O_RDWR)
start = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1)]
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=start)
_, status, used = os.wait4(pid, 0)
code = os.waitstatus_to_exitcode(status)
print(json.dumps([code, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024]))
"""

NETWORKS = ["resnet18", "vgg16", "mobilenetv2"]
results = []


def measure(command):
    """CPU seconds and peak bytes of a process."""
    command = [sys.executable, "-I", "-S", "-c", MEASURE, *map(str, command)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    code, seconds, peak = json.loads(done.stdout)
    if code != 0:
        sys.exit(f"exit {code}: {' '.join(command[5:])}")
    return seconds, peak


def medians(commands, runs):
    """Medians of CPU seconds and peak bytes of each command, run in turn."""
    samples = [[] for _ in commands]
    for _ in range(runs):
        for command, sample in zip(commands, samples):
            sample.append(measure(command))
    return [[statistics.median(column) for column in zip(*sample)] for sample in samples]


def target(what, value, limit, most=True):
    """Notes a figure and its target."""
    good = value <= limit if most else value >= limit
    sign = "at most" if most else "at least"
    results.append([what, f"{value:.2f}", f"{sign} {limit}", "pass" if good else "MISS"])


def export(graph_opt, name, folder):
    """Writes a network of the zoo to a file."""
    path = folder / f"{name}.onnx"
    subprocess.run(
        [graph_opt, "opt", f"zoo:{name}", "-p", "", "-o", path],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return path


def tool(name):
    """A program installed beside this Python, or on the path."""
    beside = pathlib.Path(sys.executable).with_name(name)
    return beside if beside.exists() else shutil.which(name)


def simplify(graph_opt, folder, runs):
    path = export(graph_opt, "densenet121", folder)
    out = folder / "out.onnx"
    commands = {"graph-opt": [graph_opt, "opt", path, "-p", "simplify", "-o", out]}
    for name in ["onnxsim", "onnxslim"]:
        program = tool(name)
        if program is None:
            print(f"SKIPPED: {name} is not installed")
            continue
        commands[name] = [program, path, folder / f"{name}.onnx"]
    found = dict(zip(commands, medians(commands.values(), runs)))
    size = path.stat().st_size
    rows = [[n, f"{s:.3f} s", f"{m / size:.2f} of the file"] for n, (s, m) in found.items()]
    common.table(["densenet121", "CPU time", "peak memory"], rows)
    for name in list(commands)[1:]:
        ratio = found[name][0] / found["graph-opt"][0]
        target(f"CPU time of {name} over graph-opt's", ratio, 10, most=False)
    target("peak memory over file size", found["graph-opt"][1] / size, 2.2)


def chain(path, length):
    """A chain in which nothing folds: Relu and the addition of a constant in turn."""
    import onnx
    from onnx import TensorProto, helper

    nodes, last = [], "input"
    for i in range(length):
        inputs = [last] if i % 2 == 0 else [last, "c"]
        op = "Relu" if i % 2 == 0 else "Add"
        nodes.append(helper.make_node(op, inputs, [f"v{i}"], name=f"n{i}"))
        last = f"v{i}"
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [4])
    constant = helper.make_tensor("c", TensorProto.FLOAT, [4], [-1.0, -0.5, 0.5, 1.0])
    graph = helper.make_graph(nodes, "chain", [value("input")], [value(last)], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)


def growth(graph_opt, folder, runs):
    import onnx

    lengths = [10_000, 100_000]
    commands = []
    for length in lengths:
        path, out = folder / f"chain{length}.onnx", folder / f"chain{length}.out.onnx"
        chain(path, length)
        commands.append([graph_opt, "opt", path, "-p", "simplify", "-o", out])
    found = medians(commands, runs)
    for length, command in zip(lengths, commands):
        left = len(onnx.load(command[-1]).graph.node)
        if left != length:
            sys.exit(f"the chain of {length} became one of {left}: this measures something else")
    rows = [[n, f"{s:.3f} s", f"{m / 2**20:.0f} MiB"] for n, (s, m) in zip(lengths, found)]
    common.table(["nodes", "CPU time", "peak memory"], rows)
    target("time of 100,000 nodes over 10,000", found[1][0] / found[0][0], 12)


def interpreter(graph_opt, folder, rounds, runs):
    import numpy as np
    import onnxruntime as ort

    rows = []
    for name in NETWORKS:
        path = export(graph_opt, name, folder)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        first = session.get_inputs()[0]
        pixels = np.random.default_rng(0).random(first.shape, dtype=np.float32)
        session.run(None, {first.name: pixels})
        ours, theirs = [], []
        command = [graph_opt, "bench", path, "--threads", "1", "--runs", str(runs), "--json"]
        for _ in range(rounds):
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            ours.append(json.loads(done.stdout)["result"]["median_s"])
            for _ in range(runs):
                start = time.perf_counter()
                session.run(None, {first.name: pixels})
                theirs.append(time.perf_counter() - start)
        a, b = statistics.median(ours), statistics.median(theirs)
        rows.append([name, f"{a * 1e3:.1f} ms", f"{b * 1e3:.1f} ms"])
        target(f"{name}: time over ONNX Runtime's", a / b, 1.5)
        path.unlink()
    common.table(["one thread", "graph-opt", "ONNX Runtime"], rows)


def main():
    parser = common.arguments(__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each process")
    parser.add_argument("--rounds", type=int, default=5, help="turns of the interpreters")
    parser.add_argument("--part", choices=list("abc"), help="only this part")
    args = common.parsed(parser)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if args.part in (None, "a"):
            simplify(args.graph_opt, folder, args.runs)
            print()
        if args.part in (None, "b"):
            growth(args.graph_opt, folder, args.runs)
            print()
        if args.part in (None, "c"):
            interpreter(args.graph_opt, folder, args.rounds, args.runs)
            print()
    common.table(["figure", "value", "target", "verdict"], results)
    missed = sum(row[-1] == "MISS" for row in results)
    common.summary(len(results) - missed, missed, 0)


if __name__ == "__main__":
    main()
