"""A collector of OTLP over HTTP that is not ours: says what comes, by the protobuf wire format alone. otlp_collector.py PORT"""
import http.server
import sys


def fields(data):
    """The fields of a message, as (number, value): length-delimited ones as octets, others passed over."""
    i = 0
    while i < len(data):
        key, i = varint(data, i)
        if key & 7 == 2:
            length, i = varint(data, i)
            yield key >> 3, data[i:i + length]
            i += length
        elif key & 7 == 0:
            _, i = varint(data, i)
        else:
            i += 8 if key & 7 == 1 else 4


def varint(data, i):
    value = shift = 0
    while True:
        value |= (data[i] & 0x7F) << shift
        shift += 7
        i += 1
        if data[i - 1] < 0x80:
            return value, i


def child(data, number):
    return [value for field, value in fields(data) if field == number]


def say(*words):
    """Writes a line in one piece: print() would write each word apart, and the words of two requests would mix."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        for resource in child(body, 1):
            for scope in child(resource, 2):
                for item in child(scope, 2):
                    if self.path == "/v1/traces":
                        # Span: trace_id=1, span_id=2, parent_span_id=4, name=5
                        span = {number: value for number, value in fields(item) if number in (1, 2, 4, 5)}
                        say("span", span[5].decode(), span[1].hex(), span[2].hex(), span.get(4, b"").hex() or "-")
                    elif self.path == "/v1/metrics":
                        say("metric", child(item, 1)[0].decode())
                    elif self.path == "/v1/logs":
                        say("log")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Collector)
say("collecting on", server.server_address[1])
server.serve_forever()
