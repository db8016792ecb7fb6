"""What single values of the chart do, and what belongs to the chart besides its templates."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from adapter.settings import Settings
from adapter.wiring import topic_specs
from helm.cases import ALL_STAGES, FILES, INGRESS, LOG_SINK, PUBLIC, SIDECAR, WHEELS, minimal
from helm.examples import FOLDER
from helm.objects import in_order, pods, selected
from helm.renderer import Rendered, Renderer, yaml_documents
from helm.settings_values import CHART, SCHEMA_FILE, VALUES_FILE

ROOT = CHART.parents[1]
VALUES: Mapping[str, Any] = yaml.safe_load(VALUES_FILE.read_text(encoding="utf-8"))
SCHEMA: Mapping[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))


def _adapter(rendered: Rendered, name: str = "tickets-ecticket-adapter") -> Mapping[str, Any]:
    (container,) = rendered.one("Deployment", name)["spec"]["template"]["spec"]["containers"]
    return container  # type: ignore[no-any-return]


def _pod_annotations(rendered: Rendered) -> Mapping[str, str]:
    return pods(rendered.all("Deployment"))[0].template["metadata"]["annotations"]  # type: ignore[no-any-return]


def test_chart_and_adapter_have_one_version() -> None:
    """The chart's `config` fits exactly this adapter; native sidecars need Kubernetes 1.29."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert chart["version"] == chart["appVersion"] == project["version"]
    assert chart["kubeVersion"] == ">=1.29.0-0"


def _keys(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping) and name != "config":
            yield from _keys(value, f"{prefix}{name}.")


def _schema_keys(schema: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    if "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    for name, below in schema.get("properties", {}).items():
        yield f"{prefix}{name}"
        if name not in ("config", "components"):
            yield from _schema_keys(below, f"{prefix}{name}.")


def test_values_and_schema_have_the_same_names() -> None:
    """In both directions; what a schema leaves open (labels, a security context) has any names."""
    in_schema, in_values = set(_schema_keys(SCHEMA)), set(_keys(VALUES))
    open_below = {"secretsVolume", "podSecurityContext", "securityContext", "resources"}

    assert {key for key in in_values - in_schema if key.split(".")[0] not in open_below} == set()
    not_given = {"global", "probes.startup.initialDelaySeconds", "probes.liveness.initialDelaySeconds"}
    assert in_schema - in_values - not_given == {"probes.readiness.initialDelaySeconds"}


def test_the_schema_is_closed_at_every_level() -> None:
    """Every object with named members refuses others, so that a typo fails the install."""

    def look(node: Any, path: str) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("properties"), dict) and node.get("additionalProperties") is not False:
                yield path
            for key, value in node.items():
                yield from look(value, f"{path}.{key}")
        elif isinstance(node, list):
            for index, value in enumerate(node):
                yield from look(value, f"{path}[{index}]")

    assert list(look(SCHEMA, "")) == []
    assert SCHEMA["additionalProperties"] is False


def test_every_value_is_explained() -> None:
    """A comment stands above each value, or above the run of lines that it belongs to."""
    unexplained, explained = [], False
    for line in VALUES_FILE.read_text(encoding="utf-8").splitlines():
        if line.strip().startswith("#"):
            explained = True
        elif not line.strip():
            explained = False
        elif not explained:
            unexplained.append(line)

    assert unexplained == []


def test_a_changed_setting_or_module_rolls_the_pods(renderer: Renderer) -> None:
    """Through a checksum; a value that is no setting does not."""

    def checksum(*layers: Mapping[str, Any]) -> str:
        return _pod_annotations(renderer.render(CHART, minimal(*layers)))["checksum/config"]

    plain = checksum()
    assert checksum({"config": {"submit": {"concurrency": 1}}}) != plain
    assert checksum(FILES) != plain
    assert checksum({"revisionHistoryLimit": 1}) == plain


def test_a_changed_setting_rolls_the_shops_pods(renderer: Renderer) -> None:
    """Through the annotation that the shop includes."""

    def checksum(values: Mapping[str, Any]) -> str:
        annotations = _pod_annotations(renderer.render(FOLDER / "shop", values))
        return annotations["checksum/ecticket-adapter-config"]

    assert checksum({}) != checksum({"ecticket-adapter": {"config": {"submit": {"concurrency": 1}}}})


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({}, "registry.example/ecticket-adapter:0.1.0"),
        ({"tag": "1.2"}, "registry.example/ecticket-adapter:1.2"),
        ({"digest": f"sha256:{'a' * 64}"}, f"registry.example/ecticket-adapter@sha256:{'a' * 64}"),
        ({"tag": "1.2", "digest": f"sha256:{'a' * 64}"}, f"registry.example/ecticket-adapter:1.2@sha256:{'a' * 64}"),
    ],
)
def test_the_image_is_named_by_tag_or_digest(renderer: Renderer, image: Mapping[str, str], expected: str) -> None:
    """A digest decides, even beside a tag."""
    assert _adapter(renderer.render(CHART, minimal({"image": image})))["image"] == expected


def test_the_selectors_of_a_sidecar_name_its_release(renderer: Renderer) -> None:
    """Values of sidecar.podLabels may be templates, so two releases of a shop do not get each other's callbacks."""
    labels = {"app.kubernetes.io/name": "shop", "app.kubernetes.io/instance": "{{ .Release.Name }}"}
    values = minimal(SIDECAR, PUBLIC, INGRESS, {"sidecar": {"podLabels": labels}})
    values["monitoring"] = {"podMonitor": {"enabled": True}}
    for release in ("tickets", "other"):
        rendered = renderer.render(CHART, values, release=release)
        expected = {**labels, "app.kubernetes.io/instance": release}
        assert rendered.one("Service")["spec"]["selector"] == expected
        assert rendered.one("PodMonitor")["spec"]["selector"] == {"matchLabels": expected}


def test_all_stages_run_together_by_default(renderer: Renderer) -> None:
    """Two pods of one Deployment, without --only."""
    rendered = renderer.render(CHART, minimal())

    assert _adapter(rendered)["args"] == ["run"]
    assert rendered.one("Deployment")["spec"]["replicas"] == 2


def test_each_component_runs_its_stage(renderer: Renderer) -> None:
    """With its own replicas and resources; only the one that receives has the callbacks' port."""
    own = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}
    values = minimal(ALL_STAGES, LOG_SINK, {"components": {"submit": {"replicas": 5, "resources": own}}})
    rendered = renderer.render(CHART, values)

    deployments = {
        each["metadata"]["name"].removeprefix("tickets-ecticket-adapter-") for each in rendered.all("Deployment")
    }
    assert deployments == {"submit", "confirm", "receive", "deliver"}
    for stage in deployments:
        container = _adapter(rendered, f"tickets-ecticket-adapter-{stage}")
        assert container["args"] == ["run", "--only", stage]
        ports = {each["name"] for each in container["ports"]}
        assert ports == ({"ect-callbacks", "ect-admin"} if stage == "receive" else {"ect-admin"})
    assert rendered.one("Deployment", "tickets-ecticket-adapter-submit")["spec"]["replicas"] == 5
    assert _adapter(rendered, "tickets-ecticket-adapter-submit")["resources"] == own


def test_the_grace_period_follows_the_settings(renderer: Renderer) -> None:
    """The adapter's own grace, rounded up, ten seconds to close, and the wait before SIGTERM if there is a route."""

    def grace(*layers: Mapping[str, Any]) -> tuple[int, bool]:
        spec = renderer.render(CHART, minimal(*layers)).one("Deployment")["spec"]["template"]["spec"]
        return spec["terminationGracePeriodSeconds"], "lifecycle" in spec["containers"][0]

    assert grace() == (35, False)
    assert grace({"config": {"shutdown": {"grace_seconds": 59.5}}}) == (70, False)
    assert grace(PUBLIC, INGRESS) == (40, True)
    assert grace(PUBLIC, INGRESS, {"preStopSeconds": 0}) == (35, False)
    assert grace({"terminationGracePeriodSeconds": 90}) == (90, False)


def test_the_grace_period_of_a_sidecar_can_be_set(renderer: Renderer) -> None:
    """The shop's pod then gets the shop's own 30 seconds and these."""
    rendered = renderer.render(FOLDER / "shop", {"ecticket-adapter": {"terminationGracePeriodSeconds": 90}})

    assert rendered.one("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 30 + 90


def test_commands_in_a_pod_use_the_same_settings(renderer: Renderer) -> None:
    """The settings file is named by a variable, so `kubectl exec ... ecticket-adapter check` finds it."""
    for container in (
        _adapter(renderer.render(CHART, minimal())),
        renderer.render(FOLDER / "shop").one("Deployment")["spec"]["template"]["spec"]["initContainers"][0],
    ):
        assert {"name": "ECTICKET_CONFIG", "value": "/etc/ecticket-adapter/config/settings.yaml"} in container["env"]


def test_wheels_are_copied_then_unpacked_then_found(renderer: Renderer) -> None:
    """In this order, before the adapter, in an own workload and in a sidecar's topics Job."""
    spec = renderer.render(CHART, minimal(WHEELS)).one("Deployment")["spec"]["template"]["spec"]
    copies, unpacks = spec["initContainers"]

    assert copies["image"] == "registry.example/wheels:1"
    assert copies["command"] == ["cp", "-r", "/wheels/.", "/ecticket-wheels/"]
    assert unpacks["image"] == spec["containers"][0]["image"]
    assert {"name": "PYTHONPATH", "value": "/opt/ecticket-adapter/plugins"} in spec["containers"][0]["env"]
    job = renderer.render(CHART, minimal(SIDECAR, WHEELS, {"topicsJob": {"enabled": True}})).one("Job")
    assert [each["name"] for each in job["spec"]["template"]["spec"]["initContainers"]] == [
        copies["name"],
        unpacks["name"],
    ]


def test_the_topics_job_runs_before_the_pods_with_the_same_settings(renderer: Renderer) -> None:
    """As a hook, with its own copy of the settings, because the release's ConfigMap does not exist yet."""
    rendered = renderer.render(CHART, minimal({"topicsJob": {"enabled": True, "partitions": 12, "replication": 3}}))
    job = rendered.one("Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    copy, original = (
        rendered.one("ConfigMap", "tickets-ecticket-adapter-topics"),
        rendered.one("ConfigMap", "tickets-ecticket-adapter"),
    )

    assert container["args"] == ["topics", "--create", "--partitions", "12", "--replication", "3"]
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    weights = [each["metadata"]["annotations"]["helm.sh/hook-weight"] for each in (copy, job)]
    assert weights == ["-1", "0"]
    for each in (copy, job):
        assert each["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert copy["data"] == original["data"]


def test_the_topics_of_strimzi_are_those_that_the_adapter_makes() -> None:
    """Names, retention and sizes, on three brokers."""
    objects = yaml_documents((FOLDER / "strimzi" / "kafka-topics.yaml").read_text(encoding="utf-8"))
    specs = topic_specs(Settings())

    assert {each["metadata"]["name"]: each["spec"]["partitions"] for each in objects} == {
        spec.name: spec.partitions for spec in specs
    }
    for each, spec in zip(objects, specs, strict=True):
        config = {key: str(value) for key, value in each["spec"]["config"].items()}
        assert config == {**spec.config, "min.insync.replicas": "2"}
        assert each["spec"]["replicas"] == 3


def test_keda_scales_on_the_lag_of_the_submit_group(renderer: Renderer) -> None:
    """Group and topic are the settings'; the threshold is the manual's."""
    values = minimal(
        {
            "keda": {"enabled": True},
            "config": {"kafka": {"group_prefix": "shop"}, "topics": {"orders_paid": "shop.orders"}},
        }
    )
    (trigger,) = renderer.render(CHART, values).one("ScaledObject")["spec"]["triggers"]

    assert trigger["metadata"]["consumerGroup"] == "shop.submit"
    assert trigger["metadata"]["topic"] == "shop.orders"
    (threshold,) = re.findall(r"`keda\.lagThreshold` (\d+)", (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8"))
    assert trigger["metadata"]["lagThreshold"] == threshold == str(VALUES["keda"]["lagThreshold"])


@pytest.mark.parametrize(
    ("provider", "ports"),
    [
        ({}, {443}),
        ({"environment": "custom", "base_url": "http://sandbox.test:8700"}, {443, 8700}),
        ({"environment": "custom", "base_url": "http://sandbox.test"}, {443, 80}),
        ({"environment": "custom", "base_url": "https://proxy.test/ecpay"}, {443}),
    ],
)
def test_the_network_policy_opens_the_ports_of_the_settings(
    renderer: Renderer, provider: Mapping[str, str], ports: set[int]
) -> None:
    """Brokers, ECTicket and DNS out; callbacks and metrics in."""
    kafka = {"bootstrap_servers": "a:9093, b:9094,[fd00::1]:9095,c:9092"}
    values = minimal({"networkPolicy": {"enabled": True}, "config": {"kafka": kafka, "provider": provider}})
    rendered = renderer.render(CHART, values)
    spec = rendered.one("NetworkPolicy", "tickets-ecticket-adapter")["spec"]
    dns, brokers, ecticket = ({each["port"] for each in rule["ports"]} for rule in spec["egress"])

    assert dns == {53}
    assert brokers == {9093, 9094, 9095, 9092}
    assert ecticket == ports
    assert [{each["port"] for each in rule["ports"]} for rule in spec["ingress"]] == [{8601}]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    callbacks = rendered.one("NetworkPolicy", "tickets-ecticket-adapter-callbacks")["spec"]
    assert [{each["port"] for each in rule["ports"]} for rule in callbacks["ingress"]] == [{8600}]
    assert callbacks["policyTypes"] == ["Ingress"]


@pytest.mark.parametrize(
    ("proxy", "port"), [("http://proxy.test:3128", 3128), ("https://proxy.test", 443), ("http://[fd00::1]:8080/", 8080)]
)
def test_the_network_policy_opens_the_proxy_instead_of_ecticket(renderer: Renderer, proxy: str, port: int) -> None:
    """The proxy usually has a private address, so its peers are a value; sinks still call public addresses."""
    peers = [{"ipBlock": {"cidr": "10.1.0.0/16"}}]
    values = minimal(
        {
            "networkPolicy": {"enabled": True, "proxy": {"to": peers}},
            "config": {
                "provider": {"environment": "custom", "base_url": "http://10.0.0.7:8700", "proxy": proxy},
            },
        }
    )

    rules = renderer.render(CHART, values).one("NetworkPolicy", "tickets-ecticket-adapter")["spec"]["egress"]

    assert [{each["port"] for each in rule["ports"]} for rule in rules] == [{53}, {9092}, {port}, {443}]
    assert rules[2]["to"] == peers


@pytest.mark.parametrize(
    ("provider", "files"),
    [
        ({}, {}),
        ({"trust_env": True}, {"proxy_username": True, "proxy_password": True}),
        ({"proxy": "http://proxy.test:3128"}, {"proxy_username": True, "proxy_password": True}),
        ({"proxy": "http://proxy.test:3128", "proxy_username": "shop"}, {"proxy_password": False}),
    ],
    ids=["no-proxy", "environment", "proxy", "user"],
)
def test_the_proxys_credentials_are_files_of_the_secret(
    renderer: Renderer, provider: Mapping[str, Any], files: Mapping[str, bool]
) -> None:
    """Optional, because many proxies need none; with a user, the pod waits for the password."""
    pod = renderer.render(CHART, minimal({"config": {"provider": provider}})).one("Deployment")["spec"]["template"]
    (secrets,) = [volume["projected"] for volume in pod["spec"]["volumes"] if "projected" in volume]
    found = {
        item["path"].removeprefix("provider/"): source["secret"].get("optional", False)
        for source in secrets["sources"]
        for item in source.get("secret", {}).get("items", [])
        if item["path"].startswith("provider/")
    }

    assert found == files


def test_the_ports_of_dns_are_a_value(renderer: Renderer) -> None:
    """OpenShift's DNS pods listen on another port."""
    ports = [{"port": 5353, "protocol": "UDP"}]
    policy = renderer.render(CHART, minimal({"networkPolicy": {"enabled": True, "dns": {"ports": ports}}}))

    assert policy.one("NetworkPolicy", "tickets-ecticket-adapter")["spec"]["egress"][0]["ports"] == ports


@pytest.mark.parametrize(
    ("values", "receivers"),
    [
        ({}, {"tickets-ecticket-adapter"}),
        ({"stages": ["submit", "receive"]}, {"tickets-ecticket-adapter"}),
        ({"stages": ["submit"]}, set()),
        ({"components": {"submit": {}, "receive": {}}}, {"tickets-ecticket-adapter-receive"}),
        ({"components": {"submit": {}}}, set()),
        ({"config": {"callbacks": {"enabled": False}}}, set()),
        ({"topicsJob": {"enabled": True}}, {"tickets-ecticket-adapter"}),
    ],
    ids=in_order,
)
def test_the_network_policy_opens_the_callbacks_of_pods_that_receive_them(
    renderer: Renderer, values: Mapping[str, Any], receivers: set[str]
) -> None:
    """And of no others: the policy follows the stages that run."""
    rendered = renderer.render(CHART, minimal({"networkPolicy": {"enabled": True}}, values))
    opened = {
        pod.owner["metadata"]["name"]
        for policy in rendered.all("NetworkPolicy")
        for pod in pods(rendered.objects)
        if any(8600 in [port["port"] for port in rule["ports"]] for rule in policy["spec"]["ingress"])
        and selected(policy["spec"]["podSelector"], pod.labels)
    }

    assert opened == receivers


def test_recreating_has_no_rolling_update(renderer: Renderer) -> None:
    """Kubernetes refuses both together, and rollingUpdate has defaults here."""
    rendered = renderer.render(CHART, minimal({"strategy": {"type": "Recreate"}}))

    assert rendered.one("Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_the_requests_cover_what_was_measured() -> None:
    """docs/performance.md: what 256 in flight take is within the request, and the most that can be is in the limit."""
    memory = {kind: int(VALUES["resources"][kind]["memory"].removesuffix("Mi")) for kind in ("requests", "limits")}
    assert Settings().submit.concurrency == 256
    performance = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    (at_256,) = re.findall(r"with 256 in flight \| .* and ([0-9]+) MiB \(", performance)
    waiting, partitions = 50_000 * 2 / 1024, 6 * 32

    assert int(at_256) <= memory["requests"]
    assert int(at_256) + waiting + partitions <= memory["limits"]


def test_the_chart_takes_the_variables_of_the_manual(renderer: Renderer) -> None:
    """docs/traces.md: they become plain variables of the adapter's container."""
    page = (ROOT / "docs" / "traces.md").read_text(encoding="utf-8")
    given = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])

    environment = _adapter(renderer.render(CHART, minimal(given)))["env"]
    assert len(given["extraEnv"]) == 4
    assert all(variable in environment for variable in given["extraEnv"])
