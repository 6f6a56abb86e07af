#!/usr/bin/env bash
# Train on several hosts that you reach by ssh (Chapter 9):
#
#   cluster/ssh.sh "HOST1 HOST2 ..." GPUS_PER_HOST -- train --data DATA --out RUN ...
#
# The words after -- are those of `mvit-edu`. The hosts must know one another by these names; USER@HOST is allowed.
# Ctrl-C makes all processes save after the running step and end, and so does the loss of the connection; the same
# command goes on from there. Where one host fails, the others are ended, too. What has to be true of the hosts:
# cluster/README.md.
#
# Variables, with what they are if you do not set them:
FOLDER=${FOLDER:-$PWD}     # working directory on every host
PYTHON=${PYTHON:-python}   # the Python there, for example .venv/bin/python
PORT=${PORT:-29400}        # on the first host; another one for each training
# and, passed on to every host where they are set:
PASSED="NCCL_SOCKET_IFNAME GLOO_SOCKET_IFNAME NCCL_DEBUG OMP_NUM_THREADS CUDA_VISIBLE_DEVICES"

set -u
if (($# < 4)) || [[ $3 != -- || ! $2 =~ ^[1-9][0-9]*$ || ! $1 =~ [^\ ] ]]; then
    echo "usage: cluster/ssh.sh \"HOST1 HOST2 ...\" GPUS_PER_HOST -- train --data DATA --out RUN ..." >&2
    exit 2
fi
read -r -a hosts <<<"$1"
processes=$2
shift 3

# Runs on every host. Its standard input says nothing and ends when this script, or the connection, does. A torchrun
# that has lost the others may not hear SIGTERM.
# shellcheck disable=SC2016
remote='
cd "$1" || exit
shift
exec 3<&0 </dev/null
"$@" 3<&- &
run=$!
{ read -r _ <&3; kill -TERM "$run"; sleep 150; kill -KILL "$run"; } >/dev/null 2>&1 &
watch=$!
exec 3<&-
wait "$run"
code=$?
kill "$watch" 2>/dev/null
exit "$code"'

quoted() { # one word for the shell on the other side, whatever is in it
    printf "'%s' " "${1//\'/\'\\\'\'}"
}

variables=(TORCH_ELASTIC_SHUTDOWN_TIMEOUT=120) # seconds that a process has to save
for name in $PASSED; do
    [[ -z ${!name:-} ]] || variables+=("$name=${!name}")
done
first=${hosts[0]##*@}
run_id=$(date +%s)-$$

pipe=$(mktemp -d) || exit
trap 'rm -rf "$pipe"' EXIT
mkfifo "$pipe/open" || exit
exec 9<>"$pipe/open" # closing it tells every host to end

stopping=
end_all() {
    exec 9>&-
    [[ $stopping ]] || echo "$1" >&2
    stopping=yes
}
stop() {
    [[ ! $stopping ]] || exit 130 # the hosts know already
    end_all "Ending on all hosts, after the running step is saved; once more leaves at once, without waiting for them."
    code=130
}
code=0
trap stop INT TERM HUP
trap 'end_all "A host has failed; ending the others."' USR1

is_first=1
running=()
for host in "${hosts[@]}"; do
    words=("$FOLDER" env "${variables[@]}" "$PYTHON" -m torch.distributed.run)
    words+=(--nnodes="${#hosts[@]}" --nproc-per-node="$processes")
    words+=(--rdzv-backend=c10d --rdzv-endpoint="$first:$PORT" --rdzv-id="$run_id" --max-restarts=3)
    words+=(--rdzv-conf="is_host=$is_first" --local-addr="${host##*@}")
    words+=(-m mvit_edu "$@")
    command="bash -c $(quoted "$remote") bash $(for word in "${words[@]}"; do quoted "$word"; done)"
    {
        ssh -o BatchMode=yes -o ServerAliveInterval=30 "$host" "$command" || {
            failed=$?
            kill -USR1 $$
            exit "$failed"
        }
    } <"$pipe/open" 9>&- &
    running+=($!)
    is_first=0
done

for one in "${running[@]}"; do
    wait "$one"
    status=$?
    while kill -0 "$one" 2>/dev/null; do # a signal to this script ended the waiting, not the host
        wait "$one"
        status=$?
    done
    ((code)) || code=$status
done
exit "$code"
