"""Block scaling on trained networks by others: how far outputs move, and whether what is written holds.

For each model of at most --most bytes with a recorded run (NAME.io.npz), samples are drawn around the
recorded inputs and within their range: mixtures of the recorded arrays, mirrored and shifted, with
smooth noise. Variants are fitted to some of them; errors are measured by ONNX Runtime on others, which
nothing was fitted to, as the distance from the original's output over that output's norm, each output
by itself, averaged over the outputs; of integers, the share that differs.

Checked are all variants, networks at one sparsity, networks that `scale` chose under limits, and
networks put together here out of variants drawn at random: onnx.checker takes each (with full_check if
it takes the original so), ONNX Runtime loads it, its inputs and outputs are those of the original, its
outputs are those of `graph-opt run` (within 1e-4 of the largest magnitude, or within four times what
moving each input to the next number or ONNX Runtime's own optimisations change), and its bytes, parameters and multiply-accumulates, counted here,
are those that blocks.json claims.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import common  # noqa: E402
from onnxruntime_check import deviation, record, recorded  # noqa: E402

SPARSITIES = [0.3, 0.6, 0.8]
WAYS = {
    "pruned": ["--selector", "l1", "--no-refit"],
    "refitted": ["--selector", "residual"],
}
# Of the largest magnitude of an output.
TOLERANCE = 1e-4
HALF_TOLERANCE = 2.0**-8
# Models whose inputs hold fewer elements are fitted to 16 times as many samples.
SMALL = 4000
COUNTED = {"Conv", "FusedConv", "ConvTranspose", "ConvInteger", "QLinearConv", "Gemm", "MatMul", "MatMulInteger"}


class Failed(Exception):
    """Something that must hold does not."""


class Unsupported(Exception):
    """graph-opt says that it cannot do that."""


# Samples


def smooth(rng, shape):
    """Noise in [0, 1] that is smooth along long axes."""
    noise = rng.random(shape)
    for axis, extent in enumerate(shape):
        if extent >= 12:
            width = int(rng.integers(1, max(2, extent // 4)))
            kernel = np.ones(width) / width
            filtered = lambda row: np.convolve(np.concatenate([row, row[: width - 1]]), kernel, "valid")
            noise = np.apply_along_axis(filtered, axis, noise)
    low, high = noise.min(), noise.max()
    return (noise - low) / max(high - low, 1e-12)


def perturbed(rng, array):
    """An array like the recorded one, within its range."""
    if array.dtype.kind != "f":
        return array if array.size <= 2 else rng.permutation(array.ravel()).reshape(array.shape)
    if array.size < 2:
        return array
    base, low, high = array.astype(np.float64), float(array.min()), float(array.max())
    for axis, extent in enumerate(array.shape):
        if extent >= 12:
            base = np.roll(base, int(rng.integers(extent)), axis)
            if rng.random() < 0.5:
                base = np.flip(base, axis)
    share = rng.uniform(0.2, 0.8)
    noise = low + (high - low) * smooth(rng, array.shape)
    grain = rng.normal(0, 0.05 * (high - low), array.shape)
    return np.clip(share * base + (1 - share) * noise + grain, low, high).astype(array.dtype)


def samples(inputs, count, seed):
    """Feeds, the first one the recorded run."""
    rng = np.random.default_rng(seed)
    draw = lambda: {name: perturbed(rng, array) for name, array in inputs.items()}
    return [inputs, *(draw() for _ in range(count - 1))]


def nudged(feed):
    """The same inputs, each number moved to a neighbour."""
    rng = np.random.default_rng(3)

    def moved(array):
        if array.dtype.kind != "f":
            return array
        to = np.where(rng.random(array.shape) < 0.5, -np.inf, np.inf).astype(array.dtype)
        return np.nextafter(array, to)

    return {name: moved(array) for name, array in feed.items()}


# ONNX Runtime


def session(model, off=True):
    options = ort.SessionOptions()
    if off:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if isinstance(model, onnx.ModelProto):
        model = model.SerializeToString()
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def outputs(started, feed):
    names = [o.name for o in started.get_outputs()]
    wanted = {i.name for i in started.get_inputs()}
    feed = {name: array for name, array in feed.items() if name in wanted}
    return dict(zip(names, started.run(names, feed)))


def values(model, feed, names):
    """What a model computes for values inside of it."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    given = {i.name for i in model.graph.input}
    for name in names:
        if name not in given:
            probe.graph.output.append(onnx.ValueInfoProto(name=name))
    found = {name: feed[name] for name in names if name in feed}
    if probe.graph.output:
        found |= outputs(session(probe), feed)
    return found


# Counts


def constants(model):
    """Bytes of the constants of a model, and elements of those that are no shapes or indices."""
    tensors = list(model.graph.initializer)
    for node in model.graph.node:
        if node.op_type == "Constant":
            tensors += [a.t for a in node.attribute if a.type == a.TENSOR]
    arrays = [numpy_helper.to_array(t) for t in tensors]
    return sum(a.nbytes for a in arrays), sum(a.size for a in arrays if a.dtype != np.int64)


def macs(model, feed):
    """Multiply-accumulates of a model's convolutions and products, from the shapes of a run."""
    sizes = {t.name: list(t.dims) for t in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type in COUNTED]
    wanted = set()
    for node in nodes:
        wanted |= {node.output[0], node.input[0], node.input[3 if "QLinear" in node.op_type else 1]}
    wanted -= set(sizes)
    sizes |= {name: list(v.shape) for name, v in values(model, feed, sorted(wanted)).items()}
    total = 0
    for node in nodes:
        weight = sizes[node.input[3 if "QLinear" in node.op_type else 1]]
        data, out = sizes[node.input[0]], sizes[node.output[0]]
        if node.op_type == "ConvTranspose":
            total += int(np.prod(data) * np.prod(weight[1:]))
        elif "Conv" in node.op_type:
            total += int(np.prod(out) * np.prod(weight[1:]))
        else:
            turned = any(a.name == "transA" and a.i for a in node.attribute)
            total += int(np.prod(out) * data[-2 if turned else -1])
    return total


# Networks out of variants


def assembled(base, blocks, chosen, folder):
    """The model with a variant in the place of each block for which one is chosen."""
    model = onnx.ModelProto()
    model.CopyFrom(base)
    graph = model.graph
    for index, (block, variant) in enumerate(zip(blocks, chosen)):
        if variant["file"] is None:
            continue
        after = {block["input"]}
        for node in graph.node:
            if after.intersection(node.input):
                after.update(node.output)
        maker = {out: node for node in graph.node for out in node.output}
        inside, todo = {}, [block["output"]]
        while todo:
            name = todo.pop()
            if name in after and name != block["input"] and name not in inside:
                inside[name] = maker[name]
                todo += maker[name].input
        gone = {id(node) for node in inside.values()}
        made = {out for node in inside.values() for out in node.output} - {block["output"]}
        stay = [node for node in graph.node if id(node) not in gone]
        if any(made.intersection(node.input) for node in stay):
            raise Failed(f"block {block['name']} is read from outside")
        small = onnx.load(folder / variant["file"])
        if [i[0] for i in interface(small)[0]] != [block["input"]]:
            raise Failed(f"{variant['file']} has other inputs than its block")
        if [o.name for o in small.graph.output] != [block["output"]]:
            raise Failed(f"{variant['file']} has other outputs than its block")
        kept = {block["input"], block["output"], ""}
        rename = lambda name: name if name in kept else f"variant{index}/{name}"
        for node in small.graph.node:
            node.name = f"variant{index}/{node.name}" if node.name else ""
            node.input[:] = [rename(n) for n in node.input]
            node.output[:] = [rename(n) for n in node.output]
        for tensor in small.graph.initializer:
            tensor.name = rename(tensor.name)
        stay = [onnx.NodeProto.FromString(n.SerializeToString()) for n in stay]
        del graph.node[:]
        graph.node.extend([*stay, *small.graph.node])
        graph.initializer.extend(small.graph.initializer)
    read = {o.name for o in graph.output}
    while True:
        used = [n for n in graph.node if read.intersection(n.output)]
        more = read.union(*(n.input for n in used))
        if more == read:
            break
        read = more
    used = [onnx.NodeProto.FromString(n.SerializeToString()) for n in used]
    del graph.node[:]
    graph.node.extend(used)
    # Old files list weights as inputs.
    real = {name for name, _, _ in interface(model)[0]}
    inputs = [onnx.ValueInfoProto.FromString(i.SerializeToString()) for i in graph.input if i.name in real]
    del graph.input[:]
    graph.input.extend(inputs)
    weights = [t for t in graph.initializer if t.name in read]
    weights = [onnx.TensorProto.FromString(t.SerializeToString()) for t in weights]
    del graph.initializer[:]
    graph.initializer.extend(weights)
    ready = {"", *(i.name for i in graph.input), *(t.name for t in graph.initializer)}
    todo, nodes = list(graph.node), []
    while todo:
        now = [n for n in todo if ready.issuperset(n.input)]
        if not now:
            raise Failed("the parts do not fit together")
        for node in now:
            ready.update(node.output)
        todo = [n for n in todo if not ready.issuperset(n.output)]
        nodes += [onnx.NodeProto.FromString(n.SerializeToString()) for n in now]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    # Before that, weights had to be listed as inputs.
    model.ir_version = max(model.ir_version, 4)
    return model


# Checks


def interface(model):
    """Names, types and shapes of the inputs that are no weights, and of the outputs."""
    weights = {t.name for t in model.graph.initializer}

    def of(value):
        kind = value.type.tensor_type
        dims = [d.dim_value if d.HasField("dim_value") else "?" for d in kind.shape.dim]
        return value.name, kind.elem_type, dims if kind.HasField("shape") else None

    return [of(i) for i in model.graph.input if i.name not in weights], [of(o) for o in model.graph.output]


def keeps(model, original):
    """Whether a model has the interface of another; a shape that was missing or left empty may be known."""
    pairs = list(zip(interface(model), interface(original)))
    same = lambda a, b: a[:2] == b[:2] and (not b[2] or a[2] == b[2])
    return all(len(a) == len(b) and all(map(same, a, b)) for a, b in pairs)


def passes_full_check(path):
    try:
        onnx.checker.check_model(str(path), full_check=True)
        return True
    except Exception:  # The checker raises many kinds.
        return False


def apart(a, b, like):
    """The deviation of `a` from `b`, of the largest magnitude in `b` or in the original's output."""
    most = lambda v: float(np.abs(v, dtype=np.float64).max()) if v.dtype.kind == "f" and v.size else 0.0
    far, own = deviation({"": a}, {"": b}), max(most(b), 1e-30)
    return far * own / max(own, most(like))


class Bench:
    """One model with its samples and the folder that holds its blocks."""

    def __init__(self, args, path, scratch):
        self.args, self.path, self.scratch = args, path, scratch
        self.model = onnx.load(path)
        inputs, _ = recorded(record(path))
        small = sum(array.size for array in inputs.values()) < SMALL
        self.fit = samples(inputs, args.fit * (16 if small else 1), 0)
        self.test = samples(inputs, args.test + 1, 1)[1:]
        self.full = passes_full_check(path)
        half = any(t.data_type == onnx.TensorProto.FLOAT16 for t in self.model.graph.initializer)
        self.tolerance = HALF_TOLERANCE if half else TOLERANCE
        started = session(str(path))
        self.wanted = [outputs(started, feed) for feed in self.test]
        self.fit_file, self.test_file = scratch / "fit.npz", scratch / "test.npz"
        for file, feeds in [(self.fit_file, self.fit), (self.test_file, self.test)]:
            np.savez(file, **{name: np.stack([f[name] for f in feeds]) for name in inputs})
        self.folder = scratch / "blocks"
        self.failures, self.checked, self.worst, self.rounding = [], 0, 0.0, 0

    def call(self, *options):
        """Runs graph-opt; gives what it printed."""
        command = [str(self.args.graph_opt), *map(str, options)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=self.args.timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"no end after {self.args.timeout} s: {self.shown(command)}") from None
        if done.returncode:
            reason = " ".join(done.stderr.split())[-300:]
            if done.returncode == common.UNSUPPORTED:
                raise Unsupported(reason)
            raise Failed(f"exit {done.returncode}: {reason}: {self.shown(command)}")
        return done.stdout

    def shown(self, command):
        """A command without the folders of this run."""
        text = " ".join(["graph-opt", *command[1:]])
        return text.replace(f"{self.scratch}/", "").replace(f"{self.path.parent}/", "")

    def fail(self, what, reason):
        self.failures.append(f"{self.path.stem}: {what}: {reason}")
        print(f"FAILED {self.failures[-1]}", flush=True)

    def error(self, file):
        """Mean relative error of the outputs on the samples apart."""
        started = session(str(file))
        got = [outputs(started, feed) for feed in self.test]
        shares = []
        for name, first in self.wanted[0].items():
            want = np.concatenate([w[name].astype(np.float64).ravel() for w in self.wanted])
            have = np.concatenate([g[name].astype(np.float64).ravel() for g in got])
            if want.shape != have.shape:
                return float("nan")
            if first.dtype.kind != "f":
                shares.append(np.mean(want != have))
            elif np.linalg.norm(want) > 0:
                shares.append(np.linalg.norm(have - want) / np.linalg.norm(want))
        return float(np.mean(shares)) if shares else float("nan")

    def holds(self, file, feed, like, claims, base):
        """Checks a file; `like` are outputs whose shapes and types it must have."""
        model = onnx.load(file)
        onnx.checker.check_model(str(file), full_check=self.full)
        started = session(str(file))
        other = session(str(file), off=False)
        if base is not None and not keeps(model, base):
            raise Failed(f"the interface is {interface(model)}, the original's {interface(base)}")
        got = outputs(started, feed)
        # What rounding alone does: to the inputs, and in ONNX Runtime's own optimisations.
        others = [outputs(started, nudged(feed)), outputs(other, feed)]
        near = max(apart(o[name], got[name], like[name]) for o in others for name in like)
        for name, want in like.items():
            have = got.get(name)
            if have is None or have.dtype != want.dtype:
                raise Failed(f"output {name} is missing or of another type")
            # How many rows some outputs have depends on what is found.
            if base is None and have.shape != want.shape:
                raise Failed(f"output {name} is {have.shape}, of the original {want.shape}")
        self.same_in_graph_opt(file, feed, got, near, like)
        size, elements = constants(model)
        found = {"bytes": size, "parameters": elements, "macs": macs(model, feed)}
        for key, claim in claims.items():
            if found[key] != claim:
                raise Failed(f"{found[key]} {key}, {claim} claimed")

    def same_in_graph_opt(self, file, feed, want, near, like):
        where = self.scratch / "run"
        where.mkdir(exist_ok=True)
        for old in where.iterdir():
            old.unlink()
        options = ["run", file, "--output", where]
        for index, (name, array) in enumerate(feed.items()):
            np.save(where / f"in{index}.npy", array)
            options += ["--input", f"{name}={where / f'in{index}.npy'}"]
        self.call(*options)
        got = {name: np.load(where / f"{name.replace('/', '_')}.npy") for name in want}
        far = max(apart(got[name], want[name], like[name]) for name in want)
        self.rounding += int(far > self.tolerance)
        if far <= self.tolerance:
            self.worst = max(self.worst, float(far))
        elif far > 4 * near:
            raise Failed(f"graph-opt and ONNX Runtime differ by {far:.1e}, rounding alone by {near:.1e}")

    def check(self, what, *given):
        self.checked += 1
        try:
            self.holds(*given)
        except Exception as error:  # The checker and ONNX Runtime raise many kinds.
            lines = str(error).strip().splitlines() or [repr(error)]
            self.fail(what, lines[0][:400])
            return False
        return True


def claimed_macs(printed):
    """The multiply-accumulates that `scale` says a network has."""
    found = re.search(r"^the network: .* (\d+) MACs", printed, re.MULTILINE)
    return {"macs": int(found[1])} if found else {}


def run(args, path, scratch):
    """One model: a row of its blocks, of its errors, and the bench."""
    listed = subprocess.run(
        [args.graph_opt, "blocks", path, "--json"], capture_output=True, text=True, timeout=args.timeout
    )
    name = path.stem.split("__")[-1]
    if listed.returncode:
        return {"model": name, "refused": json.loads(listed.stdout)["error"]["message"]}, None
    blocks = json.loads(listed.stdout)["result"]["blocks"]
    row = {"model": name, "blocks": len(blocks), "units": sum(len(b["units"]) for b in blocks)}
    if not blocks:
        return row, None
    try:
        bench = Bench(args, path, scratch)
    except Exception as error:  # ONNX Runtime raises many kinds.
        row["refused"] = f"ONNX Runtime: {str(error).splitlines()[0][:80]}"
        return row, None
    begin = time.monotonic()
    try:
        measure(args, bench, row)
    except Failed as error:
        bench.fail("blocks", str(error))
    except Unsupported as error:
        row["refused"] = str(error)
    row["seconds"] = round(time.monotonic() - begin, 1)
    row["checked"], row["failed"] = bench.checked, len(bench.failures)
    row["deviation"], row["rounding"] = bench.worst, bench.rounding
    return row, bench


def measure(args, bench, row):
    """Errors at each sparsity, and the checks."""
    bench.call("blocks", bench.path, "--data", bench.fit_file, "-o", bench.folder)
    manifest = json.loads((bench.folder / "blocks.json").read_text())
    blocks, whole = manifest["blocks"], manifest["model"]
    row["combinations"] = float(np.prod([float(len(b["variants"])) for b in blocks]))
    base = onnx.load(bench.folder / "model.onnx")
    feed, like = bench.test[0], bench.wanted[0]

    # What the folder's model is, beside the original.
    own = outputs(session(str(bench.folder / "model.onnx")), feed)
    if (far := deviation(own, like)) > bench.tolerance:
        bench.fail("model.onnx", f"differs from the original by {far:.1e}")
    claims = {key: whole[key] for key in ["bytes", "parameters", "macs"]}
    bench.check("model.onnx", bench.folder / "model.onnx", feed, like, claims, bench.model)

    # Channels that go without loss.
    exact = [v for b in blocks for v in b["variants"] if v["sparsity"] == 0]
    originals = {b["name"]: b["variants"][0]["parameters"] for b in blocks}
    less = sum(
        originals[b["name"]] - v["parameters"]
        for b in blocks
        for v in b["variants"]
        if v["sparsity"] == 0
    )
    row["exact_blocks"], row["exact_parameters"], row["parameters"] = len(exact), less, whole["parameters"]

    # Every variant, on what its block reads in the original.
    inner = values(base, feed, sorted({b[end] for b in blocks for end in ["input", "output"]}))
    for block in blocks:
        for variant in block["variants"]:
            if variant["file"] is None:
                continue
            claims = {key: variant[key] for key in ["bytes", "parameters", "macs"]}
            original = block["variants"][0]
            if any(variant[key] > original[key] for key in claims):
                bench.fail(variant["file"], f"{claims} are not below {original}")
            bench.check(
                variant["file"],
                bench.folder / variant["file"],
                {block["input"]: inner[block["input"]]},
                {block["output"]: inner[block["output"]]},
                claims,
                None,
            )

    small = bench.scratch / "small.onnx"
    row["errors"] = {}
    if exact:
        try:
            bench.call("scale", bench.folder, "--sparsity", 0, "-o", small)
            row["errors"]["exact"] = bench.error(small)
            bench.check("at 0", small, feed, like, {}, bench.model)
        except (Failed, Unsupported) as error:
            bench.fail("at 0", str(error))

    # One sparsity everywhere, pruned only and refitted.
    before = whole
    for sparsity in SPARSITIES:
        for way, options in WAYS.items():
            small.unlink(missing_ok=True)
            try:
                printed = bench.call(
                    "scale", bench.folder, "--sparsity", sparsity, *options,
                    "--fit", bench.fit_file, "--data", bench.test_file, "-o", small,
                )  # fmt: skip
            except (Failed, Unsupported) as error:
                bench.fail(f"{way} at {sparsity}", str(error))
                continue
            row["errors"][f"{way} {sparsity}"] = bench.error(small)
            bench.check(f"{way} at {sparsity}", small, feed, like, claimed_macs(printed), bench.model)
        now = constants(onnx.load(small))[0] if small.exists() else before["bytes"]
        if now > before["bytes"]:
            bench.fail(f"at {sparsity}", f"{now} bytes are more than {before['bytes']}")
        before = {"bytes": now}

    # Under limits that chosen combinations just keep.
    rng = np.random.default_rng(2)
    front_file = bench.scratch / "front.json"
    bench.call("scale", bench.folder, "--front", front_file)
    choices = json.loads(front_file.read_text())["choices"]
    for at in rng.permutation(len(choices))[: args.limits]:
        want = choices[at]
        limits = ["--macs", want["macs"], "--model-size", f"{want['bytes']}B"]
        what = f"scale {' '.join(map(str, limits))}"
        small.unlink(missing_ok=True)
        try:
            bench.call("scale", bench.folder, *limits, "--no-tiles", "-o", small)
        except (Failed, Unsupported) as error:
            bench.fail(what, str(error))
            continue
        bench.check(what, small, feed, like, {}, bench.model)
        size, count = constants(onnx.load(small))[0], macs(onnx.load(small), feed)
        if size > want["bytes"] or count > want["macs"]:
            bench.fail(what, f"{size} bytes and {count} MACs are over the limits")

    # Variants drawn at random, put together here.
    for draw in range(args.draws):
        chosen = [b["variants"][rng.integers(len(b["variants"]))] for b in blocks]
        what = f"combination {[v['sparsity'] for v in chosen]}"
        claims = {
            key: whole[key] - sum(b["variants"][0][key] - v[key] for b, v in zip(blocks, chosen))
            for key in ["bytes", "parameters", "macs"]
        }
        try:
            onnx.save(assembled(base, blocks, chosen, bench.folder), small)
        except (Failed, Unsupported) as error:
            bench.fail(what, str(error))
            continue
        bench.check(what, small, feed, like, claims, bench.model)


def share(value):
    return "" if value is None else f"{value:.1e}" if value < 1e-3 else f"{value:.3f}"


def shown(rows):
    header = ["model", "blocks", "groups", "combinations", "parameters", "exact", "its error"]
    header += [f"{way} {s}" for s in SPARSITIES for way in WAYS]
    header += ["checked", "failed", "deviation", "rounding", "s"]
    cells, notes = [], []
    for row in rows:
        if "refused" in row:
            notes.append(f"{row['model']}: refused: {row['refused']}")
            continue
        errors = row.get("errors", {})
        line = [row["model"], row["blocks"], row["units"]]
        line += [f"{row['combinations']:.0f}" if "combinations" in row else "", row.get("parameters", "")]
        line += [row.get("exact_parameters", ""), share(errors.get("exact"))]
        line += [share(errors.get(f"{way} {s}")) for s in SPARSITIES for way in WAYS]
        line += [row.get(k, "") for k in ["checked", "failed"]]
        line += [f"{row['deviation']:.0e}" if "deviation" in row else ""]
        line += [row.get("rounding", ""), row.get("seconds", "")]
        cells.append(line)
    common.table(header, cells)
    print("", *notes, sep="\n")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--graph-opt", type=pathlib.Path, default=common.ROOT / "target/release/graph-opt")
    parser.add_argument("--models", type=pathlib.Path, default=common.MODELS)
    parser.add_argument("--only", nargs="*", default=[""], help="models whose names contain one of these")
    parser.add_argument("--most", type=int, default=4_000_000, help="bytes of the largest model")
    parser.add_argument("--fit", type=int, default=8, help="samples that variants are fitted to")
    parser.add_argument("--test", type=int, default=4, help="samples that errors are measured on")
    parser.add_argument("--limits", type=int, default=3, help="networks chosen under limits")
    parser.add_argument("--draws", type=int, default=4, help="networks of variants drawn at random")
    parser.add_argument("--least", type=int, default=200, help="fewest checks over all models")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one call of graph-opt")
    parser.add_argument("--json", type=pathlib.Path, help="also write the rows here")
    args = parser.parse_args()
    args.graph_opt = args.graph_opt.resolve()
    if not args.graph_opt.is_file():
        parser.error(f"no graph-opt at {args.graph_opt}: cargo build --release")
    ort.set_default_logger_severity(4)
    if not args.models.is_dir():
        print(f"SKIPPED EVERYTHING: no models at {args.models}")
        common.summary(0, 0, 1)
    rows, failures, checked, skipped = [], [], 0, 0
    for path in sorted(args.models.glob("*.onnx"), key=lambda p: p.stat().st_size):
        if not any(word in path.name for word in args.only):
            continue
        if path.stat().st_size > args.most or not record(path).exists():
            print(f"skipped {path.stem}: {'no recorded run' if path.stat().st_size <= args.most else 'too large'}")
            skipped += 1
            continue
        with tempfile.TemporaryDirectory() as scratch:
            row, bench = run(args, path, pathlib.Path(scratch))
        rows.append(row)
        print(json.dumps(row), flush=True)
        if bench is not None:
            failures += bench.failures
            checked += bench.checked
        if args.json:
            args.json.write_text(json.dumps({"models": rows, "failures": failures}, indent=1) + "\n")
    print()
    shown(rows)
    print("groups: sets of channels that go together; exact: parameters that go at sparsity 0")
    print(f"pruned: L1, weights left; refitted: residual selection; on {args.fit} samples, measured on {args.test} others")
    print("deviation: the largest between graph-opt and ONNX Runtime, of the largest magnitude of an output")
    print("rounding: networks further apart than that, where rounding alone does the same")
    for failure in failures:
        print(f"FAILED {failure}")
    if checked < args.least and args.only == [""]:
        failures.append("too few checks")
        print(f"FAILED: {checked} checks are fewer than {args.least}")
    common.summary(checked, len(failures), skipped)


if __name__ == "__main__":
    main()
