#!/usr/bin/env bash
# The gateway at load for some minutes, while its rules are replaced each second and clients break off in the middle.
#
#   benches/gateway/soak.sh [MINUTES] [BINARY]
#
# Prints the resident memory, the open descriptors and the connections of the gateway at the start, after a minute and at
# the end, when all clients have gone. What grows with time and not with load is a leak. Needs nginx, wrk, curl and python3.
set -euo pipefail
cd "$(dirname "$0")/../.."

minutes=${1:-10}
binary=${2:-}
if [[ -z $binary ]]; then
    cargo build --profile bench --example gateway --no-default-features --features analyse,cache,capture,deny,file,health,limit,metrics,mirror,serde
    binary=${CARGO_TARGET_DIR:-target}/release/examples/gateway
fi

folder=$(mktemp -d)
pids=()
finish() {
    kill "${pids[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
up=$(port) listen=$(port) admin=$(port)

body=$(head -c 1024 /dev/zero | tr '\0' x)
sed "s|@DIR@|$folder|; s|@UPSTREAM@|$up|; s|@BODY@|$body|" benches/gateway/upstream.conf >"$folder/upstream.conf"
nginx -c "$folder/upstream.conf" -p "$folder" 2>"$folder/nginx.log" &
pids+=($!)

# The shop's rules, and every kind of statement of the service gateway on the way of the load.
cat >"$folder/gateway.rules" <<'RULES'

deny    bots:    header(user-agent) contains "BadBot"   => 403
limit   each:    true                                   => 1000000/s by cookie(uid) ?? ip
shadow limit all: true                                  => 1000/s
cache   pages:   path under "/checkout" && percent(header(x-number) ?? raw_query) < 30 => 1s stale 1s
capture some:    percent(raw_query) < 1                 => 1000 for 1h
mirror  next:    percent(raw_query) < 5                 => next
count   queries: true                                   => top 20 by raw_query per 15s
RULES
cat examples/shop.rules "$folder/gateway.rules" >"$folder/shop.rules"
# Many queries, so that keys come and go.
cat >"$folder/queries.lua" <<'LUA'
local n = 0
request = function()
    n = n + 1
    return wrk.format("GET", "/checkout?q=" .. (n * 7919) % 100000, { cookie = "uid=" .. n % 5000 })
end
LUA
clusters=()
for name in gray next prod_a prod_b; do clusters+=(--cluster "$name=127.0.0.1:$up,127.0.0.1:$up"); done
"$binary" --listen "127.0.0.1:$listen" --admin "127.0.0.1:$admin" --rules "$folder/shop.rules" "${clusters[@]}" \
    >"$folder/gateway.log" 2>&1 &
gateway=$!
pids+=("$gateway")
until curl -fso /dev/null "http://127.0.0.1:$listen/" && curl -fso /dev/null "http://127.0.0.1:$admin/_pointsman/"; do
    kill -0 "$gateway" || { cat "$folder/gateway.log" >&2; exit 1; }
    sleep 0.1
done

# New rules each second: a weight that goes up and down, and every tenth text is wrong.
(
    n=0
    while sleep 1; do
        n=$((n + 1))
        sed "s/gray 5, prod 95/gray $((n % 90 + 5)), prod $((95 - n % 90))/; s/1000000\/s/$((1000000 + n % 7))\/s/" \
            examples/shop.rules "$folder/gateway.rules" >"$folder/new"
        if ((n % 10 == 0)); then echo "route broken" >>"$folder/new"; fi
        mv "$folder/new" "$folder/shop.rules"
    done
) &
pids+=($!)

# Clients that go away: before the answer, in the middle of a head, in the middle of a body.
python3 - "$listen" <<'PYTHON' &
import itertools, socket, struct, sys, time
starts = [
    b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost:",
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"",
]
for number, start in enumerate(itertools.cycle(starts)):
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as client:
        client.sendall(start)
        if number % 2:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.005)
PYTHON
aborting=$!
pids+=("$aborting")

measure() {
    local rss fds connections
    rss=$(awk '/^VmRSS/ { print $2 }' "/proc/$gateway/status")
    fds=$(find "/proc/$gateway/fd" -mindepth 1 | wc -l)
    connections=$(curl -fs "http://127.0.0.1:$admin/_pointsman/" | grep -o '"connections": [0-9]*' | grep -o '[0-9]*')
    printf '%-16s %8s KiB %6s descriptors %6s connections\n' "$1" "$rss" "$fds" "$connections"
}

# What a program needs once it has served something; then the first minute.
wrk -s "$folder/queries.lua" -t1 -c64 -d5s "http://127.0.0.1:$listen/checkout" >"$folder/wrk.log"
measure "start"
wrk -s "$folder/queries.lua" -t1 -c64 -d60s "http://127.0.0.1:$listen/checkout" >>"$folder/wrk.log"
measure "after a minute"
if ((minutes > 1)); then
    wrk -s "$folder/queries.lua" -t1 -c64 -d"$(((minutes - 1) * 60))s" "http://127.0.0.1:$listen/checkout" >>"$folder/wrk.log"
    measure "after $minutes minutes"
fi
kill "$aborting"
for _ in $(seq 100); do
    measure "idle" >"$folder/idle"
    if grep -q ' 0 connections' "$folder/idle"; then break; fi
    sleep 0.1
done
cat "$folder/idle"
curl -fs "http://127.0.0.1:$admin/_pointsman/" | grep -E '"revision"|"gray"|"next"|"prod_' || true
grep -E 'requests in|Non-2xx|Socket errors' "$folder/wrk.log"
