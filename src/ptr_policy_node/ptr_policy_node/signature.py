"""Who made a bundle, by an Ed25519 signature over its full name.

The name is the SHA-256 of `bundle.json`, which has those of all other files. The package
`cryptography` is optional, and imported only where a bundle is signed or must be signed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptr_common.documents import read_document
from ptr_common.files import atomic_file

from .bundle import BundleError

SIGNATURE = "bundle.sig"
"""File of a bundle with the 64 bytes of its signature."""


def private_key(file: Path) -> Any:
    """Return a private Ed25519 key.

    Args:
        file: The key in PEM form, not encrypted.

    Raises:
        BundleError: If it is none or cannot be read.
    """
    return _load_key(file, "private")


def sign(path: Path, name: str, key: Any) -> None:
    """Sign a bundle.

    Args:
        path: The bundle's folder, which gains or changes `SIGNATURE`.
        name: Its full name.
        key: What `private_key` returned.
    """
    with atomic_file(path / SIGNATURE) as file:
        file.write_bytes(key.sign(name.encode()))


def check_signature(path: Path, name: str, key_file: Path) -> None:
    """Refuse a bundle that was not signed with a key.

    Args:
        path: The bundle's folder.
        name: Its full name.
        key_file: Public Ed25519 key of whom it must come from, PEM.

    Raises:
        BundleError: If it is not signed, or otherwise, or the key cannot be read.
    """
    remedy = (
        "nothing of it was loaded. Sign it (`ptr bundle --sign`) with the private key that "
        "belongs to it, or give the right key or none (parameter and launch argument policy_key)"
    )
    if not (path / SIGNATURE).is_file():
        raise BundleError(
            f"{path} is not signed: it has no {SIGNATURE}; {key_file} is required; {remedy}"
        )
    key = _load_key(key_file, "public")
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(read_document(path / SIGNATURE, BundleError), name.encode())
    except InvalidSignature as error:
        raise BundleError(
            f"{path} (bundle {name}) was not signed with the key of {key_file}, or was changed "
            f"since; {remedy}"
        ) from error


def _load_key(file: Path, kind: str) -> Any:
    """Return a private or public Ed25519 key in a PEM file.

    Args:
        file: The file.
        kind: `private` or `public`.

    Raises:
        BundleError: If it holds none, or `cryptography` is not installed.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise BundleError(
            f"signatures need a package that is not installed here ({error}): "
            "pip install -r requirements/optional/signature.txt"
        ) from error
    content = read_document(file, BundleError)
    try:
        key: Any
        if kind == "private":
            key = serialization.load_pem_private_key(content, password=None)
        else:
            key = serialization.load_pem_public_key(content)
    except (ValueError, TypeError) as error:  # TypeError: it is encrypted
        raise BundleError(f"{file} is not a {kind} key in PEM form: {error}") from error
    expected = {
        "private": ed25519.Ed25519PrivateKey,
        "public": ed25519.Ed25519PublicKey,
    }[kind]
    if not isinstance(key, expected):
        raise BundleError(f"{file} is a {type(key).__name__}; an Ed25519 key is needed")
    return key
