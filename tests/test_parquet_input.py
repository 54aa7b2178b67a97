"""Damaged Parquet is a sentence, and never the end of the process: the reader's native code aborts on some damaged footers."""

from __future__ import annotations

import subprocess
import sys

FLIPS = """
import io
import pyarrow as pa, pyarrow.parquet as pq
from evenhand.errors import BadInput
from evenhand.parquet_input import read_parquet

table = pa.table({"name": ["a", None, "c"] * 5, "group": ["x", "y", "z"] * 5, "n": [1, 2, None] * 5})
buffer = io.BytesIO()
pq.write_table(table, buffer, compression="zstd")
data = buffer.getvalue()
footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
refused = 0
for bit in range(8 * footer, 8 * len(data), 3):
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        read_parquet(bytes(damaged), "table.parquet")
    except BadInput as error:
        assert str(error).startswith("table.parquet: The file is not readable Parquet"), error
        refused += 1
print(refused)
"""


def test_no_damaged_bit_of_a_footer_ends_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", FLIPS], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
    assert int(done.stdout) > 500
