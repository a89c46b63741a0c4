"""Encoding with tokenizers built here: one adds BOS by itself, as Llama's do."""

import pytest
from tokenizers import Tokenizer as Model
from tokenizers import models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from gvmrl.data import Problem, Prompt
from gvmrl.errors import InputError
from gvmrl.tasks.encode import Encoded, Template, encode

BOS, EOS, USER, SYSTEM, ASSISTANT = range(5)
CHAT = (
    "{{ bos_token }}{% for message in messages %}<{{ message.role }}> {{ message.content }} "
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role here') }}{% endif %}"
    + CHAT
)
WORDS = ["<s>", "</s>", "<user>", "<system>", "<assistant>", "one", "plus", "two", "be", "brief"]
ONE, PLUS, TWO, BE, BRIEF = range(5, 10)
PROBLEM = Problem("p1", "one plus two", "3")


def tokenizer(added: str = "<s> $A", chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """Return a word tokenizer that adds special tokens as the post-processor's template says."""
    model = Model(models.WordLevel({word: row for row, word in enumerate(WORDS)}, "<s>"))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue] -- a property with a setter, not seen in the stubs
    model.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue] -- as above
        single=added, special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    special = ["<user>", "<system>", "<assistant>"]
    made = PreTrainedTokenizerFast(
        tokenizer_object=model, bos_token="<s>", eos_token="</s>", extra_special_tokens=special
    )
    made.chat_template = chat_template
    return made


def token_ids(encoded: Encoded) -> list[tuple[int, ...]]:
    return [prompt.token_ids for prompt in encoded.prompts]


def test_the_tokenizer_of_these_tests_doubles_bos_where_it_may() -> None:
    # what encode() must avoid; if this fails, the tests below prove nothing
    made = tokenizer(chat_template=CHAT)
    rendered = made.apply_chat_template([{"role": "user", "content": "one"}], tokenize=False)
    assert made.encode(str(rendered))[:2] == [BOS, BOS]


def test_a_chat_template_has_one_bos_and_asks_for_the_answer() -> None:
    encoded = encode([PROBLEM], tokenizer(chat_template=CHAT), max_prompt_tokens=10)
    assert encoded.prompts == (Prompt("p1", (BOS, USER, ONE, PLUS, TWO, ASSISTANT), "3"),)
    assert encoded.too_long == ()


def test_system_and_instruction_stand_where_they_belong() -> None:
    made = tokenizer(chat_template=CHAT)
    encoded = encode([PROBLEM], made, max_prompt_tokens=11, system="be brief", instruction="be two")
    words = (BOS, SYSTEM, BE, BRIEF, USER, ONE, PLUS, TWO, BE, TWO, ASSISTANT)
    assert token_ids(encoded) == [words]


def test_plain_text_gets_what_the_tokenizer_adds() -> None:
    encoded = encode([PROBLEM], tokenizer(), max_prompt_tokens=10, instruction="be brief")
    assert token_ids(encoded) == [(BOS, ONE, PLUS, TWO, BE, BRIEF)]
    assert token_ids(encode([PROBLEM], tokenizer("$A"), max_prompt_tokens=10)) == [(ONE, PLUS, TWO)]


def test_plain_goes_past_a_chat_template() -> None:
    made = tokenizer(chat_template=CHAT)
    encoded = encode([PROBLEM], made, max_prompt_tokens=10, template="plain")
    assert token_ids(encoded) == [(BOS, ONE, PLUS, TWO)]


def test_a_text_is_not_ended_before_the_policy_goes_on() -> None:
    ending = tokenizer("<s> $A </s>")
    assert token_ids(encode([PROBLEM], ending, max_prompt_tokens=9)) == [(BOS, ONE, PLUS, TWO)]
    own = Problem("p", "one </s>", "1")  # here the text itself ends in that token
    assert token_ids(encode([own], tokenizer(), max_prompt_tokens=9)) == [(BOS, ONE, EOS)]


def test_prompts_over_the_limit_are_named_and_the_others_keep_their_order() -> None:
    texts = ["one", "one plus two", "two", "one plus one plus one"]
    problems = [Problem(f"p{row}", text, "0") for row, text in enumerate(texts)]
    encoded = encode(problems, tokenizer(), max_prompt_tokens=3)
    assert [prompt.id for prompt in encoded.prompts] == ["p0", "p2"]
    assert encoded.too_long == ("p1", "p3")
    assert encode(problems, tokenizer(), max_prompt_tokens=4).too_long == ("p3",)


def test_all_prompts_over_the_limit_is_an_input_error() -> None:
    problems = [PROBLEM, Problem("p2", "one plus two plus one", "4")]
    message = r"all 2 prompts are longer than data.max_prompt_tokens = 3; the shortest has 4 tokens"
    with pytest.raises(InputError, match=message):
        encode(problems, tokenizer(), max_prompt_tokens=3)


def test_no_problems_are_no_prompts() -> None:
    assert encode([], tokenizer(), max_prompt_tokens=3) == Encoded((), ())


def test_a_missing_chat_template_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"data.template is chat, .* no chat template; use plain"):
        encode([PROBLEM], tokenizer(), max_prompt_tokens=9, template="chat")


@pytest.mark.parametrize(("template", "chat"), [("plain", CHAT), ("auto", None)])
def test_a_system_message_without_a_chat_template_is_an_input_error(
    template: Template, chat: str | None
) -> None:
    made = tokenizer(chat_template=chat)
    with pytest.raises(InputError, match=r"needs a chat template, .* data.instruction"):
        encode([PROBLEM], made, max_prompt_tokens=9, template=template, system="be brief")


def test_a_chat_template_that_refuses_the_system_message_is_an_input_error() -> None:
    made = tokenizer(chat_template=NO_SYSTEM)
    assert encode([PROBLEM], made, max_prompt_tokens=9).prompts
    message = r"fails on a system and a user message: no system role here; leave out data.system"
    with pytest.raises(InputError, match=message):
        encode([PROBLEM], made, max_prompt_tokens=9, system="be brief")


def test_a_prompt_without_tokens_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"problem p9 has no tokens to continue: ' '"):
        encode([Problem("p9", " ", "0")], tokenizer("$A"), max_prompt_tokens=9)


def test_a_character_that_the_tokenizer_does_not_know_is_an_error_with_the_problem() -> None:
    model = Model(models.WordLevel({"one": 0}, "<unk>"))
    made = PreTrainedTokenizerFast(tokenizer_object=model)
    with pytest.raises(InputError, match=r"cannot read problem p1, 'one plus two': .*right model"):
        encode([PROBLEM], made, max_prompt_tokens=10)
