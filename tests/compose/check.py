"""Holds deploy/docker-compose.yml against the schema of compose files, and runs what it runs, without containers:
the commands of our services, with the environment it gives them, on a pair of embedded servers.

usage: check.py PATH-OF-OUR-BINARY
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy" / "docker-compose.yml"
PATIENCE_S = 120


def our_services(services):
    return {name: service for name, service in services.items() if service.get("image") == "kafka-taos"}


def words(command):
    return shlex.split(command) if isinstance(command, str) else list(command)


def schema():
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    subprocess.run(checker, check=True, stdout=subprocess.DEVNULL)


def dependencies(services):
    """Who waits for another's health must be able to see it."""
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            healthy = how["condition"] == "service_healthy"
            assert not healthy or "healthcheck" in services[other], f"{name} waits for {other}, which has no health check"
    consumer = services["consumer"]
    assert not {"container_name", "ports", "hostname"} & consumer.keys(), "there can be only one such consumer"


def build_context():
    """What .dockerignore lets through is a whole workspace."""
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    with tempfile.TemporaryDirectory() as folder:
        for name in kept:
            source, target = ROOT / name, Path(folder) / name
            if source.is_dir():
                shutil.copytree(source, target)
            elif source.exists():
                shutil.copy(source, target)
        metadata = ["cargo", "metadata", "--locked", "--offline", "--format-version", "1"]
        subprocess.run(metadata, cwd=folder, check=True, stdout=subprocess.DEVNULL)


class Servers:
    """Embedded servers, and our services' commands on them."""

    def __init__(self, binary, services):
        self.binary, self.services = binary, services
        embedded = [binary, "embedded", "--kafka-port", "0", "--tdengine-port", "0", "--quiet"]
        self.process = subprocess.Popen(embedded, stdout=subprocess.PIPE, text=True)
        ready = dict(word.split("=") for word in self.process.stdout.readline().split()[1:])
        self.addresses = {"kafka:9092": ready["kafka"], "tdengine:6041": ready["tdengine"]}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def start(self, name, *more, command=None):
        service = self.services[name]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("KAFKA_", "TDENGINE_"))}
        for key, value in service["environment"].items():
            for there, here in self.addresses.items():
                value = value.replace(there, here)
            environment[key] = value
        entrypoint = words(service.get("entrypoint", ["/usr/local/bin/kafka-taos"]))[1:]
        arguments = [self.binary, *entrypoint, *words(command or service["command"]), *more]
        return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True)

    def finish(self, process, code):
        said, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == code, f"{process.args} ended with {process.returncode}, not {code}: {said}"
        return said

    def run(self, name, *more, code=0, command=None):
        return self.finish(self.start(name, *more, command=command), code)


def commands(binary, services):
    """In the order in which compose would start them, with few records."""
    ours = our_services(services)
    with Servers(binary, ours) as servers:
        servers.run("topic", "--no-such-flag", code=2)  # a command that is wrong is found out
        servers.run("topic")
        servers.run("topic")  # `up` a second time
        consumers = [servers.start("consumer", "--json") for _ in range(2)]
        made = json.loads(servers.run("producer", "--records", "10", "--json").splitlines()[-1])
        assert made["produced"] == 1000, made

        def count():
            rows = servers.run("sql", "--json", command=["select count(*) from test.stb"])
            return json.loads(rows.splitlines()[-1])["rows"][0][0]

        until(lambda: count() == 1000, "all rows are there")
        for consumer in consumers:
            consumer.send_signal(signal.SIGTERM)
        consumed = [json.loads(servers.finish(consumer, 143).splitlines()[-1]) for consumer in consumers]
        assert sum(one["rows_written"] for one in consumed) >= 1000, consumed
        servers.run("sql")


def until(holds, what):
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s in vain until {what}"
        time.sleep(0.2)


def main():
    binary = str(Path(sys.argv[1]).resolve())
    services = YAML(typ="safe").load(FILE)["services"]
    schema()
    dependencies(services)
    build_context()
    commands(binary, services)
    print(f"{FILE.relative_to(ROOT)}: valid, and {len(our_services(services))} services' commands do their work")


if __name__ == "__main__":
    main()
