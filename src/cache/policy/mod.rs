//! The decisions of the cache, as plain functions of heads and of the time, in milliseconds since 1970.

mod cache_control;
mod checks;
mod conditional;
mod confirmation;
mod content_range;
pub(crate) mod date;
mod directive;
mod freshness;
mod groups;
mod invalidation;
mod lookup;
mod part;
mod reads;
mod request;
mod response;
mod rules;
mod storable;
mod targeted;

pub(crate) use cache_control::RequestControl;
pub(crate) use checks::is_sound;
pub(crate) use conditional::{
    Conditional, HeadComparison, compare_head, evaluate, has_validator, set_conditions,
};
pub(crate) use confirmation::{Confirmed, confirm};
pub(crate) use content_range::Representation;
pub(crate) use directive::MAX_SECONDS;
pub(crate) use groups::{invalidated_groups, user_tag};
pub(crate) use invalidation::{invalidated, resolve};
pub(crate) use lookup::{Reuse, is_usable_on_error, reuse};
pub(crate) use part::{RangeFill, is_part_asked, slot, storable_range};
pub(crate) use reads::{ReadValues, Reads};
pub(crate) use request::{Bypass, RequestAction, RequestPolicy, classify, classify_as_get};
pub(crate) use response::{NotStorable, ResponseInfo, Storable, is_tagged, strip_tags};
pub(crate) use rules::Rules;
pub use rules::{Exception, InvalidNumber};
pub(crate) use storable::{is_shareable, refusal, storable, survives};
