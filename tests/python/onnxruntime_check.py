"""Rewritten convolutional networks give ONNX Runtime's recorded answers.

Every model of ../shared/models with a recorded run (NAME.io.npz) goes through each pipeline, its
symbolic dimensions fixed as they are in the recorded inputs, unless ONNX Runtime refuses it then: at
those extents, a branch that does not run may contradict itself. ONNX Runtime then runs the result,
with its own optimisations off and on, on those inputs.
"""

import pathlib
import tempfile

import numpy as np
import onnx
import onnxruntime as ort

import common

PIPELINES = [
    "simplify",
    "tile-conv{axis=h parts=3}",
    "tile-conv{axis=hxw parts=2x2}",
    "tile-conv{axis=c-out parts=2}",
    "simplify,tile-conv{axis=w parts=2}",
]
CONVOLUTIONS = {"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "FusedConv"}
RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
MODES = {
    "off": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "on": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
# Of the largest magnitude of an output, and 0.1 more.
TOLERANCE = 1e-4
# The same for models that round to half precision on the way: one unit in the last place.
HALF_TOLERANCE = 2.0**-10


def record(path):
    """Where the recorded run of a model is."""
    return path.parent / f"{path.stem}.io.npz"


def recorded(path):
    """Inputs and outputs of the recorded run, by name."""
    with np.load(path) as arrays:
        pick = lambda kind: {
            name[len(kind) :]: arrays[name] for name in arrays.files if name.startswith(kind)
        }
        return pick("in:"), pick("out:")


def infer(path, mode, inputs, names):
    """ONNX Runtime's outputs by name."""
    options = ort.SessionOptions()
    options.graph_optimization_level = MODES[mode]
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    wanted = {i.name for i in session.get_inputs()}
    feed = {k: v for k, v in inputs.items() if k in wanted}
    return dict(zip(names, session.run(names, feed)))


def deviation(got, want):
    """Largest deviation of any output, relative to the largest magnitude of that output."""
    worst = 0.0
    for name, expected in want.items():
        value = np.asarray(got[name])
        if value.shape != expected.shape or value.dtype != expected.dtype:
            return float("inf")
        if expected.size == 0:
            continue
        if not np.issubdtype(expected.dtype, np.number):
            worst = max(worst, 0.0 if np.array_equal(value, expected) else float("inf"))
            continue
        a, b = value.astype(np.float64), expected.astype(np.float64)
        # Where the record is NaN or infinite, nothing but the same will do.
        special = ~np.isfinite(b)
        if not np.array_equal(a[special], b[special], equal_nan=True):
            return float("inf")
        a, b = a[~special], b[~special]
        if a.size == 0:
            continue
        if not np.isfinite(a).all():
            return float("inf")
        # A tolerance of 1e-4 is one of 1e-5 for small outputs, as for recorded runs elsewhere: in the sum of a sigmoid
        # of 0.00025, one rounding step is 1e-4 of it.
        worst = max(worst, np.abs(a - b).max() / (np.abs(b).max() + 0.1))
    return worst


def steady(model, outputs):
    """The outputs that do not depend on an operator that draws at random."""
    drawn = set()
    for node in model.graph.node:
        if node.op_type in RANDOM or drawn.intersection(node.input):
            drawn.update(node.output)
    return {name: value for name, value in outputs.items() if name not in drawn}


def references(path, mode, inputs, outputs, tolerance):
    """Answers to compare with, either of which will do, and a mark.

    That is the record and, where ONNX Runtime itself leaves it in this mode on the untouched model
    (rounding at the edge of a quantisation step, a rougher kernel), also that run.
    """
    own = infer(path, mode, inputs, list(outputs))
    if deviation(own, outputs) <= tolerance:
        return [outputs], ""
    return [outputs, own], "*"


def is_convolutional(graph):
    """Whether a graph, or the body of a control-flow node in it, has convolutions."""
    return any(
        node.op_type in CONVOLUTIONS
        or any(a.type == a.GRAPH and is_convolutional(a.g) for a in node.attribute)
        for node in graph.node
    )


def extents(args, path, model, inputs, scratch):
    """Options that fix the symbolic dimensions of the inputs as they are in the recorded ones."""
    options = []
    for value in model.graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if value.name in inputs and (not dim.HasField("dim_value") or dim.dim_value < 0):
                options += ["--dim", f"{value.name}:{axis}={inputs[value.name].shape[axis]}"]
    if not options:
        return []
    options.append("--fix-dims")
    out = scratch / "fixed.onnx"
    code, errors = common.call([args.graph_opt, "opt", path, "-p", "", *options, "-o", out])
    if code != 0:
        raise RuntimeError(f"{path.name} {options}: {common.last_line(errors)}")
    try:
        for mode in MODES:
            infer(out, mode, inputs, [o.name for o in model.graph.output])
    except Exception:  # ONNX Runtime raises many kinds.
        print(f"{path.name}: its dimensions stay: ONNX Runtime refuses it once they are fixed")
        return []
    return options


def check(args, path, scratch):
    """Rows of one model: pipeline, then a cell for each mode, then the verdict."""
    model = onnx.load(path, load_external_data=False)
    if not is_convolutional(model.graph):
        return None
    inputs, outputs = recorded(record(path))
    outputs = steady(model, outputs)
    if not outputs:
        return [["-", "", "", "skipped: every output is drawn at random"]]
    half = any(t.data_type == onnx.TensorProto.FLOAT16 for t in model.graph.initializer)
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    try:
        answers = {m: references(path, m, inputs, outputs, tolerance) for m in MODES}
    except Exception as error:  # ONNX Runtime raises many kinds.
        reason = str(error).splitlines()[0][:70]
        return [["-", "", "", f"skipped: ONNX Runtime refuses the original: {reason}"]]
    options = extents(args, path, model, inputs, scratch)
    rows = []
    for pipeline in PIPELINES:
        out = scratch / "out.onnx"
        out.unlink(missing_ok=True)
        command = [args.graph_opt, "opt", path, "-p", pipeline, *options, "-o", out]
        code, errors = common.call(command)
        if code == common.UNSUPPORTED:
            rows.append([pipeline, "", "", f"skipped: unsupported: {common.last_line(errors)}"])
            continue
        if code != 0 or not out.exists():
            rows.append([pipeline, "", "", f"FAILED: exit {code}: {common.last_line(errors)}"])
            continue
        if out.read_bytes() == path.read_bytes():
            rows.append([pipeline, "", "", "skipped: nothing changed"])
            continue
        cells, good = [], True
        for mode, (wanted, mark) in answers.items():
            try:
                got = infer(out, mode, inputs, list(outputs))
                far = min(deviation(got, want) for want in wanted)
                cells.append(f"{far:.1e}{mark}")
                good &= far <= tolerance
            except Exception as error:
                cells.append(str(error).splitlines()[0][:60])
                good = False
        rows.append([pipeline, *cells, "passed" if good else "FAILED"])
    return rows


def main():
    parser = common.arguments(__doc__)
    parser.add_argument("--only", default="", help="models whose name contains this")
    args = common.parsed(parser)
    ort.set_default_logger_severity(4)
    if not common.MODELS.is_dir():
        print(f"SKIPPED EVERYTHING: no models at {common.MODELS}")
        common.summary(0, 0, 1)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for path in sorted(common.MODELS.glob("*.onnx")):
            if args.only not in path.name:
                continue
            if not record(path).exists():
                continue
            for row in check(args, path, pathlib.Path(scratch)) or []:
                rows.append([path.stem.split("__")[-1], *row])
    common.table(["model", "pipeline", "off", "on", "verdict"], rows)
    print("off, on: ONNX Runtime's optimisations; the largest deviation over the largest magnitude")
    print("*: ONNX Runtime leaves the record on the untouched model; compared with that run too")
    print(f"limits: {TOLERANCE:.0e}, and {HALF_TOLERANCE:.0e} for half precision")
    verdicts = [row[-1] for row in rows]
    count = lambda word: sum(v.startswith(word) for v in verdicts)
    if not count("passed") and not args.only:
        print("FAILED: nothing was compared")
        common.summary(0, 1, count("skipped"))
    common.summary(count("passed"), count("FAILED"), count("skipped"))


if __name__ == "__main__":
    main()
