//! Response bodies, and how they are recorded for the store.

mod attached;
mod background;
mod recorder;
mod response_body;

pub(crate) use background::{FRAMES_AT_ONCE, LONGEST_FILL};
pub(crate) use recorder::Recording;
pub use response_body::ResponseBody;
