"""Trains the small networks of tests/data/blocks on the CPU and writes them as ONNX.

    python tests/python/blocks/train.py DATA WORK [NAME...]

DATA is the folder that data.py has written; WORK gets the state of each network for distill.py. The
`.onnx` files go to tests/data/blocks, opset 17, input `x` with a dynamic batch `N`, output `y`. Each
is checked: ONNX Runtime has to give what torch gives. Prints what each reaches on `test`, which
nothing is chosen by: there is one setting a network, and the last epoch is kept.

resnet is written with its BatchNormalization; in the others it is folded into the convolutions, but not
into transposed ones, behind which the autoencoder keeps it.
"""

import argparse
import pathlib
import time
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from torch.nn import functional

from networks import MEASURES, NETWORKS, measure, outputs

OUT = pathlib.Path(__file__).resolve().parents[2] / "data" / "blocks"
SEED = 20


def load(data, name, split):
    """Images and labels of a split."""
    arrays = np.load(data / f"{name}-{split}.npz")
    x = torch.from_numpy(arrays["x"]).contiguous(memory_format=torch.channels_last)
    return x, torch.from_numpy(arrays["labels"])


def loss_of(task, y, labels):
    if task == "classify":
        return functional.cross_entropy(y, labels)
    if task == "segment":
        return functional.binary_cross_entropy(y, labels.float())
    return functional.mse_loss(y, labels)


def train(network, x, labels):
    """Trains with AdamW and one cycle of the learning rate; half of the images mirrored."""
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), network.rate, weight_decay=network.decay)
    steps = len(x) // network.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, network.rate, total_steps=steps * network.epochs)
    for epoch in range(network.epochs):
        network.train()
        start, total = time.time(), 0.0
        order = torch.randperm(len(x))[: steps * network.batch]
        for chosen in order.split(network.batch):
            images, target = x[chosen], labels[chosen]
            # A digit's mirror image is no digit.
            if network.task != "reconstruct" and torch.rand(()) < 0.5:
                images = images.flip(3)
                target = target.flip(3) if target.dim() == 4 else target
            loss = loss_of(network.task, network(images), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() / steps
        print(f"  epoch {epoch + 1}: loss {total:.5f}, {time.time() - start:.0f} s", flush=True)


def export(network, path, sample):
    """Writes the network as ONNX."""
    network.eval()
    mode = torch.onnx.TrainingMode.EVAL if network.folded else torch.onnx.TrainingMode.PRESERVE
    with warnings.catch_warnings():
        # The exporter that traces needs no further package and folds BatchNormalization by itself.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.to(memory_format=torch.contiguous_format),
            (sample.contiguous(),),
            str(path),
            input_names=["x"],
            output_names=["y"],
            opset_version=17,
            dynamic_axes={"x": {0: "N"}, "y": {0: "N"}},
            training=mode,
            do_constant_folding=network.folded,
            dynamo=False,
        )
    model = onnx.load(path)
    model.producer_version = ""
    for node in model.graph.node:
        node.doc_string = ""
    own_weights(model.graph)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    kinds = sorted({node.op_type for node in model.graph.node})
    print(f"  {path.name}: {path.stat().st_size} bytes, {len(model.graph.node)} nodes: {', '.join(kinds)}")


def own_weights(graph):
    """A weight of its own where the exporter takes an equal one's through an Identity."""
    weights = {w.name: w for w in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "Identity" and n.input[0] in weights]:
        weight = graph.initializer.add()
        weight.CopyFrom(weights[node.input[0]])
        weight.name = node.output[0]
        graph.node.remove(node)


def check(path, x, expected):
    """ONNX Runtime's outputs, which have to be torch's."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found = torch.cat([
        torch.from_numpy(session.run(["y"], {"x": part.contiguous().numpy()})[0])
        for part in x.split(500)
    ])
    difference = (found - expected).abs().max().item()
    print(f"  ONNX Runtime differs from torch by at most {difference:.2e}")
    assert difference < 1e-3, "ONNX Runtime gives something else"
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--export-only", action="store_true", help="take the states from WORK")
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or NETWORKS:
        torch.manual_seed(SEED)
        network = NETWORKS[name]()
        count = sum(p.numel() for p in network.parameters())
        print(f"{name}: {count} parameters", flush=True)
        state = args.work / f"{name}.pt"
        if args.export_only:
            network.load_state_dict(torch.load(state, weights_only=True))
        else:
            start = time.time()
            train(network, *load(args.data, network.data, "train"))
            print(f"  trained in {time.time() - start:.0f} s")
            torch.save(network.state_dict(), state)
        for split in ["choose", "test"]:
            x, labels = load(args.data, network.data, split)
            value = measure(network.task, outputs(network, x), labels)
            print(f"  {MEASURES[network.task]} on {split} ({len(x)}): {value:.5f}")
        expected = outputs(network, x)
        path = args.out / f"{name}.onnx"
        export(network, path, x[:2])
        value = measure(network.task, check(path, x, expected), labels)
        print(f"  {MEASURES[network.task]} on test in ONNX Runtime: {value:.5f}", flush=True)


if __name__ == "__main__":
    main()
