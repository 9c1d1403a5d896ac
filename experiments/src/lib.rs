//! The questions of the DO-Conv paper (Cao et al., arXiv 2006.12030), answered by commands, with error bars.

#![forbid(unsafe_code)]

mod bar;
pub mod cost;
pub mod data;
pub mod grid;
pub mod metric;
pub mod nets;
pub mod record;
pub mod report;
pub mod runner;
pub mod studies;
pub mod task;
pub mod train;
