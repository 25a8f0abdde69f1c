# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # settings come from settings.sh, results go to other files
# Slices as queued resources, reached by SSH: the verbs of --via=slice.

qr=(gcloud compute tpus queued-resources)
qr_docs=$gcloud_docs/compute/tpus/queued-resources
place=() # set by `at`
ready=sg4v/.sg4v-ready # on a worker: all is installed

at() { place=("--zone=$zone" "--project=$project"); }

reach() { [[ $iap == 0 ]] || echo --tunnel-through-iap; }

# look: sets `seen` to the queued resource's state, GONE where there is none, UNKNOWN without an
# answer. States: https://cloud.google.com/tpu/docs/queued-resources
look() {
  local code=0 folder
  at
  folder=$(mktemp -d)
  call "$qr_docs/describe" "${qr[@]}" describe "$name" "${place[@]}" \
    '--format=value(state.state)' >"$folder/out" 2>"$folder/err" || code=$?
  seen=$(sed '/^$/d' "$folder/out" | tail -n 1)
  if [[ $code != 0 || -z $seen ]]; then
    if [[ $last_said == *NOT_FOUND* ]]; then
      seen=GONE
    else
      cat "$folder/err" >&2
      seen=UNKNOWN
    fi
  fi
  rm -rf "$folder"
}

do_create() {
  seen=GONE
  [[ $dry_run == 1 ]] || look
  case $seen in
    ACTIVE) note "$name is there already" && return ;;
    GONE) request || return ;;
    SUSPENDED | FAILED | SUSPENDING | DELETING)
      fail "$name is $seen
  mend: delete it first (launch/tpu.sh delete), or let watch make it again" || return
      ;;
    UNKNOWN) fail "asking for the state of $name $(why 1)" || return ;;
    *) note "$name was asked for before: $seen" ;;
  esac
  [[ $async == 1 ]] || wait_active "$seen"
}

# request: asks for the slices. Whoever interrupts the waiting does not want what comes hours later.
request() {
  local command=("${qr[@]}" create "$name") code=0
  at
  command+=("${place[@]}" "--accelerator-type=$accelerator" "--runtime-version=$runtime")
  if [[ $slices == 1 ]]; then
    command+=("--node-id=$name")
  else
    command+=("--node-count=$slices" "--node-prefix=$name")
  fi
  [[ $capacity != spot ]] || command+=(--spot)
  [[ $capacity != reserved ]] || command+=(--reserved)
  [[ -z $service_account ]] || command+=("--service-account=$service_account")
  [[ -z $network ]] || command+=("--network=$network")
  [[ -z $subnetwork ]] || command+=("--subnetwork=$subnetwork")
  [[ $iap == 0 ]] || command+=(--internal-ips)
  [[ -z $valid_for ]] || command+=("--valid-until-duration=$valid_for")
  command+=("--labels=made-by=sg4v" --async)
  [[ $dry_run == 1 ]] || note "asking for $slices x $accelerator ($capacity) as $name"
  [[ $async == 1 ]] || trap 'take_back' INT TERM
  call "$qr_docs/create" "${command[@]}" || code=$?
  # The answer to a first try may have been lost on the way.
  [[ $code == 0 || $last_said == *ALREADY_EXISTS* ]] || fail "create $(why "$code")"
}

take_back() {
  interrupted
  note "interrupted: taking the request for $name back"
  remove --async || say "could not; do it by hand: launch/tpu.sh delete --name=$name --yes"
  exit 130
}

# wait_active STATE: until the slices are ACTIVE. STATE: what was seen when the waiting began.
wait_active() {
  local before=$1 began=$SECONDS silent=0
  at
  if [[ $dry_run == 1 ]]; then
    printf '# every %s s until it is ACTIVE\n' "$poll"
    show "$qr_docs/describe" "${qr[@]}" describe "$name" "${place[@]}" '--format=value(state.state)'
    return
  fi
  while true; do
    look
    [[ $seen == "$before" ]] || note "$name: $seen"
    before=$seen
    case $seen in
      ACTIVE | FAILED | SUSPENDED) break ;;
      UNKNOWN) silent=$((silent + 1)) ;;
      *) silent=0 ;;
    esac
    if [[ $silent -ge $tries ]]; then
      fail "no answer about $name, $silent times in a row; it may be queued
  mend: look with launch/tpu.sh create, or take it back with launch/tpu.sh delete" || return
    fi
    if [[ $((SECONDS - began)) -ge $wait_seconds ]]; then
      note "$name did not come within $wait_seconds s: taking the request back"
      remove --async || true
      fail "no capacity for $accelerator ($capacity) in $zone
  mend: try another zone, size or capacity" || return
    fi
    pause "$poll"
  done
  trap - INT TERM
  [[ $seen == ACTIVE ]] || fail "$name is $seen
  mend: launch/tpu.sh delete, then create again; watch does both"
}

# on_workers NODE WORKER COMMAND: over SSH; `all` reaches every one.
on_workers() {
  local extra
  extra=$(reach)
  at
  call "$qr_docs/ssh" "${qr[@]}" ssh "$name" "${place[@]}" ${extra:+"$extra"} \
    "--node=$1" "--worker=$2" "--command=$3"
}

# words WORD...: one string that the worker's shell splits into the same words.
words() {
  local word all=""
  for word in "$@"; do
    all+="${all:+ }$(quoted "$word")"
  done
  printf '%s' "$all"
}

# to_workers FILE TARGET: a file to the home of every worker.
to_workers() {
  local extra
  extra=$(reach)
  at
  call "$qr_docs/scp" "${qr[@]}" scp "$1" "$name:$2" "${place[@]}" ${extra:+"$extra"} \
    --node=all --worker=all
}

# pack FILE: what git tracks, as it lies there now: no data, no runs, no secret beside the code.
pack() {
  git -C "$root" rev-parse HEAD >/dev/null 2>&1 ||
    fail "$root is no git checkout
  mend: clone the repository, and run this there" || return
  [[ -z $config ]] || git -C "$root" ls-files --error-unmatch "${config%%:*}" >/dev/null 2>&1 ||
    fail "--config=$config is not tracked by git, so the workers would not get it
  mend: git add ${config%%:*}" || return
  [[ -z $(git -C "$root" status --porcelain --untracked-files=no) ]] ||
    note "the checkout has changes that are not committed; they go along"
  git -C "$root" ls-files -z | (cd "$root" && tar --null -T - -czf "$1")
}

do_install() {
  local archive=sg4v.tgz folder=""
  if [[ $dry_run == 0 ]]; then
    folder=$(mktemp -d)
    # shellcheck disable=SC2064 # the folder of now
    trap "rm -rf '$folder'" EXIT
    archive=$folder/sg4v.tgz
    pack "$archive" || return
    note "installing on every worker of $name"
  else
    printf '# what git tracks in this checkout: https://git-scm.com/docs/git-ls-files\n'
    printf 'git ls-files -z | tar --null -T - -czf %s\n' "$archive"
  fi
  to_workers "$archive" sg4v.tgz || fail "copying to the workers $(why $?)" || return
  if [[ -n $env_file ]]; then
    # Nobody else on the worker may read it, at no time.
    on_workers all all 'umask 077 && rm -f sg4v-env && touch sg4v-env' ||
      fail "preparing for --env_file $(why $?)" || return
    to_workers "$env_file" sg4v-env || fail "copying --env_file $(why $?)" || return
  fi
  [[ -z $folder ]] || rm -rf "$folder"
  # Not below the feet of a run.
  local unpack='if [ -e sg4v/launch/tpu/worker.sh ] && bash sg4v/launch/tpu/worker.sh busy; then'
  unpack+=' echo "a run is going on here: stop it first" >&2; exit 1; fi'
  unpack+=' && rm -rf sg4v.new && mkdir sg4v.new && tar -xzf sg4v.tgz -C sg4v.new'
  # The .venv stays: a second install of the same pins takes seconds.
  unpack+=' && if [ -d sg4v/.venv ]; then mv sg4v/.venv sg4v.new/.venv; fi'
  unpack+=' && rm -rf sg4v && mv sg4v.new sg4v'
  on_workers all all "$unpack && bash sg4v/launch/tpu/worker.sh install $(quoted "$extras")" ||
    fail "installing on the workers $(why $?)" || return
  local last="touch $ready"
  if [[ -n $inputs ]]; then last="bash sg4v/launch/tpu/worker.sh fetch $(quoted "$inputs") && $last"; fi
  # Hundreds of gigabytes may take hours: no limit.
  call_seconds=0 on_workers all all "$last" || fail "copying --inputs to the workers $(why $?)"
}

do_run() {
  local command code=0
  command=$(words bash sg4v/launch/tpu/worker.sh run "$run" ${env_vars[@]+"${env_vars[@]}"} -- \
    train "--config=$config" "--workdir=$workdir" ${train_args[@]+"${train_args[@]}"})
  [[ $dry_run == 1 ]] || note "starting $run on every worker of $name"
  # Half of the hosts would wait for the others: all or none.
  trap 'stop_half' INT TERM
  on_workers all all "$command" || code=$?
  trap - INT TERM
  [[ $code == 0 ]] || fail "starting $run $(why "$code")" || do_stop || return
  return "$code"
}

stop_half() {
  interrupted
  note "interrupted: stopping $run"
  do_stop || true
  exit 130
}

do_status() { on_workers all all "bash sg4v/launch/tpu/worker.sh status $(quoted "$run")"; }

do_logs() {
  local then=""
  if [[ $follow == 1 ]]; then then=" follow" call_seconds=0; fi # 0: timeout sets no limit
  on_workers 0 "$worker" "bash sg4v/launch/tpu/worker.sh log $(quoted "$run") $lines$then" ||
    fail "logs $(why $?)"
}

do_stop() {
  on_workers all all "bash sg4v/launch/tpu/worker.sh stop $(quoted "$run")" ||
    fail "stop $(why $?)"
}

do_export() {
  local command
  command=$(words bash sg4v/launch/tpu/worker.sh export "$workdir" "$export" "$layout")
  on_workers 0 0 "$command" || fail "export $(why $?)"
}

# remove [--async]: gives the slices back; also where there are none.
remove() {
  local code=0
  at
  # --force: also what is ACTIVE, with its machines
  call "$qr_docs/delete" "${qr[@]}" delete "$name" "${place[@]}" --force --quiet "$@" || code=$?
  [[ $code == 0 || $last_said == *NOT_FOUND* ]] || return "$code"
}

do_delete() {
  confirm "delete $name in $zone with all that is on its disks"
  remove || fail "delete $(why $?)
  until it is gone it costs; look: https://console.cloud.google.com/compute/tpus" || return
  [[ $dry_run == 1 ]] || note "$name is deleted"
}

do_render() { fail "--via=slice has no manifest; use --via=jobset"; }
