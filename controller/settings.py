"""Settings of the controller's process, from environment variables that the chart sets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from controller.api import Document
from controller.templates import platform_default
from poise_lib.errors import InvalidInputError
from poise_lib.resources.template import PodTemplate

PREFIX: Final = "POISE_"
ACCESS_MODES: Final = ("ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod")
_STORE_URL: Final = re.compile(r"s3://[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._/-]*)?")
_ENDPOINT: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+/?")
_SECRET: Final = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
_CLAIM_VARIABLES: Final = ("ARTIFACTS_CLAIM", "ARTIFACTS_SIZE", "ARTIFACTS_STORAGE_CLASS", "ARTIFACTS_ACCESS_MODE")
_STORE_VARIABLES: Final = ("ARTIFACTS_ENDPOINT", "ARTIFACTS_REGION", "ARTIFACTS_SECRET", "ARTIFACTS_EGRESS")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class ObjectStoreSettings:
    """The object store that holds the artifacts of all namespaces, each below a prefix of its own."""

    url: str
    """``s3://``, bucket and perhaps a prefix."""
    endpoint: str = ""
    """Empty for Amazon's."""
    region: str = ""
    secret: str = ""
    """Of each namespace with searches; holds AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.  The controller does not read it."""
    egress: tuple[Document, ...] = ()
    """What tasks may reach, as a NetworkPolicy has it; empty stands for name resolution and the endpoint's port."""

    def of(self, namespace: str) -> str:
        """Where the artifacts of a namespace lie."""
        return f"{self.url.rstrip('/')}/{namespace}"

    @property
    def port(self) -> int:
        """TCP port of the endpoint."""
        parts = urlsplit(self.endpoint)
        return parts.port or (80 if parts.scheme == "http" else 443)


@dataclass(frozen=True, slots=True)
class ArtifactSettings:
    """What holds the artifacts: a volume claim in each namespace, or an object store."""

    claim: str = "poise-artifacts"
    size: str = "10Gi"
    storage_class: str | None = None
    """None leaves it to the cluster's default class; empty asks for a volume made by hand."""
    access_mode: str = "ReadWriteOnce"
    """ReadWriteMany where tasks may run on several nodes."""
    store: ObjectStoreSettings | None = None
    """In place of the claim."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the controller's process was told."""

    worker_image: str
    """Image of every task's containers, but of those that train and score with engine verl."""
    trainer_image: str = ""
    """Image of those; empty where the platform has none."""
    pull_policy: str = "IfNotPresent"
    namespaces: tuple[str, ...] = ()
    """Namespaces to watch; empty means all of the cluster."""
    artifacts: ArtifactSettings = ArtifactSettings()
    lease_namespace: str = "poise-system"
    lease_name: str = "poise-controller"
    identity: str = "poise"
    """Who holds the lease; the pod's name in a cluster."""
    health_port: int = 8080
    log_level: str = "info"
    job_ttl_seconds: int = 600
    """How long a finished Job stays once its result is in a status."""
    pod_template: PodTemplate = field(default_factory=PodTemplate)
    """What is asked of pods where a Search says nothing."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read POISE_* variables.

        Raises:
            InvalidInputError: a variable is missing or wrong; the message names it.
        """

        def text(name: str, default: str | None = None) -> str:
            value = environment.get(PREFIX + name, default)
            if value is None:
                raise InvalidInputError(f"{PREFIX}{name} is not set; the chart sets it")
            return value

        def number(name: str, default: int) -> int:
            value = text(name, str(default))
            if not value.isdecimal():
                raise InvalidInputError(f"{PREFIX}{name} must be a whole number, not {value!r}")
            return int(value)

        def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
            value = text(name, default)
            if value not in allowed:
                raise InvalidInputError(f"{PREFIX}{name} must be one of {', '.join(allowed)}, not {value!r}")
            return value

        defaults = ArtifactSettings()
        artifacts = ArtifactSettings(
            claim=text("ARTIFACTS_CLAIM", defaults.claim),
            size=text("ARTIFACTS_SIZE", defaults.size),
            storage_class=environment.get(PREFIX + "ARTIFACTS_STORAGE_CLASS"),
            access_mode=choice("ARTIFACTS_ACCESS_MODE", defaults.access_mode, ACCESS_MODES),
            store=_object_store(environment),
        )
        return cls(
            worker_image=text("WORKER_IMAGE"),
            trainer_image=text("TRAINER_IMAGE", ""),
            pull_policy=choice("PULL_POLICY", "IfNotPresent", ("Always", "IfNotPresent", "Never")),
            namespaces=tuple(name.strip() for name in text("NAMESPACES", "").split(",") if name.strip()),
            artifacts=artifacts,
            lease_namespace=text("LEASE_NAMESPACE", "poise-system"),
            lease_name=text("LEASE_NAME", "poise-controller"),
            identity=text("IDENTITY", "poise"),
            health_port=number("HEALTH_PORT", 8080),
            log_level=choice("LOG_LEVEL", "info", LOG_LEVELS),
            job_ttl_seconds=number("JOB_TTL_SECONDS", 600),
            pod_template=platform_default(
                text("POD_TEMPLATE", "{}"), artifacts.claim if artifacts.store is None else None
            ),
        )


def _object_store(environment: Mapping[str, str]) -> ObjectStoreSettings | None:
    """The object store that is asked for; None where a claim holds the artifacts.

    Raises:
        InvalidInputError: a variable is wrong, or both a claim and an object store are asked for.
    """
    url = environment.get(PREFIX + "ARTIFACTS_URL", "")
    texts = {name: environment.get(PREFIX + name, "") for name in _STORE_VARIABLES}
    if not url:
        for name, text in texts.items():
            if text:
                raise InvalidInputError(
                    f"{PREFIX}{name} is of an object store, and there is none: set {PREFIX}ARTIFACTS_URL "
                    "(the chart's artifacts.url), or leave it out"
                )
        return None
    for name in _CLAIM_VARIABLES:
        if environment.get(PREFIX + name):
            raise InvalidInputError(
                f"{PREFIX}ARTIFACTS_URL and {PREFIX}{name} are both set: artifacts lie in an object store or on a volume "
                "claim, not in both; leave one of them out"
            )
    patterns = {"ARTIFACTS_ENDPOINT": _ENDPOINT, "ARTIFACTS_SECRET": _SECRET}
    for name, text, pattern in [
        ("ARTIFACTS_URL", url, _STORE_URL),
        *((name, texts[name], pattern) for name, pattern in patterns.items() if texts[name]),
    ]:
        if pattern.fullmatch(text) is None:
            wanted = {"ARTIFACTS_URL": "s3://BUCKET/PREFIX, such as s3://artifacts/poise",
                      "ARTIFACTS_ENDPOINT": "http(s)://HOST:PORT", "ARTIFACTS_SECRET": "the name of a Secret"}[name]  # fmt: skip
            raise InvalidInputError(f"{PREFIX}{name} must be {wanted}, not {text!r}")
    return ObjectStoreSettings(
        url=url,
        endpoint=texts["ARTIFACTS_ENDPOINT"],
        region=texts["ARTIFACTS_REGION"],
        secret=texts["ARTIFACTS_SECRET"],
        egress=_egress(texts["ARTIFACTS_EGRESS"] or "[]"),
    )


def _egress(text: str) -> tuple[Document, ...]:
    try:
        rules = json.loads(text)
    except ValueError as error:
        raise InvalidInputError(f"{PREFIX}ARTIFACTS_EGRESS is no JSON: {error}") from error
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise InvalidInputError(f"{PREFIX}ARTIFACTS_EGRESS must be a list of egress rules of a NetworkPolicy")
    return tuple(rules)
