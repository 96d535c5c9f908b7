#!/usr/bin/env python3
"""MD-ET in PyTorch, as plainly as it is published, beside mdet: the same forces from the same file, and the time of both.

    tools/compare_with_pytorch.py target/release/mdet crates/model/assets/built-in.safetensors examples/aspirin.xyz
    tools/compare_with_pytorch.py target/release/mdet --published

The first checks the forces of the file's first frame and times the model on 9 and 21 atoms; the second times the
published size (192 wide, 12 layers) with random weights. Two threads, f32.
Needs torch, safetensors, numpy, ase, and g++ for torch.compile.
"""
import argparse
import json
import subprocess
import tempfile
import time

import numpy as np
import torch
from torch.nn.functional import gelu, layer_norm

BOHR = 0.529177210903  # Å
HARTREE = 27.211386245988  # eV
PUBLISHED = {"n_layers": 12, "width": 192, "n_heads": 12, "n_gaussians": 128, "n_frequencies": 64, "ffn_multiplier": 2}
FIXED = ["angular_freqs", "electron_config", "gbf.mul", "gbf.bias"]  # tensors that are never trained
SIZES = [9, 21]


def norm(w, name, x):
    return layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def linear(w, name, x):
    return torch.nn.functional.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def forces(w, config, numbers, positions, charge, multiplicity):
    """Hartree/Bohr of numbers [b, n], positions [b, n, 3] in Bohr, charge and multiplicity [b]."""
    e = "embedding."
    node = w[e + "nuclear_embedding.embedding.weight"][numbers]
    node = node + linear(w, e + "nuclear_embedding.config_linear", w[e + "nuclear_embedding.electron_config"][numbers])
    state = w[e + "multiplicity_embed.weight"][multiplicity] + w[e + "charge_embed.weight"][charge + 64]
    node = node + state[:, None]

    delta = positions[:, None] - positions[:, :, None]
    distance = delta.norm(dim=-1)
    direction = delta / (distance + 1e-5)[..., None]
    azimuth, polar = torch.atan2(direction[..., 1], direction[..., 0]), torch.acos(direction[..., 2])
    phases = [angle[..., None] * w[e + f"directional_embed.angular_freqs_{kind}"]
              for angle, kind in [(azimuth, "azimuthal"), (polar, "polar")]]
    fourier = torch.cat([f(phase) for phase in phases for f in (torch.sin, torch.cos)], -1).to(node.dtype)
    basis = e + "m3d_embed.gbf."
    x = (distance[..., None] * w[basis + "mul.weight"][0] + w[basis + "bias.weight"][0]).to(node.dtype)
    sigma = w[basis + "stds.weight"].abs() + 1e-2
    radial = torch.exp(-0.5 * ((x - w[basis + "means.weight"]) / sigma) ** 2) / ((2 * 3.14159) ** 0.5 * sigma)
    edge = linear(w, e + "m3d_embed.gbf_proj.layer2", gelu(linear(w, e + "m3d_embed.gbf_proj.layer1", radial)))
    edge = edge + linear(w, e + "directional_embed.proj", fourier)
    n = numbers.shape[1]
    pairs = torch.cat([node[:, :, None].expand(-1, -1, n, -1), node[:, None].expand(-1, n, -1, -1)], -1)
    x = edge + linear(w, "composer.node_proj.0", pairs)

    for layer in range(config["n_layers"]):
        name = f"layers.{layer}."
        y = norm(w, name + "norm", x)
        q, k, v1, v2 = (linear(w, f"{name}attention.{part}", y).unflatten(-1, (config["n_heads"], -1))
                        for part in ("qlin", "klin", "v1lin", "v2lin"))
        score = torch.einsum("bilhd,bljhd->biljh", q, k) / q.shape[-1] ** 0.5
        value = torch.einsum("bilhd,bljhd->biljhd", v1, v2)
        gathered = torch.einsum("biljh,biljhd->bijhd", score.softmax(2), value).flatten(-2)
        z = norm(w, name + "ffn.norm_aggregate", x + linear(w, name + "attention.olin", gathered))
        x = norm(w, name + "ffn.norm", z + linear(w, name + "ffn.mlp.3", gelu(linear(w, name + "ffn.mlp.0", z))))

    pooled = linear(w, "decomposer.out_proj.1", norm(w, "decomposer.out_proj.0", x)).relu()
    first, second = linear(w, "decomposer.out_proj.4", pooled).chunk(2, -1)
    pooled = first.sum(2) + second.sum(1)
    pooled = linear(w, "decomposer.node_mlp.1", norm(w, "decomposer.node_mlp.0", pooled)).relu()
    pooled = linear(w, "decomposer.node_mlp.4", pooled)
    head = norm(w, "heads.forces.final_ln_node", pooled)
    head = gelu(linear(w, "heads.forces.mlp.3", gelu(linear(w, "heads.forces.mlp.0", head))))
    return linear(w, "heads.forces.mlp.6", head)


def read_model(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["mdet"])["config"]
        return {name: file.get_tensor(name) for name in file.keys()}, config


def random_model(config):
    """Random weights of an architecture, as large as those of a model before training."""
    d, k, f = config["width"], config["n_gaussians"], config["n_frequencies"]
    hidden = config["ffn_multiplier"] * d
    e, gbf = "embedding.", "embedding.m3d_embed.gbf"
    matrices = {e + "nuclear_embedding.config_linear": (d, 23), f"{gbf}_proj.layer1": (k, k), f"{gbf}_proj.layer2": (d, k),
                e + "directional_embed.proj": (d, 4 * f), "composer.node_proj.0": (d, 2 * d),
                "decomposer.out_proj.1": (2 * d, d), "decomposer.out_proj.4": (2 * d, 2 * d),
                "decomposer.node_mlp.1": (d, d), "decomposer.node_mlp.4": (d, d),
                "heads.forces.mlp.0": (d // 2, d), "heads.forces.mlp.3": (d // 4, d // 2)}
    norms = ["decomposer.out_proj.0", "decomposer.node_mlp.0", "heads.forces.final_ln_node"]
    w = {"heads.forces.mlp.6.weight": torch.randn(3, d // 4) / d**0.5}
    for layer in range(config["n_layers"]):
        name = f"layers.{layer}."
        for part in ("qlin", "klin", "v1lin", "v2lin", "olin"):
            w[f"{name}attention.{part}.weight"] = torch.randn(d, d) / d**0.5
        matrices |= {name + "ffn.mlp.0": (hidden, d), name + "ffn.mlp.3": (d, hidden)}
        norms += [name + "norm", name + "ffn.norm", name + "ffn.norm_aggregate"]
    for name, (n_out, n_in) in matrices.items():
        w |= {f"{name}.weight": torch.randn(n_out, n_in) / n_in**0.5, f"{name}.bias": torch.zeros(n_out)}
    for name in norms:
        w |= {f"{name}.weight": torch.ones(d), f"{name}.bias": torch.zeros(d)}
    tables = {"nuclear_embedding.embedding": 102, "multiplicity_embed": 128, "charge_embed": 128}
    w |= {f"{e}{name}.weight": 0.3 * torch.randn(n, d) for name, n in tables.items()}
    w |= {f"{gbf}.means.weight": torch.linspace(0, 18, k)[None], f"{gbf}.stds.weight": torch.ones(1, k)}
    w |= {f"{gbf}.mul.weight": torch.ones(257, 1), f"{gbf}.bias.weight": torch.zeros(257, 1)}
    w[e + "nuclear_embedding.electron_config"] = torch.rand(102, 23)
    frequencies = torch.arange(1, f + 1, dtype=torch.float32)
    return w | {e + f"directional_embed.angular_freqs_{kind}": frequencies for kind in ("azimuthal", "polar")}


def check_forces(mdet, model, path):
    """The largest difference of the forces of the first frame, over the largest force."""
    import ase.io

    frame = ase.io.read(path, 0)
    w, config = read_model(model)
    with tempfile.NamedTemporaryFile(suffix=".xyz") as out:
        command = [mdet, "predict", path, "-o", out.name, "--model", model, "--raw", "--precision", "f64", "--overwrite"]
        subprocess.run(command, check=True, capture_output=True)
        expected = ase.io.read(out.name, 0).get_forces()
    w = {name: values.double() for name, values in w.items()}
    charge = torch.tensor([int(frame.info.get("charge", 0))])
    numbers, positions = torch.tensor(frame.numbers)[None], torch.tensor(frame.positions / BOHR)[None]
    multiplicity = torch.tensor([int(frame.info.get("multiplicity", 1))])
    found = forces(w, config, numbers, positions, charge, multiplicity)[0].numpy() * HARTREE / BOHR
    return np.abs(found - expected).max() / np.abs(expected).max()


def random_structures(n_structures, n_atoms):
    """Atoms on a grid of 1.4 Å, shaken."""
    side = int(np.ceil(n_atoms ** (1 / 3)))
    grid = torch.cartesian_prod(*3 * [torch.arange(side, dtype=torch.float32)])[:n_atoms]
    positions = (1.4 * grid + 0.2 * torch.rand(n_structures, n_atoms, 3)) / BOHR
    numbers = torch.tensor([1, 6, 7, 8])[torch.randint(4, (n_structures, n_atoms))]
    return numbers, positions, torch.zeros(n_structures, dtype=torch.long), torch.ones(n_structures, dtype=torch.long)


def milliseconds(call, at_least=5, seconds=4.0):
    """Median over calls, after two that are not counted."""
    times = []
    call(), call()
    start = time.perf_counter()
    while len(times) < at_least or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - before))
    return float(np.median(times))


def mdet_milliseconds(mdet, arguments):
    """(pass, atoms) of `mdet bench` in f32 on two threads."""
    command = [mdet, "bench", "--atoms", ",".join(map(str, SIZES)), *arguments]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| forward")]
    return {(row[0], row[3]): float(row[4]) for row in rows if row[1:3] == ["f32", "2"]}


def compare_times(mdet, w, config, arguments):
    torch.set_num_threads(2)
    of_mdet = mdet_milliseconds(mdet, arguments)
    print("| pass | atoms | PyTorch, ms | compiled, ms | mdet, ms | mdet is faster, times |")
    print("|---|---|---|---|---|---|")
    w = {name: values.float() for name, values in w.items()}
    trained = [values.requires_grad_() for name, values in w.items() if not any(part in name for part in FIXED)]
    for (kind, atoms), mdet_ms in sorted(of_mdet.items(), key=lambda item: (item[0][0], int(item[0][1].split()[-1]))):
        parts = [int(part) for part in atoms.split(" × ")]
        n_structures, n_atoms = parts if len(parts) == 2 else (1, parts[0])
        batch = random_structures(n_structures, n_atoms)
        found = []
        for function in (forces, torch.compile(forces, dynamic=False)):
            def forward():
                with torch.no_grad():
                    function(w, config, *batch)

            def forward_backward():
                loss = function(w, config, *batch).norm(dim=-1).mean()
                torch.autograd.grad(loss, trained, allow_unused=True)

            found.append(milliseconds(forward if kind == "forward" else forward_backward))
        cells = [kind, atoms, *(f"{number:.1f}" for number in [*found, mdet_ms, min(found) / mdet_ms])]
        print(f"| {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mdet")
    parser.add_argument("model", nargs="?", help="model file of mdet")
    parser.add_argument("structure", nargs="?", help="XYZ file whose forces are compared")
    parser.add_argument("--published", action="store_true", help="the published size with random weights")
    arguments = parser.parse_args()
    if arguments.published == bool(arguments.structure):
        parser.error("either a model and a structure, or --published")
    if arguments.published:
        compare_times(arguments.mdet, random_model(PUBLISHED), PUBLISHED, ["--published"])
        return
    difference = check_forces(arguments.mdet, arguments.model, arguments.structure)
    print(f"largest difference of forces: {difference:.1e} of the largest force")
    if difference > 1e-6:
        raise SystemExit("the forces differ")
    compare_times(arguments.mdet, *read_model(arguments.model), ["--model", arguments.model])


if __name__ == "__main__":
    main()
