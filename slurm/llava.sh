# Sourced by llava_idrid.sbatch and llava_aptos.sbatch, which set the variables in capitals and `name`:
# how a phase is submitted, and how it runs inside its job.
set -euo pipefail
source slurm/until_limit.sh

# One folder per job, for both phases: phase 2 finds phase 1 by the number of its job.
runs="${RETINAI_OUTPUTS:-outputs}/slurm"

# Whether this shell is the job's own; an interactive job, from which jobs are submitted, has another name.
inside_job() { [[ ${SLURM_JOB_NAME:-} == "$name" ]]; }

# finished NUMBER: whether the run of that job is complete, so that there is nothing to wait for.
finished() { grep -qs '"status": "finished"' "$runs/$1/run.json"; }

# submit [option of sbatch]... -- [word for the job]...: prints the number of the new job.
submit() {
  local options=("--job-name=$name" "--ntasks-per-node=$TASKS" "--cpus-per-task=$CPUS" "--mem=$MEM" "--time=$TIME_LIMIT")
  [[ -z $PARTITION ]] || options+=("--partition=$PARTITION")
  [[ -z $ACCOUNT ]] || options+=("--account=$ACCOUNT")
  [[ -z $QOS ]] || options+=("--qos=$QOS")
  [[ -z $GPUS ]] || options+=("--gpus=$GPUS")
  while [[ $1 != -- ]]; do
    options+=("$1")
    shift
  done
  shift
  run_or_say sbatch --parsable "${options[@]}" "slurm/$name.sbatch" "$@"
}

# train [word]...: `retinai train` on the job's node. A job that was requeued finds its folder and goes on.
train() {
  local job=JOB resume=()
  if inside_job; then job=$SLURM_JOB_ID; fi
  if [[ -f $runs/$job/run.json ]]; then resume=(resume=true); fi
  # An environment of conda (`conda activate retinai` before submitting) or the checkout's own.
  if [[ -x .venv/bin/python ]]; then PATH="$PWD/.venv/bin:$PATH"; fi
  export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-$CPUS} # from SLURM 22.05 on, srun does not take it from the job
  local command=(srun retinai train model=llava trainer=gpu "run_dir=$runs/$job" "${resume[@]}" "$@")
  if inside_job; then run_until_limit "$runs/$job" "${command[@]}"; else run_or_say "${command[@]}"; fi
}

# Run a command, or with DRY_RUN=1 print it as it could be typed.
run_or_say() {
  if [[ -n ${DRY_RUN:-} ]]; then echo "${*@Q}"; else "$@"; fi
}
