from __future__ import annotations

import json
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.build import hub_repository
from model.build.hub_repository import PINNED_MODELS, HubAddress


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("gpt2", HubAddress(*PINNED_MODELS["gpt2"])),
        ("openai-community/gpt2-xl", HubAddress(*PINNED_MODELS["gpt2-xl"])),
        ("gpt2@main", HubAddress("openai-community/gpt2", "main")),
        ("some/tiny", HubAddress("some/tiny", "main")),
        ("https://huggingface.co/some/tiny@v1.0", HubAddress("some/tiny", "v1.0")),
    ],
)
def test_an_address_is_parsed(text: str, address: HubAddress) -> None:
    assert hub_repository.parse_address(text) == address


@given(st.text() | st.from_regex(r"[A-Za-z0-9./@_-]+"))
@example("../x")
@example("a/..")
@example("a/b@../../c")
@example("a/b/c")
@example("a/b@")
def test_an_address_names_a_repository_and_nothing_else(text: str) -> None:
    try:
        address = hub_repository.parse_address(text)
    except ValueError:
        return
    assert address.repository.count("/") == 1
    assert ".." not in str(address)
    assert not set("\n \\?#%") & set(str(address))


@given(st.text() | st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(json.dumps))
@example('{"weight_map": {"a": ["b"]}}')
@example('{"weight_map": {"a": "/etc/x.safetensors"}}')
@example("[" * 100_000)
def test_an_index_names_only_existing_files(index: str) -> None:
    weights = partial(hub_repository.weight_files, index=index, where="some/tiny")
    with pytest.raises(hub_repository.DownloadRejected, match="does not tell where"):
        weights({"a.safetensors": None})
