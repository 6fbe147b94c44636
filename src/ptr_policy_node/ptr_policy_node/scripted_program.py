"""Scripted policies (`policy.pt` of a bundle): checks an archive before PyTorch loads it.

`torch.jit.load` runs code of its file while it loads it, and TorchScript has operators that
write, read and map any file (`aten::save`, `aten::from_file`). Therefore an archive is checked
first, with the same reader and on the same bytes: its code may name the operators of policies
and no others, and its pickles may name plain classes of that code only.

The code is not parsed: every word of it counts, in strings and comments too, so that no two
parsers can disagree on what it means.
"""

from __future__ import annotations

import io
import pickletools
import re
from collections.abc import Callable
from typing import Any

from .bundle import BundleError
from .torch_archive import check_records

RECORD = re.compile(
    r"data\.pkl|constants\.pkl|version|byteorder|\.data/(version|serialization_id)|"
    r"(data|constants)/\d+|code/__torch__(/[\w/]+)?\.py(\.debug_pkl)?"
)
"""Names of the files that an archive may hold."""

_NAMES = """
__is__ __not__ abs adaptive_avg_pool2d add add_ all amax amin annotate any append arange
argmax argmin as_tensor avg_pool2d baddbmm batch_norm bin bmm Bool broadcast_tensors cat ceil
chunk clamp clamp_max clamp_min clone contiguous conv2d cos cosh count cumsum data detach
device dim div div_ dropout dropout_ dtype einsum elu embedding empty eq erf exp expand
expand_as expm1 extend fill_ flatten Float FloatImplicit floor floor_divide floordiv format
full full_like gather ge gelu group_norm gt hardtanh index index_select instance_norm Int
IntImplicit isinf isnan item items keys layer_norm layout le leaky_relu len linear linspace
list log log1p log_softmax logical_and logical_not logical_or logit logsumexp lt masked_fill
matmul max max_pool2d mean min mm mode movedim mul mul_ mv name ne neg negative new_full
new_ones new_zeros norm numel one_hot ones ones_like pad permute positive pow prod
RaiseException range reciprocal relu relu_ remainder repeat repeat_interleave reshape rsqrt
scalar_tensor ScalarImplicit scaled_dot_product_attention select sigmoid sign silu sin size
slice softmax softplus sort split split_with_sizes sqrt square squeeze stack std str stride
sub sub_ sum swapaxes t take_along_dim tanh tensor to tolist topk transpose tril triu type_as
unbind unchecked_cast unflatten unfold uninitialized unsqueeze upsample_bilinear2d
upsample_nearest2d values var view view_as warn where zeros zeros_like
"""

OPERATORS = frozenset(_NAMES.split())
"""Operators of TorchScript that policies use. None of them touches a file or another process."""

PICKLED = frozenset(
    (
        "collections OrderedDict",
        "torch._utils _rebuild_tensor_v2",
        "torch.jit._pickle build_intlist",
        "torch.jit._pickle build_doublelist",
        "torch.jit._pickle build_boollist",
        "torch.jit._pickle build_tensorlist",
    )
)
"""What pickles of an archive may name, beside storages and classes of its code."""

STORAGE = re.compile(
    r"torch (Float|Double|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage"
)
CLASS = re.compile(r"__torch__(\.\w+)* \w+")

ATTRIBUTE_BY_NAME = re.compile(r'getattr\([\w.]+, "\w+"\)')
"""The only form in which code may name an attribute in a string."""


def check_archive(content: bytes) -> None:
    """Check that `torch.jit.load` can only compute with an archive.

    Raises:
        BundleError: If the archive holds other files than a scripted module has, an operator
            that is not in `OPERATORS`, or a pickle that names anything else than its code.
    """
    import torch

    reader = torch._C.PyTorchFileReader(io.BytesIO(content))
    known = {schema.name.partition("::")[2] for schema in torch._C._jit_get_all_schemas()}
    for name in check_records(reader, RECORD, len(content)):
        if check := _check_of(name):
            check(name, reader.get_record(name), known - OPERATORS)


def _check_of(name: str) -> Callable[[str, bytes, set[str]], None] | None:
    """Return what checks a file of an archive; None for tensors and numbers of versions."""
    if name.endswith("pkl"):
        return _check_pickle
    return _check_code if name.endswith(".py") else None


def _check_code(name: str, content: bytes, refused: set[str]) -> None:
    """Check every word of a file of code.

    Args:
        name: Of the file, for messages.
        content: Its bytes.
        refused: Names of operators that it may not use.
    """
    code = content.decode("ascii")
    words = set(re.findall(r"\w+", code))
    if found := sorted(words & refused):
        raise BundleError(f"{name} names the operator {found[0]!r}, which no policy needs")
    if "classes" in words or "\\x" in code or re.search(r"\\[0-7uUN\n]", code):
        raise BundleError(f"{name} names native classes, or hides a name behind escapes")
    plain = ATTRIBUTE_BY_NAME.findall(code)
    if len(re.findall(r"\bgetattr\b", code)) != len(plain):
        raise BundleError(f"{name} names an attribute in a way that cannot be checked")


def _check_pickle(name: str, content: bytes, _refused: Any) -> None:
    """Check that a pickle names only classes of the archive's code, tensors and lists."""
    for operation, value, _ in pickletools.genops(content):
        argument = str(value)
        if operation.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
            raise BundleError(f"{name} has {operation.name}")
        if operation.name != "GLOBAL" or argument in PICKLED or STORAGE.fullmatch(argument):
            continue
        if not CLASS.fullmatch(argument) or "classes" in argument:
            raise BundleError(f"{name} names {argument!r}")
