#!/bin/sh
# reply.sh TASK CHOICE [MESSAGE]: answers what a Task asks first. The API server fills in who you are.
set -eu
id=$(kubectl get tasks.parley.dev "$1" -o jsonpath='{.status.waiting[0].id}')
[ -n "$id" ] || { echo "Task $1 asks nothing" >&2; exit 1; }
kubectl create -f - <<END
apiVersion: parley.dev/v1alpha1
kind: Reply
metadata:
  generateName: $1-
spec:
  taskRef: {name: $1}
  waitID: "$id"
  choice: "$2"
  message: "${3:-}"
END
# What it asks next is first once the status says that this was taken.
for _ in $(seq 60); do
  kubectl get tasks.parley.dev "$1" -o jsonpath='{.status.waiting[*].id}' | grep -q "$id" || exit 0
  sleep 1
done
echo "Task $1 still asks this: kubectl get replies says why" >&2
exit 1
