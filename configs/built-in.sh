#!/bin/sh
# The runs that made the built-in model, each on from the averaged model of the one before; about twelve hours of one to two cores.
# The corpus is not part of the project: corpus/ is labelled structures as crates/data reads them.
set -e

# go_on TO FROM N_STEPS DECAY_STEPS [--set …]: the run built-in-TO from the model of built-in-FROM.
go_on() {
    to=$1 from=$2 n_steps=$3 decay_steps=$4
    shift 4
    mdet train configs/built-in-continued.toml -o "built-in-$to" --set start="built-in-$from/model.safetensors" \
        --set n_steps="$n_steps" --set schedule.trapezoid.decay_steps="$decay_steps" "$@"
}
own='"corpus/train_00.npz", "training/own-dynamics.npz"'
new='"training/new-species.npz"'
small='"training/small-species.npz"'
symmetric='--set structures_per_step=24 --set copies=2 --set equivariance_weight=4.0'

mdet train configs/built-in.toml -o built-in-a                              # the first 850 steps: 24 structures in 2 orientations
go_on b a 5000 2100 --set rounding=none
go_on c b 6900 2600 --set seed=3 --set rounding=backward                    # built-in 4
go_on d c 4402 0 --set seed=4                                               # the first 600 steps: rounding=backward
go_on e d 9800 8000 --set seed=5 --set data="[$own]"                        # built-in 5
go_on f e 4000 0 --set seed=6 --set data="[$own]"
go_on g f 890 0 --set seed=7 --set data="[$own, $new]"                      # with 2,477 new structures more than are kept
go_on h g 10700 8700 --set seed=8 --set data="[$own, $new, $small]"         # built-in 6
go_on i h 13100 12900 --set seed=9 --set data="[$own, $new, $small]" --set learning_rate=3e-3 \
    $symmetric                                                              # built-in 7
# With the antisymmetric error in the loss too (docs/training.md). Run k was ended by Ctrl-C after step 2413. The rate of run m was to fall
# from step 1000 to step 6700, and after step 3078 to step 6100.
go_on k i 5200 5100 --set seed=12 --set data="[$own, $new, $small]" --set learning_rate=2e-3 --set warmup_steps=100 \
    $symmetric --set antisymmetry_weight=2.0 --set rounding=none
go_on l k 2850 2800 --set seed=13 --set data="[$own, $new, $small]" --set learning_rate=1.2e-3 --set warmup_steps=50 \
    $symmetric --set antisymmetry_weight=1.0 --set rounding=none
go_on m l 6100 5100 --set seed=14 --set data="[$own, $new, $small]" --set learning_rate=8e-4 --set warmup_steps=50 \
    $symmetric --set antisymmetry_weight=0.3 --set rounding=none            # built-in 8

# Run j, on from i with two layers more, is not built in (docs/scaling.md); its rate was to fall over 14,000 steps, then 12,400,
# then 11,600:
#   deeper='{ n_layers = 8, width = 96, n_heads = 6, n_gaussians = 64, n_frequencies = 6, ffn_multiplier = 2,
#       first_atom_quirk = false, targets = ["forces"] }'
#   go_on j i 10800 10600 --set seed=10 --set data="[$own, $new, $small]" --set learning_rate=3e-3 $symmetric --set model="$deeper"
