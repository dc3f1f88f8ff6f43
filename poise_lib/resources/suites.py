"""Benchmark suites: what they measure, how the parts weigh, and where problems come from.

The problems of the embedded engine are made by its own code.  Those of language models are files that a team brings;
their suites are data: ``suite_data/*.yaml`` here, and suites of a team's own, which may build on one of these.  A team's
suite is one document (:class:`SuiteFile`), in a file (:func:`load_suite`) or in a Search (``evaluation.suiteDefinition``).
Scoring checks the problems against what the suite says of them.
"""

from __future__ import annotations

import math
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import ConfigDict, Field, JsonValue, StringConstraints, ValidationError, field_validator, model_validator

from poise_lib.errors import InvalidInputError
from poise_lib.names import METRIC_FORMAT_VALID, METRIC_OVERALL, METRIC_RESPONSE_LENGTH
from poise_lib.resources.base import MetricName, Model, ShortText, Text, cel
from poise_lib.resources.engine import Engine
from poise_lib.resources.messages import closest, complaints, field_path, strictly
from poise_lib.resources.yaml_text import parse_yaml

EXTRA_METRICS = (METRIC_OVERALL, METRIC_RESPONSE_LENGTH, METRIC_FORMAT_VALID)
UNKNOWN_DIGEST: Final = "unknown"
MAX_BENCHMARKS: Final = 13
"""Of a suite: an objective has room for sixteen metrics, and a directive may aim at every one that a suite has."""
MAX_CHANGES: Final = 24
"""Benchmarks that a team's suite names, those that it takes out among them."""

Split: TypeAlias = Literal["search", "confirm"]
"""Problems that a search compares on, and those that it has not seen."""
SourceDigest = Annotated[str, StringConstraints(pattern=r"^(unknown|sha256:[0-9a-f]{64})$", max_length=71)]
SuiteName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
DatasetId = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=128)
]
ProblemFile = Annotated[
    str,
    StringConstraints(
        pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.@=+-]*/)*[A-Za-z0-9_][A-Za-z0-9_.@=+-]*[.](jsonl|json|csv|parquet)$",
        max_length=128,
    ),
]
"""A file in or below the folder of the problems: no suite leads out of it."""

_SOMEWHERE = "give files, a dataset of the hub, or both"
_TAKEN: Final = f"name must be none of {', '.join(EXTRA_METRICS)}, which every suite has; choose another name"
_BENCHMARK_RULES: Final[list[JsonValue]] = [
    {
        "rule": "!has(self.samples) || !has(self.passK) || self.samples >= self.passK",
        "message": "samples must be at least passK",
    },
    {"rule": " && ".join(f"self.name != '{name}'" for name in EXTRA_METRICS), "message": _TAKEN},
]


class BenchmarkSource(Model):
    """Where the problems of a benchmark come from, and what is checked of them.

    It has no defaults that an API server would fill in: in the items of a list they make each `kubectl apply` a change.
    """

    model_config = ConfigDict(
        json_schema_extra=cel("has(self.dataset) || (has(self.files) && size(self.files) > 0)", _SOMEWHERE)
    )

    dataset: DatasetId | None = Field(None, description="Id of a data set of the Hugging Face hub.")
    split: ShortText | None = Field(None, description="Its split; test when missing.")
    files: tuple[ProblemFile, ...] | None = Field(
        None,
        max_length=8,
        description="Usual file names in the folder evaluation.verl.problems; the first that is there counts.",
    )
    count: int | None = Field(None, ge=1, description="How many problems there must be.")
    digest: SourceDigest | None = Field(
        None,
        description="SHA-256 over the problems and answers as they are read; not checked when missing, or unknown.",
    )

    @model_validator(mode="after")
    def _somewhere(self) -> BenchmarkSource:
        if self.dataset is None and not self.files:
            raise ValueError(_SOMEWHERE)
        return self


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
    benchmarks: tuple[SuiteBenchmark, ...] = Field(min_length=1, max_length=MAX_BENCHMARKS)

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


class SuiteFileBenchmark(Model):
    """A benchmark of a team's suite: a new one, or what changes of one of the suite that it extends.

    Where nothing is said, the extended suite's benchmark stays as it is, and a new one has what the description says.
    """

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": _BENCHMARK_RULES})

    name: MetricName = Field(description="Name of the benchmark and of its metric.")
    weight: float | None = Field(
        None, ge=0.0, le=1.0, description="Share of the overall score, needed by a new one; 0 takes the benchmark out."
    )
    pass_k: int | None = Field(
        None, ge=1, le=1024, description="The k of pass@k, by sampling; a new one without it is greedy accuracy."
    )
    samples: int | None = Field(
        None, ge=1, le=4096, description="Responses a problem; passK when missing, and never fewer."
    )
    temperature: float | None = Field(None, gt=0.0, le=4.0, description="Of sampling; 1 for a new one.")
    max_tokens: int | None = Field(None, ge=1, le=1_000_000, description="Longest response; 4,096 for a new one.")
    title: ShortText | None = Field(None, description="For people.")
    source: BenchmarkSource | None = Field(
        None, description="The problems that candidates are compared on, needed by a new one."
    )
    confirm: BenchmarkSource | None = Field(
        None, description="Other problems, for confirmation; those of source where there are none."
    )
    contamination: Text | None = Field(None, description="What may be known of the problems before training.")

    @model_validator(mode="after")
    def _fits(self) -> SuiteFileBenchmark:
        if self.name in EXTRA_METRICS:
            raise ValueError(_TAKEN)
        if self.samples is not None and self.pass_k is not None and self.samples < self.pass_k:
            raise ValueError(f"samples ({self.samples}) must be at least passK ({self.pass_k})")
        return self


_BY_NAME: Final[dict[str, JsonValue]] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
}


class SuiteFile(Model):
    """A suite of a team's own; with ``extends`` its benchmarks replace or join those of a suite that comes with POISE."""

    name: SuiteName = Field(description="Name of the suite: none that comes with POISE.")
    extends: SuiteName | None = Field(None, description="A suite that comes with POISE, which this one builds on.")
    engine: Literal[Engine.VERL] = Field(Engine.VERL, description="Which program scores it.")
    description: Text = Field("", description="What it measures.")
    benchmarks: tuple[SuiteFileBenchmark, ...] = Field(
        (),
        max_length=MAX_CHANGES,
        description="Its benchmarks, or what changes of those of the extended suite. All weights together sum to 1.",
        json_schema_extra=_BY_NAME,
    )

    @field_validator("benchmarks")
    @classmethod
    def _each_once(cls, benchmarks: tuple[SuiteFileBenchmark, ...]) -> tuple[SuiteFileBenchmark, ...]:
        names = [benchmark.name for benchmark in benchmarks]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"benchmark {repeated[0]!r} is named twice; say all of it in one place")
        return benchmarks

    def suite(self, known: dict[str, Suite]) -> Suite:
        """The whole suite.

        Raises:
            ValueError: it builds on a suite that is not known, or on one of another engine; a new benchmark lacks what it
                needs; or the weights do not sum to 1.
        """
        merged: dict[str, dict[str, Any]] = {}
        if self.extends is not None:
            base = known.get(self.extends)
            if base is None or base.engine is not self.engine:
                names = sorted(name for name, suite in known.items() if suite.engine is self.engine)
                raise ValueError(f"extends {self.extends!r}, which is no suite of this engine; {', '.join(names)} are")
            merged = {benchmark.name: benchmark.to_document() for benchmark in base.benchmarks}
        for benchmark in self.benchmarks:
            if benchmark.name not in merged:
                self._is_whole(benchmark)
            merged[benchmark.name] = {**merged.get(benchmark.name, {}), **benchmark.to_document()}
        kept = [benchmark for benchmark in merged.values() if benchmark["weight"] != 0]
        if not 1 <= len(kept) <= MAX_BENCHMARKS:
            raise ValueError(f"makes a suite of {len(kept)} benchmarks; a suite has 1 to {MAX_BENCHMARKS}")
        try:
            return Suite.model_validate(
                {"name": self.name, "engine": self.engine, "description": self.description, "benchmarks": kept}
            )
        except ValidationError as error:
            # Each field was checked before; what is left is what the models say in words of their own.
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error

    def _is_whole(self, benchmark: SuiteFileBenchmark) -> None:
        wanted = {"a weight": benchmark.weight, "a source": benchmark.source}
        if missing := [what for what, given in wanted.items() if given is None]:
            where = f"suite {self.extends!r} has no such benchmark" if self.extends else "it extends no suite"
            raise ValueError(f"benchmark {benchmark.name!r} needs {' and '.join(missing)}, because {where}")


def parse_suite(text: str, origin: str, known: dict[str, Suite]) -> Suite:
    """A suite from YAML; ``origin`` is what messages call it.

    Raises:
        InvalidInputError: it is no YAML, or breaks the model; the message has a line for every complaint, with its field.
    """
    documents = parse_yaml(text, origin)
    if len(documents) != 1:
        raise InvalidInputError(f"{origin}: holds {len(documents)} documents; a suite is one")
    (document,) = documents
    try:
        file = strictly(SuiteFile, document.data)
    except ValidationError as error:
        lines = (
            f"{origin}, line {document.line(path)}: {field_path(path)} {message}"
            for path, message in complaints(SuiteFile, error)
        )
        raise InvalidInputError("\n".join(lines)) from error
    try:
        return file.suite(known)
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
    suite = parse_suite(text, str(path), SUITES)
    if suite.name in SUITES:
        raise InvalidInputError(f"{path}: name {suite.name!r} is that of a suite that comes with POISE; choose another")
    return suite


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


def suite_of(name: str, definition: SuiteFile | None = None) -> Suite:
    """What ``evaluation.suite`` names: the suite that the definition beside it makes, else one that comes with POISE.

    Raises:
        InvalidInputError: there is no such suite, or the definition makes none.
    """
    if definition is None and name not in SUITES:
        raise InvalidInputError(f"unknown suite {name!r}; known: {', '.join(sorted(SUITES))}")
    try:
        return SUITES[name] if definition is None else _defined(definition)
    except ValueError as error:
        raise InvalidInputError(f"suiteDefinition: {error}") from error


@lru_cache(maxsize=64)
def _defined(definition: SuiteFile) -> Suite:
    return definition.suite(SUITES)
