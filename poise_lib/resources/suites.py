"""Benchmark suites by name: what they measure, how the parts weigh, and where problems come from.

The problems of the embedded engine are made by its own code.  Those of language models are files that a team brings;
their suites are data: ``suite_data/*.yaml`` here, and files of a team's own (:func:`load_suite`), which may build on one
of these.  Scoring checks the files against what the suite says of them.
"""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field, StringConstraints, ValidationError, model_validator

from poise_lib.errors import InvalidInputError
from poise_lib.names import METRIC_FORMAT_VALID, METRIC_OVERALL, METRIC_RESPONSE_LENGTH
from poise_lib.resources.base import MetricName, Model, ShortText, Text
from poise_lib.resources.evaluation import Engine
from poise_lib.resources.messages import closest, first_problem
from poise_lib.resources.yaml_text import parse_yaml

EXTRA_METRICS = (METRIC_OVERALL, METRIC_RESPONSE_LENGTH, METRIC_FORMAT_VALID)
UNKNOWN_DIGEST: Final = "unknown"

Split: TypeAlias = Literal["search", "confirm"]
"""Problems that a search compares on, and those that it has not seen."""
SourceDigest = Annotated[str, StringConstraints(pattern=r"^(unknown|sha256:[0-9a-f]{64})$")]


class BenchmarkSource(Model):
    """Where the problems of a benchmark come from, and what is checked of them."""

    dataset: ShortText | None = Field(None, description="Id of a data set of the Hugging Face hub.")
    split: ShortText = Field("test", description="Its split.")
    files: tuple[ShortText, ...] = Field(
        (), max_length=16, description="Usual file names; the first that is there counts."
    )
    count: int | None = Field(None, ge=1, description="How many problems there must be.")
    digest: SourceDigest = Field(
        UNKNOWN_DIGEST, description="SHA-256 over the problems and answers as they are read; or unknown: not checked."
    )


class SuiteBenchmark(Model):
    """One benchmark: pass@k with sampling when ``pass_k`` is set, greedy acc@1 otherwise."""

    name: MetricName
    weight: float = Field(ge=0.0, le=1.0)
    pass_k: int | None = Field(None, ge=1, description="The k of pass@k.")
    samples: int | None = Field(None, ge=1, description="Responses a problem, n; k when missing, and never fewer.")
    temperature: float = Field(1.0, gt=0.0, le=4.0, description="Of sampling; greedy benchmarks have none.")
    max_tokens: int = Field(4096, ge=1, description="Longest response.")
    title: ShortText = ""
    source: BenchmarkSource | None = None
    confirm: BenchmarkSource | None = Field(
        None, description="Other problems, for confirmation; those of source where there are none."
    )
    contamination: Text = Field("", description="What may be known of the problems before training.")

    @model_validator(mode="after")
    def _enough_samples(self) -> SuiteBenchmark:
        if self.samples is not None and self.samples < (self.pass_k or 1):
            raise ValueError(f"{self.name}: samples ({self.samples}) must be at least passK ({self.pass_k or 1})")
        return self

    def source_of(self, split: Split) -> BenchmarkSource | None:
        """Where the problems of a split come from."""
        return self.confirm if split == "confirm" and self.confirm is not None else self.source

    @property
    def n(self) -> int:
        """Responses a problem."""
        return self.samples or self.pass_k or 1

    @property
    def k(self) -> int:
        """The k of pass@k; 1 for greedy accuracy."""
        return self.pass_k or 1


class Suite(Model):
    """Benchmarks with weights that sum to 1; the overall score is their weighted mean."""

    name: ShortText
    engine: Engine = Engine.NANO
    description: Text = ""
    benchmarks: tuple[SuiteBenchmark, ...] = Field(min_length=1, max_length=32)

    @model_validator(mode="after")
    def _whole(self) -> Suite:
        names = [benchmark.name for benchmark in self.benchmarks]
        if repeated := sorted({name for name in names if names.count(name) > 1 or name in EXTRA_METRICS}):
            raise ValueError(f"benchmark {repeated[0]!r} is named twice, or as a metric that every suite has")
        total = sum(benchmark.weight for benchmark in self.benchmarks)
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(f"weights sum to {total:.6g}, but must sum to 1")
        return self

    def weights(self) -> dict[str, float]:
        """Benchmark name to weight; the weights sum to 1."""
        return {benchmark.name: benchmark.weight for benchmark in self.benchmarks}

    def metric_names(self) -> frozenset[str]:
        """Every metric that a score of this suite carries."""
        return frozenset(self.weights()) | frozenset(EXTRA_METRICS)


class SuiteFile(Model):
    """A suite as a file says it; with ``extends`` its benchmarks replace or join those of another suite."""

    name: ShortText
    extends: ShortText | None = None
    engine: Literal[Engine.VERL] = Engine.VERL
    description: Text = ""
    benchmarks: tuple[dict[str, Any], ...] = ()

    def suite(self, known: dict[str, Suite]) -> Suite:
        """The whole suite.

        Raises:
            ValueError: it builds on a suite that is not known, or on one of another engine.
            ValidationError: a benchmark is wrong, or the weights do not sum to 1.
        """
        merged: dict[str, Any] = {}
        if self.extends is not None:
            base = known.get(self.extends)
            if base is None or base.engine is not self.engine:
                names = sorted(name for name, suite in known.items() if suite.engine is self.engine)
                raise ValueError(f"extends {self.extends!r}, which is no suite of this engine; {', '.join(names)} are")
            merged = {benchmark.name: benchmark.to_document() for benchmark in base.benchmarks}
        for index, benchmark in enumerate(self.benchmarks):
            name = str(benchmark.get("name", f"benchmarks[{index}]"))
            merged[name] = {**merged.get(name, {}), **benchmark}
        kept = [benchmark for benchmark in merged.values() if benchmark.get("weight") != 0]
        return Suite.model_validate(
            {"name": self.name, "engine": self.engine, "description": self.description, "benchmarks": kept}
        )


def parse_suite(text: str, origin: str, known: dict[str, Suite]) -> Suite:
    """A suite from YAML; ``origin`` is what messages call it.

    Raises:
        InvalidInputError: it is no YAML, or breaks the model; the message names the field.
    """
    documents = parse_yaml(text, origin)
    if len(documents) != 1:
        raise InvalidInputError(f"{origin}: holds {len(documents)} documents; a suite is one")
    try:
        return SuiteFile.model_validate(documents[0].data).suite(known)
    except ValidationError as error:
        raise InvalidInputError(f"{origin}: {first_problem(error)}") from error
    except ValueError as error:
        raise InvalidInputError(f"{origin}: {error}") from error


def load_suite(name_or_file: str) -> Suite:
    """A suite by its name, or a team's own by the path of its file.

    Raises:
        InvalidInputError: there is neither, or the file is wrong.
    """
    if name_or_file in SUITES:
        return SUITES[name_or_file]
    path = Path(name_or_file)
    if path.suffix not in (".yaml", ".yml"):
        hint = closest(name_or_file, sorted(SUITES))
        raise InvalidInputError(
            f"unknown suite {name_or_file!r}; known: {', '.join(sorted(SUITES))}, or a file that ends with .yaml"
            + (f"; did you mean {hint}?" if hint else "")
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: cannot be read: {error}") from error
    return parse_suite(text, str(path), SUITES)


CHAINS_V1 = Suite(
    name="chains-v1",
    description="Chains of small operations, six benchmarks with the weights of the paper's.",
    benchmarks=(
        SuiteBenchmark(name="plus8", weight=0.2, pass_k=8),
        SuiteBenchmark(name="times7", weight=0.2, pass_k=8),
        SuiteBenchmark(name="times5", weight=0.15, pass_k=8),
        SuiteBenchmark(name="plus3", weight=0.15),
        SuiteBenchmark(name="plus5", weight=0.15),
        SuiteBenchmark(name="times3", weight=0.15),
    ),
)


def _shipped() -> dict[str, Suite]:
    """The suites that come with POISE."""
    suites = {CHAINS_V1.name: CHAINS_V1}
    folder = resources.files("poise_lib.resources") / "suite_data"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".yaml"):
            suite = parse_suite(file.read_text(encoding="utf-8"), file.name, suites)
            suites[suite.name] = suite
    return suites


SUITES: Final[dict[str, Suite]] = _shipped()
MATH_V1: Final = SUITES["math-v1"]


def suites_of(engine: Engine) -> tuple[str, ...]:
    """Names of the suites that an engine scores."""
    return tuple(sorted(name for name, suite in SUITES.items() if suite.engine is engine))
