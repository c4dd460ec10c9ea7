"""What can be known of the deployment's files without an engine to run them."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from app.api.metrics import CensusCollector
from app.jobs.census import Census
from app.jobs.devices import Device
from app.settings import Settings

_ROOT = Path(__file__).parents[2]
_DEPLOY = _ROOT / "deploy"
_NAMED = re.compile(r"\bespalier_[a-z_]+")


def shown():
    """Return the name of every sample that ``/metrics`` has."""
    from app.jobs.census import SeenWorker

    gpu = Device(id="GPU-1", name="NVIDIA L4", used_bytes=1, total_bytes=2)
    census = Census(unfinished=(), counted=(), workers=(SeenWorker(name="1@host", devices=(gpu,)),))
    families = CensusCollector(census).collect()
    return {sample.name for family in families for sample in family.samples}


def compose():
    return yaml.safe_load((_ROOT / "docker-compose.yml").read_text())


def kubernetes():
    return list(yaml.safe_load_all((_DEPLOY / "kubernetes" / "espalier.yaml").read_text()))


def expressions():
    """Return what each file asks Prometheus for."""
    dashboard = json.loads((_DEPLOY / "grafana" / "dashboards" / "espalier.json").read_text())
    rules = yaml.safe_load((_DEPLOY / "prometheus" / "alerts.yml").read_text())
    scaled = [each for each in kubernetes() if each["kind"] == "ScaledObject"]
    return {
        "dashboard": [
            target["expr"] for panel in dashboard["panels"] for target in panel["targets"]
        ],
        "alerts": [rule["expr"] for group in rules["groups"] for rule in group["rules"]],
        "KEDA": [
            trigger["metadata"]["query"] for each in scaled for trigger in each["spec"]["triggers"]
        ],
    }


@pytest.mark.parametrize("file", ["dashboard", "alerts", "KEDA"])
def test_nothing_is_asked_for_that_is_not_shown(file):
    asked = {name for text in expressions()[file] for name in _NAMED.findall(text)}

    assert asked
    assert asked <= shown()


def test_the_dashboard_leaves_nothing_out_that_is_shown():
    asked = {name for text in expressions()["dashboard"] for name in _NAMED.findall(text)}

    families = {name.removesuffix(end) for name in shown() for end in ("_bucket", "_sum", "_count")}
    roots = {name for name in families if not name.endswith(("_bucket", "_sum", "_count"))}
    assert {root for root in roots if not any(each.startswith(root) for each in asked)} == set()


def test_every_alert_is_explained():
    rules = yaml.safe_load((_DEPLOY / "prometheus" / "alerts.yml").read_text())
    names = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}

    operations = (_ROOT / "docs" / "operations.md").read_text()
    assert {name for name in names if f"`{name}`" not in operations} == set()


@pytest.mark.parametrize("service", compose()["services"])
def test_every_container_is_held_to_what_it_needs(service):
    settings = compose()["services"][service]

    assert settings["read_only"]
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit"} <= settings.keys()


def test_every_container_that_is_waited_for_says_when_it_is_well():
    services = compose()["services"]
    awaited = {name for each in services.values() for name in each.get("depends_on", {})}

    assert awaited == {"postgres", "redis", "s3"}
    assert all("healthcheck" in services[name] for name in {*awaited, "api", "worker-gpu"})


def test_every_setting_that_is_made_exists():
    known = {f"ESPALIER_{name.upper()}" for name in Settings.model_fields}
    made = {
        name
        for each in compose()["services"].values()
        for name in each.get("environment", {})
        if name.startswith("ESPALIER_")
    }
    secret = yaml.safe_load((_DEPLOY / "kubernetes" / "secret.example.yaml").read_text())
    made |= {name for name in secret["stringData"] if name.startswith("ESPALIER_")}

    assert made
    assert made <= known


def test_every_secret_that_is_needed_is_made():
    needed = set(re.findall(r"\$\{(ESPALIER_\w+)", (_ROOT / "docker-compose.yml").read_text()))

    made = subprocess.run([_DEPLOY / "new-secrets"], capture_output=True, text=True, check=True)

    secrets = dict(line.split("=") for line in made.stdout.splitlines())
    assert needed - {"ESPALIER_TRACES_URL"} == secrets.keys()
    assert all(re.fullmatch("[0-9a-f]{32}", secret) for secret in secrets.values())
    assert len(set(secrets.values())) == len(secrets)


def test_every_target_that_is_built_is_there():
    stages = set(
        re.findall(r"^FROM \S+ AS (\S+)$", (_ROOT / "Dockerfile").read_text(), re.MULTILINE)
    )
    built = {each["build"]["target"] for each in compose()["services"].values() if "build" in each}

    assert built == stages - {"base"} == {"api", "worker", "worker-gpu"}


def test_everything_that_is_copied_is_there_and_not_ignored():
    copied = set(re.findall(r"^COPY (\S+)", (_ROOT / "Dockerfile").read_text(), re.MULTILINE))
    kept = {
        line.removeprefix("!")
        for line in (_ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }

    assert all((_ROOT / path).exists() for path in copied)
    assert {path.partition("/")[0] for path in copied} == kept


@pytest.mark.parametrize("kind", ["api", "worker-gpu"])
def test_every_pod_is_held_to_what_it_needs(kind):
    (deployment,) = (
        each
        for each in kubernetes()
        if each["metadata"]["name"] == f"espalier-{kind}" and each["kind"] == "Deployment"
    )
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container["resources"]["limits"]
