//! AWS IoT Core for one machine, as far as `certrotd` can see it.
