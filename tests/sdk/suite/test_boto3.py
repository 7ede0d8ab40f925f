"""boto3's `iot` and `iot-data` clients with an endpoint override: the registry as operators and Lambdas see it."""

import unittest

import boto3
from botocore.config import Config

from .lab import LONG, Twin, csr, until
from .test_sdk import CLAIM, Classic, Mqtt3


class Registry(unittest.TestCase):
    """One twin with one provisioned thing for each test."""

    def setUp(self):
        self.twin = Twin()
        self.addCleanup(self.twin.stop)
        url = f"http://127.0.0.1:{self.twin.api_port}"
        words = dict(
            endpoint_url=url,
            region_name="eu-west-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 1}, read_timeout=LONG),
        )
        self.iot, self.data = boto3.client("iot", **words), boto3.client("iot-data", **words)
        self.key, request = csr()
        with Mqtt3(self.twin, self.twin.claim, "claim-SN-1-a") as connection:
            identity = Classic(connection)
            _, self.made = identity.create_from_csr(request)
            good, thing = identity.register(CLAIM, self.made.certificate_ownership_token, "SN-1")
            self.assertTrue(good, thing)
        self.pair = self.twin.pair("SN-1", self.made.certificate_pem, self.key)
        self.id = self.made.certificate_id
        self.arn = self.iot.describe_certificate(certificateId=self.id)["certificateDescription"]["certificateArn"]

    def status(self):
        return self.iot.describe_certificate(certificateId=self.id)["certificateDescription"]["status"]

    def test_the_endpoint_is_the_name_that_the_certificate_is_for(self):
        endpoint = self.iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
        self.assertEqual(endpoint, "localhost")

    def test_a_certificate_is_described_with_dates_that_boto3_reads(self):
        found = self.iot.describe_certificate(certificateId=self.id)["certificateDescription"]
        self.assertEqual((found["certificateId"], found["status"]), (self.id, "ACTIVE"))
        self.assertEqual(found["certificatePem"], self.made.certificate_pem)
        self.assertEqual(found["validity"]["notAfter"].year, 2049)
        self.assertLessEqual(found["validity"]["notBefore"], found["creationDate"])
        self.assertEqual(found["certificateArn"], f"arn:aws:iot:eu-west-1:123456789012:cert/{self.id}")
        with self.assertRaises(self.iot.exceptions.ResourceNotFoundException):
            self.iot.describe_certificate(certificateId="0" * 64)

    def test_certificates_and_things_are_listed_in_pages(self):
        for name in ("SN-2", "SN-3"):
            self.iot.create_thing(thingName=name)
        pages = list(self.iot.get_paginator("list_things").paginate(PaginationConfig={"PageSize": 2}))
        names = [t["thingName"] for page in pages for t in page["things"]]
        self.assertEqual((len(pages), names), (2, ["SN-1", "SN-2", "SN-3"]))
        certificates = self.iot.list_certificates()["certificates"]
        self.assertIn(self.id, [c["certificateId"] for c in certificates])
        self.assertEqual(len(certificates), 2, "the claim's and the device's")

    def test_things_and_principals_name_each_other(self):
        self.assertEqual(self.iot.list_thing_principals(thingName="SN-1")["principals"], [self.arn])
        self.assertEqual(self.iot.list_principal_things(principal=self.arn)["things"], ["SN-1"])
        with self.assertRaises(self.iot.exceptions.ResourceNotFoundException):
            self.iot.list_thing_principals(thingName="nobody")

    def test_a_thing_is_described_and_updated_by_its_version(self):
        thing = self.iot.describe_thing(thingName="SN-1")
        self.assertEqual((thing["thingName"], thing["defaultClientId"]), ("SN-1", "SN-1"))
        payload = {"attributes": {"site": "oslo"}, "merge": True}
        self.iot.update_thing(thingName="SN-1", attributePayload=payload, expectedVersion=thing["version"])
        self.assertEqual(self.iot.describe_thing(thingName="SN-1")["attributes"], {"site": "oslo"})
        with self.assertRaises(self.iot.exceptions.VersionConflictException):
            self.iot.update_thing(thingName="SN-1", attributePayload=payload, expectedVersion=thing["version"])

    def test_an_update_to_inactive_ends_the_session_and_can_be_undone(self):
        with Mqtt3(self.twin, self.pair, "SN-1"):
            self.iot.update_certificate(certificateId=self.id, newStatus="INACTIVE")
            until("closed", lambda: [e for e in self.twin.events("closed") if e["client"] == "SN-1"])
            self.assertEqual(self.status(), "INACTIVE")
            self.iot.update_certificate(certificateId=self.id, newStatus="ACTIVE")
        with Mqtt3(self.twin, self.pair, "SN-1"):
            self.assertEqual(self.status(), "ACTIVE")

    def test_a_certificate_goes_only_when_revoked_and_detached_from_everything(self):
        with self.assertRaises(self.iot.exceptions.CertificateStateException):
            self.iot.delete_certificate(certificateId=self.id)
        self.iot.update_certificate(certificateId=self.id, newStatus="REVOKED")
        with self.assertRaises(self.iot.exceptions.DeleteConflictException):
            self.iot.delete_certificate(certificateId=self.id)
        policies = self.iot.list_attached_policies(target=self.arn)["policies"]
        self.assertEqual([p["policyName"] for p in policies], ["certrot-device"])
        self.iot.detach_policy(policyName="certrot-device", target=self.arn)
        self.assertEqual(self.iot.list_attached_policies(target=self.arn)["policies"], [])
        self.iot.detach_thing_principal(thingName="SN-1", principal=self.arn)
        self.assertEqual(self.iot.list_thing_principals(thingName="SN-1")["principals"], [])
        self.iot.delete_certificate(certificateId=self.id)
        with self.assertRaises(self.iot.exceptions.ResourceNotFoundException):
            self.status()
        self.iot.delete_thing(thingName="SN-1")
        with self.assertRaises(self.iot.exceptions.ResourceNotFoundException):
            self.iot.describe_thing(thingName="SN-1")

    def test_attaching_gives_back_what_detaching_took(self):
        self.iot.detach_thing_principal(thingName="SN-1", principal=self.arn)
        self.iot.attach_thing_principal(thingName="SN-1", principal=self.arn)
        self.iot.detach_policy(policyName="certrot-device", target=self.arn)
        self.iot.attach_policy(policyName="certrot-device", target=self.arn)
        with Mqtt3(self.twin, self.pair, "SN-1"):
            self.assertEqual(self.iot.list_principal_things(principal=self.arn)["things"], ["SN-1"])

    def test_policies_are_made_read_and_replaced(self):
        document = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}'
        self.iot.create_policy(policyName="p", policyDocument=document)
        self.assertEqual(self.iot.get_policy(policyName="p")["policyDocument"], document)
        self.assertIn("p", [p["policyName"] for p in self.iot.list_policies()["policies"]])
        narrower = document.replace("Allow", "Deny")
        self.iot.create_policy_version(policyName="p", policyDocument=narrower, setAsDefault=True)
        self.assertEqual(self.iot.get_policy(policyName="p")["policyDocument"], narrower)
        with self.assertRaises(self.iot.exceptions.MalformedPolicyException):
            self.iot.create_policy(policyName="q", policyDocument="{}")

    def test_the_data_plane_publishes_to_a_device(self):
        from concurrent.futures import Future

        from awscrt.mqtt import QoS

        heard = Future()
        with Mqtt3(self.twin, self.pair, "SN-1") as device:
            subscribed, _ = device.client.subscribe(
                "device/SN-1/x", QoS.AT_LEAST_ONCE, lambda topic, payload, **_: heard.set_result(payload)
            )
            subscribed.result(LONG)
            self.data.publish(topic="device/SN-1/x", qos=1, payload=b"hello")
            self.assertEqual(heard.result(LONG), b"hello")
