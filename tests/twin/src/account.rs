//! What the account holds from the start: the documents of `certrot-rules` under the contract's names, and a claim.
//!
//! With `Options::empty` it holds nothing, and whoever sets the fleet up does so over REST.

use std::collections::BTreeMap;

use certrot_rules::documents::{
    self, CLAIM_POLICY, CLAIM_TEMPLATE, COMMIT_RULE_SQL, DEVICE_POLICY, ROTATION_TEMPLATE, THING_GROUP,
    THING_TYPE, Values,
};
use serde_json::json;

use crate::ca::CaError;
use crate::cloud::{CLAIM_CERTIFICATE, CLAIM_KEY, Cloud, OpenError, registered};
use crate::files;
use crate::registry::control::{Hook, Rule, Template};
use crate::registry::kinds::Group;
use crate::registry::versions::Versions;
use crate::registry::{ACCOUNT, REGION, Registry, RegistryError, Status};

/// Makes what is missing.
pub fn set_up(cloud: &Cloud) -> Result<(), OpenError> {
    if cloud.options.empty {
        return Ok(());
    }
    let now_ms = cloud.clock.now_ms();
    let handler = cloud.options.commit_handler;
    cloud.change(|r| documents(r, handler, now_ms))?;
    let dir = &cloud.options.dir;
    if files::read(dir, CLAIM_CERTIFICATE)?.is_some() {
        return Ok(());
    }
    let key = rcgen::KeyPair::generate()
        .map_err(|e| CaError::Crypto { what: "the claim key", source: Box::new(e) })?;
    let minted = cloud.ca.sign(&key, now_ms / 1000, cloud.options.backdate, None)?;
    files::write(dir, CLAIM_KEY, 0o600, key.serialize_pem().as_bytes())?;
    files::write(dir, CLAIM_CERTIFICATE, 0o644, minted.pem.as_bytes())?;
    cloud.change(|r| -> Result<(), RegistryError> {
        r.certificates.insert(minted.id.clone(), registered(&minted, Status::Active, now_ms));
        r.attach_policy(CLAIM_POLICY, &minted.id, 0)
    })?;
    Ok(())
}

/// The ARN of a function in the twin's account.
pub fn function_arn(name: &str) -> String {
    format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}")
}

/// The name in a function's ARN, without version or alias.
pub fn function_name(arn: &str) -> &str {
    let name = arn.split_once(":function:").map_or(arn, |(_, name)| name);
    name.split(':').next().unwrap_or(name)
}

/// The function behind the claim template from the start.
pub const CLAIM_HOOK: &str = "certrot-claim-hook";
/// The function behind the rotation template from the start.
pub const ROTATE_HOOK: &str = "certrot-rotate-hook";
/// The function behind the commit topic from the start.
pub const RETIRE: &str = "certrot-retire";
/// The rule on the commit topic from the start.
const RULE: &str = "certrot_retire";

fn documents(r: &mut Registry, handler: bool, now_ms: i64) -> Result<(), RegistryError> {
    let values = Values::new(REGION, ACCOUNT);
    r.put_policy(CLAIM_POLICY, &documents::claim_policy(&values), now_ms);
    r.put_policy(DEVICE_POLICY, &documents::device_policy(&values), now_ms);
    if !r.types.contains_key(THING_TYPE) {
        r.create_type(THING_TYPE, None, vec![], now_ms)?;
    }
    if !r.groups.contains_key(THING_GROUP) {
        let group = Group {
            id: String::new(),
            description: None,
            attributes: BTreeMap::new(),
            parent: None,
            created_ms: now_ms,
        };
        r.create_group(THING_GROUP, group)?;
    }
    for (name, hook, body) in [
        (CLAIM_TEMPLATE, CLAIM_HOOK, documents::claim_template(&values)),
        (ROTATION_TEMPLATE, ROTATE_HOOK, documents::rotation_template(&values)),
    ] {
        let template = Template {
            versions: Versions::new(&body, now_ms),
            description: String::new(),
            enabled: true,
            role: format!("arn:aws:iam::{ACCOUNT}:role/certrot-provisioning"),
            hook: Some(Hook {
                payload_version: Some("2020-04-01".to_owned()),
                target_arn: function_arn(hook),
            }),
            kind: "FLEET_PROVISIONING".to_owned(),
            created_ms: now_ms,
            modified_ms: now_ms,
        };
        r.templates.entry(name.to_owned()).or_insert(template);
    }
    if handler {
        let payload = json!({
            "sql": COMMIT_RULE_SQL,
            "awsIotSqlVersion": "2016-03-23",
            "ruleDisabled": false,
            "actions": [{ "lambda": { "functionArn": function_arn(RETIRE) } }],
        });
        r.rules.entry(RULE.to_owned()).or_insert(Rule { payload, created_ms: now_ms });
    } else {
        r.rules.remove(RULE);
    }
    Ok(())
}
