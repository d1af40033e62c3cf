# What the build and its tests need: Rust, a C compiler, servers to test against.
source .ci/lib.sh
if ! command -v cargo >/dev/null 2>&1; then
    echo "the tests need Rust 1.94 or newer: https://rustup.rs" >&2
    exit 1
fi
cargo --version
for component in rustfmt clippy; do
    cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$component"
done
have cc build-essential
have setpriv util-linux

# Tests start servers of their own; those that a package may have started are
# not needed.
had_redis=$(found redis-server && echo yes || true)
have redis-server redis-server
have redis-cli redis-tools
have redis-sentinel redis-sentinel
if [ -z "$had_redis" ]; then
    for service in redis-server redis-sentinel; do
        service "$service" stop >/dev/null 2>&1 || true
    done
fi
had_mariadb=$(found mariadbd && echo yes || true)
have mariadbd mariadb-server
have mariadb mariadb-client
if [ -z "$had_mariadb" ]; then
    service mariadb stop >/dev/null 2>&1 || true
fi
had_postgresql=$(found initdb && echo yes || true)
have initdb postgresql
if [ -z "$had_postgresql" ]; then
    service postgresql stop >/dev/null 2>&1 || true
fi

# A real Kafka: its jars, at the version that the pom and tests/servers/kafka.rs name.
have java openjdk-17-jre-headless
kafka_jars=${XDG_CACHE_HOME:-$HOME/.cache}/usher-tools/kafka_2.13-4.1.1
if [ ! -e "$kafka_jars/kafka_2.13-4.1.1.jar" ]; then
    have mvn maven
    echo "fetching Kafka's jars into $kafka_jars"
    mkdir -p "$(dirname "$kafka_jars")"
    part=$(mktemp -d "$kafka_jars.XXXX")
    # Whole or not at all: a step that is cut short leaves no half cache.
    mvn -q -B -f .ci/kafka/pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
        -DincludeScope=runtime "-DoutputDirectory=$part"
    chmod 755 "$part"
    mv -T "$part" "$kafka_jars"
fi
