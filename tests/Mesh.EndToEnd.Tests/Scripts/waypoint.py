"""A waypoint behind an application tunnel: says what the PROXY protocol's header says of each connection, and carries it on to where it was to go.

waypoint.py PORT   prints "ready", and for each connection "source address port target address port identity SPIFFE-ID", read by the published form of
version 2 of the header alone.
"""
import asyncio
import ipaddress
import struct
import sys

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LENGTHS = {0x00: 0, 0x11: 4, 0x21: 16}


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        pass


async def carry(reader, writer):
    head = await reader.readexactly(16)
    if head[:12] != SIGNATURE or head[12] != 0x21:
        print("not a header:", head.hex(), flush=True)
        writer.close()
        return
    length = LENGTHS[head[13]]
    rest = await reader.readexactly(struct.unpack("!H", head[14:])[0])
    source = target = "none"
    ports = (0, 0)
    if length > 0:
        source, target = (ipaddress.ip_address(rest[i:i + length]) for i in (0, length))
        ports = struct.unpack("!HH", rest[2 * length:2 * length + 4])
        rest = rest[2 * length + 4:]
    fields = {}
    while rest:
        kind, size = struct.unpack("!BH", rest[:3])
        fields[kind], rest = rest[3:3 + size], rest[3 + size:]
    print("source", source, ports[0], "target", target, ports[1], "identity", fields.get(0xD0, b"none").decode(), flush=True)
    try:
        onward_reader, onward = await asyncio.open_connection(str(target), ports[1])
    except OSError as error:
        print("not carried on:", error, flush=True)
        writer.close()
        return
    await asyncio.gather(pump(reader, onward), pump(onward_reader, writer))
    onward.close()
    writer.close()


async def main():
    server = await asyncio.start_server(carry, ["127.0.0.1", "::1"], int(sys.argv[1]))
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
