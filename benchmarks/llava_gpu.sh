#!/usr/bin/env bash
# LLaVA-1.5 at 7 billion parameters with drawn weights on one GPU of 16 GB or more, in about ten minutes:
#
#   bash benchmarks/llava_gpu.sh [FOLDER]        (default: outputs/llava_gpu; needs 20 GB there)
#
# 1. benchmarks/llava.py shape=7b quick=true   memory, photographs per second, a step beside TRL's
# 2. phase 1 for 50 steps, killed at about 20 by kill -9, and resumed
# 3. phase 2 for 50 steps on from it (+init=idrid_ckpt)
# 4. evaluation, and export (format=hf)
# 5. two GPUs: 10 steps with trainer=ddp
# Each line of FOLDER/table.md says what ended well. SHAPE=tiny goes through the same steps on a CPU.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-outputs/llava_gpu}
shape=${SHAPE:-7b}
python=${PYTHON:-python}
mkdir -p "$out"
out=$(cd "$out" && pwd)
table=$out/table.md
printf '| step | ended | seconds |\n|---|---|---|\n' > "$table"

if [[ $shape == 7b ]] && ! $python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "error: PyTorch sees no GPU here; SHAPE=tiny tries the script on a CPU" >&2
  exit 2
fi

# row NAME WORDS...: run, and write the line of the table.
row() {
  local name=$1 begun=$SECONDS
  shift
  if "$@" > "$out/${name// /_}.log" 2>&1; then local ended=yes; else local ended="no, see ${name// /_}.log"; fi
  printf '| %s | %s | %d |\n' "$name" "$ended" $((SECONDS - begun)) | tee -a "$table"
}

network=$out/network
if [[ $shape == 7b ]]; then
  backbone=(backbone=llava_1_5_7b "backbone.weights=$network")
  row "draw weights" $python -c "
import sys
sys.path.insert(0, '.')
from pathlib import Path
from benchmarks.llava_setup import published_config, write_shape
write_shape(Path('$network'), published_config())"
  row "benchmark" $python benchmarks/llava.py shape=7b quick=true "out=$out"
else
  backbone=(backbone=llava_tiny trainer=cpu)
  row "benchmark" $python benchmarks/llava.py shape=tiny quick=true "out=$out"
fi
row "idrid cohort" $python -m retinai.cli synthesize layout=idrid n=120 size=512 "out=$out/idrid"
row "aptos cohort" $python -m retinai.cli synthesize layout=aptos n=120 size=512 "out=$out/aptos"

common=(model=llava "${backbone[@]}" logger=none "paths.outputs=$out/runs" "paths.cache=$out/cache"
  trainer.accumulate_grad_batches=1 model.max_answer_tokens=32)
phase1=(phase=warmup data=idrid "data.root=$out/idrid")

# Two epochs of 25 steps, so that a checkpoint is there when the process is killed in the second one.
killed() {
  $python train.py "${common[@]}" "${phase1[@]}" "run_dir=$out/runs/phase1" trainer.limit_train_batches=25 \
    trainer.max_epochs=2 test=false &
  local job=$!
  until [[ -f $out/runs/phase1/checkpoints/last.ckpt ]]; do
    kill -0 $job 2> /dev/null || return 1
    sleep 1
  done
  kill -9 $job
  ! wait $job
}
row "phase 1 killed" killed
row "phase 1 resumed" $python train.py "run_dir=$out/runs/phase1" resume=true
row "phase 2" $python train.py "${common[@]}" phase=finetune data=aptos "data.root=$out/aptos" \
  trainer.limit_train_batches=50 trainer.max_epochs=1 "run_dir=$out/runs/phase2" +init=idrid_ckpt \
  "init.path=$out/runs/phase1/checkpoints/best.ckpt"
row "evaluate" $python -m retinai.cli evaluate "ckpt=$out/runs/phase2/checkpoints/best.ckpt" "run_dir=$out/runs/again" \
  "paths.cache=$out/cache"
row "export" $python -m retinai.cli export "ckpt=$out/runs/phase2/checkpoints/best.ckpt" format=hf "out=$out/exported"
if [[ $($python -c 'import torch; print(torch.cuda.device_count())') -ge 2 ]]; then
  row "two GPUs" $python train.py "${common[@]}" "${phase1[@]}" "run_dir=$out/runs/ddp" trainer=ddp trainer.devices=2 \
    trainer.limit_train_batches=10 trainer.max_epochs=1 test=false
fi
cat "$table"
! grep -q '| no' "$table"
