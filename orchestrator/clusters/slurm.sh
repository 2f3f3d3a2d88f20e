#!/usr/bin/env bash
# A sweep as one Slurm job: 'ray symmetric-run' under srun. From the project's root, with .venv made and storage on a shared disk:
#
#   sbatch orchestrator/clusters/slurm.sh paper_table2           # any arguments of orchestrator/submit.py
#   sbatch orchestrator/clusters/slurm.sh paper_table2           # again: goes on where it was left
#
# Edit the lines below, or override them on the command line (sbatch --nodes=8 …). Comments that begin with ## are ignored.
#SBATCH --job-name=alphacl
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --no-kill
#SBATCH --output=alphacl-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@300
##SBATCH --gpus-per-node=4
##SBATCH --partition=gpu
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"

export PATH="${ALPHACL_VENV:-$PWD/.venv}/bin:$PATH"
export ALPHACL_STORAGE="${ALPHACL_STORAGE:-$PWD/runs}"   # all nodes must see it
export RAY_AUTH_MODE=token                                # ~/.ray/auth_token, in a home that all nodes share
ray get-auth-token --generate > /dev/null

# Ray's folder is the job's own, so that what another user left in /tmp/ray is not in the way; sockets in it need a short path.
export RAY_TMPDIR="/tmp/$USER-$SLURM_JOB_ID"
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
nodes=$SLURM_JOB_NUM_NODES
# The head is the first node, where this script runs; by its number, since not all of Ray looks names up as the system does.
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
head=$(getent ahostsv4 "$head" | awk '$1 !~ /^127\./ {print $1; exit}')
address=${head:-$(hostname -I | cut -d' ' -f1)}:$((20000 + SLURM_JOB_ID % 10000))
mkdir -p "$ALPHACL_STORAGE"
result=$ALPHACL_STORAGE/.slurm-$SLURM_JOB_ID
rm -f "$result" "$result.pid"

# shellcheck disable=SC2317,SC2016  # srun calls it; what is in single quotes is for the shell that symmetric-run starts
on_each_node() {
    address=$1 nodes=$2 result=$3
    shift 3
    mkdir -p "$RAY_TMPDIR"
    trap 'rm -rf "$RAY_TMPDIR"' EXIT
    set -- --address "$address" --min-nodes "$nodes" --num-cpus="$SLURM_CPUS_ON_NODE" --object-store-memory=200000000 \
        --disable-usage-stats -- \
        bash -c 'result=$1; shift; code=0; trap : TERM
                 bash -c "echo \$\$ > \"\$0.pid\"; exec python -m orchestrator.submit \"\$@\"" "$result" "$@" || code=$?
                 echo $code > "$result"; exit $code' \
        sweep "$result" "$@"
    # symmetric-run exits with 0 where Ray did not start, so the sweep writes its own exit code down.
    if [ "$SLURM_NODEID" = 0 ]; then ray symmetric-run "$@"; exit; fi
    # A worker leaves soon after the head has (the head must not have this set), and asks again where the head is slow to start.
    export RAY_gcs_rpc_server_reconnect_timeout_s=10
    for _ in {1..20}; do
        if ray symmetric-run "$@" || [ -e "$result" ]; then exit 0; fi
        sleep 2
    done
    exit 1
}

# Slurm sends USR1 before the time limit: the sweep ends gently, and the job goes back into the queue and on from there.
ending=0
end_gently() {
    ending=1
    if [ -e "$result.pid" ]; then kill -TERM "$(cat "$result.pid")" || true; fi
}
trap end_gently USR1
srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --no-kill --kill-on-bad-exit=0 \
    bash -c "$(declare -f on_each_node); on_each_node \"\$@\"" node "$address" "$nodes" "$result" "$@" &
step=$!
until wait "$step" || ! kill -0 "$step" 2> /dev/null; do :; done

code=$(cat "$result" 2> /dev/null || true)
rm -f "$result" "$result.pid"
if [ "$ending" = 1 ] && { [ -z "$code" ] || [ "$code" = 130 ]; }; then
    scontrol requeue "$SLURM_JOB_ID"
    exit 130
fi
if [ -z "$code" ]; then
    echo "slurm.sh: the sweep never ended by itself; what Ray said is above. Submit again to go on" >&2
    exit 1
fi
exit "$code"
