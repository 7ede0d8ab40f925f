//! Why a publish or a subscription on a connection failed, and who can clear it.
//!
//! No payloads in the texts.

use super::cause::Cause;
use super::topics::TopicError;

/// Why a publish is not known to have arrived.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Topic or payload break a limit of AWS.
    #[error("publishing on {topic}")]
    Unfit {
        /// The topic.
        topic: String,
        /// The limit.
        #[source]
        source: TopicError,
    },
    /// Too much is unacknowledged; it was not sent.
    #[error("publishing on {topic}: too much is waiting for the broker")]
    Busy {
        /// The topic.
        topic: String,
    },
    /// The deadline passed without the broker's acknowledgement; it may have arrived, and is not sent again.
    #[error("publishing on {topic}: not acknowledged in time")]
    NotAcknowledged {
        /// The topic.
        topic: String,
    },
    /// The connection has ended and no successor took the publish over.
    #[error("publishing on {topic}: {cause}")]
    Closed {
        /// The topic.
        topic: String,
        /// Why it ended.
        #[source]
        cause: Cause,
    },
}

impl PublishError {
    /// Says who can clear it.
    pub fn remedy(&self) -> &'static str {
        match self {
            PublishError::Unfit { .. } => "use another topic, or send less at once",
            PublishError::Busy { .. } => "publish more slowly: AWS takes 100 a second",
            PublishError::NotAcknowledged { .. } | PublishError::Closed { .. } => {
                "publish again; check that the certificate's policy allows the topic, for AWS closes on what it does not"
            }
        }
    }
}

/// Why a subscription is not in place.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The filter breaks a limit of AWS.
    #[error("subscribing to {filter}")]
    Unfit {
        /// The filter.
        filter: String,
        /// The limit.
        #[source]
        source: TopicError,
    },
    /// The broker refused these filters.
    #[error("subscribing: the broker refused {}", filters.join(", "))]
    Refused {
        /// The filters that were refused.
        filters: Vec<String>,
    },
    /// No SUBACK in time.
    #[error("subscribing to {}: no answer in time", filters.join(", "))]
    NoAnswer {
        /// The filters of the packet.
        filters: Vec<String>,
    },
    /// The connection ended; AWS does that when the policy does not allow a filter.
    #[error("subscribing to {}: {cause}", filters.join(", "))]
    Closed {
        /// The filters of the packet.
        filters: Vec<String>,
        /// Why it ended.
        #[source]
        cause: Cause,
    },
}

impl SubscribeError {
    /// Says who can clear it.
    pub fn remedy(&self) -> &'static str {
        match self {
            SubscribeError::Unfit { .. } => "use a shorter filter",
            SubscribeError::Refused { .. } | SubscribeError::Closed { .. } => {
                "the certificate's policy must allow iot:Subscribe and iot:Receive for the filter"
            }
            SubscribeError::NoAnswer { .. } => "time: tried again on a new connection",
        }
    }
}
