#!/usr/bin/env bash
# Builds everything and runs every test. As root on Debian it first installs the programs that the tests talk to.
# The last line is: N passed, N failed, N skipped
set -euo pipefail
cd "$(dirname "$0")"

# program:package
needed=(apache2:apache2-bin chromium:chromium curl:curl dig:bind9-dnsutils dnsmasq:dnsmasq-base go:golang-go ip:iproute2 iptables:iptables kill:procps nghttp:nghttp2-client nghttpx:nghttp2-proxy nginx:nginx-light node:nodejs nsenter:util-linux openssl:openssl promtool:prometheus protoc:protobuf-compiler python3:python3 redis-cli:redis-tools redis-server:redis-server sysctl:procps tshark:tshark)
missing=()
for pair in "${needed[@]}"; do
    command -v "${pair%%:*}" > /dev/null || missing+=("${pair##*:}")
done
/usr/bin/python3 -c 'import h2' 2> /dev/null || missing+=(python3-h2)
/usr/bin/python3 -c 'import grpc, google.protobuf' 2> /dev/null || missing+=(python3-grpcio python3-protobuf)
[ -d /usr/share/gocode/src/golang.org/x/net/http2 ] || missing+=(golang-golang-x-net-dev)
if [ "${#missing[@]}" -gt 0 ] && [ "$(id -u)" -eq 0 ] && command -v apt-get > /dev/null; then
    echo "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
fi

dotnet restore Mesh.sln
dotnet format Mesh.sln --no-restore --verify-no-changes
dotnet build Mesh.sln --no-restore -c Release

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
# One project at a time: what runs real peers under load is not to share the machine with another.
dotnet test Mesh.sln --no-build -c Release -m:1 2>&1 | tee "$log" || status=$?

awk '
    match($0, /Failed: *[0-9]+, Passed: *[0-9]+, Skipped: *[0-9]+/) {
        line = substr($0, RSTART, RLENGTH)
        gsub(/[^0-9]+/, " ", line)
        split(line, n, " ")
        failed += n[1]; passed += n[2]; skipped += n[3]
    }
    END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }
' "$log"
exit "$status"
