"""Models as ONNX Runtime's own optimiser writes them, against their originals.

Each model of ../shared/models is optimised by ONNX Runtime at its extended level. Those that then have
operators of com.microsoft are read and compared by `graph-opt verify`. The optimiser may round otherwise:
where graph-opt says that the models differ, ONNX Runtime runs both, and has to differ, too: by rounding,
or by more.

    target/venv/bin/python tests/python/optimized.py --graph-opt target/release/graph-opt [--only gpt2]
"""

import collections
import pathlib
import re
import subprocess
import tempfile

import numpy as np
import onnx
import onnxruntime as ort

import common


def session(path, level, written=None):
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4
    if written:
        options.optimized_model_filepath = str(written)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def feeds(inputs, rng):
    """Random inputs: small whole numbers, which may index tables."""
    all_ = {}
    for i in inputs:
        shape = [d if isinstance(d, int) else 2 for d in i.shape]
        kind = re.search(r"\((\w+)\)", i.type)[1]
        if kind == "float":
            all_[i.name] = rng.standard_normal(shape).astype(np.float32)
        else:
            names = {"int64": np.int64, "int32": np.int32, "uint8": np.uint8, "bool": bool}
            all_[i.name] = rng.integers(0, rng.choice([2, 5]), shape).astype(names[kind])
    return all_


def differ(a, b, seed):
    """Whether ONNX Runtime gives other results for the two files, and by how much."""
    off = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    a, b = session(a, off), session(b, off)
    worst = 0.0
    for i in range(16):
        given = feeds(a.get_inputs(), np.random.default_rng([seed, i]))
        try:
            pairs = zip(a.run(None, given), b.run(None, given))
        except Exception:  # noqa: BLE001: numbers that index nothing, for one
            continue
        for x, y in pairs:
            if getattr(x, "size", 0) and x.dtype.kind == "f":
                scale = np.abs(x).max() or 1.0
                worst = max(worst, float(np.abs(x - y).max() / scale))
    return worst


def main():
    parser = common.arguments(__doc__)
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--seconds", type=int, default=120, help="time for each comparison")
    args = common.parsed(parser)
    rows, passed, failed, skipped = [], 0, 0, 0
    for path in sorted(common.MODELS.glob("*.onnx")):
        if args.only not in path.name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            written = pathlib.Path(folder) / "model.onnx"
            try:
                session(path, ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED, written)
            except Exception:  # noqa: BLE001: whatever ONNX Runtime says
                continue
            nodes = onnx.load(written, load_external_data=False).graph.node
            own = collections.Counter(n.op_type for n in nodes if n.domain == "com.microsoft")
            if not own:
                continue
            command = [args.graph_opt, "verify", path, written]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=args.seconds
                )
                code, said = done.returncode, (done.stdout or done.stderr).strip().splitlines()
            except subprocess.TimeoutExpired:
                code, said = None, [f"no end in {args.seconds} s"]
            verdict = said[0] if said else ""
            if code == 1 and verdict.startswith("differs"):
                worst = differ(path, written, 1)
                verdict += f" (ONNX Runtime: off by {worst:.1e})"
                code = 0 if worst > 0 else 1
            if "inputs differ" in verdict:
                code = None  # The optimiser dropped an input with a default.
            name = path.stem.split("__")[-1]
            rows.append([name, " ".join(f"{k}×{n}" for k, n in sorted(own.items())), verdict[:90]])
            passed += code == 0
            failed += code not in (0, 5, None)
            skipped += code in (5, None)
    common.table(["model", "operators", "verdict"], rows)
    common.summary(passed, failed, skipped)


if __name__ == "__main__":
    main()
