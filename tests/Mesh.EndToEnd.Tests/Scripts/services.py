"""Services that a test talks to, on all addresses of the namespace: echo on 7, and one that speaks first, as SMTP does, on 25."""
import asyncio


async def echo(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def smtp(reader, writer):
    peer = writer.get_extra_info("peername")[0].removeprefix("::ffff:")
    writer.write(b"220 mail.example ready for " + peer.encode() + b"\r\n")
    try:
        while line := await reader.readline():
            command = line.strip().upper()
            if command == b"QUIT":
                writer.write(b"221 bye\r\n")
                await writer.drain()
                break
            writer.write(b"250 " + command[:40] + b"\r\n")
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main():
    servers = [await asyncio.start_server(handler, ["0.0.0.0", "::"], port, backlog=1024) for handler, port in ((echo, 7), (smtp, 25))]
    print("serving", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main())
