"""Damage: to bytes, to texts, to JSON values, to YAML, to Parquet tables, and to whole folders."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**40, 1e308, float("nan"), float("inf"), -0.0, 0.1, "", " ",
    "a", "None", "nan",
    "null", "0x10", "1e999", "\ud800", "\0", "\x1b[31m", "\u202e", "<script>", "=1+1", "{{7*7}}", "a" * 70_000,
    "../../etc/passwd", "/dev/zero",
    [], [[]], [None], {}, {"": None}, {"a": {"b": [1, {"c": None}]}}, [1, "a", None], "2020-01-01", "é" * 300, "\ufeff", "\n",
    ",", '"', "'", "\t",
)  # fmt: skip
_WORDS = (
    b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b'"', b"'", b",", b";", b"\t", b"\\", b"\x1b[2J", b"nan",
    b"1e999", b"-1", b"{}", b"[[",
    b"null", b"\xc3\x28", b"\xed\xa0\x80", b"9" * 400, b"a" * 70_000, b"=1+1", b"{{x}}", b"%s%n", b"\xe2\x80\xae", b"---\n",
    b": ", b"&a *a", b"!!",
)  # fmt: skip


def flipped(data: bytes, draw: random.Random, bits: int = 1) -> bytes:
    """The bytes with some bits the other way round."""
    out = bytearray(data)
    for _ in range(bits if out else 0):
        out[draw.randrange(len(out))] ^= 1 << draw.randrange(8)
    return bytes(out)


def bytes_of(data: bytes, draw: random.Random) -> bytes:
    """The bytes damaged in one to three ways, without regard to what they mean."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        at = draw.randrange(len(data) + 1)
        end = min(len(data), at + draw.choice((1, 2, 8, 64, 1024)))
        way = draw.randrange(9)
        if way == 0:
            data = flipped(data, draw, draw.choice((1, 1, 8, 100)))
        elif way == 1:
            data = data[:at]
        elif way == 2:
            data = data[:at] + data[end:]
        elif way == 3:
            data = data[:at] + data[at:end] * draw.choice((2, 2, 500)) + data[end:]
        elif way == 4:
            data = data[:at] + draw.choice(_WORDS) + data[at:]
        elif way == 5:
            data = data[:at] + bytes(end - at) + data[end:]
        elif way == 6:
            data = data[:at] + draw.randbytes(end - at) + data[end:]
        elif way == 7:
            data = data + draw.choice((data, draw.randbytes(64), b"\0" * 4096))
        else:
            data = draw.choice((b"", b"\0", data[at:], data[::-1]))
    return data


def text_damaged(data: bytes, draw: random.Random) -> bytes:
    """A text file damaged as a text: other encodings, line ends, separators, lines moved, cells replaced."""
    way = draw.randrange(10)
    text = data.decode("utf-8", "replace")
    lines = text.split("\n")
    at = draw.randrange(len(lines))
    if way == 0:
        return text.encode(draw.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig", "cp037")), "replace")
    if way == 1:
        return text.replace("\n", draw.choice(("\r\n", "\r", "\n\n", "\u2028", ""))).encode()
    if way == 2:
        return text.replace(",", draw.choice((";", "\t", "|", ",,", ""))).encode()
    if way == 3:
        lines.insert(at, draw.choice((lines[at], lines[0], "", ",", '"', "#", "a" * 200_000, "," * 3000)))
    elif way == 4:
        del lines[at]
    elif way == 5:
        draw.shuffle(lines)
    elif way in (6, 7):
        cells = lines[at].split(",")
        cells[draw.randrange(len(cells))] = str(draw.choice(ODD))
        lines[at] = ",".join(cells)
    elif way == 8:
        cells = lines[0].split(",")
        cells[draw.randrange(len(cells))] = draw.choice(
            (*cells, "", " ", "x", "__index__", "a" * 300, "rating", "label", "prompt")
        )
        lines[0] = ",".join(cells)
    else:
        return bytes_of(data, draw)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def json_damaged(value: Any, draw: random.Random) -> bytes:
    """A JSON document with one to three nodes replaced, removed, renamed or doubled, or damaged as bytes."""
    if draw.random() < 0.2:
        return bytes_of(json.dumps(value).encode(), draw)
    if draw.random() < 0.08:
        depth = draw.choice((500, 5_000, 200_000))
        return draw.choice((b"[" * depth, b'{"a":' * depth, b"[" * depth + b"]" * depth))
    value = copy.deepcopy(value)
    for _ in range(draw.choice((1, 1, 2, 3))):
        value = with_odd_node(value, draw)
    text = json.dumps(value, ensure_ascii=draw.random() < 0.7)
    if draw.random() < 0.1:
        text = text.replace("0", "9" * 5_000, 1)
    return text.encode("utf-8", "surrogatepass")


def with_odd_node(value: Any, draw: random.Random) -> Any:
    """The value with one node changed, somewhere below."""
    node = value
    path: list[tuple[Any, Any]] = []
    while isinstance(node, dict | list) and node and (not path or draw.random() < 0.85):
        key: Any = draw.choice(list(node)) if isinstance(node, dict) else draw.randrange(len(node))
        path.append((node, key))
        node = node[key]
    if not path:
        return draw.choice(ODD)
    holder, key = path[-1]
    way = draw.randrange(6)
    if way == 0:
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder[draw.choice(("x", "", key + " ", "a" * 300, "id", "schema"))] = holder.pop(key)
    elif way == 2 and isinstance(holder, list):
        holder.extend(copy.deepcopy(holder) * draw.choice((1, 3)))
    elif way == 3 and isinstance(node, int | float) and not isinstance(node, bool):
        holder[key] = draw.choice((-node, node + 1, node * 10**9, str(node), float(node)))
    else:
        holder[key] = copy.deepcopy(draw.choice(ODD))
    return value


def lines_damaged(rows: list[dict[str, Any]], draw: random.Random) -> bytes:
    """JSON Lines of these rows with some of them damaged."""
    lines = [json.dumps(row).encode() for row in rows]
    for _ in range(draw.choice((1, 1, 2, 5))):
        at = draw.randrange(len(lines))
        lines[at] = json_damaged(rows[at % len(rows)], draw)
    return b"\n".join(lines) + draw.choice((b"\n", b"", b"\n\n"))


def yaml_damaged(data: bytes, draw: random.Random) -> bytes:
    """A YAML file of settings with odd scalars, keys, anchors, tags and depths."""
    lines = data.decode().splitlines()
    at = draw.randrange(len(lines))
    name = lines[at].partition(":")[0]
    odd = (
        "010", "1:30", ".inf", "-.inf", ".nan", "0o17", "0x1F", "1_000", "yes", "no", "on", "~", "", "[]", "{}", "[[[]]]",
        "2001-12-14", "!!binary aGk=",
        "!!python/object/apply:os.system ['true']", "!!set {a}", "&a [*a]", "*missing", "'", '"', "|", ">-", "%", "@x", "`x`",
        "\x00", "\ud7ff\ufffe",
        "9" * 5_000, "1e400", "-0", "{a: 1, a: 2}", "<<: {a: 1}", "? x", "- 1\n- 2", "12345678901234567890", "0b11", "=",
        "1.5e3", "a" * 100_000,
        "[" * 3_000, "{a: " * 1_500, "!!float 1", "!!int '3'", "null", "True",
    )  # fmt: skip
    way = draw.randrange(8)
    if way < 4:
        lines[at] = f"{name}: {draw.choice(odd)}"
    elif way == 4:
        lines.insert(
            at,
            draw.choice(
                (
                    lines[at],
                    "1: 2",
                    "null: x",
                    "? [a, b]\n: c",
                    "true: 1",
                    "\tx: 1",
                    "--- ",
                    "...",
                    "x",
                    "- a",
                    "<<: *x",
                    "1.5: x",
                )
            ),
        )
    elif way == 5:
        laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n"
            for n in range(draw.choice((2, 8)))
        )
        return (laughs + "\n".join(lines)).encode()
    elif way == 6:
        lines[at] = (
            f"{draw.choice((name.upper(), name + ' ', 'unknown', '_', 'x' * 2000))}: {lines[at].partition(':')[2]}"
        )
    else:
        return bytes_of(data, draw)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def parquet_damaged(rows: list[dict[str, Any]], path: Path, draw: random.Random) -> None:
    """Write a Parquet file of these rows: with an odd type in one column, or damaged as bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(rows)
    if draw.random() < 0.6:
        at, size = draw.randrange(table.num_columns), table.num_rows
        makers: tuple[Callable[[], Any], ...] = (
            lambda: pa.array([1] * size, pa.duration("ns")), lambda: pa.array([1] * size, pa.timestamp("us", "Europe/Berlin")),
            lambda: pa.array([[1, None]] * size), lambda: pa.array([{"a": 1, "b": "x"}] * size),
            lambda: pa.array([b"\xff\0"] * size),
            lambda: pa.nulls(size), lambda: pa.array([None, *[1.5] * (size - 1)]), lambda: pa.array([float("nan")] * size),
            lambda: pa.array([2**63 - 1] * size), lambda: pa.array([2**64 - 1] * size, pa.uint64()),
            lambda: pa.array([True] * size),
            lambda: pa.array(["x"] * size).dictionary_encode(), lambda: pa.array([[("a", 1)]] * size, pa.map_(pa.string(),
            pa.int64())),
            lambda: pa.array([1] * size, pa.date32()), lambda: pa.array([1] * size, pa.time64("ns")),
            lambda: pa.array([""] * size),
            lambda: pa.array([1] * size).cast(pa.decimal128(38, 10)), lambda: pa.array(["a" * 100_000] * size),
            lambda: pa.array([0.5] * size, pa.float16()),
            lambda: pa.array([[[["x"]]]] * size), lambda: pa.array([b"ab"] * size, pa.binary(2)),
            lambda: pa.array(["x"] * size, pa.large_string()),
            lambda: pa.array([-(2**62)] * size, pa.timestamp("us")), lambda: pa.array([2**31 - 1] * size, pa.date32()),
        )  # fmt: skip
        table = table.set_column(at, draw.choice((table.column_names[at], "x", "")), draw.choice(makers)())
        if draw.random() < 0.1:
            table = table.append_column(table.column_names[0], table.column(0))
        if draw.random() < 0.1:
            table = table.slice(0, 0)
    try:
        pq.write_table(table, path, compression=draw.choice(("snappy", "zstd", "gzip", "none")))
    except pa.ArrowException:  # a type that the format does not know
        pq.write_table(pa.Table.from_pylist(rows), path)
    if draw.random() < 0.45:
        path.write_bytes(bytes_of(path.read_bytes(), draw))


def folder_damaged(folder: Path, draw: random.Random, suffixes: tuple[str, ...] = ()) -> str:
    """Damage one file of a folder, or its place; which one, and how."""
    files = sorted(
        p
        for p in folder.rglob("*")
        if p.is_file() and not p.name.startswith(".") and (not suffixes or p.suffix in suffixes)
    )
    path = draw.choice(files)
    way = draw.randrange(12)
    if way == 0:
        path.unlink()
    elif way == 1:
        path.unlink()
        path.mkdir()
    elif way == 2:
        other = draw.choice(files)
        first, second = path.read_bytes(), other.read_bytes()
        path.write_bytes(second)
        other.write_bytes(first)
    elif way == 3:
        path.unlink()
        path.symlink_to(path.name)
    elif way == 4:
        shutil.rmtree(path.parent) if path.parent != folder else path.write_bytes(b"")
    elif path.suffix == ".json" and way < 11:
        path.write_bytes(json_damaged(json.loads(path.read_bytes()), draw))
    else:
        path.write_bytes(bytes_of(path.read_bytes(), draw) if draw.random() < 0.6 else flipped(path.read_bytes(), draw))
    return f"{path.relative_to(folder)}, way {way}"
