"""Writes reports of every kind, for tools/report/page/test.mjs to open in a browser.

    python3 tests/python/reports.py path/to/graph-opt FOLDER

The models are networks that graph-opt builds itself, and texts: a halo that is one row short, names that would run
a script if they could, and a graph of some 5,000 nodes.
"""

import pathlib
import subprocess
import sys

import common


HALO = """graph @halo(%x: f32[1,3,48,64]) -> (%y) opset 13 {{
  %w = const random(1)                         : f32[8,3,3,3]
  %v = const random(2)                         : f32[4,8,3,3]
  %a = Conv %x, %w {{pads=[1,1,1,1]}}          : f32[1,8,48,64]  ; conv1
  {middle}
  %c = Relu %b                                 : f32[1,8,48,64]  ; relu1
  %y = Conv %c, %v {{pads=[1,1,1,1]}}          : f32[1,4,48,64]  ; conv2
}}
"""
WHOLE = "%b = Identity %a : f32[1,8,48,64] ; copy1"
SHORT = """%p = Slice %a [2: 0..24] : f32[1,8,24,64] ; top
  %q = Slice %a [2: 23..47] : f32[1,8,24,64] ; bottom
  %b = Concat %p, %q {axis=2} : f32[1,8,48,64] ; copy1"""

NAMES = [
    "</script><script>globalThis.broken=1</script>",
    "<img src=x onerror=globalThis.broken=1>",
    '" onclick="globalThis.broken=1" x="',
    "'`${globalThis.broken=1}",
    "<!--",
    "&lt;b&gt;\\u{202e}txt.exe",
    "@DOCUMENT@ $& $1",
    "a\\nb\\tc\\u{0}d",
    "__proto__",
]


def hostile():
    lines = ['graph @"<script>globalThis.broken=1</script>"(%"in</script>": f32[4]) -> (%"out<!--") opset 13 {']
    last = "in</script>"
    for i, name in enumerate(NAMES):
        quoted = name.replace('"', '\\"')
        made = "out<!--" if i == len(NAMES) - 1 else f"v{i}{quoted}"
        lines.append(f'  %"{made}" = Relu %"{last}" : f32[4] ; "{quoted}"')
        last = made
    return "\n".join(lines) + "\n}\n"


def large(blocks=714):
    lines = ["graph @large(%x0: f32[1,16]) -> (%y) opset 13 {"]
    at = 0
    for b in range(blocks):
        start = at
        for op in ("Relu", "Sigmoid", "Tanh", "Neg", "Abs", "Exp"):
            lines.append(f"  %x{at + 1} = {op} %x{at} : f32[1,16] ; stage{b}/{op.lower()}")
            at += 1
        lines.append(f"  %x{at + 1} = Add %x{at}, %x{start} : f32[1,16] ; stage{b}/add")
        at += 1
    lines += [f"  %t = Relu %x{at} : f32[1,16] ; tail", "  %y = Neg %t : f32[1,16] ; last"]
    return "\n".join(lines) + "\n}\n"


def main():
    tool, folder = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "cluster.toml": common.CLUSTER,
        "whole.gir": HALO.format(middle=WHOLE),
        "short.gir": HALO.format(middle=SHORT),
        "hostile.gir": hostile(),
        "large.gir": large(),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)

    def run(*args, code=0):
        done = subprocess.run([tool, *args], cwd=folder, text=True, capture_output=True, check=False)
        if done.returncode != code:
            sys.exit(f"graph-opt {' '.join(args)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")

    superres = "zoo:superres@32x48"
    run("view", superres, "-o", "view.html")
    run("view", superres, "-o", "view.svg")
    run("view", superres, "-o", "view.dot")
    run("view", superres, "-o", "view.json")
    tiled = ["--memory", "50%", "--runtime", "interpreter", "-o", "small.onnx", "--verify"]
    run("opt", superres, *tiled, "--report", "tiles.html")
    run("verify", "whole.gir", "short.gir", "--report", "differs.html", code=1)
    plan = ["plan", "zoo:resnet18", "--cluster", "cluster.toml", "--objective", "throughput"]
    run(*plan, "-o", "plan.json", "--report", "plan.html")
    run("view", "hostile.gir", "-o", "hostile.html")
    run("view", "hostile.gir", "-o", "hostile.svg")
    run("view", "large.gir", "-o", "large.html")
    print(f"reports in {folder}")


main()
