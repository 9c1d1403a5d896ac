//! The shapes and situations of the convolution tests of PyTorch, burn, candle, rten and ONNX, restated as
//! one table. Each row names its project, file and test. What is expected comes from the oracle here, not
//! from the peers; where their tests state numbers of small cases, the oracle is checked against those.
//!
//! Every row is run on all layouts of its arrays, whatever the peer's test is about, by fresh and by used
//! layers. The hundreds of rows that a test's loops make are made by loops.
//!
//! Left out, as there is nothing here for them: second derivatives and forward differentiation; transposed
//! layers, but for what they are here, the gradient of an input; three dimensions; complex, half-precision
//! and quantized numbers; numbers of mixed types, names of modes and negative sizes, which the types rule
//! out; choices of a backend, and the layout of an output, which is in order; and layers of no channels,
//! which are refused. A PyTorch layer can't be differentiated twice by one graph, here it can.

#[path = "../common/mod.rs"]
mod common;

mod figures;
mod others;
mod pytorch;
mod refusals;
mod row;
mod run;

use row::Row;

/// Runs all rows, of which there are so many, each problem once.
fn all_exact(rows: Vec<Row>, count: usize) {
    assert_eq!(rows.len(), count);
    let mut done: Vec<&Row> = Vec::new();
    for row in &rows {
        if !done.iter().any(|other| other.problem == row.problem && other.same == row.same) {
            run::exact(row);
            done.push(row);
        }
    }
}

#[test]
fn pytorch() {
    all_exact(pytorch::rows(), 753);
}

#[test]
fn burn() {
    all_exact(others::burn(), 48);
}

#[test]
fn candle() {
    all_exact(others::candle(), 24);
}

#[test]
fn rten() {
    all_exact(others::rten(), 115);
}

#[test]
fn onnx() {
    all_exact(others::onnx(), 14);
}
