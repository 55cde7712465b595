#!/usr/bin/env bash
# One fold of the study: pre-train on its training photographs, embed before and after, probe on the fold held out.
# bash experiments/token_reconstruction/run.sh FOLD START OUT IDRID   (START: package for ImageNet, none for scratch)
set -euo pipefail
fold=$1 start=$2 out=$3 idrid=$4
retinai() { python -m retinai.cli "$@"; }
places=(paths.cache="$out/cache" paths.outputs="$out")
one="$out/$start$fold"
mkdir -p "$one"
encoder=(backbone=efficientnet_lite0 backbone.input_size=160)
retinai prepare data=idrid data.root="$idrid" backbone.input_size=160 workers=1 run_dir="$out/prepare" "${places[@]}"
retinai train +experiment=token_reconstruction_idrid data.sources.idrid.root="$idrid" data.folds=3 data.fold="$fold" \
  backbone.weights="$start" logger=none trainer=cpu data.num_workers=0 run_dir="$one/run" "${places[@]}"
for when in before after; do
  weights=$start
  [ "$when" = before ] || weights="$one/run/encoder.safetensors"
  retinai embed "${encoder[@]}" backbone.weights="$weights" data=idrid data.root="$idrid" data.folds=3 data.fold="$fold" \
    pooling=avg out="$one/$when.npz" overwrite=true accelerator=cpu num_workers=0 "${places[@]}"
done
retinai probe embeddings="[$one/before.npz,$one/after.npz]" data=idrid data.root="$idrid" data.folds=3 data.fold="$fold" \
  target=[any_dr,referable,grade,dme] run_dir="$one/probe" overwrite=true "${places[@]}"
