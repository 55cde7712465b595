#!/usr/bin/env bash
# One fold of the study: pre-train on its training photographs in two ways, embed before and after, probe on the fold
# held out.
# bash experiments/token_reconstruction/run.sh FOLD START OUT IDRID   (START: package for ImageNet, none for scratch)
set -euo pipefail
fold=$1 start=$2 out=$3 idrid=$4
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$here:${PYTHONPATH:-}"
retinai() { python -m retinai.cli "$@"; }
places=(paths.cache="$out/cache" paths.outputs="$out")
one="$out/$start$fold"
mkdir -p "$one"
encoder=(backbone=efficientnet_lite0 backbone.input_size=128)
of_fold=(data.folds=3 data.fold="$fold")
embed() { # FILE WEIGHTS
  retinai embed "${encoder[@]}" backbone.weights="$2" data=idrid data.root="$idrid" "${of_fold[@]}" pooling=avg \
    out="$one/$1.npz" overwrite=true accelerator=cpu num_workers=0 "${places[@]}"
}
pretrain() { # NAME WORDS...
  name=$1
  shift
  retinai train +experiment=token_reconstruction_idrid data.sources.idrid.root="$idrid" "${of_fold[@]}" \
    backbone.weights="$start" logger=none trainer=cpu data.num_workers=0 run_dir="$one/$name" "${places[@]}" "$@"
  embed "$name" "$one/$name/encoder.safetensors"
}
embed before "$start"
pretrain tokens
RETINAI_PLUGINS=pixel_mae pretrain pixels model._target_=pixel_mae.PixelMae model.name=pixel_mae
retinai probe embeddings="[$one/before.npz,$one/tokens.npz,$one/pixels.npz]" data=idrid data.root="$idrid" \
  "${of_fold[@]}" target=[any_dr,referable,grade,dme] run_dir="$one/probe" overwrite=true "${places[@]}"
