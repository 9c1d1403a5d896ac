//! Trainings of several processes, started by `mpirun`.

mod example;
mod faults;
mod numbers;
mod processes;
