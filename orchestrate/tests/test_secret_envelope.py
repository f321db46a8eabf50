# SPDX-License-Identifier: Apache-2.0
"""The key file and what is sealed under it, without a database."""

import base64
import dataclasses
import os
import stat
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipai_orchestrate.embedded.home import home_of
from ipai_orchestrate.exceptions import SecretError
from ipai_orchestrate.secrets.envelope import Sealed, rewrap, seal, unseal
from ipai_orchestrate.secrets.key_ring import FILE_NAME, KeyRing, RingFile, ring_file

RING = KeyRing({}).with_new_key()
ID = UUID("11111111-2222-4333-8444-555555555555")


def flip(text: str) -> str:
    """Change one bit of base64 text."""
    data = bytearray(base64.b64decode(text))
    data[len(data) // 2] ^= 1
    return base64.b64encode(data).decode()


def spoil(sealed: Sealed, part: int) -> Sealed:
    parts = sealed.secret.split(".")
    parts[part] = flip(parts[part])
    return dataclasses.replace(sealed, secret=".".join(parts))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_sealed_opens_as_it_was(value):
    sealed = seal(RING, ID, value)

    assert value == unseal(RING, Sealed.of(sealed.as_record()))


def test_no_two_seals_of_one_value_are_alike():
    first, second = (seal(RING, ID, "value") for _ in range(2))

    assert {first.secret, first.nonce}.isdisjoint({second.secret, second.nonce})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda one: dataclasses.replace(one, id=uuid4()), id="moved to another row"),
        pytest.param(lambda one: spoil(one, 1), id="data key changed"),
        pytest.param(lambda one: spoil(one, 2), id="value changed"),
        pytest.param(
            lambda one: dataclasses.replace(one, nonce=flip(one.nonce)), id="nonce changed"
        ),
        pytest.param(
            lambda one: dataclasses.replace(one, secret=one.secret.replace("gcm1", "pgp1")),
            id="another form",
        ),
        pytest.param(lambda one: dataclasses.replace(one, secret="gcm1.?.?"), id="no base64"),
        pytest.param(lambda one: dataclasses.replace(one, secret="gcm1"), id="parts missing"),
        pytest.param(
            lambda one: dataclasses.replace(
                one, secret=one.secret.rsplit(".", 1)[0] + "." + seal(RING, ID, "b").secret[-30:]
            ),
            id="value of another seal",
        ),
    ],
)
def test_what_was_changed_or_moved_does_not_open(change):
    with pytest.raises(SecretError, match="does not open: it was changed, or belongs to another"):
        unseal(RING, change(seal(RING, ID, "the value of this row")))


def test_under_another_key_nothing_opens():
    sealed = seal(RING, ID, "value")
    other = KeyRing({sealed.key_id: os.urandom(32)})

    with pytest.raises(SecretError, match="does not open"):
        unseal(other, sealed)
    with pytest.raises(SecretError, match="does not open"):
        rewrap(other, sealed)
    with pytest.raises(SecretError, match=f"Key '{sealed.key_id}' is not in the key file"):
        unseal(KeyRing({}).with_new_key(), sealed)


def test_a_new_key_takes_over_without_the_value_being_sealed_anew():
    old = seal(RING, ID, "value")
    longer = RING.with_new_key()
    new = rewrap(longer, old)

    assert (longer.newest, old.nonce) == (new.key_id, new.nonce)
    assert old.secret.split(".")[2] == new.secret.split(".")[2]
    assert "value" == unseal(longer.only([new.key_id]), new)
    with pytest.raises(SecretError):
        unseal(longer.only([new.key_id]), old)


def test_a_ring_and_a_seal_never_show_a_key():
    assert repr(RING) == "KeyRing()"


def test_a_key_file_is_private_and_read_back(tmp_path):
    file = RingFile(tmp_path / "new" / FILE_NAME)
    ring = file.create()

    assert ring.keys == file.create().keys == file.read().keys
    assert 0o600 == stat.S_IMODE(file.path.stat().st_mode)
    file.replace(ring.with_new_key())
    assert list(ring.keys) == list(file.read().keys)[:-1]
    assert [FILE_NAME] == [path.name for path in file.path.parent.iterdir()]


def test_of_two_who_make_a_key_file_one_wins(tmp_path, monkeypatch):
    file = RingFile(tmp_path / FILE_NAME)
    first = file.create()
    monkeypatch.setattr(type(file.path), "exists", lambda _: False)

    assert first.keys == file.create().keys


LINE = f"{ID} {base64.b64encode(bytes(32)).decode()}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no key"),
        ("# only a comment\n", "holds no key"),
        (f"{LINE}\nnonsense", "Line 2 of key file .* is no key"),
        (f"{ID} {base64.b64encode(bytes(31)).decode()}", "Line 1 of key file .* is no key"),
        (f"{ID} a", "Line 1"),
        ("\u00e4", "cannot be read"),
    ],
)
def test_a_damaged_key_file_is_named_without_its_content(tmp_path, text, problem):
    path = tmp_path / FILE_NAME
    path.write_text(text)
    path.chmod(0o600)

    with pytest.raises(SecretError, match=problem) as caught:
        RingFile(path).read()
    assert base64.b64encode(bytes(31)).decode() not in str(caught.value)


def test_a_key_file_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / FILE_NAME
    path.write_text(LINE)
    path.chmod(0o640)

    with pytest.raises(SecretError, match="open to other users"):
        RingFile(path).read()


def test_a_missing_key_file_says_where_it_is_looked_for(tmp_path):
    with pytest.raises(SecretError, match=r"There is no key file '.*IPAI_VAULT_KEYS"):
        RingFile(tmp_path / FILE_NAME).read()


def test_the_key_file_lies_beside_the_embedded_data_or_in_the_home_or_where_told(tmp_path):
    home = {"IPAI_HOME": str(tmp_path)}
    other = home | {"IPAI_DATABASE_URL": "postgresql://elsewhere"}

    assert home_of(tmp_path).server / FILE_NAME == ring_file(home).path
    assert home_of(tmp_path).data.parent == ring_file(home).path.parent
    assert tmp_path / FILE_NAME == ring_file(other).path
    assert tmp_path / "k" == ring_file(other | {"IPAI_VAULT_KEYS": str(tmp_path / "k")}).path
