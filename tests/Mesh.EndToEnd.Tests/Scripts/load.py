"""Connections that go on, and new ones all the time: what a mesh must not break while a proxy is changed.

load.py ADDRESS PORT COUNT   opens COUNT connections to an echo server and says "open"; every one of them then asks and hears an answer
again and again, and a further one is made every few milliseconds. Lines on standard input: "report" prints a line of JSON, "quit" ends.
"""
import asyncio
import json
import sys

address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
state = {"kept": 0, "broken": 0, "exchanges": 0, "new": 0, "refused": 0, "cut": 0, "errors": []}
closing = False


def note(error):
    if len(state["errors"]) < 5:
        state["errors"].append(repr(error))


async def exchange(reader, writer):
    writer.write(b"x" * 100)
    if await asyncio.wait_for(reader.readexactly(100), 30) != b"x" * 100:
        raise ValueError("another answer")
    state["exchanges"] += 1


async def keep(reader, writer):
    try:
        while not closing:
            await exchange(reader, writer)
            await asyncio.sleep(0.1)
    except Exception as error:
        state["kept"] -= 1
        state["broken"] += 1
        note(error)
    finally:
        writer.close()


async def renew():
    while not closing:
        await asyncio.sleep(0.005)
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 30)
        except Exception as error:
            state["refused"] += 1
            note(error)
            continue
        try:
            await exchange(reader, writer)
            state["new"] += 1
        except Exception as error:
            # Accepted and dropped.
            state["cut"] += 1
            note(error)
        writer.close()


async def main():
    global closing
    tasks = []
    for _ in range(count):
        reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 30)
        await exchange(reader, writer)
        state["kept"] += 1
        tasks.append(asyncio.create_task(keep(reader, writer)))
    tasks.append(asyncio.create_task(renew()))
    print("open", flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    number = 0
    while line := (await lines.readline()).decode().strip():
        if line == "quit":
            break
        number += 1
        print(f"report {number} " + json.dumps(state), flush=True)
    closing = True
    await asyncio.gather(*tasks, return_exceptions=True)


asyncio.run(main())
