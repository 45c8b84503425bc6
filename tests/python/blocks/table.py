"""What refitting gives back, beside distillation, on the small trained networks.

For each network and sparsity, all blocks are made smaller at once, and the network that graph-opt
writes is judged by ONNX Runtime on `test`: pruned by L1 norms and left so, and refitted to the
unlabelled images of `fit` (256) and `distill` (1,024) with channels chosen by L1, by activations and by
what is lost after refitting. Data for fitting and for measuring are apart; nothing is chosen by either.
The columns on distillation are those that distill.py left.

Targets: refitting gives back 90 % of what pruning lost at 0.3 and 75 % at 0.6; residual selection is
no worse than L1, and better than distillation at 0.6 and 0.8. A table of Markdown, and the same as JSON.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort

ROOT = pathlib.Path(__file__).resolve().parents[3]
NETWORKS = {
    "resnet": ("fashion", "accuracy"),
    "mobilenet": ("fashion", "accuracy"),
    "unet": ("foreground", "IoU"),
    "autoencoder": ("reconstruct", "mean squared error"),
}
SPLITS = {256: "fit", 1024: "distill"}
SELECTORS = ["l1", "activation", "residual"]
LEAST = {0.3: 0.9, 0.6: 0.75}


def judged(path, arrays, measure):
    """The measure of a network on labelled images."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    x, labels = arrays
    starts = range(0, len(x), 256)
    out = np.concatenate([session.run(None, {name: x[i : i + 256]})[0] for i in starts])
    if measure == "accuracy":
        return float(np.mean(out.argmax(1) == labels))
    if measure == "IoU":
        found, real = out > 0.5, labels > 0
        return float((found & real).sum() / (found | real).sum())
    return float(np.mean((out - labels) ** 2, dtype=np.float64))


def call(command, timeout):
    begin = time.monotonic()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        sys.exit(f"exit {done.returncode}: {' '.join(map(str, command))}\n{done.stderr}")
    return time.monotonic() - begin


def given_back(row, value):
    """The share of the loss by pruning that is gone."""
    lost = row["pruned"] - row["original"]
    return (row["pruned"] - value) / lost if lost else 1.0


def distilled(folder, network, sparsity, images):
    """The two figures that distill.py left, or nothing."""
    for name in ["distill.json", f"distill-{images}.json"]:
        path = folder / name if folder else None
        for row in json.loads(path.read_text()) if path and path.exists() else []:
            same = row["network"], row["sparsity"], row.get("images", 1024)
            if same == (network, sparsity, images):
                return row["distilled"], row["chain"]
    return None, None


def rows(args, name, scratch):
    data, measure = NETWORKS[name]
    network = args.networks / f"{name}.onnx"
    file = lambda split: args.data / f"{data}-{split}.npz"
    with np.load(file("test")) as z:
        test = z["x"], z["labels"]
    folder, small = scratch / name, scratch / "small.onnx"
    # `scale --fit` makes the variants anew: the folder is made from few samples, for its blocks alone.
    few = scratch / "few.npz"
    with np.load(file("fit")) as z:
        np.savez(few, x=z["x"][:32], labels=z["labels"][:32])
    call(
        [args.graph_opt, "blocks", network, "--data", few, "--max-share", args.max_share,
         "--sparsities", ",".join(map(str, args.sparsities)), "-o", folder], args.timeout,
    )  # fmt: skip
    manifest = json.loads((folder / "blocks.json").read_text())
    for sparsity in args.sparsities:
        row = {
            "network": name,
            "measure": measure,
            "sparsity": sparsity,
            "blocks": len(manifest["blocks"]),
            "max_share": args.max_share,
            "original": judged(network, test, measure),
        }

        def scaled(split, *options):
            small.unlink(missing_ok=True)
            seconds = call(
                [args.graph_opt, "scale", folder, "--sparsity", sparsity, *options,
                 "--fit", file(split), "-o", small], args.timeout,
            )  # fmt: skip
            return judged(small, test, measure), round(seconds, 1)

        row["pruned"], _ = scaled("fit", "--selector", "l1", "--no-refit")
        elements = lambda path: sum(int(np.prod(t.dims)) for t in onnx.load(path).graph.initializer)
        row["parameters"] = elements(small) / elements(folder / "model.onnx")
        for images in args.images:
            found = row[str(images)] = {}
            for selector in args.selectors:
                value, seconds = scaled(SPLITS[images], "--selector", selector)
                found[selector], found[f"{selector}_seconds"] = value, seconds
            found["distilled"], found["chain"] = distilled(args.distilled, name, sparsity, images)
            if "residual" in found:
                found["given_back"] = given_back(row, found["residual"])
            yield row, images


def shown(row, value):
    if value is None:
        return ""
    return f"{value:.5f}" if "error" in row["measure"] else f"{100 * value:.1f} %"


COLUMNS = "network (whole) | sparsity | parameters | pruned | images | L1 | activation | residual"
COLUMNS += " | given back | seconds | distilled | in a chain"


def line(row, images):
    found = row[str(images)]
    cells = [f"{row['network']} ({shown(row, row['original'])})", row["sparsity"]]
    cells += [f"{100 * row['parameters']:.0f} %", shown(row, row["pruned"]), images]
    cells += [shown(row, found.get(s)) for s in SELECTORS]
    known = "residual" in found
    cells += [f"{100 * found['given_back']:.0f} %" if known else ""]
    cells += [f"{found['residual_seconds']:.0f}" if known else ""]
    cells += [shown(row, found[s]) for s in ["distilled", "chain"]]
    return "| " + " | ".join(map(str, cells)) + " |"


def misses(row, images):
    """Targets that a row misses."""
    found, where = row[str(images)], f"{row['network']} at {row['sparsity']}, {images} images"
    if "residual" not in found:
        return
    better = lambda a, b: a < b if "error" in row["measure"] else a > b
    least = LEAST.get(row["sparsity"], 0)
    if found["given_back"] < least:
        yield f"{where}: {100 * found['given_back']:.1f} % given back, target {100 * least:.0f} %"
    if "l1" in found and better(found["l1"], found["residual"]):
        yield f"{where}: residual {shown(row, found['residual'])}, L1 {shown(row, found['l1'])}"
    if row["sparsity"] >= 0.6:
        for way in ["distilled", "chain"]:
            if found[way] is not None and not better(found["residual"], found[way]):
                yield f"{where}: residual {shown(row, found['residual'])}, {way} {shown(row, found[way])}"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=pathlib.Path, help="the folder that data.py filled")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--graph-opt", type=pathlib.Path, default=ROOT / "target/release/graph-opt")
    parser.add_argument("--networks", type=pathlib.Path, default=ROOT / "tests/data/blocks")
    parser.add_argument("--distilled", type=pathlib.Path, help="the folder with distill.py's JSON")
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.3, 0.6, 0.8])
    parser.add_argument("--images", type=int, nargs="+", choices=list(SPLITS), default=list(SPLITS))
    parser.add_argument("--selectors", nargs="+", choices=SELECTORS, default=SELECTORS)
    parser.add_argument("--max-share", type=float, default=0.02, help="as of `graph-opt blocks`")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one call of graph-opt")
    parser.add_argument("--json", type=pathlib.Path, help="also write the rows here")
    args = parser.parse_args()
    if not args.graph_opt.is_file():
        parser.error(f"no graph-opt at {args.graph_opt}: cargo build --release")
    ort.set_default_logger_severity(4)
    print(f"| {COLUMNS} |\n|{'---|' * len(COLUMNS.split('|'))}", flush=True)
    found, missed = [], []
    for name in args.names or NETWORKS:
        with tempfile.TemporaryDirectory() as scratch:
            for row, images in rows(args, name, pathlib.Path(scratch)):
                if row not in found:
                    found.append(row)
                missed += misses(row, images)
                print(line(row, images), flush=True)
                if args.json:
                    args.json.write_text(json.dumps(found, indent=1) + "\n")
    print(f"\n{len(missed)} targets missed")
    for text in missed:
        print(f"- {text}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
