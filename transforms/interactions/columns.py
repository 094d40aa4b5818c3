"""Choose which columns of a file hold the user, the item, the time and the weight. One rule for all readers.

A flag names a column. Without the flag, the column with the standard name is chosen, for example `user_id`. Without
that, the only column with another common name is chosen, for example `customer_id`. Names are compared without case and
punctuation, so `customerId` is `customer_id`. Two such columns are an error. A weight has no other common name, because
a rating or a count changes what an interaction means.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Sequence

from recbeam.arguments import closest
from transforms.interactions.files import FileFault
from transforms.interactions.format import InteractionFormat

__all__ = [
    "CATALOGUE_ITEM",
    "CATALOGUE_TITLE",
    "ITEM",
    "TIME",
    "USER",
    "WEIGHT",
    "AmbiguousColumns",
    "Columns",
    "Role",
    "candidates",
    "describe_columns",
    "find_column",
    "require_column",
    "resolve_columns",
    "use_columns",
]

_SHOWN_NAMES = 20
_SHOWN_LETTERS = 60


class AmbiguousColumns(FileFault):
    """Two columns could have one role. Only a flag can decide, so a command exits with code 2."""


@dataclasses.dataclass(frozen=True)
class Role:
    """What a column is for.

    Attributes:
        what: A noun for messages.
        flag: The flag that names the column.
        standard: The name that the column has by default.
        others: Other common names.
    """

    what: str
    flag: str
    standard: str
    others: tuple[str, ...] = ()


_ITEM_NAMES = (
    "item",
    "course_id",
    "product_id",
    "article_id",
    "movie_id",
    "book_id",
    "song_id",
    "track_id",
    "video_id",
    "content_id",
    "sku",
)
USER = Role(
    "user",
    "--user_column",
    "user_id",
    ("user", "learner_id", "customer_id", "account_id", "member_id", "visitor_id", "client_id"),
)
ITEM = Role("item", "--item_column", "item_id", _ITEM_NAMES)
TIME = Role(
    "time",
    "--timestamp_column",
    "timestamp",
    ("time", "ts", "when", "at", "datetime", "event_time", "event_timestamp", "created_at", "occurred_at", "unix_time"),
)
WEIGHT = Role("weight", "--weight_column", "weight")
CATALOGUE_ITEM = Role("item", "--items_id_column", "item_id", _ITEM_NAMES)
CATALOGUE_TITLE = Role(
    "title", "--items_title_column", "title", ("name", "item_name", "course_name", "product_name", "item_title")
)


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns to read from one file, by their names in the file.

    Attributes:
        user: Column with the user's id.
        item: Column with the item's id.
        timestamp: Column with the time. None reads no times.
        weight: Column with the weight. None reads no weights.
        unused: The file's other columns.
        known: False if the file has no record from which its columns could be told.
    """

    user: str
    item: str
    timestamp: str | None
    weight: str | None
    unused: tuple[str, ...] = ()
    known: bool = True

    @property
    def names(self) -> list[str]:
        """All names of columns to read, each once, in the order user, item, weight, timestamp."""
        names = (self.user, self.item, self.weight, self.timestamp)
        return list(dict.fromkeys(name for name in names if name is not None))


def resolve_columns(present: Sequence[str], format: InteractionFormat) -> Columns:
    """Choose the columns to read from a file of interactions.

    Args:
        present: Names of the file's columns.
        format: The names that flags give, and the filters that need a column.

    Returns:
        The columns to read.

    Raises:
        FileFault: A required column is missing, or a wanted column appears twice.
        AmbiguousColumns: Two columns could have one role, or one column is both the user and the item.
    """
    named = {USER: format.user_column, ITEM: format.item_column}
    named |= {TIME: format.timestamp_column, WEIGHT: format.weight_column}
    taken = set(named.values())
    reason = "" if format.names_from is None else f", which {format.names_from} has"
    found = {role: find_column(present, role, name, taken, reason) for role, name in named.items()}
    needs = {"--since": format.since_us, "--until": format.until_us, "--min_weight": format.min_weight}
    for flag, value in needs.items():
        role = WEIGHT if flag == "--min_weight" else TIME
        if value is not None and found[role] is None:
            require_column(present, role.standard, role.flag, f", which {flag} needs")
    columns = Columns(
        user=found[USER] or require_column(present, USER.standard, USER.flag),
        item=found[ITEM] or require_column(present, ITEM.standard, ITEM.flag),
        timestamp=found[TIME],
        weight=found[WEIGHT],
    )
    if columns.user == columns.item:
        raise AmbiguousColumns(f"has column {columns.user} for users and for items; pass {USER.flag} and {ITEM.flag}")
    for name in columns.names:
        if present.count(name) > 1:
            raise FileFault(f"has column {name} {present.count(name)} times; keep one of them")
    read = set(columns.names)
    return dataclasses.replace(columns, unused=tuple(name for name in dict.fromkeys(present) if name not in read))


def find_column(
    present: Sequence[str], role: Role, name: str | None = None, taken: Collection[str | None] = (), reason: str = ""
) -> str | None:
    """Find the column for a role.

    Args:
        present: Names of the file's columns.
        role: What the column is for.
        name: The name that the role's flag gives. None applies the rule, an empty name finds nothing.
        taken: Names that flags give to other roles. The rule does not choose them.
        reason: A clause of the error message that tells why the given name is needed.

    Returns:
        The column's name, None if there is none.

    Raises:
        FileFault: The given name is not there.
        AmbiguousColumns: Two columns have a common name of the role, and none has the standard name.
    """
    if name is not None:
        return require_column(present, name, role.flag, reason) if name else None
    if role.standard in present:
        return role.standard
    found = [each for each in candidates(present, role) if each not in taken]
    if len(found) > 1:
        choices = " or ".join(f"{role.flag}={each}" for each in _shown(found))
        raise AmbiguousColumns(f"has {len(found)} columns that could hold the {role.what}; pass {choices}")
    return found[0] if found else None


def candidates(present: Sequence[str], role: Role) -> list[str]:
    """Return the columns with a common name of the role, each once, without regard to case and punctuation."""
    common = {_plain(name) for name in (role.standard, *role.others)}
    return [name for name in dict.fromkeys(present) if _plain(name) in common]


def require_column(present: Sequence[str], name: str, flag: str, reason: str = "") -> str:
    """Return the name of a column that the file must have.

    Args:
        present: Names of the file's columns.
        name: Name of the column.
        flag: The flag that names the column, for the error message.
        reason: A clause of the error message that tells why the column is needed.

    Raises:
        FileFault: The file lacks the column.
    """
    if name in present:
        return name
    listed = ", ".join(_shown(present)) + (", ..." if len(present) > _SHOWN_NAMES else "")
    close = closest(name, present)
    hint = f"did you mean {flag}={_shown([close])[0]}?" if close else f"pass {flag} or correct the file"
    raise FileFault(f"has no column {name}{reason} (it has {listed or 'none'}); {hint}")


def use_columns(format: InteractionFormat, columns: Columns, uri: str) -> InteractionFormat:
    """Return the format with the names that one file resolved, so that all files of a run agree.

    Args:
        format: The format.
        columns: The columns of the file. A role without a column stays as it is in the format.
        uri: The file.
    """
    if not columns.known:
        return format
    return dataclasses.replace(
        format,
        user_column=columns.user,
        item_column=columns.item,
        timestamp_column=columns.timestamp or format.timestamp_column,
        weight_column=columns.weight or format.weight_column,
        names_from=uri,
    )


def describe_columns(columns: Columns) -> list[str]:
    """Return lines for the user: the flags that name the columns, and the columns that are not used."""
    named = {USER: columns.user, ITEM: columns.item, TIME: columns.timestamp, WEIGHT: columns.weight}
    lines = ["columns: " + " ".join(f"{role.flag}={_shown([name])[0]}" for role, name in named.items() if name)]
    if columns.unused:
        free = [f"{role.flag}=NAME" for role, name in named.items() if not name]
        hint = f" (pass {' or '.join(free)} to use one)" if free else ""
        more = ", ..." if len(columns.unused) > _SHOWN_NAMES else ""
        lines.append(f"columns not used: {', '.join(_shown(columns.unused))}{more}{hint}")
    return lines


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _shown(names: Sequence[str]) -> list[str]:
    """Return the first names, escaped and cut, so that a message stays one line. The names come from the file."""
    return [(name if name.isprintable() else ascii(name))[:_SHOWN_LETTERS] for name in names[:_SHOWN_NAMES]]
