"""All real models in one table: read, run, rewritten and compared, or refused with the reason.

For each model of ../shared/models:

- `inspect` has to give a peak of activations; extents that it assumed are shown.
- `run` has to reproduce the recorded outputs, where some are: numbers within 1e-5 + 1e-4 · |expected|,
  whole numbers and strings exactly. Of models that draw random numbers, other results are no fault.
- `opt` rewrites it with -O, tiles over height and over output channels, in half of its memory, and in another
  order. What it writes, it has compared (--verify). The weakest verdict on an output is shown: `close` is the best for
  a fusion of -O that rounds otherwise, `as is` means that there was nothing to do.

Extents that a model leaves open are those of its recorded run. What is refused is listed below the table, with the
reason in the words of graph-opt.

    target/venv/bin/python tests/python/models.py --graph-opt target/release/graph-opt [--only yolo] [--jobs 2]
"""

import collections
import concurrent.futures
import json
import pathlib
import subprocess
import tempfile

import numpy as np

import common

REWRITES = {
    "-O": ["-O"],
    "h": ["-p", "tile-conv{axis=h parts=2}"],
    "c-out": ["-p", "tile-conv{axis=c-out parts=2}"],
    "50 %": ["--memory", "50%"],
    "schedule": ["-p", "schedule"],
}
# Verdicts, the strongest first.
STRENGTH = ["identical", "proved", "proved-at-extents", "exact", "bit-exact", "close", "unknown", "undecided", "differs"]
# Cells that a model should not have.
BAD = ("no peak", "WRONG", "DIFFERS", "no end", "undecided", "unknown", "bit-exact")
RANDOM = {"Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
# What `opt` says where there was nothing to do: these are not refusals.
NOTHING = ("no match", "no effect")


class Model:
    """A model, its recorded run, and the options that make its extents known."""

    def __init__(self, path):
        self.path, self.name = path, path.stem.split("__")[-1]
        self.record = path.with_suffix(".io.npz")
        self.extents = []
        notes = path.with_suffix(".inputs.json")
        notes = json.loads(notes.read_text()) if notes.exists() else {}
        for name, n in notes.get("dims", {}).items():
            self.extents += ["--dim", f"{name}={n}"]
        shapes = {name: tuple(dims) for name, dims in notes.get("shapes", {}).items()}
        if self.record.exists():
            with np.load(self.record) as arrays:
                recorded = {k[3:]: v.shape for k, v in arrays.items() if k.startswith("in:")}
            self.inputs = bool(recorded)
            shapes = {**recorded, **shapes}
        for name, dims in shapes.items():
            if dims:
                self.extents += ["--input-shape", f"{name}:{','.join(map(str, dims))}"]


def asked(args, command):
    """The exit code and the envelope of a command."""
    command = [args.graph_opt, *command, "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=args.seconds)
    except subprocess.TimeoutExpired:
        return None, {}
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        return done.returncode, {"error": {"message": done.stderr.strip()[-300:]}}


def reason(envelope):
    error = (envelope or {}).get("error") or {}
    return error.get("message", "no answer")


def inspected(args, model):
    """The peak, and what was assumed for it."""
    code, answer = asked(args, ["inspect", model.path, *model.extents])
    if code != 0:
        return "refused", reason(answer)
    peak = answer["result"]["peak_activation_bytes"]
    if peak is None:
        return "no peak", "unknown extents"
    return f"{peak / 1024:.0f} KiB", None


def reproduced(args, model, folder):
    """Whether a run gives the recorded outputs."""
    cell, why = compared(args, model, folder)
    if cell == "WRONG":
        _, answer = asked(args, ["inspect", model.path])
        drawn = RANDOM.intersection(answer["result"]["operators"])
        if drawn:
            return "random", f"{', '.join(sorted(drawn))}; {why}"
    return cell, why


def compared(args, model, folder):
    """Compares a run with the record."""
    if not model.record.exists():
        return "no record", None
    out = folder / "out"
    given = ["--input", model.record] if model.inputs else []
    code, answer = asked(args, ["run", model.path, *given, "-o", out])
    if code is None:
        return "no end", f"no end in {args.seconds} s"
    if code != 0:
        return "refused", reason(answer)
    files = {row["name"]: row["file"] for row in answer["result"]["outputs"]}
    worst = 0.0
    with np.load(model.record, allow_pickle=True) as arrays:
        for key, expected in arrays.items():
            if not key.startswith("out:"):
                continue
            got = np.load(files[key[4:]])
            if got.shape != expected.shape:
                return "WRONG", f"{key}: shape {got.shape}, recorded {expected.shape}"
            if expected.dtype.kind == "f":
                got, expected = got.astype(np.float64), expected.astype(np.float64)
                off = np.abs(got - expected) / (1e-5 + 1e-4 * np.abs(expected))
                off[(got == expected) | (np.isnan(got) & np.isnan(expected))] = 0
                worst = max(worst, float(off.max(initial=0)))
            elif not np.array_equal(got, expected):
                return "WRONG", f"{key}: other {expected.dtype} values"
    if not worst <= 1:
        return "WRONG", f"off by {worst:.3g} times the tolerance"
    return f"ok {worst:.2g}", None


def verdict(answer):
    """The weakest of what was found for the outputs, in one word."""
    words = []
    for output in answer["result"]["verify"]["outputs"]:
        found = [r["verdict"] for r in output["rungs"]]
        if output["verdict"] == "equal":
            words.append(min(found, key=STRENGTH.index))
        else:
            words.append(output["verdict"])
    return max(words, key=STRENGTH.index)


def rewritten(args, model, options, folder):
    """What became of one rewriting."""
    out = folder / "out.onnx"
    command = ["opt", model.path, *options, *model.extents, "-o", out, "--verify"]
    code, answer = asked(args, command)
    if code is None:
        return "no end", f"no end in {args.seconds} s"
    if out.exists() != (code == 0):
        return "WRONG", f"exit code {code}, file written: {out.exists()}"
    if code == 0:
        result = answer["result"]
        out.unlink()
        refused = collections.Counter(
            r["message"] for r in result["remarks"] if r["outcome"] not in ("applied", *NOTHING)
        )
        why = "; ".join(f"{n}× {m}" if n > 1 else m for m, n in refused.items())
        if result["edits"] == 0:
            return ("refused" if why else "as is"), why or None
        return verdict(answer), why or None
    if code == 1:
        return "DIFFERS", reason(answer)
    return {4: "no plan", 5: "undecided", 3: "refused"}.get(code, f"exit {code}"), reason(answer)


def one(args, path):
    """The row of a model, and the reasons below the table."""
    model = Model(path)
    cells, reasons = [], []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        steps = {"peak": lambda: inspected(args, model)}
        steps["run"] = lambda: reproduced(args, model, folder)
        for name, options in REWRITES.items():
            steps[name] = lambda options=options: rewritten(args, model, options, folder)
        for step, take in steps.items():
            cell, why = take()
            cells.append(cell)
            if why:
                reasons.append((model.name, step, cell, why))
    return [model.name, *cells], reasons


def main():
    parser = common.arguments(__doc__)
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--seconds", type=int, default=300, help="most time of a command")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time")
    args = common.parsed(parser)
    paths = [p for p in sorted(common.MODELS.glob("*.onnx")) if args.only in p.name]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        done = list(pool.map(lambda p: one(args, p), paths))
    rows = [row for row, _ in done]
    common.table(["model", "peak", "run", *REWRITES], rows)
    print()
    for _, reasons in done:
        for name, step, cell, why in reasons:
            print(f"{name}, {step}: {cell}: {why}")
    bad = [row for row in rows if any(cell in BAD for cell in row)]
    common.summary(len(rows) - len(bad), len(bad), 0)


if __name__ == "__main__":
    main()
