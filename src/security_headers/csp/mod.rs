//! Content security policies: the public type is [`Csp`].

mod bytes;
mod check;
mod directive;
mod expression;
mod grammar;
mod merge;
mod policy;
mod render;
mod source;

pub use directive::Directive;
pub(super) use expression::host_of;
pub use policy::Csp;
pub(super) use render::Rendered;
pub use source::Source;
