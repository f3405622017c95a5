from __future__ import annotations

import re
import textwrap

import pytest

from lploss import hookspecs
from lploss.discovery import HOOKS

FILE = re.compile(r"``([\w/]+)\.py``[^\n]*::\n\n((?:    [^\n]*\n|\n)+)")


@pytest.mark.parametrize("hook", HOOKS)
def test_the_docstring_of_a_hook_is_a_plugin_that_works(hook, site):
    docstring = textwrap.dedent("    " + getattr(hookspecs, hook).__doc__) + "\n"
    files = dict(FILE.findall(docstring))
    manifest = next(name for name in files if name.endswith("/manifest"))
    for name, source in files.items():
        path = site.folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(source))
    site.install("acme", {"acme": manifest.replace("/", ".")})
    (plugin,) = site.registry(strict=True).plugins
    (spec,) = plugin.specs
    assert type(spec) is HOOKS[hook]


def test_the_markers_carry_the_project_of_the_entry_points():
    assert hookspecs.hookimpl.project_name == hookspecs.hookspec.project_name == "lploss"
