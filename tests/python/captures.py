"""Writes docs/output.md: what each command prints, on networks that graph-opt builds itself.

    python3 tests/python/captures.py path/to/graph-opt
"""

import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

import common


CHECKS = """[[model]]
path = "small.onnx"
equals = "zoo:superres@32x48"
runtime = "interpreter"
memory = "400KiB"
nodes = 100
"""

COMMANDS = [
    "inspect zoo:superres@32x48 --nodes",
    "opt zoo:superres@32x48 --memory 50% --runtime interpreter -o small.onnx --verify",
    "opt zoo:superres@32x48 --memory 100KiB",
    "opt zoo:superres@32x48 -p fuse-tiles{front=list}",
    "explain zoo:superres@32x48 -p 'simplify,tile-conv{axis=h parts=2}'",
    "verify zoo:superres@32x48 small.onnx",
    "verify zoo:superres@32x48 zoo:superres@64x48",
    "check",
    "diff zoo:aidge-tutorial tiled.onnx",
    "run small.onnx",
    "plan zoo:resnet18 --cluster cluster.toml --objective throughput -o plan.json",
    "plan zoo:vgg16 --cluster cluster.toml",
    "split zoo:resnet18 --plan plan.json -o stages",
    "simulate stages --model zoo:resnet18",
    "bisect zoo:aidge-tutorial -p 'simplify,tile-conv{axis=h parts=2}'",
    "blocks zoo:resnet18",
    "passes simplify",
    "print zoo:superres@8x8",
]


def main():
    tool = pathlib.Path(sys.argv[1]).resolve()
    page = ["# What the commands print", "", "`tests/python/captures.py` writes this page."]
    with tempfile.TemporaryDirectory() as folder:
        at = pathlib.Path(folder)
        (at / "cluster.toml").write_text(common.CLUSTER)
        (at / "graph-opt.toml").write_text(CHECKS)

        def run(line):
            return subprocess.run(
                [tool, *shlex.split(line)], cwd=at, text=True, capture_output=True, check=False
            )

        run("opt zoo:aidge-tutorial -p 'tile-conv{axis=h parts=2}' -o tiled.onnx")
        for line in COMMANDS:
            done = run(line)
            said = "".join(f"{l.rstrip()}\n" for l in (done.stdout + done.stderr).splitlines())
            lines = said.splitlines()
            if len(lines) > 40:
                lines = [*lines[:30], f"… {len(lines) - 30} more lines"]
            code = f"\n(exit code {done.returncode})" if done.returncode else ""
            page += ["", f"    $ graph-opt {line}"]
            page += [f"    {l}".rstrip() for l in (*lines, *code.split("\n")[1:])]
    text = "\n".join(page) + "\n"
    text = re.sub(r"\b\d+\.\d\d s\b", "0.05 s", text)
    (pathlib.Path(__file__).parents[2] / "docs" / "output.md").write_text(text)


main()
