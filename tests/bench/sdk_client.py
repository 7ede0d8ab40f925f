"""A plain device on the AWS IoT Device SDK for Python: what certrotd is measured beside.

It provisions with the claim pair when it is started, keeps one MQTT 5 session, and rotates when it is told to, as the
SDK's own fleet provisioning sample is written: `IotIdentityClientV2`, files written in place, the old client stopped and
one with the new pair started. Where the SDK leaves a choice it takes the one that loses least: a persistent session, and
publishes that are kept until they are acknowledged. It commits as certrotd does, so that both do the same work.

Words on stdin: `rotate`; `load MS` (publish that often and note what comes); `quiet`; `heard` (say it). On stdout: `step
NAME`, and `heard NUMBER NANOSECONDS` (CLOCK_MONOTONIC).
"""

import argparse
import collections
import concurrent.futures
import json
import os
import sys
import threading
import time
import uuid
from pathlib import Path

from awscrt import mqtt5, mqtt_request_response
from awsiot import iotidentity, mqtt5_client_builder
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LONG = 30.0
CLAIM, ROTATE = "certrot-claim", "certrot-rotate"


def say(*words):
    print(*words, flush=True)


class Connection:
    """One MQTT 5 client with one pair."""

    def __init__(self, place, certificate, key, client_id, heard=None):
        self.up, self.down = concurrent.futures.Future(), concurrent.futures.Future()

        def settle(future, error=None):
            if not future.done():
                future.set_exception(error) if error else future.set_result(True)

        self.client = mqtt5_client_builder.mtls_from_path(
            str(certificate),
            str(key),
            endpoint="localhost",
            port=place.port,
            ca_filepath=str(place.twin / "ca.pem"),
            client_id=client_id,
            keep_alive_interval_sec=60,
            session_expiry_interval_sec=3600,
            session_behavior=mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS,
            on_publish_received=heard,
            on_lifecycle_connection_success=lambda data: settle(self.up),
            on_lifecycle_connection_failure=lambda data: settle(self.up, data.exception),
            on_lifecycle_stopped=lambda data: settle(self.down),
        )
        self.client.start()
        self.up.result(LONG)

    def subscribe(self, *filters):
        wanted = [mqtt5.Subscription(topic_filter=f, qos=mqtt5.QoS.AT_LEAST_ONCE) for f in filters]
        self.client.subscribe(mqtt5.SubscribePacket(subscriptions=wanted)).result(LONG)

    def publish(self, topic, payload):
        packet = mqtt5.PublishPacket(topic=topic, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE)
        return self.client.publish(packet)

    def stop(self):
        self.client.stop()
        self.down.result(LONG)


class Device:
    def __init__(self, place):
        self.place, self.thing = place, place.serial
        self.certificate = place.dir / "device.cert.pem"
        self.key = place.dir / "device.key.pem"
        self.load = Load(self)
        self.answers = {}
        place.dir.mkdir(mode=0o700, parents=True)
        claim = Connection(
            place,
            place.twin / "claim.cert.pem",
            place.twin / "claim.key.pem",
            f"claim-{self.thing}-{uuid.uuid4().hex[:8]}",
        )
        pair = self.issue(claim, CLAIM)
        claim.stop()
        self.take(*pair)

    def rotate(self):
        pair = self.issue(self.connection, ROTATE)
        # The new client has the old one's client id: the old one must not come back against it.
        self.connection.stop()
        self.take(*pair)

    def issue(self, connection, template):
        """A new pair, registered."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.thing)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        options = mqtt_request_response.ClientOptions(
            max_request_response_subscriptions=6,
            max_streaming_subscriptions=0,
            operation_timeout_in_seconds=int(LONG),
        )
        identity = iotidentity.IotIdentityClientV2(connection.client, options)
        made = identity.create_certificate_from_csr(
            iotidentity.CreateCertificateFromCsrRequest(
                certificate_signing_request=csr.public_bytes(serialization.Encoding.PEM).decode()
            )
        ).result(LONG)
        say("step issue")
        identity.register_thing(
            iotidentity.RegisterThingRequest(
                template_name=template,
                certificate_ownership_token=made.certificate_ownership_token,
                parameters={"SerialNumber": self.thing},
            )
        ).result(LONG)
        say("step register")
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return made.certificate_id, made.certificate_pem, pem

    def take(self, certificate_id, certificate, key):
        """The new pair in use: files, connection, subscriptions, commit."""
        self.certificate.write_text(certificate)
        with os.fdopen(os.open(self.key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(key)
        say("step switch")
        self.connection = Connection(self.place, self.certificate, self.key, self.thing, self.hear)
        own = f"device/{self.thing}"
        commit = f"{own}/certrot/commit"
        self.connection.subscribe(f"{commit}/accepted", f"{commit}/rejected", f"{own}/down")
        say("step prove")
        self.load.resume()
        accepted = self.answers[f"{commit}/accepted"] = concurrent.futures.Future()
        self.connection.publish(commit, json.dumps({"certificateId": certificate_id})).result(LONG)
        accepted.result(LONG)
        say("step retire")

    def hear(self, data):
        packet = data.publish_packet
        answer = self.answers.pop(packet.topic, None)
        if answer is not None:
            answer.set_result(packet.payload)
        elif packet.topic.endswith("/down"):
            self.load.heard.append((int(packet.payload), time.monotonic_ns()))


class Load:
    """Publishes at a pace; what is not acknowledged is kept and sent again on the next connection."""

    def __init__(self, device):
        self.device, self.heard = device, []
        self.waiting, self.lock = collections.OrderedDict(), threading.Lock()
        self.interval, self.number = None, 0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        due = time.monotonic()
        while True:
            if self.interval is None:
                time.sleep(0.01)
                due = time.monotonic()
                continue
            due += self.interval
            time.sleep(max(0.0, due - time.monotonic()))
            with self.lock:
                self.waiting[self.number] = None
            self.send(self.number)
            self.number += 1

    def send(self, number):
        try:
            sent = self.device.connection.publish(f"device/{self.device.thing}/up", str(number))
        except Exception:
            return
        sent.add_done_callback(lambda future: future.exception() or self.done(number))

    def done(self, number):
        with self.lock:
            self.waiting.pop(number, None)

    def resume(self):
        with self.lock:
            numbers = list(self.waiting)
        for number in numbers:
            self.send(number)

    def quiet(self):
        self.interval = None
        for _ in range(100):
            with self.lock:
                if not self.waiting:
                    break
            time.sleep(0.05)
        say("sent", self.number)


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--port", type=int, required=True)
    words.add_argument("--dir", type=Path, required=True)
    words.add_argument("--twin", type=Path, required=True)
    words.add_argument("--serial", required=True)
    device = Device(words.parse_args())
    for line in sys.stdin:
        match line.split():
            case ["rotate"]:
                device.rotate()
            case ["load", interval]:
                device.load.interval = float(interval) / 1e3
            case ["quiet"]:
                device.load.quiet()
                say("step quiet")
            case ["heard"]:
                for number, at in device.load.heard:
                    say("heard", number, at)
                device.load.heard = []
                say("step heard")


main()
