"""The programs under test, each in a directory of its own and ended with the test.

A twin is known by the line it prints; its certificate is for `localhost`, which is the name every client is given.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

HOST = "localhost"
# How long anything may take on a busy machine.
LONG = 30.0


class Twin:
    """`certrot-twin serve`, as a user would start it."""

    def __init__(self, *words: str):
        self.dir = Path(tempfile.mkdtemp(prefix="certrot-sdk-"))
        log = open(self.dir / "twin.log", "wb")
        self.process = subprocess.Popen(
            [os.environ["CERTROT_TWIN"], "serve", "--dir", str(self.dir / "twin"), *words],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        line = self.process.stdout.readline()
        found = re.fullmatch(r"ready mqtt=127\.0\.0\.1:(\d+) api=127\.0\.0\.1:(\d+)\n", line)
        if not found:
            raise AssertionError(f"the twin said {line!r}: {(self.dir / 'twin.log').read_text()}")
        self.port, self.api_port = int(found[1]), int(found[2])
        self.ca = self.dir / "twin" / "ca.pem"
        self.claim = Pair(self.dir / "twin" / "claim.cert.pem", self.dir / "twin" / "claim.key.pem")

    def events(self, kind: str):
        """What happened, of one kind."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.api_port}/twin/events", timeout=LONG) as answer:
            return [event for event in json.load(answer) if event["kind"] == kind]

    def order(self, method: str, what: str, order):
        """Something that AWS has not: `/twin/time`, `/twin/faults` and the like."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.api_port}/twin/{what}", json.dumps(order).encode(), method=method
        )
        urllib.request.urlopen(request, timeout=LONG).close()

    def pair(self, name: str, certificate: str, key: str) -> "Pair":
        """Writes a certificate and its key beside the twin."""
        pair = Pair(self.dir / f"{name}.cert.pem", self.dir / f"{name}.key.pem")
        pair.certificate.write_text(certificate)
        write_private(pair.key, key)
        return pair

    def stop(self):
        """Ends it; it must end well."""
        self.process.terminate()
        code = self.process.wait(LONG)
        self.process.stdout.close()
        shutil.rmtree(self.dir)
        if code != 0:
            raise AssertionError(f"the twin ended with {code}")


class Pair:
    """The files of a certificate and its key."""

    def __init__(self, certificate: Path, key: Path):
        self.certificate, self.key = certificate, key

    def id(self) -> str:
        """AWS's certificate id: SHA-256 of the DER."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        return x509.load_pem_x509_certificate(self.certificate.read_bytes()).fingerprint(hashes.SHA256()).hex()


class Daemon:
    """The real `certrotd` with its own store; `write_config` again and `start` again as an operator would."""

    def __init__(self, directory: Path):
        self.dir = directory
        self.process = None

    def start(self, port: int, root_ca: Path, claim: Pair, serial: str):
        """Starts it against a broker on `localhost`."""
        write_private(
            self.dir / "config.toml",
            "\n".join(
                [
                    "[device]",
                    f'serial = "{serial}"',
                    "[aws]",
                    f'endpoint = "{HOST}"',
                    f"port = {port}",
                    f'root-ca = "{root_ca}"',
                    "[claim]",
                    f'certificate = "{claim.certificate}"',
                    f'private-key = "{claim.key}"',
                    "[identity]",
                    f'directory = "{self.dir / "store"}"',
                    "[control]",
                    f'socket = "{self.dir / "control.sock"}"',
                    "[log]",
                    'level = "debug"',
                    "",
                ]
            ),
        )
        with open(self.dir / "daemon.log", "ab") as log:
            self.process = subprocess.Popen(
                [os.environ["CERTROTD"], "--config", str(self.dir / "config.toml")],
                stdout=log,
                stderr=log,
                env={k: v for k, v in os.environ.items() if k not in ("JOURNAL_STREAM", "NOTIFY_SOCKET")},
            )

    def status(self) -> dict:
        """`certrotctl --json status`; empty while it does not answer."""
        asked = subprocess.run(
            [os.environ["CERTROTCTL"], "--socket", str(self.dir / "control.sock"), "--json", "status"],
            capture_output=True,
            text=True,
            timeout=LONG,
        )
        return json.loads(asked.stdout) if asked.returncode == 0 else {}

    def log(self) -> str:
        return (self.dir / "daemon.log").read_text()

    def stop(self):
        """SIGTERM; it must end well."""
        if self.process is None:
            return
        self.process.terminate()
        code = self.process.wait(LONG)
        self.process = None
        if code != 0:
            raise AssertionError(f"certrotd ended with {code}: {self.log()}")


def until(what: str, found, within: float = LONG):
    """Asks until the answer is true, and gives it."""
    end = time.monotonic() + within
    while True:
        answer = found()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"never: {what}")
        time.sleep(0.05)


def free_port() -> int:
    """A port of the loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write_private(path: Path, text: str):
    """Writes a file that is 0600 from its creation."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)


def csr():
    """A new P-256 key (PEM) and a certificate signing request (PEM) for it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode(), request.public_bytes(serialization.Encoding.PEM).decode()
