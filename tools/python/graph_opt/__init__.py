"""Rewrites ONNX graphs so that networks fit the memory of the machine, and shows that the answer is the same.

    import graph_opt
    small = graph_opt.fit("model.onnx", "12MiB")
    print(small)                        # what it takes now, and the proof that it is equal
    small.save("small.onnx")
    session = onnxruntime.InferenceSession(small.model, graph_opt.session_options(small))

A model is the path of a .onnx or .gir file, an onnx.ModelProto, its bytes, or "zoo:NAME". A model of the same kind
comes back: a ModelProto for a ModelProto, bytes otherwise. Each function does what the command of the same name does,
in this process, without the interpreter lock. What goes wrong is a GraphOptError, whose subclasses stand for
the exit codes of the command line.
"""

from __future__ import annotations

import json
import os
import typing
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from . import _native

__version__: str = _native.VERSION

Model = typing.Union[str, "os.PathLike[str]", bytes, typing.Any]
Progress = typing.Optional[Callable[[str], None]]

__all__ = [
    "Comparison", "Differs", "DoesNotFit", "Fields", "GraphOptError", "InternalError", "OutputError", "Result", "Undecided",
    "UnsupportedError", "UsageError", "blocks", "call", "fit", "inspect", "optimize", "plan", "run", "session_options",
    "split", "verify",
]  # fmt: skip


class GraphOptError(Exception):
    """What went wrong, with the node and the reason. `exit` is the exit code of the command line, `said` what was
    remarked before."""

    def __init__(self, message: str, exit: int, said: str = "", result: dict | None = None):
        super().__init__(message)
        self.exit, self.said, self.result = exit, said, result


class Differs(GraphOptError):
    """Models differ."""


class UsageError(GraphOptError, ValueError):
    """A wrong argument, or a model that cannot be read."""


class UnsupportedError(GraphOptError, NotImplementedError):
    """Valid, but not supported."""


class DoesNotFit(GraphOptError):
    """A limit cannot be met; the message names the least that works."""


class Undecided(GraphOptError):
    """Neither equality nor a difference could be shown; nothing was written."""


class OutputError(GraphOptError, OSError):
    """Something cannot be written."""


class InternalError(GraphOptError):
    """A bug in graph-opt."""


_ERRORS = {1: Differs, 2: UsageError, 3: UnsupportedError, 4: DoesNotFit, 5: Undecided, 6: OutputError, 70: InternalError}


class Fields(Mapping):
    """An answer as `--json` has it (docs/schema.json): fields are attributes and keys. Prints as on the command
    line."""

    def __init__(self, fields: dict, text: str = "", said: str = ""):
        self._fields, self.text, self.said = fields, text, said

    def __getitem__(self, key: str) -> typing.Any:
        return self._fields[key]

    def __iter__(self) -> typing.Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __getattr__(self, name: str) -> typing.Any:
        if name.startswith("_") or name not in self._fields:
            raise AttributeError(f"{type(self).__name__} has no {name!r}; it has {', '.join(self._fields)}")
        return self._fields[name]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._fields]

    def __repr__(self) -> str:
        return self.text.rstrip() or self.said.rstrip() or json.dumps(self._fields, indent=2)


class Comparison(Fields):
    """What a comparison found: `verdict` is "equal", "differs" or "undecided", `outputs` has the reasons. True if the
    models are equal."""

    def __bool__(self) -> bool:
        return self._fields["verdict"] == "equal"


class Result(Fields):
    """A rewritten model, and what is known of it; see the fields of `opt` in docs/schema.json."""

    _bytes: bytes
    _as_proto: bool

    @property
    def model(self) -> typing.Any:
        """The model: an onnx.ModelProto if one was given, else its bytes."""
        return self.proto if self._as_proto else self._bytes

    @property
    def bytes(self) -> bytes:
        """The model in ONNX's form."""
        return self._bytes

    @property
    def proto(self) -> typing.Any:
        """The model as an onnx.ModelProto; needs the package onnx."""
        import onnx

        return onnx.load_from_string(self._bytes)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model; the file appears complete or not at all."""
        path = os.fspath(path)
        beside = f"{path}.{os.getpid()}.tmp"
        try:
            with open(beside, "wb") as file:
                file.write(self._bytes)
            os.replace(beside, path)
        except BaseException:
            if os.path.exists(beside):
                os.unlink(beside)
            raise

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(repr(self))}</pre>"


def _held(*models: Model) -> tuple[list[str], dict[str, bytes]]:
    """The names of models on the command line, and those that are held in memory."""
    names, held = [], {}
    for i, model in enumerate(models):
        if hasattr(model, "SerializeToString"):
            model = model.SerializeToString()
        if isinstance(model, (bytes, bytearray, memoryview)):
            names.append(f"memory:{i}.onnx")
            held[names[-1]] = bytes(model)
        else:
            names.append(os.fspath(model))
    return names, held


def _options(options: Mapping[str, typing.Any]) -> list[str]:
    """Keywords as options: dims={"n": 4} as --dim n=4, fix_dims=True as --fix-dims, by=["a", "b"] as --by a,b."""
    words: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            words.append(flag)
        elif name == "dims":
            for dim, extent in value.items():
                words += ["--dim", f"{dim}={extent}"]
        elif name == "input_shapes":
            for tensor, extents in value.items():
                words += ["--input-shape", f"{tensor}:{','.join(map(str, extents))}"]
        elif isinstance(value, (list, tuple)):
            words += [flag, ",".join(map(str, value))]
        else:
            words += [flag, os.fspath(value) if hasattr(value, "__fspath__") else str(value)]
    return words


def call(*words: str, models: Mapping[str, bytes] | None = None, progress: Progress = None, ok: Sequence[int] = (0,)):
    """Runs any command of the command line in this process, such as `call("inspect", "model.onnx")`; returns its fields, and
    the models that it wrote under names that begin with "memory:"."""
    code, envelope, text, said, written = _native.call(list(words), dict(models or {}), progress)
    envelope = json.loads(envelope)
    if code not in ok:
        error = envelope["error"] or {"message": text.strip() or f"exit code {code}"}
        message = error["message"] or text.strip()
        raise _ERRORS.get(code, GraphOptError)(message, code, said, envelope["result"])
    return Fields(envelope["result"] or {}, text, said), written


def optimize(
    model: Model,
    passes: str | None = None,
    *,
    memory: int | str | None = None,
    runtime: str | None = None,
    dims: Mapping[str, int] | None = None,
    verify: bool = True,
    force: bool = False,
    progress: Progress = None,
    **options: typing.Any,
) -> Result:
    """Rewrites a model by a pipeline of passes, such as "simplify,tile-conv{axis=h parts=4}"; without passes and memory,
    by what `opt -O` does.

    `dims` are extents of symbolic dimensions, {"batch": 4}. With `verify` a result that is not shown to be equal is an
    error (Differs, Undecided). Other options are those of `graph-opt opt`, with underscores: fix_dims=True.
    """
    names, held = _held(model)
    words = ["opt", names[0], "-o", "memory:result.onnx"]
    if passes is not None:
        words += ["-p", passes]
    if passes is None and memory is None:
        words.append("-O")
    if verify:
        words.append("--verify")
    words += _options({"memory": memory, "runtime": runtime, "dims": dims, "force": force, **options})
    fields, written = call(*words, models=held, progress=progress)
    result = Result(fields._fields, fields.text, fields.said)
    result._bytes = written["memory:result.onnx"]
    result._as_proto = hasattr(model, "SerializeToString")
    return result


def fit(model: Model, memory: int | str = "auto", **options: typing.Any) -> Result:
    """Rewrites a model so that a run takes at most so much memory: bytes, "12MiB", "50%" of what it takes now, or "auto" for
    what this machine has left. Raises DoesNotFit, with the least that works. Options are those of `optimize`."""
    return optimize(model, memory=memory, **options)


def verify(original: Model, rewritten: Model, *, progress: Progress = None, **options: typing.Any) -> Comparison:
    """Compares two models: by a proof, and by runs where there is none. Options are those of `graph-opt verify`, such as
    dims={"batch": 4}, by=["prove"], backend=["cpu", "wgpu"]."""
    names, held = _held(original, rewritten)
    fields, _ = call("verify", *names, *_options(options), models=held, progress=progress, ok=(0, 1, 5))
    if "verdict" not in fields:
        raise Differs(fields.text or "the models cannot be compared", 1, fields.said)
    return Comparison(fields._fields, fields.text, fields.said)


def inspect(model: Model, **options: typing.Any) -> Fields:
    """Operators, multiply-accumulates, parameters, peak memory with its timeline, and what cannot be tiled and why."""
    names, held = _held(model)
    return call("inspect", names[0], *_options(options), models=held)[0]


def plan(model: Model, cluster: str | os.PathLike[str], *, progress: Progress = None, **options: typing.Any) -> Fields:
    """Plans which nodes run on which device of a cluster file. Options are those of `graph-opt plan`: objective="energy"."""
    names, held = _held(model)
    words = ["plan", names[0], "--cluster", os.fspath(cluster), *_options(options)]
    return call(*words, models=held, progress=progress)[0]


def split(model: Model, plan: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Fields:
    """Cuts a model into the stages of a plan file: a folder with an ONNX file each, and a manifest."""
    names, held = _held(model)
    return call("split", names[0], "--plan", os.fspath(plan), "-o", os.fspath(folder), models=held)[0]


def blocks(model: Model, **options: typing.Any) -> Fields:
    """The blocks of a model; with data=…, output=… smaller variants of them."""
    names, held = _held(model)
    return call("blocks", names[0], *_options(options), models=held)[0]


def run(model: Model, inputs: Mapping[str, typing.Any], *, threads: int = 0) -> dict[str, np.ndarray]:
    """Runs a model on the reference interpreter; returns its outputs by name, as arrays that own no memory of their own."""
    names, held = _held(model)
    given = []
    for name, value in inputs.items():
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        if array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("<"))
        given.append((name, (array.dtype.name, array.shape, array.tobytes())))
    outputs, failed = _native.run(names[0], held, given, threads)
    if failed:
        code, message = failed
        raise _ERRORS.get(code, GraphOptError)(message, code)
    return {name: np.frombuffer(data, dtype).reshape(shape) for name, (dtype, shape, data) in outputs}


def session_options(result: Mapping[str, typing.Any]) -> typing.Any:
    """The onnxruntime.SessionOptions under which a result takes what was promised: those of its runtime; defaults for
    the others."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if result["runtime"] == "onnxruntime":
        options.enable_mem_reuse = options.enable_mem_pattern = options.enable_cpu_mem_arena = False
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return options
