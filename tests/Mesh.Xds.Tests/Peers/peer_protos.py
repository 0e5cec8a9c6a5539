"""Compiles the protos with protoc and imports what comes out: the peers share nothing with the code under test but the files."""
import glob
import importlib
import subprocess
import sys
import tempfile


def load(directory):
    with tempfile.TemporaryDirectory(prefix="mesh-protos-") as out:
        subprocess.run(["protoc", f"--proto_path={directory}", f"--python_out={out}", *glob.glob(f"{directory}/*.proto")], check=True)
        sys.path.insert(0, out)
        protos = {name: importlib.import_module(f"{name}_pb2") for name in ("discovery", "workload", "authorization", "certificate", "spiffe")}
        sys.path.remove(out)
        return protos
