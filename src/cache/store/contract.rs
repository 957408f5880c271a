//! What every [`Store`] must do, as tests to run against one.
