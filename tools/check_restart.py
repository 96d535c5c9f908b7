#!/usr/bin/env python3
"""Kill runs of mdet at random moments, go on with them, and compare every file with that of a run left alone.

    tools/check_restart.py MDET MOLECULE.xyz [KILLS]

Formats, ensembles and threads change from run to run; each is killed (SIGKILL) up to three times, between
milliseconds after its start and its end, also while it restarts. The exit code is 1 when a byte differs.
"""

import os
import random
import subprocess
import sys
import tempfile
import time

RUNS = [
    "--ensemble nvt-langevin --format xyz --replicas 2",
    "--ensemble nvt-bussi --format netcdf --rotation-offset",
    "--ensemble nvt-nose-hoover --format dcd --frames 4",
    "--ensemble nve --format xyz --precision f32",
]


def main(mdet, molecule, kills="20"):
    random.seed(1)
    done, differ = 0, []
    molecule = os.path.abspath(molecule)
    with tempfile.TemporaryDirectory() as here:
        os.chdir(here)
        for index, options in enumerate(RUNS):
            command = [mdet, "md", molecule, "--steps", "3000", "--every", "7", "--checkpoint-every", "50", *options.split()]
            begun = time.monotonic()
            subprocess.run([*command, "--out", f"whole-{index}", "--threads", "1"], check=True, capture_output=True)
            seconds = time.monotonic() - begun
            share = range(int(kills) * index // len(RUNS), int(kills) * (index + 1) // len(RUNS))
            while done < share.stop:
                out = f"killed-{done}"
                for _ in range(min(3, share.stop - done)):
                    kill(command, mdet, out, random.uniform(0.0, 0.5 * seconds))
                    done += 1
                threads = str(random.choice([1, 2, 3]))
                for _ in range(2):  # The second finds nothing to do.
                    start = [mdet, "md", "--restart", out] if is_begun(out) else [*command, "--out", out]
                    subprocess.run([*start, "--threads", threads], check=True, capture_output=True)
                wrong = [name for name in sorted(os.listdir(out))
                         if open(f"{out}/{name}", "rb").read() != open(f"whole-{index}/{name}", "rb").read()]
                print(f"{options}: killed {done} in all, {'FILES DIFFER: ' + ', '.join(wrong) if wrong else 'same files'}",
                      flush=True)
                differ += wrong
    sys.exit(f"{len(differ)} files differ" if differ else 0)


def is_begun(out):
    return os.path.exists(f"{out}/checkpoint.json")


def kill(command, mdet, out, seconds):
    if not is_begun(out):
        # Killed before its first checkpoint there is nothing to go on with.
        subprocess.run(["rm", "-rf", out], check=True)
    start = [mdet, "md", "--restart", out] if is_begun(out) else [*command, "--out", out]
    process = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    process.kill()
    process.wait()


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
