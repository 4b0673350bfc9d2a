//! How a criterion's rule is evaluated: one file a family of rules.

pub(super) mod composite;
pub(super) mod history;
pub(super) mod items;
pub(super) mod paired;
pub(super) mod provenance;
pub(super) mod scaling;
pub(super) mod single;
