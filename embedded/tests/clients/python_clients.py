"""Writes and reads through clients that others wrote: taos-ws-py (WebSocket, stmt2) and taospy (REST).

  python_clients.py HOST:PORT
"""

import sys
from datetime import timezone

import taosrest
import taosws

BASE = 1764547200000  # 2025-12-01T00:00:00Z


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: got {got!r}, expected {wanted!r}")


def refused(what, run, part):
    try:
        run()
    except Exception as error:
        if part not in str(error):
            sys.exit(f"{what}: unexpected text: {error}")
        return
    sys.exit(f"{what}: was not refused")


def websocket(endpoint):
    conn = taosws.connect(f"ws://root:taosdata@{endpoint}")
    conn.execute("drop database if exists py_ws")
    conn.execute("create database py_ws")
    conn.execute("use py_ws")
    conn.execute(
        "create stable st (ts timestamp, i int, b bigint, f double, bo bool, s varchar(20), n nchar(20)) tags (g int, t varchar(8))"
    )
    affected = conn.execute(f"insert into a using st tags(1, 'x') values({BASE}, 1, 2, 1.5, true, 'abc', '中文')")
    expect("affected rows", affected, 1)

    statement = conn.stmt2_statement()
    statement.prepare("insert into ? using st tags(?, ?) values(?, ?, ?, ?, ?, ?, ?)")
    statement.bind(
        [
            taosws.stmt2_bind_param_view(
                table_name=name,
                tags=[taosws.int_to_tag(group), taosws.varchar_to_tag("y")],
                columns=[
                    taosws.millis_timestamps_to_column([BASE, BASE + 1, BASE + 2]),
                    taosws.ints_to_column([1, None, 3]),
                    taosws.big_ints_to_column([2**40, None, -1]),
                    taosws.doubles_to_column([0.5, None, -2.25]),
                    taosws.bools_to_column([True, None, False]),
                    taosws.varchar_to_column(["a'b", None, ""]),
                    taosws.nchar_to_column(["中文😀", None, ""]),
                ],
            )
            for name, group in (("b", 2), ("c", 3))
        ]
    )
    expect("stmt2 affected rows", statement.execute(), 6)
    statement.close()

    rows = [row for row in conn.query("select i, b, f, bo, s, n, g, t from b order by ts")]
    expect(
        "rows over WebSocket",
        rows,
        [
            (1, 2**40, 0.5, True, "a'b", "中文😀", 2, "y"),
            (None, None, None, None, None, None, 2, "y"),
            (3, -1, -2.25, False, "", "", 2, "y"),
        ],
    )
    expect("count", [row for row in conn.query("select count(*) from st")], [(7,)])
    refused("a table that is not there", lambda: conn.query("select * from nope"), "0x2603")
    refused("a value too long", lambda: conn.execute(f"insert into a (ts, s) values({BASE}, '{'x' * 21}')"), "0x2653")
    refused("a wrong password", lambda: taosws.connect(f"ws://root:wrong@{endpoint}"), "0x0357")

    cursor = conn.cursor()
    cursor.execute("select tbname, count(*) from py_ws.st group by tbname order by tbname")
    expect("cursor", [tuple(row) for row in cursor.fetchall()], [("a", 1), ("b", 3), ("c", 3)])
    conn.execute("drop database py_ws")
    conn.close()


def rest(endpoint):
    conn = taosrest.connect(url=f"http://{endpoint}", user="root", password="taosdata", timeout=30)
    conn.execute("drop database if exists py_rest")
    conn.execute("create database py_rest")
    conn.execute("create table py_rest.t (ts timestamp, v int, s varchar(20))")
    expect("affected rows", conn.execute(f"insert into py_rest.t values({BASE}, 1, 'a')({BASE + 1}, null, null)"), 2)
    result = conn.query("select ts, v, s from py_rest.t order by ts")
    expect("rows", result.rows, 2)
    (first, v, s), second = result.data
    expect("timestamp", int(first.astimezone(timezone.utc).timestamp() * 1000), BASE)
    expect("values", (v, s, second[1:]), (1, "a", [None, None]))
    refused("bad SQL", lambda: conn.query("selec"), "syntax error")
    conn.execute("drop database py_rest")
    conn.close()


def main():
    endpoint = sys.argv[1]
    websocket(endpoint)
    rest(endpoint)
    print("python clients: ok")


main()
