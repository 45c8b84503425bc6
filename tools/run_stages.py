#!/usr/bin/env python3
"""Runs the stages of a split model one after the other in ONNX Runtime, in one process.

    run.py [--model MODEL.onnx] [--input FILE.npz | --input NAME=FILE.npy ...]

Inputs that are not given are random. With --model, the whole model runs on the same inputs, and the
greatest difference of an output is printed; the exit code is 1 if it is more than --tolerance. Values
go from stage to stage as they are, without the plan's codecs. Needs numpy and onnxruntime only.
"""

import argparse
import json
import pathlib
import re
import statistics
import sys
import time

import numpy as np
import onnxruntime as ort

HERE = pathlib.Path(__file__).resolve().parent


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="the whole model, to compare with")
    parser.add_argument("--input", action="append", default=[], metavar="[NAME=]FILE")
    parser.add_argument("--frames", type=int, default=5, help="timed runs (default: 5)")
    parser.add_argument("--threads", type=int, default=1, help="threads (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of random inputs (default: 0)")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-3,
        help="largest difference, as a share of the output's largest element (default: 0.001)",
    )
    parser.add_argument(
        "--level",
        choices=["disable", "basic", "extended", "all"],
        default="all",
        help="graph optimization level (default: all); with disable, the bits are equal",
    )
    return parser.parse_args()


def session(path, args):
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
    options.log_severity_level = 3
    level = "DISABLE_ALL" if args.level == "disable" else f"ENABLE_{args.level.upper()}"
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_{level}")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def given(texts):
    """The inputs from files, by name."""
    found = {}
    for text in texts:
        if text.endswith(".npz"):
            found.update(np.load(text))
        elif "=" in text:
            name, path = text.rsplit("=", 1)
            found[name] = np.load(path)
        else:
            sys.exit(f"error: --input {text}: expected FILE.npz or NAME=FILE.npy")
    # Recorded runs name inputs so.
    return {name.removeprefix("in:"): value for name, value in found.items()}


def drawn(value, draw):
    """A random input of the type that a session wants."""
    kind = re.fullmatch(r"tensor\((\w+)\)", value.type)
    kind = {"float": "float32", "double": "float64"}.get(kind[1], kind[1]) if kind else None
    shape = [extent if isinstance(extent, int) else 1 for extent in value.shape]
    try:
        dtype = np.dtype(kind)
    except TypeError:
        dtype = None
    if dtype is None:
        sys.exit(f"error: input {value.name} is of type {value.type}; give it with --input")
    if dtype.kind == "f":
        return draw.standard_normal(shape).astype(dtype)
    return np.zeros(shape, dtype)


def difference(got, want):
    """The greatest difference, as a share of the largest element."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return float("inf")
    if got.tobytes() == want.tobytes() or got.size == 0:
        return 0.0
    if got.dtype.kind not in "fiub":
        return 0.0 if (got == want).all() else float("inf")
    a, b = got.astype(np.float64), want.astype(np.float64)
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    off = np.abs(np.where(equal, 0.0, a - b)).max()
    largest = np.abs(b[np.isfinite(b)]).max(initial=0.0)
    return float(off / largest) if off == off and largest > 0 else float(off or "nan")


def main():
    args = arguments()
    manifest = json.loads((HERE / "manifest.json").read_text())
    stages = [session(HERE / stage["file"], args) for stage in manifest["stages"]]
    values, draw = given(args.input), np.random.default_rng(args.seed)
    unknown = sorted(set(values) - set(manifest["inputs"]))
    values = {name: values[name] for name in manifest["inputs"] if name in values}
    if unknown:
        print(f"not read: {', '.join(unknown)}", file=sys.stderr)
    for stage in stages:
        for value in stage.get_inputs():
            if value.name in manifest["inputs"] and value.name not in values:
                values[value.name] = drawn(value, draw)
    inputs = dict(values)
    took = [[] for _ in stages]
    # The first run is not counted.
    for frame in range(max(args.frames, 1) + 1):
        values = dict(inputs)
        for stage, all in zip(stages, took):
            names = [o.name for o in stage.get_outputs()]
            feed = {i.name: values[i.name] for i in stage.get_inputs()}
            begin = time.perf_counter()
            made = stage.run(names, feed)
            if frame:
                all.append(time.perf_counter() - begin)
            values.update(zip(names, made))
    rows = zip(manifest["stages"], manifest["plan"]["stages"], took)
    for stage, plan, all in rows:
        took_ms, planned_ms = statistics.median(all) * 1e3, plan["compute_s"] * 1e3
        print(f"{stage['file']:12} {plan['device']:12} {took_ms:9.3f} ms, planned {planned_ms:.3f}")
    total = sum(statistics.median(all) for all in took) * 1e3
    print(f"a frame takes {total:.3f} ms in all stages, without sending")
    if not args.model:
        return 0
    whole = session(args.model, args)
    names = [o.name for o in whole.get_outputs()]
    feed = {i.name: inputs[i.name] for i in whole.get_inputs() if i.name in inputs}
    times = []
    for frame in range(max(args.frames, 1) + 1):
        begin = time.perf_counter()
        want = whole.run(names, feed)
        if frame:
            times.append(time.perf_counter() - begin)
    print(f"the whole model takes {statistics.median(times) * 1e3:.3f} ms")
    off = {name: difference(values[name], value) for name, value in zip(names, want)}
    worst = max(off, key=lambda name: (off[name] != off[name], off[name]))
    if off[worst] == 0.0:
        print("all outputs are equal, bit for bit")
        return 0
    print(f"greatest difference: {off[worst]:.2e} of the largest element, in {worst}")
    return 0 if off[worst] <= args.tolerance else 1


if __name__ == "__main__":
    sys.exit(main())
