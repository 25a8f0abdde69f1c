#!/usr/bin/env bash
# Training on Cloud TPU slices: one command from nothing to an exported model.
#
#   launch/tpu.sh VERB [--settings=FILE] [--FLAG=VALUE ...] [-- TRAIN_ARGS]
#
#   create   ask for the slices and wait until they are there
#   install  this checkout, a .venv and pinned packages on every worker (GKE: build the image)
#   run      start `sg4v train` on every worker; a lost connection does not end it
#   status   what the workers are doing
#   logs     show the log of a worker; --follow stays
#   stop     SIGTERM, so that the run saves and ends
#   watch    see to it that the run ends well: create, install and run what is missing, make
#            preempted slices again and resume, until the run is done
#   export   the trained model as PyTorch files, to --export=gs://...
#   delete   give the slices back (asks; --yes does not)
#   life     create, install, watch (which runs), export, delete
#   render   with --via=jobset: print the manifest
#
# --via=slice     queued resources and SSH (the default)
#      =xpk       an XPK cluster and workload
#      =jobset    GKE node pools and a plain JobSet
#
# --dry_run prints the commands, each with a link to its documentation, and runs none. All
# settings: launch/tpu/settings.sh; all the rest: launch/README.md.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/common.sh
source "$here/common.sh"
# shellcheck source=launch/tpu/settings.sh
source "$here/tpu/settings.sh"
# shellcheck source=launch/tpu/call.sh
source "$here/tpu/call.sh"

verbs="create install run status logs stop watch export delete life render"
verb=${1:-help}
[[ $# == 0 ]] || shift
case $verb in
  help | --help | -h)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac
[[ " $verbs " == *" $verb "* ]] || die "unknown verb $verb; use one of: $verbs"

read_settings "$@"
check_settings "$verb"
# shellcheck source=launch/tpu/slice.sh
source "$here/tpu/slice.sh"
# shellcheck source=launch/tpu/watch.sh
source "$here/tpu/watch.sh"
if [[ $via != slice ]]; then
  # shellcheck source=launch/tpu/gke.sh
  source "$here/tpu/gke.sh"
  # shellcheck source=/dev/null # xpk.sh or jobset.sh
  source "$here/tpu/$via.sh"
fi
"do_$verb"
