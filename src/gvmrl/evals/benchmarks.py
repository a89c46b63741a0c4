"""The benchmarks that are known by name: where each comes from, and how its rows read.

The same set goes round in files and on the hub under several field names, so that each benchmark
names what it may be called; the first that is there is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gvmrl.data import Problem
from gvmrl.errors import InputError
from gvmrl.reward.config import GoldExtract
from gvmrl.reward.math import EXTRACTORS
from gvmrl.tasks.files import field_names, load_problems

ID_FIELDS = ("unique_id", "id", "idx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A set of problems to judge a model by."""

    source: str
    """File, or hub data set as owner/name:config:split."""
    questions: tuple[str, ...] = ("problem", "question", "prompt")
    """What the field of the question may be called."""
    answers: tuple[str, ...] = ("answer",)
    """What the field of the right answer may be called."""
    context: str | None = None
    """Field of a text that belongs before the question, if the data have it."""
    gold: GoldExtract = "exact"
    """Where the right answer stands in its field."""


BENCHMARKS: dict[str, Benchmark] = {
    "math500": Benchmark(source="HuggingFaceH4/MATH-500::test"),
    # the right answer is a whole solution with the result in a box
    "minerva_math": Benchmark(
        source="knoveleng/Minerva-Math", answers=("answer", "solution"), gold="boxed"
    ),
    "olympiad_bench": Benchmark(
        source="Hothan/OlympiadBench:OE_TO_maths_en_COMP",
        answers=("answer", "final_answer"),
        context="context",
    ),
    "aime24": Benchmark(source="HuggingFaceH4/aime_2024"),
    "amc23": Benchmark(source="math-ai/amc23::test"),
    "gsm8k": Benchmark(source="openai/gsm8k:main:test", gold="hash"),
}
"""Name to benchmark; GSM8K is here because small models can solve it."""


def parse_benchmarks(text: str, gold: GoldExtract) -> dict[str, Benchmark]:
    """Read a list such as `math500,gsm8k=test.jsonl,mine=held_out.jsonl`.

    Args:
        text: Names, each with its own source after `=` where it is not the hub's; a name that is
            not known needs one.
        gold: Where right answers stand in the answer field of benchmarks that are not known.

    Returns:
        Benchmarks by name, in the order given.

    Raises:
        ValueError: If a name is unknown, twice there or empty, or `gold` applies to none.
    """
    found: dict[str, Benchmark] = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        name, _, source = entry.partition("=")
        known = BENCHMARKS.get(name)
        if known is None and not source:
            raise ValueError(
                f"there is no benchmark {name!r}; there are {', '.join(BENCHMARKS)}, and a set of "
                f"your own is given as {name}=FILE.jsonl"
            )
        if name in found or not name.replace("_", "").replace("-", "").isalnum():
            raise ValueError(
                f"benchmarks: {entry!r} must be named once, in letters, digits, - and _"
            )
        given = Benchmark(source=source, gold=gold) if known is None else known
        found[name] = replace(given, source=source or given.source)
    if not found:
        raise ValueError(f"benchmarks names none; there are {', '.join(BENCHMARKS)}")
    if gold != "exact" and not found.keys() - BENCHMARKS.keys():
        raise ValueError(
            f"reward.gold = {gold} is for sets of your own; {', '.join(found)} say themselves "
            "where the right answer stands"
        )
    return found


def load_benchmark(
    name: str, benchmark: Benchmark, limit: int | None = None
) -> tuple[Problem, ...]:
    """Load the problems of a benchmark.

    Raises:
        InputError: If the source cannot be read, has none of the fields, or a row is malformed.
    """
    there = field_names(benchmark.source)
    taken = [field for field in ID_FIELDS if field in there]
    return load_problems(
        benchmark.source,
        prompt_field=_first(name, benchmark.source, benchmark.questions, there),
        answer_field=_first(name, benchmark.source, benchmark.answers, there),
        id_field=taken[0] if taken else None,
        context_field=benchmark.context if benchmark.context in there else None,
        limit=limit,
        extract=EXTRACTORS[benchmark.gold],
    )


def _first(name: str, source: str, wanted: Sequence[str], there: Sequence[str]) -> str:
    for field in wanted:
        if field in there:
            return field
    raise InputError(
        f"{name}: {source} has no field {' or '.join(wanted)}; the fields of its first row are: "
        f"{', '.join(there) or 'none'}"
    )
