"""The AWS IoT SDK for Python (awsiotsdk): fleet provisioning over MQTT 3.1.1 and MQTT 5, by both of its clients."""

import concurrent.futures
import functools
import itertools
import unittest
import uuid

import awscrt.mqtt
import awscrt.mqtt5
import awscrt.mqtt_request_response
import awsiot
from awsiot import iotidentity, mqtt5_client_builder, mqtt_connection_builder

from .lab import HOST, LONG, Pair, Twin, csr

CLAIM, ROTATE = "certrot-claim", "certrot-rotate"


class Mqtt3:
    """A connection of MQTT 3.1.1."""

    def __init__(self, twin: Twin, pair: Pair, client_id: str):
        self.client = mqtt_connection_builder.mtls_from_path(
            str(pair.certificate),
            str(pair.key),
            endpoint=HOST,
            port=twin.port,
            ca_filepath=str(twin.ca),
            client_id=client_id,
            clean_session=True,
            keep_alive_secs=60,
        )

    def __enter__(self):
        self.client.connect().result(LONG)
        return self

    def __exit__(self, *_):
        self.client.disconnect().result(LONG)


class Mqtt5:
    """A client of MQTT 5."""

    def __init__(self, twin: Twin, pair: Pair, client_id: str):
        self.up, self.down = concurrent.futures.Future(), concurrent.futures.Future()

        def settle(future, result=None, error=None):
            if not future.done():
                future.set_exception(error) if error else future.set_result(result)

        self.client = mqtt5_client_builder.mtls_from_path(
            str(pair.certificate),
            str(pair.key),
            endpoint=HOST,
            port=twin.port,
            ca_filepath=str(twin.ca),
            client_id=client_id,
            keep_alive_interval_sec=60,
            on_lifecycle_connection_success=lambda data: settle(self.up, data),
            on_lifecycle_connection_failure=lambda data: settle(self.up, error=data.exception),
            on_lifecycle_stopped=lambda data: settle(self.down, True),
        )

    def __enter__(self):
        self.client.start()
        self.connack = self.up.result(LONG).connack_packet
        return self

    def __exit__(self, *_):
        self.client.stop()
        self.down.result(LONG)


class Classic:
    """`IotIdentityClient`: subscribe to both answers, publish, wait."""

    def __init__(self, connection):
        self.identity = iotidentity.IotIdentityClient(connection.client)

    def _ask(self, subscribe_accepted, subscribe_rejected, publish, subscription, request):
        answer = concurrent.futures.Future()
        quality = awscrt.mqtt.QoS.AT_LEAST_ONCE
        for subscribe, good in ((subscribe_accepted, True), (subscribe_rejected, False)):
            subscribed, _ = subscribe(subscription, quality, lambda r, good=good: answer.set_result((good, r)))
            subscribed.result(LONG)
        publish(request, quality).result(LONG)
        return answer.result(LONG)

    def create_from_csr(self, pem):
        i = self.identity
        return self._ask(
            i.subscribe_to_create_certificate_from_csr_accepted,
            i.subscribe_to_create_certificate_from_csr_rejected,
            i.publish_create_certificate_from_csr,
            iotidentity.CreateCertificateFromCsrSubscriptionRequest(),
            iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request=pem),
        )

    def create_keys(self):
        i = self.identity
        return self._ask(
            i.subscribe_to_create_keys_and_certificate_accepted,
            i.subscribe_to_create_keys_and_certificate_rejected,
            i.publish_create_keys_and_certificate,
            iotidentity.CreateKeysAndCertificateSubscriptionRequest(),
            iotidentity.CreateKeysAndCertificateRequest(),
        )

    def register(self, template, token, serial):
        i = self.identity
        return self._ask(
            i.subscribe_to_register_thing_accepted,
            i.subscribe_to_register_thing_rejected,
            i.publish_register_thing,
            iotidentity.RegisterThingSubscriptionRequest(template_name=template),
            iotidentity.RegisterThingRequest(
                template_name=template,
                certificate_ownership_token=token,
                parameters={"SerialNumber": serial},
            ),
        )


class Second:
    """`IotIdentityClientV2`: the SDK's own request and response over either protocol."""

    def __init__(self, connection):
        options = awscrt.mqtt_request_response.ClientOptions(
            max_request_response_subscriptions=6, max_streaming_subscriptions=0, operation_timeout_in_seconds=int(LONG)
        )
        self.identity = iotidentity.IotIdentityClientV2(connection.client, options)

    @staticmethod
    def _answer(future):
        try:
            return True, future.result(LONG)
        except awsiot.V2ServiceException as refused:
            assert refused.modeled_error is not None, refused
            return False, refused.modeled_error

    def create_from_csr(self, pem):
        request = iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request=pem)
        return self._answer(self.identity.create_certificate_from_csr(request))

    def create_keys(self):
        request = iotidentity.CreateKeysAndCertificateRequest()
        return self._answer(self.identity.create_keys_and_certificate(request))

    def register(self, template, token, serial):
        request = iotidentity.RegisterThingRequest(
            template_name=template, certificate_ownership_token=token, parameters={"SerialNumber": serial}
        )
        return self._answer(self.identity.register_thing(request))


def in_every_combination(test):
    """Runs a test with both protocols and both clients, each with a thing of its own."""

    @functools.wraps(test)
    def run(self):
        for protocol, client in itertools.product((Mqtt3, Mqtt5), (Classic, Second)):
            with self.subTest(protocol=protocol.__name__, client=client.__name__):
                test(self, protocol, client, f"SN-{protocol.__name__}-{client.__name__}")

    return run


class Provisioning(unittest.TestCase):
    """Each test goes through both protocols and both clients."""

    def setUp(self):
        self.twin = Twin()
        self.addCleanup(self.twin.stop)

    def claim(self, protocol, serial):
        return protocol(self.twin, self.twin.claim, f"claim-{serial}-{uuid.uuid4().hex[:8]}")

    def provision(self, protocol, client, serial) -> Pair:
        key, request = csr()
        with self.claim(protocol, serial) as connection:
            identity = client(connection)
            good, made = identity.create_from_csr(request)
            self.assertTrue(good, made)
            good, thing = identity.register(CLAIM, made.certificate_ownership_token, serial)
            self.assertTrue(good, thing)
        self.assertEqual(thing.thing_name, serial)
        self.assertEqual(thing.device_configuration or {}, {})
        pair = self.twin.pair(serial, made.certificate_pem, key)
        self.assertEqual(pair.id(), made.certificate_id)
        return pair

    @in_every_combination
    def test_a_csr_becomes_an_identity_that_connects(self, protocol, client, serial):
        pair = self.provision(protocol, client, serial)
        with protocol(self.twin, pair, serial):
            connects = [e for e in self.twin.events("connect") if e["client"] == serial]
            self.assertEqual(connects[-1]["principal"], pair.id())
            self.assertEqual(connects[-1]["protocol"], 5 if protocol is Mqtt5 else 4)
            self.assertIsNone(connects[-1]["refused"])

    @in_every_combination
    def test_keys_made_in_the_cloud_become_an_identity_that_connects(self, protocol, client, serial):
        with self.claim(protocol, serial) as connection:
            identity = client(connection)
            good, made = identity.create_keys()
            self.assertTrue(good, made)
            self.assertIn("RSA PRIVATE KEY", made.private_key)
            good, thing = identity.register(CLAIM, made.certificate_ownership_token, serial)
            self.assertTrue(good, thing)
        pair = self.twin.pair(serial, made.certificate_pem, made.private_key)
        with protocol(self.twin, pair, serial):
            self.assertEqual(pair.id(), made.certificate_id)

    @in_every_combination
    def test_a_rotation_goes_over_the_devices_own_session(self, protocol, client, serial):
        old = self.provision(protocol, client, serial)
        key, request = csr()
        with protocol(self.twin, old, serial) as connection:
            identity = client(connection)
            good, made = identity.create_from_csr(request)
            self.assertTrue(good, made)
            good, thing = identity.register(ROTATE, made.certificate_ownership_token, serial)
            self.assertTrue(good, thing)
            self.assertEqual(thing.thing_name, serial)
        new = self.twin.pair(f"{serial}-2", made.certificate_pem, key)
        with protocol(self.twin, new, serial):
            connects = [e for e in self.twin.events("connect") if e["client"] == serial]
            self.assertEqual(connects[-1]["principal"], new.id())

    @in_every_combination
    def test_refusals_come_as_the_sdks_own_error_type(self, protocol, client, serial):
        self.provision(protocol, client, serial)
        with self.claim(protocol, serial) as connection:
            identity = client(connection)
            good, refused = identity.create_from_csr("not a request")
            self.assertFalse(good)
            self.assertEqual(refused.status_code, 400)
            self.assertTrue(refused.error_code and refused.error_message)
        with self.claim(protocol, serial) as connection:
            identity = client(connection)
            good, made = identity.create_from_csr(csr()[1])
            self.assertTrue(good, made)
            good, refused = identity.register(CLAIM, made.certificate_ownership_token, serial)
            self.assertFalse(good, "the thing holds a certificate")
            self.assertEqual((refused.status_code, refused.error_code), (403, "ACCESS_DENIED"))
        with self.claim(protocol, serial) as connection:
            good, refused = client(connection).register(CLAIM, "no such token", f"{serial}-x")
            self.assertFalse(good)
            self.assertEqual(refused.status_code, 400)

    def test_a_claim_that_connects_as_a_device_is_refused(self):
        for protocol in (Mqtt3, Mqtt5):
            with self.subTest(protocol=protocol.__name__):
                connection = protocol(self.twin, self.twin.claim, "SN-1")
                if protocol is Mqtt3:
                    with self.assertRaises(awscrt.exceptions.AwsCrtError):
                        connection.client.connect().result(LONG)
                else:
                    connection.client.start()
                    with self.assertRaises(awscrt.exceptions.AwsCrtError):
                        connection.up.result(LONG)
                    connection.client.stop()
                    connection.down.result(LONG)
        refused = [e for e in self.twin.events("connect") if e["client"] == "SN-1"]
        self.assertEqual({e["protocol"] for e in refused}, {4, 5})
        self.assertTrue(all(e["refused"] for e in refused))
