#!/usr/bin/env python3
"""The learning curves of docs/scaling.md.

    pip install matplotlib
    tools/plot_learning.py docs/results/learning.csv docs/results/learning.svg

Lines: averaged weights on 400 validation structures during a run; dots: on all of them where a run ended.
"""

import csv
import sys

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "mdet"})
import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, NullFormatter, ScalarFormatter

# Okabe and Ito's colours and a brown; runs that are no part of the built-in model are dashed.
STYLES = {
    "4x64": ("#0072b2", "--", "4 × 64, from scratch"),
    "6x96": ("#d55e00", "--", "6 × 96, from scratch"),
    "6x128": ("#777777", "--", "6 × 128, from scratch"),
    "a": ("#e69f00", "-", "built-in (6 × 96), run a"),
    "b": ("#009e73", "-", "run b"),
    "c": ("#cc79a7", "-", "run c"),
    "d": ("#56b4e9", "-", "run d"),
    "e": ("#000000", "-", "run e"),
    "f": ("#0072b2", "-", "runs f and g"),
    "g": ("#0072b2", "-", None),
    "h": ("#d55e00", "-", "run h, with new species"),
    "i": ("#8a6d00", "-", "run i, equivariance in the loss"),
    "j": ("#5e3c99", "--", "run j, 8 layers (not built in)"),
    "k": ("#444444", "-", "runs k, l and m, antisymmetry too"),
    "l": ("#444444", "-", None),
    "m": ("#444444", "-", None),
}


def point(row):
    return int(row["structures_seen"]), float(row["component_mae_mev_per_angstrom"])


def main(source, target):
    with open(source) as file:
        rows = list(csv.DictReader(file))
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for run, (colour, line, label) in STYLES.items():
        own = [row for row in rows if row["run"] == run]
        during = [point(row) for row in own if row["validation_structures"] == "400"]
        at_end = [point(row) for row in own if row["validation_structures"] != "400"]
        axes.loglog(*zip(*during), color=colour, linestyle=line, label=label if during else None)
        axes.loglog(*zip(*at_end), "o", color=colour, markersize=5, label=None if during else label)
    axes.set_xlabel("structures seen")
    axes.set_ylabel("force MAE of a component, meV/Å")
    axes.set_ylim(40, 700)
    axes.yaxis.set_major_locator(FixedLocator([40, 50, 60, 80, 100, 150, 200, 300, 500]))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(which="major", color="#d5dade")
    axes.legend(frameon=False, fontsize=7)
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
