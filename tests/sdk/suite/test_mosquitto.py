"""mosquitto's clients through the twin, and the daemon's session on a plain mosquitto broker."""

import json
import os
import shutil
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import boto3

from .lab import HOST, LONG, Daemon, Twin, csr, free_port, until, write_private
from .test_sdk import CLAIM, Classic, Mqtt3

VERSIONS = ("mqttv311", "mqttv5")
# What an application in the cloud may do, on a device certificate of its own: one IoT policy beside the device's.
BACKEND = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["iot:Publish", "iot:RetainPublish"],
            "Resource": "arn:aws:iot:eu-west-1:123456789012:topic/device/SN-1/app/*",
        }
    ],
}


def provision(twin: Twin, serial: str):
    """An identity by the SDK, as files."""
    key, request = csr()
    with Mqtt3(twin, twin.claim, f"claim-{serial}-a") as connection:
        identity = Classic(connection)
        _, made = identity.create_from_csr(request)
        good, thing = identity.register(CLAIM, made.certificate_ownership_token, serial)
        assert good, thing
    return twin.pair(serial, made.certificate_pem, key)


class Clients(unittest.TestCase):
    """`mosquitto_pub` and `mosquitto_sub` with device certificates, in both versions of MQTT."""

    def setUp(self):
        self.twin = Twin()
        self.addCleanup(self.twin.stop)
        self.device, self.backend = provision(self.twin, "SN-1"), provision(self.twin, "SN-2")
        iot = boto3.client(
            "iot",
            endpoint_url=f"http://127.0.0.1:{self.twin.api_port}",
            region_name="eu-west-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        iot.create_policy(policyName="backend", policyDocument=json.dumps(BACKEND))
        arn = f"arn:aws:iot:eu-west-1:123456789012:cert/{self.backend.id()}"
        iot.attach_policy(policyName="backend", target=arn)

    def words(self, program, version, client_id, pair):
        return [
            program, "-h", HOST, "-p", str(self.twin.port), "-V", version, "-i", client_id, "-q", "1",
            "--cafile", str(self.twin.ca), "--cert", str(pair.certificate), "--key", str(pair.key),
        ]  # fmt: skip

    def subscriber(self, version, *more):
        words = [*self.words("mosquitto_sub", version, "SN-1", self.device), "-W", str(int(LONG)), *more]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def publish(self, version, topic, text, *more):
        words = [*self.words("mosquitto_pub", version, "SN-2", self.backend), "-t", topic, "-m", text, *more]
        subprocess.run(words, check=True, timeout=LONG, capture_output=True)

    def subscribed(self, known):
        def found():
            return [e for e in self.twin.events("subscribe") if e["client"] == "SN-1"][known:]

        return until("subscribed", found)

    def heard(self, process):
        out, error = process.communicate(timeout=LONG)
        self.assertEqual((process.returncode, error), (0, ""))
        return out.splitlines()

    def test_qos_1_messages_pass_from_one_certificate_to_another(self):
        for version in VERSIONS:
            with self.subTest(version=version):
                known = len([e for e in self.twin.events("subscribe") if e["client"] == "SN-1"])
                device = self.subscriber(version, "-t", "device/SN-1/#", "-C", "3", "-F", "%t %q %r %p")
                self.subscribed(known)
                for n in range(3):
                    self.publish(version, "device/SN-1/app/in", f"n{n}")
                self.assertEqual(self.heard(device), [f"device/SN-1/app/in 1 0 n{n}" for n in range(3)])

    def test_a_retained_message_waits_for_who_subscribes_later_until_it_is_emptied(self):
        for version in VERSIONS:
            with self.subTest(version=version):
                self.publish(version, "device/SN-1/app/config", "v1", "-r")
                device = self.subscriber(version, "-t", "device/SN-1/app/#", "-C", "1", "-F", "%q %r %p")
                self.assertEqual(self.heard(device), ["1 1 v1"])
                empty = [*self.words("mosquitto_pub", version, "SN-2", self.backend), "-n", "-r"]
                subprocess.run([*empty, "-t", "device/SN-1/app/config"], check=True, timeout=LONG)
                self.publish(version, "device/SN-1/app/other", "after", "-r")
                device = self.subscriber(version, "-t", "device/SN-1/app/#", "-C", "1", "-F", "%p")
                self.assertEqual(self.heard(device), ["after"])

    def test_a_persistent_session_keeps_what_comes_while_its_client_is_away(self):
        for version in VERSIONS:
            with self.subTest(version=version):
                keep = ["-c", "-t", "device/SN-1/app/#"]
                if version == "mqttv5":
                    keep += ["-x", "3600"]
                self.assertEqual(self.heard(self.subscriber(version, *keep, "-E")), [])
                for n in range(3):
                    self.publish(version, "device/SN-1/app/in", f"offline {n}")
                self.assertEqual(
                    self.heard(self.subscriber(version, *keep, "-C", "3")), [f"offline {n}" for n in range(3)]
                )
                back = [e for e in self.twin.events("connect") if e["client"] == "SN-1"][-1]
                self.assertTrue(back["sessionPresent"])
                # A clean session ends the kept one.
                self.heard(self.subscriber(version, "-t", "device/SN-1/app/#", "-E"))

    def test_a_topic_of_another_ends_the_connection(self):
        for version in VERSIONS:
            with self.subTest(version=version):
                words = self.words("mosquitto_sub", version, "SN-1", self.device)
                asked = subprocess.run(
                    [*words, "-t", "device/SN-2/#", "-W", "2"], timeout=LONG, capture_output=True, text=True
                )
                self.assertEqual(asked.stdout, "")
                refused = [e for e in self.twin.events("subscribe") if e["filter"] == "device/SN-2/#"]
                self.assertTrue(refused and all(e["refused"] for e in refused))


class PlainBroker(unittest.TestCase):
    """certrotd on a broker that knows nothing of AWS: the session is plain MQTT, provisioning is not there."""

    def setUp(self):
        self.dir = Path(tempfile.mkdtemp(prefix="certrot-mosquitto-"))
        self.addCleanup(shutil.rmtree, self.dir)
        self.twin = Twin()
        self.addCleanup(self.twin.stop)
        self.daemon = Daemon(self.dir)
        self.addCleanup(self.daemon.stop)

    def test_the_session_of_a_provisioned_device_comes_up_and_stays_and_rotation_says_why_it_cannot(self):
        # A store that the twin prepared.
        self.daemon.start(self.twin.port, self.twin.ca, self.twin.claim, "SN-1")
        before = until("settled", self.settled)
        self.daemon.stop()

        port = self.broker(self.dir / "store" / "current" / "device.cert.pem")
        self.daemon.start(port, self.dir / "root.pem", self.twin.claim, "SN-1")
        until("connected", lambda: self.daemon.status().get("connected"))
        self.assertEqual(self.daemon.status()["certificate"]["id"], before["certificate"]["id"])

        # What reaches it is MQTT: an order without its condition is heard and refused.
        self.publish(port, "device/SN-1/certrot/rotate", "{}")
        until("heard", lambda: "rotate message refused" in self.daemon.log())

        # Nobody answers a CSR here: the rotation fails softly, the session and the identity stay.
        ordered = subprocess.run(
            [os.environ["CERTROTCTL"], "--socket", str(self.dir / "control.sock"), "rotate-now"],
            capture_output=True,
            text=True,
            timeout=LONG,
        )
        self.assertEqual(ordered.returncode, 0, ordered.stderr)
        status = until("failed", self.failed, within=150)
        self.assertFalse(status["rotation"]["lastResult"]["ok"], status["rotation"])
        until("connected again", lambda: self.daemon.status().get("connected"))
        after = self.daemon.status()
        self.assertEqual(after["certificate"], before["certificate"])
        self.assertEqual(after["thingName"], "SN-1")
        self.assertNotIn("PRIVATE KEY", self.daemon.log())

    def test_a_new_device_says_that_nobody_answers_its_provisioning(self):
        provisioned = provision(self.twin, "SN-0")
        port = self.broker(provisioned.certificate)
        self.daemon.start(port, self.dir / "root.pem", self.twin.claim, "SN-1")
        status = until("said why", lambda: self.why("answer"), within=150)
        self.assertFalse(status["connected"])
        self.assertIsNone(status["certificate"])

    def settled(self):
        status = self.daemon.status()
        return status if status.get("connected") and not status["retire"]["pending"] else None

    def failed(self):
        status = self.daemon.status()
        return status if status and status["rotation"]["lastResult"] else None

    def why(self, word):
        status = self.daemon.status()
        return status if status and word in status["why"] else None

    def broker(self, device_certificate: Path) -> int:
        """A mosquitto over mutual TLS that trusts whoever signed `device_certificate`; ended with the test."""
        authorities(self.dir, self.twin.dir / "twin" / "devices.key.pem", device_certificate)
        port = free_port()
        write_private(
            self.dir / "mosquitto.conf",
            "\n".join(
                [
                    f"listener {port} 127.0.0.1",
                    f"cafile {self.dir / 'devices.pem'}",
                    f"certfile {self.dir / 'server.pem'}",
                    f"keyfile {self.dir / 'server.key'}",
                    "require_certificate true",
                    "allow_anonymous true",
                    f"user {os.environ.get('USER') or 'root'}",
                    "",
                ]
            ),
        )
        log = open(self.dir / "mosquitto.log", "wb")
        process = subprocess.Popen(
            ["mosquitto", "-c", str(self.dir / "mosquitto.conf")], stdout=log, stderr=subprocess.STDOUT
        )
        log.close()

        def end():
            process.terminate()
            process.wait(LONG)

        self.addCleanup(end)

        def listens():
            if process.poll() is not None:
                raise AssertionError((self.dir / "mosquitto.log").read_text())
            import socket

            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        until("mosquitto listens", listens)
        return port

    def publish(self, port, topic, text):
        other = provision(self.twin, f"SN-9{int(time.time())}")
        words = [
            "mosquitto_pub", "-h", HOST, "-p", str(port), "-i", "backend", "-q", "1", "-t", topic, "-m", text,
            "--cafile", str(self.dir / "root.pem"), "--cert", str(other.certificate), "--key", str(other.key),
        ]  # fmt: skip
        subprocess.run(words, check=True, timeout=LONG, capture_output=True)


def authorities(directory: Path, devices_key: Path, device_certificate: Path):
    """Writes `root.pem`, `server.pem`, `server.key` (a broker for localhost) and `devices.pem`.

    The twin needs no certificate for its device authority, as on AWS the registry vouches; a plain broker does. It is
    made here from the authority's key, with the name and key id that the device certificates give.
    """
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)

    def start(subject, issuer, key):
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - day).not_valid_after(now + day)

    authority = x509.BasicConstraints(ca=True, path_length=None)
    device = x509.load_pem_x509_certificate(device_certificate.read_bytes())
    key = serialization.load_pem_private_key(devices_key.read_bytes(), None)
    builder = start(device.issuer, device.issuer, key.public_key()).add_extension(authority, critical=True)
    named = device.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    builder = builder.add_extension(x509.SubjectKeyIdentifier(named), critical=False)
    pem = serialization.Encoding.PEM
    (directory / "devices.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))

    root_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plain broker's root")])
    builder = start(root, root, root_key.public_key()).add_extension(authority, critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    (directory / "root.pem").write_bytes(builder.sign(root_key, hashes.SHA256()).public_bytes(pem))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    builder = start(name, root, server_key.public_key())
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
    (directory / "server.pem").write_bytes(builder.sign(root_key, hashes.SHA256()).public_bytes(pem))
    private = server_key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(directory / "server.key", private.decode())
