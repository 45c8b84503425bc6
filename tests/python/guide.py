"""Runs the commands that the guide and other pages show, and compares what they print; checks links.

    target/venv/bin/python tests/python/guide.py [graph-opt] [--extension target/debug/lib_native.so] [--pages PAGE…]

Of each page, the blocks with lines `$ command` are run in order, in a folder of their own. What follows a command is
what it has to print, by the rules of `shown.py`; the last line is `(exit code N)` where N is not 0. UPDATE_GUIDE=1
writes what is printed into the pages.

Comments in a page, which readers do not see, say what a block is:

    <!-- file: cluster.toml -->               the next block is written to this file
    <!-- file: cluster.toml                   these lines are, up to the end of the comment
    <!-- model: a.onnx = tests/data/a.onnx --> a file of the repository, or of ../shared/models, as a.onnx; where it is
                                              missing, the commands of the page are skipped
    <!-- from: tests/hosts.rs -->             the next block is code that stands in this file
    <!-- figures vary: WHY -->                numbers in the output of the next block are not compared
    <!-- not run: WHY -->                     the next block is not run

Commands run in bash. `graph-opt` is the binary, `python3` this Python with the package graph_opt.
"""

import concurrent.futures
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import common
import shown

DOCS = common.ROOT / "docs"
# Folders whose pages are not ours.
FOREIGN = {"target", "node_modules", ".git", ".venv"}
SECONDS = 120


class Block:
    """Lines of a page from `start` to `end`, as code: `lines` without their indent."""

    def __init__(self, start, end, indent, code, comment):
        self.start, self.end, self.indent, self.lines, self.comment = start, end, indent, code, comment

    def steps(self):
        """The commands with the lines that are shown after them."""
        found = []
        for line in self.lines:
            if line.startswith("$ "):
                found.append(([line], []))
            elif found and found[-1][0][-1].endswith("\\") and not found[-1][1]:
                found[-1][0].append(line)
            elif found:
                found[-1][1].append(line.rstrip())
        return found

    def shows_commands(self):
        return bool(self.lines) and self.lines[0].startswith("$ ")


def blocks(text):
    """The blocks of code of a page, fenced or indented, and the files that comments hold, in order."""
    found, comment, at = [], "", 0
    rows = text.split("\n")
    while at < len(rows):
        row = rows[at]
        if row.startswith("<!--"):
            end = at
            while "-->" not in rows[end]:
                end += 1
            if end > at:
                found.append(Block(at + 1, end, "", rows[at + 1 : end], row[4:].strip()))
            else:
                comment = row[4 : row.index("-->")].strip()
                if comment.startswith("model:"):
                    found.append(Block(at, at, "", [], comment))
                    comment = ""
            at = end + 1
        elif row.startswith("```"):
            fence = re.match("`+", row)[0]
            end = at + 1
            while rows[end] != fence:
                end += 1
            found.append(Block(at + 1, end, "", rows[at + 1 : end], comment))
            at, comment = end + 1, ""
        elif row.startswith("    ") and at and not rows[at - 1]:
            end = at
            while end < len(rows) and (rows[end].startswith("    ") or not rows[end]):
                end += 1
            while not rows[end - 1]:
                end -= 1
            found.append(Block(at, end, "    ", [r[4:] for r in rows[at:end]], comment))
            at, comment = end, ""
        else:
            comment = comment if not row else ""
            at += 1
    return found


class Page:
    """A page and what is wrong with it."""

    def __init__(self, text, environment):
        self.rows, self.environment = text.split("\n"), environment
        self.blocks = blocks(text)
        self.faults, self.skipped, self.ran = [], [], 0

    def run(self, folder):
        changes = []
        for block in self.blocks:
            kind, _, what = (part.strip() for part in block.comment.partition(":"))
            if kind == "file":
                (folder / what).write_text("\n".join(block.lines) + "\n")
            elif kind == "model":
                name, _, path = (part.strip() for part in what.partition("="))
                source = next((p for p in (common.ROOT / path, common.MODELS / path) if p.exists()), None)
                if not source:
                    self.skipped.append(f"all that follows: {path} is missing")
                    return
                (folder / name).symlink_to(source)
            elif kind == "from":
                self.stands_in(block, what)
            elif kind == "not run":
                if block.shows_commands():
                    self.skipped.append(f"{block.lines[0]}: {what}")
            elif block.shows_commands():
                changes.append((block, self.commands(block, folder)))
        for block, lines in reversed(changes):
            self.rows[block.start : block.end] = [(block.indent + line).rstrip() for line in lines]

    def commands(self, block, folder):
        """Runs the commands of a block; gives its lines as they should be."""
        lines, vary = [], block.comment.startswith("figures vary:")
        for command, wanted in block.steps():
            text = "\n".join(command)[2:]
            try:
                done = subprocess.run(
                    ["bash", "-c", text], cwd=folder, env=self.environment, stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                self.faults.append(f"{text}: no end after {SECONDS} s")
                lines += [*command, *wanted]
                continue
            printed = shown.lines(done.stdout.decode(errors="replace"))
            if done.returncode:
                printed.append(f"(exit code {done.returncode})")
            empty = len(wanted) - len(shown.lines("\n".join(wanted)))
            wanted = wanted[: len(wanted) - empty]
            if not shown.matches(wanted, printed, vary):
                self.faults.append(f"{text}\n    {shown.difference(wanted, printed, vary)}")
            lines += [*command, *shown.updated(wanted, printed, vary), *[""] * empty]
            self.ran += 1
        return lines

    def stands_in(self, block, path):
        """Code in a page is code of the file, or of its documentation, but for its indent and what `…` leaves out."""
        comment = re.compile(r"^\s*//[/!] ?")
        strip = lambda rows: [row for row in (comment.sub("", row).strip() for row in rows) if row]
        code = strip((common.ROOT / path).read_text().splitlines())
        if not shown.matches(["…", *strip(block.lines), "…"], code):
            self.faults.append(f"line {block.start}: this code does not stand in {path}")
        self.ran += 1


def anchors(text):
    """The anchors of the headings of a page, as code hosts and mdBook make them."""
    fenced = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.M | re.S)
    heads = re.findall(r"^#+ +(.*?) *$", fenced, flags=re.M)
    words = lambda head: re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)]\([^)]*\)", r"\1", head).lower())
    return {words(head).replace(" ", "-") for head in heads}


def links(root):
    """Links of pages under a folder to files and headings that are not there."""
    faults, checked = [], 0
    pages = [p for p in sorted(root.rglob("*.md")) if not FOREIGN & set(p.relative_to(root).parts)]
    for page in pages:
        text = re.sub(r"^(`{3,}).*?^\1$", "", page.read_text(), flags=re.M | re.S)
        text = re.sub(r"`[^`\n]*`", "", text)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            at = (page.parent / path).resolve() if path else page
            name = page.relative_to(root)
            if not at.exists():
                faults.append(f"{name}: {target} is not there")
            elif anchor and at.suffix == ".md" and anchor not in anchors(at.read_text()):
                faults.append(f"{name}: {target} has no such heading")
            checked += 1
    return faults, checked


def summary(docs):
    """The table of contents lists each page once."""
    listed = re.findall(r"\]\(([^)]+)\)", (docs / "SUMMARY.md").read_text())
    pages = {p.relative_to(docs).as_posix() for p in docs.rglob("*.md")} - {"SUMMARY.md"}
    faults = [f"SUMMARY.md: {name} is listed twice" for name in {n for n in listed if listed.count(n) > 1}]
    return faults + [f"SUMMARY.md: {name} is not listed" for name in sorted(pages - set(listed))]


def finds_faults():
    """What is wrong is found: outputs, exit codes, code, links, and pages that are not listed."""
    def faults(text):
        with tempfile.TemporaryDirectory() as folder:
            page = Page(text, dict(os.environ))
            page.run(pathlib.Path(folder))
            return page.faults, "\n".join(page.rows)

    right = "```console\n$ echo a; echo 1.25 s\na\n0.05 s\n\n$ (exit 3)\n(exit code 3)\n$ seq 9\n1\n…\n9\n```\n"
    assert faults(right) == ([], right)
    indented = "\n    $ echo 'a\n    b'\n"
    for wrong in ("a\n0.05 s", "(exit code 3)", "…\n9"):
        for instead in ("b", ""):
            found, fixed = faults(right.replace(wrong, instead))
            assert found, (wrong, instead)
            assert faults(fixed)[0] == [], fixed
    assert faults("<!-- file: a -->\n```text\nx y\n```\n\n    $ cat a\n    x …\n")[0] == []
    assert faults("<!-- file: a\nx y\n-->\n\n    $ cat a\n    x z\n")[0]
    varies = "<!-- figures vary: a -->\n```console\n$ echo 'a  1.5 %'\na 25 %\n```\n"
    assert faults(varies) == ([], varies) and faults(varies.replace("a  1.5", "b  1.5"))[0]
    assert faults("<!-- from: tests/python/guide.py -->\n```python\nimport shown\n```\n")[0] == []
    assert faults("<!-- from: tests/python/guide.py -->\n```python\nimport " + "hidden\n```\n")[0]
    with tempfile.TemporaryDirectory() as folder:
        page = Page("<!-- model: a = no/such/file -->\n\n    $ false\n", dict(os.environ))
        page.run(pathlib.Path(folder))
        assert page.skipped and not page.ran and not page.faults
    assert faults(indented.replace("'a\n    b'", "'a'") + "    b\n")[0]
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "SUMMARY.md").write_text("[a](a.md)\n")
        (root / "a.md").write_text("# A `b`, c\n[here](#a-b-c)\n")
        assert links(root) == ([], 2) and summary(root) == []
        (root / "b.md").write_text("[a](a.md#nowhere), [c](c.md)\n")
        assert len(links(root)[0]) == 2 and len(summary(root)) == 1


def main():
    parser = common.arguments(__doc__)
    parser.add_argument("--extension", type=pathlib.Path, help="the extension of the Python package, as cargo builds it")
    parser.add_argument("--pages", nargs="+", type=pathlib.Path, help="only these")
    args = common.parsed(parser)
    finds_faults()
    pages = args.pages or [common.ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    failed, ran, skipped = 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        programs = folder / "bin"
        programs.mkdir()
        (programs / "graph-opt").symlink_to(args.graph_opt)
        python = pathlib.Path(sys.executable).parent
        environment = {
            **os.environ, "PATH": f"{programs}:{python}:{os.environ['PATH']}", "NO_COLOR": "1", "LC_ALL": "C.UTF-8",
            "NODEVICE_SELECT": "1", "GRAPH_OPT_PYTHON": sys.executable,
        }  # fmt: skip
        if args.extension:
            environment["PYTHONPATH"] = str(common.package(args.extension, folder))
        has_package = args.extension or importlib.util.find_spec("graph_opt")
        def work(path):
            """The page after its commands ran, and the seconds that they took."""
            text, started = path.read_text(), time.monotonic()
            page = Page(text, environment)
            if "\nimport graph_opt" in text and "$ python3" in text and not has_package:
                page.skipped.append("the Python package is not installed, and there is no --extension")
                return page, 0
            place = folder / "work" / path.resolve().relative_to(common.ROOT).with_suffix("")
            place.mkdir(parents=True)
            page.run(place)
            return page, time.monotonic() - started

        # Most of them use one core.
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            results = list(pool.map(work, pages))
        for path, (page, seconds) in zip(pages, results):
            name = path.resolve().relative_to(common.ROOT)
            for fault in page.faults:
                print(f"{name}: {fault}", file=sys.stderr)
            for what in page.skipped:
                print(f"{name}: SKIPPED {what}")
            if page.ran:
                print(f"{name}: {page.ran} in {seconds:.1f} s")
            if page.faults and shown.updating():
                path.write_text("\n".join(page.rows))
                print(f"{name}: updated")
            failed, ran, skipped = failed + len(page.faults), ran + page.ran, skipped + len(page.skipped)
    if not args.pages:
        faults, checked = links(common.ROOT)
        faults += summary(DOCS)
        for fault in faults:
            print(fault, file=sys.stderr)
        failed, ran = failed + len(faults), ran + checked
    common.summary(ran - failed, failed, skipped)


if __name__ == "__main__":
    main()
