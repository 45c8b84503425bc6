"""The baseline for refitting: pruned blocks trained to give what the original blocks give.

    python tests/python/blocks/distill.py DATA WORK [NAME...]

Takes the networks that train.py has left in WORK. At each sparsity s, floor(s C) of the C inner
channels of every block go, those whose filters have the least L1 norm (with the factor of the
BatchNormalization behind where train.py folds it, so that the norms are those of the `.onnx` file).
Then, as LegoDNN does, every block is trained on its own: 20 epochs of Adam on the squared distance to
the original block's output on the original's intermediate data, from the 1,024 unlabelled images of
`distill`. Three figures, all on `test`:

    pruned       without any training
    distilled    every block on the original's inputs (LegoDNN)
    in a chain   one block after the other, each on what the trained blocks before it give, which is
                 what refitting block by block does too

The learning rate falls to 0 along a cosine. For each network it is the one of --rates that is best on
the labelled split `choose` at the middle sparsity. Prints a markdown table, with seconds of one core,
and writes WORK/distill.json (or --json).
"""

import argparse
import copy
import functools
import json
import math
import pathlib
import time

import torch
from torch.nn.functional import mse_loss

from networks import MEASURES, NETWORKS, measure, outputs
from train import load

SEED = 20
BATCH = 64


def pruned(network, sparsity):
    """A copy of the network with the channels gone, and how many each block keeps."""
    small, kept = copy.deepcopy(network), []
    for i, block in enumerate(network.blocks):
        count = max(1, block.inner - math.floor(block.inner * sparsity + 1e-9))
        norms = block.filter_norms(network.folded)
        chosen = norms.topk(count).indices.sort().values
        small.blocks[i] = block.narrowed(chosen).to(memory_format=torch.channels_last)
        kept.append(count)
    return small.eval(), kept


def seen(network, images):
    """What each block of the network gets and gives in evaluation."""
    pairs = [[] for _ in network.blocks]
    hooks = [
        block.register_forward_hook(lambda _, x, y, to=to: to.append((x[0], y)))
        for block, to in zip(network.blocks, pairs)
    ]
    outputs(network, images)
    for hook in hooks:
        hook.remove()
    return [tuple(map(torch.cat, zip(*parts))) for parts in pairs]


def fit(block, x, y, rate, epochs):
    """Trains a block to give y for x."""
    torch.manual_seed(SEED)
    optimizer = torch.optim.Adam(block.parameters(), rate)
    steps = epochs * math.ceil(len(x) / BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    block.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(x)).split(BATCH):
            loss = mse_loss(block(x[chosen]), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    block.eval()


def distilled(network, start, images, rate, epochs, chain):
    """The pruned network `start` with every block trained."""
    small = copy.deepcopy(start)
    original = seen(network, images)
    for i, (x, y) in enumerate(original):
        if chain:
            x, _ = seen(small, images)[i]
        fit(small.blocks[i], x, y, rate, epochs)
    return small


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def rows(name, network, args):
    """The figures of one network, one dictionary a sparsity."""
    images = load(args.data, network.data, "distill")[0][: args.images]
    choose, test = (load(args.data, network.data, split) for split in ["choose", "test"])

    def judged(network, split):
        return measure(network.task, outputs(network, split[0]), split[1])

    @functools.cache
    def trained(sparsity, rate, chain):
        start, _ = pruned(network, sparsity)
        began = time.process_time()
        small = distilled(network, start, images, rate, args.epochs, chain)
        return small, time.process_time() - began

    def chosen_rate():
        """The rate with the best figure on `choose` at the middle one of the sparsities."""
        middle = sorted(args.sparsities)[len(args.sparsities) // 2]
        values = {rate: judged(trained(middle, rate, False)[0], choose) for rate in args.rates}
        return (min if network.task == "reconstruct" else max)(values, key=values.get)

    rate = args.rates[0] if len(args.rates) == 1 else chosen_rate()
    for sparsity in args.sparsities:
        start, kept = pruned(network, sparsity)
        row = {
            "network": name,
            "measure": MEASURES[network.task],
            "sparsity": sparsity,
            "images": len(images),
            "kept": kept,
            "parameters": parameters(start),
            "original": judged(network, test),
            "original_parameters": parameters(network),
            "pruned": judged(start, test),
            "rate": rate,
        }
        for way in ["distilled", "chain"]:
            small, seconds = trained(sparsity, rate, way == "chain")
            row[way], row[f"{way}_seconds"] = judged(small, test), round(seconds, 1)
        yield row


def line(row):
    percent = row["measure"] != MEASURES["reconstruct"]
    shown = [row[key] for key in ["original", "pruned", "distilled", "chain"]]
    shown = [f"{100 * v:.1f} %" if percent else f"{v:.5f}" for v in shown]
    share = row["parameters"] / row["original_parameters"]
    cells = [row["network"], row["measure"], row["sparsity"], f"{100 * share:.0f} %", *shown]
    cells += [f"{row['distilled_seconds']:.0f} s", f"{row['chain_seconds']:.0f} s"]
    return "| " + " | ".join(map(str, cells)) + " |"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.3, 0.6, 0.8])
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 5e-3])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--images", type=int, default=1024, help="256 are those of `fit`")
    parser.add_argument("--json", type=pathlib.Path, help="default WORK/distill.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | measure | sparsity | parameters | original | pruned | distilled | in a chain | time | in a chain |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    found = []
    for name in args.names or NETWORKS:
        network = NETWORKS[name]()
        network.load_state_dict(torch.load(args.work / f"{name}.pt", weights_only=True))
        network.to(memory_format=torch.channels_last).eval()
        for row in rows(name, network, args):
            found.append(row)
            print(line(row), flush=True)
            path = args.json or args.work / "distill.json"
            path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
