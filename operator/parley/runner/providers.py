"""The agent library's classes for each provider's API. Each is imported only where it is asked: it takes seconds."""

from typing import Any, assert_never

import httpx2
from pydantic_ai.models import Model
from pydantic_ai.settings import ModelSettings

from parley.resources.agent import ModelEndpoint
from parley.runner.failure import DEFAULT_URLS

NO_KEY = "none"
"""Sent where a model needs no key: the APIs' clients insist on one."""


def connect(spec: ModelEndpoint, key: str, http: httpx2.AsyncClient) -> Model[Any]:
    """Make the library's model; imports the provider's SDK the first time, so not for the event loop's thread."""
    url = spec.base_url or DEFAULT_URLS[spec.provider]
    match spec.provider:
        case "OpenAI":
            return _openai(spec.name, url, key or NO_KEY, http)
        case "Anthropic":
            return _anthropic(spec.name, url, key or NO_KEY, http)
        case "Google":
            return _google(spec.name, url, key or NO_KEY, http)
        case _:
            assert_never(spec.provider)


def settings_of(spec: ModelEndpoint) -> ModelSettings:
    """Say how the model is asked."""
    # Our own retries honour the attempt's deadline; an SDK's must not multiply them. OpenAI's was told so when it was
    # made: told here, it makes a client for each request.
    settings = ModelSettings() if spec.provider == "OpenAI" else ModelSettings(max_retries=0)
    sampling = _sampling(spec)
    # In the body the library looks no further; elsewhere it drops what it believes an OpenAI model does not take.
    if spec.provider == "OpenAI" and sampling:
        settings["extra_body"] = dict(sampling)
    else:
        settings |= sampling
    if spec.max_output_tokens is not None:
        settings["max_tokens"] = spec.max_output_tokens
    if spec.stop_sequences is not None:
        settings["stop_sequences"] = list(spec.stop_sequences)
    if spec.seed is not None:
        settings["seed"] = spec.seed
    return settings


def _sampling(spec: ModelEndpoint) -> ModelSettings:
    sampling = ModelSettings()
    if spec.temperature is not None:
        sampling["temperature"] = float(spec.temperature)
    if spec.top_p is not None:
        sampling["top_p"] = float(spec.top_p)
    return sampling


def _openai(name: str, url: str, key: str, http: httpx2.AsyncClient) -> Model[Any]:
    from pydantic_ai.models.openai import OpenAIChatModel  # noqa: PLC0415 - see above
    from pydantic_ai.profiles.openai import OpenAIModelProfile  # noqa: PLC0415 - see above
    from pydantic_ai.providers.openai import OpenAIProvider  # noqa: PLC0415 - see above

    from parley.runner.openai_client import PlainOpenAI  # noqa: PLC0415 - see above

    # A stream that ends early would be taken for a whole answer.
    profile = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)
    client = PlainOpenAI(base_url=url, api_key=key, http_client=http, max_retries=0)
    provider = OpenAIProvider(openai_client=client)
    return OpenAIChatModel(name, provider=provider, profile=profile)


def _anthropic(name: str, url: str, key: str, http: httpx2.AsyncClient) -> Model[Any]:
    from pydantic_ai.models.anthropic import AnthropicModel  # noqa: PLC0415 - see above
    from pydantic_ai.profiles.anthropic import AnthropicModelProfile  # noqa: PLC0415 - see above
    from pydantic_ai.providers.anthropic import AnthropicProvider  # noqa: PLC0415 - see above

    # Whether a model takes a temperature is for its server to say, not for a list of names.
    profile = AnthropicModelProfile(anthropic_disallows_sampling_settings=False)
    provider = AnthropicProvider(base_url=url, api_key=key, http_client=http)
    return AnthropicModel(name, provider=provider, profile=profile)


def _google(name: str, url: str, key: str, http: httpx2.AsyncClient) -> Model[Any]:
    from pydantic_ai.models.google import GoogleModel  # noqa: PLC0415 - see above
    from pydantic_ai.providers.google import GoogleProvider  # noqa: PLC0415 - see above

    return GoogleModel(name, provider=GoogleProvider(base_url=url, api_key=key, http_client=http))
