"""An evaluation from settings to results: sample, judge, keep every completion, summarise.

Completions are kept by a key of everything that they depend on, and written after every batch. So
the same command goes on where it stopped, and a finished benchmark is never sampled again.
"""

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from gvmrl.data import Prompt
from gvmrl.errors import InputError
from gvmrl.evals.benchmarks import Benchmark, load_benchmark, parse_benchmarks
from gvmrl.evals.config import EvalConfig
from gvmrl.evals.judge import Judge, Row, make_judge
from gvmrl.evals.scores import Outcomes, Score, score
from gvmrl.files import json_line, read_json_lines, write_json_lines, write_text
from gvmrl.load import load_policy
from gvmrl.model import Policy
from gvmrl.reward.config import Scorer
from gvmrl.sample import Sampler
from gvmrl.sample.make import make_sampler
from gvmrl.tasks.encode import encode

logger = logging.getLogger(__name__)

RESULTS = "results.json"
KEY_DIGITS = 16

Progress = Callable[[str, int, int], None]
"""Told of a benchmark, its finished problems and all its problems."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A benchmark as one model sees it."""

    name: str
    benchmark: Benchmark
    prompts: tuple[Prompt, ...]
    faults: dict[str, str]
    """What is wrong with right answers that no completion can match, by id."""
    path: Path
    """File of the completions; its name holds the key of everything that they depend on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The figures of one benchmark."""

    source: str
    problems: int
    scores: dict[str, Score]
    """By name, such as avg@8, pass@4, maj@8, truncated_rate, mean_tokens."""
    statuses: dict[str, int]
    """How many completions were correct, wrong, without an answer, timed out, ..."""
    faults: dict[str, str]
    """Right answers that no completion can match, by problem id; those problems count."""
    completions: str
    """Name of the file with all completions."""


def evaluate(config: EvalConfig, show: Progress) -> dict[str, Result]:
    """Evaluate a model on benchmarks, and write `results.json` and all completions.

    Args:
        config: What to evaluate, and how.
        show: Told of the progress.

    Returns:
        The figures of each benchmark, in the order of the settings.

    Raises:
        InputError: If the model or a benchmark cannot be used.
    """
    policy = load_policy(config.model)
    with closing(make_judge(config.reward)) as judge:
        model_sha256 = fingerprint(policy)
        wanted = parse_benchmarks(config.benchmarks, config.reward.gold)
        # all of them are loaded before the first is sampled, so that a bad one is found at once
        tasks = [
            _load(config, name, benchmark, policy, judge.scorer, model_sha256)
            for name, benchmark in wanted.items()
        ]
        sampler = make_sampler(policy, config.sampler)
        results: dict[str, Result] = {}
        for task in tasks:
            _sample(config, task, sampler, judge, show)
            results[task.name] = _summarise(task, config)
            _write(config, model_sha256, results)
    return results


def fingerprint(policy: Policy) -> str:
    """Return the SHA-256 of what a policy computes with: weights, architecture, stop tokens.

    Two policies with the same one continue the same tokens in the same way, wherever their files
    lie.
    """
    digest = hashlib.sha256()
    settings = policy.module.config.to_dict()
    settings.pop("_name_or_path", None)
    digest.update(json.dumps([settings, sorted(policy.stop_ids)], default=str).encode())
    for name, weight in sorted(policy.module.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _load(
    config: EvalConfig,
    name: str,
    benchmark: Benchmark,
    policy: Policy,
    scorer: Scorer,
    model_sha256: str,
) -> Task:
    problems = load_benchmark(name, benchmark, config.limit)
    data = config.data
    encoded = encode(
        problems,
        policy.tokenizer,
        max_prompt_tokens=data.max_prompt_tokens,
        template=data.template,
        system=data.system,
        instruction=data.instruction,
    )
    if encoded.too_long:
        raise InputError(
            f"{name}: {len(encoded.too_long)} of {len(problems)} prompts are longer than "
            f"data.max_prompt_tokens = {data.max_prompt_tokens}, the first is "
            f"{encoded.too_long[0]}; raise it, since a benchmark is judged whole"
        )
    faults = scorer.faults(problems)
    for problem_id, fault in faults.items():
        logger.warning(
            "%s: the right answer of %s cannot be matched: it %s", name, problem_id, fault
        )
    settings = asdict(config)
    del settings["out"], settings["benchmarks"]
    content = {
        "version": version("gvmrl"),
        "settings": settings,
        "benchmark": [name, asdict(benchmark)],
        "model": [model_sha256, policy.device.type, str(policy.dtype)],
        "prompts": [[prompt.id, prompt.token_ids, prompt.answer] for prompt in encoded.prompts],
    }
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:KEY_DIGITS]
    return Task(
        name=name,
        benchmark=benchmark,
        prompts=encoded.prompts,
        faults=faults,
        path=config.out / f"{name}-{key}.jsonl",
    )


def _sample(config: EvalConfig, task: Task, sampler: Sampler, judge: Judge, show: Progress) -> None:
    """Sample and judge what the file of completions does not hold yet."""
    kept = _finished(read_json_lines(task.path), config.k)
    write_json_lines(task.path, kept)
    done = {row["id"] for row in kept}
    # prompts of similar length side by side need little padding
    left = sorted(
        (prompt for prompt in task.prompts if prompt.id not in done),
        key=lambda prompt: len(prompt.token_ids),
    )
    show(task.name, len(task.prompts) - len(left), len(task.prompts))
    size = max(1, config.sampler.rows_per_batch // config.k)
    began, tokens = time.perf_counter(), 0
    for start in range(0, len(left), size):
        batch = left[start : start + size]
        try:
            completions = sampler.sample(
                batch, np.full(len(batch), config.k), [(config.seed,)] * len(batch)
            )
        except FloatingPointError as error:
            raise InputError(
                f"model.path {config.model.path!r} cannot be evaluated: {error}"
            ) from error
        tokens += sum(len(completion.token_ids) for completion in completions)
        with task.path.open("a", encoding="utf-8") as file:
            file.write("".join(map(json_line, judge.rows(batch, completions))))
        finished = len(task.prompts) - len(left) + start + len(batch)
        show(task.name, finished, len(task.prompts))
    if left:
        seconds = time.perf_counter() - began
        logger.info(
            "%s: %d completions, %d tokens in %.1f s (%.0f tokens/s)",
            *(task.name, len(left) * config.k, tokens, seconds, tokens / seconds),
        )


def _finished(rows: list[Row], k: int) -> list[Row]:
    """Return the rows of the problems all of whose completions are there."""
    count = Counter(row["id"] for row in rows)
    return [row for row in rows if count[row["id"]] == k]


def _summarise(task: Task, config: EvalConfig) -> Result:
    rows: dict[str, list[Row]] = {prompt.id: [] for prompt in task.prompts}
    for row in read_json_lines(task.path):
        rows[str(row["id"])].append(row)
    columns = {
        name: [[row[name] for row in group] for group in rows.values()]
        for name in ("reward", "vote", "truncated", "tokens", "status")
    }
    voted = all(vote is not None for group in columns["vote"] for vote in group)
    outcomes = Outcomes(
        reward_PK=np.array(columns["reward"], np.float64),
        vote_PK=np.array(columns["vote"], np.int64) if voted else None,
        truncated_PK=np.array(columns["truncated"], np.bool_),
        num_tokens_PK=np.array(columns["tokens"], np.int64),
    )
    return Result(
        source=task.benchmark.source,
        problems=len(task.prompts),
        scores=score(outcomes, config.seed),
        statuses=dict(Counter(str(status) for group in columns["status"] for status in group)),
        faults=task.faults,
        completions=task.path.name,
    )


def _write(config: EvalConfig, model_sha256: str, results: dict[str, Result]) -> None:
    content = {
        "version": version("gvmrl"),
        "settings": asdict(config),
        "model_sha256": model_sha256,
        "benchmarks": {name: asdict(result) for name, result in results.items()},
    }
    write_text(config.out / RESULTS, json.dumps(content, indent=2, default=str) + "\n")
