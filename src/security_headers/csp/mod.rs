//! Content security policies: [`Csp`].

mod bytes;
mod check;
mod directive;
mod expression;
mod grammar;
mod policy;
mod render;
mod source;
mod union;

pub use directive::Directive;
pub(super) use expression::host_of;
pub(super) use grammar::{KEY, is_key, is_token};
pub use policy::Csp;
pub(super) use render::Rendered;
pub use source::Source;
