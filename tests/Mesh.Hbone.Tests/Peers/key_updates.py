"""A TLS 1.3 client that changes its keys again and again and says nothing else, by libssl. key_updates.py HOST PORT CERTIFICATE KEY COUNT"""
import ctypes
import socket
import sys

libssl = ctypes.CDLL("libssl.so.3")
for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
    getattr(libssl, name).restype = ctypes.c_void_p

host, port, certificate, key, count = sys.argv[1:]
context = ctypes.c_void_p(libssl.SSL_CTX_new(ctypes.c_void_p(libssl.TLS_client_method())))
PEM = 1
assert libssl.SSL_CTX_use_certificate_file(context, certificate.encode(), PEM) == 1
assert libssl.SSL_CTX_use_PrivateKey_file(context, key.encode(), PEM) == 1
assert libssl.SSL_CTX_set_alpn_protos(context, b"\x02h2", 3) == 0

connection = socket.create_connection((host, int(port)))
ssl = ctypes.c_void_p(libssl.SSL_new(context))
assert libssl.SSL_set_fd(ssl, connection.fileno()) == 1
assert libssl.SSL_connect(ssl) == 1
print("connected", flush=True)
NOT_REQUESTED = 0
for changes in range(int(count)):
    if libssl.SSL_key_update(ssl, NOT_REQUESTED) != 1 or libssl.SSL_do_handshake(ssl) != 1:
        print("cut after", changes, flush=True)
        break
else:
    libssl.SSL_write(ssl, b"that was all", 12)
    print("not cut", flush=True)
sys.stdin.readline()
