# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # settings come from settings.sh, results go to other files
# What XPK and plain JobSets have in common: the image, logs, export and waiting on GKE.
# Sourced after slice.sh and watch.sh: its verbs take the place of theirs.

kubectl_docs=https://kubernetes.io/docs/reference/kubectl/generated
jobset_label=jobset.sigs.k8s.io/jobset-name
checkout=/sg4v # in the image

# do_install: the image with this checkout, as its workers install it.
do_install() {
  call https://docs.docker.com/reference/cli/docker/buildx/build/ docker build \
    "--file=$root/launch/tpu/Dockerfile" "--build-arg=EXTRAS=$extras" "--tag=$image" "$root" ||
    fail "building the image $(why $?)" || return
  call https://docs.docker.com/reference/cli/docker/image/push/ docker push "$image" ||
    fail "pushing the image $(why $?)
  mend: gcloud auth configure-docker HOST, and write access to the repository"
}

# connect: lets kubectl reach the cluster; once.
connect() {
  [[ $connected == 0 ]] || return 0
  connected=1
  call "$gcloud_docs/container/clusters/get-credentials" gcloud container clusters \
    get-credentials "$cluster" "--location=$location" "--project=$project" ||
    fail "reaching the cluster $(why $?)" || {
    connected=0
    return 1
  }
}
connected=0

do_status() {
  connect || return
  call "$kubectl_docs/kubectl_get/" kubectl get pods "--selector=$jobset_label=$name" \
    --output=wide || fail "status $(why $?)"
}

do_logs() {
  local selector="$jobset_label=$name,jobset.sigs.k8s.io/job-index=0"
  selector+=",batch.kubernetes.io/job-completion-index=$worker"
  local command=(kubectl logs "--selector=$selector" "--tail=$lines")
  if [[ $follow == 1 ]]; then command+=(--follow) call_seconds=0; fi # 0: timeout sets no limit
  connect || return
  call "$kubectl_docs/kubectl_logs/" "${command[@]}" || fail "logs $(why $?)"
}

# do_export: a pod without chips, that reads the run's checkpoint and writes PyTorch files.
do_export() {
  local command=(kubectl run "$name-export" "--image=$image" --restart=Never --rm --attach)
  command+=(--pod-running-timeout=10m)
  if [[ -n $kubernetes_account ]]; then
    command+=("--overrides={\"apiVersion\":\"v1\",\"spec\":{\"serviceAccountName\":\"$kubernetes_account\"}}")
  fi
  command+=(--command -- bash "$checkout/launch/tpu/worker.sh" export "$workdir" "$export" "$layout")
  connect || return
  call "$kubectl_docs/kubectl_run/" "${command[@]}" || fail "export $(why $?)"
}

# do_watch: GKE makes preempted nodes again and the JobSet starts its pods again (at most
# $max_restarts times), so there is only to wait, and to start what is not there.
do_watch() {
  tried=0
  if [[ $dry_run == 1 ]]; then
    printf '# preempted: GKE brings nodes back, the JobSet starts again, at most %s times\n' \
      "$max_restarts"
    do_run
    look_run
    printf '# completed: the run is done; failed: delete, and run again (at most %s times)\n' "$tries"
    do_stop
    do_run
    return
  fi
  while true; do
    trap leave INT TERM
    look_run
    case $seen in
      Completed) note "$run is done" && break ;;
      GONE) do_run || give_up_if_hopeless || true ;;
      Failed)
        do_logs >&2 || true
        again "$name failed"
        do_stop || true
        do_run || give_up_if_hopeless || true
        ;;
      UNKNOWN) again "no answer about $name" ;;
      *) ;;
    esac
    pause "$poll"
  done
  trap - INT TERM
}
