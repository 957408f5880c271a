//! The cache over a Redis that is well, or that has lost something: several layers, each with a store
//! of its own, stand for as many processes. What is measured is printed.

mod examples;
mod keys;
mod leases;
#[cfg(feature = "values")]
mod lives;
mod loss;
mod outages;
mod purges;
mod races;
mod rig;
mod sharing;
