//! Clients that mean harm, against the example `quickstart`: after each attack it answers, holds
//! no request and no more memory than before, and nothing in it has panicked.

mod frames;
mod h1;
mod h2;
mod rig;
mod stalls;
mod storms;
