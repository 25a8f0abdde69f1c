# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # settings come from settings.sh, results go to other files
# `watch` and `life`: a run is brought to its end, whatever happens to its slices.

# ask: sets `doing` to what the workers of ACTIVE slices are doing.
#   bare: nothing installed; none: not started; running; done; wrong: bad input, would fail again;
#   ended: with another code, or on some workers only; silent: not all answer
ask() {
  local out line hosts_seen=0 states=" " ended="" code=0
  # Asked again at the next look; a worker that is gone must not hold the watch up.
  local call_tries=1 call_seconds=$((call_seconds < 180 ? call_seconds : 180))
  out=$(mktemp)
  on_workers all all "$(ask_command)" >"$out" 2>"$out.err" || code=$?
  while IFS= read -r line; do
    [[ $line == *"sg4v-status "* ]] || continue
    line=${line##*sg4v-status }
    hosts_seen=$((hosts_seen + 1))
    line=${line#* }
    case $line in
      running*) states+="running " ;;
      "done 0") states+="done " ;;
      "done 2") states+="wrong " ;;
      done*) states+="ended " ended+="${line#done } " ;;
      *) states+="$line " ;;
    esac
  done <"$out"
  [[ $code == 0 ]] || tail -n 5 "$out.err" >&2 # gcloud's chatter otherwise
  rm -f "$out" "$out.err"
  codes=${ended% }
  if [[ $code != 0 || $hosts_seen -lt $((hosts * slices)) ]]; then
    doing=silent
  elif [[ $states == *" bare "* ]]; then
    doing=bare
  elif [[ $states == *" wrong "* ]]; then
    doing=wrong
  elif [[ $states == *" ended "* || $states == *" lost "* ]]; then
    doing=ended
  else
    # What all say; hosts that do different things are half a run.
    doing=$(tr ' ' '\n' <<<"${states# }" | sed '/^$/d' | sort -u)
    [[ $doing != *$'\n'* ]] || doing=ended
  fi
}

ask_command() {
  printf 'if [ -e %s ]; then bash sg4v/launch/tpu/worker.sh status %s; ' "$ready" "$(quoted "$run")"
  # shellcheck disable=SC2016 # the worker's name
  printf 'else echo "sg4v-status $(hostname) bare"; fi'
}

# again REASON: counts a try and waits, twice as long each time; ends when there were too many.
again() {
  tried=$((tried + 1))
  if [[ $tried -gt $tries ]]; then
    die "gave up on $run after $tries tries: $1
  mend: see launch/tpu.sh logs and $log; the same command goes on; launch/tpu.sh delete ends the cost"
  fi
  note "$1: try $tried of $tries"
  [[ $tried == 1 ]] || pause $((backoff * (1 << (tried > 12 ? 10 : tried - 2))))
}

leave() {
  interrupted
  [[ -z $sleeper ]] || kill "$sleeper" 2>/dev/null || true
  note "no longer watched; $run goes on, and $name costs: launch/tpu.sh watch, stop or delete"
  exit 130
}

# start [install]: brings the run up on ACTIVE slices. What cannot be mended by trying again ends it.
start() {
  if [[ ${1:-} == install ]]; then
    do_install || give_up_if_hopeless || return 0
  fi
  do_run || give_up_if_hopeless || return 0
  started=$SECONDS
}

give_up_if_hopeless() {
  if grep -Eq "$hopeless" <<<"$last_said"; then die "no use in trying again: see above"; fi
  again "that failed"
  return 1
}

make_first() {
  [[ $was_there == 0 ]] || again "$name is gone"
  do_create || give_up_if_hopeless || return 0
  start install
}

make_again() {
  again "$name is $seen"
  remove || give_up_if_hopeless || return 0
  do_create || give_up_if_hopeless || return 0
  start install
}

do_watch() {
  local silent=0
  tried=0 started=$SECONDS was_there=0
  if [[ $dry_run == 1 ]]; then
    show_watch
    return
  fi
  while true; do
    trap leave INT TERM
    look
    case $seen in
      ACTIVE)
        was_there=1
        ask
        [[ $doing == silent ]] || silent=0
        case $doing in
          running) [[ $((SECONDS - started)) -lt 3600 ]] || tried=0 ;;
          done) note "$run is done" && break ;;
          none) start ;;
          bare) start install ;;
          wrong)
            do_logs >&2 || true
            fail "$run was refused (exit code 2)
  mend: see its message above; mend the config or the data, then watch again" || exit 2
            ;;
          ended)
            again "$run ended${codes:+ with code $codes}"
            do_stop || true # hosts that still wait for the one that is gone
            start
            ;;
          silent)
            silent=$((silent + 1))
            note "$name is ACTIVE, but not all of $((hosts * slices)) workers answer ($silent)"
            if [[ $silent -ge 10 ]]; then silent=0 && make_again; fi
            ;;
        esac
        ;;
      GONE) make_first ;;
      SUSPENDED | FAILED) make_again ;;
      UNKNOWN) again "no answer about $name" ;;
      *) note "$name: $seen" ;;
    esac
    pause "$poll"
  done
  trap - INT TERM
}

show_watch() {
  printf '# every %s s: the state, and what the workers do\n' "$poll"
  at
  show "$qr_docs/describe" "${qr[@]}" describe "$name" "${place[@]}" '--format=value(state.state)'
  on_workers all all "$(ask_command)"
  printf '# not started yet: start it\n'
  do_run
  printf '# preempted (SUSPENDED) or FAILED: give back, ask again, install, resume from the bucket\n'
  printf '# (at most %s times without an hour of work between them, waiting longer each time)\n' "$tries"
  remove
  request
  wait_active GONE
  do_install
  do_run
  printf '# every worker says "done 0": the run is done\n'
}

part() { printf '\n## %s\n' "$1"; }

do_life() {
  if [[ $dry_run == 1 ]]; then
    part "1. create: ask for the slices, wait for them"
    do_create
    part "2. install: this checkout on every worker"
    do_install
    part "3. watch: train, and resume what is preempted"
    do_watch
    part "4. export: the trained model as PyTorch files"
    do_export
    part "5. delete: give the slices back"
    do_delete
    return
  fi
  confirm "make $slices x $accelerator ($capacity), train, export to $export and delete $name"
  yes=1
  if [[ $via != slice ]]; then do_create && do_install; fi
  do_watch # on slices it creates and installs what is missing, also later
  do_export || fail "the run is done, but $name is still there and costs
  mend: launch/tpu.sh export again, then launch/tpu.sh delete" || exit 1
  do_delete
}
