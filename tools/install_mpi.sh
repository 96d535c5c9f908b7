#!/usr/bin/env bash
# What the feature `mpi` is built and run with, on Debian and Ubuntu: Open MPI, and libclang to read its headers.
set -euo pipefail
as_root=$([ "$(id -u)" = 0 ] || echo sudo)
$as_root apt-get update
$as_root apt-get install -y --no-install-recommends libopenmpi-dev openmpi-bin libclang-dev
