"""Everything that the chart renders, part by part and example by example: valid, consistent and hardened.

Kubernetes' schemas check fields and types. These tests check what no schema does: that names, labels, ports, volumes
and quantities fit together, and every rule of the restricted Pod Security Standard.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from adapter.app import STAGES
from adapter.settings import Settings
from helm.cases import INGRESS, LOG_SINK, PARTS, PUBLIC, SIDECAR, merged, minimal
from helm.examples import Example, all_examples
from helm.object_schemas import NEWEST, OLDEST, errors_in
from helm.objects import Pod, in_order, pods, selected, walk
from helm.rendered_cases import CASES, EXAMPLES, objects_of, rendered_case
from helm.renderer import Rendered, Renderer, find_renderer
from helm.settings_values import CHART

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
DNS_1035_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9]|-(?!-)){0,13}[a-z0-9]")
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9])?")
LABEL_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9][-A-Za-z0-9_.]{0,62}")
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
LONGEST_RELEASE = "a-release-with-the-longest-name-that-helm-takes-53-chars"[:53]


every_case = pytest.mark.parametrize("case", CASES)


@every_case
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_objects_fit_the_schemas(case: str, version: str) -> None:
    """Strictly: an unknown field is an error."""
    assert [error for each in objects_of(case) for error in errors_in(each, version)] == []


BRACES_OF_OTHERS = ("/prometheusrule.yaml", "/dashboard.yaml")
"""Templates of objects whose texts Prometheus and Grafana fill in."""


def test_the_schemas_find_mistakes() -> None:
    """A misspelt field, a wrong type and an unknown kind are found: the test above can fail."""
    deployment = rendered_case("minimal").one("Deployment")
    misspelt = {**deployment, "spec": {**deployment["spec"], "replica": 1}}
    mistyped = {**deployment, "spec": {**deployment["spec"], "replicas": "two"}}
    unknown = {**deployment, "kind": "Deploiment"}
    monitor = rendered_case("pod monitor").one("PodMonitor")
    wrong_monitor = {**monitor, "spec": {**monitor["spec"], "endpoints": []}}

    for each in (misspelt, mistyped, unknown, wrong_monitor):
        assert errors_in(each, NEWEST), each
    assert OLDEST == "1.33"
    assert tuple(map(int, NEWEST.split("."))) > (1, 33)


@pytest.mark.parametrize("case", ["minimal", "keda of components", "sidecar with everything", "example shop"])
def test_the_strict_lint_finds_nothing(case: str, renderer: Renderer) -> None:
    """Neither in the chart, with few values and with many, nor in the shop's chart."""
    example = EXAMPLES.get(case)
    chart, values = (example.chart, example.values) if example else (CHART, PARTS[case])

    assert renderer.lint(chart, values) == []


def test_the_strict_lint_finds_mistakes(renderer: Renderer) -> None:
    """A value that the schema does not know."""
    assert renderer.lint(CHART, {"replica": 2})


@every_case
def test_names_are_unique_and_short_enough(case: str) -> None:
    """Names are DNS labels, although some kinds take longer ones; a Service's begins with a letter."""
    names = [(each["kind"], each["metadata"]["name"]) for each in rendered_case(case).objects]

    assert len(names) == len(set(names))
    for kind, name in names:
        assert (DNS_1035_LABEL if kind == "Service" else DNS_LABEL).fullmatch(name), (kind, name)
    for pod in pods(rendered_case(case).objects):
        for named in ([each["name"] for each in pod.containers], [each["name"] for each in pod.spec["volumes"]]):
            assert all(DNS_LABEL.fullmatch(name) for name in named), named
            assert len(named) == len(set(named))


@pytest.mark.parametrize("case", PARTS)
def test_the_longest_release_name_makes_valid_names(case: str) -> None:
    """Helm takes 53 characters; a pod's name has a hash appended, a label 63."""
    for each in rendered_case(case, LONGEST_RELEASE).objects:
        assert DNS_LABEL.fullmatch(each["metadata"]["name"]), each["metadata"]["name"]
        for path, labels in walk(each):
            if path.endswith((".labels", ".matchLabels")):
                assert all(LABEL_VALUE.fullmatch(value) for value in labels.values()), labels


@every_case
def test_labels_are_labels(case: str) -> None:
    """Keys and values within their limits, values as texts."""
    for each in rendered_case(case).objects:
        for path, labels in walk(each):
            if path.endswith((".labels", ".matchLabels")):
                assert all(LABEL_KEY.fullmatch(key) for key in labels), labels
                assert all(LABEL_VALUE.fullmatch(value) for value in labels.values()), labels


@every_case
def test_selectors_select_what_they_are_for(case: str) -> None:
    """A Deployment, a budget and a spread select the pods of their own Deployment and no others."""
    everything = pods(rendered_case(case).objects)
    for pod in everything:
        if pod.owner["kind"] != "Deployment":
            continue
        spreads = [each["labelSelector"] for each in pod.spec.get("topologySpreadConstraints", [])]
        for selector in [pod.owner["spec"]["selector"], *spreads]:
            assert [each for each in everything if selected(selector, each.labels)] == [pod]
    for budget in rendered_case(case).all("PodDisruptionBudget"):
        (pod,) = (each for each in everything if selected(budget["spec"]["selector"], each.labels))
        assert pod.owner["metadata"]["name"] == budget["metadata"]["name"]


@every_case
def test_services_and_monitors_reach_a_port_that_their_pods_have(case: str) -> None:
    """The callbacks' Service selects pods that receive, and all of them."""
    rendered = rendered_case(case)
    running = [pod for pod in pods(rendered.objects) if pod.owner["kind"] == "Deployment"]
    for service in rendered.all("Service"):
        behind = [pod for pod in running if selected({"matchLabels": service["spec"]["selector"]}, pod.labels)]
        if not running and case in PARTS:
            continue  # the pods are the shop's
        assert behind, service["metadata"]["name"]
        others = [pod for pod in pods(rendered.objects) if pod not in running]
        assert not any(selected({"matchLabels": service["spec"]["selector"]}, pod.labels) for pod in others)
        for port in service["spec"]["ports"]:
            target = port["targetPort"]
            key = "containerPort" if isinstance(target, int) else "name"
            for pod in behind:
                assert target in [each[key] for container in pod.containers for each in container.get("ports", [])]
    for monitor in rendered.all("ServiceMonitor"):
        (service,) = (
            each
            for each in rendered.all("Service")
            if selected(monitor["spec"]["selector"], each["metadata"]["labels"])
        )
        assert {each["port"] for each in monitor["spec"]["endpoints"]} <= {
            each["name"] for each in service["spec"]["ports"]
        }
    for monitor in rendered.all("PodMonitor"):
        watched = [pod for pod in running if selected(monitor["spec"]["selector"], pod.labels)]
        assert watched == running
        assert not any(
            selected(monitor["spec"]["selector"], pod.labels) for pod in pods(rendered.objects) if pod not in running
        )
        ports = {each["name"] for pod in running for container in pod.adapters for each in container["ports"]}
        assert not running or {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]} <= ports


def _documents(rendered: Rendered, *endings: str) -> list[Any]:
    """What ConfigMaps hold under the names with these endings; at least one."""
    entries = [entry for each in rendered.all("ConfigMap") for entry in each["data"].items()]
    found = [yaml.safe_load(text) for name, text in entries if name.endswith(endings)]
    assert found
    return found


@every_case
def test_the_console_is_on_no_port_that_others_reach(case: str) -> None:
    """It asks for no password: no Service, container port or network policy names its port."""
    console = Settings().console.port
    rendered = rendered_case(case)
    ports = [path for each in rendered.objects for path, value in walk(each) if value == console]

    assert ports == []
    for settings in _documents(rendered, "settings.yaml"):
        assert (settings["console"]["host"], settings["console"]["port"]) == (Settings().console.host, console)
    assert f"port-forward deploy/{'SHOP' if 'sidecar' in case or case == 'example shop' else ''}" in rendered.notes
    assert f" {console}\n" in rendered.notes


def test_the_notes_warn_of_an_open_console(renderer: Renderer) -> None:
    """And say nothing of one that is off."""
    opened, off = (
        renderer.render(CHART, minimal({"config": {"console": each}})).notes
        for each in ({"host": "0.0.0.0"}, {"enabled": False})  # noqa: S104  # the mistake
    )

    assert "config.console.host is 0.0.0.0" in opened
    assert "config.console.host" not in rendered_case("minimal").notes
    assert "port-forward" not in off


@every_case
def test_no_selector_reaches_the_pods_of_another_release(case: str) -> None:
    """Of the same values in the same namespace: what selects, selects its own release's pods alone."""
    others = pods(rendered_case(case, "another").objects)
    for each in rendered_case(case).objects:
        spec = each.get("spec", {})
        if each["kind"] == "Service":
            selectors = [{"matchLabels": spec["selector"]}]
        else:
            selectors = [spec[key] for key in ("selector", "podSelector") if key in spec]
        for selector in selectors:
            assert not any(selected(selector, pod.labels) for pod in others), each["metadata"]["name"]


@every_case
def test_routes_forward_exactly_the_two_paths_to_the_callbacks(case: str) -> None:
    """To a Service and a port of it that exist."""
    rendered = rendered_case(case)
    services = {each["metadata"]["name"]: each for each in rendered.all("Service")}
    backends, paths = [], []
    for ingress in rendered.all("Ingress"):
        (rule,) = ingress["spec"]["rules"]
        assert rule["host"] == "tickets.shop.example"
        paths += [(each["pathType"], each["path"]) for each in rule["http"]["paths"]]
        backends += [
            (each["backend"]["service"]["name"], each["backend"]["service"]["port"]["name"])
            for each in rule["http"]["paths"]
        ]
    for route in rendered.all("HTTPRoute"):
        assert route["spec"]["hostnames"] == ["tickets.shop.example"]
        (rule,) = route["spec"]["rules"]
        paths += [(each["path"]["type"], each["path"]["value"]) for each in rule["matches"]]
        assert {each["method"] for each in rule["matches"]} == {"POST"}
        backends += [(each["name"], each["port"]) for each in rule["backendRefs"]]

    if not backends:
        return
    assert paths == [("Exact", "/callbacks/ecticket/refund"), ("Exact", "/callbacks/ecticket/use-status")]
    for name, port in backends:
        ports = services[name]["spec"]["ports"]
        assert port in [value for each in ports for value in (each["name"], each["port"])]


@every_case
def test_scalers_scale_deployments_without_a_number_of_their_own(case: str) -> None:
    """At most one for each Deployment; a Deployment without one has a number."""
    rendered = rendered_case(case)
    scalers = [*rendered.all("HorizontalPodAutoscaler"), *rendered.all("ScaledObject")]
    targets = [each["spec"]["scaleTargetRef"]["name"] for each in scalers]
    deployments = {each["metadata"]["name"]: each["spec"] for each in rendered.all("Deployment")}

    assert len(targets) == len(set(targets))
    assert set(targets) <= set(deployments)
    for name, spec in deployments.items():
        assert ("replicas" in spec) == (name not in targets), name


@every_case
def test_probes_ask_ports_that_the_container_has(case: str) -> None:
    """/livez starts and restarts; /readyz is for a workload of its own, never for a sidecar."""
    for pod in pods(rendered_case(case).objects):
        for container in pod.containers:
            probes = {key: container[key]["httpGet"] for key in container if key.endswith("Probe")}
            ports = {each["name"] for each in container.get("ports", [])}
            assert {probe["port"] for probe in probes.values()} <= ports
            assert all(PORT_NAME.fullmatch(name) for name in ports), ports
        for container in pod.adapters if pod.owner["kind"] == "Deployment" else ():
            paths = {key: container[key]["httpGet"]["path"] for key in container if key.endswith("Probe")}
            sidecar = container.get("restartPolicy") == "Always"
            expected = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
            assert paths == {key: path for key, path in expected.items() if not (sidecar and path == "/readyz")}


@every_case
def test_mounted_volumes_exist_and_mounts_do_not_overlap(case: str) -> None:
    """And no volume of the adapter is unused; a ConfigMap that is mounted is rendered with the mounted keys."""
    rendered = rendered_case(case)
    config_maps = {each["metadata"]["name"]: each for each in rendered.all("ConfigMap")}
    for pod in pods(rendered.objects):
        used = set()
        for container in pod.containers:
            mounts = container.get("volumeMounts", [])
            used |= {each["name"] for each in mounts}
            paths = [f"{each['mountPath'].rstrip('/')}/" for each in mounts]
            assert not [(a, b) for a in paths for b in paths if a != b and a.startswith(b)], paths
        assert used == set(pod.volumes)
        config = pod.volumes.get("ecticket-config")
        assert config is not None
        content = config_maps[config["configMap"]["name"]]["data"]
        assert {each["key"] for each in config["configMap"]["items"]} == set(content)


@every_case
def test_the_settings_name_files_that_are_mounted(case: str) -> None:
    """`secrets_dir`, the plugin files and every path of the settings lie in a volume."""
    for pod in pods(rendered_case(case).objects):
        (adapter,) = pod.adapters
        mounts = [f"{each['mountPath']}/" for each in adapter["volumeMounts"]]
        config = pod.volumes["ecticket-config"]["configMap"]["name"]
        settings = yaml.safe_load(rendered_case(case).one("ConfigMap", config)["data"]["settings.yaml"])
        named = [value for _, value in walk(settings) if isinstance(value, str) and value.startswith("/")]
        named += [each["value"] for each in adapter["env"] if each["value"].startswith("/")]
        for path in named:
            assert any(f"{path}/".startswith(mount) for mount in mounts), path


@every_case
def test_quantities_are_quantities(case: str) -> None:
    """And every container has requests, and a limit on memory that is at least its request."""
    for pod in pods(rendered_case(case).objects):
        for path, value in walk(pod.spec):
            if path.endswith((".memory", ".cpu", ".sizeLimit")):
                assert QUANTITY.fullmatch(str(value)), (path, value)
        for container in pod.containers:
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys()
            assert _bytes(resources["limits"]["memory"]) >= _bytes(resources["requests"]["memory"])


def _bytes(quantity: str) -> float:
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return float(quantity[:-2]) * units[quantity[-2:]]


@every_case
def test_the_sidecar_is_a_native_one(case: str) -> None:
    """An init container that is always restarted, after those of its plugins; the pod's grace includes its own."""
    for pod in pods(rendered_case(case).objects):
        starting = pod.spec.get("initContainers", [])
        always = [each for each in starting if each.get("restartPolicy") == "Always"]
        assert all("restartPolicy" not in each for each in pod.spec["containers"])
        if case == "example shop" and pod.owner["kind"] == "Deployment":
            assert always == [starting[-1]]
            assert always == pod.adapters
            assert pod.spec["terminationGracePeriodSeconds"] == 30 + 25 + 10
        else:
            assert always == []


@every_case
def test_the_restricted_standard_holds(case: str) -> None:
    """Every rule of the restricted Pod Security Standard, for each container of each pod."""
    for pod in pods(rendered_case(case).objects):
        assert _violations(pod) == []


@pytest.mark.parametrize(
    "change",
    [
        {"hostNetwork": True},
        {"hostPID": True},
        {"hostIPC": True},
        {"volumes": [{"name": "x", "hostPath": {"path": "/"}}]},
        {"securityContext": {}},
        {"securityContext": {"runAsNonRoot": True, "runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}}},
        {"securityContext": {"runAsNonRoot": True, "sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]}},
        {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
        {"container": {"privileged": True}},
        {"container": {"allowPrivilegeEscalation": True}},
        {"container": {"capabilities": {"drop": ["NET_RAW"]}}},
        {"container": {"capabilities": {"drop": ["ALL"], "add": ["SYS_PTRACE"]}}},
        {"container": {"runAsUser": 0}},
        {"container": {"runAsNonRoot": False}},
        {"container": {"seccompProfile": {"type": "Unconfined"}}},
        {"container": {"procMount": "Unmasked"}},
        {"container": {"readOnlyRootFilesystem": False}},
        {"ports": [{"name": "x", "containerPort": 80, "hostPort": 80}]},
    ],
    ids=str,
)
def test_each_rule_of_the_standard_is_checked(change: Mapping[str, Any]) -> None:
    """A pod that breaks one rule is found: the test above can fail."""
    pod = pods(rendered_case("minimal").objects)[0]
    (container,) = pod.spec["containers"]
    context = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    container = {**container, "securityContext": {**context, **change.get("container", {})}}
    if "ports" in change:
        container["ports"] = change["ports"]
    own = {key: value for key, value in change.items() if key not in ("container", "ports")}
    spec = {**pod.spec, "containers": [container], **own}

    assert _violations(Pod({"spec": {"template": {"metadata": {}, "spec": spec}}}))
    allowed = {**pod.spec, "containers": [{**container, "securityContext": context, "ports": []}]}
    assert _violations(Pod({"spec": {"template": {"metadata": {}, "spec": allowed}}})) == []


ALLOWED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
SAFE_SYSCTLS: set[str] = set()


def _violations(pod: Pod) -> list[str]:
    """Rules of https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and two of our own."""
    found = []
    spec, own = pod.spec, pod.spec.get("securityContext", {})
    found += [f"{key}" for key in ("hostNetwork", "hostPID", "hostIPC", "hostUsers") if spec.get(key)]
    found += [f"volume {name}" for name, each in pod.volumes.items() if not ALLOWED_VOLUMES & each.keys()]
    found += ["sysctls"] if {each["name"] for each in own.get("sysctls", [])} - SAFE_SYSCTLS else []
    found += ["windows"] if "windowsOptions" in own else []
    if spec.get("automountServiceAccountToken") is not False:
        found.append("token")
    for container in pod.containers:
        context = {**own, **container.get("securityContext", {})}
        capabilities = context.get("capabilities", {})
        rules = {
            "privileged": not context.get("privileged"),
            "escalation": context.get("allowPrivilegeEscalation") is False,
            "non-root": context.get("runAsNonRoot") is True and context.get("runAsUser") != 0,
            "seccomp": context.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "capabilities": capabilities.get("drop") == ["ALL"]
            and set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
            "proc mount": context.get("procMount", "Default") == "Default",
            "selinux": not context.get("seLinuxOptions"),
            "apparmor": context.get("appArmorProfile", {}).get("type", "RuntimeDefault") != "Unconfined",
            "host port": not any(each.get("hostPort") for each in container.get("ports", [])),
            "read-only root": context.get("readOnlyRootFilesystem") is True,
        }
        found += [f"{container['name']}: {rule}" for rule, holds in rules.items() if not holds]
    return found


@every_case
def test_no_secret_is_in_a_config_map(case: str) -> None:
    """Secrets are mounted files: the settings have no key that is one, and the environment refers to none."""
    for document in _documents(rendered_case(case), ".yaml", ".json"):
        keys = {path.rpartition(".")[2] for path, _ in walk(document)}
        assert not keys & {"hash_key", "hash_iv", "sasl_password", "signing_key", "secrets"}
    assert rendered_case(case).all("Secret") == []
    for pod in pods(rendered_case(case).objects):
        for container in pod.containers:
            assert "envFrom" not in container
            assert all(each.keys() == {"name", "value"} for each in container.get("env", []))


@every_case
def test_the_notes_name_what_exists(case: str) -> None:
    """Every Deployment and Job in a command of the notes is rendered; no template mark is left."""
    rendered = rendered_case(case)
    notes = rendered.notes
    deployments = {each["metadata"]["name"] for each in rendered.all("Deployment")}
    jobs = {each["metadata"]["name"] for each in rendered.all("Job")}

    assert set(re.findall(r"deploy/([a-z0-9-]+)", notes)) <= deployments
    assert set(re.findall(r"job/([a-z0-9-]+)", notes)) == jobs
    assert "ecticket-adapter check" in notes
    assert not re.search(r"<no value>|%!", notes + rendered.text)
    braces = (text for path, text in rendered.files.items() if not path.endswith(BRACES_OF_OTHERS))
    assert "{{" not in notes + "".join(braces)


def _notes(values: Mapping[str, Any]) -> tuple[set[str], set[str], set[str]]:
    """The stages that the notes list as at work, as off, and as missing."""
    notes = find_renderer().render(CHART, minimal(values)).notes
    (at_work,) = re.findall(r"^Stages at work: (.+)\.$", notes, flags=re.MULTILINE)
    missing = re.findall(r"^This release does not run ([a-z, ]+), which", notes, flags=re.MULTILINE)
    off = re.findall(r"^  off: ([a-z]+) \(", notes, flags=re.MULTILINE)
    return set(at_work.split(", ")), set(off), {each for text in missing for each in text.split(", ")}


COLLECT = {"config": {"collect": {"issue_types": ["serial_number"]}}}
RECONCILE = {"config": {"reconcile": {"at": "05:00"}}}
WEBHOOK = {"config": {"plugins": {"settings": {"webhook": {"endpoints": {"shop": {"url": "https://shop.example"}}}}}}}
FEW = {"stages": ["submit", "confirm"]}


@pytest.mark.parametrize(
    ("values", "off", "missing"),
    [
        ({}, {"collect", "reconcile", "deliver"}, set()),
        (merged(COLLECT, RECONCILE, WEBHOOK), set(), set()),
        ({"config": {"callbacks": {"enabled": False}}}, {"collect", "reconcile", "deliver", "receive"}, set()),
        (FEW, set(), set()),
        (merged(FEW, COLLECT), set(), {"collect"}),
        (merged(FEW, RECONCILE), set(), {"reconcile"}),
        (merged(FEW, WEBHOOK), set(), {"deliver"}),
        (merged(FEW, LOG_SINK), set(), {"deliver"}),
        (merged(FEW, PUBLIC), set(), {"receive"}),
        ({"components": {"submit": {}}}, set(), {"confirm"}),
        (merged({"components": {"confirm": {}}}, PUBLIC, COLLECT), set(), {"submit", "collect", "receive"}),
        (merged(SIDECAR, FEW, COLLECT, RECONCILE), set(), {"collect", "reconcile"}),
        (merged(SIDECAR, LOG_SINK), {"collect", "reconcile"}, set()),
    ],
    ids=in_order,
)
def test_the_notes_list_the_stages_that_run_and_those_that_another_release_must(
    values: Mapping[str, Any], off: set[str], missing: set[str]
) -> None:
    """By `stages`, `components` and what config turns on, in an own workload and in a sidecar."""
    run = set(values.get("stages") or values.get("components") or STAGES)

    assert _notes(values) == (run - off, off, missing)


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        (PUBLIC, False),
        (merged(PUBLIC, INGRESS), False),
        (merged(PUBLIC, {"stages": ["submit"]}), True),
        (merged(PUBLIC, {"components": {"submit": {}, "confirm": {}}}), True),
        (merged(PUBLIC, {"config": {"callbacks": {"enabled": False}}}), True),
        (merged(PUBLIC, SIDECAR, {"stages": ["submit", "confirm"]}), True),
    ],
    ids=in_order,
)
def test_the_notes_warn_of_calls_that_no_pod_receives(values: Mapping[str, Any], warned: bool) -> None:
    """ECPay is asked to call `callbacks.public_url` for each issuance, even if none listens."""
    notes = find_renderer().render(CHART, minimal(values)).notes

    assert ("no pod of this release receives" in notes) is warned


def test_the_notes_of_a_sidecar_name_its_part_of_the_pod(renderer: Renderer) -> None:
    """Its seconds of the grace period, and the labels that the selectors need."""
    notes = renderer.render(CHART, minimal(SIDECAR, {"terminationGracePeriodSeconds": 77})).notes

    assert "77 s" in notes
    assert '"app.kubernetes.io/instance":"tickets"' in notes


@pytest.mark.parametrize("example", all_examples(), ids=lambda each: each.name)
def test_rendered_examples_are_what_make_charts_writes(example: Example, renderer: Renderer) -> None:
    """A change of a template shows in review as a change of these files."""
    assert (example.folder / "rendered.yaml").read_text(encoding="utf-8") == example.text(renderer)
