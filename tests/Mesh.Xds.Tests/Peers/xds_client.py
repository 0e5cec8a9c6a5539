"""A client on gRPC's C core: opens a stream of delta discovery, or asks for a certificate, and says what it gets.

Its input has commands, one in each line: a request of discovery as JSON, or {"certificate": {...}}.
"""
import json
import queue
import sys
import threading

import grpc
from google.protobuf import json_format

import peer_protos

options = json.loads(sys.argv[1])
protos = peer_protos.load(options["protos"])
discovery, workload, authorization, certificate = (protos[name] for name in ("discovery", "workload", "authorization", "certificate"))
CONTENT = {"type.googleapis.com/istio.workload.Address": workload.Address, "type.googleapis.com/istio.security.Authorization": authorization.Authorization}

with open(options["root"], "rb") as root:
    roots = root.read()
key = open(options["key"], "rb").read() if options.get("key") else None
cert = open(options["cert"], "rb").read() if options.get("cert") else None
channel = grpc.secure_channel(options["address"], grpc.ssl_channel_credentials(roots, key, cert), options=[("grpc.max_receive_message_length", -1)])
metadata = [("authorization", f"Bearer {options['token']}")] if options.get("token") else []
discover = channel.stream_stream(
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
    request_serializer=discovery.DeltaDiscoveryRequest.SerializeToString, response_deserializer=discovery.DeltaDiscoveryResponse.FromString)
create = channel.unary_unary(
    options.get("method", "/istio.v1.auth.IstioCertificateService/CreateCertificate"),
    request_serializer=certificate.IstioCertificateRequest.SerializeToString, response_deserializer=certificate.IstioCertificateResponse.FromString)
requests = queue.Queue()
said = 0
lock = threading.Lock()


def say(what):
    global said
    with lock:
        said += 1
        print(f"said {said} {json.dumps(what, sort_keys=True)}", flush=True)


def read():
    try:
        for response in discover(iter(requests.get, None), metadata=metadata):
            resources = {}
            for one in response.resources:
                content = CONTENT[response.type_url].FromString(one.resource.value)
                resources[one.name] = {"version": one.version, "aliases": list(one.aliases), "type_url": one.resource.type_url,
                                       "content": json_format.MessageToDict(content, preserving_proto_field_name=True)}
            say({"type_url": response.type_url, "nonce": response.nonce, "resources": resources, "count": len(resources), "removed": list(response.removed_resources)})
        say({"end": "OK"})
    except grpc.RpcError as error:
        say({"end": error.code().name, "details": error.details()})


def ask(request):
    try:
        answer = create(json_format.ParseDict(request, certificate.IstioCertificateRequest()), metadata=metadata, timeout=20)
        say({"chain": list(answer.cert_chain)})
    except grpc.RpcError as error:
        say({"end": error.code().name, "details": error.details()})


started = False
for line in sys.stdin:
    command = json.loads(line)
    if "certificate" in command:
        ask(command["certificate"])
        continue
    requests.put(json_format.ParseDict(command, discovery.DeltaDiscoveryRequest()))
    if not started:
        started = True
        threading.Thread(target=read, daemon=True).start()
