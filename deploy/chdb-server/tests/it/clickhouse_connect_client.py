"""What users do with clickhouse-connect, against the server on the port given. Prints "all checks passed" at the end."""

import datetime
import decimal
import sys
from concurrent.futures import ThreadPoolExecutor

import clickhouse_connect
from clickhouse_connect.driver.exceptions import DatabaseError

port, password = int(sys.argv[1]), sys.argv[2]


def connect(**more):
    return clickhouse_connect.get_client(host="127.0.0.1", port=port, password=password, **more)


client = connect()
assert client.server_version.startswith("26."), client.server_version
assert client.ping()
client.command("CREATE DATABASE py")
client.command(
    "CREATE TABLE py.t (id UInt64, at DateTime64(6, 'UTC'), symbol LowCardinality(String), price Decimal(38, 18),"
    " bids Array(Tuple(Decimal(38, 18), Decimal(38, 18))), note Nullable(String), event UInt128)"
    " ENGINE = ReplacingMergeTree ORDER BY id"
)
utc = datetime.timezone.utc
rows = [
    [n, datetime.datetime(2026, 1, 2, 3, 4, 5, n, tzinfo=utc), f"S{n % 5}", decimal.Decimal(n) / 8,
     [(decimal.Decimal("1.5"), decimal.Decimal(n))], None if n % 2 else "even", 2**100 + n]
    for n in range(5000)
]
for compress in (True, "gzip", "zstd", "lz4", False):
    client = connect(database="py", compress=compress)
    client.command("TRUNCATE TABLE t")
    summary = client.insert("t", rows)
    assert summary.written_rows == 5000, summary.summary
    result = client.query("SELECT * FROM t ORDER BY id")
    # Times of UTC columns come back without a zone, as the client has it by default.
    assert [[r[0], r[1].replace(tzinfo=utc), *r[2:]] for r in result.result_rows] == rows, compress
    assert client.query("SELECT count() FROM t WHERE id < {n:UInt64}", parameters={"n": 10}).first_row[0] == 10
    with client.query_rows_stream("SELECT number FROM numbers(1000000)") as stream:
        assert sum(r[0] for r in stream) == 499999500000
    try:
        client.query("SELECT * FROM nowhere")
        raise AssertionError("an unknown table went through")
    except DatabaseError as error:
        assert "UNKNOWN_TABLE" in str(error), error
    try:
        client.query("SELECT throwIf(number = 2500000) FROM numbers(3000000)")
        raise AssertionError("a late error went unseen")
    except Exception as error:  # noqa: BLE001 - the client's class depends on how far it has read
        assert "throwIf" in str(error) or "395" in str(error) or "xception" in str(error), error

assert client.command("SELECT count() FROM py.t") == 5000
assert client.query("SELECT getSetting('max_threads')", settings={"max_threads": 3}).first_row[0] == 3
assert client.raw_query("SELECT 1 AS x", fmt="JSONEachRow") == b'{"x":1}\n'
client.raw_insert("t", ["id"], b"9000\n9001\n", fmt="CSV")
assert client.command("SELECT count() FROM py.t") == 5002
assert client.query("DESCRIBE TABLE t").result_rows[0][0] == "id"
names = [r[0] for r in client.query("SHOW TABLES").result_rows]
assert names == ["t"], names


def count(_):
    return connect(database="py").query("SELECT count(), sum(id) FROM t").first_row


with ThreadPoolExecutor(8) as pool:
    assert len(set(pool.map(count, range(40)))) == 1
print("all checks passed")
