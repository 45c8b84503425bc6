"""Licences and sources of all dependencies, by deny.toml, where cargo-deny is not installed.

Every package has to come from crates.io or from this repository, and its licence has to be allowed.
Advisories are not looked up: their database is a download of its own.

    python3 tests/python/licences.py [--manifest-path tools/worker/Cargo.toml]
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def allowed(expression: str, allow: set[str]) -> bool:
    """Whether an SPDX expression (or the old form with `/`) can be met by these licences."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    at = 0

    def joined(word: str, part) -> list[bool]:
        nonlocal at
        met = [part()]
        while at < len(tokens) and tokens[at] == word:
            at += 1
            met.append(part())
        return met

    def either() -> bool:
        return any(joined("OR", lambda: all(joined("AND", one))))

    def one() -> bool:
        nonlocal at
        if at >= len(tokens):
            raise ValueError(f"{expression!r} ends too early")
        token = tokens[at]
        at += 1
        if token == "(":
            met = either()
            if at >= len(tokens) or tokens[at] != ")":
                raise ValueError(f"{expression!r} lacks a parenthesis")
            at += 1
            return met
        if at + 1 < len(tokens) and tokens[at] == "WITH":
            token = f"{token} WITH {tokens[at + 1]}"
            at += 2
        return token in allow

    met = either()
    if at < len(tokens):
        raise ValueError(f"{expression!r}: {tokens[at]!r} was not expected")
    return met


def problems(package: dict, allow: set[str]) -> list[str]:
    name = f"{package['name']} {package['version']}"
    source, licence = package["source"], package["license"]
    if source is None:
        return []
    found = []
    if source != REGISTRY:
        found.append(f"{name}: comes from {source}, expected crates.io")
    try:
        if licence is None:
            found.append(f"{name}: states no licence")
        elif not allowed(licence, allow):
            found.append(f"{name}: licence {licence!r} is not allowed by deny.toml")
    except ValueError as e:
        found.append(f"{name}: {e}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest-path", type=pathlib.Path, default=ROOT / "Cargo.toml")
    args = parser.parse_args()
    allow = set(tomllib.loads((ROOT / "deny.toml").read_text())["licenses"]["allow"])
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--all-features"]
    out = subprocess.run(
        [*command, "--manifest-path", str(args.manifest_path)], check=True, stdout=subprocess.PIPE
    )
    packages = json.loads(out.stdout)["packages"]
    others = [p for p in packages if p["source"] is not None]
    # A check of nothing is none.
    if len(others) < 50:
        sys.exit(f"only {len(others)} dependencies were found, expected at least 50")
    found = [line for p in others for line in problems(p, allow)]
    print("\n".join(found) or f"{len(others)} dependencies: licences and sources are as deny.toml says")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
