//! Response bodies, and how they are recorded for the store.

mod attached;
mod background;
pub(crate) mod budget;
mod buffer;
mod error;
mod recorder;
mod response_body;
pub(crate) mod shared;

pub(crate) use background::{FRAMES_AT_ONCE, LONGEST_FILL};
pub use error::BodyError;
pub(crate) use recorder::{Abandoned, Recording};
pub use response_body::ResponseBody;
