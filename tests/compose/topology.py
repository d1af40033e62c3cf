#!/usr/bin/env python3
"""Runs what docker-compose.yml describes without a container engine.

The file is checked against the Compose schema. Then each profile is started as native processes from the same
environment blocks, commands, dependencies and health checks, read out of the file: only addresses, ports and
directories are replaced, since all services share this machine. Where an image has an entry point that makes something
first (PostgreSQL's makes the cluster, the role and the database), this does the same.

usage: topology.py USHER_BINARY PROFILE...   (`default` is what starts without a profile)
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE_S = 180
# What a service listens on inside its container.
PORTS = {"postgres": 5432, "mariadb": 3306, "redis": 6379, "usher": 50051, "haproxy": 50050, "apache/kafka": 9092}
# Where .ci/steps/10-tools.sh puts them.
KAFKA_JARS = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "usher-tools/kafka_2.13-4.1.1"
# Of Kafka's controller, which only it itself connects to.
CONTROLLER = 9093


def load():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    schema = json.loads((ROOT / "deploy/compose-spec.json").read_text())
    jsonschema.Draft7Validator(schema).validate(compose)
    return compose["services"]


# Ports that were handed out: the kernel may name one twice before it is used.
GIVEN = set()


def free_port():
    """A port whose cluster bus (+ 10000) is a port, too."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port < 55_000 and not {port - 10_000, port, port + 10_000} & GIVEN:
            GIVEN.add(port)
            return port


class Service:
    def __init__(self, name, text, home):
        self.name, self.text, self.home = name, text, home
        self.image = text["image"].split(":")[0]
        self.port = free_port()
        self.ops_port = free_port()
        self.process = None
        home.mkdir(parents=True)
        shutil.chown(home, *self.owner())

    def owner(self):
        own = {"postgres": "postgres", "mariadb": "mysql"}.get(self.image)
        return (own, own) if own and os.getuid() == 0 else (os.getuid(), os.getgid())

    def inner_port(self):
        return PORTS[self.image]


class Topology:
    def __init__(self, binary, directory):
        self.binary, self.directory = binary, directory
        self.services, self.started = {}, []

    def add(self, name, text):
        self.services[name] = Service(name, text, self.directory / name)

    def native(self, text):
        """`redis:6379` becomes an address of this machine, `$$` becomes `$`."""
        def address(found):
            service = self.services.get(found[1])
            if service is None or int(found[2]) != service.inner_port():
                return found[0]
            return f"127.0.0.1:{service.port}"

        return re.sub(r"\b([a-z][a-z0-9-]*):(\d+)\b", address, text).replace("$$", "$")

    def environment(self, service):
        own = {key: self.native(str(value)) for key, value in service.text.get("environment", {}).items()}
        if service.image == "usher":
            own["USHER_LISTEN"] = own["USHER_LISTEN"].replace("50051", str(service.port))
            own["USHER_DATA_DIR"] = str(service.home)
            if "USHER_OPS_LISTEN" in own:
                own["USHER_OPS_LISTEN"] = f"127.0.0.1:{service.ops_port}"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("USHER_")}
        return inherited | own

    def command(self, service):
        command = [self.native(part) for part in service.text.get("command", [])]
        if service.image == "usher":
            assert command[0] == "usher"
            return [self.binary, *command[1:]]
        if command[:1] == ["redis-server"]:
            return [*command, "--port", str(service.port), "--dir", str(service.home), "--bind", "127.0.0.1"]
        if service.image == "haproxy":
            mounted = next(volume.split(":")[0] for volume in service.text["volumes"])
            text = self.native((ROOT / mounted).read_text()).replace("bind :50050", f"bind 127.0.0.1:{service.port}")
            (service.home / "haproxy.cfg").write_text(text)
            return ["haproxy", "-db", "-f", str(service.home / "haproxy.cfg")]
        return command

    def postgres(self, service):
        """What the image's entry point does."""
        bin_dir = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        data, env = service.home / "data", service.text["environment"]
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        (service.home / "password").write_text(env["POSTGRES_PASSWORD"])
        make = [*as_user, bin_dir / "initdb", "-D", data, "-U", env["POSTGRES_USER"], "-A", "scram-sha-256",
                "--pwfile", service.home / "password"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        serve = [*as_user, bin_dir / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(service.port),
                 "-k", service.home]
        self.spawn(service, serve)
        self.wait_healthy(service, ["pg_isready", "-h", "127.0.0.1", "-p", str(service.port)])
        if env["POSTGRES_DB"] != env["POSTGRES_USER"]:
            self.psql(service, f'create database "{env["POSTGRES_DB"]}"')
        else:
            self.psql(service, f'create database "{env["POSTGRES_USER"]}"')

    def mariadb(self, service):
        """What the image's entry point does."""
        data, env = service.home / "data", service.text["environment"]
        as_user = ["setpriv", "--reuid=mysql", "--regid=mysql", "--clear-groups"] if os.getuid() == 0 else []
        make = [*as_user, "mariadb-install-db", "--no-defaults", "--skip-test-db", f"--datadir={data}",
                "--auth-root-authentication-method=normal"]
        # One that starts deletes what it takes for left behind in its own: others' tables in the common one.
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                       env={**os.environ, "TMPDIR": str(service.home)})
        user, password, database = (env[f"MARIADB_{name}"] for name in ("USER", "PASSWORD", "DATABASE"))
        (service.home / "init.sql").write_text(
            f"CREATE DATABASE IF NOT EXISTS {database};\n"
            f"CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}';\n"
            f"GRANT ALL ON {database}.* TO '{user}'@'%';\n"
        )
        program, *options = self.command(service)
        serve = [*as_user, shutil.which(program) or f"/usr/sbin/{program}", "--no-defaults", *options,
                 f"--datadir={data}", f"--tmpdir={service.home}", f"--init-file={service.home / 'init.sql'}",
                 f"--socket={service.home / 'socket'}",
                 "--bind-address=127.0.0.1", "--skip-name-resolve", f"--port={service.port}"]
        self.spawn(service, serve)

    def psql(self, service, statement):
        env = service.text["environment"]
        url = f"postgres://{env['POSTGRES_USER']}:{env['POSTGRES_PASSWORD']}@127.0.0.1:{service.port}/postgres"
        subprocess.run(["psql", "-q", url, "-c", statement], check=True)

    def kafka(self, service):
        """What the image's entry point does: settings out of the environment, and a format of the data."""
        controller = free_port()
        settings = {}
        for name, value in service.text["environment"].items():
            value = self.native(str(value)).replace(f"@kafka:{CONTROLLER}", f"@127.0.0.1:{controller}")
            value = value.replace(f"//:{PORTS[service.image]}", f"//127.0.0.1:{service.port}")
            value = value.replace(f"//:{CONTROLLER}", f"//127.0.0.1:{controller}")
            settings[name.removeprefix("KAFKA_").lower().replace("_", ".")] = value
        settings["log.dirs"] = str(service.home / "data")
        # What fits beside everything else on this machine.
        settings["log.cleaner.dedupe.buffer.size"] = str(2 << 20)
        (service.home / "server.properties").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        (service.home / "data").mkdir()
        (service.home / "data/meta.properties").write_text(
            "version=1\ncluster.id=dXNoZXItdGVzdC1jbHVzdGU\nnode.id=1\ndirectory.id=dXNoZXItdGVzdC1kaXIw1Q\n"
        )
        self.spawn(service, ["java", "-Xmx256m", "-cp", f"{KAFKA_JARS}/*", "kafka.Kafka",
                             service.home / "server.properties"])

    def spawn(self, service, command):
        log = open(service.home / "log", "wb")
        die_with_us = ["setpriv", "--pdeathsig", "KILL"]
        service.process = subprocess.Popen(
            [*die_with_us, *map(str, command)], env=self.environment(service), cwd=service.home, stdout=log, stderr=log
        )

    def start(self, service):
        self.started.append(service)
        if service.image == "postgres":
            return self.postgres(service)
        if service.image == "apache/kafka":
            return self.kafka(service)
        if service.image == "mariadb":
            return self.mariadb(service)
        self.spawn(service, self.command(service))

    def health(self, service):
        test = service.text.get("healthcheck", {}).get("test")
        if test is None:
            return None
        if service.image == "apache/kafka":
            # Its own tool is a second Java; that it listens is what we can ask for less.
            ask = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 1).close()"
            return [sys.executable, "-c", ask, str(service.port)]
        assert test[0] == "CMD", test
        test = [self.native(part) for part in test[1:]]
        extra = {"redis-cli": ["-p", str(service.port)],
                 "mariadb-admin": ["--no-defaults", "--protocol=tcp", "--skip-ssl", f"--port={service.port}"],
                 "pg_isready": ["-h", "127.0.0.1", "-p", str(service.port)]}.get(test[0], [])
        program = self.binary if test[0] == "usher" else test[0]
        return [program, *extra, *test[1:]]

    def wait_healthy(self, service, command):
        until = time.monotonic() + PATIENCE_S
        while subprocess.run(command, env=self.environment(service), capture_output=True).returncode != 0:
            if service.process.poll() is not None or time.monotonic() > until:
                log = (service.home / "log").read_text(errors="replace")
                sys.exit(f"{service.name} is not healthy; its log:\n{log[-4000:]}")
            time.sleep(0.1)

    def wait_listening(self, service):
        """For an image without a tool to ask: a client of a published port would try again as well."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return socket.create_connection(("127.0.0.1", service.port), timeout=1).close()
            except OSError:
                if service.process.poll() is not None or time.monotonic() > until:
                    sys.exit(f"{service.name} does not listen:\n{(service.home / 'log').read_text(errors='replace')}")
                time.sleep(0.1)

    def up(self, names):
        """Starts these in an order that `depends_on` allows, each as it says."""
        done = set()
        while len(done) < len(names):
            ready = [name for name in names if name not in done and self.needs(name).keys() <= done]
            assert ready, f"depends_on goes in a circle: {set(names) - done}"
            for name in ready:
                service = self.services[name]
                for needed, condition in self.needs(name).items():
                    self.wait_for(self.services[needed], condition)
                self.start(service)
                done.add(name)
        for name in names:
            service = self.services[name]
            if (command := self.health(service)) is not None:
                self.wait_healthy(service, command)
            elif service.text.get("ports"):
                self.wait_listening(service)
        print(f"compose: {', '.join(names)} are up and healthy", flush=True)

    def needs(self, name):
        return {needed: how["condition"] for needed, how in self.services[name].text.get("depends_on", {}).items()}

    def wait_for(self, service, condition):
        if condition == "service_healthy":
            return self.wait_healthy(service, self.health(service))
        assert condition == "service_completed_successfully", condition
        if service.process.wait(timeout=PATIENCE_S) != 0:
            sys.exit(f"{service.name} failed:\n{(service.home / 'log').read_text(errors='replace')[-4000:]}")
        return None

    def down(self):
        """Those who need others first, each by its image's stop signal and in its grace."""
        for service in reversed(self.started):
            if service.process is None or service.process.poll() is not None:
                continue
            service.process.send_signal(signal.SIGINT if service.image == "postgres" else signal.SIGTERM)
            try:
                code = service.process.wait(timeout=15)
                if service.image == "usher":
                    assert code == 0, f"{service.name} stopped with {code}"
            except subprocess.TimeoutExpired:
                service.process.kill()
                sys.exit(f"{service.name} did not stop in its grace")


def sale(topology, name, users):
    """A small crowd, from the line to the paid seat, through this service's port."""
    port = topology.services[name].port
    command = [topology.binary, "demo", "--users", str(users), "--target", f"http://127.0.0.1:{port}"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("USHER_")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=4 * PATIENCE_S)
    if done.returncode != 0:
        sys.exit(f"the crowd failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    print(f"compose: {users} people went through {name}", flush=True)


def events(topology, name):
    """What the crowd bought is published, and the worker has counted it."""
    service = topology.services["postgres-kafka"]
    env = service.text["environment"]
    url = f"postgres://{env['POSTGRES_USER']}:{env['POSTGRES_PASSWORD']}@127.0.0.1:{service.port}/{env['POSTGRES_DB']}"
    ask = ("select (select count(*) from outbox where published_at is null), (select coalesce(sum(sold), 0) from"
           " sales_figures), (select count(*) from seats where state = 'sold'), (select count(*) from dead_letters)")
    until = time.monotonic() + PATIENCE_S
    while True:
        told = subprocess.run(["psql", "-qAt", url, "-c", ask], check=True, capture_output=True, text=True).stdout
        pending, counted, sold, parked = map(int, told.split("|"))
        if pending == 0 and counted == sold > 0:
            break
        if time.monotonic() > until:
            log = (topology.services["worker-kafka"].home / "log").read_text(errors="replace")
            sys.exit(f"events of {name} do not arrive ({told}):\n{log[-3000:]}")
        time.sleep(0.2)
    assert parked == 0, f"{parked} events are parked"
    print(f"compose: {sold} seats sold through {name} were published and counted", flush=True)


def main():
    binary, profiles = sys.argv[1], sys.argv[2:]
    described = load()
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        for profile in profiles:
            topology = Topology(binary, pathlib.Path(directory) / profile)
            chosen = {
                name: text for name, text in described.items() if not text.get("profiles") or profile in text["profiles"]
            }
            for name, text in chosen.items():
                topology.add(name, text)
            try:
                topology.up(list(chosen))
                entry = {"default": "usher", "nodes": "balancer", "cluster": "usher-cluster", "kafka": "usher-kafka",
                         "mariadb": "usher-mariadb"}[profile]
                sale(topology, entry, 20)
                if profile == "kafka":
                    events(topology, entry)
            finally:
                topology.down()


if __name__ == "__main__":
    main()
