"""Runs `graph-opt` on a random graph and says how it went."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import subprocess

import numpy as np
import common
import onnx
import onnxruntime_check
from onnx import numpy_helper

from .draft import session
from .graph import Graph
from .pipelines import Pipeline

TIMEOUT = 60
# Of the largest magnitude of an output: ONNX Runtime picks kernels by shape.
EXACT, ROUNDED = 1e-5, 2e-3
# How much more than what inputs and weights that are 1e-6 off do to the outputs is no rounding.
NOISE = 100


# The file did not change; its outputs have the same bits; are within the limit; as far apart as
# rounding explains; nothing was written, and it was said why; `verify` said what it may.
PASSING = ("same", "bits", "close", "noise", "refused", "equal")


@dataclasses.dataclass
class Verdict:
    """`kind` is one of same, bits, close, noise, refused, or a failure; `text` says why."""

    kind: str
    text: str = ""

    @property
    def failed(self) -> bool:
        return self.kind not in PASSING


def opt(graph_opt: pathlib.Path, folder: pathlib.Path, options: list[str]) -> tuple[int, str]:
    """Runs `graph-opt opt in.onnx ... -o out.onnx` in a folder, where reproducers are left."""
    (folder / "out.onnx").unlink(missing_ok=True)
    return call([str(graph_opt), "opt", "in.onnx", *options, "-o", "out.onnx"], folder)


def call(command: list[str], folder: pathlib.Path) -> tuple[int, str]:
    environment = {**os.environ, "RUST_BACKTRACE": "0"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return 124, f"no end after {TIMEOUT} s"
    return done.returncode, done.stdout.decode(errors="replace").strip()


def error_of(text: str) -> str:
    """What an output says of an error, in one line."""
    lines = [line for line in text.splitlines() if line.strip()]
    for at, line in enumerate(lines):
        if "panicked at" in line:
            return " ".join(lines[at : at + 2])
    named = [line for line in lines if line.startswith("error")]
    return " ".join((named or lines or [""])[-1].split())


def judge(
    graph_opt: pathlib.Path, folder: pathlib.Path, graph: Graph, pipeline: Pipeline
) -> Verdict:
    """The graph is in `in.onnx` of the folder."""
    code, text = opt(graph_opt, folder, pipeline.options)
    out = folder / "out.onnx"
    if code == 124:
        return Verdict("timeout", text)
    if "panicked at" in text or "internal error" in text:
        return Verdict("internal", error_of(text))
    if code not in common.EXIT_CODES:
        return Verdict("crash", f"exit {code}: {error_of(text)}")
    if code:
        if not re.search(r"^error: ..", text, re.MULTILINE):
            return Verdict("silent", f"exit {code} without a message: {text[-80:]}")
        if out.exists():
            return Verdict("left", f"exit {code}, and yet a file: {error_of(text)}")
        # The graph is valid, so that reading it is no reason to refuse.
        return Verdict("unread" if "error: in.onnx" in text else "refused", error_of(text))
    if not out.exists():
        return Verdict("no file", error_of(text))
    return compare(graph, out, pipeline)


def compare(graph: Graph, out: pathlib.Path, pipeline: Pipeline) -> Verdict:
    """Whether the file that was written is valid and gives the same."""
    data = out.read_bytes()
    if data == graph.model.SerializeToString():
        return Verdict("same")
    model = onnx.load_from_string(data)
    try:
        onnx.checker.check_model(model, full_check=graph.strict)
    except Exception as e:  # The checker raises several kinds.
        return Verdict("invalid", one_line(e))
    names = [o.name for o in graph.model.graph.output]
    if [o.name for o in model.graph.output] != names:
        return Verdict("interface", f"outputs {[o.name for o in model.graph.output]}, not {names}")
    given = {w.name for w in model.graph.initializer}
    inputs = [i.name for i in model.graph.input if i.name not in given]
    wanted = list(graph.feeds[0])
    if inputs != wanted:
        return Verdict("interface", f"inputs {inputs}, not {wanted}")
    try:
        s = session(data)
    except Exception as e:  # ONNX Runtime raises many kinds.
        return Verdict("load", one_line(e))
    limit = ROUNDED if pipeline.rounds else EXACT
    if any(
        n.op_type == "Cast" and a.i == onnx.TensorProto.FLOAT16
        for n in graph.model.graph.node
        for a in n.attribute
    ):
        limit = max(limit, onnxruntime_check.HALF_TOLERANCE)
    kind = "bits"
    for extents, feed, answer in zip(graph.extents, graph.feeds, graph.answers):
        if "--fix-dims" in pipeline.options and extents != graph.extents[0]:
            continue
        try:
            got = dict(zip(names, s.run(None, feed)))
        except Exception as e:
            return Verdict("run", one_line(e))
        want = dict(zip(names, answer))
        for name in names:
            far = onnxruntime_check.deviation({name: got[name]}, {name: want[name]})
            if far <= limit:
                if kind == "bits" and got[name].tobytes() != want[name].tobytes():
                    kind = "close"
                continue
            if (
                got[name].shape == want[name].shape
                and got[name].dtype == want[name].dtype
                and far <= NOISE * sensitivity(graph, feed, answer, name)
            ):
                kind = "noise"
                continue
            shapes = (
                ""
                if got[name].shape == want[name].shape
                else f", shape {got[name].shape}, not {want[name].shape}"
            )
            return Verdict(
                "wrong", f"output {name!r} deviates by {far:.1e}{shapes}; extents {extents}"
            )
    return Verdict(kind)


def sensitivity(graph: Graph, feed, answer, name: str) -> float:
    """How far an output moves where inputs and weights are 1e-6 off: that much may be rounding."""
    names = [o.name for o in graph.model.graph.output]
    want = answer[names.index(name)]
    worst = 0.0
    r = np.random.default_rng(0)

    def moved(a):
        if a.dtype.kind != "f" or a.size == 0:
            return a
        size = np.abs(a[np.isfinite(a)]).max(initial=0)
        return (
            a * (1 + 1e-6 * r.standard_normal(a.shape)) + 1e-6 * size * r.standard_normal(a.shape)
        ).astype(a.dtype)

    # What decides shapes has to stay.
    nodes = [n for n in graph.model.graph.node if n.op_type in ("Resize", "Upsample")]
    scales = {x for n in nodes for x in n.input[1:]}
    for _ in range(6):
        model = onnx.ModelProto()
        model.CopyFrom(graph.model)
        for w in model.graph.initializer:
            a = numpy_helper.to_array(w)
            # Factors, bounds and the like have one element.
            if a.dtype.kind == "f" and a.size > 1 and w.name not in scales:
                w.CopyFrom(numpy_helper.from_array(moved(a), w.name))
        try:
            s = session(model)
            got = dict(zip(names, s.run(None, {k: moved(v) for k, v in feed.items()})))
        except Exception:
            continue
        worst = max(worst, onnxruntime_check.deviation({name: got[name]}, {name: want}))
    return worst


def verify(graph_opt: pathlib.Path, folder: pathlib.Path, pipeline: Pipeline) -> Verdict:
    """`graph-opt verify` of a pair that ONNX Runtime found equal never says that it differs."""
    code, text = call([str(graph_opt), "verify", "in.onnx", "out.onnx"], folder)
    if code == 124:
        return Verdict("timeout", f"verify: {text}")
    if "panicked at" in text or "internal error" in text:
        return Verdict("internal", f"verify: {error_of(text)}")
    if code not in common.EXIT_CODES:
        return Verdict("crash", f"verify: exit {code}: {error_of(text)}")
    # Where weights were rounded, exact arithmetic may tell; the backends may not.
    said = [x for x in text.splitlines() if x.startswith("differs: ")]
    if said and not pipeline.rounds:
        line = said[0]
        return Verdict("false alarm", f"verify: {' '.join(line.split())}")
    if code == 1 and not said:
        return Verdict("exit code", f"verify: exit 1 for: {error_of(text)}")
    return Verdict("refused" if code else "equal", error_of(text))


def one_line(e: object, most: int = 240) -> str:
    return " ".join(str(e).split())[:most]
