"""What cannot be cut in the real models, and why.

`inspect` says of every node of ../shared/models that no axis of its result can be cut (`untileable`), and of the
others which axes cannot (`whole_axes`). These are all operators with their reasons, each with the number of models, of
nodes or axes, and an example. Each reason must stand in uncut.txt: a new one is either a rule that is missing, or
one to be read and added with --update. Extents that a model leaves open are those of its recorded run.

    target/venv/bin/python tests/python/uncut.py --graph-opt target/release/graph-opt [--only yolo] [--update]
"""

import collections
import pathlib
import re

import common
import models

ALLOWED = pathlib.Path(__file__).with_name("uncut.txt")


def found(args, path):
    """For each node or axis that cannot be cut: which of both, the operator, the reason, an example."""
    model = models.Model(path)
    code, answer = models.asked(args, ["inspect", model.path, *model.extents])
    if code != 0:
        return model.name, None
    rows = []
    for node in answer["result"]["untileable"]:
        rows.append(("node", node["operator"], node["reason"], node["name"]))
    for axis in answer["result"]["whole_axes"]:
        example = f"{axis['name']}, axis {axis['axis']} of {axis['extent']}"
        rows.append(("axis", axis["operator"], axis["reason"], example))
    return model.name, rows


def general(reason):
    """The reason without the numbers of one model."""
    return re.sub(r"\d+", "N", reason)


def main():
    parser = common.arguments(__doc__)
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--seconds", type=int, default=300, help="most time of a command")
    parser.add_argument("--update", action="store_true", help="write uncut.txt")
    args = common.parsed(parser)
    paths = [p for p in sorted(common.MODELS.glob("*.onnx")) if args.only in p.name]
    count, where, example = collections.Counter(), collections.defaultdict(set), {}
    refused = []
    for path in paths:
        name, rows = found(args, path)
        if rows is None:
            refused.append(name)
            continue
        for what, operator, reason, one in rows:
            key = (what, operator, general(reason))
            count[key] += 1
            where[key].add(name)
            example.setdefault(key, f"{name}: {one}")
    keys = sorted(count, key=lambda k: (k[0] != "node", k[1:]))
    header = ["what", "operator", "models", "times", "reason", "example"]
    common.table(header, [[k[0], k[1], len(where[k]), count[k], k[2], example[k]] for k in keys])
    if refused:
        print(f"\nnot read: {', '.join(refused)}")
    lines = ["\t".join(key) for key in keys]
    if args.update:
        ALLOWED.write_text("\n".join(lines) + "\n")
    allowed = set(ALLOWED.read_text().splitlines()) if ALLOWED.exists() else set()
    new = [line for line in lines if line not in allowed]
    for line in new:
        print("not in uncut.txt:", line.replace("\t", ", "))
    common.summary(len(lines) - len(new), len(new), len(refused))


if __name__ == "__main__":
    main()
