"""A check for errors of the commands: the class, the kind and the message."""

from __future__ import annotations

import pytest

from tools.cli.errors import Kind, ToolError


def raises_tool_error(kind: Kind, match: str | None = None) -> pytest.RaisesExc[ToolError]:
    return pytest.raises(ToolError, match=match, check=lambda error: error.kind == kind)
