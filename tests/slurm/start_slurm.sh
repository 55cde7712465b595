#!/usr/bin/env bash
# Start a SLURM of this machine alone, for the tests of the cluster scripts; stop it with `start_slurm.sh stop`.
#
#   apt-get install -y slurm-wlm munge   # Debian, Ubuntu
#   tests/slurm/start_slurm.sh           # as root; does nothing where a controller answers already
#
# One node with this machine's processors and memory, no accounting, no cgroups, so that it also runs in a container.
# RETINAI_TEST_SLURM_NODES=2 makes it two nodes, faked by two slurmd of this machine: `fake1` and `fake2`, one processor
# each, whose names nobody resolves. RETINAI_TEST_SLURM_NODES=hipergator makes it one node that says it has 16 processors
# and a GPU, in a partition of HiPerGator's name: jobs may ask for GPUs, and get none.
# A job of the partition `urgent` takes the place of those of `all`, which get SIGTERM, 5 s, and the queue again.
# Everything lies in $RETINAI_TEST_SLURM (default /tmp/retinai-slurm) but munge's own folders.
set -euo pipefail
place="${RETINAI_TEST_SLURM:-/tmp/retinai-slurm}"
nodes="${RETINAI_TEST_SLURM_NODES:-1}"
export SLURM_CONF="$place/slurm.conf"

stop() {
  for file in "$place"/slurmd*.pid "$place/slurmctld.pid"; do
    if [[ -f $file ]]; then kill "$(cat "$file")" 2>/dev/null || true; fi
  done
  if [[ -f $place/munged.pid ]]; then kill "$(cat "$place/munged.pid")" 2>/dev/null || true; fi
}

write_config() {
  local host memory node
  host="$(hostname -s)"
  memory="$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 * 9 / 10))"
  cat >"$SLURM_CONF" <<END
ClusterName=retinai
SlurmctldHost=$host
SlurmUser=root
AuthType=auth/munge
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=5,batch_sched_delay=0
KillWait=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool/%n
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.%n.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd.%n.log
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=5
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
END
  if [[ $nodes == 1 ]]; then
    echo "NodeName=$host CPUs=$(nproc) RealMemory=$memory State=UNKNOWN" >>"$SLURM_CONF"
    return
  fi
  echo "SlurmdParameters=config_overrides" >>"$SLURM_CONF" # nodes that are not as the machine is
  if [[ $nodes == hipergator ]]; then
    echo "Name=gpu Type=l4 File=/dev/null" >"$place/gres.conf" # SLURM counts the files
    cat >>"$SLURM_CONF" <<END
GresTypes=gpu
NodeName=$host CPUs=16 RealMemory=64000 Gres=gpu:l4:1 State=UNKNOWN
PartitionName=hpg-turin Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=5
END
    return
  fi
  for node in $(seq "$nodes"); do
    echo "NodeName=fake$node NodeHostname=$host Port=$((6820 + node)) CPUs=1 RealMemory=$((memory / nodes)) State=UNKNOWN"
  done >>"$SLURM_CONF"
}

# The controller, and one slurmd per node.
start_daemons() {
  local node
  slurmctld || return
  if [[ $nodes != [2-9] ]]; then slurmd; return; fi
  for node in $(seq "$nodes"); do slurmd -N "fake$node" || return; done
}

start_munge() {
  if munge -n 2>/dev/null | unmunge >/dev/null 2>&1; then return; fi
  [[ -s /etc/munge/munge.key ]] || mungekey --create
  mkdir -p /run/munge && chown munge: /run/munge && chmod 755 /run/munge
  munged --force --pid-file="$place/munged.pid" --socket=/run/munge/munge.socket.2 >/dev/null 2>&1
}

# Without a configuration scontrol would look for one for a minute.
answers() {
  local states
  [[ -f $SLURM_CONF ]] && scontrol ping 2>/dev/null | grep -q " is UP" || return
  states="$(sinfo -h -o %T 2>/dev/null)"
  grep -Eq "idle|mixed|allocated" <<<"$states" && ! grep -Eq "unknown|down" <<<"$states"
}

if [[ ${1:-} == stop ]]; then
  stop
  exit
fi
for program in slurmctld slurmd munged; do
  command -v "$program" >/dev/null || { echo "$program is not installed: apt-get install -y slurm-wlm munge" >&2; exit 1; }
done
[[ $(id -u) == 0 ]] || { echo "run it as root: slurmd starts jobs in the name of others" >&2; exit 1; }
mkdir -p "$place/state" "$place/spool"
if answers; then echo "$SLURM_CONF"; exit; fi
write_config
chown munge: "$place" 2>/dev/null || true # munged refuses to write into a folder of others
start_munge
chown root: "$place"
# Daemons that kept the output open would hold up whoever reads it.
start_daemons >"$place/start.log" 2>&1 || { cat "$place/start.log" >&2; exit 1; }
for _ in $(seq 60); do
  if answers; then echo "$SLURM_CONF"; exit; fi
  sleep 0.5
done
stop
echo "SLURM does not answer; see $place/slurmctld.log and $place/slurmd.*.log" >&2
exit 1
