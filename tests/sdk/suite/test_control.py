"""boto3's `iot` client against the control plane: what the fleet tool makes, changes and takes away."""

import json
import unittest

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from .lab import LONG, Twin, csr

DOCUMENT = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}'
BODY = json.dumps(
    {
        "Parameters": {"SerialNumber": {"Type": "String"}, "AWS::IoT::Certificate::Id": {"Type": "String"}},
        "Resources": {
            "certificate": {
                "Type": "AWS::IoT::Certificate",
                "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"},
            },
            "thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "SerialNumber"}}},
        },
    }
)
ROLE = "arn:aws:iam::123456789012:role/r"
HOOK = {"payloadVersion": "2020-04-01", "targetArn": "arn:aws:lambda:eu-west-1:123456789012:function:f-claim-hook"}
TAGS = [{"Key": "certrot-fleet", "Value": "lab"}]


class Control(unittest.TestCase):
    """One empty account for each test."""

    def setUp(self):
        self.twin = Twin("--empty")
        self.addCleanup(self.twin.stop)
        self.iot = boto3.client(
            "iot",
            endpoint_url=f"http://127.0.0.1:{self.twin.api_port}",
            region_name="eu-west-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=LONG),
        )

    def refused(self, code, call, **words):
        """The call must fail with this code; gives the HTTP status."""
        with self.assertRaises(ClientError) as caught:
            call(**words)
        self.assertEqual(caught.exception.response["Error"]["Code"], code)
        return caught.exception.response["ResponseMetadata"]["HTTPStatusCode"]

    def certificate(self, active=True):
        return self.iot.create_certificate_from_csr(certificateSigningRequest=csr()[1], setAsActive=active)

    def tags(self, arn):
        return self.iot.list_tags_for_resource(resourceArn=arn)["tags"]

    def test_an_empty_account_is_empty(self):
        for call, key in [
            (self.iot.list_policies, "policies"),
            (self.iot.list_provisioning_templates, "templates"),
            (self.iot.list_topic_rules, "rules"),
            (self.iot.list_thing_types, "thingTypes"),
            (self.iot.list_thing_groups, "thingGroups"),
            (self.iot.list_certificates, "certificates"),
            (self.iot.list_things, "things"),
        ]:
            self.assertEqual(call()[key], [])

    def test_a_policy_has_five_versions_and_goes_when_nothing_rests_on_it(self):
        made = self.iot.create_policy(policyName="p", policyDocument=DOCUMENT, tags=TAGS)
        self.assertEqual(self.tags(made["policyArn"]), TAGS)
        self.assertEqual(self.refused("ResourceAlreadyExistsException", self.iot.create_policy, policyName="p", policyDocument=DOCUMENT), 409)
        narrower = DOCUMENT.replace("Allow", "Deny")
        for n in range(2, 6):
            added = self.iot.create_policy_version(policyName="p", policyDocument=narrower, setAsDefault=n == 2)
            self.assertEqual((added["policyVersionId"], added["isDefaultVersion"]), (str(n), n == 2))
        self.refused("VersionsLimitExceededException", self.iot.create_policy_version, policyName="p", policyDocument=DOCUMENT)
        self.assertEqual(self.iot.get_policy(policyName="p")["policyDocument"], narrower)
        self.refused("DeleteConflictException", self.iot.delete_policy_version, policyName="p", policyVersionId="2")
        self.iot.set_default_policy_version(policyName="p", policyVersionId="1")
        self.assertEqual(self.iot.get_policy(policyName="p")["defaultVersionId"], "1")
        first = self.iot.get_policy_version(policyName="p", policyVersionId="1")
        self.assertEqual((first["policyDocument"], first["isDefaultVersion"]), (DOCUMENT, True))
        self.refused("DeleteConflictException", self.iot.delete_policy, policyName="p")
        for n in range(2, 6):
            self.iot.delete_policy_version(policyName="p", policyVersionId=str(n))
        versions = self.iot.list_policy_versions(policyName="p")["policyVersions"]
        self.assertEqual([(v["versionId"], v["isDefaultVersion"]) for v in versions], [("1", True)])
        arn = self.certificate()["certificateArn"]
        self.iot.attach_policy(policyName="p", target=arn)
        self.assertEqual(self.iot.list_targets_for_policy(policyName="p")["targets"], [arn])
        self.refused("DeleteConflictException", self.iot.delete_policy, policyName="p")
        self.iot.detach_policy(policyName="p", target=arn)
        self.iot.delete_policy(policyName="p")
        self.refused("ResourceNotFoundException", self.iot.delete_policy, policyName="p")

    def test_a_policy_beyond_2048_characters_is_malformed_and_blanks_do_not_count(self):
        long = json.loads(DOCUMENT)
        long["Statement"][0]["Resource"] = ["x" * 1900]
        self.iot.create_policy(policyName="p", policyDocument=json.dumps(long, indent=40))
        long["Statement"][0]["Resource"] = ["x" * 2048]
        self.refused("MalformedPolicyException", self.iot.create_policy, policyName="q", policyDocument=json.dumps(long))

    def test_a_template_is_made_changed_versioned_and_taken_away(self):
        made = self.iot.create_provisioning_template(
            templateName="t", description="d", templateBody=BODY, enabled=True, provisioningRoleArn=ROLE,
            preProvisioningHook=HOOK, tags=TAGS, type="FLEET_PROVISIONING",
        )
        self.assertEqual(made["defaultVersionId"], 1)
        self.assertEqual(self.tags(made["templateArn"]), TAGS)
        seen = self.iot.describe_provisioning_template(templateName="t")
        self.assertEqual(
            (seen["templateBody"], seen["enabled"], seen["provisioningRoleArn"], seen["preProvisioningHook"], seen["type"]),
            (BODY, True, ROLE, HOOK, "FLEET_PROVISIONING"),
        )
        self.refused(
            "ResourceAlreadyExistsException", self.iot.create_provisioning_template,
            templateName="t", templateBody=BODY, provisioningRoleArn=ROLE,
        )
        self.refused(
            "InvalidRequestException", self.iot.create_provisioning_template,
            templateName="u", templateBody=BODY + " " * 10_240, provisioningRoleArn=ROLE,
        )
        added = self.iot.create_provisioning_template_version(templateName="t", templateBody=BODY + " ", setAsDefault=True)
        self.assertEqual((added["versionId"], added["isDefaultVersion"]), (2, True))
        self.assertEqual(self.iot.describe_provisioning_template(templateName="t")["templateBody"], BODY + " ")
        self.iot.update_provisioning_template(templateName="t", defaultVersionId=1, enabled=False, removePreProvisioningHook=True)
        seen = self.iot.describe_provisioning_template(templateName="t")
        self.assertEqual((seen["defaultVersionId"], seen["enabled"], seen.get("preProvisioningHook")), (1, False, None))
        self.assertEqual(seen["description"], "d")
        versions = self.iot.list_provisioning_template_versions(templateName="t")["versions"]
        self.assertEqual([(v["versionId"], v["isDefaultVersion"]) for v in versions], [(1, True), (2, False)])
        second = self.iot.describe_provisioning_template_version(templateName="t", versionId=2)
        self.assertEqual(second["templateBody"], BODY + " ")
        self.refused("DeleteConflictException", self.iot.delete_provisioning_template_version, templateName="t", versionId=1)
        self.iot.delete_provisioning_template_version(templateName="t", versionId=2)
        self.iot.delete_provisioning_template(templateName="t")
        self.refused("ResourceNotFoundException", self.iot.describe_provisioning_template, templateName="t")

    def test_a_rule_is_made_replaced_switched_and_taken_away(self):
        action = {"lambda": {"functionArn": "arn:aws:lambda:eu-west-1:123456789012:function:f-retire"}}
        payload = dict(
            sql="SELECT certificateId, principal() AS principal FROM 'device/+/certrot/commit'",
            actions=[action], awsIotSqlVersion="2016-03-23", ruleDisabled=False, description="d",
        )
        self.assertEqual(self.refused("UnauthorizedException", self.iot.get_topic_rule, ruleName="r"), 401)
        self.iot.create_topic_rule(ruleName="r", topicRulePayload=payload, tags="certrot-fleet=lab&x=a%20b")
        seen = self.iot.get_topic_rule(ruleName="r")
        self.assertEqual((seen["rule"]["sql"], seen["rule"]["actions"]), (payload["sql"], [action]))
        self.assertEqual(self.tags(seen["ruleArn"]), TAGS + [{"Key": "x", "Value": "a b"}])
        listed = self.iot.list_topic_rules()["rules"]
        self.assertEqual([(r["ruleName"], r["topicPattern"]) for r in listed], [("r", "device/+/certrot/commit")])
        self.iot.replace_topic_rule(ruleName="r", topicRulePayload=dict(payload, ruleDisabled=True))
        self.assertTrue(self.iot.get_topic_rule(ruleName="r")["rule"]["ruleDisabled"])
        self.refused("SqlParseException", self.iot.create_topic_rule, ruleName="s", topicRulePayload=dict(payload, sql="SELECT"))
        self.refused("ResourceAlreadyExistsException", self.iot.create_topic_rule, ruleName="r", topicRulePayload=payload)
        self.iot.delete_topic_rule(ruleName="r")
        self.refused("UnauthorizedException", self.iot.get_topic_rule, ruleName="r")

    def test_groups_and_types_sort_things(self):
        self.iot.create_thing_type(thingTypeName="k", tags=TAGS)
        group = self.iot.create_thing_group(thingGroupName="g", tags=TAGS)
        self.assertEqual(self.tags(group["thingGroupArn"]), TAGS)
        self.iot.create_thing(thingName="a", thingTypeName="k", attributePayload={"attributes": {str(n): "x" for n in range(9)}})
        self.iot.create_thing(thingName="b")
        self.refused("ResourceNotFoundException", self.iot.create_thing, thingName="c", thingTypeName="none")
        self.assertEqual([t["thingName"] for t in self.iot.list_things(thingTypeName="k")["things"]], ["a"])
        self.iot.add_thing_to_thing_group(thingGroupName="g", thingName="a")
        self.assertEqual(self.iot.list_things_in_thing_group(thingGroupName="g")["things"], ["a"])
        groups = self.iot.list_thing_groups_for_thing(thingName="a")["thingGroups"]
        self.assertEqual([g["groupName"] for g in groups], ["g"])
        self.iot.remove_thing_from_thing_group(thingGroupName="g", thingName="a")
        self.assertEqual(self.iot.list_things_in_thing_group(thingGroupName="g")["things"], [])
        self.assertEqual(self.iot.describe_thing_group(thingGroupName="g")["thingGroupName"], "g")
        self.iot.delete_thing_group(thingGroupName="g")
        self.refused("ResourceNotFoundException", self.iot.describe_thing_group, thingGroupName="g")
        self.iot.deprecate_thing_type(thingTypeName="k")
        self.assertTrue(self.iot.describe_thing_type(thingTypeName="k")["thingTypeMetadata"]["deprecated"])
        self.refused("InvalidRequestException", self.iot.delete_thing_type, thingTypeName="k")
        self.twin.order("POST", "time", {"advanceMs": 300_000})
        self.refused("InvalidRequestException", self.iot.delete_thing_type, thingTypeName="k")
        self.iot.update_thing(thingName="a", removeThingType=True, attributePayload={"attributes": {}})
        self.iot.delete_thing_type(thingTypeName="k")
        self.assertEqual(self.iot.list_thing_types()["thingTypes"], [])

    def test_tags_come_and_go_and_not_on_everything(self):
        arn = self.iot.create_policy(policyName="p", policyDocument=DOCUMENT)["policyArn"]
        self.iot.tag_resource(resourceArn=arn, tags=TAGS + [{"Key": "x", "Value": "1"}])
        self.iot.untag_resource(resourceArn=arn, tagKeys=["x", "y"])
        self.assertEqual(self.tags(arn), TAGS)
        self.refused("ResourceNotFoundException", self.iot.tag_resource, resourceArn=arn + "x", tags=TAGS)
        self.refused("InvalidRequestException", self.iot.tag_resource, resourceArn=self.certificate()["certificateArn"], tags=TAGS)
        self.iot.delete_policy(policyName="p")
        self.iot.create_policy(policyName="p", policyDocument=DOCUMENT)
        self.assertEqual(self.tags(arn), [], "tags go with what they were on")

    def test_authorization_is_tried_with_the_broker_s_own_engine(self):
        deny = {"Effect": "Deny", "Action": "iot:Publish", "Resource": "*"}
        allow = {"Effect": "Allow", "Action": ["iot:Connect", "iot:Publish"], "Resource": "arn:aws:iot:eu-west-1:123456789012:*/${iot:Connection.Thing.ThingName}"}
        for name, statement in [("allow", allow), ("deny", deny)]:
            self.iot.create_policy(policyName=name, policyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
        arn = self.certificate()["certificateArn"]
        self.iot.create_thing(thingName="T")
        self.iot.attach_thing_principal(thingName="T", principal=arn)
        self.iot.attach_policy(policyName="allow", target=arn)

        def tried(action, resource, client="T", **words):
            info = {"actionType": action, "resources": [f"arn:aws:iot:eu-west-1:123456789012:{resource}"]}
            found = self.iot.test_authorization(principal=arn, clientId=client, authInfos=[info], **words)
            return found["authResults"][0]

        good = tried("CONNECT", "client/T")
        self.assertEqual(good["authDecision"], "ALLOWED")
        self.assertEqual([p["policyName"] for p in good["allowed"]["policies"]], ["allow"])
        self.assertEqual(tried("CONNECT", "client/T", client="U")["authDecision"], "IMPLICIT_DENY")
        self.assertEqual(tried("CONNECT", "client/T", policyNamesToSkip=["allow"])["authDecision"], "IMPLICIT_DENY")
        bad = tried("PUBLISH", "topic/T", policyNamesToAdd=["deny"])
        self.assertEqual(bad["authDecision"], "EXPLICIT_DENY")
        self.assertEqual([p["policyName"] for p in bad["denied"]["explicitDeny"]["policies"]], ["deny"])

    def test_certificates_are_listed_newest_first_or_oldest_first_in_pages(self):
        made = []
        for _ in range(3):
            made.append(self.certificate(active=False)["certificateId"])
            self.twin.order("POST", "time", {"advanceMs": 1000})
        pages = list(self.iot.get_paginator("list_certificates").paginate(PaginationConfig={"PageSize": 2}))
        self.assertEqual([c["certificateId"] for page in pages for c in page["certificates"]], made[::-1])
        listed = self.iot.list_certificates(ascendingOrder=True)["certificates"]
        self.assertEqual([(c["certificateId"], c["status"]) for c in listed], [(id, "INACTIVE") for id in made])

    def test_faults_hit_one_operation_or_the_nth_call_and_every_call_is_in_the_events(self):
        self.twin.order("POST", "faults", {"on": "api:ListPolicies", "effect": "throttle", "times": 1})
        self.refused("ThrottlingException", self.iot.list_policies)
        denied = {"refuse": {"statusCode": 403, "errorCode": "AccessDeniedException"}}
        self.twin.order("POST", "faults", {"on": "api:*", "effect": denied, "times": 1, "skip": 1})
        self.iot.list_things()
        with self.assertRaises(ClientError) as caught:
            self.iot.list_policies()
        self.assertIn("not authorized to perform: iot:ListPolicies", str(caught.exception))
        calls = [(e["operation"], e["status"], e["error"]) for e in self.twin.events("api")]
        self.assertEqual(
            calls,
            [
                ("ListPolicies", 400, "ThrottlingException"),
                ("ListThings", 200, None),
                ("ListPolicies", 403, "AccessDeniedException"),
            ],
        )
