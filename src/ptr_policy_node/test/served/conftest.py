"""A toy bundle, the policy of it, and the same policy behind a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from served_rig import Serving

    from ptr_policy_node.policy import Policy


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from toy_bundle import write

    folder = tmp_path_factory.mktemp("toy") / "bundle"
    write(folder, form="torchscript")
    return folder


@pytest.fixture(scope="module")
def local(bundle: Path) -> Policy:
    from ptr_policy_node.policy import load_bundle

    return load_bundle(bundle)


@pytest.fixture
def served(local: Policy) -> Iterator[Serving]:
    from served_rig import serving

    with serving(local) as found:
        yield found
