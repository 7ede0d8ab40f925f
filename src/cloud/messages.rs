//! Messages of applications on one connection: handed over without waiting, answered by events under their number.
//!
//! Nothing is kept here: what has no answer when the connection ends is whoever handed it over's to send again on the
//! next one (rule 9). Requests and commits never go this way, so no later session can replay them (rule 10). Sizes
//! and topics have been checked before: what breaks a limit of AWS would cost the connection.

use bytes::Bytes;
use rumqttc::{PublishOptions, QoS, SubscribeFilter, SubscribeNoticeError, SubscribeReasonCode};

use super::error::NotTaken;
use super::pump::SessionEvent;
use super::session::Session;

impl Session {
    /// Publishes with QoS 1; [`SessionEvent::Acknowledged`] tells of the PUBACK.
    pub fn hand_over(&self, id: u64, topic: &str, payload: Bytes) -> Result<(), NotTaken> {
        let events = self.answers.upgrade().ok_or(NotTaken)?;
        let notice = self
            .client
            .try_publish_tracked(topic, payload, PublishOptions::at_least_once())
            .map_err(|_| NotTaken)?;
        tokio::spawn(async move {
            if notice.wait_async().await.is_ok() {
                // Nobody listens any more: nobody need know.
                let _ = events.send(SessionEvent::Acknowledged(id)).await;
            }
        });
        Ok(())
    }

    /// Subscribes with QoS 1 by one packet, so to eight filters at most; [`SessionEvent::Answered`] tells of the SUBACK.
    pub fn ask_for(&self, id: u64, filters: Vec<String>) -> Result<(), NotTaken> {
        let events = self.answers.upgrade().ok_or(NotTaken)?;
        let wanted = filters.iter().map(|filter| SubscribeFilter::new(filter.clone(), QoS::AtLeastOnce));
        let notice = self.client.try_subscribe_many_tracked(wanted).map_err(|_| NotTaken)?;
        tokio::spawn(async move {
            let codes = match notice.wait_async().await {
                Ok(suback) => suback.return_codes,
                Err(SubscribeNoticeError::V4SubAckFailure(codes)) => codes,
                Err(_) => return, // the connection has ended
            };
            let failed = |code: Option<&SubscribeReasonCode>| code == Some(&SubscribeReasonCode::Failure);
            let answers = filters.into_iter().enumerate();
            let refused = answers.filter(|(n, _)| failed(codes.get(*n))).map(|(_, filter)| filter).collect();
            let _ = events.send(SessionEvent::Answered { id, refused }).await;
        });
        Ok(())
    }

    /// Unsubscribes; nobody waits for the answer.
    pub fn give_up(&self, filters: Vec<String>) -> Result<(), NotTaken> {
        self.client.try_unsubscribe_many(filters).map_err(|_| NotTaken)
    }
}
