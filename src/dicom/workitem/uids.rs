//! UIDs that PS3.4 Annex CC gives: of the SOP class, and of the instances that subscriptions name.

/// SOP class of a workitem: Unified Procedure Step - Push.
pub const PUSH: &str = "1.2.840.10008.5.1.4.34.6.1";

/// Names all workitems in a subscription: UPS Global Subscription SOP Instance.
pub const ALL: &str = "1.2.840.10008.5.1.4.34.5";

/// Names all workitems that match a filter: UPS Filtered Global Subscription SOP Instance.
pub const FILTERED: &str = "1.2.840.10008.5.1.4.34.5.1";
