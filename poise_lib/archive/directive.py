"""What a search understands of its directive: aims ("shorten responses") and guards ("keep accuracy"), without a model.

A directive has to mean the same to every proposer, on every machine and at every look, so it is read by rules:

======================  ===========================================================  ==============================
of                      more or less of it                                           kept as the baseline has it
======================  ===========================================================  ==============================
responses' length       shorten, shorter, concise, fewer tokens, less verbose;       no longer responses, do not
                        lengthen, longer, more verbose                               shorten, keep the length
accuracy (overall)      raise, improve, beat GRPO, more accurate                     keep, do not hurt, no loss of,
                                                                                     no worse, same accuracy
format validity         improve format validity, more valid responses                keep the format
a benchmark, pass@k     improve times7, raise pass@8                                 do not hurt times7
======================  ===========================================================  ==============================

A text is split into clauses; in each, a topic takes the verbs before it, or those after it when none stand before
("accuracy must not drop").  A clause of topics alone goes on with the verbs of the one before ("improve accuracy and
format").  A tolerance may stand with what is kept: "within 2 points", "at most 5% longer".  What is not understood, or
contradicts itself, changes no score and is told; nobody's accuracy is ever lowered on purpose.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from poise_lib.names import METRIC_FORMAT_VALID, METRIC_OVERALL, METRIC_RESPONSE_LENGTH
from poise_lib.plain import clean
from poise_lib.resources.objective import Aim, Direction, Guard, Reading
from poise_lib.resources.suites import Suite

POINTS: Final = 1.0
"""Tolerance of overall and format validity: about what one more seed moves them (docs/evidence/calibration.md)."""
BENCHMARK_POINTS: Final = 3.0
"""The same of one benchmark, which has a sixth of the problems."""
LENGTH_PERCENT: Final = 5.0
"""The same of the responses' length, in percent of the baseline's."""
_MOST: Final = 16
_MOST_KEPT: Final = 8
"""Metrics that may be bounded; an objective has room for no more."""
_WORDS: Final = 300
"""Letters of a clause that are kept."""


class _Op(Enum):
    """What a word does to a topic."""

    MORE = auto()
    BETTER = auto()
    LESS = auto()
    KEEP = auto()
    CHANGE = auto()
    NOT = auto()


_OPS: Final[dict[_Op, str]] = {
    _Op.NOT: r"not|no|never|without|avoid\w*|prevent\w*|neither|stop",
    _Op.KEEP: r"keep\w*|kept|maintain\w*|preserv\w*|retain\w*|hold\w*|held|same|equal\w*|unchanged|constant|stable"
    r"|stay\w*|remain\w*|protect\w*|match\w*|intact|steady",
    _Op.CHANGE: r"chang\w*|alter\w*|affect\w*|touch\w*|impact\w*",
    _Op.LESS: r"reduc\w*|decreas\w*|lower\w*|cut|cuts|cutting|shrink\w*|drop\w*|less|fewer|minimi[sz]\w*|minimal|down"
    r"|loss\w*|lose|loses|losing|lost|hurt\w*|harm\w*|degrad\w*|sacrific\w*|worsen\w*|fall|falls|falling|declin\w*"
    r"|deteriorat\w*|regress\w*|damag\w*|compromis\w*|costs?|trim\w*|curb\w*|limit\w*",
    _Op.MORE: r"rais\w*|increas\w*|grow|grows|growing|higher|more|greater|lift\w*|up|maximi[sz]\w*|maximal",
    _Op.BETTER: r"improv\w*|boost\w*|enhanc\w*|better|best|gain\w*|strengthen\w*|focus\w*|prioriti[sz]\w*|prefer\w*"
    r"|favou?r\w*|emphasi[sz]\w*|push\w*|optimi[sz]\w*",
}
_OP: Final = tuple((op, re.compile(rf"(?:{words})\Z")) for op, words in _OPS.items())

_SHORTER: Final = re.compile(
    r"(?:shorten(?:s|ed|ing)?|shorter|short|concise(?:ly)?|terse|terser|brief(?:er|ly)?|succinct(?:ly)?|compact)\Z"
)
_LONGER: Final = re.compile(r"(?:lengthen(?:s|ed|ing)?|longer)\Z")
_WORDY: Final = re.compile(r"(?:long|verbose|verbosity|lengthy|wordy|wordiness|rambling|long-winded)\Z")
_BREVITY: Final = re.compile(r"(?:brevity|concis(?:eness|ion)|terseness|shortness)\Z")
_LENGTH: Final = re.compile(r"(?:lengths?|tokens?|response_length)\Z")
_RESPONSES: Final = re.compile(
    r"(?:responses?|answers?|outputs?|completions?|generations?|repl(?:y|ies)|solutions?|reasoning|thinking|thoughts?|chains?|text|sampl(?:e|es)|rollouts?)\Z"
)
_OVERALL: Final = re.compile(
    r"(?:accura(?:cy|cies|te|tely)|overall|scores?|performance|quality|correctness|utility|pass-rate)\Z"
)
_BEAT: Final = re.compile(r"(?:beat\w*|outperform\w*|surpass\w*)\Z")
_WORSE: Final = re.compile(r"(?:worse|inaccurate)\Z")
_FORMAT: Final = re.compile(r"(?:format\w*|valid(?:ity)?|well-formed|pars(?:e)?able)\Z")
_PASS: Final = re.compile(r"pass@(k|\d+)\Z")
_FILLER: Final = re.compile(
    r"(?:a|an|the|of|in|on|to|as|than|that|this|these|those|is|are|be|being|been|was|were|should|shall|must|may|might|can|could"
    r"|will|would|do|does|did|let|make|making|made|have|has|had|get|gets|getting|become|becomes|please|we|i|you|it|its|their"
    r"|them|they|our|my|your|all|any|every|each|more|much|very|too|so|only|just|also|still|even|if|when|whenever|over|under|by"
    r"|from|into|per|possible|possibly|grpo|baseline|current|now|before|search|algorithms?|models?|new|find|ones?|then|want"
    r"|wanted|needs?|needed|like|try|aim|goal|again|times?|least|most|rate|where)\Z"
)
"""Words that say nothing of their own here: what an adjective stands for is looked for behind them."""
_SPLIT: Final = re.compile(
    r"((?<!\d)[.,]|[.,](?!\d)|[;:!?()\n\"\u201c\u201d\u2014\u2013]"
    r"|\b(?:and|but|while|whilst|yet|although|though|or|nor|plus|with|at|for)\b|(?=\bwithout\b))"
)
_TOLERANCE: Final = re.compile(
    r"(?P<word>within|no more than|more than|at most|by up to|up to)\s+(?P<size>[0-9]{1,4}(?:\.[0-9]{1,4})?)(?![\d.]*\d)\s*"
    r"(?P<unit>%|percentage points?|percent|points?|pp|tokens?)?"
)
_REWRITTEN: Final = (
    (re.compile(r"[\u2018\u2019]"), "'"),
    (re.compile(r"\bdon'?t\b"), "do not"),
    (re.compile(r"\bca(?:n't|nt)\b"), "can not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"\bcannot\b"), "can not"),
    (re.compile(r"\b(?:at|to) the (?:expense|cost|detriment) of\b"), " hurting "),
    (re.compile(r"\bas (\S+) as possible\b"), r"more \1"),
    (re.compile(r"\bas (\S+) as\b"), r"equally \1"),
    (re.compile(r"\bpass(?:[ -]?at[ -]?|[ -]@ ?|@ )(k|\d+)\b"), r"pass@\1"),
    (re.compile(r"\bformat[ -]?valid(?:ity)?\b|\bformat_valid\b"), "format"),
    (re.compile(r"\bresponse[ -]lengths?\b"), "response_length"),
    (re.compile(r"\bpass[ -]rates?\b"), "pass-rate"),
    (re.compile(r"\b(?:as well as|together with|along with)\b"), " and "),
    (re.compile(r"\b(?:rather than|instead of)\b"), " , not "),
    (re.compile(r"[\u27e8\u27e9]"), " "),
)  # fmt: skip
_NO_LONGER: Final = re.compile(
    r"\bno longer\b(?!\s+(?:than|responses?|answers?|outputs?|completions?)\b|\s*$|\s*[.,;:!?])"
)
_TOKEN: Final = re.compile(r"\u27e8[^\u27e9]*\u27e9|[\w@%][\w@%.+-]*[\w@%]|[\w@%]")


@dataclass(frozen=True, slots=True)
class _Topic:
    """What a word speaks of; ``lean`` is the direction that the word has by itself."""

    metrics: tuple[str, ...]
    lean: int = 0
    absolute: bool = False
    """A quality, such as "verbose", and not a comparison, such as "longer"."""
    bare: bool = False
    """Needs no verb: "shorter responses" is a wish."""
    general: bool = False
    """A word such as "score" that may only name what a benchmark gives."""


@dataclass(slots=True)
class _Clause:
    """A part of the text with at most one wish for each of its topics."""

    words: str
    topics: list[tuple[int, _Topic]] = field(default_factory=list)
    ops: list[tuple[int, _Op]] = field(default_factory=list)
    tolerance: tuple[float, str] | None = None
    numbers: bool = False
    unknown: bool = False
    carries: bool = False
    """Whether "or" leads from the clause before it, whose "not" holds here too."""


_Found = Aim | Guard


def read(directive: str, suite: Suite) -> Reading:
    """Aims and guards of a directive, on metrics that the suite has.

    Args:
        directive: natural language; English.
        suite: names the benchmarks.
    """
    found: list[_Found] = []
    ignored: list[str] = []
    ruling: tuple[_Op, ...] = ()
    for clause in _clauses(directive, suite):
        if not clause.topics:
            if clause.unknown:
                ignored.append(clause.words)
            ruling = _ops(clause.ops) if not clause.unknown else ()
            continue
        said, ruling = _wishes(clause, ruling)
        found += [wish for wishes in said for wish in wishes]
        heard = {topic.metrics for (_, topic), wishes in zip(clause.topics, said, strict=True) if wishes}
        unheard = [topic.metrics[0] for _, topic in clause.topics if topic.metrics not in heard]
        if not heard:
            ignored.append(clause.words)
        elif unheard:
            ignored.append(f"{clause.words} (what it says of {unheard[0]})")
        if heard and clause.numbers:
            ignored.append(f"{clause.words} (the number: targets are not read)")
    kept, contradictory = _consistent(found)
    ignored += contradictory
    guards = [item for item in kept if isinstance(item, Guard)]
    bounded = list(dict.fromkeys(guard.metric for guard in guards))
    ignored += [f"{metric} (no more than {_MOST_KEPT} metrics can be kept)" for metric in bounded[_MOST_KEPT:]]
    return Reading(
        aims=tuple(item for item in kept if isinstance(item, Aim))[:_MOST],
        guards=tuple(guard for guard in guards if guard.metric in bounded[:_MOST_KEPT]),
        ignored=tuple(dict.fromkeys(part[: 2 * _WORDS] for part in ignored))[:_MOST],
    )


def _clauses(directive: str, suite: Suite) -> Iterable[_Clause]:
    text = _NO_LONGER.sub("no-longer", unicodedata.normalize("NFKC", clean(directive, lines=True)).casefold())
    for pattern, new in _REWRITTEN:
        text = pattern.sub(new, text)
    text = _TOLERANCE.sub(_tolerance, text)
    parts = _SPLIT.split(text)
    for joint, part in zip(["", *parts[1::2]], parts[::2], strict=True):
        if words := " ".join(part.split()):
            yield _clause(words, suite, carries=joint in ("or", "nor"))


def _tolerance(found: re.Match[str]) -> str:
    """A tolerance as one token; "at most" also says no to what is beyond it."""
    denies = found["word"] in ("no more than", "at most", "by up to", "up to")
    return f" {'not ' if denies else ''}\u27e8{found['size']} {found['unit'] or ''}\u27e9 "


def _clause(words: str, suite: Suite, *, carries: bool) -> _Clause:
    shown = re.sub(r"\u27e8([^\u27e9]*)\u27e9", r"\1", words)
    clause, tokens = _Clause(" ".join(shown.split())[:_WORDS], carries=carries), _TOKEN.findall(words)
    responses = False
    for at, token in enumerate(tokens):
        if token.startswith("\u27e8"):
            size, _, unit = token[1:-1].partition(" ")
            clause.tolerance = (float(size), unit)
        elif (topic := _topic(token, tokens[at + 1 :], suite)) is not None:
            clause.topics.append((at, topic))
        elif (op := _op(token)) is not None:
            clause.ops.append((at, op))
        elif any(letter.isdigit() for letter in token):
            clause.numbers = clause.unknown = True
        elif _RESPONSES.match(token):
            responses = True
        elif not _FILLER.match(token):
            clause.unknown = True
    clause.unknown = clause.unknown or (responses and bool(clause.ops))  # "better answers": in what?
    if any(not topic.general and topic.metrics[0] != METRIC_RESPONSE_LENGTH for _, topic in clause.topics):
        clause.topics = [item for item in clause.topics if not item[1].general]
    return clause


def _op(token: str) -> _Op | None:
    return next((op for op, pattern in _OP if pattern.match(token)), None)


def _topic(token: str, after: Sequence[str], suite: Suite) -> _Topic | None:
    """What a word speaks of, if it is a topic."""
    for benchmark in suite.benchmarks:
        if token == benchmark.name.casefold():
            return _Topic((benchmark.name,))
    if (passed := _PASS.match(token)) is not None:
        among = [item for item in suite.benchmarks if item.pass_k and passed[1] in ("k", str(item.pass_k))]
        return _Topic(tuple(item.name for item in among)) if among else None
    length = (METRIC_RESPONSE_LENGTH,)
    if _SHORTER.match(token):
        return _Topic(length, -1, bare=True) if _of_responses(after) else None
    if _LONGER.match(token):
        return _Topic(length, 1, bare=True) if _of_responses(after) else None
    if _WORDY.match(token):
        return _Topic(length, 1, absolute=True) if _of_responses(after) else None
    if _BREVITY.match(token):
        return _Topic(length, -1, absolute=True)
    if _LENGTH.match(token):
        return _Topic(length)
    if _BEAT.match(token):
        return _Topic((METRIC_OVERALL,), 1, bare=True, general=True)
    if _WORSE.match(token):
        return _Topic((METRIC_OVERALL,), -1, general=True)
    if _OVERALL.match(token):
        return _Topic((METRIC_OVERALL,), general=True)
    return _Topic((METRIC_FORMAT_VALID,)) if _FORMAT.match(token) else None


def _of_responses(after: Sequence[str]) -> bool:
    """Whether an adjective speaks of responses: of them, or of nothing that is named, but not of "short prompts"."""
    for token in after:
        if _RESPONSES.match(token) or _LENGTH.match(token) or _op(token) is not None or token.startswith("\u27e8"):
            return True
        if _OVERALL.match(token) or _FORMAT.match(token) or token[0].isdigit() or _SHORTER.match(token):
            return True
        if not _FILLER.match(token):
            return False
    return True


def _ops(items: Iterable[tuple[int, _Op]]) -> tuple[_Op, ...]:
    return tuple(op for _, op in items)


def _wishes(clause: _Clause, ruling: tuple[_Op, ...]) -> tuple[list[list[_Found]], tuple[_Op, ...]]:
    """The aims and guards of each topic of a clause, and the verbs that a following clause without any goes on with."""
    found: list[list[_Found]] = []
    last, carried = -1, clause.carries and _Op.NOT in ruling
    for index, (at, topic) in enumerate(clause.topics):
        upper = clause.topics[index + 1][0] if index + 1 < len(clause.topics) else None
        before = _ops(item for item in clause.ops if last < item[0] < at)
        after = _ops(item for item in clause.ops if item[0] > at and (upper is None or item[0] < upper))
        last = at
        ops = before
        if not set(before) - {_Op.NOT} and not (topic.bare and before):
            ops = (*before, *(() if topic.bare and topic.lean else after))
        if carried and _Op.NOT not in ops and (ops or topic.bare):
            ops = (_Op.NOT, *ops)
        if not ops and not clause.ops and not topic.bare:
            ops = ruling
        elif not ops and index:
            ops = ruling  # a second topic under the same verb: "accuracy, format"
        found.append(_wish(clause, topic, ops))
        if ops:
            ruling = ops
        elif topic.bare:
            ruling = ()
    return found, ruling


def _wish(clause: _Clause, topic: _Topic, ops: Sequence[_Op]) -> list[_Found]:
    """What the verbs say of a topic."""
    denied = sum(op is _Op.NOT for op in ops) % 2 == 1
    says = [op for op in ops if op is not _Op.NOT]
    if topic.metrics[0] == METRIC_RESPONSE_LENGTH:
        return _length(clause, topic, says, denied)
    if topic.lean > 0:
        return [] if denied else [Aim(metrics=topic.metrics, direction=Direction.MAXIMIZE, words=clause.words)]
    kept = _Op.KEEP in says
    worse = not kept and (_Op.LESS in says or topic.lean < 0)
    same = denied and (worse or _Op.CHANGE in says)
    if same or (kept and not denied):
        return [_guard(clause, metric, Direction.MAXIMIZE) for metric in topic.metrics]
    better = not denied and not worse and (_Op.MORE in says or _Op.BETTER in says)
    return [Aim(metrics=topic.metrics, direction=Direction.MAXIMIZE, words=clause.words)] if better else []


def _length(clause: _Clause, topic: _Topic, says: Sequence[_Op], denied: bool) -> list[_Found]:
    """The same of the responses' length, of which more is as good as less."""
    less, more = _Op.LESS in says, _Op.MORE in says
    if topic.lean == 0:
        if _Op.KEEP in says or (_Op.CHANGE in says and denied):
            return [] if _Op.KEEP in says and denied else [
                _guard(clause, METRIC_RESPONSE_LENGTH, direction) for direction in (Direction.MINIMIZE, Direction.MAXIMIZE)
            ]  # fmt: skip
        sign = -1 if less else 1 if more else 0
    elif topic.absolute and topic.lean > 0:
        if not (less or more or denied):
            return []
        return [_aim(clause, -1 if less or denied else 1)]
    else:
        sign = -topic.lean if less else topic.lean
    if not sign:
        return []
    if denied:
        return [_guard(clause, METRIC_RESPONSE_LENGTH, Direction.MINIMIZE if sign > 0 else Direction.MAXIMIZE)]
    return [_aim(clause, sign)]


def _aim(clause: _Clause, sign: int) -> Aim:
    direction = Direction.MAXIMIZE if sign > 0 else Direction.MINIMIZE
    return Aim(metrics=(METRIC_RESPONSE_LENGTH,), direction=direction, words=clause.words)


def _guard(clause: _Clause, metric: str, direction: Direction) -> Guard:
    of_length = metric == METRIC_RESPONSE_LENGTH
    usual = (
        POINTS if metric in (METRIC_OVERALL, METRIC_FORMAT_VALID) else LENGTH_PERCENT if of_length else BENCHMARK_POINTS
    )
    percent = of_length
    size = usual
    if clause.tolerance is not None:
        size, unit = clause.tolerance
        percent = of_length and not unit.startswith("token")
    return Guard(metric=metric, direction=direction, tolerance=size, percent=percent, words=clause.words)


def _consistent(found: Sequence[_Found]) -> tuple[list[_Found], list[str]]:
    """Each wish once, without those that contradict each other; a tolerance that was given outlasts the usual one."""
    kept: dict[tuple[object, ...], _Found] = {}
    for item in found:
        key = ("aim", item.metrics, item.direction) if isinstance(item, Aim) else ("guard", item.metric, item.direction)
        kept.setdefault(key, item)
    lost: list[str] = []
    for item in list(kept.values()):
        against = [other for other in kept.values() if isinstance(item, Aim) and _contradicts(item, other)]
        if against:
            lost.append(
                " / ".join(dict.fromkeys(one.words for one in (item, *against))) + " (they contradict each other)"
            )
            kept = {key: value for key, value in kept.items() if value is not item and value not in against}
    return list(kept.values()), lost


def _contradicts(aim: Aim, other: _Found) -> bool:
    """Another direction on the same metric: wanted, or kept as it is, unless a tolerance was given on purpose."""
    if isinstance(other, Aim):
        return other is not aim and other.metrics == aim.metrics and other.direction is not aim.direction
    if (other.metric,) != aim.metrics or other.direction is aim.direction:
        return False
    return other.percent and other.tolerance == LENGTH_PERCENT
