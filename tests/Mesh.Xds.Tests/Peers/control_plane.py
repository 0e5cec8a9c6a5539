"""A control plane on gRPC's C core that does what it is told, one command in each line of its input.

It says each request that it gets in a line of its own: "request NUMBER JSON".
"""
import json
import queue
import subprocess
import sys
import tempfile
import threading
from concurrent import futures

import grpc
from google.protobuf import json_format

import peer_protos

options = json.loads(sys.argv[1])
protos = peer_protos.load(options["protos"])
discovery, workload, authorization, certificate = (protos[name] for name in ("discovery", "workload", "authorization", "certificate"))

ADDRESS = "type.googleapis.com/istio.workload.Address"
AUTHORIZATION = "type.googleapis.com/istio.security.Authorization"

lock = threading.Lock()
requests = 0
streams = 0
current = None
refusal = None
compression = None
world = None
certificates = {"mode": "sign"}
certificates_changed = threading.Condition()
running = 0


def say(text):
    with lock:
        print(text, flush=True)


def said(kind, **what):
    global requests
    with lock:
        requests += 1
        print(f"request {requests} {json.dumps({'kind': kind, **what}, sort_keys=True)}", flush=True)


def stream(request_iterator, context):
    global streams, current
    metadata = dict(context.invocation_metadata())
    if refusal is not None:
        say(f"refused {refusal}")
        context.abort(grpc.StatusCode[refusal["code"]], refusal["details"])
    outgoing = queue.Queue()
    with lock:
        streams += 1
        number = streams
        current = outgoing
    if compression is not None:
        context.set_compression(grpc.Compression[compression])
    say(f"stream {number} {json.dumps(metadata, sort_keys=True)}")

    def read():
        asked = set()
        try:
            for request in request_iterator:
                message = json_format.MessageToDict(request, preserving_proto_field_name=True)
                said("ads", stream=number, **message)
                if world is not None and request.type_url not in asked:
                    asked.add(request.type_url)
                    outgoing.put(difference(request))
        except grpc.RpcError:
            pass
        say(f"half-closed {number}")

    threading.Thread(target=read, daemon=True).start()
    context.add_callback(lambda: say(f"ended {number}"))
    while True:
        item = outgoing.get()
        if isinstance(item, tuple):
            code, details = item
            if code == "OK":
                return
            context.abort(grpc.StatusCode[code], details)
        yield item


def resource(one):
    packed = discovery.Resource(name=one["name"], version=one.get("version", ""), aliases=one.get("aliases", []))
    if "address" in one:
        packed.resource.type_url = ADDRESS
        packed.resource.value = json_format.ParseDict(one["address"], workload.Address()).SerializeToString()
    if "authorization" in one:
        packed.resource.type_url = AUTHORIZATION
        packed.resource.value = json_format.ParseDict(one["authorization"], authorization.Authorization()).SerializeToString()
    if "raw" in one:
        packed.resource.value = bytes.fromhex(one["raw"])
    if "type_url" in one:
        packed.resource.type_url = one["type_url"]
    return packed


def difference(request):
    """What a control plane says that has the world for its content: what the client has not, and what is no more."""
    there = [resource(one) for one in world.get(request.type_url, [])]
    held = request.initial_resource_versions
    response = discovery.DeltaDiscoveryResponse(type_url=request.type_url, nonce="first", removed_resources=sorted(set(held) - {one.name for one in there}))
    response.resources.extend(one for one in there if not one.version or held.get(one.name) != one.version)
    return response


def many(count, padding):
    for i in range(count):
        uid = f"c//Pod/ns-{i % 100}/pod-{i}"
        yield {"name": uid, "version": "1", "address": {"workload": {
            "uid": uid, "name": f"pod-{i}", "namespace": f"ns-{i % 100}", "node": f"node-{i % 500}", "tunnel_protocol": "HBONE",
            "hostname": "x" * padding}}}


def create_certificate(request, context):
    global running
    with lock:
        running += 1
        at_once = running
    try:
        return answer_certificate(request, context, at_once)
    finally:
        with lock:
            running -= 1


def answer_certificate(request, context, at_once):
    metadata = dict(context.invocation_metadata())
    asked = json_format.MessageToDict(request.metadata)
    said("ca", csr=request.csr, validity=request.validity_duration, impersonated=asked.get("ImpersonatedIdentity"),
         authorization=metadata.get("authorization"), clusterid=metadata.get("clusterid"), at_once=at_once)
    with certificates_changed:
        certificates_changed.wait_for(lambda: certificates["mode"] != "gate")
        mode = dict(certificates)
    refused = mode.get("refuse", {})
    if asked.get("ImpersonatedIdentity") in refused:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, refused[asked["ImpersonatedIdentity"]])
    if mode["mode"] == "fail":
        context.abort(grpc.StatusCode[mode["code"]], mode["details"])
    if mode["mode"] == "hang":
        threading.Event().wait(mode["seconds"])
    if mode["mode"] == "chain":
        return certificate.IstioCertificateResponse(cert_chain=mode["chain"])
    return certificate.IstioCertificateResponse(cert_chain=sign(request, mode.get("identity") or asked.get("ImpersonatedIdentity"), mode))


def sign(request, identity, mode):
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as csr, tempfile.NamedTemporaryFile("w", suffix=".cnf") as extensions:
        csr.write(request.csr)
        csr.flush()
        san = f"subjectAltName=critical,URI:{identity}\n" if identity else ""
        extensions.write(f"{san}keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\nauthorityKeyIdentifier=keyid\n")
        extensions.flush()
        command = ["openssl", "x509", "-req", "-in", csr.name, "-CA", mode.get("ca", options["ca"]), "-CAkey", mode.get("cakey", options["cakey"]), "-days", "1",
                   "-extfile", extensions.name] + ([] if identity else ["-copy_extensions", "copy"])
        leaf = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    with open(options["ca"]) as root:
        roots = root.read()
    return [leaf, *mode.get("intermediates", []), mode.get("roots", roots)]


def command(what):
    global refusal, certificates, compression, world
    operation = what.pop("op")
    if operation == "push":
        response = discovery.DeltaDiscoveryResponse(type_url=what["type_url"], nonce=what["nonce"], removed_resources=what.get("removed", []))
        response.resources.extend(resource(one) for one in what.get("resources", []))
        response.resources.extend(resource(one) for one in many(what.get("many", 0), what.get("padding", 0)))
        current.put(response)
    elif operation == "end":
        current.put((what["code"], what.get("details", "")))
    elif operation == "refuse":
        refusal = what if "code" in what else None
    elif operation == "world":
        world = what["resources"]
    elif operation == "compress":
        compression = what["encoding"]
    elif operation == "ca":
        with certificates_changed:
            certificates = what
            certificates_changed.notify_all()
    say(f"done {json.dumps(what.get('id'))}")


server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), options=[
    ("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)])
server.add_generic_rpc_handlers((
    grpc.method_handlers_generic_handler("envoy.service.discovery.v3.AggregatedDiscoveryService", {
        "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(
            stream, discovery.DeltaDiscoveryRequest.FromString, discovery.DeltaDiscoveryResponse.SerializeToString)}),
    grpc.method_handlers_generic_handler("istio.v1.auth.IstioCertificateService", {
        "CreateCertificate": grpc.unary_unary_rpc_method_handler(
            create_certificate, certificate.IstioCertificateRequest.FromString, certificate.IstioCertificateResponse.SerializeToString)})))
with open(options["key"], "rb") as key, open(options["cert"], "rb") as cert:
    credentials = grpc.ssl_server_credentials([(key.read(), cert.read())])
port = server.add_secure_port(f"127.0.0.1:{options.get('port', 0)}", credentials)
server.start()
say(f"listening {port}")
for line in sys.stdin:
    try:
        command(json.loads(line))
    except Exception as error:  # The test sees what was wrong with its script.
        say(f"fault {error!r} in {line[:200]}")
server.stop(0)
