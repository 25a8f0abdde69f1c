# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # settings come from settings.sh, results go to other files
# The verbs of --via=jobset: node pools of a GKE cluster, and a JobSet without further tools.

jobset_version=v0.10.1
pools_docs=$gcloud_docs/container/node-pools

# do_create: the cluster if there is none, the JobSet controller, a node pool for each slice.
do_create() {
  local here=(--location="$location" --project="$project") code=1 slice
  if [[ $dry_run == 0 ]]; then
    code=0
    gcloud container clusters describe "$cluster" "${here[@]}" '--format=value(status)' \
      >/dev/null 2>&1 || code=$?
  fi
  if [[ $code != 0 ]]; then
    # Workload identity: pods reach the bucket as a service account, without keys.
    call "$gcloud_docs/container/clusters/create" gcloud container clusters create "$cluster" \
      "${here[@]}" --release-channel=regular "--workload-pool=$project.svc.id.goog" \
      --machine-type=e2-standard-4 --num-nodes=1 || fail "creating the cluster $(why $?)" || return
  fi
  connect || return
  call https://jobset.sigs.k8s.io/docs/installation/ kubectl apply --server-side \
    "--filename=https://github.com/kubernetes-sigs/jobset/releases/download/$jobset_version/manifests.yaml" ||
    fail "installing JobSet $(why $?)" || return
  for ((slice = 0; slice < slices; slice++)); do
    make_pool "$name-$slice" || return
  done
}

make_pool() {
  local command=(gcloud container node-pools create "$1" "--cluster=$cluster")
  command+=("--location=$location" "--project=$project" "--node-locations=$zone")
  command+=("--machine-type=$machine" "--num-nodes=$hosts")
  [[ $hosts == 1 ]] || command+=("--tpu-topology=$topology")
  [[ $capacity != spot ]] || command+=(--spot)
  [[ $capacity != reserved ]] ||
    command+=(--reservation-affinity=specific "--reservation=$reservation")
  [[ -z $service_account ]] || command+=("--service-account=$service_account")
  call "$pools_docs/create" "${command[@]}" || [[ $last_said == *ALREADY_EXISTS* ]] ||
    fail "creating node pool $1 $(why $?)"
}

# json WORD: as a string of YAML and JSON.
json() {
  local backslash=$'\x5c' quote='"' text
  text=${1//"$backslash"/"$backslash$backslash"}
  text=${text//"$quote"/"$backslash$quote"}
  printf '"%s"' "$text"
}

# do_render: launch/tpu/jobset.yaml with its @NAMES@ filled in. Of each line with @if NAME@ what
# follows stays only where that setting is not empty.
do_render() {
  local text key args="" env="" word spot="" secret="" words=() program="$checkout/.venv/bin/sg4v"
  [[ $capacity != spot ]] || spot=true
  [[ -z $env_file ]] || secret=$name-env
  words=(train "--config=$config" "--workdir=$workdir" ${train_args[@]+"${train_args[@]}"})
  if [[ -n $inputs ]]; then
    program=bash words=("$checkout/launch/tpu/worker.sh" here "$inputs" -- "${words[@]}")
  fi
  for word in "${words[@]}"; do
    args+="${args:+, }$(json "$word")"
  done
  for word in ${env_vars[@]+"${env_vars[@]}"}; do
    env+="${env:+, }{name: ${word%%=*}, value: $(json "${word#*=}")}"
  done
  while IFS= read -r text; do
    if [[ $text =~ ^(.*)@if\ ([a-z_]+)@(.*)$ ]]; then
      key=${BASH_REMATCH[2]}
      [[ -n ${!key} ]] || continue
      text=${BASH_REMATCH[1]}${BASH_REMATCH[3]}
    fi
    for key in name max_restarts slices hosts kubernetes_account gke_tpu topology checkout image \
      program args env secret host_chips; do
      text=${text//"@$key@"/"${!key}"} # quoted: & and \ are no signs here
    done
    printf '%s\n' "$text"
  done <"$root/launch/tpu/jobset.yaml"
}

do_run() {
  local file=$name.yaml
  connect || return
  if [[ $dry_run == 1 ]]; then
    printf "# the manifest, as launch/tpu.sh render prints it\ncat >%s <<'EOF'\n" "$file"
    do_render
    printf 'EOF\n'
  else
    file=$(dirname "$log")/$name.yaml
    mkdir -p "$(dirname "$log")"
    do_render >"$file"
    note "starting $name: $file"
  fi
  if [[ -n $env_file ]]; then
    # Made anew, so that a changed file counts. Values are in the file, not in the command.
    call "$kubectl_docs/kubectl_delete/" kubectl delete secret "$name-env" --ignore-not-found &&
      call "$kubectl_docs/kubectl_create/kubectl_create_secret_generic/" kubectl create secret \
        generic "$name-env" "--from-env-file=$env_file" || fail "the secret $(why $?)" || return
  fi
  call "$kubectl_docs/kubectl_apply/" kubectl apply "--filename=$file" || fail "starting $(why $?)"
}

# look_run: sets `seen` to Completed, Failed, Running, GONE or UNKNOWN.
look_run() {
  local code=0 out
  out=$(mktemp)
  connect >"$out" && call "$kubectl_docs/kubectl_get/" kubectl get jobset "$name" \
    '--output=jsonpath={.status.terminalState}' >"$out.state" || code=$?
  [[ $dry_run == 0 ]] || cat "$out" "$out.state"
  seen=$(tail -n 1 "$out.state" 2>/dev/null || true)
  if [[ $code != 0 ]]; then
    seen=UNKNOWN
    [[ $last_said != *NotFound* && $last_said != *"not found"* ]] || seen=GONE
  fi
  seen=${seen:-Running}
  rm -f "$out" "$out.state"
}

do_stop() {
  connect || return
  call "$kubectl_docs/kubectl_delete/" kubectl delete jobset "$name" --ignore-not-found ||
    fail "stop $(why $?)"
}

do_delete() {
  local slice
  confirm "delete the JobSet $name and its $slices node pools in $cluster"
  do_stop || return
  for ((slice = 0; slice < slices; slice++)); do
    call "$pools_docs/delete" gcloud container node-pools delete "$name-$slice" \
      "--cluster=$cluster" "--location=$location" "--project=$project" --quiet ||
      [[ $last_said == *NOT_FOUND* || $last_said == *"not found"* ]] ||
      fail "deleting node pool $name-$slice $(why $?)" || return
  done
  say "the cluster itself stays: gcloud container clusters delete $cluster --location=$location"
}
