//! The list of AWS calls that this tool makes: one source for what is sent, for what an operator must be allowed, and
//! for the words of a refusal.
//!
//! A call that is not in this list cannot be made (`aws::Aws::call` takes an entry), so the operator's minimal policy
//! (`operator.rs`) can never lag behind.

use crate::names::{Fleet, Place};

/// One call of one service.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name as AWS writes it: `iot:CreatePolicy`.
    pub name: &'static str,
    /// The permissions that it needs, where those are not its name.
    pub needs: &'static [&'static str],
    /// What it is allowed on.
    pub on: On,
}

impl Call {
    /// The permissions that it needs.
    pub fn actions(&self) -> Vec<&'static str> {
        if self.needs.is_empty() { vec![self.name] } else { self.needs.to_vec() }
    }
}

/// The resources that calls are allowed on, each as narrow as AWS lets it be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    /// Calls that know no resource (AWS's service authorization reference).
    Anything,
    /// The fleet's thing type and group.
    Types,
    /// Things and certificates: their names are the devices'.
    Devices,
    /// The fleet's IoT policies.
    Policies,
    /// The fleet's provisioning templates.
    Templates,
    /// The fleet's topic rule.
    Rule,
    /// The fleet's roles.
    Roles,
    /// The fleet's functions.
    Functions,
    /// The fleet's queue.
    Queue,
    /// The log groups of the fleet's functions.
    Logs,
    /// Listing log groups, which is allowed on all of them or not at all.
    AllLogs,
    /// Nothing needs to be allowed.
    Free,
}

impl On {
    /// The resources of a statement.
    pub fn resources(self, fleet: &Fleet, place: &Place) -> Vec<String> {
        let name = fleet.as_str();
        let iot = |r: String| place.arn("iot", &r);
        match self {
            On::Free => vec![],
            On::Anything => vec!["*".to_owned()],
            On::Types => vec![iot(format!("thingtype/{name}")), iot(format!("thinggroup/{name}"))],
            On::Devices => vec![iot("thing/*".to_owned()), iot("cert/*".to_owned())],
            On::Policies => vec![iot(format!("policy/{name}-*"))],
            On::Templates => vec![iot(format!("provisioningtemplate/{name}-*"))],
            On::Rule => vec![iot(format!("rule/{}", fleet.rule()))],
            On::Roles => vec![place.role_arn(&format!("{name}-*"))],
            On::Functions => vec![place.arn("lambda", &format!("function:{name}-*"))],
            On::Queue => vec![place.arn("sqs", &fleet.dead_letters())],
            On::Logs => vec![
                place.arn("logs", &format!("log-group:{}-*", Fleet::log_group(name))),
                place.arn("logs", &format!("log-group:{}-*:*", Fleet::log_group(name))),
            ],
            On::AllLogs => vec![place.arn("logs", "log-group:*")],
        }
    }
}

macro_rules! calls {
    ($($on:ident { $($constant:ident = $name:literal $(needs [$($needs:literal),+])?;)+ })+) => {
        $($(
            #[doc = concat!("`", $name, "`.")]
            pub const $constant: Call = Call { name: $name, needs: &[$($($needs),+)?], on: On::$on };
        )+)+

        /// Every call.
        pub const ALL: &[Call] = &[$($($constant),+),+];
    };
}

calls! {
    Free {
        GET_CALLER_IDENTITY = "sts:GetCallerIdentity";
    }
    Anything {
        DESCRIBE_ENDPOINT = "iot:DescribeEndpoint";
        LIST_POLICIES = "iot:ListPolicies";
        LIST_CERTIFICATES = "iot:ListCertificates";
        LIST_THINGS = "iot:ListThings";
        LIST_PRINCIPAL_THINGS = "iot:ListPrincipalThings";
        LIST_ATTACHED_POLICIES = "iot:ListAttachedPolicies";
        ATTACH_THING_PRINCIPAL = "iot:AttachThingPrincipal";
        DETACH_THING_PRINCIPAL = "iot:DetachThingPrincipal";
        CREATE_CERTIFICATE = "iot:CreateCertificateFromCsr";
        REGISTER_CERTIFICATE = "iot:RegisterCertificateWithoutCA";
    }
    Types {
        DESCRIBE_THING_TYPE = "iot:DescribeThingType";
        CREATE_THING_TYPE = "iot:CreateThingType" needs ["iot:CreateThingType", "iot:TagResource"];
        DEPRECATE_THING_TYPE = "iot:DeprecateThingType";
        DELETE_THING_TYPE = "iot:DeleteThingType";
        DESCRIBE_THING_GROUP = "iot:DescribeThingGroup";
        CREATE_THING_GROUP = "iot:CreateThingGroup" needs ["iot:CreateThingGroup", "iot:TagResource"];
        DELETE_THING_GROUP = "iot:DeleteThingGroup";
        LIST_TYPE_TAGS = "iot:ListTagsForResource";
        TAG_TYPE = "iot:TagResource";
    }
    Devices {
        DESCRIBE_THING = "iot:DescribeThing";
        CREATE_THING = "iot:CreateThing";
        UPDATE_THING = "iot:UpdateThing";
        DELETE_THING = "iot:DeleteThing";
        LIST_THING_PRINCIPALS = "iot:ListThingPrincipals";
        DESCRIBE_CERTIFICATE = "iot:DescribeCertificate";
        UPDATE_CERTIFICATE = "iot:UpdateCertificate";
        DELETE_CERTIFICATE = "iot:DeleteCertificate";
        ATTACH_POLICY = "iot:AttachPolicy";
        DETACH_POLICY = "iot:DetachPolicy";
        TEST_AUTHORIZATION = "iot:TestAuthorization";
    }
    Policies {
        GET_POLICY = "iot:GetPolicy";
        CREATE_POLICY = "iot:CreatePolicy" needs ["iot:CreatePolicy", "iot:TagResource"];
        DELETE_POLICY = "iot:DeletePolicy";
        LIST_POLICY_VERSIONS = "iot:ListPolicyVersions";
        GET_POLICY_VERSION = "iot:GetPolicyVersion";
        CREATE_POLICY_VERSION = "iot:CreatePolicyVersion";
        SET_POLICY_VERSION = "iot:SetDefaultPolicyVersion";
        DELETE_POLICY_VERSION = "iot:DeletePolicyVersion";
        LIST_TARGETS = "iot:ListTargetsForPolicy";
        LIST_POLICY_TAGS = "iot:ListTagsForResource";
        TAG_POLICY = "iot:TagResource";
        UNTAG_POLICY = "iot:UntagResource";
    }
    Templates {
        DESCRIBE_TEMPLATE = "iot:DescribeProvisioningTemplate";
        CREATE_TEMPLATE = "iot:CreateProvisioningTemplate"
            needs ["iot:CreateProvisioningTemplate", "iot:TagResource"];
        UPDATE_TEMPLATE = "iot:UpdateProvisioningTemplate";
        DELETE_TEMPLATE = "iot:DeleteProvisioningTemplate";
        LIST_TEMPLATE_VERSIONS = "iot:ListProvisioningTemplateVersions";
        DESCRIBE_TEMPLATE_VERSION = "iot:DescribeProvisioningTemplateVersion";
        CREATE_TEMPLATE_VERSION = "iot:CreateProvisioningTemplateVersion";
        DELETE_TEMPLATE_VERSION = "iot:DeleteProvisioningTemplateVersion";
        LIST_TEMPLATE_TAGS = "iot:ListTagsForResource";
        TAG_TEMPLATE = "iot:TagResource";
    }
    Rule {
        GET_RULE = "iot:GetTopicRule";
        CREATE_RULE = "iot:CreateTopicRule" needs ["iot:CreateTopicRule", "iot:TagResource"];
        REPLACE_RULE = "iot:ReplaceTopicRule";
        DELETE_RULE = "iot:DeleteTopicRule";
        LIST_RULE_TAGS = "iot:ListTagsForResource";
        TAG_RULE = "iot:TagResource";
    }
    Roles {
        GET_ROLE = "iam:GetRole";
        CREATE_ROLE = "iam:CreateRole" needs ["iam:CreateRole", "iam:TagRole"];
        DELETE_ROLE = "iam:DeleteRole";
        UPDATE_TRUST = "iam:UpdateAssumeRolePolicy";
        LIST_ROLE_POLICIES = "iam:ListRolePolicies";
        GET_ROLE_POLICY = "iam:GetRolePolicy";
        PUT_ROLE_POLICY = "iam:PutRolePolicy";
        DELETE_ROLE_POLICY = "iam:DeleteRolePolicy";
        LIST_ATTACHED_ROLE_POLICIES = "iam:ListAttachedRolePolicies";
        ATTACH_ROLE_POLICY = "iam:AttachRolePolicy";
        DETACH_ROLE_POLICY = "iam:DetachRolePolicy";
        TAG_ROLE = "iam:TagRole";
        PASS_ROLE = "iam:PassRole"; // never sent: CreateFunction and CreateProvisioningTemplate ask for it
    }
    Functions {
        GET_FUNCTION = "lambda:GetFunction";
        CREATE_FUNCTION = "lambda:CreateFunction" needs ["lambda:CreateFunction", "lambda:TagResource"];
        UPDATE_CODE = "lambda:UpdateFunctionCode";
        UPDATE_CONFIGURATION = "lambda:UpdateFunctionConfiguration";
        PUT_CONCURRENCY = "lambda:PutFunctionConcurrency";
        DELETE_CONCURRENCY = "lambda:DeleteFunctionConcurrency";
        DELETE_FUNCTION = "lambda:DeleteFunction";
        GET_FUNCTION_POLICY = "lambda:GetPolicy";
        ADD_PERMISSION = "lambda:AddPermission";
        REMOVE_PERMISSION = "lambda:RemovePermission";
        TAG_FUNCTION = "lambda:TagResource";
    }
    Queue {
        GET_QUEUE_URL = "sqs:GetQueueUrl";
        GET_QUEUE_ATTRIBUTES = "sqs:GetQueueAttributes";
        SET_QUEUE_ATTRIBUTES = "sqs:SetQueueAttributes";
        CREATE_QUEUE = "sqs:CreateQueue" needs ["sqs:CreateQueue", "sqs:TagQueue"];
        DELETE_QUEUE = "sqs:DeleteQueue";
        LIST_QUEUE_TAGS = "sqs:ListQueueTags";
        TAG_QUEUE = "sqs:TagQueue";
    }
    AllLogs {
        DESCRIBE_LOG_GROUPS = "logs:DescribeLogGroups";
    }
    Logs {
        CREATE_LOG_GROUP = "logs:CreateLogGroup" needs ["logs:CreateLogGroup", "logs:TagResource"];
        PUT_RETENTION = "logs:PutRetentionPolicy";
        DELETE_LOG_GROUP = "logs:DeleteLogGroup";
        LIST_LOG_TAGS = "logs:ListTagsForResource";
        FILTER_LOGS = "logs:FilterLogEvents";
        TAG_LOG_GROUP = "logs:TagResource";
    }
}
