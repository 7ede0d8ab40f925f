//! The queue for commits that the retire handler could not take.

use aws_sdk_sqs::types::QueueAttributeName;

use super::{Aws, found, gone_is_fine};
use crate::aws::error::CallError;
use crate::calls;
use crate::model::{Body, Seen};
use crate::names::TAG;

impl Aws {
    async fn queue_url(&self, name: &str) -> Result<Option<String>, CallError> {
        let asked =
            self.call(&calls::GET_QUEUE_URL, name, || self.sqs.get_queue_url().queue_name(name).send()).await;
        Ok(found(asked)?.and_then(|a| a.queue_url))
    }

    pub(super) async fn see_queue(&self, name: &str) -> Result<Option<Seen>, CallError> {
        let Some(url) = self.queue_url(name).await? else { return Ok(None) };
        let asked = self
            .call(&calls::GET_QUEUE_ATTRIBUTES, name, || {
                let ask = self.sqs.get_queue_attributes().queue_url(&url);
                ask.attribute_names(QueueAttributeName::MessageRetentionPeriod).send()
            })
            .await;
        // A queue that was deleted is named for up to a minute more.
        let Some(attributes) = found(asked)? else { return Ok(None) };
        let retention = attributes
            .attributes()
            .and_then(|a| a.get(&QueueAttributeName::MessageRetentionPeriod))
            .and_then(|v| v.parse().ok())
            .unwrap_or_default();
        let tags = self
            .call(&calls::LIST_QUEUE_TAGS, name, || self.sqs.list_queue_tags().queue_url(&url).send())
            .await?;
        let tagged = tags.tags().and_then(|t| t.get(TAG)).is_some_and(|v| v == self.fleet.as_str());
        Ok(Some(Seen::plain(Body::Queue { retention }, tagged)))
    }

    /// How many commits wait in the queue, about; `None` when there is no queue.
    pub async fn dead_letters_waiting(&self) -> Result<Option<u64>, CallError> {
        let name = self.fleet.dead_letters();
        let Some(url) = self.queue_url(&name).await? else { return Ok(None) };
        let attributes = self
            .call(&calls::GET_QUEUE_ATTRIBUTES, &name, || {
                let ask = self.sqs.get_queue_attributes().queue_url(&url);
                ask.attribute_names(QueueAttributeName::ApproximateNumberOfMessages).send()
            })
            .await?;
        let waiting =
            attributes.attributes().and_then(|a| a.get(&QueueAttributeName::ApproximateNumberOfMessages));
        Ok(waiting.and_then(|w| w.parse().ok()))
    }

    pub(super) async fn make_queue(&self, name: &str, want: &Body) -> Result<(), CallError> {
        let Body::Queue { retention } = want else { return Ok(()) };
        self.call(&calls::CREATE_QUEUE, name, || {
            self.sqs
                .create_queue()
                .queue_name(name)
                .attributes(QueueAttributeName::MessageRetentionPeriod, retention.to_string())
                .tags(TAG, self.fleet.as_str())
                .send()
        })
        .await
        .map(drop)
    }

    pub(super) async fn set_queue(&self, name: &str, want: &Body) -> Result<(), CallError> {
        let Body::Queue { retention } = want else { return Ok(()) };
        let Some(url) = self.queue_url(name).await? else { return self.make_queue(name, want).await };
        self.call(&calls::SET_QUEUE_ATTRIBUTES, name, || {
            let set = self.sqs.set_queue_attributes().queue_url(&url);
            set.attributes(QueueAttributeName::MessageRetentionPeriod, retention.to_string()).send()
        })
        .await
        .map(drop)
    }

    pub(super) async fn tag_queue(&self, name: &str) -> Result<(), CallError> {
        let Some(url) = self.queue_url(name).await? else { return Ok(()) };
        self.call(&calls::TAG_QUEUE, name, || {
            self.sqs.tag_queue().queue_url(&url).tags(TAG, self.fleet.as_str()).send()
        })
        .await
        .map(drop)
    }

    pub(super) async fn delete_queue(&self, name: &str) -> Result<(), CallError> {
        let Some(url) = self.queue_url(name).await? else { return Ok(()) };
        let sent =
            self.call(&calls::DELETE_QUEUE, name, || self.sqs.delete_queue().queue_url(&url).send()).await;
        gone_is_fine(sent.map(drop))
    }
}
