"""A CNI agent as a node has one: tells a ztunnel of pods over a SOCK_SEQPACKET socket, with their network namespaces (SCM_RIGHTS).

Written against the wire format alone. Commands come line by line on standard input, each behind a number of the caller's, and their
answers go to standard output, behind the same number:

  add UID NAMESPACE NAME SERVICEACCOUNT NETNS    snapshot    keep UID    del UID    raw HEX    wait HELLOS    close    quit
"""
import array
import os
import socket
import sys
import threading


def varint(value):
    out = b""
    while True:
        value, low = value >> 7, value & 0x7F
        if value == 0:
            return out + bytes([low])
        out += bytes([low | 0x80])


def field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def text(number, value):
    return field(number, value.encode())


def say(line):
    print(line, flush=True)


def note(line):
    print(line, file=sys.stderr, flush=True)


path = sys.argv[1]
if os.path.exists(path):
    os.unlink(path)
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(path)
listener.listen(5)
connections = []
hellos = []
arrived = threading.Condition()


def accept():
    while True:
        connection, _ = listener.accept()
        hello = connection.recv(1024)
        note("hello " + hello.hex())
        with arrived:
            connections.append(connection)
            hellos.append(hello)
            arrived.notify_all()


threading.Thread(target=accept, daemon=True).start()


def ask(message, descriptors=()):
    with arrived:
        arrived.wait_for(lambda: connections, timeout=30)
        connection = connections[-1]
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    try:
        connection.settimeout(30)
        connection.sendmsg([message], ancillary)
        answer = connection.recv(1024)
    except OSError as error:
        with arrived:
            connections.remove(connection)
        return f"lost {error}"
    if answer == b"":
        with arrived:
            connections.remove(connection)
        return "lost end of file"
    # WorkloadResponse{ack=1: Ack{error=1}}
    assert answer[0] == 0x0A, answer
    ack = answer[2:2 + answer[1]]
    return "ack" if not ack else "nack " + ack[2:].decode(errors="replace")


for line in sys.stdin:
    # The number of the command stands before its answer.
    number, *words = line.split()
    print(number, end=" ", flush=True)
    if words[0] == "add":
        _, uid, namespace, name, account, netns = words
        descriptor = os.open(netns if "/" in netns else "/run/netns/" + netns, os.O_RDONLY)
        message = field(1, text(1, uid) + field(2, text(1, name) + text(2, namespace) + text(3, account)))
        say(f"add {uid} " + ask(message, [descriptor]))
        os.close(descriptor)
    elif words[0] == "snapshot":
        say("snapshot " + ask(field(3, b"")))
    elif words[0] == "keep":
        say(f"keep {words[1]} " + ask(field(5, text(1, words[1]))))
    elif words[0] == "del":
        say(f"del {words[1]} " + ask(field(2, text(1, words[1]))))
    elif words[0] == "raw":
        say("raw " + ask(bytes.fromhex(words[1])))
    elif words[0] == "wait":
        with arrived:
            arrived.wait_for(lambda: len(hellos) >= int(words[1]), timeout=30)
        say("wait " + str(len(hellos)))
    elif words[0] == "close":
        with arrived:
            for connection in connections:
                connection.close()
            connections.clear()
        say("closed")
    elif words[0] == "quit":
        break
