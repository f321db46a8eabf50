# SPDX-License-Identifier: Apache-2.0
"""`ipai secret`: credentials in the vault. Values come from a prompt or standard input alone."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import click

from ipai_orchestrate.cli.output import (
    ago,
    answer,
    console,
    json_option,
    print_json,
    print_table,
    say_done,
)
from ipai_orchestrate.cli.plane import opened_plane
from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.secrets import Grant, RingFile, SecretStore, ring_file
from ipai_orchestrate.secrets.token_endpoint import refreshed

expires_option = click.option(
    "--expires-at", metavar="TIME", help="When its issuer stops to accept it, e.g. 2027-01-31."
)


@contextmanager
def _opened_store() -> Iterator[tuple[SecretStore, RingFile]]:
    ring = ring_file()
    with opened_plane() as (_, plane):
        yield SecretStore(plane.connection, ring), ring


@click.group("secret")
def secret_command() -> None:
    """Keep credentials in the vault and refer to them as ${secret:NAME}.

    \b
    Examples:
      ipai secret set github-acme/token
      ipai instance add github-acme --connector github \\
        --set repositories=acme/api --set auth_token='${secret:github-acme/token}'
      ipai secret rotate github-acme/token --revoke

    Values are sealed under a key that is not in the database. `ipai secret keys` names its file:
    keep a copy in a safe place, for without it no secret opens. Every use is logged: `ipai audit`.
    """


@secret_command.command("set")
@click.argument("name")
@click.option("--description", default="", help="For people.")
@expires_option
@json_option
def set_(name: str, description: str, expires_at: str | None, as_json: bool) -> None:
    """Store a new secret; the value is asked for, or read from standard input.

    \b
    Examples:
      ipai secret set github-acme/token
      ipai secret set google/service-account < key.json
    """
    until = _moment(expires_at)
    value = _value()
    with _opened_store() as (store, ring):
        new = not ring.path.exists()
        store.create(name, value, description=description, expires_at=until)
        created = new and ring.path.exists()
    reference = f"${{secret:{name}}}"
    told = f"Stored. Refer to it as {reference}"
    if created:
        told += f"\nIts key is new: copy {ring.path} to a safe place; without it no secret opens."
    key_file = ring.path if created else None
    about = {"reference": reference, "expires_at": until, "new_key_file": key_file}
    say_done(as_json, told, name=name, **about)


@secret_command.command("rotate")
@click.argument("name")
@click.option("--overlap", metavar="TIME", help="Keep the old value valid too, e.g. 24h.")
@click.option("--revoke", is_flag=True, help="Cancel the runs that hold the old value.")
@expires_option
@json_option
def rotate(
    name: str, overlap: str | None, revoke: bool, expires_at: str | None, as_json: bool
) -> None:
    """Replace a secret by a new value, asked for or read from standard input.

    Runs that start from now on get the new one. After a leak, --revoke also cancels the runs that
    have read the old one.

    \b
    Examples:
      ipai secret rotate github-acme/token
      ipai secret rotate webhook/alerts --overlap 24h
      ipai secret rotate github-acme/token --revoke < new-token
    """
    if overlap and revoke:
        message = "--overlap keeps the old value and --revoke forbids it: give one of them."
        raise ConfigurationError(message)
    until = _moment(expires_at)
    value = _value()
    with _opened_store() as (store, _):
        done = store.rotate(name, value, overlap=overlap, revoke=revoke, expires_at=until)
    if as_json:
        print_json(done)
        return
    console().print(f"Version {done.version} of {name} is in use.")
    for run_id in done.cancelled:
        console().print(f"Cancelled run {run_id}, which held the old value.")


@secret_command.command("grant")
@click.argument("name")
@click.option("--token-url", required=True, metavar="URL", help="Where the issuer gives tokens.")
@click.option("--client-id", required=True, help="The application's id at the issuer.")
@click.option("--scope", "scopes", multiple=True, help="What was granted; may be repeated.")
@click.option("--secret-in-header", is_flag=True, help="Send the client secret as Basic.")
@click.option("--description", default="", help="For people.")
@expires_option
@json_option
def grant(
    name: str,
    token_url: str,
    client_id: str,
    scopes: tuple[str, ...],
    secret_in_header: bool,
    description: str,
    expires_at: str | None,
    as_json: bool,
) -> None:
    """Store an OAuth grant: a refresh token that renews itself; again after a new login.

    Refresh token and client secret are asked for, or read from standard input as the first and the
    second line. The grant is tried before it is stored. Runs get its access token as
    ${secret:NAME}; it is renewed before it ends, once for all workers.

    \b
    Examples:
      ipai secret grant google/ads --token-url https://oauth2.googleapis.com/token --client-id 42
      ipai secret grant google/ads --token-url https://oauth2.googleapis.com/token \\
        --client-id 42 --expires-at 2027-01-31 < tokens
    """
    until = _moment(expires_at)
    refresh_token, client_secret = _grant_values()
    asked = Grant(
        token_url=token_url,
        client_id=client_id,
        client_secret=client_secret,
        refresh_token=refresh_token,
        secret_in_header=secret_in_header,
        expires_at=until.timestamp() if until else None,
        scopes=scopes,
    )
    with _opened_store() as (store, _):
        store.store_grant(name, refreshed(asked), description)
    reference = f"${{secret:{name}}}"
    about = {"client_id": client_id, "scopes": scopes, "expires_at": until}
    told = f"Stored. Refer to it as {reference}"
    say_done(as_json, told, name=name, reference=reference, token_url=token_url, **about)


@secret_command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the secrets and who uses them; never a value.

    \b
    Example:
      ipai secret list
    """
    with _opened_store() as (store, _):
        found = store.all()
    rows = [
        (
            one.name,
            one.version,
            ", ".join(one.used_by),
            ago(one.rotated_at or one.created_at),
            ago(one.last_read_at),
            f"{one.expires_at:%Y-%m-%d %H:%M}" if one.expires_at else "",
        )
        for one in found
    ]
    columns = ("Secret", "Version", "Used by", "Changed", "Last read", "Expires")
    empty = "No secrets yet. Store one: ipai secret set NAME"
    answer(found, as_json, lambda: print_table(columns, rows, empty))


@secret_command.command("delete")
@click.argument("name")
@click.option("--force", is_flag=True, help="Even while instances refer to it.")
@json_option
def delete(name: str, force: bool, as_json: bool) -> None:
    """Forget a secret for good.

    \b
    Example:
      ipai secret delete github-acme/token
    """
    with _opened_store() as (store, _):
        store.delete(name, force=force)
    say_done(as_json, f"Deleted {name}.", name=name, deleted=True)


@secret_command.command("keys")
@click.option("--add", is_flag=True, help="Add a new key, which seals from now on.")
@json_option
def keys(add: bool, as_json: bool) -> None:
    """Show which keys seal the secrets, and the file that holds them.

    \b
    Examples:
      ipai secret keys
      ipai secret keys --add
    """
    with _opened_store() as (store, ring):
        if add:
            ring.replace(ring.create().with_new_key())
        used = store.key_uses()
    here = list(ring.read().keys) if ring.path.exists() else []
    found = [
        {
            "key_id": one.key_id,
            "sealed_by": one.sealed_by,
            "secrets": one.secrets,
            "in_file": one.key_id in here,
        }
        for one in used
    ]
    record = {"file": str(ring.path), "keys": found}
    rows = [tuple(one.values()) for one in found]
    columns = ("Key", "Sealed by", "Secrets", "In the file")
    answer(record, as_json, lambda: print_table(columns, rows, "No secrets yet."))
    if not as_json:
        console().print(f"Key file: {ring.path}", soft_wrap=True)


@secret_command.command("rekey")
@click.option("--new", is_flag=True, help="Make a new key first.")
@click.option("--forget-old", is_flag=True, help="Remove keys that seal nothing any more.")
@json_option
def rekey(new: bool, forget_old: bool, as_json: bool) -> None:
    """Seal every secret under the newest key of the key file.

    Workers go on reading meanwhile. Where they run on other machines and open secrets themselves,
    give them the new key first: `ipai secret keys --add`, copy the key file to them, then this.

    \b
    Examples:
      ipai secret rekey --new
      ipai secret rekey --forget-old
    """
    with _opened_store() as (store, ring):
        if new:
            ring.replace(ring.read().with_new_key())
        changed = store.rewrap()
        forgotten = None
        if forget_old:
            before = ring.read()
            after = before.only(one.key_id for one in store.key_uses() if one.key_id)
            ring.replace(after)
            forgotten = len(before.keys) - len(after.keys)
    told = f"Sealed {changed} secrets anew. Copy {ring.path} to a safe place again."
    if forgotten is not None:
        told = f"Forgot {forgotten} keys.\n{told}"
    say_done(as_json, told, sealed=changed, forgotten=forgotten or 0, key_file=ring.path)


def _value() -> str:
    """The secret, without the line break that ends it."""
    if sys.stdin.isatty():
        value: str = click.prompt("Value", hide_input=True, confirmation_prompt=True)
    else:
        value = sys.stdin.read().removesuffix("\n")
    if not value.strip():
        message = "The value is empty. Type it, or pass it on standard input."
        raise ConfigurationError(message)
    return value


def _grant_values() -> tuple[str, str | None]:
    """Refresh token and client secret."""
    if sys.stdin.isatty():
        token: str = click.prompt("Refresh token", hide_input=True)
        secret: str = click.prompt("Client secret", hide_input=True, default="", show_default=False)
    else:
        token, _, secret = sys.stdin.read().partition("\n")
    if not token.strip():
        message = "There is no refresh token. Type it, or pass it as the first line of input."
        raise ConfigurationError(message)
    return token.strip(), secret.strip() or None


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is no time. Write it as 2027-01-31 or 2027-01-31T12:00:00+00:00."
        raise ConfigurationError(message) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
