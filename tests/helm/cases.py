"""Values to render the chart with: the least that works, and each optional part on top of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

Values = dict[str, Any]

MINIMAL: Values = {
    "image": {"repository": "registry.example/ecticket-adapter"},
    "existingSecret": "ecticket-keys",
    "config": {
        "kafka": {"bootstrap_servers": "kafka-bootstrap.kafka:9092"},
        "merchants": {"3085676": {"known_trade_no": "CBX20220302153064851"}},
        "submit": {"operator": "web"},
    },
}
SIDECAR: Values = {
    "mode": "sidecar",
    "sidecar": {
        "podLabels": {"app.kubernetes.io/name": "shop", "app.kubernetes.io/instance": "{{ .Release.Name }}"},
    },
}
PUBLIC: Values = {"config": {"callbacks": {"public_url": "https://tickets.shop.example"}}}
INGRESS: Values = {"callbacks": {"ingress": {"enabled": True}}}
HTTP_ROUTE: Values = {"callbacks": {"httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]}}}
LOG_SINK: Values = {"config": {"plugins": {"settings": {"log": {"enabled": True}}}}}
ALL_STAGES: Values = {"components": {"submit": {}, "confirm": {}, "receive": {}, "deliver": {}}}
SCRAM: Values = {
    "config": {
        "kafka": {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "adapter"}
    }
}
TOKENS: Values = {
    "config": {
        "kafka": {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "OAUTHBEARER",
            "oauth_token_url": "https://login.example/token",
            "oauth_client_id": "adapter",
        }
    }
}
WHEELS: Values = {"plugins": {"wheels": [{"name": "bundles", "image": "registry.example/wheels:1", "path": "/wheels"}]}}
FILES: Values = {"plugins": {"files": {"family.py": "from adapter import hookimpl\n"}}}
CSI: Values = {"existingSecret": "", "secretsVolume": {"csi": {"driver": "secrets-store.csi.k8s.io"}}}
SECRET_FILES: Values = {
    "secretFiles": [
        {"secretName": "ecticket-user", "key": "password", "path": "kafka/sasl_password"},
        {"secretName": "ecticket-ca", "key": "ca.crt", "path": "kafka/ca.crt"},
    ]
}


def merged(*layers: Mapping[str, Any]) -> Values:
    """Values with all layers, the last one on top; mappings are merged and all else is replaced, as Helm does."""
    result: Values = {}
    for layer in layers:
        _merge(result, layer)
    return result


def _merge(into: Values, layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)


def minimal(*layers: Mapping[str, Any]) -> Values:
    """The least that works, with layers on top."""
    return merged(MINIMAL, *layers)


def _on(name: str) -> Values:
    return {name: {"enabled": True}}


PARTS: Mapping[str, Values] = {
    "minimal": minimal(),
    "components": minimal(ALL_STAGES, LOG_SINK),
    "stages": minimal({"stages": ["submit", "confirm"], "replicas": 3}),
    "hpa": minimal(_on("hpa")),
    "hpa of components": minimal(ALL_STAGES, LOG_SINK, _on("hpa"), {"components": {"deliver": {"replicas": 1}}}),
    "keda": minimal(_on("keda")),
    "keda of components": minimal(
        ALL_STAGES, LOG_SINK, SCRAM, {"keda": {"enabled": True, "authenticationRef": "keda-kafka"}}
    ),
    "pdb": minimal(_on("pdb")),
    "pdb of components": minimal(ALL_STAGES, LOG_SINK, _on("pdb"), {"pdb": {"maxUnavailable": "50%"}}),
    "topology spread": minimal(_on("topologySpread")),
    "network policy": minimal(_on("networkPolicy")),
    "network policy with a sandbox": minimal(
        _on("networkPolicy"),
        {"config": {"provider": {"environment": "custom", "base_url": "http://sandbox.test:8700"}}},
    ),
    "ingress": minimal(PUBLIC, INGRESS, {"callbacks": {"ingress": {"className": "nginx", "tlsSecretName": "tls"}}}),
    "ingress to a component": minimal(PUBLIC, INGRESS, ALL_STAGES, LOG_SINK),
    "http route": minimal(PUBLIC, HTTP_ROUTE),
    "pod monitor": minimal({"monitoring": {"podMonitor": {"enabled": True}}}),
    "service monitor": minimal({"monitoring": {"serviceMonitor": {"enabled": True}, "labels": {"release": "p"}}}),
    "rules": minimal({"monitoring": {"rules": {"enabled": True}}}),
    "rules of components": minimal(ALL_STAGES, LOG_SINK, {"monitoring": {"rules": {"enabled": True}}}),
    "dashboard": minimal({"monitoring": {"dashboard": {"enabled": True}}}),
    "service monitor beside a topics job": minimal(
        _on("topicsJob"), {"monitoring": {"serviceMonitor": {"enabled": True}}}
    ),
    "network policy of components": minimal(ALL_STAGES, LOG_SINK, _on("networkPolicy")),
    "network policy without callbacks": minimal(_on("networkPolicy"), {"stages": ["submit", "confirm"]}),
    "topics job": minimal(_on("topicsJob")),
    "topics job with wheels": minimal(_on("topicsJob"), WHEELS),
    "wheels": minimal(WHEELS),
    "plugin files": minimal(FILES),
    "csi": minimal(CSI),
    "secret files": minimal(SCRAM, SECRET_FILES),
    "tokens": minimal(TOKENS),
    "platform": minimal({"config": {"platforms": {"1000031": {}}}}),
    "sidecar": minimal(SIDECAR),
    "sidecar with everything": minimal(
        SIDECAR,
        PUBLIC,
        INGRESS,
        _on("topicsJob"),
        {"monitoring": {"podMonitor": _on("x")["x"], "rules": _on("x")["x"]}},
    ),
    "pod settings": minimal(
        {
            "image": {"tag": "1.2", "digest": f"sha256:{'0' * 64}"},
            "imagePullSecrets": [{"name": "login"}],
            "commonLabels": {"team": "tickets"},
            "podLabels": {"cost": "shop"},
            "podAnnotations": {"note": "x"},
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "spot", "operator": "Exists"}],
            "priorityClassName": "money",
            "serviceAccountName": "adapter",
            "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
            "extraVolumes": [{"name": "catalogue", "configMap": {"name": "catalogue"}}],
            "extraVolumeMounts": [{"name": "catalogue", "mountPath": "/etc/catalogue", "readOnly": True}],
            "terminationGracePeriodSeconds": 90,
        }
    ),
}
"""Every optional part, alone or with what it needs."""
