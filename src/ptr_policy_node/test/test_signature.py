"""Signatures of bundles, and what the policy node refuses without the right one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from toy_bundle import write

from ptr_policy_node.bundle import BundleError, read_bundle
from ptr_policy_node.policy import load_bundle
from ptr_policy_node.signature import SIGNATURE, private_key, sign


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write(tmp_path / "bundle")
    return tmp_path / "bundle"


def make_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a private and a public key as `openssl genpkey` and `openssl pkey -pubout` do."""
    ed25519: Any = pytest.importorskip(
        "cryptography.hazmat.primitives.asymmetric.ed25519",
        reason="cryptography, an optional package, is not installed",
    )
    from cryptography.hazmat.primitives import serialization as forms

    key = ed25519.Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(
        key.private_bytes(
            forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


def signed(bundle: Path, private: Path) -> None:
    sign(bundle, read_bundle(bundle).sha256, private_key(private))


def test_a_bundle_loads_with_the_key_that_signed_it_and_with_no_other(
    tmp_path: Path, bundle: Path
) -> None:
    private, public = make_keys(tmp_path, "ours")
    _, stranger = make_keys(tmp_path, "stranger")
    signed(bundle, private)
    load_bundle(bundle, key=public)
    with pytest.raises(BundleError, match=r"not signed with the key of .*stranger\.pub"):
        load_bundle(bundle, key=stranger)


def test_an_unsigned_bundle_is_refused_where_a_signature_is_demanded(
    tmp_path: Path, bundle: Path
) -> None:
    with pytest.raises(BundleError, match=r"is not signed: it has no bundle\.sig"):
        load_bundle(bundle, key=tmp_path / "any.pub")
    load_bundle(bundle)


def test_a_signature_does_not_outlive_a_change_of_the_bundle(
    tmp_path: Path, bundle: Path
) -> None:
    private, public = make_keys(tmp_path, "ours")
    signed(bundle, private)
    description = json.loads((bundle / "bundle.json").read_text())
    description["code_version"] = "another"
    (bundle / "bundle.json").write_text(json.dumps(description))
    with pytest.raises(BundleError, match="or was changed since"):
        load_bundle(bundle, key=public)
    signed(bundle, private)
    (bundle / SIGNATURE).write_bytes((bundle / SIGNATURE).read_bytes()[:-1])
    with pytest.raises(BundleError, match="or was changed since"):
        load_bundle(bundle, key=public)


def test_what_is_no_key_is_named(tmp_path: Path, bundle: Path) -> None:
    private, public = make_keys(tmp_path, "ours")
    with pytest.raises(BundleError, match=r"ours\.pub is not a private key in PEM form"):
        private_key(public)
    signed(bundle, private)
    for wrong in (private, bundle / "bundle.json"):
        with pytest.raises(BundleError, match=f"{wrong.name} is not a public key"):
            load_bundle(bundle, key=wrong)


def test_without_the_package_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cryptography", "cryptography.hazmat.primitives"):
        monkeypatch.setitem(sys.modules, name, None)  # its import fails
    with pytest.raises(
        BundleError, match=r"pip install -r requirements/optional/signature"
    ):
        private_key(tmp_path / "key.pem")
