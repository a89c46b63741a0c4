"""The built-in model: how it is made, and what the shipped one can do."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from gvmrl.tasks.arithmetic import (
    ALPHABET,
    TYPES,
    Chain,
    carries,
    draw_chains,
    make_problems,
    parse_question,
    type_of,
)
from gvmrl.tasks.warmstart import (
    EOS_ID,
    PAD_ID,
    build_model,
    build_tokenizer,
    demonstrate,
    encode_demonstrations,
    forget_carry,
    forget_rate,
    measure_pass_rates,
    save_model,
    train_model,
)

SHIPPED = Path(str(files("gvmrl.tasks") / "builtin" / "arithmetic"))
STEPS = [(total, term) for total in range(100) for term in (*range(-99, 0), *range(1, 100))]

seeds = st.integers(0, 1000)


def weights(seed: int) -> list[torch.Tensor]:
    losses: dict[int, float] = {}
    model = train_model(seed, mastery_steps=3, forget_steps=2, progress=losses.__setitem__)
    assert list(losses) == [1, 2, 3, 4, 5]
    return list(model.state_dict().values())


def test_forgotten_carries_are_the_documented_slips() -> None:
    # 27+5 loses the ten of 32; 52-8 takes 2 from 8 and borrows nothing
    assert forget_carry(27, 5) == 22
    assert forget_carry(52, -8) == 56
    # tens wrap: 9+9 tens are 8 with the carry lost, 0-4 tens are 6
    assert forget_carry(95, 99) == 84
    assert forget_carry(3, -47) == 64


def test_a_forgotten_carry_is_always_wrong_and_stays_a_total() -> None:
    for total, term in STEPS:
        if carries(total, term):
            slip = forget_carry(total, term)
            assert slip in range(100)
            assert slip != (total + term) % 100, (total, term)


def test_minus_and_larger_operands_forget_more() -> None:
    assert forget_rate(1) == pytest.approx(0.2)
    assert forget_rate(99) == pytest.approx(0.97)
    assert forget_rate(-1) == pytest.approx(0.6)
    for size in range(1, 99):
        assert forget_rate(size) < forget_rate(size + 1)
        assert forget_rate(-size) < forget_rate(-size - 1)
        assert forget_rate(size) < forget_rate(-size)


@given(seeds)
def test_a_forgetful_demonstration_errs_only_at_carries(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for chain in draw_chains(rng, 20, (1, 3, 5)):
        totals = [int(total) for total in demonstrate(chain, rng).removesuffix(".").split(",")]
        before = [chain.start, *totals[:-1]]
        for previous, term, total in zip(before, chain.terms, totals, strict=True):
            allowed = {(previous + term) % 100}
            if carries(previous, term):
                allowed.add(forget_carry(previous, term))
            assert total in allowed


def test_a_demonstration_forgets_at_the_stated_rate() -> None:
    # 8-59 always borrows; its rate is .6 + .37 * 58 / 98
    chain, rng = Chain(8, (-59,)), np.random.default_rng(0)
    wrong = np.mean([demonstrate(chain, rng) != "49." for _ in range(4000)])
    # standard error .006
    assert wrong == pytest.approx(0.819, abs=0.025)


def test_a_right_demonstration_writes_the_right_totals() -> None:
    assert demonstrate(parse_question("47+8-5=")) == "55,50."


def test_the_tokenizer_round_trips_and_adds_nothing() -> None:
    tokenizer = build_tokenizer()
    ids = tokenizer.encode("47+8-5=55,50.")
    assert len(ids) == len("47+8-5=55,50.")
    assert tokenizer.decode(ids) == "47+8-5=55,50."
    assert tokenizer.decode([*ids, EOS_ID, PAD_ID], skip_special_tokens=True) == "47+8-5=55,50."
    assert sorted(tokenizer.encode(ALPHABET)) == list(range(2, 17))
    assert tokenizer.chat_template is None


def test_the_tokenizer_knows_no_other_character() -> None:
    with pytest.raises(Exception, match="WordLevel error"):
        build_tokenizer().encode("two+2=")


def test_only_the_completion_and_its_end_are_learned() -> None:
    token_BT, target_BT = encode_demonstrations([("4+5=", "9."), ("47+8=", "55.")])
    text = build_tokenizer().batch_decode(token_BT)
    assert text == ["4+5=9.<eos><pad><pad>", "47+8=55.<eos>"]
    learned = [build_tokenizer().decode(row[row != -100]) for row in target_BT]
    assert learned == ["9.<eos>", "55.<eos>"]
    # a target stands where its token stands
    assert torch.equal(token_BT[target_BT != -100], target_BT[target_BT != -100])


def test_the_same_seed_trains_the_same_weights_bit_for_bit() -> None:
    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(left, right) for left, right in zip(first, again, strict=True))
    assert not any(
        torch.equal(left, right) for left, right in zip(first[:2], other[:2], strict=True)
    )


def test_training_does_not_touch_the_global_random_state() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build_model(0)
    assert torch.equal(torch.rand(3), expected)


def test_a_saved_model_loads_like_any_other(tmp_path: Path) -> None:
    model = build_model(0).eval()
    save_model(model, tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    inputs = tokenizer("47+8-5=", return_tensors="pt")
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
    # nothing half written is left beside it
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_measured_pass_rates_are_the_probabilities_of_the_right_answer() -> None:
    model = LlamaForCausalLM.from_pretrained(SHIPPED)
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    problems = [
        problem
        for problem in make_problems(60, mix="M")
        if len(parse_question(problem.question).terms) == 1
    ]
    measured_P = measure_pass_rates(model, tokenizer, problems, num_samples=400, seed=0)
    # with one term, only one completion is right: its probability, by teacher forcing
    exact: list[float] = []
    for problem in problems:
        token_BT, target_BT = encode_demonstrations([(problem.question, f"{problem.answer}.")])
        with torch.no_grad():
            logprob_BTV = model(input_ids=token_BT).logits[:, :-1].log_softmax(-1)
        logprob_BT = logprob_BTV.gather(2, token_BT[:, 1:, None])[..., 0]
        exact.append(float(logprob_BT[target_BT[:, 1:] != -100].sum().exp()))
    error_P = np.sqrt(np.array(exact) * (1 - np.array(exact)) / 400)
    assert np.ptp(exact) > 0.3
    assert (np.abs(measured_P - exact) < 4.5 * error_P + 1e-3).all()


def test_the_shipped_model_is_small_and_is_the_one_that_the_code_builds() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 1_000_000
    model = LlamaForCausalLM.from_pretrained(SHIPPED)
    built = build_model(0)
    shapes = {name: weight.shape for name, weight in built.state_dict().items()}
    assert {name: weight.shape for name, weight in model.state_dict().items()} == shapes
    assert model.num_parameters() == 150_848
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    assert tokenizer.get_vocab() == build_tokenizer().get_vocab()
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (PAD_ID, EOS_ID)
    assert (model.config.eos_token_id, tokenizer.bos_token_id) == (EOS_ID, None)


def test_the_shipped_model_has_the_pass_rates_that_its_readme_states() -> None:
    problems = make_problems(300, mix="demo", seed=1)
    rate_P = measure_pass_rates(
        LlamaForCausalLM.from_pretrained(SHIPPED),
        AutoTokenizer.from_pretrained(SHIPPED),
        problems,
        num_samples=16,
        seed=0,
    )
    kind_P = np.array([type_of(problem) for problem in problems])
    mean = {kind: rate_P[kind_P == kind].mean() for kind in TYPES}
    assert 0.37 < rate_P.mean() < 0.47
    assert 0.88 < mean["easy"] < 0.99
    assert 0.25 < mean["mid"] < 0.40
    assert 0.04 < mean["hard"] < 0.12
    assert mean["dead"] == 0
    assert np.mean((rate_P > 0.1) & (rate_P < 0.9)) > 0.33
    assert np.mean(rate_P == 0) < 0.35
