//! The commands, one a file.

pub(crate) mod evidence;
pub(crate) mod model;
pub(crate) mod run;
pub(crate) mod scale;
pub(crate) mod scenarios;
