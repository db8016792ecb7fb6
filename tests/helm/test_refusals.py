"""Values that contradict each other are refused with one line each: what is wrong, and what to do."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import pytest

from helm.cases import (
    CSI,
    FILES,
    HTTP_ROUTE,
    INGRESS,
    LOG_SINK,
    PUBLIC,
    SCRAM,
    SIDECAR,
    TOKENS,
    WHEELS,
    merged,
    minimal,
)
from helm.examples import FOLDER
from helm.rendered_cases import rendered_case
from helm.renderer import ChartRefused, Renderer, find_renderer
from helm.settings_values import CHART

ON = {"enabled": True}
SECRET_TEXTS = (
    "https://a:topsecret@crm.example",
    "https://crm.example/?access_token=topsecret",
    "-----BEGIN RSA PRIVATE KEY-----topsecret",
)
WITHOUT_KEYS = {"existingSecret": ""}
ONLY_SUBMIT: dict[str, Any] = {"components": {"submit": {}}}
NO_MERCHANT = {**minimal(), "config": {**minimal()["config"], "merchants": {}}}
REFUSED: Mapping[str, tuple[dict[str, Any], str]] = {
    "no image": (minimal({"image": {"repository": ""}}), "image.repository is empty"),
    "a broker in the pod": (
        minimal({"config": {"kafka": {"bootstrap_servers": "localhost:9092"}}}),
        "config.kafka.bootstrap_servers is localhost:9092",
    ),
    "a broker in the pod beside another": (
        minimal({"config": {"kafka": {"bootstrap_servers": "kafka:9092, 127.0.0.1:9092"}}}),
        "config.kafka.bootstrap_servers is kafka:9092, 127.0.0.1:9092",
    ),
    "a broker in the pod by IPv6": (
        minimal({"config": {"kafka": {"bootstrap_servers": "[::1]:9092"}}}),
        "config.kafka.bootstrap_servers is [::1]:9092",
    ),
    "custom without an address": (
        minimal({"config": {"provider": {"environment": "custom"}}}),
        "config.provider.environment is custom",
    ),
    "an address without custom": (
        minimal({"config": {"provider": {"base_url": "https://proxy.example"}}}),
        "config.provider.base_url is set and environment is stage",
    ),
    "an address that is none": (
        minimal({"config": {"provider": {"environment": "custom", "base_url": "proxy.example"}}}),
        "config.provider.base_url is no http or https address",
    ),
    "a password in an address": (
        minimal({"config": {"provider": {"environment": "custom", "base_url": "https://a:topsecret@proxy.example"}}}),
        "config.provider.base_url has user info",
    ),
    "issuance without a payment provider": (
        minimal({"config": {"provider": {"family": "issuance"}}}),
        "config.provider.family is issuance",
    ),
    "one topic for two": (
        minimal({"config": {"topics": {"tickets": "ecticket.issuances"}}}),
        "config.topics.issuances and config.topics.tickets are both ecticket.issuances",
    ),
    "no folder of secrets": (minimal({"config": {"secrets_dir": None}}), "config.secrets_dir is null"),
    **{
        f"a policy that cuts off {host}": (
            minimal(
                {
                    "networkPolicy": ON,
                    "config": {"provider": {"environment": "custom", "base_url": f"http://{host}:8700"}},
                }
            ),
            "networkPolicy is enabled, config.provider.base_url names",
        )
        for host in (
            "sandbox",
            "sandbox.shop.svc",
            "sandbox.shop.svc.cluster.local",
            "10.1.2.3",
            "172.20.0.9",
            "[fd00::1]",
        )
    },
    "no operator": (minimal({"config": {"submit": {"operator": None}}}), "config.submit.operator is not set"),
    "no merchant": (NO_MERCHANT, "config.merchants names no merchant"),
    "SASL without a user": (
        minimal({"config": {"kafka": {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"}}}),
        "config.kafka.security_protocol is SASL_SSL",
    ),
    "a password in config": (
        minimal(SCRAM, {"config": {"kafka": {"sasl_password": "topsecret"}}}),
        "config.kafka.sasl_password is a secret",
    ),
    "a client secret in config": (
        minimal(TOKENS, {"config": {"kafka": {"oauth_client_secret": "topsecret"}}}),
        "config.kafka.oauth_client_secret is a secret",
    ),
    "a proxy's password in config": (
        minimal({"config": {"provider": {"proxy_username": "shop", "proxy_password": "topsecret"}}}),
        "config.provider.proxy_password is a secret",
    ),
    "a proxy's password in its address": (
        minimal({"config": {"provider": {"proxy": "http://shop:topsecret@proxy.test:3128"}}}),
        "config.provider.proxy holds a password",
    ),
    "a user beside a token": (
        minimal(TOKENS, {"config": {"kafka": {"sasl_username": "adapter"}}}),
        "config.kafka.sasl_username is set",
    ),
    "a signing key in config": (
        minimal({"config": {"keys": {"signing_key": "topsecret"}}}),
        "config.keys.signing_key is a secret",
    ),
    "a merchant's key in config": (
        minimal({"config": {"merchants": {"3085676": {"hash_key": "topsecret"}}}}),
        "config.merchants.3085676.hash_key is a secret",
    ),
    "a platform's key in config": (
        minimal({"config": {"platforms": {"1000031": {"hash_iv": "topsecret"}}}}),
        "config.platforms.1000031.hash_iv is a secret",
    ),
    "a plugin's secret in config": (
        minimal({"config": {"plugins": {"settings": {"crm": {"api": {"token": "topsecret"}}}}}}),
        "config.plugins.settings.crm.api.token looks like a secret",
    ),
    "a webhook's secrets in config": (
        minimal({"config": {"plugins": {"settings": {"webhook": {"endpoints": {"a": {"secrets": ["topsecret"]}}}}}}}),
        "config.plugins.settings.webhook.endpoints.a.secrets looks like a secret",
    ),
    "a secret in a list": (
        minimal({"config": {"plugins": {"settings": {"crm": {"hosts": [{"password": "topsecret"}]}}}}}),
        "config.plugins.settings.crm.hosts[0].password looks like a secret",
    ),
    "two sources of secrets": (minimal({"secretsVolume": {"csi": {}}}), "secretsVolume and existingSecret"),
    "no source of secrets": (minimal(WITHOUT_KEYS), "existingSecret is empty"),
    "a merchant without a source": (
        minimal(
            WITHOUT_KEYS,
            {"secretFiles": [{"secretName": "a", "key": "k", "path": "merchants/3085676/hash_key"}]},
        ),
        "merchants/3085676/hash_iv has no source",
    ),
    "a password without a source": (
        minimal(
            WITHOUT_KEYS,
            SCRAM,
            {
                "secretFiles": [
                    {"secretName": "a", "key": key, "path": f"merchants/3085676/{key}"}
                    for key in ("hash_key", "hash_iv")
                ]
            },
        ),
        "config.kafka.sasl_mechanism is set and kafka/sasl_password has no source",
    ),
    "a client secret without a source": (
        minimal(
            WITHOUT_KEYS,
            TOKENS,
            {
                "secretFiles": [
                    {"secretName": "a", "key": key, "path": f"merchants/3085676/{key}"}
                    for key in ("hash_key", "hash_iv")
                ]
            },
        ),
        "config.kafka.sasl_mechanism is set and kafka/oauth_client_secret has no source",
    ),
    **{
        f"{name} of a sidecar": (minimal(SIDECAR, {name: ON}), f"{name} is enabled and mode is sidecar")
        for name in ("hpa", "keda", "pdb", "topologySpread", "networkPolicy")
    },
    **{
        f"{name} of a sidecar": (minimal({"mode": "sidecar"}, {name: value}), f"{name} is set and mode is sidecar")
        for name, value in {
            "podLabels": {"a": "b"},
            "podAnnotations": {"a": "b"},
            "imagePullSecrets": [{"name": "login"}],
            "nodeSelector": {"a": "b"},
            "tolerations": [{"key": "spot", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "money",
            "serviceAccountName": "adapter",
        }.items()
    },
    **{
        f"{key} of a plugin in config": (
            minimal({"config": {"plugins": {"settings": {"crm": {key: "topsecret"}}}}}),
            f"config.plugins.settings.crm.{key} looks like a secret",
        )
        for key in ("Authorization", "dsn", "db_pwd", "passphrase", "webhook_url")
    },
    **{
        f"{text} in a plugin's setting": (
            minimal({"config": {"plugins": {"settings": {"crm": {"hosts": [text]}}}}}),
            "config.plugins.settings.crm.hosts[0] holds a password",
        )
        for text in SECRET_TEXTS
    },
    **{
        f"{text} in the environment": (
            minimal({"extraEnv": [{"name": "CRM", "value": text}]}),
            "extraEnv sets CRM, which looks like a secret",
        )
        for text in SECRET_TEXTS
    },
    **{
        f"{key} in the environment": (
            minimal({"extraEnv": [{"name": key, "value": "topsecret"}]}),
            f"extraEnv sets {key}, which looks like a secret",
        )
        for key in ("CRM_PASSWORD", "TOKEN", "SLACK_WEBHOOK_URL", "OTEL_EXPORTER_OTLP_HEADERS")
    },
    "a password in another setting": (
        minimal({"config": {"submit": {"store_id": "https://a:topsecret@x.example"}}}),
        "config.submit.store_id holds a password",
    ),
    **{
        f"a broker at {address}": (
            minimal({"config": {"kafka": {"bootstrap_servers": f"kafka:9092, {address}"}}}),
            f'config.kafka.bootstrap_servers has "{address}", which is not host:port',
        )
        for address in ("kafka", "fd00::1", "fd00::1:9092", "SASL_SSL://kafka:9092", "[fd00::1]", "[kafka]:9092")
    },
    "a password in the brokers' address": (
        minimal({"config": {"kafka": {"bootstrap_servers": "a:topsecret@kafka:9092"}}}),
        "config.kafka.bootstrap_servers has user info",
    ),
    "a password in the public address": (
        minimal({"config": {"callbacks": {"public_url": "https://a:topsecret@shop.example"}}}),
        "config.callbacks.public_url has user info",
    ),
    "a public address that is none": (
        minimal({"config": {"callbacks": {"public_url": "shop.example"}}}),
        "config.callbacks.public_url is no http or https address",
    ),
    **{
        f"{name} without a login": (
            minimal({"config": {"kafka": {name: value, "security_protocol": protocol}}}),
            f"config.kafka.{name} is set and security_protocol is {protocol}",
        )
        for name, value, protocol in (("sasl_mechanism", "PLAIN", "SSL"), ("sasl_username", "adapter", "PLAINTEXT"))
    },
    **{
        f"{name} without TLS": (
            minimal({"config": {"kafka": {name: "/file.pem"}}}),
            f"config.kafka.{name} is set and security_protocol is PLAINTEXT",
        )
        for name in ("ssl_ca_file", "ssl_cert_file", "ssl_key_file")
    },
    "labels of the topics Job": (
        minimal(SIDECAR, {"topicsJob": ON, "sidecar": {"podLabels": {"app.kubernetes.io/name": "ecticket-adapter"}}}),
        "sidecar.podLabels are labels of the topics Job's pod",
    ),
    "a variable of the chart": (
        minimal(WHEELS, {"extraEnv": [{"name": "PYTHONPATH", "value": "/x"}]}),
        "extraEnv has PYTHONPATH, which this chart sets itself",
    ),
    "a volume of the chart": (
        minimal({"extraVolumes": [{"name": "ecticket-tmp", "emptyDir": {}}]}),
        "extraVolumes has ecticket-tmp, which this chart sets itself",
    ),
    **{
        f"a mount at {path}": (
            minimal(WHEELS, {"extraVolumeMounts": [{"name": "x", "mountPath": path}]}),
            f"extraVolumeMounts has {path}/, and this chart mounts",
        )
        for path in ("/etc/ecticket-adapter/secrets/webhook", "/opt")
    },
    **{
        f"a label of both {name}": (
            minimal({"commonLabels": {"team": "a"}}, values),
            f"{name} and commonLabels both have team",
        )
        for name, values in (
            ("podLabels", {"podLabels": {"team": "b"}}),
            ("monitoring.labels", {"monitoring": {"labels": {"team": "a"}}}),
        )
    },
    **{
        f"{name} with one twice": (minimal({name: [first, second]}), f"{name} has {key} twice")
        for name, key, first, second in (
            ("extraEnv", "TZ", {"name": "TZ", "value": "a"}, {"name": "TZ", "value": "b"}),
            ("extraVolumes", "a", {"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}),
            ("extraVolumeMounts", "/a", {"name": "a", "mountPath": "/a"}, {"name": "b", "mountPath": "/a"}),
            (
                "secretFiles",
                "kafka/ca.crt",
                {"secretName": "a", "key": "k", "path": "kafka/ca.crt"},
                {"secretName": "b", "key": "k", "path": "kafka/ca.crt"},
            ),
        )
    },
    "two images of wheels with one name": (
        minimal({"plugins": {"wheels": 2 * WHEELS["plugins"]["wheels"]}}),
        "plugins.wheels has bundles twice",
    ),
    "components of a sidecar": (
        minimal(SIDECAR, {"components": {"submit": {}}}),
        "components is set and mode is sidecar",
    ),
    "replicas of a sidecar": (minimal(SIDECAR, {"replicas": 2}), "replicas is set and mode is sidecar"),
    "a monitor of unknown pods": (
        minimal({"mode": "sidecar", "monitoring": {"podMonitor": ON}}),
        "sidecar.podLabels is empty",
    ),
    "a route to unknown pods": (minimal({"mode": "sidecar"}, PUBLIC, INGRESS), "sidecar.podLabels is empty"),
    "components and stages": (
        minimal({"components": {"submit": {}}, "stages": ["submit"]}),
        "components and stages are set",
    ),
    "receive without callbacks": (
        minimal({"components": {"receive": {}}, "config": {"callbacks": {"enabled": False}}}),
        "The stage receive runs alone",
    ),
    "only receive without callbacks": (
        minimal({"stages": ["receive"], "config": {"callbacks": {"enabled": False}}}),
        "The stage receive runs alone",
    ),
    "deliver without a sink": (minimal({"components": {"deliver": {}}}), "The stage deliver runs alone"),
    "only deliver without a sink": (minimal({"stages": ["deliver"]}), "The stage deliver runs alone"),
    "collect without issue types": (minimal({"components": {"collect": {}}}), "The stage collect runs alone"),
    "only collect without issue types": (minimal({"stages": ["collect"]}), "The stage collect runs alone"),
    "deliver without plugins": (
        minimal(LOG_SINK, {"components": {"deliver": {}}, "config": {"plugins": {"load": "none"}}}),
        "The stage deliver runs alone",
    ),
    "wheels that are not loaded": (
        minimal(WHEELS, {"config": {"plugins": {"load": "none"}}}),
        "config.plugins.load is none",
    ),
    "files that are not loaded": (
        minimal(FILES, {"config": {"plugins": {"load": "none"}}}),
        "config.plugins.load is none",
    ),
    "reconcile without a time": (minimal({"components": {"reconcile": {}}}), "The stage reconcile runs alone"),
    "only reconcile without a time": (minimal({"stages": ["reconcile"]}), "The stage reconcile runs alone"),
    "two scalers": (minimal({"hpa": ON, "keda": ON}), "hpa and keda are enabled"),
    "components and replicas": (minimal(ONLY_SUBMIT, {"replicas": 3}), "components and replicas are set"),
    "replicas and hpa": (minimal({"replicas": 3, "hpa": ON}), "replicas is set and hpa is enabled"),
    "replicas and keda": (minimal({"replicas": 3, "keda": ON}), "replicas is set and keda is enabled"),
    "an empty range of hpa": (
        minimal({"hpa": {"enabled": True, "minReplicas": 9}}),
        "hpa.minReplicas is above hpa.maxReplicas",
    ),
    "an empty range of keda": (
        minimal({"keda": {"enabled": True, "minReplicas": 9}}),
        "keda.minReplicas is above keda.maxReplicas",
    ),
    "keda without submit": (
        minimal({"keda": ON, "components": {"confirm": {}}}),
        "keda is enabled and no Deployment of this release submits",
    ),
    "keda without the stage submit": (
        minimal({"keda": ON, "stages": ["confirm"]}),
        "keda is enabled and no Deployment of this release submits",
    ),
    "keda and replicas of submit": (
        minimal({"keda": ON, "components": {"submit": {"replicas": 3}}}),
        "keda is enabled and components.submit.replicas is set",
    ),
    "keda without a login": (minimal(SCRAM, {"keda": ON}), "keda is enabled, the brokers speak SASL_SSL"),
    "hpa without a CPU request": (
        minimal({"hpa": ON, "resources": {"requests": {"cpu": None}}}),
        "hpa is enabled and adapter has no CPU request",
    ),
    "hpa without anything to scale": (
        minimal({"hpa": ON, "components": {"submit": {"replicas": 3}}}),
        "hpa is enabled and every component has replicas",
    ),
    "two routes": (minimal(PUBLIC, INGRESS, HTTP_ROUTE), "callbacks.ingress and callbacks.httpRoute are enabled"),
    "a route without receive": (minimal(PUBLIC, INGRESS, ONLY_SUBMIT), "A callbacks route is enabled and no pod"),
    "a route without the stage receive": (
        minimal(PUBLIC, HTTP_ROUTE, {"stages": ["submit"]}),
        "A callbacks route is enabled and no pod",
    ),
    "a route without callbacks": (
        minimal(PUBLIC, INGRESS, {"config": {"callbacks": {"enabled": False}}}),
        "A callbacks route is enabled and no pod",
    ),
    "a route without a host": (
        minimal(INGRESS),
        "A callbacks route is enabled and config.callbacks.public_url is not set",
    ),
    "a route below a path": (
        minimal(INGRESS, {"config": {"callbacks": {"public_url": "https://shop.example/tickets"}}}),
        "config.callbacks.public_url has the path /tickets",
    ),
    "a route without a gateway": (
        minimal(PUBLIC, {"callbacks": {"httpRoute": ON}}),
        "callbacks.httpRoute is enabled and parentRefs is empty",
    ),
    "a Service with a digit first": (
        minimal(PUBLIC, INGRESS),
        "The name 1shop-ecticket-adapter begins with a digit",
    ),
    "two monitors": (
        minimal({"monitoring": {"podMonitor": ON, "serviceMonitor": ON}}),
        "monitoring.podMonitor and monitoring.serviceMonitor are enabled",
    ),
    "too little grace": (
        minimal({"terminationGracePeriodSeconds": 34}),
        "terminationGracePeriodSeconds is 34, and stopping may take 35 s",
    ),
    "too little grace for a route": (
        minimal(PUBLIC, INGRESS, {"terminationGracePeriodSeconds": 35}),
        "terminationGracePeriodSeconds is 35, and stopping may take 40 s",
    ),
    "too little grace for a sidecar": (
        minimal(SIDECAR, PUBLIC, INGRESS, {"terminationGracePeriodSeconds": 34}),
        "terminationGracePeriodSeconds is 34, and stopping may take 35 s",
    ),
    "one port for two": (
        minimal({"config": {"admin": {"port": 8600}}}),
        "config.admin.port and config.callbacks.port are both 8600",
    ),
    "the console's port for two": (
        minimal({"config": {"console": {"port": 8601}}}),
        "config.admin.port and config.console.port are both 8601",
    ),
    "any port": (minimal({"config": {"admin": {"port": 0}}}), "config.admin.port is 0"),
    "a loopback address": (minimal({"config": {"admin": {"host": "127.0.0.1"}}}), "config.admin.host is 127.0.0.1"),
    "an IPv6 loopback address": (minimal({"config": {"admin": {"host": "::1"}}}), "config.admin.host is ::1"),
    "callbacks on loopback": (
        minimal({"config": {"callbacks": {"host": "localhost"}}}),
        "config.callbacks.host is localhost",
    ),
    "a setting in the environment": (
        minimal({"extraEnv": [{"name": "ECTICKET_SUBMIT__OPERATOR", "value": "x"}]}),
        "extraEnv sets ECTICKET_SUBMIT__OPERATOR",
    ),
}


def _problems(renderer: Renderer, values: Mapping[str, Any], release: str = "tickets") -> list[str]:
    with pytest.raises(ChartRefused) as caught:
        renderer.render(CHART, values, release=release)
    lines = str(caught.value).replace("\\n", "\n").splitlines()
    return [line.removeprefix("- ") for line in lines if line.startswith("- ")]


@functools.cache
def _problem(name: str) -> str:
    values, _ = REFUSED[name]
    (problem,) = _problems(find_renderer(), values, "1shop" if "digit" in name else "tickets")
    return problem


@pytest.mark.parametrize("name", REFUSED)
def test_a_contradiction_is_refused(name: str) -> None:
    """One line for one contradiction. It begins with what is wrong, ends with what to do, and shows no secret."""
    problem = _problem(name)

    assert problem.startswith(REFUSED[name][1])
    assert len(re.findall(r"[.?)] [A-Z]|[.)]$", problem)) >= 2, problem
    assert "topsecret" not in problem


def test_every_contradiction_is_tested() -> None:
    """Each line of the template that refuses is one of the cases above."""
    text = (CHART / "templates" / "_checks.tpl").read_text(encoding="utf-8")
    lines = [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]
    patterns = {line: re.sub(r"\\\{\\\{.*?\\\}\\\}", ".+", re.escape(line)) for line in lines}
    problems = [_problem(name) for name in REFUSED]

    assert [line for line, each in patterns.items() if not any(re.fullmatch(each, text) for text in problems)] == []
    assert len(lines) > 40


def test_all_contradictions_are_named_at_once(renderer: Renderer) -> None:
    """The chart's own defaults lack five values."""
    assert [problem.split()[0] for problem in _problems(renderer, {})] == [
        "image.repository",
        "config.kafka.bootstrap_servers",
        "config.submit.operator",
        "config.merchants",
        "existingSecret",
    ]


def test_a_csi_volume_needs_no_merchant_in_config(renderer: Renderer) -> None:
    """The folders that the driver mounts name the merchants."""
    values = merged(minimal(), CSI)
    values["config"]["merchants"] = {}

    assert renderer.render(CHART, values).one("Deployment")


def test_values_that_only_resemble_a_contradiction_are_allowed(renderer: Renderer) -> None:
    """A broker whose name begins with localhost; tickets and their codes on one topic; public hosts."""
    hosts = ("10.example.com", "172.32.0.1", "ecticket.svcs.example")
    for host in hosts:
        provider = {"environment": "custom", "base_url": f"https://{host}"}
        config = {
            "kafka": {"bootstrap_servers": "localhost-kafka.example:9092"},
            "topics": {"tickets": "t", "collected": "t"},
            "provider": provider,
        }
        assert renderer.render(CHART, minimal({"networkPolicy": ON, "config": config})).all("NetworkPolicy")


def test_words_that_only_resemble_a_secret_are_allowed(renderer: Renderer) -> None:
    """Paths of secrets, and settings whose names hold such a word."""
    settings: dict[str, Any] = {
        "webhook": {"endpoints": {"a": {"secret_files": ["/x"], "token_url": "https://x", "max_tokens_shown": 3}}}
    }

    renderer.render(CHART, minimal({"config": {"plugins": {"settings": settings}}}))


def test_a_shop_that_would_run_the_adapter_twice_is_refused(renderer: Renderer) -> None:
    """It includes the sidecar, and the dependency has its own workload."""
    with pytest.raises(ChartRefused, match="Set mode: sidecar"):
        renderer.render(FOLDER / "shop", {"ecticket-adapter": {"mode": "workload"}})


def test_a_typo_is_refused(renderer: Renderer) -> None:
    """At the top and below; in an own workload and in a dependency."""
    typos: list[dict[str, Any]] = [{"replica": 2}, {"keda": {"lagTreshold": 5}}, {"components": {"submitt": {}}}]
    for values in typos:
        with pytest.raises(ChartRefused, match="not allowed"):
            renderer.render(CHART, minimal(values))
    with pytest.raises(ChartRefused, match="'existingSecrets' not allowed"):
        renderer.render(FOLDER / "shop", {"ecticket-adapter": {"existingSecrets": "x"}})


def _own_names() -> dict[str, set[str]]:
    """The labels, annotations, volumes and variables that the chart gives to what it renders, by the value for more."""
    names: dict[str, set[str]] = {key: set() for key in ("commonLabels", "podLabels", "podAnnotations", "extraVolumes")}
    for case in ("minimal", "wheels", "components", "service monitor", "topics job with wheels", "ingress"):
        for each in rendered_case(case).objects:
            names["commonLabels"] |= set(each["metadata"]["labels"])
            template = each.get("spec", {}).get("template")
            if template is not None:
                names["podLabels"] |= set(template["metadata"]["labels"])
                names["podAnnotations"] |= set(template["metadata"].get("annotations", ()))
                names["extraVolumes"] |= {volume["name"] for volume in template["spec"]["volumes"]}
    names["commonLabels"] |= names["podLabels"]
    return names


@pytest.mark.parametrize("value", _own_names())
def test_no_name_of_the_chart_can_be_given_a_second_time(value: str, renderer: Renderer) -> None:
    """Neither of two equal labels is an error for every API server; one of them would be lost, with its selector."""
    own = _own_names()[value] - {"release"}
    given: Any = [{"name": name, "emptyDir": {}} for name in sorted(own)]
    problems = _problems(renderer, minimal({value: given if value == "extraVolumes" else dict.fromkeys(own, "x")}))

    assert len(own) >= 2
    assert {problem.split()[2].rstrip(",") for problem in problems} == own
    assert all(problem.startswith(f"{value} has ") for problem in problems)


def test_a_sidecars_time_to_stop_has_no_wait_before_it(renderer: Renderer) -> None:
    """A route's preStopSeconds belong to an own workload: the shop's pod has its own hooks."""
    assert renderer.render(CHART, minimal(SIDECAR, PUBLIC, INGRESS, {"terminationGracePeriodSeconds": 35})).objects
