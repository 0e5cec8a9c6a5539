"""A SPIFFE agent on gRPC's C core: it brings whatever it is told to, one command in each line of its input.

A new stream gets first what was brought last, as from SPIRE.
"""
import base64
import json
import queue
import sys
import threading
from concurrent import futures

import grpc

import peer_protos

options = json.loads(sys.argv[1])
spiffe = peer_protos.load(options["protos"])["spiffe"]
lock = threading.Lock()
outgoing = []
bundles = []
last = None
last_bundles = None
refusal = None
streams = 0


def say(text):
    with lock:
        print(text, flush=True)


def stream(request, context):
    global streams
    metadata = dict(context.invocation_metadata())
    if metadata.get("workload.spiffe.io") != "true":
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
    if refusal is not None:
        say("refused")
        context.abort(grpc.StatusCode[refusal["code"]], refusal["details"])
    mine = queue.Queue()
    with lock:
        streams += 1
        number = streams
        outgoing.append(mine)
        if last is not None:
            mine.put(last)
    say(f"stream {number} ")
    context.add_callback(lambda: say(f"ended {number}"))
    while True:
        item = mine.get()
        if isinstance(item, tuple):
            with lock:
                outgoing.remove(mine)
            if item[0] == "OK":
                return
            context.abort(grpc.StatusCode[item[0]], item[1])
        yield item


def bundle_stream(request, context):
    mine = queue.Queue()
    with lock:
        bundles.append(mine)
        if last_bundles is not None:
            mine.put(last_bundles)
    context.add_callback(lambda: mine.put(None))
    while (item := mine.get()) is not None:
        yield item


def octets(text):
    return base64.b64decode(text)


def command(what):
    global last, last_bundles, refusal
    operation = what["op"]
    if operation == "bring":
        message = spiffe.X509SVIDResponse(
            svids=[spiffe.X509SVID(spiffe_id=one["id"], x509_svid=octets(one["svid"]), x509_svid_key=octets(one["key"]), bundle=octets(one["bundle"])) for one in what["svids"]],
            crl=[octets(one) for one in what.get("crl", [])])
        for name, bundle in what.get("federated", {}).items():
            message.federated_bundles[name] = octets(bundle)
        with lock:
            last = message
            for one in outgoing:
                one.put(message)
    elif operation == "bring_bundles":
        message = spiffe.X509BundlesResponse()
        for name, bundle in what["bundles"].items():
            message.bundles[name] = octets(bundle)
        with lock:
            last_bundles = message
            for one in bundles:
                one.put(message)
    elif operation == "end":
        with lock:
            for one in outgoing:
                one.put((what["code"], what.get("details", "")))
    elif operation == "refuse":
        refusal = what if "code" in what else None
    say(f"done {what['id']}")


server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", {
    "FetchX509SVID": grpc.unary_stream_rpc_method_handler(stream, spiffe.X509SVIDRequest.FromString, spiffe.X509SVIDResponse.SerializeToString),
    "FetchX509Bundles": grpc.unary_stream_rpc_method_handler(bundle_stream, spiffe.X509BundlesRequest.FromString, spiffe.X509BundlesResponse.SerializeToString)}),))
port = server.add_insecure_port(options["address"])
server.start()
say(f"listening {port}")
for line in sys.stdin:
    try:
        command(json.loads(line))
    except Exception as error:  # The test sees what was wrong with its script.
        say(f"fault {error!r} in {line[:200]}")
server.stop(0)
