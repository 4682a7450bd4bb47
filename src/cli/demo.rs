//! demo

use super::{Outcome, Shared};
use crate::error::Result;
use clap::Args;

#[derive(Args)]
pub struct Demo {}

impl Demo {
    pub fn run(&self, _shared: &Shared) -> Result<Outcome> {
        Ok(Outcome::Good)
    }
}
