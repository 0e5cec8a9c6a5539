"""Makes TLS handshakes, or plain connections, as fast as it can; prints how many a second.

usage: handshakes.py plain|tls-listen|tls-echo ADDRESS PORT CERTIFICATE KEY ROOT SECONDS

A TLS 1.3 client is done before the server has looked at its certificate, so each connection also waits for one octet:
the server's first words (tls-listen), or the echo of ours.
"""
import os
import socket
import ssl
import struct
import sys
import threading
import time

mode, address, port, certificate, key, root, seconds = sys.argv[1:]
THREADS = 4
PROCESSES = 2


def work(end, counts, index):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(root)
    context.load_cert_chain(certificate, key)
    if mode == "tls-listen":
        context.set_alpn_protocols(["h2"])
    while time.monotonic() < end:
        plain = socket.create_connection((address, int(port)), timeout=10)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = plain if mode == "plain" else context.wrap_socket(plain)
        if mode != "tls-listen":
            stream.sendall(b"ex")
        if not stream.recv(1):
            sys.exit("the server closed the connection")
        # No TIME_WAIT: there are only so many ports.
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.close()
        counts[index] += 1


def run(end):
    counts = [0] * THREADS
    threads = [threading.Thread(target=work, args=(end, counts, index)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


begin = time.monotonic()
end = begin + float(seconds)
pipes = []
for _ in range(PROCESSES):
    readable, writable = os.pipe()
    if os.fork() == 0:
        os.write(writable, b"%d" % run(end))
        os._exit(0)
    os.close(writable)
    pipes.append(readable)
total = sum(int(os.read(readable, 32)) for readable in pipes)
print(total / (time.monotonic() - begin))
