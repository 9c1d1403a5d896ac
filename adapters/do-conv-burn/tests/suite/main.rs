//! The adapter's tests, as one program: each links all of burn.

mod autodiff;
mod checkpoints;
mod common;
mod equality;
mod errors;
mod lifecycle;
mod plain;
mod save;
