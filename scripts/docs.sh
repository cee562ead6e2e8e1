#!/usr/bin/env bash
# Builds the site of docs/ into site/, or serves it while its pages are written, with warnings alone:
#   bash scripts/docs.sh
#   bash scripts/docs.sh serve
# A link, anchor or public name that is not there fails it. Nothing is loaded from elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh dev
# The report that the gallery shows, of the runs of docs/results.md.
rm -rf build/site
uda unpack docs/results/emoji_home.jsonl build/site
uda report build/site --sweep adabn --formats html --title "EmojiHome, three seeds" > /dev/null
[ $# -gt 0 ] || set -- build --strict
NO_MKDOCS_2_WARNING=1 python -m mkdocs "$@"
