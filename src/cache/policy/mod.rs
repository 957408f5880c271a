//! The decisions of the cache, as plain functions of heads and of the time, in milliseconds since 1970.

mod cache_control;
mod checks;
mod conditional;
pub(crate) mod date;
mod directive;
mod freshness;
mod invalidation;
mod lookup;
mod request;
mod response;
mod rules;
mod targeted;

pub(crate) use checks::is_sound;
pub(crate) use conditional::{Conditional, evaluate, has_validator, is_outdated, set_conditions};
pub(crate) use directive::MAX_SECONDS;
pub(crate) use invalidation::{invalidated, resolve};
pub(crate) use lookup::{Reuse, is_usable_on_error, reuse};
pub(crate) use request::{Bypass, RequestAction, RequestPolicy, classify};
pub(crate) use response::{
    CACHE_STATUS, Confirmed, NotStorable, ResponseInfo, Storable, confirm, is_shareable, storable,
    strip_tags, survives,
};
pub(crate) use rules::Rules;
pub use rules::{Exception, InvalidNumber};
