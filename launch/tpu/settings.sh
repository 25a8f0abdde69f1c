# shellcheck shell=bash
# shellcheck disable=SC2034 # what is set here is read in the other files of this folder
# Settings of launch/tpu.sh: flags, or lines `name=value` of --settings=FILE (flags win).

# In the order of a run's life.
# settings begin
name=                  # of the queued resource, workload or JobSet: a-z, 0-9, -
project=               # Google Cloud project
zone=                  # e.g. us-east5-a
accelerator=           # v5litepod-N (v5e), v5p-N (cores) or v6e-N
slices=1               # more than one: a multi-slice
capacity=spot          # spot | on_demand | reserved
reservation=           # GKE: the name, where capacity is reserved
runtime=               # TPU software version; the accelerator's own if empty
service_account=       # of the workers; the project's default if empty
network=               # VPC network and subnetwork; the default one if empty
subnetwork=
iap=0                  # 1: workers without public addresses, SSH through IAP
valid_for=             # give up waiting in the queue after e.g. 12h
via=slice              # slice | xpk | jobset
cluster=               # GKE: the cluster
location=              # GKE: the cluster's zone or region; `zone` if empty
image=                 # GKE: container image, e.g. us-docker.pkg.dev/P/R/sg4v:1
kubernetes_account=    # GKE: Kubernetes service account that may use the bucket
max_restarts=50        # GKE: how often the JobSet starts again
config=                # configs/FILE.py
workdir=               # gs://BUCKET/runs/NAME; all workers see it
inputs=                # gs://BUCKET/inputs: its folders (data/, checkpoints/) go into the checkout
run=                   # the run's name on a worker; the last part of workdir if empty
env_file=              # NAME=VALUE lines for the workers; secrets belong here
export=                # gs://BUCKET/models/NAME
layout=hf              # of the export: hf | llava
extras="tpu,gcs,tensorboard" # of setup.cfg, installed on the workers
worker=0               # whose log `logs` shows
lines=100              # how many of it
follow=0               # 1: stay
poll=60                # seconds between looks
tries=10               # re-creations and restarts without an hour of work between them
backoff=60             # seconds before the second try; doubles, up to half an hour
call_seconds=900       # a command that takes longer has failed
call_tries=3           # of one command
wait_seconds=86400     # how long `create` waits for the slices
log=                   # file that gets what is said; runs/launch/NAME.log if empty
settings=              # file of such lines
dry_run=0
yes=0
async=0                # 1: `create` does not wait
# settings end
known=$(sed -n '/^# settings begin/,/^# settings end/s/^\([a-z_]*\)=.*/\1/p' "${BASH_SOURCE[0]}")
known=" ${known//$'\n'/ } "

train_args=() # what follows --
env_vars=()   # of --env=NAME=VALUE, which may come several times

# read_settings FLAG...: sets the variables above.
read_settings() {
  local word
  for word in "$@"; do
    [[ $word != -- ]] || break
    [[ $word != --settings=* ]] || read_file "${word#*=}"
  done
  while [[ $# -gt 0 ]]; do
    case $1 in
      --) shift && train_args=("$@") && return ;;
      --env=*) add_env "${1#--env=}" ;;
      --*=*) set_one "${1#--}" "$1" ;;
      --dry_run | --yes | --async | --follow | --iap) set_one "${1#--}=1" "$1" ;;
      --*) die "$1 needs a value: $1=VALUE" ;;
      *) die "unknown argument $1; flags are --NAME=VALUE, arguments of train follow --" ;;
    esac
    shift
  done
}

# read_file FILE: its lines `name=value`; read, never run.
read_file() {
  local line number=0
  [[ -r $1 ]] || die "--settings=$1: no such file"
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    line=${line%$'\r'}
    [[ -z ${line//[[:space:]]/} || $line =~ ^[[:space:]]*# ]] && continue
    [[ $line == *=* ]] || die "$1: line $number: no name=value: $line"
    if [[ $line == env=* ]]; then
      add_env "${line#env=}"
    else
      set_one "$line" "$1: line $number: ${line%%=*}"
    fi
  done <"$1"
}

set_one() {
  local key=${1%%=*}
  [[ $key =~ ^[a-z_]+$ && $known == *" $key "* ]] || die "$2: no such setting; known are:${known% }"
  printf -v "$key" '%s' "${1#*=}"
}

add_env() {
  [[ $1 =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || die "--env=$1: use NAME=VALUE"
  if [[ ${1%%=*} =~ (TOKEN|SECRET|PASSWORD|CREDENTIAL|KEY)$ ]]; then
    die "--env=${1%%=*}=...: commands are printed and logged; put secrets into --env_file=FILE"
  fi
  env_vars+=("$1")
}

# check_settings VERB: what the verb needs is there and of the right form; sets what follows.
check_settings() {
  local key needed=(name zone project)
  [[ $via == slice ]] || needed+=(cluster)
  case $1 in
    create) needed+=(accelerator) ;;
    run | render) needed+=(accelerator config workdir) ;;
    status | logs | stop) [[ -n $run ]] || needed+=(workdir) ;;
    watch) needed+=(accelerator config workdir) ;;
    export) needed+=(workdir export) ;;
    life) needed+=(accelerator config workdir export) ;;
  esac
  if [[ $via != slice && $1 =~ ^(install|run|render|watch|life|export)$ ]]; then needed+=(image); fi
  for key in "${needed[@]}"; do
    [[ -n ${!key} ]] || die "$1 needs --$key (or a line $key=... in --settings=FILE)"
  done
  [[ $via =~ ^(slice|xpk|jobset)$ ]] || die "--via=$via: use slice, xpk or jobset"
  [[ $capacity =~ ^(spot|on_demand|reserved)$ ]] ||
    die "--capacity=$capacity: use spot, on_demand or reserved"
  [[ $capacity != reserved || $via == slice || -n $reservation ]] ||
    die "--capacity=reserved with --via=$via needs --reservation=NAME"
  [[ $name =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
    die "--name=$name: use a-z, 0-9 and -, a letter first, at most 40 characters"
  for key in slices poll tries backoff call_seconds call_tries wait_seconds lines max_restarts; do
    [[ ${!key} =~ ^[0-9]+$ ]] || die "--$key=${!key}: use a number"
  done
  [[ $slices -ge 1 ]] || die "--slices=$slices: use 1 or more"
  [[ -z $inputs || $inputs == *://* ]] || die "--inputs=$inputs: use gs://BUCKET/..."
  [[ -z $env_file || -r $env_file ]] || die "--env_file=$env_file: no such file"
  [[ $1 != run && $1 != watch && $1 != life ]] || check_workdir
  run=${run:-$(basename "${workdir:-run}")}
  [[ $run =~ ^[A-Za-z0-9._-]+$ ]] || die "--run=$run: use letters, digits, and . _ -"
  location=${location:-$zone}
  log=${log:-$root/runs/launch/$name.log}
  [[ -z $accelerator ]] || know_accelerator
}

check_workdir() {
  [[ $workdir == gs://?*/?* ]] ||
    die "--workdir=$workdir: workers share no disk and spot slices lose theirs; use gs://BUCKET/..."
  [[ -e $root/${config%%:*} ]] || die "--config=$config: no such file in $root"
}

# know_accelerator: from its name: kind, chips, hosts and topology of a slice, runtime.
# Chips, hosts and topologies: https://cloud.google.com/tpu/docs/v5e, /v5p, /v6e; runtimes:
# https://cloud.google.com/tpu/docs/runtimes; GKE: https://cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus
know_accelerator() {
  local number=${accelerator##*-} shapes entry
  local flat="1:1x1 4:2x2 8:2x4 16:4x4 32:4x8 64:8x8 128:8x16 256:16x16"
  local cube="4:2x2x1 8:2x2x2 16:2x2x4 32:2x4x4 64:4x4x4 128:4x4x8 256:4x8x8 512:8x8x8 1024:8x8x16"
  chips=$number shapes=$flat host_chips=4
  case $accelerator in
    v5litepod-[0-9]*) tpu=v5e fits=v2-alpha-tpuv5-lite gke_tpu=tpu-v5-lite-podslice machine=ct5lp-hightpu ;;
    v6e-[0-9]*) tpu=v6e fits=v2-alpha-tpuv6e gke_tpu=tpu-v6e-slice machine=ct6e-standard ;;
    v5p-[0-9]*) # named by TensorCores, two a chip
      tpu=v5p fits=v2-alpha-tpuv5 gke_tpu=tpu-v5p-slice machine=ct5p-hightpu
      [[ $number =~ ^[0-9]+$ ]] && chips=$((number / 2)) shapes=$cube
      ;;
    *) die "--accelerator=$accelerator: use v5litepod-N, v5p-N or v6e-N" ;;
  esac
  topology=""
  for entry in $shapes; do
    [[ ${entry%%:*} != "$chips" ]] || topology=${entry#*:}
  done
  [[ -n $topology ]] || die "--accelerator=$accelerator: no such size; chips a slice: $shapes"
  if [[ $tpu != v5p && $chips -le 8 ]]; then host_chips=$chips; fi # up to 8 chips: one machine
  hosts=$((chips / host_chips))
  machine+=-${host_chips}t
  runtime=${runtime:-$fits}
}
