"""ONNX's own conformance cases, for the operators that graph-opt models.

The cases come from onnx.backend.test; each runs through `graph-opt run`. What graph-opt declares
unsupported must stand in conformance.unsupported.txt, so that losing an operator fails; so must
the few cases that expect something else than the standard says.
"""

import collections
import concurrent.futures
import os
import pathlib
import re
import tempfile
import warnings

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case import node as cases

import common

ALLOWED = pathlib.Path(__file__).with_name("conformance.unsupported.txt")


def modelled():
    """Names of the operators in graph-opt's table."""
    text = (common.ROOT / "ir" / "src" / "op" / "mod.rs").read_text()
    names = set(re.findall(r"^    (?:ONNX|TRAINING) \w+ (\w+) \{", text, re.MULTILINE))
    assert len(names) > 100, "the table of operators has moved"
    return names


def operators(model):
    """Operators of a case's graph; None where one is not ONNX's own."""
    nodes = model.graph.node
    if any(n.domain not in ("", "ai.onnx", "ai.onnx.preview.training") for n in nodes):
        return None
    return {n.op_type for n in nodes}


def proto(info, value):
    """The file of an input: a TensorProto, or that of a sequence or optional."""
    kind = info.type.WhichOneof("value")
    if isinstance(value, (onnx.TensorProto, onnx.SequenceProto, onnx.OptionalProto)):
        return value
    if kind == "optional_type":
        if value is None:
            return onnx.OptionalProto(name=info.name)
        return numpy_helper.from_optional(value, info.name)
    if kind == "sequence_type":
        return numpy_helper.from_list(value, info.name)
    return numpy_helper.from_array(np.asarray(value), info.name)


def output_differs(base, want, case):
    """Why the output, in the file or folder `base`, is not the expected one; None if it is."""
    file = base.with_name(base.name + ".npy")
    if want is None:
        return "expected nothing" if file.exists() or base.exists() else None
    if isinstance(want, list):
        if not base.is_dir():
            return "no sequence"
        if len(list(base.iterdir())) != len(want):
            return f"{len(list(base.iterdir()))} elements, not {len(want)}"
        parts = (output_differs(base / str(i), w, case) for i, w in enumerate(want))
        return next((why for why in parts if why), None)
    if not file.exists():
        return "no output"
    return difference(np.load(file, allow_pickle=False), want, case)


def difference(got, want, case):
    """Why the output is not the expected one; None if it is."""
    if isinstance(want, onnx.TensorProto):
        want = numpy_helper.to_array(want)
    want = np.asarray(want)
    if got.shape != want.shape:
        return f"shape {got.shape}, not {want.shape}"
    if want.dtype == object or want.dtype.kind in "SU":
        same = np.array_equal(got.astype(str), want.astype(str))
        return None if same else "other strings"
    # Types that .npy files cannot say are written in wider ones.
    if want.dtype.name.startswith(("bfloat", "float8", "float4")):
        want = want.astype(np.float32)
    elif want.dtype.name in ("int4", "int2", "uint4", "uint2"):
        want = want.astype(np.int8 if want.dtype.name[0] == "i" else np.uint8)
    if got.dtype != want.dtype:
        return f"type {got.dtype}, not {want.dtype}"
    try:
        np.testing.assert_allclose(got, want, rtol=case.rtol, atol=case.atol)
    except AssertionError as error:
        return " ".join(str(error).split())[:110]
    return None


def run(graph_opt, case):
    """Verdict on one case and, if it is not `passed`, why."""
    graph = case.model.graph
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        onnx.save(case.model, folder / "model.onnx")
        for i, (inputs, outputs) in enumerate(case.data_sets):
            command = [graph_opt, "run", folder / "model.onnx", "--output", folder / f"out{i}"]
            for j, (info, value) in enumerate(zip(graph.input, inputs)):
                file = folder / f"in{i}_{j}.pb"
                file.write_bytes(proto(info, value).SerializeToString())
                command += ["--input", f"{info.name}={file}"]
            code, errors = common.call(command, timeout=60)
            if code == common.UNSUPPORTED:
                return "unsupported", common.last_line(errors)
            if code != 0:
                return "failed", f"exit {code}: {common.last_line(errors)}"
            for info, want in zip(graph.output, outputs):
                base = folder / f"out{i}" / info.name.replace("/", "_")
                why = output_differs(base, want, case)
                if why:
                    return "failed", f"{info.name}: {why}"
    return "passed", ""


def allowed():
    """Cases that may be unsupported, and those that may differ: their lines by name."""
    lines = ALLOWED.read_text().splitlines() if ALLOWED.exists() else []
    lines = [line for line in lines if line.strip() and not line.startswith("#")]
    differ = {line.split()[1]: line for line in lines if line.startswith("differs ")}
    return {line.split()[0] for line in lines if not line.startswith("differs ")}, differ


def write_allowed(results):
    rows = sorted((case.name, why) for case, (verdict, why) in results if verdict == "unsupported")
    _, differ = allowed()
    with ALLOWED.open("w") as f:
        f.write("# Conformance cases that graph-opt does not support, and what it says.\n")
        f.write("# conformance.py --update rewrites this file, but for the lines that begin with\n")
        f.write("# 'differs': cases that graph-opt answers otherwise than they expect, and why.\n")
        for line in differ.values():
            f.write(line + "\n")
        for name, why in rows:
            f.write(f"{name}  {why}".rstrip() + "\n")


def main():
    parser = common.arguments(__doc__)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--update", action="store_true", help="rewrite the list of the unsupported")
    args = common.parsed(parser)
    known = modelled()
    chosen, others = [], collections.Counter()
    with warnings.catch_warnings():
        # NumPy's, about the infinities that some cases are there to make.
        warnings.simplefilter("ignore", RuntimeWarning)
        collected = cases.collect_testcases()
    for case in collected:
        ops = operators(case.model)
        if ops and ops <= known and args.only in case.name:
            chosen.append((next(iter(ops)) if len(ops) == 1 else "(several operators)", case))
        elif args.only in case.name:
            missing = {n.op_type for n in case.model.graph.node} - known
            others[", ".join(sorted(missing)) or "other domains"] += 1
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        verdicts = list(pool.map(lambda c: run(args.graph_opt, c[1]), chosen))
    if args.update:
        write_allowed([(case, v) for (_, case), v in zip(chosen, verdicts)])

    counts = collections.defaultdict(collections.Counter)
    (may, differ), faults, stale = allowed(), [], []
    passed = failed = skipped = 0
    for (op, case), (verdict, why) in zip(chosen, verdicts):
        counts[op][verdict] += 1
        listed = may if verdict == "unsupported" else differ
        if verdict != "passed" and case.name in listed:
            skipped += 1
        elif verdict == "passed":
            passed += 1
            stale += [case.name] * (case.name in may or case.name in differ)
        else:
            failed += 1
            new = " but not listed" if verdict == "unsupported" else ""
            faults.append(f"{case.name}: {verdict}{new}: {why}")
    kinds = ["passed", "failed", "unsupported"]
    rows = [[op, *(counts[op][k] for k in kinds)] for op in sorted(counts)]
    common.table(["operator", *kinds], rows)
    for name in stale:
        print(f"listed, but passes: {name}")
    for fault in faults:
        print(fault)
    print(f"{len(chosen) + sum(others.values())} cases, of which {len(chosen)} run; not in the table:")
    for name, n in sorted(others.items()):
        print(f"  {name}: {n}")
    if not passed:
        print("FAILED: no case passed")
        failed += 1
    common.summary(passed, failed, skipped)


if __name__ == "__main__":
    main()
