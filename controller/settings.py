"""Settings of the controller's process, from environment variables that the chart sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from controller.templates import platform_default
from poise_lib.errors import InvalidInputError
from poise_lib.resources.template import PodTemplate

PREFIX: Final = "POISE_"
ACCESS_MODES: Final = ("ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class ArtifactSettings:
    """The volume claim that holds a namespace's artifacts."""

    claim: str = "poise-artifacts"
    size: str = "10Gi"
    storage_class: str | None = None
    """None leaves it to the cluster's default class; empty asks for a volume made by hand."""
    access_mode: str = "ReadWriteOnce"
    """ReadWriteMany where tasks may run on several nodes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the controller's process was told."""

    worker_image: str
    """Image of every task's containers."""
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
        )
        return cls(
            worker_image=text("WORKER_IMAGE"),
            pull_policy=choice("PULL_POLICY", "IfNotPresent", ("Always", "IfNotPresent", "Never")),
            namespaces=tuple(name.strip() for name in text("NAMESPACES", "").split(",") if name.strip()),
            artifacts=artifacts,
            lease_namespace=text("LEASE_NAMESPACE", "poise-system"),
            lease_name=text("LEASE_NAME", "poise-controller"),
            identity=text("IDENTITY", "poise"),
            health_port=number("HEALTH_PORT", 8080),
            log_level=choice("LOG_LEVEL", "info", LOG_LEVELS),
            job_ttl_seconds=number("JOB_TTL_SECONDS", 600),
            pod_template=platform_default(text("POD_TEMPLATE", "{}"), artifacts.claim),
        )
