#!/bin/sh
# Applies the examples, waits for their end, and shows what came of them. `make demo` runs it on a cluster where
# `make up` has installed Parley; a second run finds everything done and changes nothing.
#
# It needs kubectl and parley on PATH, and a kubeconfig for that cluster. DEMO_NAMESPACE chooses another namespace than default.
set -eu
cd "$(dirname "$0")/.."

namespace=${DEMO_NAMESPACE:-default}
patience=600 # seconds for anything that should take some
examples="-f examples/01-conversation -f examples/02-steps -f examples/03-control -f examples/21-chat"
label=app.kubernetes.io/part-of=parley-examples
ended='{.status.completionTime}'

k() { kubectl --namespace "$namespace" "$@"; }
say() { printf '\n* %s\n' "$*"; }

# Prints a command as one would type it, then what it says.
show() {
  printf '\n$ kubectl'
  [ "$namespace" = default ] || printf ' -n %s' "$namespace"
  for word in "$@"; do
    case $word in
    *[!A-Za-z0-9_./=:,-]*) printf " '%s'" "$word" ;;
    *) printf ' %s' "$word" ;;
    esac
  done
  printf '\n'
  k "$@"
}

on_exit() {
  status=$?
  trap - EXIT
  [ -z "${watcher:-}" ] || kill "$watcher" 2>/dev/null || true
  case $status in
  0) ;;
  130 | 143) say "interrupted; run it again to go on" >&2 ;;
  *) explain >&2 ;;
  esac
  exit "$status"
}
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# What a person would look at, all of it, so that a log of a failed run is enough to see why.
explain() {
  set +e
  say "The demo did not end as it should. This is what there is:"
  show get agents.parley.dev,sessions.parley.dev,tasks.parley.dev,jobs,pods -o wide
  show describe tasks.parley.dev -l "$label"
  show get events --sort-by=.metadata.creationTimestamp
  show logs -l app.kubernetes.io/name=parley --prefix --tail=30
  show logs deployment/scripted-model --tail=20
  printf '\n$ kubectl -n parley-system get pods; kubectl -n parley-system logs …\n'
  kubectl -n parley-system get pods -o wide
  kubectl -n parley-system logs -l app.kubernetes.io/name=parley --prefix --tail=60
  say "Once the cause is mended: kubectl -n $namespace delete task -l $label, and run it again."
}

# Waits until the Task is in the phase, or has ended: then no other phase will come.
await_phase() {
  left=$patience
  while [ "$left" -gt 0 ]; do
    case $(k get task.parley.dev "$1" -o jsonpath="{.status.phase}/$ended") in
    "$2"/* | */?*) return ;;
    esac
    left=$((left - 1))
    sleep 1
  done
  say "Task $1 is not $2 after $patience s" >&2
  return 1
}

want() { show patch task.parley.dev "$1" --type merge -p "{\"spec\": {\"desiredState\": \"$2\"}}"; }

# Says something in Olivia's Session, with a key: said once, however often the demo runs.
chat() {
  printf '\n$ parley'
  [ "$namespace" = default ] || printf ' -n %s' "$namespace"
  printf " chat olivia -m '%s' --as-service-account lobby\n" "$2"
  parley --namespace "$namespace" chat olivia -m "$2" --key "$1" --as-service-account lobby
}
has_ended() { [ -n "$(k get task.parley.dev "$1" -o jsonpath="$ended")" ]; }

say "Namespace $namespace, which lets in only pods that keep Pod Security's restricted profile"
kubectl get namespace "$namespace" >/dev/null 2>&1 || kubectl create namespace "$namespace"
kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted --overwrite

say "A scripted model, in place of one that costs money"
show apply -k examples/model
k rollout status deployment/scripted-model --timeout="${patience}s"

say "The examples"
# shellcheck disable=SC2086 # words on purpose
show apply $examples

say "What becomes of the Tasks, each change a line"
# Not through k: that would be a shell around kubectl, and ending the shell would leave kubectl behind.
kubectl --namespace "$namespace" get tasks.parley.dev -l "$label" --watch &
watcher=$!

if ! has_ended stocktake; then
  # The step that runs goes on to its end; the next one does not start until the Task may run again.
  want stocktake Suspended
  await_phase stocktake Suspended
  want stocktake Running
fi
if ! has_ended long-haul; then
  await_phase long-haul Running
  want long-haul Cancelled
fi
# completionTime comes with every end. condition=Succeeded would wait in vain for a Task that failed.
k wait task.parley.dev -l "$label" --for=jsonpath="$ended" --timeout="${patience}s" >/dev/null
kill "$watcher" 2>/dev/null || true
wait "$watcher" 2>/dev/null || true
watcher=

# Ready is True for what ended as asked: Succeeded, or Cancelled because somebody wanted it so.
bad=$(k get tasks.parley.dev -l "$label" -o jsonpath='{range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status} {end}' |
  tr ' ' '\n' | sed -n 's/=False$//p;s/=Unknown$//p;s/=$//p')
if [ -n "$bad" ]; then
  say "These Tasks failed:" $bad >&2
  exit 1
fi

say "A chat through the gateway; the first message starts a warm runner, the second finds it there"
chat demo-1 "My name is Olivia."
chat demo-2 "What is my name?"

events='{range .status.recentEvents[*]}{.sequence}{"\t"}{.task}{"\t"}{.role}{"\t"}{.text}{"\n"}{end}'
rows="SELECT s.name AS session, e.sequence, e.task, e.role, e.content FROM events e JOIN sessions s ON s.uid = e.session_uid
WHERE s.namespace = '$namespace' AND s.name IN ('alice', 'bob') AND s.gone_since IS NULL ORDER BY s.name, e.sequence"

say "All of it"
show get parley -l "$label"
say "The conversation, as the Session's status has it: the second reply knows what was said before the first"
show get session alice -o "jsonpath=$events"
say "The other Session of the same agent knows nothing of it"
show get session bob -o "jsonpath=$events"
say "The output of the Task with steps, and the Jobs its steps ran as"
show get task refund-12345 -o 'jsonpath={.status.output}{"\n"}'
show get jobs -l parley.dev/task=refund-12345 -L parley.dev/step
say "The conversations in Postgres, whole and in order"
if kubectl -n parley-system get statefulset/postgres >/dev/null 2>&1; then
  kubectl -n parley-system exec statefulset/postgres -- psql -U parley -d parley -c "$rows"
else
  sh cluster/python cluster/cluster psql -P pager=off -c "$rows"
fi

cat <<END

* To look further, tell your shell where the cluster is; kubectl is in cluster/bin where there was none, parley in .venv/bin:
    export KUBECONFIG=\$(make -s kubeconfig) PATH=\$PWD/cluster/bin:\$PWD/.venv/bin:\$PATH
    kubectl explain task.spec.steps
    kubectl -n $namespace get session alice -o yaml
    kubectl -n $namespace describe task refund-12345
    kubectl -n $namespace events --for task/refund-12345
    kubectl -n $namespace logs job/\$(kubectl -n $namespace get task bob-1 -o jsonpath='{.status.steps[0].job}')
  The examples, with comments: examples/. To go on talking to Alice's agent: examples/README.md.
  To start them afresh: kubectl -n $namespace delete task,session,agent -l $label
  To end the cluster: make down
END
