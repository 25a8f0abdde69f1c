# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # settings come from settings.sh, results go to other files
# How launch/tpu.sh runs a command: shown with its documentation, limited in time, tried again.

gcloud_docs=https://cloud.google.com/sdk/gcloud/reference

# note TEXT: says it, with the time, here and in the log.
note() {
  say "$*"
  [[ $dry_run == 1 ]] && return
  mkdir -p "$(dirname "$log")"
  printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >>"$log"
}

# interrupted: how every handler of Ctrl-C and SIGTERM begins. It may run in the middle of a command
# whose output goes to a file; what it says is for people.
interrupted() {
  trap '' INT TERM
  exec 2>&3 1>&2
}
exec 3>&2

# quoted WORD: as a shell would take it back, readable.
quoted() {
  if [[ $1 =~ ^[A-Za-z0-9_./:=,@%+^-]+$ ]]; then
    printf '%s' "$1"
  else
    printf "'%s'" "${1//\'/\'\\\'\'}"
  fi
}

# show DOCUMENTATION COMMAND...: the command on lines that can be pasted, below its link.
show() {
  local line='' word first=1
  printf '# %s\n' "$1"
  shift
  for word in "$@"; do
    if [[ $first == 1 || ($word != -* && $line != *$'\n'*) ]]; then
      line+="${line:+ }$(quoted "$word")"
    else
      line+=$' \\\n    '"$(quoted "$word")"
    fi
    first=0
  done
  printf '%s\n' "$line"
}

# limited SECONDS COMMAND...: the command, ended when it takes longer (exit code 124).
limited() {
  local ended=0
  if command -v timeout >/dev/null; then
    timeout --foreground --kill-after=10 "$@" || ended=$?
  else
    "${@:2}" || ended=$?
  fi
  # Bash drops a Ctrl-C that came while a command ran which then ended by itself: say it again.
  [[ $ended != 130 ]] || kill -INT $$
  return "$ended"
}

# call DOCUMENTATION COMMAND...: shows it in a dry run; otherwise runs it, up to $call_tries times.
# Output goes through. What is known to be no accident (denied, no quota, ...) is not repeated.
call() {
  local docs=$1 try code said
  shift
  if [[ $dry_run == 1 ]]; then
    show "$docs" "$@"
    return
  fi
  need "$1"
  said=$(mktemp)
  for ((try = 1; ; try++)); do
    code=0
    limited "$call_seconds" "$@" 2>"$said" || code=$?
    cat "$said" >&2
    [[ $code != 0 ]] || break
    if [[ $try -ge $call_tries ]] || grep -Eiq "$final_errors" "$said"; then break; fi
    note "$1 ${2:-} ${3:-} failed with code $code; try $((try + 1)) of $call_tries"
    pause $((backoff * (1 << (try - 1))))
  done
  last_said=$(tail -n 40 "$said")
  rm -f "$said"
  return "$code"
}
last_said=""
final_errors='PERMISSION_DENIED|INVALID_ARGUMENT|NOT_FOUND|ALREADY_EXISTS|QUOTA|RESOURCE_EXHAUSTED'
final_errors+='|unrecognized arguments|not currently have an active account|executable file not found'

# What no waiting mends either; a slice that is not found may have been preempted just now.
hopeless='PERMISSION_DENIED|INVALID_ARGUMENT|unrecognized arguments|not currently have an active account'

# fail TEXT: an error that the caller may live with (`die` ends the script).
fail() {
  printf 'error: %s\n' "$*" >&2
  return 1
}

need() {
  command -v "$1" >/dev/null || die "$1 is not installed; see \"Before the first run\" in launch/README.md"
}

# why CODE: the last command's failure in words that say what to do.
why() {
  local mend
  case $last_said in
    *PERMISSION_DENIED*) mend="give the account the roles of launch/README.md, \"Permissions\"" ;;
    *UOTA* | *uota* | *RESOURCE_EXHAUSTED*)
      mend="ask for quota of this chip and kind (spot or not) in this zone: launch/README.md, \"Quota\""
      ;;
    *"active account"* | *Reauthentication*) mend="run: gcloud auth login" ;;
    *INVALID_ARGUMENT* | *"unrecognized arguments"*)
      mend="check --zone, --accelerator and --runtime; an old gcloud: gcloud components update"
      ;;
    *"Connection refused"* | *"Permission denied (publickey"* | *"timed out"*)
      mend="the workers cannot be reached: firewall for port 22, or --iap for private addresses"
      ;;
    *NOT_FOUND*) mend="it is not there: check --name, --zone and --project" ;;
    *) mend="see the message above; run it again when it is mended" ;;
  esac
  if [[ $1 == 124 ]]; then
    mend="no answer within $call_seconds seconds, $call_tries times: try again, or raise --call_seconds"
  fi
  printf 'failed with code %s\n  mend: %s' "$1" "$mend"
}

# pause SECONDS: at most half an hour; nothing in a dry run. A signal ends it.
pause() {
  [[ $dry_run == 0 ]] || return 0
  sleep "$(($1 > 1800 ? 1800 : $1))" &
  sleeper=$!
  wait "$sleeper" || true
  sleeper=""
}
sleeper=""

# confirm QUESTION: goes on with --yes or after `yes` at a terminal, else ends.
confirm() {
  local answer=""
  [[ $yes == 0 && $dry_run == 0 ]] || return 0
  [[ -t 0 ]] || die "$1: not done without --yes"
  read -r -p "$1: type yes to go on: " answer
  [[ $answer == yes ]] || die "not done"
}
