//! The cache over a real Redis. Layers with stores of their own stand for processes. Measured times
//! are printed.

mod clocks;
mod examples;
mod keys;
mod leases;
mod links;
mod lives;
mod loss;
mod outage;
mod outages;
mod purges;
mod queries;
mod races;
mod removed;
mod renewal;
mod rig;
mod sharing;
mod topology;
mod values;
mod variants;
