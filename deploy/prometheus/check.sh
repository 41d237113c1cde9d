#!/bin/bash
# Holds the rules and the dashboard against running processes: every figure that they name must be shown by one of them.
#
#   deploy/prometheus/check.sh 127.0.0.1:9464 127.0.0.1:9465 127.0.0.1:9466
#
# Give a site server with a neighbour and a CAP agent, a CAP agent and a client agent; what only one kind of process shows is
# missing otherwise. With promtool (PROMTOOL names it if it is not in the PATH) the rules, their tests, the example
# configuration and the text of each process are checked as well.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
if [ $# -eq 0 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0"
    exit 2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

for address in "$@"; do
    if ! curl -fsS --max-time 20 "http://$address/metrics" >>"$work/all" 2>"$work/error"; then
        echo "$address shows no figures: $(cat "$work/error")"
        failed=1
    fi
done
touch "$work/all"
grep -v '^#' "$work/all" | sed 's/[{ ].*//' | sort -u >"$work/shown"
for file in "$here/packhorse.rules.yml" "$here/../grafana/packhorse.json"; do
    # Annotations and legends name none.
    grep -oE '\b(packhorse|process)_[a-z_]+' "$file" | sort -u >"$work/named"
    missing=$(comm -23 "$work/named" "$work/shown")
    if [ -n "$missing" ]; then
        echo "$(basename "$file") names what nobody shows:" $missing
        failed=1
    else
        echo "$(basename "$file"): all $(wc -l <"$work/named") figures are shown"
    fi
done

promtool=${PROMTOOL:-promtool}
if command -v "$promtool" >/dev/null; then
    (
        cd "$here"
        "$promtool" check config prometheus.example.yml
        "$promtool" check rules packhorse.rules.yml
        "$promtool" test rules packhorse.rules.test.yml
    ) || failed=1
    for address in "$@"; do
        curl -fsS --max-time 20 "http://$address/metrics" | "$promtool" check metrics || failed=1
    done
else
    echo "without promtool the rules themselves are not checked"
fi
exit $failed
