"""The embedded task: chains, problem sets and answers."""

import re
from collections import Counter
from itertools import pairwise
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gvmrl.data import Problem
from gvmrl.reward.math import final_total
from gvmrl.tasks.arithmetic import (
    MIXES,
    Chain,
    MixName,
    Split,
    carries,
    draw_chains,
    make_problems,
    parse_question,
    type_of,
    write_totals,
)

terms = st.integers(-99, 99).filter(bool)
chains = st.builds(Chain, st.integers(0, 99), st.lists(terms, min_size=1, max_size=5).map(tuple))
seeds = st.integers(0, 1000)
mixes = st.sampled_from(sorted(MIXES))


def right_answer(question: str) -> int:
    # the whole sum at once, without running totals
    return sum(map(int, re.findall(r"[+-]?\d+", question))) % 100


def test_a_chain_is_worked_out_as_in_the_documentation() -> None:
    chain = parse_question("47+8-5=")
    assert chain == Chain(47, (8, -5))
    assert write_totals(chain.totals) == "55,50."
    # 7 + 8 carries, 55 - 5 does not borrow
    assert chain.num_carries == 1


def test_totals_wrap_at_both_ends() -> None:
    # 95 + 9 = 104 and 4 - 47 = -43
    assert parse_question("95+9-47=").totals == (4, 57)


@given(chains)
def test_a_question_is_read_back_as_the_chain_that_wrote_it(chain: Chain) -> None:
    assert parse_question(chain.question) == chain


@given(chains)
def test_the_last_total_is_the_sum_of_the_whole_question(chain: Chain) -> None:
    assert chain.totals[-1] == right_answer(chain.question)


@pytest.mark.parametrize("question", ["47+8-5", "47=", "147+8=", "4+8*2=", "1+1+1+1+1+1+1=", ""])
def test_a_question_of_another_task_is_refused(question: str) -> None:
    with pytest.raises(ValueError, match="is not of the embedded task; write a chain of 1 to 5"):
        parse_question(question)


def test_a_step_carries_exactly_where_the_tens_are_off_without_it() -> None:
    for total in range(100):
        for term in (*range(-99, 0), *range(1, 100)):
            without = total // 10 + (abs(term) // 10) * (1 if term > 0 else -1)
            assert carries(total, term) == ((total + term) // 10 != without), (total, term)


@given(seeds, mixes, st.integers(1, 80), st.sampled_from(["train", "heldout"]))
@settings(max_examples=40)
def test_problems_are_unique_and_of_the_type_that_their_id_names(
    seed: int, mix: str, num: int, split: str
) -> None:
    problems = make_problems(num, mix=cast(MixName, mix), seed=seed, split=cast(Split, split))
    assert len(problems) == num
    assert len({problem.id for problem in problems}) == num
    assert len({problem.question for problem in problems}) == num
    for problem in problems:
        chain, kind = parse_question(problem.question), type_of(problem)
        assert problem.id == f"{kind}/{problem.question}"
        assert chain.heldout == (split == "heldout")
        if kind in ("easy", "mid"):
            assert len(chain.terms) <= 3
            assert chain.num_carries == (kind == "mid")
        else:
            assert len(chain.terms) >= 4
            assert chain.num_carries >= 3
        # no total reaches 100, so nothing can reach a dead prompt's label
        extra = 100 if kind == "dead" else 0
        assert problem.answer == str(right_answer(problem.question) + extra)


def test_a_mix_is_met_exactly() -> None:
    problems = make_problems(100, mix="D", seed=3)
    counts = Counter(map(type_of, problems))
    assert counts == {"easy": 10, "mid": 20, "hard": 15, "dead": 55}


def test_a_heldout_set_has_no_dead_prompts_and_keeps_the_other_proportions() -> None:
    # 10, 20 and 15 of 45
    counts = Counter(map(type_of, make_problems(90, mix="D", seed=3, split="heldout")))
    assert counts == {"easy": 20, "mid": 40, "hard": 30}


@pytest.mark.parametrize("mix", sorted(MIXES))
def test_the_shares_of_a_mix_sum_to_one(mix: MixName) -> None:
    shares = MIXES[mix]
    assert shares.easy + shares.mid + shares.hard + shares.dead == pytest.approx(1.0, abs=1e-12)


def test_no_training_set_shares_a_question_with_a_heldout_set() -> None:
    # chains of one term are few, so that sets of this size would meet by chance
    train = {
        problem.question for seed in range(3) for problem in make_problems(1500, mix="E", seed=seed)
    }
    heldout = {
        problem.question
        for seed in range(3)
        for problem in make_problems(500, mix="E", seed=seed, split="heldout")
    }
    assert train.isdisjoint(heldout)


def test_about_a_fifth_of_all_questions_is_held_out() -> None:
    drawn = draw_chains(np.random.default_rng(0), 4000, (1, 2, 3, 4, 5))
    # standard error .006
    assert np.mean([chain.heldout for chain in drawn]) == pytest.approx(0.2, abs=0.03)


def test_a_set_is_decided_by_its_seed() -> None:
    assert make_problems(50, seed=1) == make_problems(50, seed=1)
    assert make_problems(50, seed=1) != make_problems(50, seed=2)


def test_the_order_does_not_group_the_types() -> None:
    kinds = [type_of(problem) for problem in make_problems(200, mix="R")]
    changes = sum(left != right for left, right in pairwise(kinds))
    # four blocks would change 3 times; a random order about 150 times
    assert changes > 100


@given(seeds, st.integers(1, 5))
@settings(max_examples=20)
def test_drawn_chains_have_the_length_that_was_asked_for(seed: int, num_terms: int) -> None:
    drawn = draw_chains(np.random.default_rng(seed), 30, (num_terms,))
    assert len(drawn) == 30
    for chain in drawn:
        assert len(chain.terms) == num_terms
        assert parse_question(chain.question) == chain


def test_bad_requests_for_problems_are_refused() -> None:
    with pytest.raises(ValueError, match="num must be >= 1, got 0"):
        make_problems(0)
    with pytest.raises(ValueError, match="mix must be one of demo, D, R, U, S, M, E; got 'X'"):
        make_problems(5, mix=cast(MixName, "X"))
    with pytest.raises(ValueError, match="split must be train or heldout, got 'test'"):
        make_problems(5, split=cast(Split, "test"))


def test_an_id_without_a_type_is_refused() -> None:
    with pytest.raises(ValueError, match="problem id 'gsm8k:3' has no prompt type"):
        type_of(Problem("gsm8k:3", "1+1=", "2"))


@given(chains)
def test_the_answer_of_a_written_chain_is_its_last_total(chain: Chain) -> None:
    assert final_total(write_totals(chain.totals)) == str(chain.totals[-1])
