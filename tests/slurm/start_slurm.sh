#!/usr/bin/env bash
# Start a SLURM of this machine alone, for the tests of the cluster scripts; stop it with `start_slurm.sh stop`.
#
#   apt-get install -y slurm-wlm munge   # Debian, Ubuntu
#   tests/slurm/start_slurm.sh           # as root; does nothing where a controller answers already
#
# One node with this machine's processors and memory, no accounting, no cgroups, so that it also runs in a container.
# A job of the partition `urgent` takes the place of those of `all`, which get SIGTERM, 5 s, and the queue again.
# Everything lies in $RETINAI_TEST_SLURM (default /tmp/retinai-slurm) but munge's own folders.
set -euo pipefail
place="${RETINAI_TEST_SLURM:-/tmp/retinai-slurm}"
export SLURM_CONF="$place/slurm.conf"

stop() {
  for name in slurmd slurmctld; do
    if [[ -f $place/$name.pid ]]; then kill "$(cat "$place/$name.pid")" 2>/dev/null || true; fi
  done
  if [[ -f $place/munged.pid ]]; then kill "$(cat "$place/munged.pid")" 2>/dev/null || true; fi
}

write_config() {
  local host memory
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
SlurmdSpoolDir=$place/spool
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd.log
NodeName=$host CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=5
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
END
}

start_munge() {
  if munge -n 2>/dev/null | unmunge >/dev/null 2>&1; then return; fi
  [[ -s /etc/munge/munge.key ]] || mungekey --create
  mkdir -p /run/munge && chown munge: /run/munge && chmod 755 /run/munge
  munged --force --pid-file="$place/munged.pid" --socket=/run/munge/munge.socket.2 >/dev/null 2>&1
}

# Without a configuration scontrol would look for one for a minute.
answers() { [[ -f $SLURM_CONF ]] && scontrol ping 2>/dev/null | grep -q " is UP" && sinfo -h -o %T 2>/dev/null | grep -Eq "idle|mixed|allocated"; }

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
for name in slurmctld slurmd; do # daemons that kept the output open would hold up whoever reads it
  "$name" >"$place/start.log" 2>&1 || { cat "$place/start.log" >&2; exit 1; }
done
for _ in $(seq 60); do
  if answers; then echo "$SLURM_CONF"; exit; fi
  sleep 0.5
done
echo "SLURM does not answer; see $place/slurmctld.log and $place/slurmd.log" >&2
exit 1
