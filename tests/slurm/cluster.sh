#!/usr/bin/env bash
# A Slurm cluster of four nodes on this machine, each with one CPU and one "GPU" (/dev/null), as root:
#   apt-get install slurm-wlm munge
#   tests/slurm/cluster.sh start FOLDER; export SLURM_CONF=FOLDER/slurm.conf; sinfo; ...; tests/slurm/cluster.sh stop FOLDER
# seen: Debian 12, Slurm 22.05.8, 2026-11-29
set -euo pipefail
if [ $# != 2 ] || { [ "$1" != start ] && [ "$1" != stop ]; }; then
  echo "cluster.sh: start FOLDER, or stop FOLDER" >&2
  exit 2
fi
folder=$2
export SLURM_CONF=$folder/slurm.conf

if [ "$1" = stop ]; then # its jobs first: a slurmd that has some would stay
  scancel --user=root --quiet 2>/dev/null || true
  for _ in $(seq 150); do
    [ -n "$(squeue --noheader 2>/dev/null)" ] || break
    sleep 0.2
  done
  for file in "$folder"/slurmd.*.pid "$folder"/slurmctld.pid "$folder"/munged.pid; do # each by its own number
    [ ! -s "$file" ] || kill "$(cat "$file")" 2>/dev/null || true
  done
  exit 0
fi

base=${PORT:-16817} # and the five after it
mkdir -p "$folder"/{state,log,munge}
chmod 755 "$folder"
chmod 700 "$folder/munge" # what munged asks of the folder of its key
head -c 128 /dev/urandom >"$folder/munge/key"
chmod 400 "$folder/munge/key"
cat >"$SLURM_CONF" <<CONF
ClusterName=synthjax
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=$base
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5,socket=$folder/munge.socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool.%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=10
KillWait=20
SchedulerParameters=sched_interval=2,bf_interval=2
MinJobAge=600
GresTypes=gpu
NodeName=n[0-3] NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=[$((base + 1))-$((base + 4))] CPUs=1 RealMemory=1000 Gres=gpu:1 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
CONF
echo "NodeName=n[0-3] Name=gpu File=/dev/null" >"$folder/gres.conf"
echo "CgroupPlugin=cgroup/v1" >"$folder/cgroup.conf"

munged --force --socket="$folder/munge.socket" --key-file="$folder/munge/key" --pid-file="$folder/munged.pid" \
  --log-file="$folder/log/munged" --seed-file="$folder/munge/seed"
slurmctld -f "$SLURM_CONF"
for node in n0 n1 n2 n3; do
  mkdir -p "$folder/spool.$node"
  slurmd -f "$SLURM_CONF" -N "$node"
done
for _ in $(seq 100); do
  [ "$(sinfo --noheader --states=idle --format=%D 2>/dev/null)" != 4 ] || exit 0
  sleep 0.2
done
echo "cluster.sh: the nodes are not idle after 20 s; see $folder/log" >&2
sinfo >&2 || true
exit 1
