"""Problems as the policy sees them: chat template applied, tokenized, not too long."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gvmrl.data import Problem, Prompt
from gvmrl.errors import InputError

Template = Literal["auto", "chat", "plain"]


class Tokenizer(Protocol):
    """What is needed of a Hugging Face tokenizer."""

    @property
    def chat_template(self) -> object:
        """The template, or None if the model was not trained to chat."""
        ...

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the tokens of a text, with the special ones that the tokenizer adds or without."""
        ...

    def apply_chat_template(
        self,
        conversation: list[dict[str, str]],
        *,
        tokenize: bool,
        add_generation_prompt: bool,
    ) -> object:
        """Return the conversation as text, ready for the assistant to answer."""
        ...


@dataclass(frozen=True, slots=True)
class Encoded:
    """Tokenized problems."""

    prompts: tuple[Prompt, ...]
    """In the order of the problems."""
    too_long: tuple[str, ...]
    """Ids of the problems that were left out because of their length."""


def encode(
    problems: Sequence[Problem],
    tokenizer: Tokenizer,
    *,
    max_prompt_tokens: int,
    template: Template = "auto",
    system: str | None = None,
    instruction: str = "",
) -> Encoded:
    """Tokenize problems for a policy to continue.

    No special token is doubled: a chat template writes its own, so that its text is tokenized
    without adding any. Plain text gets what the tokenizer adds before it, and nothing behind it.

    Args:
        problems: What to ask.
        tokenizer: The policy's.
        max_prompt_tokens: Longer prompts are left out and named in the result.
        template: auto uses the chat template where there is one.
        system: System message; needs a chat template.
        instruction: Added to every question on a line of its own.

    Raises:
        InputError: If the chat template is missing or fails, a prompt has no tokens, or all
            prompts are too long.
    """
    chat = template == "chat" or (template == "auto" and tokenizer.chat_template is not None)
    if chat and tokenizer.chat_template is None:
        raise InputError(
            "data.template is chat, but the model's tokenizer has no chat template; "
            "use plain, or a model trained to chat"
        )
    if system is not None and not chat:
        raise InputError(
            "a system message needs a chat template, and none is used here; "
            "put the text into data.instruction"
        )
    prompts: list[Prompt] = []
    lengths: dict[str, int] = {}
    for problem in problems:
        text = f"{problem.question}\n{instruction}" if instruction else problem.question
        try:
            token_ids = _chat_ids(text, system, tokenizer) if chat else _plain_ids(text, tokenizer)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"the model's tokenizer cannot read problem {problem.id}, {text[:60]!r}: {error}; "
                "is it the right model for these data?"
            ) from error
        if not token_ids:
            raise InputError(f"problem {problem.id} has no tokens to continue: {text[:60]!r}")
        if len(token_ids) > max_prompt_tokens:
            lengths[problem.id] = len(token_ids)
        else:
            prompts.append(Prompt(problem.id, tuple(token_ids), problem.answer))
    if lengths and not prompts:
        raise InputError(
            f"all {len(lengths)} prompts are longer than data.max_prompt_tokens = "
            f"{max_prompt_tokens}; the shortest has {min(lengths.values())} tokens"
        )
    return Encoded(tuple(prompts), tuple(lengths))


def _chat_ids(text: str, system: str | None, tokenizer: Tokenizer) -> list[int]:
    import jinja2

    messages = [{"role": "user", "content": text}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    try:
        rendered = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
    except jinja2.TemplateError as error:
        roles = "a system and a user message" if system is not None else "a user message"
        raise InputError(
            f"the model's chat template fails on {roles}: {error}; "
            "leave out data.system or set data.template = plain"
        ) from None
    return tokenizer.encode(str(rendered), add_special_tokens=False)


def _plain_ids(text: str, tokenizer: Tokenizer) -> list[int]:
    token_ids = tokenizer.encode(text)
    bare = tokenizer.encode(text, add_special_tokens=False)
    # what the tokenizer adds behind the text says that it ends there, and it does not
    for start in range(len(token_ids) - len(bare) + 1):
        end = start + len(bare)
        if token_ids[start:end] == bare:
            return token_ids[:end]
    return token_ids
