//! The topic rule that hands commits to the retire handler.

use aws_sdk_iot::types::{Action, LambdaAction, TopicRulePayload};

use super::{Aws, found, gone_is_fine};
use crate::aws::error::CallError;
use crate::calls;
use crate::model::{Body, Id, Kind, Seen};

impl Aws {
    pub(super) async fn see_rule(&self, name: &str) -> Result<Option<Seen>, CallError> {
        let asked =
            self.call(&calls::GET_RULE, name, || self.iot.get_topic_rule().rule_name(name).send()).await;
        // AWS answers “unauthorized” for a rule that is not there (API reference, GetTopicRule): told apart by the
        // list of rules it would cost another permission; a rule that is there and may not be read fails at its making.
        let rule = match found(asked) {
            Err(error) if error.code.contains("Unauthorized") => return Ok(None),
            other => match other?.and_then(|a| a.rule) {
                Some(rule) => rule,
                None => return Ok(None),
            },
        };
        let functions: Vec<&str> =
            rule.actions().iter().filter_map(|a| a.lambda()).map(LambdaAction::function_arn).collect();
        let alone = rule.actions().len() == 1;
        let tagged =
            self.is_tagged(&calls::LIST_RULE_TAGS, &self.iot_arn(&Id::new(Kind::Rule, name))).await?;
        let body = Body::Rule {
            sql: rule.sql().unwrap_or_default().to_owned(),
            version: rule.aws_iot_sql_version().unwrap_or_default().to_owned(),
            function: functions.first().filter(|_| alone).map(|f| (*f).to_owned()),
            enabled: !rule.rule_disabled().unwrap_or_default(),
        };
        Ok(Some(Seen::plain(body, tagged)))
    }

    pub(super) async fn make_rule(&self, name: &str, want: &Body) -> Result<(), CallError> {
        let Some(payload) = payload(want) else { return Ok(()) };
        let tags = format!("{}={}", crate::names::TAG, self.fleet);
        self.call(&calls::CREATE_RULE, name, || {
            let make = self.iot.create_topic_rule().rule_name(name).tags(&tags);
            make.topic_rule_payload(payload.clone()).send()
        })
        .await
        .map(drop)
    }

    pub(super) async fn set_rule(&self, name: &str, want: &Body) -> Result<(), CallError> {
        let Some(payload) = payload(want) else { return Ok(()) };
        self.call(&calls::REPLACE_RULE, name, || {
            self.iot.replace_topic_rule().rule_name(name).topic_rule_payload(payload.clone()).send()
        })
        .await
        .map(drop)
    }

    pub(super) async fn delete_rule(&self, name: &str) -> Result<(), CallError> {
        let sent = self
            .call(&calls::DELETE_RULE, name, || self.iot.delete_topic_rule().rule_name(name).send())
            .await;
        gone_is_fine(sent.map(drop))
    }
}

fn payload(want: &Body) -> Option<TopicRulePayload> {
    let Body::Rule { sql, version, function: Some(function), enabled } = want else { return None };
    let lambda = LambdaAction::builder().function_arn(function).build().ok()?;
    TopicRulePayload::builder()
        .sql(sql)
        .aws_iot_sql_version(version)
        .rule_disabled(!enabled)
        .description("certrotd: commits of new certificates to the retire handler")
        .actions(Action::builder().lambda(lambda).build())
        .build()
        .ok()
}
