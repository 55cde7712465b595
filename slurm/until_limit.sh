# Sourced by the sbatch files: a training that ends before the job's time limit, and a job that then goes on by itself.
#
# `#SBATCH --signal=B:USR1@120` tells this shell, and nobody else, that the time is up in about two minutes. It stops
# the training (SIGTERM), whose last whole epoch is in last.ckpt, and puts the job back in the queue. Lightning's own
# SLURM handler is switched off in retinai: it would requeue as well, and save in the middle of an epoch, from which a
# run does not go on as one in a piece does.

# run_until_limit RUN_DIR COMMAND...: returns the command's exit code, or puts the job back in the queue.
run_until_limit() {
  local run_dir=$1 before code step
  shift
  limit=""
  before=$(last_checkpoint "$run_dir")
  # A controller that is too busy for scancel must not cost the run: srun passes SIGTERM on as well.
  trap 'limit=reached; echo "time limit: stopping the training"
    scancel --signal=TERM "$SLURM_JOB_ID" || kill -TERM "$step"' USR1
  "$@" &
  step=$!
  while true; do # `wait` returns when the signal comes, and the training ends some seconds later
    code=0
    wait "$step" || code=$?
    if ! kill -0 "$step" 2>/dev/null; then break; fi
  done
  trap - USR1
  # A job whose place another one takes gets SIGTERM some time before SLURM would end it and put it back by itself; one
  # that leaves before that has to be put back from here, or it counts as failed.
  if [[ -z $limit && $code -ne 0 ]] && is_preempted; then limit=preempted; fi
  if [[ -z $limit ]] || grep -qs '"status": "finished"' "$run_dir/run.json"; then return "$code"; fi
  # The first start may have spent its time on reading photographs for the cache; a later one must finish an epoch.
  if [[ $limit == reached && $(last_checkpoint "$run_dir") == "$before" && ${SLURM_RESTART_COUNT:-0} -gt 0 ]]; then
    echo "error: no epoch was finished within the time limit, so the job is not put back; ask for more --time" >&2
    return 1
  fi
  # Requeueing ends this shell as well, by SIGTERM, as soon as the controller likes: so it is told before, and SIGTERM
  # is ignored, because the exit code and an error are still wanted.
  trap '' TERM
  echo "$([[ $limit == reached ]] && echo "time limit" || echo "another job takes this place"): the job is put back in" \
    "the queue and goes on from $run_dir"
  if ! scontrol requeue "$SLURM_JOB_ID"; then
    echo "error: this site does not requeue jobs; go on with resume=true run_dir=$run_dir in a new job" >&2
    return 1
  fi
  return "$code"
}

# is_preempted: whether another job has taken this job's place since it was started the last time.
is_preempted() {
  local shown taken started
  shown=$(scontrol show job "$SLURM_JOB_ID" 2>/dev/null || true)
  taken=$(sed -n 's/.*PreemptTime=\([0-9][^ ]*\).*/\1/p' <<<"$shown")
  started=$(sed -n 's/.* StartTime=\([0-9][^ ]*\).*/\1/p' <<<" $shown")
  [[ -n $taken && ! $taken < $started ]]
}

# last_checkpoint RUN_DIR: when its last.ckpt was written, empty if there is none.
last_checkpoint() { stat -c %y "$1/checkpoints/last.ckpt" 2>/dev/null || true; }
