#!/usr/bin/env python3
"""Which architecture and recipe learn most in equal time: the study of docs/scaling.md.

    cargo build --release
    tools/scaling_study.py corpus/train_00.npz corpus/val.npz -o study --minutes 7
    pip install matplotlib
    tools/scaling_study.py --plot docs/results/scaling.csv docs/results/scaling.svg

Every run changes one thing of the first. A short run before measures how many structures a second it takes, so that each trains for
the same minutes; validation is not counted. As in configs/built-in.toml small molecules come first, for two fifths of the steps;
a tenth of the steps warms up, and over the last third the rate falls to zero. Finished runs are not run again. Nothing else
should run beside it.
"""

import argparse
import csv
import json
import re
import subprocess
import sys
from pathlib import Path

BASE = {
    "n_layers": 6, "width": 96, "n_heads": 6, "n_gaussians": 64, "learning_rate": 4e-3, "structures_per_step": 48, "seed": 1,
}  # fmt: skip
# Each with other values than the base's, the channels of a head with the width.
VARIED = {
    "width": [64, 128],
    "n_layers": [4, 8],
    "n_heads": [3, 12],
    "n_gaussians": [32, 128],
    "learning_rate": [2e-3, 8e-3],
    "structures_per_step": [24, 96],
    "seed": [2],
}
NAMES = {
    "width": "width", "n_layers": "layers", "n_heads": "heads", "n_gaussians": "Gaussians", "learning_rate": "learning rate",
    "structures_per_step": "structures a step",
}  # fmt: skip
PILOT_STEPS = 60
COLUMNS = ["key", "value", "step", "seconds", "structures", "mae", "validation_structures", "ions_mae"]


def settings(changed, n_steps, data, validation):
    run = BASE | changed
    heads = changed.get("n_heads", run["width"] // 16)
    model = (
        f"{{ n_layers = {run['n_layers']}, width = {run['width']}, n_heads = {heads}, n_gaussians = {run['n_gaussians']}, "
        "n_frequencies = 6, ffn_multiplier = 2, first_atom_quirk = false, targets = ['forces'] }"
    )
    return {
        "data": f'["{data}"]',
        "validation": f'["{validation}"]',
        "model": model,
        "learning_rate": run["learning_rate"],
        "structures_per_step": run["structures_per_step"],
        "seed": run["seed"],
        "n_steps": n_steps,
        "curriculum_steps": 2 * n_steps // 5,
        "warmup_steps": max(n_steps // 10, 1),
        "ema_decay": 0.995,
        "validate_every": max(n_steps // 8, 1),
        "schedule.trapezoid.decay_steps": n_steps // 3,
    }


def train(args, folder, changed, n_steps, *options):
    words = [args.mdet, "train", "configs/built-in.toml", "-o", str(folder), *options]
    for key, value in settings(changed, n_steps, *args.data).items():
        words += ["--set", f"{key}={value}"]
    if (folder / "state.safetensors").exists():
        words.append("--resume")
    print("+", " ".join(words), file=sys.stderr)
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def measured(args, key, value):
    """Rows of the table of one run."""
    changed = {key: value} if key != "base" else {}
    folder = Path(args.out) / f"{key}-{value}"
    batch = (BASE | changed)["structures_per_step"]
    # Other seeds are as fast as the base, and take as many steps.
    name, costly = ("base-1", {}) if key == "seed" else (folder.name, changed)
    pilot = folder.with_name(f"pilot-{name}")
    train(args, pilot, costly, PILOT_STEPS, "--set", "validation_structures=1")
    *_, (_, seconds) = timed(pilot, batch)
    said = train(args, folder, changed, round(60 * args.minutes * PILOT_STEPS / seconds))
    rows = []
    for line, seconds in timed(folder, batch):
        if "validation_mae_mev_per_angstrom" in line:
            mae = line["validation_mae_mev_per_angstrom"]
            rows.append([key, value, line["step"], round(seconds, 1), line["step"] * batch, round(mae, 2), "some", ""])
    found = dict(re.findall(r"^(structures|ions) +([\d.]+) meV", said, re.MULTILINE))
    rows.append([*rows[-1][:5], found["structures"], "all", found.get("ions", "")])
    return rows


def timed(folder, batch):
    """Every line of a run's metrics with the seconds of training until then."""
    seconds, before = 0.0, 0
    with open(folder / "metrics.jsonl") as file:
        for line in map(json.loads, file):
            if "structures_per_s" in line:
                seconds += (line["step"] - before) * batch / line["structures_per_s"]
                before = line["step"]
            yield line, seconds


def study(args):
    table = Path(args.out) / "scaling.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    if not table.exists():
        table.write_text(",".join(COLUMNS) + "\n")
    done = {(row["key"], row["value"]) for row in read(table)}
    runs = [("base", "1")] + [(key, value) for key, values in VARIED.items() for value in values]
    for key, value in runs:
        if (key, str(value)) not in done:
            rows = measured(args, key, value)
            with open(table, "a", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)


def read(table):
    with open(table) as file:
        return list(csv.DictReader(file))


def plot(source, target):
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "mdet"})
    import matplotlib.pyplot as plt

    rows = read(source)
    figure, axes = plt.subplots(2, 3, figsize=(9, 5.4), layout="constrained", sharex=True, sharey=True)
    for (key, name), panel in zip(NAMES.items(), axes.flat):
        values = sorted([*VARIED[key], BASE[key]])
        for value, colour in zip(values, ["#0072b2", "#d55e00", "#009e73"]):
            run = ("base", "1") if value == BASE[key] else (key, str(value))
            own = [row for row in rows if (row["key"], row["value"]) == run]
            curve = [row for row in own if row["validation_structures"] == "some" and float(row["seconds"]) > 0]
            points = [(float(row["seconds"]) / 60, float(row["mae"])) for row in curve]
            if points:
                panel.semilogy(*zip(*points), color=colour, marker="o", markersize=3, label=f"{value:g}")
        panel.set_title(name, fontsize=9)
        panel.grid(which="both", color="#d5dade")
        panel.legend(frameon=False, fontsize=7)
    axes[0, 0].set_yticks([100, 150, 200, 300, 400, 600], labels=["100", "150", "200", "300", "400", "600"])
    axes[0, 0].minorticks_off()
    figure.supxlabel("minutes of training")
    figure.supylabel("force MAE of a component, meV/Å")
    figure.savefig(target, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", metavar="TRAIN VAL")
    parser.add_argument("-o", "--out", default="study")
    parser.add_argument("--minutes", type=float, default=7)
    parser.add_argument("--mdet", default="target/release/mdet")
    parser.add_argument("--plot", nargs=2, metavar=("TABLE", "SVG"))
    args = parser.parse_args()
    if args.plot:
        return plot(*args.plot)
    if len(args.data) != 2:
        parser.error("expected the training and the validation structures")
    study(args)


if __name__ == "__main__":
    main()
