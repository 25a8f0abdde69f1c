# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # settings come from settings.sh, results go to other files
# The verbs of --via=xpk: an XPK cluster and workload (pip install xpk).

xpk_docs=https://github.com/AI-Hypercomputer/xpk/blob/main/docs/usage
in_cluster() { place=("--cluster=$cluster" "--zone=$zone" "--project=$project"); }

do_create() {
  local command
  in_cluster
  command=(xpk cluster create "${place[@]}" "--tpu-type=$accelerator" "--num-slices=$slices")
  case $capacity in
    spot) command+=(--spot) ;;
    on_demand) command+=(--on-demand) ;;
    reserved) command+=("--reservation=$reservation") ;;
  esac
  call "$xpk_docs/clusters.md" "${command[@]}" || fail "creating the cluster $(why $?)"
}

do_run() {
  local command word
  in_cluster
  command=(xpk workload create "--workload=$name" "${place[@]}" "--tpu-type=$accelerator")
  command+=("--num-slices=$slices" "--docker-image=$image" "--max-restarts=$max_restarts")
  # A run that was told to stop has saved and ends with code 3: to XPK that is a failure of ours.
  command+=(--restart-on-user-code-failure --termination-grace-period-seconds=120)
  if [[ -n $env_file ]]; then
    [[ ${#env_vars[@]} == 0 ]] || fail "XPK takes --env or --env_file: put all into the file" || return
    command+=("--env-file=$env_file")
  else
    for word in ${env_vars[@]+"${env_vars[@]}"}; do command+=("--env=$word"); done
  fi
  local program=(.venv/bin/sg4v)
  [[ -z $inputs ]] || program=(bash launch/tpu/worker.sh here "$inputs" --)
  command+=("--command=$(words cd "$checkout") && $(words "${program[@]}" train \
    "--config=$config" "--workdir=$workdir" ${train_args[@]+"${train_args[@]}"})")
  [[ $dry_run == 1 ]] || note "starting $name in $cluster"
  call "$xpk_docs/workloads.md" "${command[@]}" || fail "starting $(why $?)"
}

# look_run: sets `seen`. XPK's exit codes: 0 done, 124 not yet, 125 failed, 1 anything else.
look_run() {
  local code=0 out
  in_cluster
  out=$(mktemp)
  # `call_tries`: what XPK answers is no accident of the network.
  call_tries=1 call_seconds=0 call "$xpk_docs/workloads.md" xpk workload list "${place[@]}" \
    "--wait-for-job-completion=$name" "--timeout=$poll" >"$out" 2>&1 || code=$?
  [[ $dry_run == 0 ]] || cat "$out"
  case $code in
    0) seen=Completed ;;
    124) seen=Running ;;
    125) seen=Failed ;;
    *)
      seen=UNKNOWN
      if grep -Eiq "no workload named|not found|does not exist" "$out"; then seen=GONE; fi
      [[ $seen == GONE ]] || cat "$out" >&2
      ;;
  esac
  rm -f "$out"
}

do_stop() {
  in_cluster
  call "$xpk_docs/workloads.md" xpk workload delete "--workload=$name" "${place[@]}" --force ||
    fail "stop $(why $?)"
}

do_delete() {
  in_cluster
  confirm "delete the cluster $cluster with all of its workloads"
  call "$xpk_docs/clusters.md" xpk cluster delete "${place[@]}" --force || fail "delete $(why $?)"
}

do_render() { fail "--via=xpk writes its manifest itself; use --via=jobset"; }
