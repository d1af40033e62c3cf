# docker-compose.yml: valid, and its services run as native processes from what it says.
source .ci/lib.sh
have redis-server redis-server
have haproxy haproxy
have python3 python3
# Modules are no commands, so `have` cannot look for them.
if ! python3 -c 'import yaml, jsonschema' 2>/dev/null; then
    modules=(python3-yaml python3-jsonschema)
    apt-get install -y --no-install-recommends "${modules[@]}" >/dev/null ||
        { apt-get update >/dev/null && apt-get install -y --no-install-recommends "${modules[@]}" >/dev/null; }
fi
cargo build --locked --bin usher
binary=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/debug/usher
python3 tests/compose/topology.py "$binary" default nodes cluster kafka mariadb
echo "compose: the file is valid; one node, three nodes behind a balancer, a Redis Cluster, a node on Kafka and one on MariaDB each sold tickets" >>"$CI_SUMMARY"
