//! AWS IoT Core for one machine, as far as `certrotd` can see it.

pub mod policy;
pub mod template;
