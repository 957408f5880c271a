//! What the cache decides, with the time in milliseconds since 1970 as an argument.

mod after;
mod before;
mod conditional;
mod found;
mod freshness;
mod invalidate;
mod rules;
mod storable;

pub(super) use after::{
    After, Answer, CACHE_STATUS, Confirmed, Plan, Refusal, after, confirm, outlives, shareable,
    strip_tags,
};
pub(super) use before::{Ask, Before, Bypass, before};
pub(super) use conditional::{Form, condition, form, has_validator, outdated, validators};
pub(super) use found::{Found, found, may_stand_in};
pub(super) use invalidate::{invalidated, resolve};
pub(super) use rules::Rules;
pub use rules::{Exception, InvalidNumber};
pub(super) use storable::is_sound;
