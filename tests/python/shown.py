"""What pages and notebooks show, beside what is printed now.

The rules, which are all there are:

- `…` stands for any text within a line, and alone on a line for any number of lines;
- times as `0.05 s`, with two decimals, are those of the run, and any other will do;
- spaces at the ends of lines, and empty lines at the end, do not count;
- where figures vary from machine to machine, which a page says, a number stands for any other (in tables `original`,
  too, for the sparsity 0), and so do spaces and rules for more or fewer of them.

With UPDATE_GUIDE=1 scripts write what is printed now in the place of what is shown. Lines that are right stay as they
are, with their `…`.
"""

import os
import re

TIME = re.compile(r"\b\d+\.\d\d s\b")
NUMBER = re.compile(r"[-+−]?\d+(?:\.\d+)?(?:e-?\d+)?|\boriginal\b")


def updating():
    return os.environ.get("UPDATE_GUIDE", "") not in ("", "0")


def lines(text):
    """The lines of an output, as they are compared."""
    found = [line.rstrip() for line in text.splitlines()]
    while found and not found[-1]:
        found.pop()
    return found


def plain(line, figures):
    """A line without what does not count."""
    line = TIME.sub("0.05 s", line)
    return re.sub(r" +", " ", re.sub(r"─+", "─", NUMBER.sub("0", line))) if figures else line


def matches(shown, printed, figures=False):
    """Whether lines are shown as they are printed; with `figures`, but for the numbers in them."""
    pattern = lambda line: ".*".join(re.escape(part) for part in plain(line, figures).split("…"))
    parts = [r"(?:.*\n)*" if line == "…" else pattern(line) + "\n" for line in shown]
    text = "".join(plain(line, figures) + "\n" for line in printed)
    return re.fullmatch("".join(parts), text) is not None


def difference(shown, printed, figures=False):
    """The first line that is shown otherwise, for a message."""
    at = 0
    while at < len(shown) and at < len(printed) and matches(shown[at : at + 1], printed[at : at + 1], figures):
        at += 1
    line = lambda of: repr(of[at]) if at < len(of) else "nothing more"
    return f"line {at + 1}: shown {line(shown)}, printed {line(printed)}"


def updated(shown, printed, figures=False):
    """What to show instead: what is printed, without the lines that `…` left out."""
    if matches(shown, printed, figures):
        return shown
    if "…" in shown:
        first = shown.index("…")
        last = len(shown) - first - 1
        if first + last < len(printed):
            return [*printed[:first], "…", *printed[len(printed) - last :]]
    kept = [line for line in shown if "…" in line and line != "…"]
    return [next((k for k in kept if matches([k], [line], figures)), line) for line in printed]
