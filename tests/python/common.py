"""What the scripts share: where things are, how tables look, how a run ends."""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT.parent / "shared" / "models"

# Two devices, as examples show them.
CLUSTER = """source = "camera"
[[device]]
name = "camera"
memory = "32MiB"
macs-per-second = 1.5e9
watts = 4
[[device]]
name = "box"
memory = "64MiB"
macs-per-second = 4e9
watts = 10
[default-link]
bandwidth = "100Mbit/s"
latency = "1ms"
"""

# Exit code with which graph-opt says that a model holds something it cannot handle.
UNSUPPORTED = 3
# All exit codes of graph-opt that tell of no defect of its own.
EXIT_CODES = (0, 1, 2, 3, 4, 5, 6, 130)


def arguments(doc):
    """A parser with the option that all scripts have."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get("GRAPH_OPT", ROOT / "target" / "release" / "graph-opt")
    parser.add_argument(
        "graph_opt",
        nargs="?",
        type=pathlib.Path,
        default=pathlib.Path(default),
        help="the graph-opt binary (or GRAPH_OPT; default target/release/graph-opt)",
    )
    return parser


def parsed(parser):
    """The arguments, with a binary that exists."""
    args = parser.parse_args()
    args.graph_opt = args.graph_opt.resolve()
    if not args.graph_opt.is_file():
        parser.error(f"no graph-opt at {args.graph_opt}: cargo build --release")
    return args


def call(command, timeout=600):
    """Runs a command; gives its exit code and what it wrote to standard error."""
    command = [str(c) for c in command]
    try:
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return 124, f"no end after {timeout} s"
    return done.returncode, done.stderr.decode(errors="replace").strip()


def package(extension, folder):
    """A folder for the path of Python with the package graph_opt, from its sources and a build of its extension."""
    site = folder / "site"
    shutil.copytree(ROOT / "tools" / "python" / "graph_opt", site / "graph_opt")
    shutil.copy(extension, site / "graph_opt" / "_native.abi3.so")
    return site


def removed(path):
    """Removes a file or folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def last_line(text):
    """The line of an error output that names the error."""
    lines = [line for line in text.splitlines() if line.strip()]
    named = [line for line in lines if line.startswith("error")]
    return (named or lines or [""])[-1]


def table(header, rows):
    """Prints columns; numbers to the right."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *rows)]

    def line(cells):
        def cell(text, width):
            number = text[:1].isdigit() or text[:1] in "-+." and text[1:2].isdigit()
            return text.rjust(width) if number else text.ljust(width)

        print("  ".join(cell(c, w) for c, w in zip(cells, widths)).rstrip())

    line(header)
    line(["-" * w for w in widths])
    for row in rows:
        line(row)


def summary(passed, failed, skipped):
    """Prints the last line and ends the script."""
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)
