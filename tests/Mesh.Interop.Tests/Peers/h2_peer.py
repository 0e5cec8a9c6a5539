"""HBONE with the Python library h2, as client or as server. Tells in lines what it sees.

Argument: {"role": "client" | "get" | "server", "port", "key", "cert", "ca", "size"}.
"""
import hashlib
import json
import os
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events

options = json.loads(sys.argv[1])


def say(line):
    print(line, flush=True)


def context(server):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    c.minimum_version = ssl.TLSVersion.TLSv1_3
    c.check_hostname = False
    c.verify_mode = ssl.CERT_REQUIRED
    c.load_verify_locations(options["ca"])
    c.load_cert_chain(options["cert"], options["key"])
    c.set_alpn_protocols(["h2"])
    return c


class Tunnel:
    """One stream over one connection; out holds what the windows do not let out yet."""

    def __init__(self, sock, client):
        self.sock = sock
        # The library wants :scheme and :path in every request, which a CONNECT must not have (RFC 9113, section 8.5).
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=client, validate_inbound_headers=False, validate_outbound_headers=False)
        )
        self.h2.initiate_connection()
        self.stream = None
        self.out = bytearray()
        self.end_when_empty = False
        self.ended = False

    def flush(self):
        while self.stream is not None and self.out:
            room = min(self.h2.local_flow_control_window(self.stream), self.h2.max_outbound_frame_size, len(self.out))
            if room <= 0:
                break
            self.h2.send_data(self.stream, bytes(self.out[:room]))
            del self.out[:room]
        if self.end_when_empty and not self.out and not self.ended:
            self.ended = True
            self.h2.end_stream(self.stream)
        self.sock.sendall(self.h2.data_to_send())

    def events(self):
        data = self.sock.recv(65536)
        if not data:
            return None
        return self.h2.receive_data(data)


def client(method):
    sock = context(False).wrap_socket(socket.create_connection(("127.0.0.1", options["port"])))
    say(f"tls {sock.version()} {sock.selected_alpn_protocol()}")
    tunnel = Tunnel(sock, True)
    tunnel.stream = tunnel.h2.get_next_available_stream_id()
    headers = [(":method", method), (":authority", "10.0.0.1:80")]
    if method != "CONNECT":
        headers += [(":scheme", "https"), (":path", "/")]
    tunnel.h2.send_headers(tunnel.stream, headers, end_stream=method != "CONNECT")
    tunnel.flush()
    sent = os.urandom(options.get("size", 0))
    received = hashlib.sha256()
    count = 0
    while True:
        events = tunnel.events()
        if events is None:
            say("closed")
            return
        for event in events:
            if isinstance(event, h2.events.ResponseReceived):
                status = dict(event.headers)[b":status"].decode()
                say(f"status {status}")
                if status == "200":
                    tunnel.out += sent
                    tunnel.end_when_empty = True
                    say(f"sent {len(sent)} {hashlib.sha256(sent).hexdigest()}")
            elif isinstance(event, h2.events.DataReceived):
                received.update(event.data)
                count += len(event.data)
                tunnel.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                say(f"received {count} {received.hexdigest()}")
                tunnel.h2.close_connection()
                tunnel.flush()
                say("done")
                return
            elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                say(f"{type(event).__name__} {event.error_code}")
        tunnel.flush()


def server():
    listener = socket.create_server(("127.0.0.1", 0))
    say(f"listening {listener.getsockname()[1]}")
    plain, _ = listener.accept()
    sock = context(True).wrap_socket(plain, server_side=True)
    tunnel = Tunnel(sock, False)
    tunnel.flush()
    while True:
        events = tunnel.events()
        if events is None:
            say("closed")
            return
        for event in events:
            if isinstance(event, h2.events.RequestReceived):
                say("request " + " ".join(f"{k.decode()}={v.decode()}" for k, v in event.headers))
                tunnel.stream = event.stream_id
                tunnel.h2.send_headers(event.stream_id, [(":status", "200")])
            elif isinstance(event, h2.events.DataReceived):
                tunnel.out += event.data
                tunnel.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                tunnel.end_when_empty = True
            elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                say(f"{type(event).__name__} {event.error_code}")
        tunnel.flush()


server() if options["role"] == "server" else client("GET" if options["role"] == "get" else "CONNECT")
