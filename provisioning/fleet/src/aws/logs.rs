//! Log groups of the functions: made by this tool, so that they end after a time and go with the fleet.

use jiff::Timestamp;

use super::{Aws, found, gone_is_fine};
use crate::aws::error::{CallError, Refusal};
use crate::calls;
use crate::model::{Body, Seen};
use crate::names::{Fleet, TAG};

impl Aws {
    pub(super) async fn see_log_group(&self, name: &str) -> Result<Option<Seen>, CallError> {
        let mut token = None;
        let group = loop {
            let page = self
                .call(&calls::DESCRIBE_LOG_GROUPS, name, || {
                    self.logs
                        .describe_log_groups()
                        .log_group_name_prefix(name)
                        .set_next_token(token.clone())
                        .send()
                })
                .await?;
            if let Some(group) = page.log_groups().iter().find(|g| g.log_group_name() == Some(name)) {
                break group.clone();
            }
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(None);
            }
        };
        let arn = self.log_arn(name);
        let tags = self
            .call(&calls::LIST_LOG_TAGS, name, || {
                self.logs.list_tags_for_resource().resource_arn(&arn).send()
            })
            .await?;
        let tagged = tags.tags().and_then(|t| t.get(TAG)).is_some_and(|v| v == self.fleet.as_str());
        Ok(Some(Seen::plain(Body::LogGroup { retention: group.retention_in_days() }, tagged)))
    }

    pub(super) async fn make_log_group(&self, name: &str, want: &Body) -> Result<(), CallError> {
        let sent = self
            .call(&calls::CREATE_LOG_GROUP, name, || {
                self.logs.create_log_group().log_group_name(name).tags(TAG, self.fleet.as_str()).send()
            })
            .await;
        match sent {
            // Lambda may have made it at the function's first call.
            Err(error) if error.refusal == Refusal::Exists => self.tag_log_group(name).await?,
            other => other.map(drop)?,
        }
        self.set_log_group(name, want).await
    }

    pub(super) async fn set_log_group(&self, name: &str, want: &Body) -> Result<(), CallError> {
        let Body::LogGroup { retention: Some(days) } = want else { return Ok(()) };
        self.call(&calls::PUT_RETENTION, name, || {
            self.logs.put_retention_policy().log_group_name(name).retention_in_days(*days).send()
        })
        .await
        .map(drop)
    }

    pub(super) async fn tag_log_group(&self, name: &str) -> Result<(), CallError> {
        let arn = self.log_arn(name);
        self.call(&calls::TAG_LOG_GROUP, name, || {
            self.logs.tag_resource().resource_arn(&arn).tags(TAG, self.fleet.as_str()).send()
        })
        .await
        .map(drop)
    }

    /// The first line of a function's log, since a time, that holds a word; `None` when there is none (yet).
    pub async fn log_line(
        &self,
        function: &str,
        word: &str,
        since: Timestamp,
    ) -> Result<Option<String>, CallError> {
        let group = Fleet::log_group(function);
        let mut token = None;
        loop {
            let asked = self
                .call(&calls::FILTER_LOGS, &group, || {
                    let filter = self.logs.filter_log_events().log_group_name(&group);
                    let filter =
                        filter.filter_pattern(format!("\"{word}\"")).start_time(since.as_millisecond());
                    filter.set_next_token(token.clone()).send()
                })
                .await;
            let Some(page) = found(asked)? else { return Ok(None) };
            if let Some(line) = page.events().iter().find_map(|e| e.message()) {
                return Ok(Some(line.to_owned()));
            }
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(None);
            }
        }
    }

    pub(super) async fn delete_log_group(&self, name: &str) -> Result<(), CallError> {
        let sent = self
            .call(&calls::DELETE_LOG_GROUP, name, || self.logs.delete_log_group().log_group_name(name).send())
            .await;
        gone_is_fine(sent.map(drop))
    }

    fn log_arn(&self, name: &str) -> String {
        self.place.arn("logs", &format!("log-group:{name}"))
    }
}
