"""Text formats line by line: which reason each kind of bad line gets, where, and that chunk borders do not matter."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.dead_letters import DeadLetter
from transforms.interactions.csv import open_csv
from transforms.interactions.files import FileFault, open_text
from transforms.interactions.format import InteractionFormat
from transforms.interactions.jsonl import open_jsonl
from transforms.interactions.validate import validate


def read(
    opener: Any, data: bytes, format: InteractionFormat, chunk_bytes: int = 1 << 20
) -> tuple[list[Any], list[Any]]:
    """Usable rows in order, and dead letters as (position, reason, original)."""
    columns, blocks = opener(open_text(io.BytesIO(data), gzipped=False), format, chunk_bytes)
    rows: list[Any] = []
    letters: list[DeadLetter] = []
    for raw in blocks:
        checked = validate(raw, "f", columns, format)
        letters += checked.rejected
        if checked.block is not None:
            rows += list(zip(*(column.to_pylist() for column in checked.block.columns), strict=True))
    return rows, [(letter.position, letter.reason, letter.original) for letter in letters]


def read_csv(data: bytes, chunk_bytes: int = 1 << 20, **format: Any) -> tuple[list[Any], list[Any]]:
    return read(open_csv, data, InteractionFormat(**format), chunk_bytes)


def read_jsonl(data: bytes, chunk_bytes: int = 1 << 20, **format: Any) -> tuple[list[Any], list[Any]]:
    return read(open_jsonl, data, InteractionFormat(**format), chunk_bytes)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b",i,1,0", "user_id is empty"),
        (b"u,,1,0", "item_id is empty"),
        (b"u" * 1025 + b",i,1,0", f'user_id "{"u" * 80}…" is 1025 bytes long, more than 1024'),
        (b"a\0b,i,1,0", r'user_id "a\u0000b" contains NUL, CR or LF'),
        (b"u,i\xff,1,0", r'item_id "i\\xff" is not UTF-8'),
        (b"u,i,1,yesterday", 'timestamp "yesterday" is neither epoch seconds nor RFC 3339'),
        (
            b"u,i,1,2026-01-31 10:00:00",
            'timestamp "2026-01-31 10:00:00" has no offset from UTC; append Z for UTC, or an offset such as +02:00',
        ),
        (b"u,i,1,\xff", r'timestamp "\\xff" is neither epoch seconds nor RFC 3339'),
        (
            b"u,i,1,1506826828020",
            'timestamp "1506826828020" is outside the years 1 to 9999 as epoch seconds; is it another unit?',
        ),
        (b"u,i,1,", "timestamp is missing"),
        (b"u,i,,0", "weight is missing"),
        (b"u,i,NaN,0", 'weight "NaN" is not finite'),
        (b"u,i,-inf,0", 'weight "-inf" is not finite'),
        (b"u,i,-1,0", 'weight "-1" is negative'),
        (b"u,i,many,0", 'weight "many" is not a number'),
        (b"u,i,1", "has 3 columns, not 4"),
        (b"u,i,1,0,9", "has 5 columns, not 4"),
        (b'"u,i,1,0', "opens a quoted value that is not closed within 1 MiB"),
        (b'"u"x,i,1,0', "has text between the quote that closes a value and the next delimiter"),
        (b"u\rv,i,1,0", "has a CR that is not part of its line end"),
        (b",,,", "user_id is empty"),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_bad_csv_line_says_where_and_why_and_keeps_its_bytes(line: bytes, reason: str, end: bytes) -> None:
    data = end.join([b"user_id,item_id,weight,timestamp", b"a,007,1,1", b"", line, b"b, 7,2,2"])
    rows, letters = read_csv(data)
    assert rows == [("a", "007", 1.0, 1_000_000), ("b", " 7", 2.0, 2_000_000)]
    assert letters == [(4, reason, line)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"item_id":"i","weight":1,"timestamp":0}', "user_id is missing"),
        (b'{"user_id":null,"item_id":"i","weight":1,"timestamp":0}', "user_id is missing"),
        (b'{"user_id":"","item_id":"i","weight":1,"timestamp":0}', "user_id is empty"),
        (b'{"user_id":1.0,"item_id":"i","weight":1,"timestamp":0}', "user_id 1.0 is not a string or an integer"),
        (b'{"user_id":true,"item_id":["i"],"weight":1,"timestamp":0}', "user_id true is not a string or an integer"),
        (b'{"user_id":"a\\nb","item_id":"i","weight":1,"timestamp":0}', r'user_id "a\nb" contains NUL, CR or LF'),
        (b'{"user_id":"u","item_id":"i","weight":1,"timestamp":{}}', "timestamp {} is not a number or a string"),
        (b'{"user_id":"u","item_id":"i","weight":1}', "timestamp is missing"),
        (b'{"user_id":"u","item_id":"i","weight":-2,"timestamp":0}', "weight -2 is negative"),
        (b'{"user_id":"u","item_id":"i","weight":false,"timestamp":0}', "weight false is not a number or a string"),
        (b'{"user_id":"u\xff","item_id":"i","weight":1,"timestamp":0}', "is not JSON: str is not valid UTF-8"),
        (b'{"user_id":"u"', "is not JSON: "),
        (b"[1]", "is not a JSON object but [1]"),
    ],
)
def test_a_bad_json_line_says_where_and_why_and_keeps_its_bytes(line: bytes, reason: str) -> None:
    good = b'{"user_id":7,"item_id":"007","weight":%d,"timestamp":1}'
    rows, letters = read_jsonl(b"\n".join([good % 1, b" ", line, good % 2]) + b"\n")
    assert rows == [("7", "007", 1.0, 1_000_000), ("7", "007", 2.0, 1_000_000)]
    [(position, found, original)] = letters
    assert (position, original) == (3, line)
    assert found.startswith(reason)


@pytest.mark.parametrize(("key", "flag"), [("weight", "--weight_column"), ("when", "--timestamp_column")])
def test_a_json_key_that_appears_only_later_is_not_dropped_silently(key: str, flag: str) -> None:
    data = f'{{"user_id":"a","item_id":"b"}}\n{{"user_id":"a","item_id":"b","{key}":1}}\n'.encode()
    rows, letters = read_jsonl(data, chunk_bytes=32)
    assert rows == [("a", "b")]
    assert [(where, why) for where, why, _ in letters] == [
        (2, f"has {key}, which is missing at the start of the file; pass {flag}={key}")
    ]
    assert read_jsonl(data, chunk_bytes=32, timestamp_column="", weight_column="") == ([("a", "b")] * 2, [])


def test_large_json_integers_are_ids_up_to_64_bits() -> None:
    rows, letters = read_jsonl(
        b'{"user_id":18446744073709551615,"item_id":-1}\n{"user_id":18446744073709551616,"item_id":1}'
    )
    assert rows == [("18446744073709551615", "-1")]
    assert len(letters) == 1


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbfuser_id,item_id\na,b\n", b"\n\r\nuser_id,item_id\r\na,b", b'"user_id","item_id"\n"a","b"\n']
)
def test_a_byte_order_mark_blank_lines_and_quotes_around_a_header_do_no_harm(data: bytes) -> None:
    assert read_csv(data) == ([("a", "b")], [])


def test_quotes_are_those_of_rfc_4180_and_a_quote_within_a_bare_value_is_itself() -> None:
    rows, letters = read_csv(b'item_id,user_id\n"a,""b""",5"x" disk\n"",c\nd,"c\ne"\n"f",5" g\n')
    assert rows == [('5"x" disk', 'a,"b"'), ('5" g', "f")]
    assert [(where, original) for where, _, original in letters] == [(3, b'"",c'), (4, b'd,"c\ne"')]


def test_null_text_without_quotes_is_a_missing_value() -> None:
    data = rb"""user_id,item_id,weight,timestamp
\N,i,1,1
u,\N,1,1
u,i,\N,1
u,i,1,\N
"\N",x\N,1,1
NULL,"",1,1
"""
    rows, letters = read_csv(data)
    assert rows == [("\\N", "x\\N", 1.0, 1_000_000)]
    assert [(where, why) for where, why, _ in letters] == [
        (2, "user_id is missing"),
        (3, "item_id is missing"),
        (4, "weight is missing"),
        (5, "timestamp is missing"),
        (7, "item_id is empty"),
    ]
    assert letters[0][2] == rb"\N,i,1,1"


@pytest.mark.parametrize(("null_text", "users"), [("NULL", ["\\N"]), ("", ["\\N", "NULL"])])
def test_null_text_is_another_text_or_none(null_text: str, users: list[str]) -> None:
    rows, _ = read_csv(b"user_id,item_id\n\\N,i\nNULL,i\n", null_text=null_text)
    assert [user for user, _ in rows] == users


def test_tabs_and_a_header_from_the_flags() -> None:
    rows, letters = read_csv(
        b'1\t2\t3\t4\n"5\t6\t7\t8\n', csv_delimiter="\t", csv_header=("user_id", "item_id", "weight", "timestamp")
    )
    assert rows == [("1", "2", 3.0, 4_000_000)]
    assert [where for where, _, _ in letters] == [2]


def test_columns_nobody_wants_may_share_a_name_but_wanted_ones_may_not() -> None:
    assert read_csv(b"x,user_id,x,item_id\n1,a,2,b\n")[0] == [("a", "b")]
    with pytest.raises(FileFault, match="has column user_id 2 times"):
        read_csv(b"user_id,user_id,item_id\n1,a,2\n")


@pytest.mark.parametrize(
    ("data", "format", "fault"),
    [
        (b"who,item\na,b\n", {}, r"has no column user_id \(it has who, item\); pass --user_column"),
        (b"user_id,item_id\na,b\n", {"timestamp_column": "at"}, "has no column at .*--timestamp_column"),
        (b"user_id,item_id\na,b\n", {"since_us": 0}, "has no column timestamp, which --since needs"),
        (b"user_id,item_id\na,b\n", {"min_weight": 1.0}, "has no column weight, which --min_weight needs"),
        (b"\n\n", {}, "is empty; add a header line"),
        (b"\xff\xff,item_id\n", {}, "its first line is not UTF-8"),
        (b'"user_id,item_id\n', {}, "its header line cannot be parsed"),
    ],
)
def test_a_csv_file_without_what_is_needed_is_one_fault(data: bytes, format: Any, fault: str) -> None:
    with pytest.raises(FileFault, match=fault):
        read_csv(data, **format)


def test_json_without_a_needed_key_in_any_record_is_one_fault() -> None:
    with pytest.raises(FileFault, match=r"has no column item_id \(it has user_id, weight\)"):
        read_jsonl(b'{"user_id":"a"}\n{"user_id":"a","weight":1}\n')


def test_filters_are_inclusive_and_count_apart_from_bad_rows() -> None:
    data = (
        b"user_id,item_id,weight,timestamp\n" + b"".join(b"u,i%d,%d,%d\n" % (n, n, n) for n in range(6)) + b"u,i,x,3\n"
    )
    format = InteractionFormat(min_weight=2.0, since_us=1_000_000, until_us=4_000_000)
    columns, blocks = open_csv(io.BytesIO(data), format)
    [checked] = [validate(raw, "f", columns, format) for raw in blocks]
    assert checked.block is not None
    assert checked.block["item_id"].to_pylist() == ["i2", "i3", "i4"]
    assert (checked.rows_read, len(checked.rejected), checked.rows_filtered) == (7, 1, 3)


lines = st.sampled_from(
    [b"u1,i1,5", b"u2,i1,x", b"", b'"q,1",i,7', b'"q', b'a"b,"c', b"u1", b"a,b,c,d", b"\xff,i,1", b"a\rb,i,1", b"u,,1"]
)


@given(body=st.lists(lines, max_size=12), chunk_bytes=st.integers(1, 60), end=st.sampled_from([b"\n", b"\r\n"]))
def test_csv_chunk_borders_change_nothing(body: list[bytes], chunk_bytes: int, end: bytes) -> None:
    data = end.join([b"user_id,item_id,timestamp", *body])
    assert read_csv(data, chunk_bytes) == read_csv(data)


@given(
    body=st.lists(st.sampled_from([b'{"user_id":1,"item_id":"x"}', b'{"user_id":"1","item_id":2}', b"", b"{", b"7"])),
    chunk_bytes=st.integers(1, 60),
)
def test_json_chunk_borders_change_nothing(body: list[bytes], chunk_bytes: int) -> None:
    assert read_jsonl(b"\n".join(body), chunk_bytes) == read_jsonl(b"\n".join(body))


def test_hexadecimal_is_no_time_even_among_plain_integers() -> None:
    rows, letters = read_csv(b"user_id,item_id,timestamp\na,b,1\na,c,0x1F\n")
    assert rows == [("a", "b", 1_000_000)]
    assert [where for where, _, _ in letters] == [3]


def test_a_record_of_two_lines_with_too_many_columns_is_one_dead_letter() -> None:
    rows, letters = read_csv(b'user_id,item_id\nx,"a\nb",c\n\n"u","i"\n1\n')
    assert rows == [("u", "i")]
    assert letters == [(2, "has 3 columns, not 2", b'x,"a\nb",c'), (6, "has 1 columns, not 2", b"1")]


def test_a_header_may_span_lines_and_a_return_within_quotes_is_data() -> None:
    rows, letters = read_csv(b'\n"no\nte",user_id,item_id\r\n"a\rb",u,i\n"a\rb",u\rv,i\n')
    assert rows == [("u", "i")]
    assert [(where, why) for where, why, _ in letters] == [(5, "has a CR that is not part of its line end")]
