"""Remember two answers that Beam computes anew hundreds of times for every pipeline.

Half of the CPU time of a small pipeline goes into them, and the tests run hundreds of small pipelines: a run of
batch_cf over 600 rows takes 0.5 CPU seconds with them and 1.0 without. Both answers depend only on the key under which
they are kept, so no test sees another Beam.
"""

from __future__ import annotations

import weakref
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions, TypeOptions
from apache_beam.transforms import core

__all__ = ["remember"]

_view_as, _arguments = PipelineOptions.view_as, core.get_function_args_defaults
_views: weakref.WeakKeyDictionary[PipelineOptions, TypeOptions] = weakref.WeakKeyDictionary()
_known: weakref.WeakKeyDictionary[Any, tuple[list[str], list[Any]]] = weakref.WeakKeyDictionary()


def remember() -> None:
    """Keep the view of the type options, and the arguments of methods. A second call changes nothing."""
    PipelineOptions.view_as = view_as
    core.get_function_args_defaults = arguments


def view_as(options: PipelineOptions, cls: type[PipelineOptions]) -> PipelineOptions:
    """Return a view. A view of TypeOptions is made once, since Beam asks for one at every step and type.

    Beam parses all flags for a view. All views share one dictionary of values, so a kept view sees later changes.
    """
    if cls is not TypeOptions:
        return _view_as(options, cls)
    found = _views.get(options)
    if found is None or found._all_options is not options._all_options:
        found = _views[options] = _view_as(options, cls)
    return found


def arguments(function: Any) -> tuple[list[str], list[Any]]:
    """Return the names of the arguments and the defaults. Those of a method are computed once for its function.

    Beam inspects all methods of a DoFn, mostly inherited ones, eight times per step.
    """
    method = getattr(function, "__func__", None)
    if method is None:
        return _arguments(function)
    if method not in _known:
        _known[method] = _arguments(function)
    names, defaults = _known[method]
    return names[:], defaults[:]
