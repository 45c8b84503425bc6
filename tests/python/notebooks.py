"""Runs the notebooks of docs/notebooks, and compares what their cells print with what they show.

    target/venv/bin/python tests/python/notebooks.py [--extension target/debug/lib_native.so] [NOTEBOOK…]

The cells of code run in order, in a process for each notebook and without a kernel; assertions in them hold. Outputs
are compared by the rules of `shown.py`; figures vary in cells with the tag `figures-vary`. A cell that prints SKIPPED
first lacks something that is not part of this project; that is said, and its output not compared. UPDATE_GUIDE=1
writes outputs into the notebooks.
"""

import argparse
import ast
import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import traceback

import common
import shown

NOTEBOOKS = common.ROOT / "docs" / "notebooks"


def cells(notebook):
    """The cells of code with their sources."""
    found = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    return [(cell, "".join(cell["source"])) for cell in found]


def display(source, name, names):
    """Runs a cell; gives what it prints and the value of its last expression as text, or None."""
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), names)
    value = eval(compile(ast.Expression(last.value), name, "eval"), names) if last else None
    return None if value is None else repr(value)


def run(path):
    """Runs the cells in this process; writes an output a line, as JSON."""
    names = {"__name__": "__main__"}
    for number, (_, source) in enumerate(cells(json.loads(path.read_text())), 1):
        printed, value, failed = io.StringIO(), None, None
        try:
            with contextlib.redirect_stdout(printed):
                value = display(source, f"cell {number}", names)
        except BaseException:
            failed = traceback.format_exc()
        print(json.dumps([printed.getvalue(), value, failed]), flush=True)
        if failed:
            sys.exit(1)


def outputs(printed, value, number):
    """Outputs in the form of notebooks."""
    found = []
    if printed:
        found.append({"name": "stdout", "output_type": "stream", "text": printed.splitlines(keepends=True)})
    if value is not None:
        data = {"text/plain": value.splitlines(keepends=True)}
        found.append({"data": data, "execution_count": number, "metadata": {}, "output_type": "execute_result"})
    return found


def text(outputs):
    parts = [o["text"] if o["output_type"] == "stream" else o["data"]["text/plain"] for o in outputs]
    return "\n".join("".join(part).rstrip("\n") for part in parts)


def check(path, environment):
    """Runs a notebook and compares; gives faults, what was skipped, and how many cells ran."""
    notebook = json.loads(path.read_text())
    done = subprocess.run(
        [sys.executable, __file__, "--run", path], cwd=path.parent, env=environment, stdout=subprocess.PIPE, timeout=600
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    faults, skipped = [], []
    for number, ((cell, _), (printed, value, failed)) in enumerate(zip(cells(notebook), results), 1):
        if failed:
            faults.append(f"cell {number}: {failed}")
            continue
        if printed.startswith("SKIPPED"):
            skipped.append(printed.strip())
            continue
        vary = "figures-vary" in cell["metadata"].get("tags", [])
        now = outputs(printed, value, number)
        is_, was = shown.lines(text(now)), shown.lines(text(cell["outputs"]))
        if not shown.matches(was, is_, vary):
            faults.append(f"cell {number}: {shown.difference(was, is_, vary)}")
            cell["outputs"], cell["execution_count"] = now, number
    if faults and shown.updating():
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    if len(results) < len(cells(notebook)) and not faults:
        faults.append(f"ended in cell {len(results) + 1}")
    return faults, skipped, len(results)


def finds_faults(environment):
    """A wrong output, a failed assertion and a missing package are found."""
    def faults(source, shows, tags=()):
        cell = {"cell_type": "code", "source": [source], "metadata": {"tags": list(tags)}, "outputs": []}
        cell["outputs"] = outputs(shows, None, 1)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "a.ipynb"
            path.write_text(json.dumps({"cells": [cell]}))
            return check(path, environment)

    assert faults("print(1.25)", "1.25\n") == ([], [], 1)
    assert faults("'a'", "'a'\n")[0] == []
    assert faults("print(1.25)", "1.5\n")[0] and not faults("print(1.25)", "1.5\n", ["figures-vary"])[0]
    for ends in "assert False", "import nowhere_at_all", "import os; os._exit(0)":
        assert faults(ends, "")[0], ends
    assert faults("print('SKIPPED: a')", "b\n")[:2] == ([], ["SKIPPED: a"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extension", type=pathlib.Path, help="the extension of the Python package, as cargo builds it")
    parser.add_argument("--run", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("notebooks", nargs="*", type=pathlib.Path)
    args = parser.parse_args()
    if args.run:
        return run(args.run)
    failed, ran, skips = 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ)
        if args.extension:
            environment["PYTHONPATH"] = str(common.package(args.extension, pathlib.Path(folder)))
        if not shown.updating():
            finds_faults(environment)
        for path in args.notebooks or sorted(NOTEBOOKS.glob("*.ipynb")):
            started = time.monotonic()
            faults, skipped, count = check(path.resolve(), environment)
            for fault in faults:
                print(f"{path.name}: {fault}", file=sys.stderr)
            for what in skipped:
                print(f"{path.name}: {what}")
            print(f"{path.name}: {count} cells in {time.monotonic() - started:.1f} s")
            failed, ran, skips = failed + len(faults), ran + count, skips + len(skipped)
    common.summary(ran - failed - skips, failed, skips)


if __name__ == "__main__":
    main()
