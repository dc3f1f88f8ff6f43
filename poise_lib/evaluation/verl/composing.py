"""Check a run against VeRL's own configuration, which Hydra composes from the files of the installed VeRL.

Only Hydra and VeRL's YAML are touched: importing VeRL itself takes ten seconds and starts nothing that is needed here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from importlib import util
from pathlib import Path
from typing import Any, Final

from poise_lib.errors import EngineError, InvalidInputError
from poise_lib.evaluation.verl.overrides import FIELD, RunDescription, protected_parts
from poise_lib.evaluation.verl.versions import installed_version, require_verl, version_problem

CONFIG_NAME: Final = "ppo_trainer"


def compose(run: RunDescription) -> dict[str, Any]:
    """VeRL's whole configuration with the overrides of a run, interpolations resolved where they can be.

    Raises:
        EngineError: VeRL is not installed, or is of a version that was not tested.
        InvalidInputError: an override names no key of VeRL's, or has a value that Hydra cannot read.
    """
    check_keys_here(run)
    return _plain(composed(run.arguments), resolve=True)


def check_keys_here(run: RunDescription) -> None:
    """Whether every override has a place in the configuration of the VeRL that is installed.

    Raises:
        EngineError: VeRL is not installed, or is of a version that was not tested.
        InvalidInputError: one has none; the message names it and the nearest key.
    """
    require_verl()
    check_keys(run, _plain(composed(())))


def check_keys(run: RunDescription, config: Mapping[str, Any]) -> None:
    """Whether every override has a place in VeRL's configuration.

    Args:
        run: the run.
        config: VeRL's configuration as nested mappings, interpolations unresolved.

    Raises:
        InvalidInputError: one has none; the message names it and the nearest key.
    """
    known = dict(_flattened(config))
    for override in run.overrides:
        plain = override.key.lstrip("+")
        parent = plain.rpartition(".")[0]
        if plain in known or (override.key.startswith("+") and isinstance(known.get(parent), Mapping)):
            continue
        where = override.source if override.raw else f"{FIELD}: {override.key}, written for another version of VeRL,"
        hint = nearest(plain, known)
        if not hint and isinstance(known.get(parent), Mapping):
            hint = f"; +{plain} adds a key that VeRL's own configuration does not list"
        raise InvalidInputError(f"{where}: is no key of VeRL {installed_version() or ''}".rstrip() + hint)


def nearest(key: str, known: Mapping[str, Any]) -> str:
    """A hint at the key that was meant, by its spelling, else by its last part; empty when there is none."""
    open_keys = [name for name in known if not protected_parts(name)]
    close = difflib.get_close_matches(key, open_keys, n=1, cutoff=0.75)
    if not close:
        last = key.rpartition(".")[2]
        close = difflib.get_close_matches(key, [name for name in open_keys if name.rpartition(".")[2] == last], 1, 0.0)
    return f"; did you mean {close[0]}?" if close else ""


def _flattened(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        yield f"{prefix}{name}", value
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")


def config_folder() -> Path:
    """Where VeRL keeps its configuration.

    Raises:
        EngineError: VeRL is not installed.
    """
    found = util.find_spec("verl")
    if found is None or not found.submodule_search_locations:
        raise EngineError(version_problem(None) or "")
    return Path(next(iter(found.submodule_search_locations))) / "trainer" / "config"


def composed(arguments: Sequence[str]) -> Any:
    """VeRL's configuration with overrides in it, as OmegaConf has it, interpolations unresolved.

    Raises:
        EngineError: VeRL is not installed.
        InvalidInputError: Hydra or VeRL does not know an override, or cannot take its value.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(config_folder()), version_base=None):
            return hydra_compose(config_name=CONFIG_NAME, overrides=list(arguments))
    except (HydraException, OmegaConfBaseException) as error:
        told = " ".join(str(error).split())
        raise InvalidInputError(f"{FIELD}.overrides: VeRL does not take these settings: {told}") from error


def _plain(config: Any, *, resolve: bool = False) -> dict[str, Any]:
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(config, resolve=resolve, throw_on_missing=False)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}
