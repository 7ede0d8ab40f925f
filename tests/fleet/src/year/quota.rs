//! AWS's quotas as token buckets.
//!
//! Numbers: AWS IoT Core endpoints and quotas (General Reference), section “Message broker and protocol limits”, and AWS
//! IoT throttling limits (developer guide), as noted in the project's facts; where the two differ or a number is not
//! settled, the smaller one. All are defaults of an account in a region, and all but none can be raised on request. How
//! long a burst AWS lets pass is not published: a bucket here holds one second's worth.

use super::meter::Meter;
use super::wheel::Ms;

/// What AWS counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    /// MQTT CONNECT, an account's.
    Connect,
    /// Topic filters in SUBSCRIBE, an account's.
    Subscribe,
    /// CreateCertificateFromCsr over MQTT.
    Csr,
    /// RegisterThing over MQTT.
    Register,
    /// DescribeThing.
    DescribeThing,
    /// ListThingPrincipals.
    ListThingPrincipals,
    /// DescribeCertificate.
    DescribeCertificate,
    /// ListPrincipalThings.
    ListPrincipalThings,
    /// UpdateCertificate.
    UpdateCertificate,
    /// UpdateThing.
    UpdateThing,
    /// ListAttachedPolicies.
    ListAttachedPolicies,
    /// DetachPolicy.
    DetachPolicy,
    /// DetachThingPrincipal.
    DetachThingPrincipal,
    /// DeleteCertificate.
    DeleteCertificate,
}

/// How many there are.
pub const APIS: usize = 14;

impl Api {
    /// All of them.
    pub const ALL: [Api; APIS] = [
        Api::Connect,
        Api::Subscribe,
        Api::Csr,
        Api::Register,
        Api::DescribeThing,
        Api::ListThingPrincipals,
        Api::DescribeCertificate,
        Api::ListPrincipalThings,
        Api::UpdateCertificate,
        Api::UpdateThing,
        Api::ListAttachedPolicies,
        Api::DetachPolicy,
        Api::DetachThingPrincipal,
        Api::DeleteCertificate,
    ];

    /// AWS's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Api::Connect => "CONNECT",
            Api::Subscribe => "filters subscribed to",
            Api::Csr => "CreateCertificateFromCsr",
            Api::Register => "RegisterThing",
            Api::DescribeThing => "DescribeThing",
            Api::ListThingPrincipals => "ListThingPrincipals",
            Api::DescribeCertificate => "DescribeCertificate",
            Api::ListPrincipalThings => "ListPrincipalThings",
            Api::UpdateCertificate => "UpdateCertificate",
            Api::UpdateThing => "UpdateThing",
            Api::ListAttachedPolicies => "ListAttachedPolicies",
            Api::DetachPolicy => "DetachPolicy",
            Api::DetachThingPrincipal => "DetachThingPrincipal",
            Api::DeleteCertificate => "DeleteCertificate",
        }
    }

    /// AWS's default, a second.
    pub fn default_rate(self) -> u32 {
        match self {
            Api::Connect | Api::Subscribe => 500,
            Api::Csr => 200,
            Api::DescribeThing => 350,
            Api::ListAttachedPolicies | Api::DetachPolicy | Api::DetachThingPrincipal => 15,
            Api::Register
            | Api::ListThingPrincipals
            | Api::DescribeCertificate
            | Api::ListPrincipalThings
            | Api::UpdateCertificate
            | Api::UpdateThing
            | Api::DeleteCertificate => 10,
        }
    }
}

/// The buckets of one account in one region, and what was asked of them.
pub struct Quotas {
    buckets: [Bucket; APIS],
    /// What was asked, and what was granted.
    pub meter: Meter,
}

#[derive(Clone, Copy)]
struct Bucket {
    rate: f64,
    tokens: f64,
    filled: Ms,
}

impl Quotas {
    /// AWS's defaults times `factor`; nothing is measured before the meter is told to begin.
    pub fn new(factor: f64) -> Self {
        let bucket = |api: Api| {
            let rate = f64::from(api.default_rate()) * factor;
            Bucket { rate, tokens: rate.max(1.0), filled: 0 }
        };
        Quotas { buckets: Api::ALL.map(bucket), meter: Meter::default() }
    }

    /// Asks for `n` at once: all or nothing. What is refused costs no tokens.
    pub fn take(&mut self, api: Api, n: u32, now: Ms) -> bool {
        let bucket = &mut self.buckets[api as usize];
        #[expect(clippy::cast_precision_loss, reason = "milliseconds between two requests")]
        let passed = now.saturating_sub(bucket.filled) as f64 / 1000.0;
        // Never less than what one request needs, or a small account could not subscribe at all.
        let most = bucket.rate.max(f64::from(n));
        bucket.tokens = (bucket.tokens + passed * bucket.rate).min(most);
        bucket.filled = now;
        let granted = bucket.tokens >= f64::from(n);
        if granted {
            bucket.tokens -= f64::from(n);
        }
        self.meter.count(api, n, granted, now);
        granted
    }

    /// A second's worth.
    pub fn rate(&self, api: Api) -> f64 {
        self.buckets[api as usize].rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_ten_is_ten_and_the_next_one_ten_again() {
        let mut quotas = Quotas::new(1.0);
        let granted =
            |q: &mut Quotas, from: Ms| (0..100).filter(|n| q.take(Api::Register, 1, from + n * 10)).count();
        assert_eq!(granted(&mut quotas, 0), 19, "a full bucket and what flows in meanwhile");
        assert_eq!(granted(&mut quotas, 1_000), 10);
    }

    #[test]
    fn filters_are_granted_all_or_none() {
        let mut quotas = Quotas::new(1.0);
        assert!(quotas.take(Api::Subscribe, 498, 0));
        assert!(!quotas.take(Api::Subscribe, 3, 0));
        assert!(quotas.take(Api::Subscribe, 2, 0));
    }
}
